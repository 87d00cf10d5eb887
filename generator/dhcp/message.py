"""DHCP messages as bytes: RFC 2131 and 2132, overload and long options (RFC 3396).

pyroute2 has a codec, and it does not serve here. That of Debian 12 (0.7.2) cannot encode a list of
addresses, so neither a router nor a name server; it writes a client identifier and a vendor class
of its own into every message and reads `flags` in the machine's byte order. That of 0.9.7 has
other names for everything, an incompatible client identifier, no classless routes, and logs
each malformed option. Both cut identifiers, check no cookie, and raise whatever struct does. What
is read here was written by a guest, so reading is strict: what is not well-formed is not answered.
"""

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple

# Message types, RFC 2132 section 9.6
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
# Options, RFC 2132; 121 is from RFC 3442
PAD, END = 0, 255
SUBNET_MASK, ROUTER, NAME_SERVERS, HOST_NAME, DOMAIN, MTU, BROADCAST = 1, 3, 6, 12, 15, 26, 28
REQUESTED_ADDRESS, LEASE_TIME, OVERLOAD, MESSAGE_TYPE, SERVER, WANTED = 50, 51, 52, 53, 54, 55
EXPLANATION, LARGEST_MESSAGE, RENEWAL_TIME, REBINDING_TIME = 56, 57, 58, 59
CLIENT_IDENTIFIER, CLASSLESS_ROUTES = 61, 121

NOBODY = IPv4Address(0)
LARGEST = 1472  # bytes: an Ethernet frame's, less the IP and UDP headers
SMALLEST = 300  # BOOTP's size: RFC 1542 section 2.1, some clients drop what is shorter
HEADERS = 28  # IP and UDP, which the client's "maximum message size" counts in
LEAST_ACCEPTED = 576  # every client takes this much: RFC 2131 section 2

_BOOTREQUEST, _BOOTREPLY, _ETHERNET = 1, 2, 1
_COOKIE = b"\x63\x82\x53\x63"
# op htype hlen hops, xid, secs flags, ciaddr yiaddr siaddr giaddr, chaddr, sname, file, cookie
_HEADER = struct.Struct("!4BIHH4s4s4s4s16s64s128s4s")
# The lengths that these options must have; of the others any.
_LENGTHS = {
    REQUESTED_ADDRESS: (4, 4),
    OVERLOAD: (1, 1),
    MESSAGE_TYPE: (1, 1),
    SERVER: (4, 4),
    WANTED: (1, 255),
    LARGEST_MESSAGE: (2, 2),
    CLIENT_IDENTIFIER: (2, 255),
}


class Malformed(ValueError):
    """This is no DHCP message from a client; says why, in words that are safe to log."""


class Request(NamedTuple):
    """What a client sent."""

    kind: int  # DISCOVER, REQUEST, ...
    xid: int
    flags: int
    hops: int
    client: IPv4Address  # ciaddr: the address that it has, or NOBODY
    relay: IPv4Address  # giaddr
    hardware: bytes  # of chaddr, the six bytes that are the MAC
    options: dict[int, bytes]

    def address(self, option: int) -> IPv4Address | None:
        value = self.options.get(option)
        return None if value is None else IPv4Address(value)

    @property
    def mac(self) -> str:
        return self.hardware.hex(":")

    @property
    def room(self) -> int:
        """How many bytes of message the client takes, 548 or more."""
        size = int.from_bytes(self.options.get(LARGEST_MESSAGE, b""), "big")
        return max(size, LEAST_ACCEPTED) - HEADERS


def parse(packet: bytes) -> Request:
    """The message from a client that these bytes are; Malformed if they are none."""
    if not _HEADER.size < len(packet) <= LARGEST:
        raise Malformed(f"{'more' if len(packet) > LARGEST else 'less'} than a message")
    (
        op,
        hardware_type,
        hardware_length,
        hops,
        xid,
        _,
        flags,
        client,
        _,
        _,
        relay,
        hardware,
        sname,
        file,
        cookie,
    ) = _HEADER.unpack_from(packet)
    if op != _BOOTREQUEST or cookie != _COOKIE:
        raise Malformed("not a message of a DHCP client")
    if (hardware_type, hardware_length) != (_ETHERNET, 6):
        raise Malformed("not from an Ethernet interface")
    options = _options(packet[_HEADER.size :], {})
    _check(options)
    where = options.get(OVERLOAD, b"\0")[0]
    for flag, field in ((1, file), (2, sname)):
        if where & flag:
            options = _options(field, options)
            _check(options)
    if MESSAGE_TYPE not in options:
        raise Malformed("no message type")
    return Request(
        options[MESSAGE_TYPE][0],
        xid,
        flags,
        hops,
        IPv4Address(client),
        IPv4Address(relay),
        hardware[:6],
        options,
    )


def _options(field: bytes, options: dict[int, bytes]) -> dict[int, bytes]:
    """`options` and those of the field; the parts of one that comes again are put together."""
    options = dict(options)
    at = 0
    while field[at : at + 1] != bytes((END,)):
        if at >= len(field):
            raise Malformed("options without an end")
        if field[at] == PAD:
            at += 1
            continue
        length = int.from_bytes(field[at + 1 : at + 2], "big")
        value = field[at + 2 : at + 2 + length]
        if at + 2 > len(field) or len(value) < length:
            raise Malformed("an option is cut off")
        options[field[at]] = options.get(field[at], b"") + value
        at += 2 + length
    return options


def _check(options: dict[int, bytes]) -> None:
    for code, (least, most) in _LENGTHS.items():
        if code in options and not least <= len(options[code]) <= most:
            raise Malformed(f"a bad option {code}")


def reply(
    request: Request,
    options: Iterable[tuple[int, bytes]],
    *,
    client: IPv4Address = NOBODY,
    yours: IPv4Address = NOBODY,
) -> bytes:
    """The message that answers `request`. Options that the client has no room for are left out,
    so the important ones come first; none is longer than 255 bytes."""
    packet = _HEADER.pack(
        _BOOTREPLY,
        _ETHERNET,
        6,
        0,
        request.xid,
        0,
        request.flags,
        client.packed,
        yours.packed,
        NOBODY.packed,
        NOBODY.packed,
        request.hardware,
        b"",
        b"",
        _COOKIE,
    )
    for code, value in options:
        option = bytes((code, len(value))) + value
        if len(packet) + len(option) < request.room:
            packet += option
    return (packet + bytes((END,))).ljust(SMALLEST, b"\0")
