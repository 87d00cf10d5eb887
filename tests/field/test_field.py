"""The files of real machines: what tapdraft makes of each is what runqemu made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from compare import REFUSED, RULES, compare

from tapdraft.generator.commands import overrides
from tapdraft.generator.description.parser import parse
from tapdraft.generator.errors import TapdraftError
from tapdraft.generator.model import Guest
from tapdraft.generator.qemu import command
from tapdraft.generator.yocto.convert import convert

HERE = Path(__file__).parent
FILES = sorted((HERE / "runqemu").glob("*.qemuboot.conf"))
NAMES = [file.name.removesuffix(".qemuboot.conf") for file in FILES]
NETWORKS = ("tap", "slirp")
MANUAL = HERE.parents[1] / "man/text/tapdraft-runqemu.7.txt"


def recorded(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((HERE / f"runqemu/{name}.json").read_text("utf-8"))
    return found


def deployed(name: str, folder: Path) -> Path:
    """The configuration in a folder with the files that runqemu found there."""
    conf = folder / f"{name}.qemuboot.conf"
    conf.write_bytes((HERE / f"runqemu/{name}.qemuboot.conf").read_bytes())
    is_packed = re.search(r"^qb_default_fstype = .*\.zst$", conf.read_text("utf-8"), re.M)
    for word in recorded(name)["tap"]:
        for found in re.findall(r"@DEPLOY@/([^,]+)", word):
            file = f"{found}.zst" if is_packed and found.endswith((".ext4", ".wic")) else found
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
    return conf


def guest_of(conf: Path, words: list[str]) -> Guest:
    """As `tapdraft import`, and then `tapdraft run` with the options that runqemu's words are."""
    imported = convert(str(conf), conf.parent)
    options = {"slirp": ("--network", "user"), "snapshot": ("--snapshot", True)}
    told = dict(options[word] for word in words if word in options)
    if 'network = "none"' in imported.text:
        told.pop("--network", None)  # runqemu, too, does not heed the word for such a machine
    source = imported.text.encode()
    return parse(source, change=lambda guests: overrides.apply(guests, "", told)).guests[0]


def outcome(name: str, network: str, folder: Path) -> tuple[list[str], dict[str, object]]:
    record = recorded(name)
    words = record["words"][NETWORKS.index(network)].split()
    try:
        guest = guest_of(deployed(name, folder), words)
    except TapdraftError as error:
        if not record[network]:
            return [], {}
        if "a vendor's own qemu" in str(error):
            return ["vendor"], {}
        raise
    return compare(record[network], command.argv(guest))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_the_guest_gets_what_runqemu_gives_it(
    name: str, network: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    used, different = outcome(name, network, tmp_path)
    record_property("field", (name, network, used))
    assert not different


def test_each_reason_is_in_the_manual_and_no_other() -> None:
    text = " ".join(MANUAL.read_text("utf-8").split())
    wanted = {rule.name: rule.reason for rule in RULES} | REFUSED
    section = text.partition("What differs")[2].partition("SEE ALSO")[0]
    for name, reason in wanted.items():
        assert f"{name} {reason}" in section
        section = section.replace(f"{name} {reason}", "")
    assert re.findall(r"[A-Za-z-]+ [a-z].*?\.(?= |$)", section.partition("but for these:")[2]) == []
