"""The kernel: what is there, and the few changes that the helper can make to it.

The only module that imports pyroute2, and of that only what encodes messages: its sockets bring in
asyncio and ssl, and `pyroute2/__init__.py` brings in everything it has. Answers are taken apart
here: with thousands of taps, pyroute2's own decoding takes longer than all the rest.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from ipaddress import IPv4Network
from types import ModuleType
from typing import Any, NamedTuple

from .errors import HelperError, InTheWay
from .ruleset import (
    COMMENT, FORWARDS, TABLE, UPLINKS, attribute, chains, comment, nest, number, text,
)  # fmt: skip


class _Unused(ModuleType):
    """Stands for a module that takes milliseconds to import and is not used."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self


if "pyroute2" not in sys.modules:
    # The package is found but not run: an empty module in its place lets its parts be imported.
    spec = PathFinder.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise HelperError("pyroute2 is not installed", "install python3-pyroute2")
    sys.modules["pyroute2"] = ModuleType("pyroute2")
    sys.modules["pyroute2"].__path__ = spec.submodule_search_locations
    # What it would log with, it only ever does in code that is not called here.
    for unused in {"logging", "traceback"} - set(sys.modules):
        sys.modules[unused] = _Unused(unused)

# After what stands in for the rest is in place: E402.
from pyroute2.netlink import nlmsg  # noqa: E402
from pyroute2.netlink.nfnetlink import nfgen_msg  # noqa: E402

for unused in ("logging", "traceback"):
    if isinstance(sys.modules.get(unused), _Unused):
        del sys.modules[unused]

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
IFF_MULTI_QUEUE, IFF_TUN_EXCL = 0x0100, 0x8000
IFF_UP = 1
SO_SNDBUFFORCE = 32  # asm-generic/socket.h; needs CAP_NET_ADMIN
# linux/netlink.h
REQUEST, ACK, DUMP, EXCL, CREATE, APPEND = 1, 4, 0x300, 0x200, 0x400, 0x800
NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 4, 12
ERROR, DONE, MULTI, DUMP_INTERRUPTED = 2, 3, 2, 0x10
# linux/sock_diag.h, net/tcp_states.h
SOCK_DIAG_BY_FAMILY, TCP_CLOSE, TCP_LISTEN = 20, 7, 10
# linux/rtnetlink.h
NEWLINK, DELLINK, GETLINK, SETLINK, NEWADDR, GETADDR, NEWROUTE, GETROUTE = (
    16, 17, 18, 19, 20, 22, 24, 26,
)  # fmt: skip
# linux/netfilter/nf_tables.h; NFPROTO_INET; the messages around a transaction
NFTABLES, INET, BATCH_BEGIN, BATCH_END = 10 << 8, 1, 16, 17
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, NEWRULE, NEWSET = 0, 1, 2, 3, 6, 9
NEWELEMENT, GETELEMENT, DELELEMENT = 12, 13, 14
# linux/netfilter/nfnetlink_conntrack.h
GET_CONNECTION, DELETE_CONNECTION = 1 << 8 | 1, 1 << 8 | 2
# An address of its own on the rtnetlink bus, "tapd": a lock that goes with the process.
LOCK_PORT = 0x74617064
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


class _Link(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    fields = (
        ("family", "B"), ("__align", "x"), ("ifi_type", "H"), ("index", "i"), ("flags", "I"),
        ("change", "I"),
    )  # fmt: skip
    nla_map = (
        (3, "name", "asciiz"), (4, "mtu", "uint32"), (20, "alias", "asciiz"),
        (27, "group", "uint32"),
    )  # fmt: skip


class _Address(nlmsg):  # type: ignore[misc]
    fields = (("family", "B"), ("length", "B"), ("flags", "B"), ("scope", "B"), ("index", "I"))
    nla_map = ((1, "address", "ip4addr"), (2, "local", "ip4addr"))


class _Route(nlmsg):  # type: ignore[misc]
    fields = (
        ("family", "B"), ("length", "B"), ("srclen", "B"), ("tos", "B"), ("table", "B"),
        ("proto", "B"), ("scope", "B"), ("type", "B"), ("flags", "I"),
    )  # fmt: skip
    nla_map = ((1, "to", "ip4addr"), (4, "out", "uint32"), (7, "source", "ip4addr"))


class _Table(nfgen_msg):  # type: ignore[misc]
    nla_map = ((1, "name", "asciiz"),)


class _Elements(nfgen_msg):  # type: ignore[misc]
    nla_map = ((1, "table", "asciiz"), (2, "set", "asciiz"))


class Link(NamedTuple):
    """An interface: what the helper looks at of it."""

    ifindex: int
    name: str
    alias: str
    group: int
    mtu: int
    up: bool
    multi_queue: bool


class Route(NamedTuple):
    """An IPv4 route."""

    to: IPv4Network
    indexes: tuple[int, ...]  # of the interfaces it leaves by


class Element(NamedTuple):
    """An element of a set or map, its fields as the kernel has them."""

    key: bytes
    value: bytes
    comment: str


Message = tuple[int, int, bytes]  # of an nftables transaction: kind, flags, attributes


class AnswerLost(OSError):
    """What was asked may have been done: only the answer did not arrive."""


class Kernel:
    """Netlink sockets into this process's network namespace. OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._nft = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._sequence = 0

    def lock(self, seconds: float) -> None:
        """Wait until no other helper works in this network namespace, at most so long."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self._route.bind((LOCK_PORT, 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            if time.monotonic() > until:
                what = f"another process has held the lock for {seconds:.0f} seconds"
                raise InTheWay(what, f"look for port {LOCK_PORT} in /proc/net/netlink")
            time.sleep(0.005)

    def close(self) -> None:
        """Let go of the lock."""
        self._route.close()
        self._nft.close()

    # What is there

    def links(self) -> list[Link]:
        """All interfaces."""
        return [_link(answer) for answer in self._ask(_Link(), GETLINK, DUMP)]

    def addresses(self) -> list[tuple[int, IPv4Network]]:
        """Interface index and network of every IPv4 address."""
        answers = self._ask(_Address(), GETADDR, DUMP, family=socket.AF_INET)
        return [_address(answer) for answer in answers]

    def routes(self) -> list[Route]:
        """The IPv4 routes of all tables."""
        answers = self._ask(_Route(), GETROUTE, DUMP, family=socket.AF_INET)
        return [_route(answer) for answer in answers]

    def table_comment(self) -> str | None:
        """The comment of the table with our name; None where there is no such table."""
        try:
            (answer,) = self._ask(
                _Table(), NFTABLES | GETTABLE, 0, {"name": TABLE[1]}, nfgen_family=INET
            )
        except FileNotFoundError:
            return None
        return _comment(dict(_attributes(answer[4:])).get(6, b""))

    def elements(self, name: str) -> list[Element]:
        """The elements of a set or map of our table."""
        wanted = {"table": TABLE[1], "set": name}
        answers = self._ask(_Elements(), NFTABLES | GETELEMENT, DUMP, wanted, nfgen_family=INET)
        blobs = [dict(_attributes(answer[4:])).get(3, b"") for answer in answers]
        return [_element(item) for blob in blobs for _, item in _attributes(blob)]

    # Changes to links, addresses and routes

    def create_tap(self, name: str, uid: int, flags: int) -> tuple[int, int]:
        """Descriptor and index of a new tap, which goes when the descriptor is closed.

        OSError EBUSY if there is an interface of that name.
        """
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            mode = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | flags
            fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), mode))
            fcntl.ioctl(descriptor, TUNSETOWNER, uid)
            (answer,) = self._ask(_Link(), GETLINK, 0, {"name": name})
            link = _link(answer)
            # Until it had an owner, anybody could open another queue of it, and keep that for good.
            if _queues(answer) > 1:
                self.delete_link(link.ifindex)
                raise OSError(errno.EBUSY, "somebody else has opened it")
            return descriptor, link.ifindex
        except OSError:
            os.close(descriptor)
            raise

    def persist_tap(self, descriptor: int) -> None:
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)

    def set_link(self, ifindex: int, up: bool | None = None, **attributes: str | int) -> None:
        """Set up or down, `mtu`, `group` or `alias` of an interface."""
        flags = {} if up is None else {"flags": int(up), "change": IFF_UP}
        self._ask(_Link(), SETLINK, ACK, attributes, index=ifindex, **flags)

    def delete_link(self, ifindex: int) -> None:
        self._ask(_Link(), DELLINK, ACK, index=ifindex)

    def delete_group(self, group: int) -> None:
        """Delete every interface of a device group, in one grace period of the kernel's."""
        self._ask(_Link(), DELLINK, ACK, {"group": group})

    def add_address(self, ifindex: int, address: str, length: int) -> None:
        where = {"family": socket.AF_INET, "length": length, "index": ifindex}
        attributes = {"local": address, "address": address}
        self._ask(_Address(), NEWADDR, ACK | CREATE | EXCL, attributes, **where)

    def add_route(self, ifindex: int, to: str, source: str) -> None:
        """A route to one address over a link: main table, scope link, protocol boot, unicast."""
        kind = {"family": socket.AF_INET, "table": 254, "scope": 253, "proto": 3, "type": 1}
        attributes = {"to": to, "out": ifindex, "source": source}
        self._ask(_Route(), NEWROUTE, ACK | CREATE | EXCL, attributes, length=32, **kind)

    def forget_connections(self, networks: Iterable[IPv4Network]) -> None:
        """End what connection tracking knows of these networks, as they begin to be somebody's.

        Else packets of an earlier guest's connections, forwarded ports too, reach the new one.
        """
        if read_sysctl("netfilter/nf_conntrack_count") == "0":
            return  # to be told that there is none, the kernel walks its whole table for 10 ms
        spans = sorted((int(network[0]), int(network[-1])) for network in networks)
        try:
            found = self._connections(GET_CONNECTION, DUMP)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return  # this kernel keeps connections to itself, or has none
            raise
        for there in map(dict, map(_attributes, (body[4:] for body in found))):
            ends = (dict(_attributes(there.get(way, b""))).get(1, b"") for way in (1, 2))
            ours = (int.from_bytes(a, "big") for end in ends for _, a in _attributes(end))
            # The last span that begins before an address is the only one that can hold it.
            last = ((address, bisect_right(spans, (address, 1 << 32))) for address in ours)
            if any(place and address <= spans[place - 1][1] for address, place in last):
                # The tuple of the connection's first packet, its number, its zone.
                which = ((0x8001, 1), (12, 12), (18, 18))
                named = (attribute(mark, there[kind]) for mark, kind in which if kind in there)
                with suppress(FileNotFoundError):  # it ended meanwhile
                    self._connections(DELETE_CONNECTION, ACK, b"".join(named))

    # The exchange

    def _connections(self, kind: int, flags: int, body: bytes = b"") -> list[bytes]:
        self._sequence += 1
        self._nft.send(self._message(kind, flags, body, socket.AF_INET))
        return [answer for _, answer in _answers(self._nft, self._sequence)]

    def commit(self, messages: Iterable[Message]) -> None:
        """One nftables transaction: all of the messages, or none of them."""
        self._sequence += 1
        parts = [self._message(NFTABLES | kind, flags, body) for kind, flags, body in messages]
        # One acknowledgement, for the last message: thousands would not fit the socket's buffer.
        length, kind, flags = struct.unpack_from("=IHH", parts[-1])
        parts[-1] = struct.pack("=IHH", length, kind, flags | ACK) + parts[-1][8:]
        first, last = (self._message(kind, 0, b"", 0, 10) for kind in (BATCH_BEGIN, BATCH_END))
        data = b"".join((first, *parts, last))
        self._nft.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(data) + 4096)
        self._nft.send(data)
        list(_answers(self._nft, self._sequence))

    def _message(self, kind: int, flags: int, body: bytes, family: int = 1, of: int = 0) -> bytes:
        head = struct.pack("=IHHII", 20 + len(body), kind, REQUEST | flags, self._sequence, 0)
        return head + struct.pack(">BBH", family, 0, of) + body

    def _ask(
        self, request: Any, kind: int, flags: int, attributes: dict[str, Any] | None = None,
        /, **fields: int,
    ) -> list[bytes]:  # fmt: skip
        via = self._nft if isinstance(request, nfgen_msg) else self._route
        request.update(fields)
        request["attrs"] = list((attributes or {}).items())
        request["header"].update(type=kind, flags=REQUEST | flags)
        for _ in range(20):
            self._sequence += 1
            request["header"]["sequence_number"] = self._sequence
            request.reset()
            request.encode()
            via.send(request.data)
            answers = list(_answers(via, self._sequence))
            # Somebody changed what was being listed: the list may have gaps.
            if not any(flags & DUMP_INTERRUPTED for flags, _ in answers):
                return [body for _, body in answers]
        raise HelperError("the kernel's lists change too fast to be read", "try again")


def _answers(via: socket.socket, asked: int) -> Iterator[tuple[int, bytes]]:
    """Flags and body of each message that answers sequence number `asked`; OSError for an error."""
    while True:
        try:
            data, offset = via.recv(1 << 18), 0
        except OSError as error:
            raise AnswerLost(error.errno, error.strerror) from None
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


def ruleset() -> Iterator[Message]:
    """The whole table, as ruleset.nft has it, for Kernel.commit()."""
    table = text(1, TABLE[1])
    yield NEWTABLE, CREATE | EXCL, table + attribute(6, comment(COMMENT))
    # Types are nft's own numbers: ifname 41, inet_proto 12, inet_service 13, ipv4_addr 7, six bits
    # each in a concatenation. The last attribute tells nft the key's byte order.
    order = attribute(13, b"\0\4\1\0\0\0")
    name = number(3, 0) + number(4, 41) + number(5, 16) + number(10, 1)
    yield NEWSET, CREATE, table + text(2, UPLINKS) + name + order
    key = number(3, 8) + number(4, 12 << 6 | 13) + number(5, 8)  # 8: NFT_SET_MAP
    value = number(6, 7 << 6 | 13) + number(7, 8) + number(10, 2)
    yield NEWSET, CREATE, table + text(2, FORWARDS) + key + value
    compiled = chains()
    for chain in compiled:
        hook = b""
        if chain.hook:
            kind, place, priority = chain.hook
            hook = nest(4, number(1, place), number(2, priority)) + number(5, 1) + text(7, kind)
        yield NEWCHAIN, CREATE, table + text(3, chain.name) + hook
    for chain in compiled:
        for rule in chain.rules:
            yield NEWRULE, CREATE | APPEND, table + text(2, chain.name) + nest(4, rule)


def add_element(name: str, key: bytes, value: bytes, remark: str) -> Message:
    """A message for Kernel.commit(); the transaction fails with EEXIST where the key is there."""
    data = nest(2, attribute(1, value)) if value else b""
    item = nest(1, nest(1, attribute(1, key)), data, attribute(6, comment(remark)))
    return NEWELEMENT, CREATE | EXCL, text(1, TABLE[1]) + text(2, name) + nest(3, item)


def delete_element(name: str, key: bytes) -> Message:
    item = nest(1, nest(1, attribute(1, key)))
    return DELELEMENT, 0, text(1, TABLE[1]) + text(2, name) + nest(3, item)


def delete_table() -> Message:
    return DELTABLE, 0, text(1, TABLE[1])


def uplink_key(name: str) -> bytes:
    return name.encode("ascii").ljust(16, b"\0")


def forward_key(protocol: str, port: int) -> bytes:
    return bytes((PROTOCOLS[protocol], 0, 0, 0)) + port.to_bytes(2, "big") + b"\0\0"


def forward_value(address: str, port: int) -> bytes:
    return socket.inet_aton(address) + port.to_bytes(2, "big") + b"\0\0"


def read_sysctl(key: str) -> str | None:
    """The value of a key below /proc/sys/net; None where there is no such key."""
    try:
        with open(f"/proc/sys/net/{key}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def listening() -> set[tuple[str, int]]:
    """Protocols and ports on which this host expects somebody from outside, sock_diag(7)."""
    found = set()
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    for name, state in (("tcp", TCP_LISTEN), ("udp", TCP_CLOSE)):
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = struct.pack("=BBBxI48x", family, PROTOCOLS[name], 0, 1 << state)
            diag.send(struct.pack("=IHHII", 72, SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, 0, 0) + asked)
            for _, answer in _answers(diag, 0):
                port, address = struct.unpack_from(">4xHxx16s", answer)
                address = address[:4] if family == socket.AF_INET else address
                address = address.removeprefix(bytes(10) + b"\xff\xff")  # ::ffff:192.0.2.1
                # Not what listens on a loopback or IPv6 address: no uplink leads there.
                if not any(address) or (len(address) == 4 and address[0] != 127):
                    found.add((name, port))
    diag.close()
    return found


def write_sysctl(key: str, value: str) -> None:
    with open(f"/proc/sys/net/{key}", "w", encoding="ascii") as file:
        file.write(value)


def _network(address: bytes, length: int) -> IPv4Network:
    return IPv4Network((int.from_bytes(address, "big"), length), strict=False)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            raise HelperError("the kernel's answer cannot be read")
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _element(data: bytes) -> Element:
    fields = dict(_attributes(data))
    key, value = (dict(_attributes(fields.get(kind, b""))).get(1, b"") for kind in (1, 2))
    return Element(key, value, _comment(fields.get(6, b"")))


def _comment(userdata: bytes) -> str:
    if len(userdata) < 3 or userdata[0] != 0:
        return ""
    return userdata[2 : 1 + userdata[1]].decode("ascii", "replace")


def _link(answer: bytes) -> Link:
    ifindex, flags = struct.unpack_from("=4xiI", answer)
    there = dict(_attributes(answer[16:]))
    texts = (there.get(kind, b"").rstrip(b"\0") for kind in (3, 20))
    name, alias = (words.decode("ascii", "replace") for words in texts)
    mtu, group, queues = (_integer(there.get(kind, b"")) for kind in (4, 27, 31))
    return Link(ifindex, name, alias, group, mtu, bool(flags & IFF_UP), queues > 1)


def _queues(answer: bytes) -> int:
    """How many are open of a tap that may have several, linux/if_link.h: IFLA_TUN_NUM_QUEUES."""
    of_kind = dict(_attributes(dict(_attributes(answer[16:])).get(18, b""))).get(2, b"")
    tun = dict(_attributes(of_kind))
    return _integer(tun.get(8, b"")) + _integer(tun.get(9, b""))


def _address(answer: bytes) -> tuple[int, IPv4Network]:
    length, ifindex = struct.unpack_from("=xBxxI", answer)
    return ifindex, _network(dict(_attributes(answer[8:])).get(1, b""), length)


def _route(answer: bytes) -> Route:
    there = dict(_attributes(answer[12:]))
    out = (_integer(there[4]),) if 4 in there else ()
    return Route(_network(there.get(1, b""), answer[1]), (*out, *_hops(there.get(9, b""))))


def _hops(hops: bytes) -> Iterator[int]:
    while len(hops) >= 8:  # struct rtnexthop: a length, two bytes, the interface
        length, ifindex = struct.unpack_from("=HxxI", hops)
        yield ifindex
        hops = hops[max(length, 8) :]


def _integer(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
