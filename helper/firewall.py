"""The kernel's netfilter: tapdraft's nftables table, and connection tracking.

The table is ruleset.nft, which the build turned into the messages of ruleset.bin; what is added to
and read from it here are the elements of its sets. Numbers are those of linux/netfilter/nf_tables.h
and nfnetlink_conntrack.h.
"""

import errno
import os
import re
import socket
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network

from . import plan as p
from .errors import HelperError
from .netlink import (
    ACK,
    CREATE,
    DUMP,
    EXCL,
    PROTOCOLS,
    Kernel,
    attribute,
    attribute_list,
    attributes,
    text,
)

NFTABLES = 10 << 8
GETTABLE, DELTABLE, NEWELEMENT, GETELEMENT, DELELEMENT = 1, 2, 12, 13, 14
GET_CONNECTION, DELETE_CONNECTION = 1 << 8 | 1, 1 << 8 | 2

# What looks like CTA_IP_V4_SRC or CTA_IP_V4_DST, and the address in it.
_ADDRESS = re.compile(
    b"(?:%b|%b)(?=(.{4}))" % (struct.pack("=HH", 8, 1), struct.pack("=HH", 8, 2)), re.DOTALL
)

Message = tuple[int, int, bytes]  # for Kernel.commit(): kind, flags, attributes


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(parts))  # NLA_F_NESTED


def comment(value: str) -> bytes:
    """User data as nft writes a comment: type 0, the length, the text with its NUL."""
    return bytes((0, len(value) + 1)) + value.encode("ascii") + b"\0"


# What is there


def table_comment(kernel: Kernel) -> str | None:
    """The comment of the table with our name; None where there is no such table."""
    try:
        (answer,) = kernel.netfilter(NFTABLES | GETTABLE, 0, text(1, p.TABLE[1]))
    except FileNotFoundError:
        return None
    return _comment(attributes(answer).get(6, b""))


def uplinks(kernel: Kernel) -> Iterator[p.Uplink]:
    """The uplinks of our table: those in the second set had no forwarding before."""
    opened = {key for key, _, _ in _elements(kernel, p.OPENED)}
    for key, _, _ in _elements(kernel, p.UPLINKS):
        name = key.rstrip(b"\0").decode("ascii", "replace")
        yield p.Uplink(name, "0" if key in opened else "1")


def forwards(kernel: Kernel) -> Iterator[p.ForwardPort]:
    """The port forwards of our table."""
    names = {number: name for name, number in PROTOCOLS.items()}
    for key, value, tap in _elements(kernel, p.FORWARDS):
        protocol, port = struct.unpack_from(">BxxxH", key)
        guest, guest_port = struct.unpack_from(">4sH", value)
        if protocol not in names:
            raise HelperError("the table's port forwards cannot be read")
        yield p.ForwardPort(tap, names[protocol], port, socket.inet_ntoa(guest), guest_port)


def _elements(kernel: Kernel, name: str) -> Iterator[tuple[bytes, bytes, str]]:
    """Key, value and comment of the elements of a set or map."""
    wanted = text(1, p.TABLE[1]) + text(2, name)
    for answer in kernel.netfilter(NFTABLES | GETELEMENT, DUMP, wanted):
        for _, item in attribute_list(attributes(answer).get(3, b"")):
            fields = attributes(item)
            key, value = (attributes(fields.get(kind, b"")).get(1, b"") for kind in (1, 2))
            yield key, value, _comment(fields.get(6, b""))


def _comment(userdata: bytes) -> str:
    if len(userdata) < 3 or userdata[0] != 0:
        return ""
    return userdata[2 : 1 + userdata[1]].decode("ascii", "replace")


# Messages for Kernel.commit()


def _ruleset() -> Iterator[Message]:
    """The whole table, without elements."""
    with open(os.path.join(os.path.dirname(__file__), "ruleset.bin"), "rb") as file:
        data = file.read()
    while data:
        length, kind, flags = struct.unpack_from("=IHH", data)
        yield kind, flags, data[20:length]
        data = data[length:]


def messages(operation: p.Operation) -> Iterable[Message]:
    """What carries out an operation on the table."""
    match operation:
        case p.EnsureRuleset():
            return _ruleset()
        case p.AddUplink(interface, was) | p.RemoveUplink(interface, was):
            kind = NEWELEMENT if isinstance(operation, p.AddUplink) else DELELEMENT
            sets = (p.UPLINKS, p.OPENED) if was == "0" else (p.UPLINKS,)
            return [_element(kind, name, interface.encode().ljust(16, b"\0")) for name in sets]
        case p.ForwardPort(tap, protocol, port, guest, guest_port):
            value = struct.pack(">4sHxx", socket.inet_aton(guest), guest_port)
            return [_element(NEWELEMENT, p.FORWARDS, _forward(protocol, port), value, tap)]
        case p.RemoveForward(protocol, port):
            return [_element(DELELEMENT, p.FORWARDS, _forward(protocol, port))]
        case p.RemoveRuleset():
            return [(NFTABLES | DELTABLE, 0, text(1, p.TABLE[1]))]
    raise HelperError(f"{type(operation).__name__} is not a firewall operation")


def _forward(protocol: str, port: int) -> bytes:
    return struct.pack(">BxxxHxx", PROTOCOLS[protocol], port)


def _element(kind: int, name: str, key: bytes, value: bytes = b"", remark: str = "") -> Message:
    """An element to add or to delete. EEXIST where a map has the key of one to add already."""
    parts = [nest(1, attribute(1, key))]
    parts += [nest(2, attribute(1, value))] if value else []
    parts += [attribute(6, comment(remark))] if remark else []
    flags = CREATE | (EXCL if value else 0) if kind == NEWELEMENT else 0
    body = text(1, p.TABLE[1]) + text(2, name) + nest(3, nest(1, *parts))
    return NFTABLES | kind, flags, body


class _Within(dict[bytes, bool]):
    """Is an address in one of the networks? Each is looked for once."""

    def __init__(self, networks: Iterable[IPv4Network]) -> None:
        super().__init__()
        self._spans = sorted((int(network[0]), int(network[-1])) for network in networks)

    def __missing__(self, address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        # The last span that begins before an address is the only one that can hold it.
        place = bisect_right(self._spans, (number, 1 << 32))
        self[address] = bool(place) and number <= self._spans[place - 1][1]
        return self[address]


def forget_connections(kernel: Kernel, networks: Iterable[IPv4Network]) -> None:
    """End what connection tracking knows of these networks, as they begin to be somebody's.

    Else packets of an earlier guest's connections, forwarded ports too, reach the new one.
    """
    ours = _Within(networks)
    try:
        found = kernel.netfilter(GET_CONNECTION, DUMP, b"", socket.AF_INET)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return  # this kernel keeps its connections to itself
        raise
    for connection in found:
        # The host's table may be full of others' connections: these are not taken apart.
        if not any(ours[address] for address in _ADDRESS.findall(connection)):
            continue
        there = attributes(connection)
        ends = (attributes(attributes(there.get(way, b"")).get(1, b"")) for way in (1, 2))
        if any(ours[address] for end in ends for address in end.values()):
            # The tuple of the connection's first packet, its number, its zone.
            which = ((0x8001, 1), (12, 12), (18, 18))
            named = (attribute(mark, there[kind]) for mark, kind in which if kind in there)
            with suppress(FileNotFoundError):  # it ended meanwhile
                kernel.netfilter(DELETE_CONNECTION, ACK, b"".join(named), socket.AF_INET)
