"""Checks of how the guests learn their addresses: will somebody tell them, will somebody listen?"""

import shutil
from collections.abc import Iterator

from . import shell
from .addressing.reader import NOBODY
from .finding import Finding, Place, error, warning

_DHCP = 'addressing = "dhcp"   (in the description)'


def responder(place: Place) -> Iterator[Finding]:
    """The scripts start it by name, from folders that are not the user's own."""
    names = [guest.name for guest in place.tapped if guest.addressing == "dhcp"]
    if names and shutil.which("tapdraft", path=shell.PATH) is None:
        yield error(
            "addressing",
            f"guest {names[0]}: its scripts do not find the command tapdraft, to answer its DHCP",
            "make install-command   (as root; or your distribution's package)",
        )


def listener(place: Place) -> Iterator[Finding]:
    """What the guest's files told when the description was read. Files that are not there are
    another check's."""
    for guest in place.tapped:
        if guest.addressing != "kernel" or guest.reader.reads or guest.reader is NOBODY:
            continue
        what = f"guest {guest.name}: {guest.reader.why}"
        if guest.reader.reads is False:
            yield error("addressing", what, _DHCP)
        elif (place.folder / (guest.initrd or guest.kernel)).is_file():
            yield warning("addressing", what, f"{_DHCP} if it gets no address")
