"""qemu itself takes each command that it takes from runqemu: it starts, and quits by QMP."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tapdraft.generator import qemu
from test_field import HERE, NAMES, deployed, guest_of, recorded

QUIT = HERE.parent / "qmp_quit.py"
# A vendor's qemu is none of Debian's.
STARTED = [
    name
    for name in NAMES
    if recorded(name)["tap"] and not recorded(name)["tap"][0].endswith("-multiarch")
]
# What the files of would have to be real for; that they are the same words is test_field.py's.
CONTENT = ("-kernel", "-append", "-dtb", "-initrd", "-bios")
DISK, FLASH = 64 << 20, 256 << 20  # bytes; a flash chip wants its board's size, sbsa-ref's is that


def tried(argv: Sequence[str], folder: Path) -> list[str]:
    """The list with what only the guest's own host has: its tap, its terminal, its files."""
    found: list[str] = [argv[0]]
    rest = [re.sub("@DEPLOY@(?=/|$)", ".", word) for word in argv[1:]]
    while rest:
        word = rest.pop(0)
        if word in CONTENT:
            rest.pop(0)
            # Yocto's qemu has firmware of its own for these; Debian's does not for each of them.
            found += ["-bios", "none"] if word == "-bios" and "riscv" in argv[0] else []
        elif word == "-show-cursor":
            pass  # what else is refused would not be seen; see compare.RULES
        elif word == "-netdev":
            found += [word, re.sub("^tap,.*", "user,id=net0,restrict=on", rest.pop(0))]
        elif word == "-display" or (word == "-serial" and rest[0].startswith("mon:")):
            found += [word, {"-display": "none", "-serial": "null"}[word]]
            rest.pop(0)
        else:
            found.append(with_file(word, folder))
    return found


def with_file(option: str, folder: Path) -> str:
    """The option with an empty file of our own, each as raw: an image has no content here."""
    match = re.search(r"\bfile=([^,]*)", option)
    if match is None:
        return option
    path = folder / ("flash" if "pflash" in option else "disk")
    with path.open("ab") as stream:
        stream.truncate(FLASH if "pflash" in option else DISK)
    return option.replace(match[0], f"file={path}").replace("format=qcow2", "format=raw")


def start(argv: Sequence[str], folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, QUIT, folder / "qmp", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
    )


def qemus_own(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What qemu says, of all that is written."""
    return [line for line in done.stderr.splitlines() if line.startswith("qemu-system-")]


@pytest.mark.parametrize("name", STARTED)
def test_qemu_takes_from_tapdraft_what_it_takes_from_runqemu(
    name: str,
    tmp_path: Path,
    requires: Callable[..., None],
    newest_python: str,
    record_property: Callable[[str, object], None],
) -> None:
    record = recorded(name)
    requires(record["tap"][0])
    guest = guest_of(deployed(name, tmp_path), record["words"][0].split())
    ours = start(tried(qemu.argv(guest), tmp_path), tmp_path, newest_python)
    if ours.returncode != 0:
        theirs = start(tried(record["tap"], tmp_path), tmp_path, newest_python)
        assert theirs.returncode != 0, (ours.stderr, theirs.stderr)
        why = qemus_own(ours)
        assert why == qemus_own(theirs)
        record_property("refused", (name, why[-1]))
    else:
        record_property("accepted", name)
