"""Compares the argument list that runqemu gave to qemu with tapdraft's, as qemu reads them.

What qemu merges is merged (-machine, the last -cpu), what it counts is counted (-m 1G is -m 1024),
and all that has an order keeps it: devices, drives, serial lines, the kernel's words. A difference
is explained only by a rule of RULES, which changes runqemu's list into what tapdraft has to have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DEPLOY = "@DEPLOY@"
ALONE = (
    "-snapshot",
    "-no-reboot",
    "-nographic",
    "-usb",
    "-show-cursor",
    "-enable-kvm",
    "-S",
    "-nodefaults",
    "-no-user-config",
)
SHORT = {
    "-hda": "index=0,media=disk",
    "-hdb": "index=1,media=disk",
    "-cdrom": "index=2,media=cdrom",
    "-sd": "if=sd",
    "-mtdblock": "if=mtd",
}
ONCE = ("-cpu", "-kernel", "-initrd", "-dtb", "-bios")  # the last one counts


@dataclass
class Command:
    """What an argument list comes to."""

    binary: str
    machine: dict[str, str] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)
    smp: dict[str, str] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    append: list[str] | None = None
    serial: list[str] = field(default_factory=list)
    display: str = "default"
    netdev: list[str] = field(default_factory=list)
    rest: list[tuple[str, str]] = field(default_factory=list)  # devices and all else, in order

    def differences(self, other: Command) -> dict[str, tuple[object, object]]:
        mine, theirs = vars(self), vars(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def read(argv: Sequence[str]) -> Command:
    found = Command(argv[0].rpartition("/")[2])
    # tapdraft's start in that folder.
    words = [word.replace(f"{DEPLOY}/", "").replace(DEPLOY, ".") for word in argv[1:]]
    while words:
        name = words.pop(0)
        is_alone = name in ALONE or not words or words[0].startswith("-")
        value = "" if is_alone else words.pop(0)
        _take(found, "-machine" if name == "-M" else name, value)
    return found


def _take(found: Command, name: str, value: str) -> None:
    if name in ("-machine", "-m", "-smp"):
        first = {"-machine": "type", "-m": "size", "-smp": "cpus"}[name]
        merged = {"-machine": found.machine, "-m": found.memory, "-smp": found.smp}[name]
        for part in value.split(","):
            key, equals, word = part.partition("=")
            merged.update({key: word} if equals else {first: part})
        if name == "-m":
            merged["size"] = str(mebibytes(merged["size"]))
    elif name in ONCE:
        found.once[name] = value
    elif name == "-append":
        found.append = value.split()
    elif name == "-serial":
        found.serial.append(value)
    elif name == "-nographic":
        found.display = "nographic"
    elif name == "-display" and not (found.display == "nographic" and value == "none"):
        found.display = value
    elif name == "-netdev":
        kind, *parts = value.split(",")
        found.netdev.append(",".join([kind, *sorted(parts)]))
    elif name in ALONE and name != "-usb":
        found.flags.add(name)
    elif name in SHORT:
        found.rest.append(("-drive", f"file={value},{SHORT[name]}"))
    else:
        found.rest.append((name, value))


def mebibytes(size: str) -> float:
    unit = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1 << 20}.get(size[-1].lower())
    return float(size) if unit is None else float(size[:-1]) * unit


class Rule(NamedTuple):
    name: str  # its row in tapdraft-runqemu(7), "What differs"
    reason: str  # the same, word by word
    change: Callable[[Command, Command], None]  # of runqemu's, with tapdraft's to look at


def _name(theirs: Command, ours: Command) -> None:
    named = [option for option in ours.rest if option[0] == "-name"]
    if len(named) == 1 and named[0] == ours.rest[0] and named[0][1].startswith("guest="):
        theirs.rest.insert(0, named[0])


def _tap(theirs: Command, ours: Command) -> None:
    tap = re.search(r"ifname=(td-[a-z0-9-]+)", " ".join(ours.netdev))
    if tap:
        theirs.netdev = [re.sub(r"ifname=tap[0-9]+", tap[0], one) for one in theirs.netdev]


def _loopback(theirs: Command, _ours: Command) -> None:
    told = [re.sub(r"hostfwd=(tcp|udp)::", r"hostfwd=\1:127.0.0.1:", one) for one in theirs.netdev]
    for index, one in enumerate(told):
        kind, *parts = one.split(",")
        theirs.netdev[index] = ",".join([kind, *sorted(parts)])


def _cursor(theirs: Command, _ours: Command) -> None:
    theirs.flags.discard("-show-cursor")


def _drives(change: Callable[[str, str], str]) -> Callable[[Command, Command], None]:
    """A change of each -drive, with tapdraft's of the same place to look at."""

    def apply(theirs: Command, ours: Command) -> None:
        mine = [value for name, value in ours.rest if name == "-drive"]
        places = [index for index, (name, _) in enumerate(theirs.rest) if name == "-drive"]
        for index, other in zip(places, mine, strict=False):
            theirs.rest[index] = ("-drive", change(theirs.rest[index][1], other))

    return apply


def _packed(theirs: str, ours: str) -> str:
    """Only the file, and only of an image that is unpacked."""
    nameless = re.search(r"file=/dev/fd/[5-9]", ours)
    return re.sub(r"file=[^,]*", nameless[0], theirs) if nameless else theirs


def _format(theirs: str, ours: str) -> str:
    added = re.fullmatch(re.escape(theirs) + ",format=[a-z0-9]+", ours)
    return ours if added and "format=" not in theirs else theirs


def _vhd(theirs: str, ours: str) -> str:
    return ours if theirs.replace("format=vhd", "format=vpc") == ours else theirs


RULES = (
    Rule("name", "qemu and its window have the image's name.", _name),
    Rule("tap", "td-GUEST, which the helper makes, in place of tap0.", _tap),
    Rule(
        "ports",
        "a port of qemu's own network that leads in is one of 127.0.0.1, never of all "
        "the host's addresses.",
        _loopback,
    ),
    Rule("cursor", "no qemu has -show-cursor any more.", _cursor),
    Rule(
        "compressed",
        "an image that ends in .zst is unpacked into a file without a name, not beside the image.",
        _drives(_packed),
    ),
    Rule(
        "format",
        "is named where the configuration leaves it to qemu, which would believe what "
        "the guest wrote into its disk.",
        _drives(_format),
    ),
    Rule("vhd", "is called vpc, which is qemu's name for it.", _drives(_vhd)),
)
# The rules about files that tapdraft does not import.
REFUSED = {
    "vendor": "a vendor's own qemu is not started: its options are not those of any qemu that a "
    "distribution has.",
}


def compare(theirs: Sequence[str], ours: Sequence[str]) -> tuple[list[str], dict[str, object]]:
    """The names of the rules that explain a difference, and what none explains."""
    given, made = read(theirs), read(ours)
    used = []
    for rule in RULES:
        before = repr(given)
        rule.change(given, made)
        if repr(given) != before:
            used.append(rule.name)
    return used, dict(made.differences(given))
