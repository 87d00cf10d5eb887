"""The kernel by netlink: interfaces, addresses and routes, the few changes to them, and the lock.

Messages are packed and taken apart here, by the same few functions for rtnetlink and nftables, so
that no foreign code handles them and importing costs nothing. The structures are those of
linux/rtnetlink.h, if_link.h and if_addr.h, in the host's byte order.
"""

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from typing import NamedTuple

from .errors import HelperError, InTheWay

# linux/netlink.h, linux/if.h, asm-generic/socket.h
REQUEST, ACK, DUMP, EXCL, CREATE = 1, 4, 0x300, 0x200, 0x400
ROUTE, NETFILTER = 0, 12
ERROR, DONE, MULTI, DUMP_INTERRUPTED = 2, 3, 2, 0x10
IFF_UP = 1
SO_SNDBUFFORCE = 32  # needs CAP_NET_ADMIN
# linux/if_link.h, IFLA_TUN_*
ETHERNET = struct.pack("=H", 1)  # linux/if_arp.h
TUN_GROUP, TUN_PERSIST, TUN_QUEUES, TUN_DISABLED_QUEUES = 2, 6, 8, 9
# linux/rtnetlink.h
DELLINK, GETLINK, SETLINK, NEWADDR, GETADDR, NEWROUTE, GETROUTE = 17, 18, 19, 20, 22, 24, 26
GETNEXTHOP = 106
# Types of routes: what is delivered here; blackhole, unreachable, prohibit, throw. RTA_NH_ID.
LOCAL, LEADS_NOWHERE, NH_ID = 2, (6, 7, 8, 9), 30
# Attributes of an interface (IFLA_*), an address (IFA_*), a route (RTA_*).
IFNAME, MTU, ALIAS, LINK_GROUP = 3, 4, 20, 27
ADDRESS, LOCAL_ADDRESS = 1, 2
DESTINATION, OUT_BY, PREFERRED_SOURCE = 1, 4, 7
# RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST
MAIN_TABLE, BY_HAND, ON_LINK, UNICAST = 254, 3, 253, 1
# linux/nfnetlink.h, NFPROTO_INET
BATCH_BEGIN, BATCH_END, INET = 16, 17, 1
# An address of its own on the rtnetlink bus, "tapd": a lock that goes with the process.
LOCK_PORT = 0x74617064
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


class Link(NamedTuple):
    """An interface: what the helper looks at of it."""

    ifindex: int
    name: str
    alias: str
    group: int
    mtu: int
    up: bool
    multi_queue: bool


class Way(NamedTuple):
    """A network that an interface has, or that a route leads to."""

    ifindex: int  # 0 for none
    network: IPv4Network
    local: bool = False  # what is delivered to this host goes out by no interface


class Kernel:
    """Netlink sockets into this process's network namespace. OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)
        self._nft = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self._sequence = 0

    def lock(self, seconds: float) -> None:
        """Wait until no other helper works in this network namespace, at most so long."""
        until = time.monotonic() + seconds
        while time.monotonic() <= until:  # before each try: a process that was stopped is late
            try:
                return self._route.bind((LOCK_PORT, 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            time.sleep(0.005)
        what = f"another process has held the lock for {seconds:.0f} seconds"
        raise InTheWay(what, f"look for port {LOCK_PORT} in /proc/net/netlink")

    def close(self) -> None:
        """Let go of the lock."""
        self._route.close()
        self._nft.close()

    # What is there

    def links(self) -> list[Link]:
        """All interfaces."""
        return [_link(answer) for answer in self._ask(GETLINK, DUMP, _interface())]

    def addresses(self) -> list[Way]:
        """The network of every IPv4 address."""
        answers = self._ask(GETADDR, DUMP, _address())
        found = ((_integer(a[4:8]), attributes(a[8:]).get(1, b""), a[1]) for a in answers)
        return [Way(ifindex, _network(address, length)) for ifindex, address, length in found]

    def routes(self) -> list[Way]:
        """The IPv4 routes of all tables, by every interface that they leave by."""
        answers = self._ask(GETROUTE, DUMP, struct.pack("=B11x", socket.AF_INET))
        # A route can name a nexthop object instead of an interface.
        named = any(NH_ID in attributes(answer[12:]) for answer in answers)
        hops = _nexthops(self._nexthops()) if named else {}
        return [way for answer in answers for way in _ways(answer, hops)]

    def _nexthops(self) -> list[bytes]:
        return self._ask(GETNEXTHOP, DUMP, bytes(8))

    # Changes

    def find_tap(self, name: str) -> tuple[int, bool]:
        """The index of a tap, and whether nobody but its maker has had it open or changed it."""
        (answer,) = self._ask(GETLINK, 0, _interface(), text(IFNAME, name))
        # linux/if_link.h: IFLA_LINKINFO, IFLA_INFO_DATA; a kernel before 4.20 tells none of it.
        tun = attributes(attributes(attributes(answer[16:]).get(18, b"")).get(2, b""))
        queues = sum(_integer(tun.get(kind, b"")) for kind in (TUN_QUEUES, TUN_DISABLED_QUEUES))
        changed = _integer(tun.get(TUN_PERSIST, b"")) or answer[2:4] != ETHERNET
        return _link(answer).ifindex, queues <= 1 and not changed and TUN_GROUP not in tun

    def set_link(
        self,
        ifindex: int,
        *,
        up: bool | None = None,
        name: str | None = None,
        mtu: int | None = None,
        group: int | None = None,
        alias: str | None = None,
    ) -> None:
        """Change what is given of an interface, all at once."""
        values = [
            integer(kind, value)
            for kind, value in ((MTU, mtu), (LINK_GROUP, group))
            if value is not None
        ]
        values += [
            text(kind, value)
            for kind, value in ((IFNAME, name), (ALIAS, alias))
            if value is not None
        ]
        flags, change = (0, 0) if up is None else (IFF_UP if up else 0, IFF_UP)
        self._ask(SETLINK, ACK, _interface(ifindex, flags, change), *values)

    def delete_link(self, ifindex: int) -> None:
        """Delete an interface."""
        self._ask(DELLINK, ACK, _interface(ifindex))

    def delete_group(self, group: int) -> None:
        """Delete all interfaces of a device group, in one grace period of the kernel's."""
        self._ask(DELLINK, ACK, _interface(), integer(LINK_GROUP, group))

    def add_address(self, ifindex: int, address: str, length: int) -> None:
        packed = socket.inet_aton(address)
        values = attribute(LOCAL_ADDRESS, packed), attribute(ADDRESS, packed)
        self._ask(NEWADDR, ACK | CREATE | EXCL, _address(ifindex, length), *values)

    def add_route(self, ifindex: int, to: str, source: str) -> None:
        """A route to one address over a link: main table, scope link, protocol boot, unicast."""
        # struct rtmsg: lengths of destination and source, tos, table, protocol, scope, type, flags
        message = struct.pack(
            "=BBBBBBBBI", socket.AF_INET, 32, 0, 0, MAIN_TABLE, BY_HAND, ON_LINK, UNICAST, 0
        )
        values = (
            attribute(DESTINATION, socket.inet_aton(to)),
            integer(OUT_BY, ifindex),
            attribute(PREFERRED_SOURCE, socket.inet_aton(source)),
        )
        self._ask(NEWROUTE, ACK | CREATE | EXCL, message, *values)

    # The exchange

    def netfilter(self, kind: int, flags: int, body: bytes, family: int = INET) -> list[bytes]:
        """What the kernel answers to a message for nftables or connection tracking."""
        answers = self._exchange(self._nft, kind, flags, struct.pack("=Bxxx", family) + body)
        return [answer[4:] for answer in answers]

    def commit(self, messages: Iterable[tuple[int, int, bytes]]) -> None:
        """One nftables transaction, of kinds, flags and bodies: all of the messages, or none."""
        self._sequence += 1
        whole = [(kind, flags, struct.pack("=Bxxx", INET) + body) for kind, flags, body in messages]
        # One acknowledgement, for the last message: thousands would not fit the socket's buffer.
        kind, flags, body = whole.pop()
        begin, end = ((kind, 0, struct.pack(">xxH", 10)) for kind in (BATCH_BEGIN, BATCH_END))
        whole = [begin, *whole, (kind, flags | ACK, body), end]
        data = b"".join(_message(self._sequence, *message) for message in whole)
        self._nft.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(data) + 4096)
        self._nft.send(data)
        list(_answers(self._nft, self._sequence))

    def _ask(self, kind: int, flags: int, message: bytes, *values: bytes) -> list[bytes]:
        """What the kernel answers to a message of rtnetlink and its attributes."""
        return self._exchange(self._route, kind, flags, message + b"".join(values))

    def _exchange(self, via: socket.socket, kind: int, flags: int, body: bytes) -> list[bytes]:
        for _ in range(20):
            self._sequence += 1
            via.send(_message(self._sequence, kind, flags, body))
            answers = list(_answers(via, self._sequence))
            # Somebody changed what was being listed: the list may have gaps.
            if not any(flags & DUMP_INTERRUPTED for flags, _ in answers):
                return [answer for _, answer in answers]
        raise HelperError("the kernel's lists change too fast to be read", "try again")


def _message(sequence: int, kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST | flags, sequence, 0) + body


def _answers(via: socket.socket, asked: int) -> Iterator[tuple[int, bytes]]:
    """Flags and body of each message that answers sequence number `asked`; OSError for an error."""
    while True:
        data, offset = via.recv(1 << 18), 0
        while offset < len(data):
            length, code, flags, sequence = struct.unpack_from("=IHHI", data, offset)
            if sequence == asked:
                if code in (ERROR, DONE):
                    status = struct.unpack_from("=i", data, offset + 16)[0]
                    if status:
                        raise OSError(-status, os.strerror(-status))
                    return
                yield flags, data[offset + 16 : offset + length]
                if not flags & MULTI:
                    return
            offset += max(16, (length + 3) & ~3)


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute, padded to four bytes (RFC 3549, section 2.3)."""
    return struct.pack("=HH", len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode("ascii") + b"\0")


def integer(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _interface(ifindex: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg: family, type, index, flags, and which of the flags to change."""
    return struct.pack("=BxHiII", 0, 0, ifindex, flags, change)


def _address(ifindex: int = 0, length: int = 0) -> bytes:
    """struct ifaddrmsg: family, length of the prefix, flags, scope, index."""
    return struct.pack("=BBBBI", socket.AF_INET, length, 0, 0, ifindex)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by their kinds (RFC 3549, section 2.3); of a list, where all are of a kind, read
    attribute_list()."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)


def _link(answer: bytes) -> Link:
    ifindex, flags = struct.unpack_from("=4xiI", answer)
    there = attributes(answer[16:])
    texts = (there.get(kind, b"").rstrip(b"\0") for kind in (IFNAME, ALIAS))
    name, alias = (words.decode("utf-8", "backslashreplace") for words in texts)
    mtu, group, queues = (_integer(there.get(kind, b"")) for kind in (MTU, LINK_GROUP, 31))
    return Link(ifindex, name, alias, group, mtu, bool(flags & IFF_UP), queues > 1)


def _nexthops(answers: Iterable[bytes]) -> dict[int, set[int]]:
    """The interfaces of nexthop objects, single ones and groups, by their ids: linux/nexthop.h."""
    objects = {_integer(o.get(1, b"")): o for o in (attributes(answer[8:]) for answer in answers)}
    hops: dict[int, set[int]] = {}
    for number, there in objects.items():
        group = there.get(2, b"")  # of struct nexthop_grp, eight bytes that begin with an id
        members = [_integer(group[at : at + 4]) for at in range(0, len(group), 8)] or [number]
        hops[number] = {_integer(objects.get(member, {}).get(5, b"")) for member in members} - {0}
    return hops


def _ways(answer: bytes, nexthops: dict[int, set[int]]) -> list[Way]:
    kind, there = answer[7], attributes(answer[12:])
    if kind in LEADS_NOWHERE:
        return []
    # struct rtnexthop begins as an attribute does, with its length and two bytes: the interface.
    hops = [_integer(hop[:4]) for _, hop in attribute_list(there.get(9, b""))]
    hops = hops or list(nexthops.get(_integer(there.get(NH_ID, b"")), ()))
    to = _network(there.get(1, b""), answer[1])
    return [Way(hop, to, kind == LOCAL) for hop in hops or [_integer(there.get(4, b""))]]


def _network(address: bytes, length: int) -> IPv4Network:
    return IPv4Network((int.from_bytes(address, "big"), length), strict=False)


def _integer(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
