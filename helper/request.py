"""The request: one line of plain words, the only thing a caller can say to the helper.

    up NAME HOST/PREFIX GUEST [nat|routed|isolated] [host=open|closed] [uplink=IF]...
       [forward=PROTO:PORT:GUESTPORT]... [mtu=N] [queues=N]
    down NAME
    down --all

`parse()` turns a line into a Request or refuses it. What is wrong with one that is refused is for
diagnosis.py to find, and line() in commands.py writes a Request's line, both without any privilege.
"""

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import NamedTuple

from .errors import BadRequest

MODES = ("nat", "routed", "isolated")
PROTOCOLS = ("tcp", "udp")
PREFIX = "td-"
LONGEST_LINE = 1024
# RFC 791's least, and the most that the kernel's tun driver takes (65535 less the Ethernet header).
MTUS = range(68, 65521 + 1)
# MAX_TAP_QUEUES in the kernel's tun driver.
QUEUES = range(1, 256 + 1)
PORTS = range(1, 65535 + 1)
# /31 (RFC 3021) is left out: guests' own tools differ on it.
PREFIXES = (*range(8, 30 + 1), 32)
# IFNAMSIZ is 16 with its NUL: 15 characters, of which "td-" takes three.
NAME = "[a-z0-9][a-z0-9-]{0,11}"
INTERFACE = r"(?!(?:\.|\.\.|all|default|lo)\Z)[A-Za-z0-9._-]{1,15}"
NUMBER = "(?:0|[1-9][0-9]{0,4})"
# Never a guest's network: this host, loopback, link-local (cloud metadata lives there),
# multicast, reserved. RFC 6890.
FORBIDDEN = tuple(
    map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))
)
_DOWN = re.compile(f"down (?:--all|({NAME}))")
_UP = re.compile(rf"up ({NAME}) ([0-9.]+)/({NUMBER}) ([0-9.]+)((?: [A-Za-z0-9.:=_-]+)*)")
_WORD = re.compile(
    rf"(?P<mode>{'|'.join(MODES)})|host=(?P<host_open>open|closed)|uplink=(?P<uplinks>{INTERFACE})"
    rf"|forward=(?P<forwards>(?:{'|'.join(PROTOCOLS)}):{NUMBER}:{NUMBER})|mtu=(?P<mtu>{NUMBER})"
    rf"|queues=(?P<queues>{NUMBER})"
)


class Forward(NamedTuple):
    """A port of the uplinks that is handed on to the guest."""

    protocol: str  # "tcp" or "udp"
    port: int  # 1 to 65535, on the host's uplinks
    guest_port: int  # 1 to 65535, on the guest


class Request(NamedTuple):
    """What is asked for. An empty `name` means all of the caller's taps, with `down` only."""

    verb: str  # "up" or "down"
    name: str = ""
    host: str = ""  # the host's address on the tap, "192.168.7.1"
    prefix: int = 30  # of the network on the tap, 8 to 32 and not 31
    guest: str = ""  # the guest's address, "192.168.7.2"
    mode: str = "nat"  # one of MODES
    host_open: bool = False  # may the guest reach the host?
    uplinks: tuple[str, ...] = ()  # empty: the interfaces that carry a default route
    forwards: tuple[Forward, ...] = ()
    mtu: int = 1500  # bytes
    queues: int = 1
    line: str = ""  # as it was said, for the log

    @property
    def tap(self) -> str:
        return PREFIX + self.name

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """All that becomes the guest's: the tap's network, and its address where outside of it."""
        network = IPv4Interface(f"{self.host}/{self.prefix}").network
        guest = IPv4Network(self.guest)
        return (network,) if guest.subnet_of(network) else (network, guest)

    @property
    def leaves(self) -> bool:
        """Does any of the guest's packets leave through an uplink?"""
        return self.mode != "isolated" or bool(self.forwards)


def parse(line: str) -> Request:
    """The Request that a line means. BadRequest, without a reason, if it means none."""
    if down := _DOWN.fullmatch(line):
        return Request("down", down[1] or "", line=line)
    up = _UP.fullmatch(line) if len(line) <= LONGEST_LINE else None
    words = up[5].split() if up else []
    found = [_WORD.fullmatch(word) for word in words]
    said: dict[str | None, list[str]] = {}
    for word in filter(None, found):
        said.setdefault(word.lastgroup, []).append(word[str(word.lastgroup)])
    several = {field for field, values in said.items() if len(values) > 1}
    twice = len(set(words)) < len(words) or several - {"uplinks", "forwards"}
    if not up or None in found or twice:
        raise BadRequest("this is no request")
    forwards = (forward.split(":") for forward in said.get("forwards", ()))
    request = Request(
        "up",
        up[1],
        up[2],
        int(up[3]),
        up[4],
        mode=said.get("mode", ["nat"])[0],
        host_open=said.get("host_open") == ["open"],
        uplinks=tuple(said.get("uplinks", ())),
        forwards=tuple(Forward(words[0], *map(int, words[1:])) for words in forwards),
        mtu=int(said.get("mtu", ["1500"])[0]),
        queues=int(said.get("queues", ["1"])[0]),
        line=line,
    )
    if not _is_sound(request):
        raise BadRequest("this is no request")
    return request


def _is_sound(request: Request) -> bool:
    """Is every number in its range, and can host and guest have their addresses on one link?"""
    try:
        network = IPv4Interface(f"{request.host}/{request.prefix}").network
        host, guest = ends = IPv4Address(request.host), IPv4Address(request.guest)
    except ValueError:
        return False
    around = (network.network_address, network.broadcast_address)
    return (
        request.prefix in PREFIXES
        and request.mtu in MTUS
        and request.queues in QUEUES
        and all(port in PORTS for forward in request.forwards for port in forward[1:])
        and len({forward[:2] for forward in request.forwards}) == len(request.forwards)
        and not any(address in forbidden for address in ends for forbidden in FORBIDDEN)
        and host != guest
        and (request.prefix == 32 or (guest in network and not set(ends) & set(around)))
    )
