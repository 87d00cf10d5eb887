"""What is there: tapdraft's taps, by their marks, and what a new tap could collide with.

The kernel is the only database. An interface is tapdraft's if it has the prefix, a group of
tapdraft's and the alias, all three; the user who owns a tap can change none of them.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import NamedTuple

from . import firewall
from .errors import InTheWay
from .host import read_sysctl
from .netlink import Kernel, Link, Way
from .plan import COMMENT, GROUP, GROUPS, ForwardPort, Uplink, group_of
from .request import PREFIX, Request

_ALIAS = re.compile(r"tapdraft 1 uid=(0|[1-9][0-9]{0,9}) guest=([a-z0-9][a-z0-9-]{0,11})", re.A)


class Tap(NamedTuple):
    """One of tapdraft's taps."""

    link: Link
    uid: int  # whose it is
    guest: str


class State(NamedTuple):
    """A picture of one network namespace, good as long as the lock is held."""

    links: dict[str, Link]
    taps: dict[str, Tap]  # by the name of the tap
    addresses: dict[int, set[IPv4Network]]  # by the index of the interface
    ways: dict[int, set[IPv4Network]]  # what is routed to it, likewise
    default_uplinks: tuple[str, ...]  # what carries a default route
    table: bool  # is our table there?
    uplinks: dict[str, str]  # with the earlier value of forwarding
    forwards: tuple[ForwardPort, ...]

    def of(self, uid: int) -> list[str]:
        """The names of a user's taps."""
        return [name for name, tap in self.taps.items() if tap.uid == uid]

    def forwards_of(self, tap: str) -> tuple[ForwardPort, ...]:
        return tuple(forward for forward in self.forwards if forward.tap == tap)

    def stale_forwards(self) -> tuple[ForwardPort, ...]:
        """Those whose tap is gone. A new tap of that name or address must not inherit them."""
        return tuple(forward for forward in self.forwards if forward.tap not in self.taps)

    def complete(self, request: Request) -> tuple[Uplink, ...]:
        """The uplinks that a request means here, with what to restore. InTheWay if none will do."""
        if not request.leaves:
            return ()
        names = request.uplinks or self.default_uplinks
        if not names:
            raise InTheWay("no interface carries a default route", "name one with uplink=IF")
        return tuple(Uplink(name, self._was(name)) for name in names)

    def _was(self, name: str) -> str:
        value = read_sysctl(f"ipv4/conf/{name}/forwarding") if name in self.links else None
        if value is None:
            raise InTheWay(f"there is no interface {name}", "ip link shows what there is")
        was = self.uplinks.get(name, value)
        # Not for a guest to undo: the host forwards elsewhere, or no longer does.
        if value == "0" and (was == "1" or read_sysctl("ipv4/ip_forward") == "1"):
            raise InTheWay(
                f"forwarding is off on {name}, which is excluded from it on purpose",
                f"sysctl -w net/ipv4/conf/{name}/forwarding=1, or name another uplink",
            )
        return was

    def collision(self, requests: Iterable[Request]) -> str:
        """Which request's addresses overlap with the host's or another request's, or ''."""
        names = {link.ifindex: link.name for link in self.links.values()}
        there = [*self.addresses.items(), *self.ways.items()]
        spans = [
            (network, False, f"{network} ({names.get(ifindex, 'a route')})")
            for ifindex, networks in there for network in networks if network.prefixlen > 1
        ]  # fmt: skip
        spans += [(n, True, f"{r.name}: {n}") for r in requests for n in r.networks]
        # Sorted, what overlaps shows by how far those before reach: no million comparisons.
        reach = {False: (-1, ""), True: (-1, "")}
        for network, wanted, what in sorted(spans):
            for other in (False, True) if wanted else (True,):
                if int(network.network_address) <= reach[other][0]:
                    mine, theirs = (what, reach[other][1])[:: 1 if wanted else -1]
                    return f"{mine} overlaps with {theirs}"
            reach[wanted] = max(reach[wanted], (int(network.broadcast_address), what))
        return ""

    def same(self, tap: Tap, request: Request) -> bool:
        """Is the tap just what the request asks for?"""
        link, ways = tap.link, self.ways.get(tap.link.ifindex, set())
        wanted = {ForwardPort(link.name, *forward[:2], request.guest, forward.guest_port)
                  for forward in request.forwards}  # fmt: skip
        return (
            (link.group, link.mtu, link.up, link.multi_queue)
            == (group_of(request), request.mtu, True, request.queues > 1)
            and self.addresses.get(link.ifindex) == {request.network}
            and {IPv4Network(request.host), *request.networks[1:]} <= ways
            and set(self.forwards_of(link.name)) == wanted
            and set(request.uplinks) <= set(self.uplinks)
        )


def read(kernel: Kernel, nftables: bool = True, networks: bool = True) -> State:
    """The present state. InTheWay if somebody else's table has our name.

    Without CAP_NET_ADMIN the kernel shows no nftables: leave them out then. Leave the networks
    out where no address will be added: of a thousand taps they are most of what there is to read.
    """
    links = {link.name: link for link in kernel.links()}
    taps = {name: tap for name, link in links.items() if (tap := tap_of(link))}
    table = firewall.table_comment(kernel) if nftables else None
    if table not in (None, COMMENT):
        raise InTheWay(
            "there is a table inet tapdraft that this version did not make",
            "take down all taps with the version that made it, or: nft delete table inet tapdraft",
        )
    uplinks = dict(firewall.uplinks(kernel)) if table else {}
    if "" in uplinks.values():
        raise InTheWay(
            "the table's note of what to restore is damaged", "nft list set inet tapdraft uplinks"
        )
    forwards = tuple(firewall.forwards(kernel)) if table else ()
    addresses, ways = (kernel.addresses(), kernel.routes()) if networks else ((), ())
    # 0.0.0.0/1 and 128.0.0.0/1 count as a default route: VPNs take it over that way.
    default = {ifindex for ifindex, to in ways if to.prefixlen <= 1}
    carriers = {name for name, link in links.items() if link.ifindex in default} - {"lo", *taps}
    return State(
        links, taps, _by_interface(addresses), _by_interface(ways), tuple(sorted(carriers)),
        table is not None, uplinks, forwards,
    )  # fmt: skip


def _by_interface(pairs: Iterable[Way]) -> dict[int, set[IPv4Network]]:
    found: dict[int, set[IPv4Network]] = {}
    for ifindex, network in pairs:
        found.setdefault(ifindex, set()).add(network)
    return found


def tap_of(link: Link) -> Tap | None:
    """The tap that an interface is by all its marks, or None."""
    marks = _ALIAS.fullmatch(link.alias)
    if not marks or link.name != PREFIX + marks[2] or not GROUP <= link.group < GROUP + GROUPS:
        return None
    return Tap(link, int(marks[1]), marks[2])
