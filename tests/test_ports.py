"""Which ports of this host are in use, as anybody can see it."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tapdraft.generator.checks import port_conflicts, ports
from tapdraft.generator.checks.finding import Place
from tapdraft.generator.description.parser import parse
from tapdraft.helper.explain.commands import ruleset

SOCKETS = {
    "everybody's": ("tcp", "0.0.0.0", True),
    "IPv6's too": ("tcp", "::", True),
    "a datagram's": ("udp", "0.0.0.0", True),
    "a datagram's, IPv6's too": ("udp", "::", True),
    "loopback's": ("tcp", "127.0.0.1", False),
    "loopback's IPv6": ("udp", "::1", False),
    "loopback's, mapped": ("tcp", "::ffff:127.0.0.1", False),
}


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(opened: ExitStack, protocol: str, address: str) -> int:
    """The port of a new socket of this process."""
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = opened.enter_context(socket.socket(family, kind))
    server.bind((address, 0))
    if protocol == "tcp":
        server.listen()
    return int(server.getsockname()[1])


@pytest.mark.parametrize("whose", SOCKETS)
def test_a_port_is_in_use_where_somebody_from_outside_is_expected(
    opened: ExitStack, whose: str
) -> None:
    protocol, address, expected = SOCKETS[whose]
    port = bound(opened, protocol, address)
    assert ((protocol, port) in ports.in_use()) == expected
    text = f'[guest.web]\nkernel = "vmlinuz"\nforward = ["{protocol}:{port}:80"]\n'
    found = list(ports.forwarded_in_vain(parse(text.encode()).guests))
    assert [what for what, _ in found] == (
        [f"web: {protocol} port {port} is in use on this host"] if expected else []
    )


def test_a_clients_port_is_not_in_use_for_others(opened: ExitStack) -> None:
    port = bound(opened, "udp", "127.0.0.1")
    client = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.connect(("127.0.0.1", port))
    assert ("udp", client.getsockname()[1]) not in ports.in_use()


def test_the_ports_of_guests_are_those_of_the_ruleset() -> None:
    spans = re.findall(r"masquerade to :(\d+)-(\d+)", ruleset())
    assert {range(int(low), int(high) + 1) for low, high in spans} == {ports.GUESTS}


@pytest.mark.parametrize(("span", "warned"), [("32768\t60999\n", False), ("1024\t65535\n", True)])
def test_a_host_whose_own_ports_are_those_of_guests_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, span: str, warned: bool
) -> None:
    (tmp_path / "range").write_text(span)
    monkeypatch.setattr(port_conflicts, "RANGE", tmp_path / "range")
    monkeypatch.setattr(ports, "in_use", set)
    found = list(port_conflicts.of_guests(Place((), tmp_path)))
    assert [finding.level for finding in found] == ["warning"] * warned
    isolated = parse(b'[guest.web]\nkernel = "vmlinuz"\nmode = "isolated"\n').guests
    assert not list(port_conflicts.of_guests(Place(isolated, tmp_path)))


def test_a_program_of_the_hosts_at_a_port_of_guests_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "range").write_text("32768 60999")
    monkeypatch.setattr(port_conflicts, "RANGE", tmp_path / "range")
    monkeypatch.setattr(ports, "in_use", lambda: {("udp", 61001), ("tcp", 22)})
    (found,) = port_conflicts.of_guests(Place((), tmp_path))
    assert (found.level, "udp port 61001 is in use" in found.what) == ("warning", True)
