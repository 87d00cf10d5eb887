"""Explains why a line is not a valid request.

__main__ gives up every capability before it imports this module. request.py has already refused
the request, and nothing in here changes that. The generator checks a description's values with
the same functions.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from string import ascii_letters

from .errors import BadRequest
from .request import (
    FORBIDDEN,
    INTERFACE,
    LONGEST_LINE,
    MODES,
    MTUS,
    NAME,
    NUMBER,
    PORTS,
    PREFIXES,
    PROTOCOLS,
    QUEUES,
    Forward,
)

# Of NAME in request.py.
LONGEST_NAME = 12
_LINE = frozenset(f"{ascii_letters}0123456789.:/=_- ")  # capitals in names of interfaces only


def first_error(lines: Sequence[str], numbered: bool = False) -> BadRequest:
    """Find the first of these lines that is not a valid request; say which it is and why."""
    for place, line in enumerate(lines, 1):
        try:
            check(line)
        except BadRequest as error:
            where = f"request {place}: " if numbered else ""
            return BadRequest(f"{where}{error}", error.hint)
    return BadRequest("the request is empty", "tapdraft-helper --help")


def check_name(name: str) -> str:
    """A guest's name: 1 to 12 of a-z 0-9 -, the first not a hyphen; raises BadRequest."""
    if not 1 <= len(name) <= LONGEST_NAME:
        what = f"a guest's name has 1 to {LONGEST_NAME} characters, not {len(name)}"
        raise BadRequest(what, "use a shorter name" if name else "give the guest a name")
    if not re.fullmatch(NAME, name):
        raise BadRequest(
            f"'{name}' cannot be a guest's name", "use a-z, 0-9 and hyphens, the first not a hyphen"
        )
    return name


def check_interface(name: str) -> str:
    """The name of an interface that may be an uplink; raises BadRequest."""
    if not re.fullmatch("[A-Za-z0-9._-]{1,15}", name):
        what = f"'{name}' cannot be an interface's name: 1 to 15 of a-z A-Z 0-9 . _ -"
        raise BadRequest(what, "ip link")
    if not re.fullmatch(INTERFACE, name):
        raise BadRequest(f"'{name}' cannot be an uplink", "choose another interface: ip link")
    return name


def parse_forward(text: str) -> Forward:
    """PROTO:PORT:GUESTPORT; raises BadRequest."""
    protocol, *ports = text.split(":")
    if protocol not in PROTOCOLS or len(ports) != 2:
        raise BadRequest(f"'{text}' is not a port forward", "write tcp:8080:80 or udp:5353:53")
    return Forward(protocol, _number(ports[0], PORTS), _number(ports[1], PORTS))


def check_addresses(host: str, prefix: int, guest: str) -> None:
    """Can the host and the guest have these addresses on one link? Raises BadRequest."""
    if prefix not in PREFIXES:
        raise BadRequest(f"a tap cannot have the prefix /{prefix}", "use /8 to /30, or /32")
    network = IPv4Interface(f"{host}/{prefix}").network
    for address in (IPv4Address(host), IPv4Address(guest)):
        if any(address in forbidden for forbidden in FORBIDDEN):
            raise BadRequest(f"{address} cannot be an address on a tap", "use a private address")
        if prefix < 32 and address in (network.network_address, network.broadcast_address):
            raise BadRequest(f"{address} is the first or last address of {network}")
    if host == guest:
        what = f"host and guest cannot both have the address {host}"
        raise BadRequest(what, "give them different addresses")
    if prefix < 32 and IPv4Address(guest) not in network:
        raise BadRequest(f"{guest} is not in {network}", f"write {host}/32 to route to the guest")


def check(line: str) -> None:
    """Raise BadRequest where request.parse() does, with the reason."""
    if not line:
        raise BadRequest("the request is empty", "tapdraft-helper --help")
    if len(line) > LONGEST_LINE:
        raise BadRequest(f"the request is longer than {LONGEST_LINE} characters")
    strange = set(line) - _LINE
    if strange:
        # Named by number: the character itself might be made to deceive the reader.
        raise BadRequest(
            f"the character U+{ord(min(strange)):04X} cannot occur in a request",
            "requests are made of a-z A-Z 0-9 . : / = _ - and single spaces",
        )
    verb, *words = line.split(" ")
    if "" in (verb, *words):
        what = "two spaces follow each other, or one begins or ends the request"
        raise BadRequest(what, "separate the words of a request by single spaces")
    if verb == "up":
        _check_up(words)
    elif verb != "down":
        raise BadRequest(f"unknown request '{verb}'; requests: up, down", "begin with up or down")
    elif len(words) != 1:
        raise BadRequest("down needs one name, or --all", "write down NAME, or down --all")
    elif words != ["--all"]:
        check_name(words[0])


def _check_up(words: Sequence[str]) -> None:
    if len(words) < 3:
        what = "up needs a name, the host's address with its prefix, and the guest's address"
        raise BadRequest(what, "write up web 192.168.7.1/30 192.168.7.2")
    check_name(words[0])
    host, slash, prefix = words[1].partition("/")
    if not slash:
        raise BadRequest(f"'{words[1]}' has no prefix length", "write 192.168.7.1/30")
    for address in (host, words[2]):
        try:
            IPv4Address(address)
        except ValueError:
            raise BadRequest(f"'{address}' is not an IPv4 address", "write 192.168.7.1") from None
    check_addresses(host, _number(prefix, range(8, 33)), words[2])
    seen: set[object] = set()
    ports: set[object] = set()
    for word in words[3:]:
        key = _check_option(word)
        if key in seen:
            raise BadRequest(f"'{word}' is given twice", "give it once")
        seen.add(key)
        if isinstance(key, Forward) and key[:2] in ports:
            raise BadRequest("a port is forwarded twice", "forward each port once")
        ports.add(key[:2] if isinstance(key, Forward) else None)


def _check_option(word: str) -> object:
    """Return the setting that this word gives, which can be given once only."""
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
    known = f"{', '.join(MODES)}, host=, uplink=, forward=, mtu=, queues="
    raise BadRequest(f"up has no setting '{word}'; settings: {known}", "correct or remove it")


def _number(text: str, span: range) -> int:
    if not re.fullmatch(NUMBER, text):
        raise BadRequest(f"'{text}' is not a plain number")
    if int(text) not in span:
        what = f"{text} is not from {span[0]} to {span[-1]}"
        raise BadRequest(what, f"use {span[0]} to {span[-1]}")
    return int(text)
