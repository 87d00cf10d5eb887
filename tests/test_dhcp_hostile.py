"""What a guest can send to hurt the responder: nothing that is not well-formed is answered, and
whatever it sends, there is no crash, no answer to anybody else and no flood in the log."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from ipaddress import IPv4Address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from labpackets import DISCOVER, INFORM, MAC, NOWHERE, REQUEST, encode, ip, packet, read

from tapdraft.generator.dhcp import Lease, answer
from tapdraft.generator.dhcp.limited import BURST, SECONDS, Bucket, Limited
from tapdraft.generator.dhcp.message import Malformed, parse

# The package has a function of that name.
serve = importlib.import_module("tapdraft.generator.dhcp.serve")
LEASE = Lease(
    mac=MAC.hex(":"),
    address=IPv4Address("192.168.7.2"),
    prefix=30,
    server=IPv4Address("192.168.7.1"),
    router=IPv4Address("192.168.7.1"),
)
WHOLE = packet(REQUEST, (50, ip("192.168.7.2")), (61, b"\1" + MAC), (55, b"\1\3\6"))

byte = st.integers(0, 255)
options = st.lists(st.tuples(st.integers(1, 254), st.binary(max_size=255)), max_size=12)


def judge(data: bytes) -> None:
    """No exception, a note that fits on a line, and an answer to nobody but the guest."""
    found = answer(LEASE, data)
    assert found.note.isprintable()
    assert len(found.note) < 120
    if found.message:
        reply = read(found.message)
        assert reply.mac == MAC
        assert reply.yiaddr in ("192.168.7.2", NOWHERE)
        assert found.to in (IPv4Address("255.255.255.255"), LEASE.address)
        assert 300 <= len(found.message) <= 1472


@given(st.binary(max_size=2000))
def test_noise_does_no_harm(data: bytes) -> None:
    judge(data)


@given(st.integers(1, 8), options, st.booleans(), st.binary(max_size=64), st.binary(max_size=128))
@example(DISCOVER, [(52, b"\3")], True, b"", b"")
@example(DISCOVER, [(52, b"\3")], True, b"\xff", b"\xff")
@example(DISCOVER, [(57, b"\xff\xff"), (61, b"\0" * 255)], True, b"", b"")
def test_any_options_do_no_harm(
    kind: int, more: list[tuple[int, bytes]], renewing: bool, sname: bytes, file: bytes
) -> None:
    judge(
        packet(kind, *more, ciaddr="192.168.7.2" if renewing else NOWHERE, sname=sname, file=file)
    )


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), byte), min_size=1, max_size=8))
def test_a_message_with_bytes_changed_does_no_harm(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    judge(bytes(data))


def test_a_message_that_is_cut_off_anywhere_is_not_answered() -> None:
    assert answer(LEASE, WHOLE).message
    for size in range(len(WHOLE)):
        assert not answer(LEASE, WHOLE[:size]).message


@given(options, st.data())
def test_options_that_are_cut_off_anywhere_are_not_answered(
    more: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    whole = packet(DISCOVER, *more)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert not answer(LEASE, whole[:cut]).message


def test_a_message_is_at_most_a_frame_long() -> None:
    assert answer(LEASE, WHOLE.ljust(1472, b"\0")).message
    for size in (1473, 9000, 65507):
        found = answer(LEASE, WHOLE.ljust(size, b"\0"))
        assert not found.message
        assert found.note == "a packet is ignored: more than a message"


@given(st.binary(min_size=6, max_size=6).filter(lambda mac: mac != MAC), st.integers(1, 8))
def test_no_other_mac_is_answered(mac: bytes, kind: int) -> None:
    assert not answer(LEASE, packet(kind, mac=mac, ciaddr="192.168.7.2")).message


@given(st.ip_addresses(v=4).filter(int), st.integers(1, 8))
def test_no_relay_is_answered(relay: IPv4Address, kind: int) -> None:
    assert not answer(LEASE, packet(kind, giaddr=str(relay), ciaddr="192.168.7.2")).message


@given(st.integers(1, 255), st.integers(1, 8))
def test_nothing_that_has_passed_a_relay_is_answered(hops: int, kind: int) -> None:
    assert not answer(LEASE, packet(kind, hops=hops, ciaddr="192.168.7.2")).message


@given(st.ip_addresses(v=4).filter(lambda a: a != LEASE.server), st.integers(1, 8))
def test_no_message_for_another_server_is_answered(server: IPv4Address, kind: int) -> None:
    assert not answer(LEASE, packet(kind, (54, server.packed), ciaddr="192.168.7.2")).message


@given(st.ip_addresses(v=4).filter(lambda a: a != LEASE.address))
def test_no_answer_goes_to_an_address_that_a_client_chose(client: IPv4Address) -> None:
    for kind in (DISCOVER, REQUEST, INFORM):
        found = answer(LEASE, packet(kind, ciaddr=str(client)))
        assert not found.message or found.to == IPv4Address("255.255.255.255")


BAD = {
    "without a type": (packet(1)[:240] + b"\xff", "no message type"),
    "of a long type": (packet(1)[:240] + b"\x35\2\1\1\xff", "a bad option 53"),
    "of two types": (packet(1, (53, b"\3")), "a bad option 53"),
    "with a short address": (packet(3, (50, b"\1\2\3")), "a bad option 50"),
    "with a long server": (packet(3, (54, b"\1\2\3\4\5")), "a bad option 54"),
    "with a size of one byte": (packet(1, (57, b"\2")), "a bad option 57"),
    "wanting nothing": (packet(1, (55, b"")), "a bad option 55"),
    "with an identifier of one byte": (packet(1, (61, b"\1")), "a bad option 61"),
    "with an identifier that never ends": (
        packet(1, (61, b"i" * 255), (61, b"i" * 255)),
        "a bad option 61",
    ),
    "with parts of an option in two fields": (
        packet(1, (50, b"\1\2\3\4"), (52, b"\1"), file=b"\x32\1\5\xff"),
        "a bad option 50",
    ),
    "with an empty overload": (packet(1, (52, b"")), "a bad option 52"),
    "without an end": (packet(1, end=b""), "options without an end"),
    "of pads without an end": (packet(1, end=bytes(60)), "options without an end"),
    "with a length and no value": (packet(1, end=b"\x0c"), "an option is cut off"),
    "with a value too short": (packet(1, end=b"\x0c\5abc"), "an option is cut off"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_message_is_named_and_not_answered(kind: str) -> None:
    data, why = BAD[kind]
    found = answer(LEASE, data)
    assert not found.message
    assert found.note == f"a packet is ignored: {why}"


def test_options_go_on_in_the_fields_that_overload_names() -> None:
    where = encode([(50, ip("192.168.7.2"))]) + b"\xff"
    assert answer(LEASE, packet(REQUEST, (52, b"\1"), file=where)).message
    assert answer(LEASE, packet(REQUEST, (52, b"\2"), sname=where)).message
    assert answer(LEASE, packet(REQUEST, (52, b"\3"), sname=where, file=b"\xff")).message
    assert not answer(LEASE, packet(REQUEST, (52, b"\2"), file=where)).message
    assert not answer(LEASE, packet(REQUEST, file=where)).message


def test_an_option_in_parts_is_one() -> None:
    parts = packet(REQUEST, (50, ip("192.168.7.2")[:1]), (12, b"x"), (50, ip("192.168.7.2")[1:]))
    assert parse(parts).address(50) == IPv4Address("192.168.7.2")


def test_what_is_no_message_is_malformed_and_nothing_else() -> None:
    with pytest.raises(Malformed, match="not a message of a DHCP client"):
        parse(packet(DISCOVER, op=2))


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=3000))
def test_a_flood_fills_no_log(pauses: list[float]) -> None:
    now = 0.0
    lines: list[str] = []
    log = Limited(lines.append, lambda: now)
    for pause in pauses:
        now += pause
        log(answer(LEASE, b"noise").note)
    assert len(lines) <= BURST + now / SECONDS + 1
    assert lines[0] == "a packet is ignored: less than a message"


def test_what_was_left_out_of_the_log_is_counted() -> None:
    now = 0.0
    lines: list[str] = []
    log = Limited(lines.append, lambda: now)
    for _ in range(BURST + 7):
        log("again")
    assert lines == ["again"] * BURST
    now += SECONDS
    log("later")
    log("and more")
    assert lines[BURST:] == ["later (7 lines before it left out)"]


class Server:
    """A socket on which the guest asks without end."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def recvmsg(self, *_: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        control = serve.PKTINFO.pack(0, bytes(4), ip("255.255.255.255"))
        return packet(DISCOVER), [(0, 8, control)], 0, ("0.0.0.0", 68)

    def sendmsg(self, parts: list[bytes], *_: object) -> None:
        self.sent += parts


def test_a_guest_gets_no_more_answers_than_a_rate() -> None:
    now, lines, server = [0.0], list[str](), Server()
    most, rate = serve.ANSWERS
    bucket = Bucket(most, rate, lambda: now[0])
    log = Limited(lines.append, lambda: now[0])

    def flood() -> int:
        server.sent.clear()
        for _ in range(500):
            serve._answer_one(server, LEASE, log, True, bucket)  # type: ignore[arg-type]
        return len(server.sent)

    assert [flood(), flood()] == [most, 0]
    assert lines[0].startswith("a message is not answered: ")
    now[0] = 2.0
    assert flood() == int(2 * rate)
    now[0] = 1e6
    assert flood() == most


def test_a_flood_is_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take the whole of a processor."""
    now, server, waits = [0.0], Server(), list[float | None]()

    def select(sources: list[object], *rest: object) -> tuple[list[object], list[object], object]:
        waits.append(rest[2])  # type: ignore[arg-type]
        now[0] += rest[2] or 0.0  # type: ignore[operator]
        return sources[2:] if len(waits) <= 6000 else sources[:1], [], []

    for name in ("_signals", "_link_events", "_listen"):
        monkeypatch.setattr(
            serve, name, lambda *_, name=name: nullcontext(server if name == "_listen" else name)
        )
    monkeypatch.setattr(serve.select, "select", select)
    monkeypatch.setattr(serve.socket, "if_nametoindex", lambda _: 1)
    monkeypatch.setattr(serve, "_there", lambda *_: True)
    serve.serve(LEASE, "td-web", ready=lambda: None, log=lambda _: None, clock=lambda: now[0])
    most, rate = serve.PACKETS
    assert all(wait is None for wait in waits[:most])
    # From then on it waits before each packet, and the socket is not looked at meanwhile.
    waited = [wait for wait in waits[most:] if wait]
    assert len(waited) >= 900
    assert now[0] == pytest.approx(sum(waited))
    assert waits[:6000].count(None) <= most + rate * now[0] + 1
