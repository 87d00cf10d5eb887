"""The request: one line of plain words, the only thing a caller can say to the helper.

    up NAME HOST/PREFIX GUEST [nat|routed|isolated] [host=open|closed] [uplink=IF]...
       [forward=PROTO:PORT:GUESTPORT]... [mtu=N] [queues=N]
    down NAME
    down --all

`parse()` turns a line into a Request, `Request.line()` turns it back; for every line that
parses, parsing the line it is turned back into gives the same Request.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import NamedTuple

from .errors import BadRequest

MODES = ("nat", "routed", "isolated")
PROTOCOLS = ("tcp", "udp")
PREFIX = "td-"
LONGEST_LINE = 1024
# IFNAMSIZ is 16 with its NUL: 15 characters, of which "td-" takes three.
LONGEST_NAME = 12
LONGEST_INTERFACE = 15
# RFC 791's least, and the most that the kernel's tun driver takes (65535 less the Ethernet header).
MTU_RANGE = (68, 65521)
# MAX_TAP_QUEUES in the kernel's tun driver.
QUEUES_RANGE = (1, 256)

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_NAME = _LETTERS | {"-"}
_INTERFACE = _LETTERS | set("._-")
_LINE = _LETTERS | set(".:/=_- ")
# Never a guest's network: this host, loopback, link-local (cloud metadata lives there),
# multicast, reserved. RFC 6890.
_FORBIDDEN = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)


class Forward(NamedTuple):
    """A port of the uplinks that is handed on to the guest."""

    protocol: str  # "tcp" or "udp"
    port: int  # 1 to 65535, on the host's uplinks
    guest_port: int  # 1 to 65535, on the guest

    def word(self) -> str:
        return f"{self.protocol}:{self.port}:{self.guest_port}"


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

    @property
    def tap(self) -> str:
        return PREFIX + self.name

    @property
    def network(self) -> IPv4Network:
        return IPv4Interface(f"{self.host}/{self.prefix}").network

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """All that becomes the guest's: the tap's network, and its address where outside of it."""
        there = (self.network, IPv4Network(self.guest))
        return there if self.routed_to else there[:1]

    @property
    def routed_to(self) -> str:
        """The guest's address where the host's prefix does not cover it, else ''."""
        return "" if IPv4Address(self.guest) in self.network else self.guest

    @property
    def leaves(self) -> bool:
        """Does any of the guest's packets leave through an uplink?"""
        return self.mode != "isolated" or bool(self.forwards)

    def line(self) -> str:
        """The request in its one canonical form; what is at its default is left out."""
        if self.verb == "down":
            return f"down {self.name or '--all'}"
        words = ["up", self.name, f"{self.host}/{self.prefix}", self.guest, self.mode]
        words += ["host=open"] if self.host_open else []
        words += [f"uplink={name}" for name in self.uplinks]
        words += [f"forward={forward.word()}" for forward in self.forwards]
        words += [f"mtu={self.mtu}"] if self.mtu != 1500 else []
        words += [f"queues={self.queues}"] if self.queues != 1 else []
        return " ".join(words)


def parse(line: str) -> Request:
    """The Request that a line means, or BadRequest."""
    if len(line) > LONGEST_LINE:
        raise BadRequest(f"the request is longer than {LONGEST_LINE} characters")
    strange = sorted(set(line) - _LINE)
    if strange:
        # Named by number: the character itself might be made to deceive the reader.
        raise BadRequest(
            f"the character U+{ord(strange[0]):04X} cannot occur in a request",
            "requests are made of a-z 0-9 . : / = _ - and single spaces",
        )
    words = line.split(" ")
    if words == [""]:
        raise BadRequest("there is no request", "tapdraft-helper --help tells what there is")
    if "" in words:
        raise BadRequest("words of a request are separated by single spaces")
    if words[0] == "up":
        return _up(words[1:])
    if words[0] == "down":
        return _down(words[1:])
    raise BadRequest(f"'{words[0]}' is no request", "a request begins with up or down")


def check_name(name: str) -> str:
    """A guest's name: 1 to 12 of a-z 0-9 -, the first not a hyphen; raises BadRequest."""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise BadRequest(f"a guest's name has 1 to {LONGEST_NAME} characters, not {len(name)}")
    if not set(name) <= _NAME or name[0] == "-":
        raise BadRequest(
            f"'{name}' is no guest's name", "use a-z, 0-9 and hyphens, the first not a hyphen"
        )
    return name


def check_interface(name: str) -> str:
    """The name of an interface that may be an uplink; raises BadRequest."""
    if not 1 <= len(name) <= LONGEST_INTERFACE or not set(name) <= _INTERFACE:
        raise BadRequest(f"'{name}' is no interface's name")
    if name in (".", "..", "all", "default", "lo") or name.startswith(PREFIX):
        raise BadRequest(f"'{name}' cannot be an uplink")
    return name


def parse_forward(text: str) -> Forward:
    """PROTO:PORT:GUESTPORT; raises BadRequest."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] not in PROTOCOLS:
        raise BadRequest(f"'{text}' is no port forward", "write tcp:8080:80 or udp:5353:53")
    return Forward(parts[0], _number(parts[1], 1, 65535), _number(parts[2], 1, 65535))


def check_addresses(host: str, prefix: int, guest: str) -> None:
    """Can the host and the guest have these addresses on one link? Raises BadRequest."""
    # /31 (RFC 3021) is left out: guests' own tools differ on it.
    if not 8 <= prefix <= 32 or prefix == 31:
        raise BadRequest(f"/{prefix} is no prefix for a tap", "use /8 to /30, or /32")
    network = IPv4Interface(f"{host}/{prefix}").network
    for address in (IPv4Address(host), IPv4Address(guest)):
        if any(address in forbidden for forbidden in _FORBIDDEN):
            raise BadRequest(f"{address} cannot be an address on a tap", "use a private address")
        if prefix < 32 and address in (network.network_address, network.broadcast_address):
            raise BadRequest(f"{address} is the first or last address of {network}")
    if host == guest:
        raise BadRequest(f"host and guest cannot both be {host}")
    if prefix < 32 and IPv4Address(guest) not in network:
        raise BadRequest(f"{guest} is not in {network}", f"write {host}/32 to route to the guest")


def _up(words: list[str]) -> Request:
    if len(words) < 3:
        raise BadRequest("up needs a name, HOST/PREFIX and the guest's address")
    name, interface, guest = words[:3]
    check_name(name)
    host, slash, prefix = interface.partition("/")
    if not slash:
        raise BadRequest(f"'{interface}' has no prefix length", "write 192.168.7.1/30")
    _address(host), _address(guest)
    check_addresses(host, _number(prefix, 8, 32), guest)
    request = Request("up", name, host, int(prefix), guest)
    seen: set[str] = set()
    for word in words[3:]:
        key = "mode" if word in MODES else word.partition("=")[0]
        if word in seen or (key in seen and key not in ("uplink", "forward")):
            raise BadRequest(f"'{word}' is said twice")
        seen |= {word, key}
        request = _option(request, word)
    ports = [forward[:2] for forward in request.forwards]
    if len(ports) != len(set(ports)):
        raise BadRequest("a port is forwarded twice")
    return request


def _option(request: Request, word: str) -> Request:
    key, _, value = word.partition("=")
    if word in MODES:
        return request._replace(mode=word)
    if word in ("host=open", "host=closed"):
        return request._replace(host_open=value == "open")
    if key == "uplink":
        return request._replace(uplinks=(*request.uplinks, check_interface(value)))
    if key == "forward":
        return request._replace(forwards=(*request.forwards, parse_forward(value)))
    if key == "mtu":
        return request._replace(mtu=_number(value, *MTU_RANGE))
    if key == "queues":
        return request._replace(queues=_number(value, *QUEUES_RANGE))
    raise BadRequest(f"'{word}' is no option of up")


def _down(words: list[str]) -> Request:
    if len(words) != 1:
        raise BadRequest("down needs one name, or --all")
    return Request("down") if words[0] == "--all" else Request("down", check_name(words[0]))


def _number(text: str, low: int, high: int) -> int:
    # int() would take signs, blanks, underscores and other scripts' digits.
    if not set(text) <= set("0123456789") or not 1 <= len(text) <= 5 or text != str(int(text)):
        raise BadRequest(f"'{text}' is not a plain number")
    if not low <= int(text) <= high:
        raise BadRequest(f"{text} is not from {low} to {high}")
    return int(text)


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise BadRequest(f"'{text}' is no IPv4 address", "write 192.168.7.1") from None
