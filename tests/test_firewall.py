"""What connection tracking knows of a network is forgotten, and nothing else, at a fair price."""

import socket
import struct
from ipaddress import IPv4Network
from typing import Any

import pytest
from tapdraft.helper import firewall
from tapdraft.helper.firewall import nest
from tapdraft.helper.netlink import attribute

NETWORKS = [IPv4Network("192.168.7.0/30"), IPv4Network("10.0.0.9/32")]


def way(kind: int, source: str, to: str) -> bytes:
    """One direction of a connection, as ctnetlink tells it."""
    addresses = (attribute(n, socket.inet_aton(end)) for n, end in ((1, source), (2, to)))
    ports = attribute(1, b"\x11") + attribute(2, b"\x08\0") + attribute(3, b"\1\0")
    return nest(kind, nest(1, *addresses), nest(2, ports))


def connection(source: str, to: str, back: str) -> bytes:
    return way(1, source, to) + way(2, to, back) + attribute(12, struct.pack(">I", 7))


class Kernel:
    """Has connections, and notes which it is told to forget."""

    def __init__(self, connections: list[bytes]) -> None:
        self.connections = connections
        self.forgotten: list[bytes] = []

    def netfilter(self, kind: int, flags: int, body: bytes, family: int) -> list[bytes]:
        if kind == firewall.GET_CONNECTION:
            return self.connections
        self.forgotten.append(body)
        return []


@pytest.mark.parametrize(
    ("ends", "forgotten"),
    [
        (("192.168.7.2", "198.51.100.1", "203.0.113.2"), True),
        (("198.51.100.1", "203.0.113.2", "192.168.7.3"), True),
        (("10.0.0.9", "198.51.100.1", "203.0.113.2"), True),
        (("192.168.7.4", "198.51.100.1", "203.0.113.2"), False),
        (("192.168.6.255", "10.0.0.8", "10.0.0.10"), False),
        (("8.0.1.0", "8.0.2.0", "192.168.7.2"), True),
    ],
)
def test_a_connection_is_forgotten_by_any_of_its_ends(
    ends: tuple[str, str, str], forgotten: bool
) -> None:
    found = connection(*ends)
    kernel: Any = Kernel([found])
    firewall.forget_connections(kernel, NETWORKS)
    # Its first direction and its number name it.
    named = way(1, *ends[:2]) + attribute(12, struct.pack(">I", 7))
    assert kernel.forgotten == ([named] if forgotten else [])


def test_a_full_table_of_others_connections_is_not_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lock is held meanwhile: 262,144 of them once took five seconds."""
    others = [
        connection(f"172.16.{n >> 8}.{n & 255}", "198.51.100.1", "203.0.113.2") for n in range(4096)
    ]
    calls: list[int] = []

    def counted(data: bytes) -> dict[int, bytes]:
        calls.append(len(data))
        return real(data)

    real = firewall.attributes
    monkeypatch.setattr(firewall, "attributes", counted)
    kernel: Any = Kernel([*others, connection("192.168.7.2", "198.51.100.1", "203.0.113.2")])
    firewall.forget_connections(kernel, NETWORKS)
    assert len(kernel.forgotten) == 1
    assert len(calls) <= 5
