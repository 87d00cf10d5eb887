"""What is there: tapdraft's taps, by their marks, and what a new tap could collide with.

The kernel is the only database. An interface is tapdraft's if it has the prefix, a group of
tapdraft's and the alias, all three; the user who owns a tap can change none of them.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from itertools import accumulate, pairwise
from typing import NamedTuple

from .errors import HelperError, InTheWay
from .netlink import (
    PROTOCOLS, Element, Kernel, Link, forward_key, forward_value, read_sysctl,
)  # fmt: skip
from .plan import GROUP, GROUPS, Uplink, group_of
from .request import PREFIX, Request
from .ruleset import COMMENT, FORWARDS, UPLINKS

_ALIAS = re.compile(r"tapdraft 1 uid=(0|[1-9][0-9]{0,9}) guest=([a-z0-9][a-z0-9-]{0,11})", re.A)


class Tap(NamedTuple):
    """One of tapdraft's taps."""

    link: Link
    uid: int  # whose it is
    guest: str


class Occupied(NamedTuple):
    """Networks that are taken, sorted, with the interface of each: for asking a thousand times."""

    networks: list[tuple[IPv4Network, int]]
    starts: list[int]  # their first addresses
    reach: list[int]  # the last address of each and of all before it

    def overlapping(self, wanted: IPv4Network) -> tuple[IPv4Network, int] | None:
        """A network that overlaps with this one, and its interface."""
        first, last = int(wanted.network_address), int(wanted.broadcast_address)
        before = bisect_right(self.starts, last)
        if not before or self.reach[before - 1] < first:
            return None
        return next(there for there in self.networks if there[0].overlaps(wanted))


class State(NamedTuple):
    """A picture of one network namespace, good as long as the lock is held."""

    links: dict[str, Link]
    taps: dict[str, Tap]  # by the name of the tap
    addresses: dict[int, set[IPv4Network]]  # by the index of the interface
    ways: dict[int, set[IPv4Network]]  # what is routed to it, likewise
    occupied: Occupied
    default_uplinks: tuple[str, ...]
    table: str | None  # the comment of the table with our name
    uplinks: dict[str, str]  # with the earlier value of forwarding
    forwards: list[Element]

    def of(self, uid: int) -> list[Tap]:
        return [tap for tap in self.taps.values() if tap.uid == uid]

    def forwards_of(self, tap: str) -> tuple[tuple[str, int], ...]:
        return tuple(port_of(element) for element in self.forwards if element.comment == tap)

    def stale_forwards(self) -> tuple[tuple[str, int], ...]:
        """Those whose tap is gone. A new tap of that name or address must not inherit them."""
        return tuple(port_of(e) for e in self.forwards if e.comment not in self.taps)

    def complete(self, request: Request) -> tuple[Uplink, ...]:
        """The uplinks that a request means here, with what to restore. InTheWay if none will do."""
        if not request.leaves:
            return ()
        names = request.uplinks or self.default_uplinks
        if not names:
            raise InTheWay("no interface carries a default route", "name one with uplink=IF")
        return tuple(Uplink(name, self._was(name)) for name in names)

    def _was(self, name: str) -> str:
        if name in self.uplinks:
            return self.uplinks[name]
        value = read_sysctl(f"ipv4/conf/{name}/forwarding") if name in self.links else None
        if value is None:
            raise InTheWay(f"there is no interface {name}", "ip link shows what there is")
        if value == "0" and read_sysctl("ipv4/ip_forward") == "1":
            raise InTheWay(
                f"this host forwards, but {name} is excluded from it on purpose",
                f"sysctl -w net/ipv4/conf/{name}/forwarding=1, or name another uplink",
            )
        return value

    def collision(self, request: Request) -> str:
        """What of the host's the request's addresses overlap with, or ''."""
        for wanted in (request.network, IPv4Network(request.guest)):
            there = self.occupied.overlapping(wanted)
            if there:
                network, ifindex = there
                names = {link.ifindex: name for name, link in self.links.items()}
                return f"{network} ({names.get(ifindex, 'a route')})"
        return ""

    def same(self, tap: Tap, request: Request) -> bool:
        """Is the tap just what the request asks for?"""
        link = tap.link
        networks = self.addresses.get(link.ifindex, set())
        ways = self.ways.get(link.ifindex, set())
        forwards = {(e.key, e.value) for e in self.forwards if e.comment == link.name}
        return (
            (link.group, link.mtu, link.up, link.multi_queue)
            == (group_of(request), request.mtu, True, request.queues > 1)
            and networks == {request.network}
            and IPv4Network(f"{request.host}/32") in ways
            and (not request.routed_to or IPv4Network(request.guest) in ways)
            and forwards == {
                (forward_key(f.protocol, f.port), forward_value(request.guest, f.guest_port))
                for f in request.forwards
            }
            and set(request.uplinks) <= set(self.uplinks)
        )  # fmt: skip


def read(kernel: Kernel, nftables: bool = True, networks: bool = True) -> State:
    """The present state. InTheWay if somebody else's table has our name.

    Without CAP_NET_ADMIN the kernel shows no nftables: leave them out then. Leave the networks
    out where no address will be added: of a thousand taps they are most of what there is to read.
    """
    links = {link.name: link for link in kernel.links()}
    taps = {name: tap for name, link in links.items() if (tap := tap_of(link))}
    table = kernel.table_comment() if nftables else None
    if table not in (None, COMMENT):
        raise InTheWay(
            "there is a table inet tapdraft that this version did not make",
            "take down all taps with the version that made it, or: nft delete table inet tapdraft",
        )
    uplinks = {
        element.key.rstrip(b"\0").decode("ascii", "replace"): _was_in(element)
        for element in (kernel.elements(UPLINKS) if table else ())
    }
    forwards = kernel.elements(FORWARDS) if table else []
    addresses, routes = (kernel.addresses(), kernel.routes()) if networks else ([], [])
    ways = [(ifindex, route.to) for route in routes for ifindex in route.indexes or (0,)]
    # 0.0.0.0/1 and 128.0.0.0/1 count as a default route: VPNs take it over that way.
    default = {ifindex for ifindex, to in ways if to.prefixlen <= 1}
    carriers = {name for name, link in links.items() if link.ifindex in default} - {"lo", *taps}
    return State(
        links, taps, _by_interface(addresses), _by_interface(ways),
        _occupied([*addresses, *(way for way in ways if way[1].prefixlen > 1)]),
        tuple(sorted(carriers)), table, uplinks, forwards,
    )  # fmt: skip


def _by_interface(pairs: list[tuple[int, IPv4Network]]) -> dict[int, set[IPv4Network]]:
    found: dict[int, set[IPv4Network]] = {}
    for ifindex, network in pairs:
        found.setdefault(ifindex, set()).add(network)
    return found


def _occupied(pairs: list[tuple[int, IPv4Network]]) -> Occupied:
    networks = sorted((network, ifindex) for ifindex, network in pairs)
    starts = [int(network.network_address) for network, _ in networks]
    ends = (int(network.broadcast_address) for network, _ in networks)
    return Occupied(networks, starts, list(accumulate(ends, max)))


def port_of(element: Element) -> tuple[str, int]:
    """Protocol and port of an element of the map of port forwards."""
    for protocol, number in PROTOCOLS.items():
        if element.key[:1] == bytes((number,)) and len(element.key) >= 6:
            return protocol, int.from_bytes(element.key[4:6], "big")
    raise HelperError("the table's port forwards cannot be read")


def guest_of(element: Element) -> tuple[str, int]:
    """The guest's address and port of an element of the map of port forwards."""
    return str(IPv4Address(element.value[:4])), int.from_bytes(element.value[4:6], "big")


def overlapping(requests: Iterable[Request]) -> str:
    """Which of the requests overlap each other in name, address or port, or ''."""
    networks: dict[IPv4Network, str] = {}
    seen: dict[object, str] = {}
    for request in requests:
        things: list[object] = [request.name, *(forward[:2] for forward in request.forwards)]
        for thing in things:
            if thing in seen:
                return f"{seen[thing]} and {request.name}: {thing} twice"
            seen[thing] = request.name
        networks[request.network] = networks.get(request.network, "") + f" {request.name}"
        if request.routed_to:
            guest = IPv4Network(request.guest)
            networks[guest] = networks.get(guest, "") + f" {request.name}"
    # Sorted, an overlap shows between neighbours: a thousand requests need no million comparisons.
    ordered = sorted(networks)
    for first, second in pairwise(ordered):
        if first.overlaps(second):
            return f"{networks[first].strip()} and {networks[second].strip()}: {first} and {second}"
    for network, names in networks.items():
        if len(names.split()) > 1:
            return f"{' and '.join(names.split())}: {network} twice"
    return ""


def tap_of(link: Link) -> Tap | None:
    """The tap that an interface is by all its marks, or None."""
    marks = _ALIAS.fullmatch(link.alias)
    if not marks or link.name != PREFIX + marks[2] or not GROUP <= link.group < GROUP + GROUPS:
        return None
    return Tap(link, int(marks[1]), marks[2])


def _was_in(element: Element) -> str:
    was = element.comment.removeprefix("forwarding was ")
    if was not in ("0", "1"):
        raise InTheWay(
            "the table's note of what to restore is damaged", "nft list set inet tapdraft uplinks"
        )
    return was
