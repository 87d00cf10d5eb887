"""Debian's kernels of other machines, really booted on a tap, with a ping through NAT."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from labnet import Lab
from labsite import ROOT
from tapdraft.generator.machines import MACHINES

HOME = "/home/alice"
# Debian's architecture and the machine that its kernel is for. doc/machines.md tells the times.
BOOTS = {
    "amd64": "x86_64", "i386": "qemux86", "arm64": "aarch64", "armhf": "qemuarm",
    "ppc64el": "qemuppc64", "s390x": "s390x", "mips64el": "mips64el",
}  # fmt: skip
SEVERAL = 2  # at once


def describe(lab: Lab) -> None:
    lines = ['[network]\nsubnet = "192.168.7.0/24"\n']
    for arch, machine in BOOTS.items():
        files = lab.site.guest(arch)
        lines.append(
            f'[guest.{arch}]\nmachine = "{machine}"\naccel = "tcg"\nmemory = "256M"\n'
            f'kernel = "{files.kernel}"\ninitrd = "{files.initrd}"\n'
            'append = "quiet tapdraft.ping=198.51.100.1 tapdraft.end=poweroff"\n'
        )
    lab.write(f"{HOME}/guests.toml", "".join(lines), owner="alice")


def test_each_architecture_boots_on_its_tap_and_pings_through_nat(
    lab: Lab, requires: Callable[..., None]
) -> None:
    requires(*(MACHINES[machine].binary for machine in BOOTS.values()))
    describe(lab)
    lab.run(["tapdraft", "render", "guests.toml"], user="alice", cwd=HOME).check()
    before = lab.snapshot()

    def boot(arch: str) -> str:
        start = time.monotonic()
        guest = lab.guest([f"{HOME}/out/{arch}/run"], user="alice", cwd=HOME)
        guest.expect("guest: ping 198.51.100.1 ok", 300)
        seconds = time.monotonic() - start
        assert guest.wait(120) == 0, guest.console
        return f"{arch:10}{BOOTS[arch]:12}{seconds:6.1f} s"

    with ThreadPoolExecutor(SEVERAL) as pool:
        for line in pool.map(boot, BOOTS):
            print(line)
    lab.assert_no_residue(before)


def test_every_architecture_that_packaging_builds_a_guest_for_is_booted() -> None:
    known = re.search(r"known are ([a-z0-9 ]+)", (ROOT / "packaging/guest").read_text())
    assert known is not None
    # mipsel is the board and the emulator of mips64el, with smaller registers.
    assert set(known[1].split()) - {"mipsel"} == set(BOOTS)
