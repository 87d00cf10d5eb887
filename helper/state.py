"""What is there: tapdraft's taps, by their marks, and what a new tap could collide with.

The kernel is the only database. An interface is tapdraft's if it has the prefix, a group of
tapdraft's and the alias, all three; the user who owns a tap can change none of them.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network
from itertools import pairwise
from typing import NamedTuple

from . import firewall
from .errors import InTheWay
from .host import read_sysctl
from .netlink import Kernel, Link, Way
from .plan import EARLIER, GROUP, GROUPS, MARK, ForwardPort, Uplink, comment_of, group_of
from .request import PREFIX, Request

_MARKS = "|".join(map(str, (*EARLIER, MARK)))
_ALIAS = re.compile(
    rf"tapdraft (?:{_MARKS}) uid=(0|[1-9][0-9]{{0,9}}) guest=([a-z0-9][a-z0-9-]{{0,11}})", re.A
)
# A tap that has no owner yet. No request has such a name.
UNFINISHED = "td-_new"
_COMMENTS = {comment_of(mark): mark for mark in (*EARLIER, MARK)}


class State(NamedTuple):
    """A picture of one network namespace, good as long as the lock is held."""

    links: dict[str, Link]
    taps: dict[str, int]  # the uid of whose it is, by the name of the tap
    addresses: dict[int, set[IPv4Network]]  # by the index of the interface
    ways: dict[int, set[IPv4Network]]  # what is routed to it, likewise
    default_uplinks: tuple[str, ...]  # what carries a default route
    table: bool  # is our table there?
    uplinks: dict[str, Uplink]  # by their names
    forwards: tuple[ForwardPort, ...]
    mark: int = MARK  # of the table: an earlier version's can be taken down, and nothing added to

    def of(self, uid: int) -> list[str]:
        """The names of a user's taps."""
        return [name for name, owner in self.taps.items() if owner == uid]

    def stale_forwards(self) -> list[ForwardPort]:
        """Those whose tap is gone. A new tap of that name or address must not inherit them."""
        return [forward for forward in self.forwards if forward.tap not in self.taps]

    def complete(self, request: Request) -> list[Uplink]:
        """The uplinks that a request means here, with what to restore. InTheWay if none will do."""
        if not request.leaves:
            return []
        names = request.uplinks or self.default_uplinks
        if not names:
            raise InTheWay("no interface carries a default route", "name one with uplink=IF")
        return [self._uplink(name) for name in names]

    def _uplink(self, name: str) -> Uplink:
        value = read_sysctl(f"ipv4/conf/{name}/forwarding") if name in self.links else None
        if value is None:
            raise InTheWay(f"there is no interface {name}", "ip link shows what there is")
        if name in self.taps or name == UNFINISHED:
            raise InTheWay(f"{name} is a guest's tap", "name an interface towards the outside")
        uplink = self.uplinks.get(name, Uplink(name, value))
        # Not for a guest to undo: the host forwards elsewhere, or no longer does.
        if value == "0" and (uplink.was == "1" or read_sysctl("ipv4/ip_forward") == "1"):
            raise InTheWay(
                f"forwarding is off on {name}, which is excluded from it on purpose",
                f"sysctl -w net/ipv4/conf/{name}/forwarding=1, or name another uplink",
            )
        return uplink

    def collision(self, requests: Iterable[Request]) -> str:
        """Which request's addresses overlap with the host's or another request's, or ''."""
        wanted = sorted((*_ends(n), f"{r.name}: {n}") for r in requests for n in r.networks)
        for (_, last, one), (first, _, other) in pairwise(wanted):
            if first <= last:
                return f"{other} overlaps with {one}"
        names = {link.ifindex: link.name for link in self.links.values()}
        for ifindex, networks in (*self.addresses.items(), *self.ways.items()):
            for network in networks:
                first, last = _ends(network)
                # What is wanted is apart: the last that begins before the end reaches furthest.
                place = bisect_right(wanted, last, key=lambda span: span[0])
                if network.prefixlen > 1 and place and first <= wanted[place - 1][1]:
                    where = names.get(ifindex, "a route")
                    return f"{wanted[place - 1][2]} overlaps with {network} ({where})"
        return ""

    def same(self, request: Request) -> bool:
        """Is the tap that is there just what the request asks for?"""
        link = self.links[request.tap]
        forwards = {
            ForwardPort(request.tap, *forward[:2], request.guest, forward[2])
            for forward in request.forwards
        }
        return (
            link[3:] == (group_of(request), request.mtu, True, request.queues > 1)
            and self.addresses.get(link.ifindex) == {request.networks[0]}
            and {IPv4Network(request.host), *request.networks} <= self.ways.get(link.ifindex, set())
            and {f for f in self.forwards if f.tap == request.tap} == forwards
            and set(request.uplinks) <= set(self.uplinks)
        )


def read(kernel: Kernel, nftables: bool = True, networks: bool = True) -> State:
    """The present state. InTheWay if somebody else's table has our name, or a later version's.

    Without CAP_NET_ADMIN the kernel shows no nftables: leave them out then. Leave the networks
    out where no address will be added: of a thousand taps they are most of what there is to read.
    """
    links = {link.name: link for link in kernel.links()}
    taps = {name: uid for name, link in links.items() if (uid := owner(link)) is not None}
    table = firewall.table_comment(kernel) if nftables else None
    if table is not None and table not in _COMMENTS:
        raise InTheWay(
            "there is a table inet tapdraft that this version did not make",
            "take down all taps with the version that made it; or, as root, delete each interface"
            " td-* (ip link delete dev NAME), then: nft delete table inet tapdraft",
        )
    uplinks = {uplink.name: uplink for uplink in firewall.uplinks(kernel)} if table else {}
    forwards = tuple(firewall.forwards(kernel)) if table else ()
    addresses = _by_interface(kernel.addresses() if networks else ())
    routes = kernel.routes() if networks else []
    ways = _by_interface(routes)
    # 0.0.0.0/1 and 128.0.0.0/1 count as a default route: VPNs take it over that way.
    default = {way.ifindex for way in routes if way.network.prefixlen <= 1 and not way.local}
    carriers = {name for name, link in links.items() if link.ifindex in default} - {"lo", *taps}
    return State(
        links,
        taps,
        addresses,
        ways,
        tuple(sorted(carriers)),
        table is not None,
        uplinks,
        forwards,
        _COMMENTS.get(table or "", MARK),
    )


def _by_interface(pairs: Iterable[Way]) -> dict[int, set[IPv4Network]]:
    found: dict[int, set[IPv4Network]] = {}
    for ifindex, network, _ in pairs:
        found.setdefault(ifindex, set()).add(network)
    return found


def owner(link: Link) -> int | None:
    """The uid of whose tap an interface is by all its marks; None if it is no tap of tapdraft's."""
    marks = _ALIAS.fullmatch(link.alias)
    if not marks or link.name != PREFIX + marks[2] or not GROUP <= link.group < GROUP + GROUPS:
        return None
    return int(marks[1])


def _ends(network: IPv4Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)
