"""runqemu's words: each has its row in tapdraft-runqemu(7), and what the row says works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tapdraft.generator import qemu
from tapdraft.generator.description import parse
from tapdraft.generator.qemuboot import writing
from tapdraft.generator.qemuboot.convert import convert
from test_field import HERE, deployed

PAGE = (HERE.parents[1] / "man/tapdraft-runqemu.7").read_text("utf-8")
ROWS = dict(re.findall(r"^\.It (.*?) Ta (.*)$", PAGE.replace("\\(dq", '"'), re.M))
# openembedded-core's `runqemu help` and the source's check_args, and those of 2015.
WORDS = {
    "nographic",
    "nonetwork",
    "sdl",
    "gtk",
    "gl",
    "gl-es",
    "egl-headless",
    "novga",
    "serial",
    "serialstdio",
    "audio",
    "kvm",
    "kvm-vhost",
    "slirp",
    "bridge",
    "snapshot",
    "publicvnc",
    "guestagent",
    "guestagent-sockpath",
    "qmp",
    "tcpserial",
    "qemuparams",
    "bootparams",
    "ovmf",
    "ovmf.secboot",
    "-d",
    "-q",
    "--debug",
    "--quiet",
    "KERNEL",
    "BIOS",
    "ROOTFS",
    "DEVICE_TREE",
    "machine",
    "SERIAL_CONSOLES",
    "OE_TAP_NAME",
    "RUNQEMU_TMPFS_DIR",
    "tar",
    "tar.zst",
    "tar.xz",
    "biosdir",
    "biosfilename",
    "hdddirect",
    "vmdk",
}


def test_every_word_of_runqemu_has_a_row() -> None:
    named = {re.split("[= ]", word)[0] for row in ROWS for word in row.split(", ")}
    assert named >= WORDS
    assert "no word at all" in ROWS


@pytest.mark.parametrize(
    ("word", "given"),
    [
        ("no word at all", ["-display", "gtk,show-cursor=on"]),
        ("tcpserial=P", ["tcp:127.0.0.1:4444,nodelay=on", "null", "mon:stdio"]),
        ("tcpserial=P:Q", ["tcp:127.0.0.1:4444,nodelay=on", "tcp:127.0.0.1:4445,nodelay=on"]),
        ("kvm", ["-accel", "kvm", "-cpu", "host"]),
        ("kvm-vhost", ["-accel", "kvm"]),
        ("nonetwork", ["-nic", "none"]),
        ("bridge=IF", ["bridge,id=net0,br=br0"]),
        ("novga", ["-vga", "none"]),
        ("publicvnc", ["vnc=:0,to=99,password-secret=password0"]),
        ("snapshot", ["-snapshot"]),
        ("audio", ["alsa,id=snd0"]),
        ("guestagent", ["socket,id=agent0,path=vm.qga,server=on,wait=off"]),
        ("guestagent-sockpath=FILE", ["socket,id=agent0,path=FILE,server=on,wait=off"]),
        ("biosdir=D (2015)", ["-L", "D"]),
        ("biosfilename=F (2015)", ["-bios", "F"]),
        ("SERIAL_CONSOLES", []),
    ],
)
def test_what_a_row_says_does_what_the_word_did(
    word: str, given: list[str], tmp_path: Path
) -> None:
    """Written into an imported description, as the manual has it."""
    name = "poky-scarthgap-qemux86-64"
    conf = deployed(name, tmp_path)
    described = tomllib.loads(convert(str(conf), conf.parent).text)
    (guest,) = described["guest"].values()
    row = ROWS[word].removesuffix(", the default")
    row = row.replace("tcp:P", "tcp:4444").replace("tcp:Q", "tcp:4445").replace('"IF"', '"br0"')
    # A comma between keys is a line's end.
    changes = tomllib.loads(re.sub(r", (?=[a-z]+ = )", "\n", row))
    for key, value in changes.items():
        guest[key] = [*guest[key], *value] if key == "qemu" else value
    argv = qemu.argv(parse(toml(described).encode()).guests[0])
    for expected in given:
        assert expected in argv


def toml(tables: dict[str, dict[str, object]]) -> str:
    """The tables as text: only what an imported description has."""
    lines = ["[network]", *(f"{key} = {item(value)}" for key, value in tables["network"].items())]
    for name, table in tables["guest"].items():
        assert isinstance(table, dict)
        lines += [f"[guest.{name}]", *(f"{key} = {item(value)}" for key, value in table.items())]
    return "\n".join(lines)


def item(value: object) -> str:
    return writing.toml(value)  # type: ignore[arg-type]
