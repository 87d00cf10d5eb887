"""Checks of ports: forwarded ones that the host needs itself, and those that guests come out at."""

from collections.abc import Iterator
from pathlib import Path

from . import ports
from .finding import Finding, Place, error, warning

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def forwards(place: Place) -> Iterator[Finding]:
    for what, fix in ports.forwarded_in_vain(place.guests):
        yield error("port", what, fix)


def of_guests(place: Place) -> Iterator[Finding]:
    """Guests in mode nat come out at ports of their own, unless the host uses those, too."""
    if place.guests and not any(guest.mode == "nat" for guest in place.tapped):
        return
    first, last = ports.GUESTS[0], ports.GUESTS[-1]
    low, high = map(int, RANGE.read_text().split())
    if high >= first:
        yield warning(
            "port",
            f"this host's own programs use ports {low} to {high}, and guests in mode nat "
            f"come out at {first} to {last}",
            f"sysctl -w net.ipv4.ip_local_port_range='{min(low, 32768)} {first - 1}'   (as root)",
        )
    for protocol, port in sorted(ports.in_use()):
        if port in ports.GUESTS:
            yield warning(
                "port",
                f"{protocol} port {port} is in use on this host, among those of guests in "
                "mode nat: a guest can get what one of its peers sends to it",
                f"let it listen on a port below {first}: ss -lnp -A {protocol} 'sport = :{port}'",
            )
