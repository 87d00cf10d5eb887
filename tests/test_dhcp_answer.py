"""What the responder says, message by message. RFC 2131, section 4.3."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from labpackets import (
    ACK,
    DECLINE,
    DISCOVER,
    INFORM,
    MAC,
    NAK,
    NOWHERE,
    OFFER,
    RELEASE,
    REQUEST,
    Reply,
    ip,
    packet,
    read,
)

from tapdraft.generator.dhcp import Answer, Lease, answer

HOST, GUEST, OTHER = "192.168.7.1", "192.168.7.2", "192.168.7.6"
EVERYBODY = IPv4Address("255.255.255.255")
LEASE = Lease(
    mac="52:54:C0:A8:07:02",
    address=IPv4Address(GUEST),
    prefix=30,
    server=IPv4Address(HOST),
    router=IPv4Address(HOST),
    dns=(IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")),
    host_name="web",
    domain="lab.example",
    mtu=1400,
    seconds=3600,
)
SERVER, WANT_ADDRESS = (54, ip(HOST)), (50, ip(GUEST))
EVERYTHING = (55, bytes(range(1, 255)))


def reply(*args: object, lease: Lease = LEASE, **fields: object) -> Reply:
    """The answer to a packet that has one."""
    return read(answer(lease, packet(*args, **fields)).message)  # type: ignore[arg-type]


def silent(given: Answer) -> bool:
    return given.message == b"" and not given.usual


def test_discover_gets_an_offer_of_the_one_address() -> None:
    offer = reply(DISCOVER, xid=0xDEADBEEF)
    assert (offer.kind, offer.xid, offer.mac) == (OFFER, 0xDEADBEEF, MAC)
    assert (offer.yiaddr, offer.ciaddr) == (GUEST, NOWHERE)
    assert offer.options[54] == ip(HOST)
    assert offer.options[51] == (3600).to_bytes(4, "big")
    assert offer.options[58] == (1800).to_bytes(4, "big")
    assert offer.options[59] == (3150).to_bytes(4, "big")


def test_discover_for_another_address_is_offered_the_one_there_is() -> None:
    assert reply(DISCOVER, (50, ip(OTHER))).yiaddr == GUEST


STATES = {
    "selecting": packet(REQUEST, SERVER, WANT_ADDRESS),
    "rebooting": packet(REQUEST, WANT_ADDRESS),
    "renewing": packet(REQUEST, ciaddr=GUEST),
    "rebinding": packet(REQUEST, ciaddr=GUEST),
}


@pytest.mark.parametrize("state", STATES)
def test_request_for_the_guests_address_is_acknowledged(state: str) -> None:
    given = answer(LEASE, STATES[state], broadcast=state != "renewing")
    ack = read(given.message)
    assert (ack.kind, ack.yiaddr, ack.options[54]) == (ACK, GUEST, ip(HOST))
    assert given.note == f"{GUEST} leased ({state})"
    assert {51, 58, 59, 1} <= set(ack.options)


REFUSED = {
    "selecting": packet(REQUEST, SERVER, (50, ip(OTHER))),
    "rebooting": packet(REQUEST, (50, ip(OTHER))),
    "renewing": packet(REQUEST, ciaddr=OTHER),
    "rebinding": packet(REQUEST, ciaddr=OTHER),
}


@pytest.mark.parametrize("state", REFUSED)
def test_request_for_another_address_is_refused_to_all(state: str) -> None:
    given = answer(LEASE, REFUSED[state], broadcast=state != "renewing")
    nak = read(given.message)
    assert (nak.kind, nak.yiaddr, nak.ciaddr) == (NAK, NOWHERE, NOWHERE)
    assert nak.order == [53, 54, 56]
    assert given.to == EVERYBODY
    assert given.note.startswith(f"{OTHER} refused ({state})")
    assert not given.usual


def test_request_to_another_server_is_left_to_it() -> None:
    assert silent(answer(LEASE, packet(REQUEST, (54, ip("192.168.7.9")), WANT_ADDRESS)))


def test_request_for_no_address_at_all_is_not_answered() -> None:
    assert silent(answer(LEASE, packet(REQUEST)))
    assert silent(answer(LEASE, packet(REQUEST, SERVER)))


def test_who_has_no_address_yet_is_answered_by_broadcast_with_or_without_its_flag() -> None:
    for flags in (0, 0x8000):
        for request in (packet(DISCOVER, flags=flags), packet(REQUEST, WANT_ADDRESS, flags=flags)):
            given = answer(LEASE, request)
            assert given.to == EVERYBODY
            assert read(given.message).flags == flags


def test_who_has_the_address_is_answered_at_it() -> None:
    given = answer(LEASE, packet(REQUEST, ciaddr=GUEST))
    assert given.to == IPv4Address(GUEST)
    assert read(given.message).ciaddr == GUEST


def test_inform_gets_settings_but_no_lease() -> None:
    given = answer(LEASE, packet(INFORM, EVERYTHING, ciaddr=GUEST))
    ack = read(given.message)
    assert (given.to, ack.kind, ack.yiaddr, ack.ciaddr) == (LEASE.address, ACK, NOWHERE, GUEST)
    assert not {51, 58, 59} & set(ack.options)
    assert ack.options[6] == ip("198.51.100.1") + ip("198.51.100.2")


def test_inform_from_an_address_that_cannot_be_reached_is_not_answered() -> None:
    assert silent(answer(LEASE, packet(INFORM, ciaddr=OTHER)))
    assert silent(answer(LEASE, packet(INFORM)))


def test_decline_is_told_to_a_person_and_release_is_usual() -> None:
    declined = answer(LEASE, packet(DECLINE, SERVER, WANT_ADDRESS))
    assert silent(declined)
    assert "in use by somebody else" in declined.note
    released = answer(LEASE, packet(RELEASE, SERVER, ciaddr=GUEST))
    assert (released.message, released.usual) == (b"", True)


FOREIGN = {
    "a relay's": packet(DISCOVER, giaddr="192.168.7.1"),
    "relayed once": packet(DISCOVER, hops=1),
    "from another MAC": packet(DISCOVER, mac=MAC[:5] + b"\x03"),
    "from no Ethernet": packet(DISCOVER, htype=6),
    "with a short hardware address": packet(DISCOVER, hlen=5),
    "with a long hardware address": packet(DISCOVER, hlen=16),
    "a server's": packet(DISCOVER, op=2),
    "an offer": packet(OFFER, SERVER),
    "an acknowledgement": packet(ACK, SERVER),
    "a refusal": packet(NAK, SERVER),
    "of kind 0": packet(0),
    "of a kind to come": packet(13),
    "to another server": packet(RELEASE, (54, ip("192.0.2.1")), ciaddr=GUEST),
    "BOOTP": packet(DISCOVER, cookie=b"\0\0\0\0"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_the_guests_own_message_is_not_answered(kind: str) -> None:
    assert silent(answer(LEASE, FOREIGN[kind]))


def test_wanted_options_come_in_the_clients_order_after_the_mask() -> None:
    offer = reply(DISCOVER, (55, bytes((26, 15, 3, 6, 121, 12, 42, 28, 15))))
    assert offer.order == [53, 54, 51, 58, 59, 1, 26, 15, 3, 6, 121, 12, 28]
    assert offer.options[1] == ip("255.255.255.252")
    assert offer.options[26] == (1400).to_bytes(2, "big")
    assert offer.options[15] == b"lab.example"
    assert offer.options[12] == b"web"
    assert offer.options[28] == ip("192.168.7.3")


def test_what_is_not_wanted_is_not_sent() -> None:
    assert reply(DISCOVER, (55, bytes((3,)))).order == [53, 54, 51, 58, 59, 1, 3]


def test_a_client_that_says_nothing_gets_what_any_client_needs() -> None:
    assert reply(DISCOVER).order == [53, 54, 51, 58, 59, 1, 3, 6, 12, 15]


def test_what_is_not_known_is_left_out() -> None:
    bare = replace(LEASE, dns=(), host_name="", domain="", router=None)
    assert reply(DISCOVER, EVERYTHING, lease=bare).order == [53, 54, 51, 58, 59, 1, 26, 28]


def test_the_default_route_also_comes_as_a_classless_one() -> None:
    assert reply(DISCOVER, (55, b"\x79")).options[121] == b"\0" + ip(HOST)


def test_a_router_outside_the_guests_network_is_made_reachable_first() -> None:
    offer = reply(DISCOVER, EVERYTHING, lease=replace(LEASE, prefix=32))
    assert offer.options[121] == b"\x20" + ip(HOST) + bytes(4) + b"\0" + ip(HOST)
    assert offer.options[1] == ip("255.255.255.255")
    assert 28 not in offer.options


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST])
@pytest.mark.parametrize("wanted", [GUEST, OTHER])
def test_the_client_identifier_is_returned_as_it_is(kind: int, wanted: str) -> None:
    identifier = b"\xff" + bytes(range(18))
    given = reply(kind, (50, ip(wanted)), (61, identifier))
    assert given.options[61] == identifier


def test_a_lease_for_ever_names_no_time_to_renew() -> None:
    offer = reply(DISCOVER, lease=replace(LEASE, seconds=0xFFFFFFFF))
    assert offer.options[51] == b"\xff\xff\xff\xff"
    assert not {58, 59} & set(offer.options)


def test_an_answer_is_as_long_as_the_oldest_clients_need() -> None:
    assert len(answer(LEASE, packet(DISCOVER, (55, b"\3"))).message) == 300


@pytest.mark.parametrize(
    ("size", "most"), [(None, 548), (576, 548), (0, 548), (700, 672), (1500, 1472), (65535, 1472)]
)
def test_an_answer_is_as_long_as_the_client_takes(size: int | None, most: int) -> None:
    full = replace(LEASE, dns=(IPv4Address("198.51.100.1"),) * 63, domain="d" * 253)
    options = [(57, size.to_bytes(2, "big"))] if size is not None else []
    identifier = b"\0" + b"i" * 254
    packed = answer(full, packet(DISCOVER, EVERYTHING, (61, identifier), *options)).message
    assert len(packed) <= most
    offer = read(packed)
    assert offer.options[61] == identifier
    assert {51, 1, 3} <= set(offer.options)
    assert (15 in offer.options) == (most == 1472)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mac", "52:54:00:12:34"),
        ("mac", "52:54:00:12:34:5g"),
        ("mac", ""),
        ("prefix", 0),
        ("prefix", 33),
        ("mtu", 67),
        ("mtu", 65536),
        ("seconds", 0),
        ("seconds", 1 << 32),
        ("host_name", "a\nb"),
        ("domain", "e" * 254),
        ("domain", "ü.example"),
    ],
)
def test_a_lease_that_cannot_be_told_is_an_error(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"\bis not an?\b"):
        replace(LEASE, **{field: value})  # type: ignore[arg-type]  # whatever the field's type
