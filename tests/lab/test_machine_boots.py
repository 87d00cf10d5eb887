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
# The machine, and Debian's architecture that its kernel is of. doc/machines.md tells the times.
BOOTS = {
    "x86_64": "amd64",
    "qemux86-64": "amd64",
    "qemux86": "i386",
    "aarch64": "arm64",
    "qemuarm64": "arm64",
    "qemuarm": "armhf",
    "qemuppc64": "ppc64el",
    "s390x": "s390x",
    "mips64el": "mips64el",
    "mipsel": "mipsel",
}
SEVERAL = 2  # at once


def name(machine: str) -> str:
    """A guest's name has no underscore."""
    return machine.replace("_", "-")


def describe(lab: Lab) -> None:
    lines = ['[network]\nsubnet = "192.168.7.0/24"\n']
    for machine, arch in BOOTS.items():
        files = lab.site.guest(arch)
        lines.append(
            f'[guest.{name(machine)}]\nmachine = "{machine}"\naccel = "tcg"\nmemory = "256M"\n'
            f'kernel = "{files.kernel}"\ninitrd = "{files.initrd}"\n'
            'append = "quiet tapdraft.ping=198.51.100.1 tapdraft.end=poweroff"\n'
        )
    lab.write(f"{HOME}/guests.toml", "".join(lines), owner="alice")


def test_each_architecture_boots_on_its_tap_and_pings_through_nat(
    lab: Lab, requires: Callable[..., None]
) -> None:
    requires(*(MACHINES[machine].binary for machine in BOOTS))
    describe(lab)
    lab.run(["tapdraft", "render", "guests.toml"], user="alice", cwd=HOME).check()
    before = lab.snapshot()

    def boot(machine: str) -> str:
        start = time.monotonic()
        guest = lab.guest([f"{HOME}/out/{name(machine)}/run"], user="alice", cwd=HOME)
        guest.expect("guest: ping 198.51.100.1 ok", 300)
        seconds = time.monotonic() - start
        assert guest.wait(120) == 0, guest.console
        return f"{machine:12}{BOOTS[machine]:10}{seconds:6.1f} s"

    with ThreadPoolExecutor(SEVERAL) as pool:
        for line in pool.map(boot, BOOTS):
            print(line)
    lab.assert_no_residue(before)


def test_every_architecture_that_packaging_builds_a_guest_for_is_booted() -> None:
    known = re.search(r"known are ([a-z0-9 ]+)", (ROOT / "tools/guest").read_text())
    assert known is not None
    assert set(known[1].split()) == set(BOOTS.values())


def test_the_documents_say_which_machines_booted_and_why_others_did_not() -> None:
    rows = re.findall(r"^\| ([a-z0-9_, -]+) \| .*\|$", (ROOT / "doc/machines.md").read_text(), re.M)
    told = [name for row in rows for name in row.split(", ") if name in MACHINES]
    assert sorted(told) == sorted(MACHINES)
