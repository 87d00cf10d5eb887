"""Ports of this host that are in use, as far as anybody may see: a courtesy to who forwards one.

The guard is the ruleset, which leaves to the host's own sockets what is meant for them. Ports that
another table of nftables publishes, as container engines do, only root can see; they win as well.
"""

import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from .. import requests
from ..model import Guest

# From `masquerade to` in ruleset.nft, which a test compares.
GUESTS = range(61000, 65535 + 1)
PROC = Path("/proc/net")
# include/net/tcp_states.h: TCP_LISTEN, and TCP_CLOSE for a UDP socket of no peer's.
_STATES = {"tcp": "0A", "udp": "07"}


def in_use() -> set[tuple[str, int]]:
    """Protocols and ports on which this host expects somebody from outside."""
    return {
        (protocol, port)
        for protocol, state in _STATES.items()
        for version in ("", "6")
        for port in _ports(PROC / (protocol + version), state)
    }


def _ports(table: Path, state: str) -> Iterator[int]:
    try:
        lines = table.read_text("ascii", "replace").splitlines()[1:]
    except OSError:  # a kernel without IPv6, or a sandbox without /proc
        return
    for line in lines:
        _, local, _, found, *_ = line.split()
        address, _, port = local.partition(":")
        if found == state and _comes_from_outside(address):
            yield int(port, 16)


def _comes_from_outside(words: str) -> bool:
    """Not what listens on a loopback or on one IPv6 address: no forward competes with it."""
    numbers = (int(words[place : place + 8], 16) for place in range(0, len(words), 8))
    data = b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)
    address: IPv4Address | IPv6Address | None = ip_address(data)
    if isinstance(address, IPv6Address) and not address.is_unspecified:
        address = address.ipv4_mapped
    return address is not None and not address.is_loopback


def forwarded_in_vain(guests: Iterable[Guest]) -> Iterator[tuple[str, str]]:
    """What is wrong with forwards of ports that are in use here, and what to do about it."""
    there = in_use()
    for guest in guests:
        for protocol, port, _ in requests.up(guest).forwards if guest.has_tap else ():
            if (protocol, port) in there:
                what = f"{guest.name}: {protocol} port {port} is in use on this host"
                fix = "forward another port, or stop what listens: ss -ln "
                yield what, fix + f"-A {protocol} 'sport = :{port}'"
