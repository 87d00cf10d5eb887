"""The one capability: raised around the kernel calls, given up for good before the last word."""

from collections.abc import Iterator
from contextlib import contextmanager

import prctl

from .errors import HelperError


def held_by_caller() -> bool:
    """Did the caller hold CAP_NET_ADMIN before, so that the helper adds nothing to it?

    A file capability without the effective bit leaves Effective empty: what is set there at the
    start came from outside (root, or a user namespace of the caller's).
    """
    return bool(prctl.cap_effective.net_admin)


def settle() -> None:
    """Effective and Inheritable empty, which empties Ambient too, and nobody may look inside."""
    # First of all: a process that lost Permitted can be traced by its user while dumpable.
    prctl.set_dumpable(0)
    prctl.cap_effective.limit()
    prctl.cap_inheritable.limit()


@contextmanager
def raised() -> Iterator[None]:
    """CAP_NET_ADMIN is effective inside the block, and only there. HelperError if it is missing."""
    try:
        prctl.cap_effective.net_admin = True
    except OSError:
        what = "the helper does not have CAP_NET_ADMIN"
        raise HelperError(what, "tapdraft check") from None
    try:
        yield
    finally:
        prctl.cap_effective.limit()


def drop() -> None:
    """Give up every capability for good, and see that it is so."""
    for capabilities in (prctl.cap_effective, prctl.cap_permitted, prctl.cap_inheritable):
        capabilities.limit()
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        words = [line.split() for line in status if line.startswith("Cap")]
    left = [name for name, value in words if name != "CapBnd:" and int(value, 16)]
    if left or prctl.get_dumpable():
        raise HelperError(f"capabilities could not be given up: {' '.join(left) or 'dumpable'}")
