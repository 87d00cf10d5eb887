"""tapdraft list: the taps that are there, read from the kernel as any user may."""

import errno
import json
import pwd
from typing import NamedTuple

from ..helper.errors import HelperError
from ..helper.netlink import Kernel
from ..helper.plan import GROUP, LEAVES, MASQUERADED, REACHES_HOST
from ..helper.request import PREFIX
from ..helper.state import State, read
from .errors import IN_THE_WAY, TapdraftError

_HEADINGS = ("TAP", "GUEST", "USER", "HOST'S ADDRESS", "GUEST'S", "MODE", "HOST", "FORWARDS")


class Row(NamedTuple):
    """One tap. Without CAP_NET_ADMIN the kernel shows no port forwards: `forwards` is None."""

    tap: str
    guest: str
    user: str
    uid: int
    host_address: str  # with the length of its prefix; "" where there is none
    guest_address: str  # "" where the tap does not tell it
    mode: str
    host: str  # "open" or "closed"
    mtu: int
    up: bool
    forwards: tuple[str, ...] | None


def show(*, as_json: bool) -> int:
    rows, complete = _rows()
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return 0
    table = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADINGS))]
    for line in table if rows else []:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    if rows and not complete:
        print("\nOnly root can see port forwards.")
    return 0


def _rows() -> tuple[list[Row], bool]:
    """The taps by name, and whether port forwards could be read."""
    try:
        state, complete = snapshot()
    except HelperError as error:
        raise TapdraftError(str(error), error.hint, error.status) from None
    except OSError as error:
        raise TapdraftError(
            f"the kernel does not tell: {error.strerror}",
            "netlink may be forbidden here",
            IN_THE_WAY,
        ) from None
    return [_row(state, tap, complete) for tap in sorted(state.taps)], complete


def snapshot() -> tuple[State, bool]:
    """What is there, and whether nftables could be read, which takes CAP_NET_ADMIN."""
    try:
        return read(Kernel()), True
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        return read(Kernel(), nftables=False), False


def _row(state: State, tap: str, complete: bool) -> Row:
    link, uid = state.links[tap], state.taps[tap]
    host, guest = _addresses(state, link.ifindex)
    bits = link.group - GROUP
    mode = "isolated" if not bits & LEAVES else "nat" if bits & MASQUERADED else "routed"
    forwards = []
    for forward in (forward for forward in state.forwards if forward.tap == tap):
        forwards.append(f"{forward.protocol}:{forward.port}:{forward.guest_port}")
        guest = guest or forward.guest
    return Row(
        tap,
        tap.removeprefix(PREFIX),
        _user(uid),
        uid,
        host,
        guest,
        mode,
        "open" if bits & REACHES_HOST else "closed",
        link.mtu,
        link.up,
        tuple(sorted(forwards)) if complete else None,
    )


def _addresses(state: State, index: int) -> tuple[str, str]:
    """The host's address on the tap with its prefix, and the guest's, as far as the tap tells."""
    networks = state.addresses.get(index)
    if not networks:
        return "", ""
    network = min(networks)
    # The kernel's own routes hold each address of its links, and the guest's where it is routed.
    ends = {network.network_address, network.broadcast_address} if network.prefixlen < 32 else set()
    routed_to = state.ways.get(index, set())
    single = {to.network_address for to in routed_to if to.prefixlen == 32} - ends
    if network.prefixlen == 32:
        routed = sorted(single - {network.network_address})
        return str(network), str(routed[0]) if routed else ""
    host = min(single, default=None)
    if host is None:
        return "", ""
    # In a /30 there is room for one other. hosts() of a /8 would take its time.
    others = [a for a in network.hosts() if a != host] if network.prefixlen == 30 else []
    return f"{host}/{network.prefixlen}", str(others[0]) if others else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _cells(row: Row) -> tuple[str, ...]:
    forwards = "?" if row.forwards is None else " ".join(row.forwards)
    return (
        row.tap,
        row.guest,
        row.user,
        row.host_address,
        row.guest_address or "?",
        row.mode,
        row.host,
        forwards,
    )
