"""DHCP packets as bytes, written and read here independently of what is under test."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
NOWHERE = "0.0.0.0"
MAC = bytes.fromhex("5254c0a80702")
COOKIE = bytes((99, 130, 83, 99))

Options = list[tuple[int, bytes]]


def ip(text: str) -> bytes:
    return socket.inet_aton(text)


def encode(options: Options) -> bytes:
    return b"".join(bytes((code, len(value))) + value for code, value in options)


def packet(
    kind: int,
    *options: tuple[int, bytes],
    op: int = 1,
    htype: int = 1,
    hlen: int = 6,
    hops: int = 0,
    xid: int = 0x01020304,
    flags: int = 0,
    ciaddr: str = NOWHERE,
    giaddr: str = NOWHERE,
    mac: bytes = MAC,
    sname: bytes = b"",
    file: bytes = b"",
    cookie: bytes = COOKIE,
    end: bytes = b"\xff",
) -> bytes:
    """A client's message of this kind, well-formed unless a keyword makes it otherwise."""
    fixed = struct.pack("!4BIHH", op, htype, hlen, hops, xid, 0, flags)
    addresses = ip(ciaddr) + bytes(8) + ip(giaddr)
    names = mac.ljust(16, b"\0") + sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    return fixed + addresses + names + cookie + encode([(53, bytes((kind,))), *options]) + end


class Reply(NamedTuple):
    kind: int
    xid: int
    flags: int
    ciaddr: str
    yiaddr: str
    mac: bytes
    order: list[int]  # the options as they come, the message type first
    options: dict[int, bytes]


def read(data: bytes) -> Reply:
    """A server's message; an assertion fails if it is not exactly one."""
    op, htype, hlen, hops, xid, secs, flags = struct.unpack("!4BIHH", data[:12])
    assert (op, htype, hlen, hops, secs) == (2, 1, 6, 0, 0)
    assert data[20:28] == bytes(8), "no next server, no relay"
    assert data[34:236] == bytes(202), "the rest of chaddr, sname and file"
    assert data[236:240] == COOKIE
    order, options, at = [], {}, 240
    while data[at] != 255:
        code, length = data[at], data[at + 1]
        assert code not in options
        order.append(code)
        options[code] = data[at + 2 : at + 2 + length]
        assert len(options[code]) == length
        at += 2 + length
    assert not data[at + 1 :].strip(b"\0")
    return Reply(
        options[53][0],
        xid,
        flags,
        socket.inet_ntoa(data[12:16]),
        socket.inet_ntoa(data[16:20]),
        data[28:34],
        order,
        options,
    )
