"""Which addresses each guest gets: those it names, or the next free /30 of the subnet.

A /30 has room for two: the host's side comes first, the guest's second.
"""

from bisect import bisect_right
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, NamedTuple

from ...helper.errors import HelperError
from ...helper.explain.diagnosis import check_addresses
from ..errors import KeyPath, Problem
from .tables import Reading


def numbered(subnet: IPv4Network, number: int) -> tuple[str, str]:
    """The host's and the guest's address of runqemu's guest `number`."""
    return str(subnet[2 * number + 1]), str(subnet[2 * number + 2])


def most(subnet: IPv4Network) -> int:
    """How many guests runqemu has room for: up to .254 of a /24."""
    return min(subnet.num_addresses // 2 - 1, 127)


class Addresses(NamedTuple):
    guest: str
    gateway: str  # the host's
    prefix: int

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """What the two take up."""
        return IPv4Interface(f"{self.gateway}/{self.prefix}").network, IPv4Network(self.guest)


class _Taken:
    """Ranges of addresses that do not overlap, and whose they are."""

    def __init__(self) -> None:
        self._starts: list[int] = []  # in order
        self._ranges: list[tuple[int, str]] = []  # for each start: the last address, and the guest

    def add(self, network: IPv4Network, guest: str) -> None:
        """Nobody else's may overlap with it; the guest's own may contain each other."""
        first, last = int(network.network_address), int(network.broadcast_address)
        end = self.end(first, last)
        if end is None:
            at = bisect_right(self._starts, first)
            self._starts.insert(at, first)
            self._ranges.insert(at, (last, guest))

    def guest(self, network: IPv4Network) -> str:
        """Whose addresses overlap with these; "" if nobody's do."""
        at = self._at(int(network.network_address), int(network.broadcast_address))
        return "" if at is None else self._ranges[at][1]

    def end(self, first: int, last: int) -> int | None:
        """The last address of a range that overlaps with this one, if there is one."""
        at = self._at(first, last)
        return None if at is None else self._ranges[at][0]

    def _at(self, first: int, last: int) -> int | None:
        at = bisect_right(self._starts, last) - 1
        return at if at >= 0 and self._ranges[at][0] >= first else None


class Allotment:
    """First `reserve()` for all guests, then `take()` for each, in the description's order."""

    def __init__(self, reading: Reading, subnet: IPv4Network, layout: str) -> None:
        self.reading = reading
        self.subnet = subnet
        self.layout = layout
        self.number = 0  # of the next guest, in runqemu's layout
        self.next = int(subnet.network_address)
        self.named: dict[str, Addresses | None] = {}
        self.taken = _Taken()

    def reserve(self, name: str, keys: dict[str, Any]) -> None:
        """Note the addresses that the guest names itself, if it does."""
        path = ("guest", name)
        if keys.get("network", "tap") != "tap":
            self.named[name] = self._without_tap(path, keys)
        elif "gateway" in keys and "address" not in keys:
            self.reading.wrong(
                (*path, "gateway"), "gateway needs an address", 'write address = "..." as well'
            )
        elif "address" in keys:
            found = self._named(path, keys["address"], keys.get("gateway"))
            self.named[name] = found
            # The larger one first, as it may contain the other.
            for network in found.networks if found else ():
                self.taken.add(network, name)

    def take(self, name: str) -> Addresses | None:
        """This guest's addresses; None if there are none, which has been noted as a problem."""
        if name in self.named:
            return self.named[name]
        if self.layout == "runqemu":
            return self._numbered(name)
        last = int(self.subnet.broadcast_address)
        while self.next < last:
            start, self.next = self.next, self.next + 4
            end = self.taken.end(start, start + 3)
            if end is None:
                block = IPv4Network((start, 30))
                return Addresses(str(block[2]), str(block[1]), 30)
            self.next = max(self.next, (end // 4 + 1) * 4)
        self._none_left(name, f"no /30 of {self.subnet} is left for guest {name}")
        return None

    def _numbered(self, name: str) -> Addresses | None:
        """As runqemu would have it: a /32 on the host, whatever the others name."""
        while self.number < most(self.subnet):
            host, guest = numbered(self.subnet, self.number)
            self.number += 1
            if not any(self.taken.guest(IPv4Network(address)) for address in (host, guest)):
                return Addresses(guest, host, 32)
        self._none_left(name, f"no number of {self.subnet} is left for guest {name}")
        return None

    def _none_left(self, name: str, what: str) -> None:
        hint = f'write a larger subnet in [network]: "{_larger(self.subnet)}"'
        self.reading.wrong(("guest", name), what, hint, at_key=True)

    def _without_tap(self, path: tuple[str, str], keys: dict[str, Any]) -> Addresses:
        for key in ("address", "gateway"):
            if key in keys:
                what = f'{key} needs network = "tap", not "{keys["network"]}"'
                self.reading.wrong((*path, key), what, f"leave {key} out")
        return Addresses("", "", 30)

    def _named(self, path: tuple[str, str], guest: str, gateway: str | None) -> Addresses | None:
        if gateway is None and self.layout == "runqemu":
            gateway = f"{IPv4Address(max(int(IPv4Address(guest)) - 1, 0))}/32"
        elif gateway is None:
            gateway = f"{_other_of_its_block(guest)}/30"
        host = IPv4Interface(gateway)
        found = Addresses(guest, str(host.ip), host.network.prefixlen)
        problem = self._problem((*path, "address"), found)
        if problem:
            self.reading.report(problem)
            return None
        return found

    def _problem(self, where: KeyPath, found: Addresses) -> Problem[KeyPath] | None:
        try:
            check_addresses(found.gateway, found.prefix, found.guest)
        except HelperError as error:
            hint = error.hint or 'name the host\'s address too: gateway = "ADDRESS/PREFIX"'
            return Problem(where, str(error), hint)
        for address in (found.guest, found.gateway):
            if IPv4Address(address) not in self.subnet:
                hint = "use an address in it, or write another subnet in [network]"
                return Problem(where, f"{address} is not in the subnet {self.subnet}", hint)
        for network in found.networks:
            other = self.taken.guest(network)
            if other:
                what = f"this overlaps the addresses of guest {other}"
                return Problem(where, what, "use another /30")
        return None


def _other_of_its_block(guest: str) -> IPv4Address:
    """The other usable address of the guest's /30."""
    block = IPv4Network(f"{guest}/30", strict=False)
    return block[2] if guest == str(block[1]) else block[1]


def _larger(subnet: IPv4Network) -> IPv4Network:
    """The subnet with one or two bits less in its prefix, as far as a subnet can have them."""
    return subnet.supernet(new_prefix=max(8, subnet.prefixlen - 2))
