"""Who reads ip= on the kernel's command line: what is asked about, and the answer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..machines import MACHINES


class Start(NamedTuple):
    """What a guest starts with, as far as it matters who reads ip=."""

    kernel: str
    initrd: str = ""
    init: str = "init"  # the initramfs's first program
    boot: str = "local"  # as initramfs-tools calls where the root file system is
    is_virtio: bool = True  # the card


class Reader(NamedTuple):
    """`reads` is None if it could not be told."""

    reads: bool | None
    why: str
    takes_each: bool = False  # one ip= for each card, or the last one alone?
    is_dracut: bool = False  # which does nothing without rd.neednet
    is_packed: bool = False  # so that it could not be looked at, as distributions' are
    is_unlikely: bool = False  # it could not be told, but it would be unusual
    lacks_driver: bool = False  # it reads ip=, and there is no card yet


NOBODY = Reader(None, "nobody has looked")
# What was seen of each file of one description: evidence.py.
LOOKED: dict[tuple[Any, ...], Any] = {}


def start(keys: Mapping[str, Any]) -> Start:
    """Of a guest with these keys of the description."""
    words = str(keys.get("append", "")).split()
    named = dict(word.split("=", 1) for word in words if "=" in word)
    boot = "nfs" if keys.get("nfs") or named.get("root") == "/dev/nfs" else "local"
    card = keys.get("nic") or MACHINES[keys.get("machine", "x86_64")].nic
    return Start(
        keys["kernel"],
        keys.get("initrd", ""),
        named.get("rdinit", "init").strip("/"),
        named.get("boot", boot),
        str(card).startswith("virtio-net"),
    )
