"""What is wrong with a request that is none, told to a person.

__main__ gives up every capability before it imports this module: request.py has refused already,
and what is found here changes nothing about that. The generator checks a description's values
with the same functions.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from string import ascii_letters

from .errors import BadRequest
from .request import (
    FORBIDDEN, INTERFACE, LONGEST_LINE, MODES, MTUS, NAME, NUMBER, PORTS, PREFIXES, PROTOCOLS,
    QUEUES, Forward,
)  # fmt: skip

# Of NAME in request.py.
LONGEST_NAME = 12
_LINE = frozenset(f"{ascii_letters}0123456789.:/=_- ")  # capitals in names of interfaces only


def first_error(lines: Sequence[str], numbered: bool = False) -> BadRequest:
    """What is wrong with the first of these lines that is no request, and which it is."""
    for place, line in enumerate(lines, 1):
        try:
            check(line)
        except BadRequest as error:
            where = f"request {place}: " if numbered else ""
            return BadRequest(f"{where}{error}", error.hint)
    return BadRequest("there is no request", "tapdraft-helper --help tells what there is")


def check_name(name: str) -> str:
    """A guest's name: 1 to 12 of a-z 0-9 -, the first not a hyphen; raises BadRequest."""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise BadRequest(f"a guest's name has 1 to {LONGEST_NAME} characters, not {len(name)}")
    if not re.fullmatch(NAME, name):
        raise BadRequest(
            f"'{name}' is no guest's name", "use a-z, 0-9 and hyphens, the first not a hyphen"
        )
    return name


def check_interface(name: str) -> str:
    """The name of an interface that may be an uplink; raises BadRequest."""
    if not re.fullmatch("[A-Za-z0-9._-]{1,15}", name):
        raise BadRequest(f"'{name}' is no interface's name")
    if not re.fullmatch(INTERFACE, name):
        raise BadRequest(f"'{name}' cannot be an uplink", "ip link shows what there is")
    return name


def parse_forward(text: str) -> Forward:
    """PROTO:PORT:GUESTPORT; raises BadRequest."""
    protocol, *ports = text.split(":")
    if protocol not in PROTOCOLS or len(ports) != 2:
        raise BadRequest(f"'{text}' is no port forward", "write tcp:8080:80 or udp:5353:53")
    return Forward(protocol, _number(ports[0], PORTS), _number(ports[1], PORTS))


def check_addresses(host: str, prefix: int, guest: str) -> None:
    """Can the host and the guest have these addresses on one link? Raises BadRequest."""
    if prefix not in PREFIXES:
        raise BadRequest(f"/{prefix} is no prefix for a tap", "use /8 to /30, or /32")
    network = IPv4Interface(f"{host}/{prefix}").network
    for address in (IPv4Address(host), IPv4Address(guest)):
        if any(address in forbidden for forbidden in FORBIDDEN):
            raise BadRequest(f"{address} cannot be an address on a tap", "use a private address")
        if prefix < 32 and address in (network.network_address, network.broadcast_address):
            raise BadRequest(f"{address} is the first or last address of {network}")
    if host == guest:
        raise BadRequest(f"host and guest cannot both be {host}")
    if prefix < 32 and IPv4Address(guest) not in network:
        raise BadRequest(f"{guest} is not in {network}", f"write {host}/32 to route to the guest")


def check(line: str) -> None:
    """Raise BadRequest where request.parse() does, with the reason."""
    if not line:
        raise BadRequest("there is no request", "tapdraft-helper --help tells what there is")
    if len(line) > LONGEST_LINE:
        raise BadRequest(f"the request is longer than {LONGEST_LINE} characters")
    strange = set(line) - _LINE
    if strange:
        # Named by number: the character itself might be made to deceive the reader.
        raise BadRequest(
            f"the character U+{ord(min(strange)):04X} cannot occur in a request",
            "requests are made of a-z 0-9 . : / = _ - and single spaces",
        )
    verb, *words = line.split(" ")
    if "" in (verb, *words):
        raise BadRequest("words of a request are separated by single spaces")
    if verb == "up":
        _check_up(words)
    elif verb != "down":
        raise BadRequest(f"'{verb}' is no request", "a request begins with up or down")
    elif len(words) != 1:
        raise BadRequest("down needs one name, or --all")
    elif words != ["--all"]:
        check_name(words[0])


def _check_up(words: Sequence[str]) -> None:
    if len(words) < 3:
        raise BadRequest("up needs a name, HOST/PREFIX and the guest's address")
    check_name(words[0])
    host, slash, prefix = words[1].partition("/")
    if not slash:
        raise BadRequest(f"'{words[1]}' has no prefix length", "write 192.168.7.1/30")
    for address in (host, words[2]):
        try:
            IPv4Address(address)
        except ValueError:
            raise BadRequest(f"'{address}' is no IPv4 address", "write 192.168.7.1") from None
    check_addresses(host, _number(prefix, range(8, 33)), words[2])
    seen: set[object] = set()
    ports: set[object] = set()
    for word in words[3:]:
        key = _check_option(word)
        if key in seen:
            raise BadRequest(f"'{word}' is said twice")
        seen.add(key)
        if isinstance(key, Forward) and key[:2] in ports:
            raise BadRequest("a port is forwarded twice")
        ports.add(key[:2] if isinstance(key, Forward) else None)


def _check_option(word: str) -> object:
    """What this word says something of, which can be said once only."""
    match word.partition("="):
        case (mode, "", _) if mode in MODES:
            return "mode"
        case ("host", _, "open" | "closed"):
            return "host"
        case ("uplink", _, name):
            return ("uplink", check_interface(name))
        case ("forward", _, ports):
            return parse_forward(ports)
        case ("mtu" | "queues" as key, _, value):
            _number(value, MTUS if key == "mtu" else QUEUES)
            return key
    raise BadRequest(f"'{word}' is no option of up")


def _number(text: str, span: range) -> int:
    if not re.fullmatch(NUMBER, text):
        raise BadRequest(f"'{text}' is not a plain number")
    if int(text) not in span:
        raise BadRequest(f"{text} is not from {span[0]} to {span[-1]}")
    return int(text)
