"""The method of a guest whose description names none.

By the description, and where that leaves a kernel outside the image by what its files tell
(evidence.py). Only where they show that nothing reads ip=, or that the kernel does not and its
initramfs is packed as distributions do, is it another method than `kernel`: whoever renders where
the files are not, or cannot be read, gets the same scripts but for the comment that says so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..model import NOT_LOOKED, IpReader
from .probe.reader import LOOKED, start

AUTO = "auto"


class Choice(NamedTuple):
    """Fields of the description's Guest."""

    addressing: str
    addressing_why: str
    reader: IpReader = NOT_LOOKED  # of ip=


def told(keys: Mapping[str, Any], folder: Path | None) -> Choice:
    """How a guest with these keys of the description learns its address, and why.

    Without a folder its files are not looked at.
    """
    method = keys.get("addressing", AUTO)
    if keys.get("network", "tap") != "tap":
        return Choice(keys.get("addressing", "none"), "it has no tap of tapdraft's")
    if method == AUTO:
        return _choose(keys, folder)
    # What is named counts. How it is written may still depend on who reads it.
    looks = method == "kernel" and keys.get("kernel")
    reader = _reader(keys, folder) if looks else NOT_LOOKED
    return Choice(method, "the description says so", reader)


def _choose(keys: Mapping[str, Any], folder: Path | None) -> Choice:
    if keys.get("ip-tap") and keys.get("kernel"):
        if "@CLIENT@" in keys["ip-tap"]:
            return Choice("kernel", "ip-tap has the kernel's words for it")
        return Choice("dhcp", "ip-tap has no address")
    own = [word for word in str(keys.get("append", "")).split() if word.startswith("ip=")]
    if own and own[-1] in ("ip=dhcp", "ip=on", "ip=any"):
        return Choice("dhcp", f"append asks for it: {own[-1]}")
    if own:
        return Choice("none", "append has an ip= of its own")
    if "user-data" in keys or "ssh-key" in keys:
        return Choice("cloud-init", "the description has something for cloud-init")
    if not keys.get("kernel"):
        return Choice("dhcp", "the kernel is inside the image, where no command line reaches it")
    reader = _reader(keys, folder)
    if reader.reads is False or reader.is_unlikely:
        return Choice("dhcp", reader.why, reader if reader.lacks_driver else NOT_LOOKED)
    return Choice("kernel", f"the kernel is outside the image; {reader.why}", reader)


def _reader(keys: Mapping[str, Any], folder: Path | None) -> IpReader:
    from .probe import evidence  # noqa: PLC0415  what unpacks files is not for the responder's start

    return evidence.reader(start(keys), folder)


def forget() -> None:
    """Forget what was seen of the files of the description before."""
    LOOKED.clear()
