"""The method of a guest whose description names none.

Decided by the description alone: the same one gives the same scripts on every machine, also where
the guest's files are not.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Choice(NamedTuple):
    method: str
    why: str


def choose(keys: Mapping[str, Any]) -> Choice:
    """The method for a guest with these keys of the description, and why."""
    own = [word for word in str(keys.get("append", "")).split() if word.startswith("ip=")]
    if own and own[-1] in ("ip=dhcp", "ip=on", "ip=any"):
        return Choice("dhcp", f"append asks for it: {own[-1]}")
    if own:
        return Choice("none", "append has an ip= of its own")
    if "user-data" in keys or "ssh-key" in keys:
        return Choice("cloud-init", "the description has something for cloud-init")
    if not keys.get("kernel"):
        return Choice("dhcp", "the kernel is inside the image, where no command line reaches it")
    reader = "its initramfs" if keys.get("initrd") else "the kernel itself (CONFIG_IP_PNP)"
    return Choice("kernel", f"the kernel is outside the image; {reader} has to read ip=")
