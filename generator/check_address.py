"""Checks of how the guests learn their addresses: will somebody tell them, will somebody listen?"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from . import shell
from .finding import Finding, Place, error


def responder(place: Place) -> Iterator[Finding]:
    """The scripts start it by name, from folders that are not the user's own."""
    names = [guest.name for guest in place.tapped if guest.addressing == "dhcp"]
    if names and shutil.which("tapdraft", path=shell.PATH) is None:
        yield error(
            "addressing", f"guest {names[0]}: its scripts do not find tapdraft, to answer its DHCP",
            "make install-command   (as root; or your distribution's package)",
        )  # fmt: skip


def listener(place: Place) -> Iterator[Finding]:
    """What a kernel was built with is in the file beside it that distributions put there."""
    for guest in place.tapped:
        if guest.addressing != "kernel" or guest.initrd:
            continue
        config = _config(place.folder / guest.kernel)
        if config and "CONFIG_IP_PNP=y" not in config.splitlines():
            yield error(
                "addressing", f"guest {guest.name}: {guest.kernel} was built without "
                "CONFIG_IP_PNP, and there is no initrd: nothing reads ip=",
                'addressing = "dhcp"   (in the description)',
            )  # fmt: skip


def _config(kernel: Path) -> str:
    """Of vmlinuz-6.1.0-1: config-6.1.0-1. Empty if it is not there."""
    _, dash, version = kernel.name.partition("-")
    try:
        return (kernel.parent / f"config-{version}").read_text("utf-8") if dash else ""
    except (OSError, UnicodeDecodeError):
        return ""
