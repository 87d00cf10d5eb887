"""The kernel: what is there, and the few changes that the helper can make to it.

The only module that imports pyroute2, and of that only the message codec: its sockets bring in
asyncio and ssl, and `pyroute2/__init__.py` brings in everything it has.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec, module_from_spec
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from .errors import HelperError, InTheWay
from .ruleset import (
    COMMENT, FORWARDS, TABLE, UPLINKS, attribute, chains, comment, nest, number, text,
)  # fmt: skip

if "pyroute2" not in sys.modules:
    # The package is found but not run: an empty module in its place lets its parts be imported.
    spec = find_spec("pyroute2")
    if spec is None:
        raise HelperError("pyroute2 is not installed", "install python3-pyroute2")
    sys.modules["pyroute2"] = module_from_spec(spec)

from pyroute2.netlink import nlmsg
from pyroute2.netlink.nfnetlink import nfgen_msg

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
IFF_MULTI_QUEUE, IFF_TUN_EXCL = 0x0100, 0x8000
IFF_UP = 1
SO_SNDBUFFORCE = 32  # asm-generic/socket.h; needs CAP_NET_ADMIN
# linux/netlink.h
REQUEST, ACK, DUMP, EXCL, CREATE, APPEND = 1, 4, 0x300, 0x200, 0x400, 0x800
NETLINK_NETFILTER = 12
ERROR, DONE, DUMP_INTERRUPTED = 2, 3, 0x10
# linux/rtnetlink.h
NEWLINK, DELLINK, GETLINK, SETLINK, NEWADDR, GETADDR, NEWROUTE, GETROUTE = (
    16, 17, 18, 19, 20, 22, 24, 26,
)  # fmt: skip
# linux/netfilter/nf_tables.h; NFPROTO_INET; the messages around a transaction
NFTABLES, INET, BATCH_BEGIN, BATCH_END = 10 << 8, 1, 16, 17
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, NEWRULE, NEWSET = 0, 1, 2, 3, 6, 9
NEWELEMENT, GETELEMENT, DELELEMENT = 12, 13, 14
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
        (27, "group", "uint32"), (31, "queues", "uint32"),
    )  # fmt: skip


class _Address(nlmsg):  # type: ignore[misc]
    fields = (("family", "B"), ("length", "B"), ("flags", "B"), ("scope", "B"), ("index", "I"))
    nla_map = ((1, "address", "ip4addr"), (2, "local", "ip4addr"))


class _Route(nlmsg):  # type: ignore[misc]
    fields = (
        ("family", "B"), ("length", "B"), ("srclen", "B"), ("tos", "B"), ("table", "B"),
        ("proto", "B"), ("scope", "B"), ("type", "B"), ("flags", "I"),
    )  # fmt: skip
    nla_map = (
        (1, "to", "ip4addr"), (4, "out", "uint32"), (7, "source", "ip4addr"), (9, "hops", "binary"),
    )  # fmt: skip


class _Table(nfgen_msg):  # type: ignore[misc]
    nla_map = ((1, "name", "asciiz"), (6, "userdata", "binary"))


class _Elements(nfgen_msg):  # type: ignore[misc]
    nla_map = ((1, "table", "asciiz"), (2, "set", "asciiz"), (3, "elements", "binary"))


class Link(NamedTuple):
    ifindex: int
    name: str
    alias: str
    group: int
    mtu: int
    up: bool
    multi_queue: bool


class Route(NamedTuple):
    to: IPv4Network
    indexes: tuple[int, ...]  # of the interfaces it leaves by


class Element(NamedTuple):
    """An element of a set or map, its fields as the kernel has them."""

    key: bytes
    value: bytes
    comment: str


Message = tuple[int, int, bytes]  # of an nftables transaction: kind, flags, attributes


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
                raise InTheWay(
                    f"another process has held the lock for {seconds:.0f} seconds",
                    f"look for port {LOCK_PORT} in /proc/net/netlink",
                )
            time.sleep(0.005)

    # What is there

    def links(self, index: int = 0) -> list[Link]:
        """All interfaces, or the one with this index (OSError ENODEV where there is none)."""
        request = _Link()
        request["index"] = index
        return [
            Link(
                message["index"], message.get_attr("name"), message.get_attr("alias") or "",
                message.get_attr("group") or 0, message.get_attr("mtu"),
                bool(message["flags"] & IFF_UP), (message.get_attr("queues") or 1) > 1,
            )
            for message in self._ask(self._route, request, GETLINK, 0 if index else DUMP)
        ]  # fmt: skip

    def addresses(self) -> list[tuple[int, IPv4Network]]:
        """Interface index and network of every IPv4 address."""
        request = _Address()
        request["family"] = socket.AF_INET
        return [
            (message["index"], _network(message.get_attr("address"), message["length"]))
            for message in self._ask(self._route, request, GETADDR, DUMP)
        ]

    def routes(self) -> list[Route]:
        """The IPv4 routes of all tables."""
        request = _Route()
        request["family"] = socket.AF_INET
        return [
            Route(
                _network(message.get_attr("to") or "0.0.0.0", message["length"]),  # noqa: S104
                tuple(_outs(message)),
            )
            for message in self._ask(self._route, request, GETROUTE, DUMP)
        ]

    def table_comment(self) -> str | None:
        """The comment of the table with our name; None where there is no such table."""
        request = _Table()
        request["nfgen_family"] = INET
        request["attrs"] = [("name", TABLE[1])]
        try:
            (message,) = self._ask(self._nft, request, NFTABLES | GETTABLE, 0)
        except FileNotFoundError:
            return None
        return _comment(message.get_attr("userdata") or b"")

    def elements(self, name: str) -> list[Element]:
        """The elements of one of our sets; none where there is no such table."""
        request = _Elements()
        request["nfgen_family"] = INET
        request["attrs"] = [("table", TABLE[1]), ("set", name)]
        try:
            messages = self._ask(self._nft, request, NFTABLES | GETELEMENT, DUMP)
        except FileNotFoundError:
            return []
        blobs = (message.get_attr("elements") or b"" for message in messages)
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
            return descriptor, socket.if_nametoindex(name)
        except OSError:
            os.close(descriptor)
            raise

    def persist_tap(self, descriptor: int) -> None:
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)

    def set_link(self, index: int, *, up: bool | None = None, **attributes: str | int) -> None:
        """Set up or down, `mtu`, `group` or `alias` of an interface."""
        request = _Link()
        request["index"] = index
        if up is not None:
            request["flags"], request["change"] = int(up), IFF_UP
        request["attrs"] = list(attributes.items())
        self._ask(self._route, request, SETLINK, ACK)

    def delete_link(self, index: int) -> None:
        request = _Link()
        request["index"] = index
        self._ask(self._route, request, DELLINK, ACK)

    def delete_group(self, group: int) -> None:
        """Delete every interface of a device group, in one grace period of the kernel's."""
        request = _Link()
        request["attrs"] = [("group", group)]
        self._ask(self._route, request, DELLINK, ACK)

    def add_address(self, index: int, address: str, length: int) -> None:
        request = _Address()
        request["family"], request["length"], request["index"] = socket.AF_INET, length, index
        request["attrs"] = [("local", address), ("address", address)]
        self._ask(self._route, request, NEWADDR, ACK | CREATE | EXCL)

    def add_route(self, index: int, to: str, source: str) -> None:
        """A route to one address over a link: main table, scope link, protocol boot, unicast."""
        request = _Route()
        request["family"], request["length"], request["table"] = socket.AF_INET, 32, 254
        request["scope"], request["proto"], request["type"] = 253, 3, 1
        request["attrs"] = [("to", to), ("out", index), ("source", source)]
        self._ask(self._route, request, NEWROUTE, ACK | CREATE | EXCL)

    # Changes to our table: each method gives one message of a transaction for commit()

    def add_ruleset(self) -> Iterator[Message]:
        """The whole table, as ruleset.nft has it."""
        named = text(1, TABLE[1])
        yield NEWTABLE, CREATE | EXCL, text(1, TABLE[1]) + attribute(6, comment(COMMENT))
        # Types are nft's own numbers: ifname 41, inet_proto 12, inet_service 13, ipv4_addr 7, six
        # bits each in a concatenation. The last attribute tells nft the key's byte order.
        order = attribute(13, bytes((0, 4)) + _be(1)[::-1])
        key = number(4, 41) + number(5, 16)
        yield NEWSET, CREATE, named + text(2, UPLINKS) + number(3, 0) + key + number(10, 1) + order
        key = number(4, 12 << 6 | 13) + number(5, 8)
        value = number(6, 7 << 6 | 13) + number(7, 8)
        fields = number(3, 8) + key + value + number(10, 2)  # NFT_SET_MAP
        yield NEWSET, CREATE, named + text(2, FORWARDS) + fields
        compiled = chains()
        for chain in compiled:
            body = named + text(3, chain.name)
            if chain.hook:
                kind, hook, priority = chain.hook
                body += nest(4, number(1, hook), attribute(2, struct.pack(">i", priority)))
                body += number(5, 1) + text(7, kind)
            yield NEWCHAIN, CREATE, body
        for chain in compiled:
            for rule in chain.rules:
                yield NEWRULE, CREATE | APPEND, named + text(2, chain.name) + nest(4, rule)

    def commit(self, messages: Iterable[Message]) -> None:
        """One nftables transaction: all of the messages (kind, flags, attributes), or none."""
        self._sequence += 1
        parts = [self._nft_message(BATCH_BEGIN, 0, b"", 0, NFTABLES >> 8)]
        parts += [self._nft_message(NFTABLES | kind, flags, body) for kind, flags, body in messages]
        # One acknowledgement, for the last message: thousands would not fit the socket's buffer.
        length, kind, flags = struct.unpack_from("=IHH", parts[-1])
        parts[-1] = struct.pack("=IHH", length, kind, flags | ACK) + parts[-1][8:]
        parts.append(self._nft_message(BATCH_END, 0, b"", 0, NFTABLES >> 8))
        data = b"".join(parts)
        self._nft.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(data) + 4096)
        self._nft.send(data)
        list(self._answers(self._nft, _Table))

    def _nft_message(
        self, kind: int, flags: int, body: bytes, family: int = INET, resource: int = 0
    ) -> bytes:
        head = struct.pack("=IHHII", 20 + len(body), kind, REQUEST | flags, self._sequence, 0)
        return head + struct.pack(">BBH", family, 0, resource) + body

    # The exchange

    def _ask(self, via: socket.socket, request: Any, kind: int, flags: int) -> list[Any]:
        for _ in range(20):
            self._sequence += 1
            request["header"]["type"], request["header"]["flags"] = kind, REQUEST | flags
            request["header"]["sequence_number"] = self._sequence
            request.reset()
            request.encode()
            via.send(request.data)
            messages = list(self._answers(via, type(request)))
            # Somebody changed what was being listed: the list may have gaps.
            if not any(message["header"]["flags"] & DUMP_INTERRUPTED for message in messages):
                return messages
        raise HelperError("the kernel's lists change too fast to be read", "try again")

    def _answers(self, via: socket.socket, kind: type) -> Iterator[Any]:
        while True:
            data, offset = via.recv(1 << 18), 0
            while offset < len(data):
                length, code, flags, sequence = struct.unpack_from("=IHHI", data, offset)
                if sequence == self._sequence:
                    if code in (ERROR, DONE):
                        status = struct.unpack_from("=i", data, offset + 16)[0]
                        if status:
                            raise OSError(-status, os.strerror(-status))
                        return
                    message = kind(data, offset=offset)
                    message.decode()
                    yield message
                    if not flags & 2:  # NLM_F_MULTI
                        return
                offset += (length + 3) & ~3


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


def write_sysctl(key: str, value: str) -> None:
    with open(f"/proc/sys/net/{key}", "w", encoding="ascii") as file:
        file.write(value)


def _be(value: int) -> bytes:
    return struct.pack(">I", value)


def _network(address: str, length: int) -> IPv4Network:
    return IPv4Network((address, length), strict=False)


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


def _outs(message: Any) -> Iterator[int]:
    out = message.get_attr("out")
    if out:
        yield out
    hops = message.get_attr("hops") or b""
    while len(hops) >= 8:  # struct rtnexthop: a length, two bytes, the interface
        length, index = struct.unpack_from("=HxxI", hops)
        yield index
        hops = hops[max(length, 8) :]
