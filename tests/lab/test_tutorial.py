"""doc/tutorial.md leads from nothing to a Debian guest with ssh, and back to nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from labnet import Lab
from labproc import Guest
from labsite import ROOT, SOURCE, Site

HOME = "/home/alice"
TEXT = (ROOT / "doc/tutorial.md").read_text("utf-8")
BLOCKS = re.findall(r"^<!-- ([a-z, ]+) -->\n```sh\n(.*?)^```$", TEXT, re.M | re.S)
BOOT = 600  # seconds: a whole Debian, in emulation, on a machine that does other things too
NOT_COPIED = (".git", "__pycache__", ".*_cache", ".hypothesis", "build", "out")


def packages(document: str) -> set[str]:
    """All that its `apt install` lines name."""
    lines = re.findall(r"^ *apt install ((?:.*\\\n)*.*)$", document, re.M)
    return {word for line in lines for word in line.replace("\\", "").split() if word[0] != "."}


@pytest.fixture
def bare_machine(bare_site: Site) -> Iterator[Lab]:
    """A host with an uplink and nothing of tapdraft but its source."""
    site = Site()
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(ROOT, site.path(SOURCE), dirs_exist_ok=True, ignore=ignored)
    lab = Lab(site)
    yield lab
    lab.close()
    site.close()


def test_the_tutorial_installs_packages_that_the_tests_use_too() -> None:
    known = (ROOT / "tools/requires").read_text()
    readme = packages((ROOT / "README.md").read_text("utf-8"))
    assert readme <= packages(TEXT)
    for name in packages(TEXT) - {"fdisk", "e2fsprogs", "syslinux-common", "mtools"}:
        assert re.search(rf"^(demo|check)\s+{re.escape(name)}\s", known, re.M), name


def test_the_tutorial_leads_to_a_guest_with_ssh_and_leaves_nothing(
    bare_machine: Lab, requires: Callable[..., None]
) -> None:
    requires("mmdebstrap", "syslinux", "mcopy", "mkfs.vfat", "sfdisk", "mke2fs", "ssh")
    # In the cache, so that the tutorial's own call only has to print its name.
    subprocess.run(["sh", ROOT / "tools/guest-disk"], check=True, stdout=subprocess.PIPE)
    lab = bare_machine
    said = ""
    running: list[Guest] = []
    before = lab.snapshot()
    for who, commands in BLOCKS:
        if who == "root":
            said = lab.run(["sh", "-euc", commands], cwd=SOURCE, limit=300).check().stdout
        elif who == "alice":
            if "tapdraft list\nip link" in commands:
                running[0].type("\x01x")
                assert running[0].wait(60) == 0
            run = lab.run(["sh", "-euc", commands], user="alice", cwd=HOME, limit=300).check()
            said = run.stdout
        elif who == "alice, terminal":
            running.append(lab.guest(commands.split(), cwd=HOME))
            running[0].expect(r"\[#\] port 22 of web \(192\.168\.7\.2\) is open after", BOOT)
        elif who == "another machine":
            argv = ["busybox", *commands.split()]
            assert lab.run(argv, netns="outside", limit=60).check().stdout == "hello\n"
        else:
            assert who == "apt"
        shown(commands, said)
    lab.assert_no_residue(before)


def shown(commands: str, said: str) -> None:
    """What the tutorial says that a command prints."""
    last = commands.splitlines()[-1]
    promises = {
        "tapdraft-helper --check-policy --user alice": r"192\.168\.7\.0/24",
        "tapdraft check --policy vm.toml": "permitted",
        "tapdraft ssh vm.toml debian@web uname -n": r"(?m)^web$",
        "ip link show type tun": r"\A\Z",
    }
    for command, pattern in promises.items():
        if last.endswith(command):
            assert re.search(pattern, said), f"{command} printed {said!r}"
