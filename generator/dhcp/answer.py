"""What to say to a guest's DHCP message: RFC 2131 for a server that has one address to give.

There is one guest on a tap and one address for it, so there is nothing to remember: every answer
follows from the message alone. Nothing is done here; serve.py listens and sends.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from . import message
from .message import NOBODY, Malformed, Request

BROADCAST = IPv4Address("255.255.255.255")
HALF_A_DAY, FOR_EVER = 43200, 0xFFFFFFFF  # seconds
# What a client gets that does not say what it wants.
_USUAL = bytes((message.ROUTER, message.NAME_SERVERS, message.HOST_NAME, message.DOMAIN))


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What the guest is told. ValueError for what no DHCP message can say."""

    mac: str  # of the guest, "52:54:c0:a8:07:02"
    address: IPv4Address
    prefix: int  # of the network on the tap, 1 to 32
    server: IPv4Address  # the host's address on the tap
    router: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    host_name: str = ""
    domain: str = ""
    mtu: int = 1500  # bytes, 68 to 65535
    seconds: int = HALF_A_DAY  # or FOR_EVER

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", self.mac):
            raise ValueError(f"'{self.mac}' is not a MAC address")
        if not 1 <= self.prefix <= 32:
            raise ValueError(f"{self.prefix} is not a prefix length")
        if not 68 <= self.mtu <= 0xFFFF:
            raise ValueError(f"{self.mtu} is not an MTU")
        if not 1 <= self.seconds <= FOR_EVER:
            raise ValueError(f"{self.seconds} is not a lease time")
        for name in (self.host_name, self.domain):
            if not re.fullmatch(r"[0-9A-Za-z.-]{0,253}", name):
                raise ValueError(f"'{name}' is not a host or domain name")


class Answer(NamedTuple):
    """What to send, `b""` for nothing, and to which address (port 68).

    `note` says for a log what happened; a client's own words are never in it. `usual` is false
    for what a person may want to look at.
    """

    message: bytes
    to: IPv4Address
    note: str
    usual: bool = True


def answer(lease: Lease, packet: bytes, *, broadcast: bool = False) -> Answer:
    """What to say to this packet. `broadcast`: it was sent to everybody, not to this server."""
    try:
        request = message.parse(packet)
    except Malformed as error:
        return _silence(f"a packet is ignored: {error}")
    # Whoever hears a relay's message has a relay's network, which no tap is.
    if request.relay != NOBODY or request.hops:
        return _silence("a relayed message is ignored")
    if request.mac != lease.mac.lower():
        return _silence(f"a message of {request.mac} is ignored: the guest is {lease.mac.lower()}")
    server = request.address(message.SERVER)
    if server not in (None, lease.server):
        return _silence(f"a message for the server {server} is ignored")
    if request.kind == message.REQUEST:
        return _request(lease, request, broadcast)
    handler = _HANDLERS.get(request.kind)
    return handler(lease, request) if handler else _silence(f"type {request.kind} is ignored")


def _silence(note: str) -> Answer:
    return Answer(b"", NOBODY, note, usual=False)


def _discover(lease: Lease, request: Request) -> Answer:
    return _give(lease, request, message.OFFER, f"{lease.address} offered")


def _request(lease: Lease, request: Request, broadcast: bool) -> Answer:
    wanted = request.address(message.REQUESTED_ADDRESS)
    if request.client != NOBODY:
        # By the destination alone: RFC 2131, 4.3.2. Nothing else in the message differs.
        state, wanted = "rebinding" if broadcast else "renewing", request.client
    elif message.SERVER in request.options:
        state = "selecting"
    else:
        state = "rebooting"
    if wanted is None:
        return _silence("a request for no address is ignored")
    if wanted != lease.address:
        return _refuse(lease, request, wanted, state)
    return _give(lease, request, message.ACK, f"{lease.address} leased ({state})")


def _inform(lease: Lease, request: Request) -> Answer:
    # Any other address could not be reached on this tap.
    if request.client != lease.address:
        return _silence(f"an INFORM from {request.client} is ignored")
    options = _options(lease, request, message.ACK, times=False)
    packet = message.reply(request, options, client=request.client)
    return Answer(packet, request.client, f"{lease.address} informed")


def _decline(lease: Lease, request: Request) -> Answer:
    # There is no other address: after its ten seconds (RFC 2131, 3.1.5) the client is offered this
    # one again. Only a person can end the conflict.
    return _silence(f"the guest found {lease.address} in use by somebody else and declined it")


def _release(lease: Lease, request: Request) -> Answer:
    return _silence(f"{lease.address} released")._replace(usual=True)


_HANDLERS = {
    message.DISCOVER: _discover,
    message.INFORM: _inform,
    message.DECLINE: _decline,
    message.RELEASE: _release,
}


def _give(lease: Lease, request: Request, kind: int, note: str) -> Answer:
    client = request.client if kind == message.ACK else NOBODY
    options = _options(lease, request, kind, times=True)
    packet = message.reply(request, options, client=client, yours=lease.address)
    # RFC 2131, 4.1: to who has the address already by unicast. To who has not, unicast would need
    # an ARP entry or a raw socket, so a privilege; then the RFC allows a broadcast, and on a tap
    # nobody else hears it.
    return Answer(packet, BROADCAST if client == NOBODY else client, note)


def _refuse(lease: Lease, request: Request, wanted: IPv4Address, state: str) -> Answer:
    options = [*_head(lease, request, message.NAK), (message.EXPLANATION, b"not your address")]
    # The client's address is wrong, so always by broadcast: RFC 2131, 4.1.
    note = f"{wanted} refused ({state}): the guest's address is {lease.address}"
    return Answer(message.reply(request, options), BROADCAST, note, usual=False)


def _head(lease: Lease, request: Request, kind: int) -> Iterator[tuple[int, bytes]]:
    yield message.MESSAGE_TYPE, bytes((kind,))
    yield message.SERVER, lease.server.packed
    if message.CLIENT_IDENTIFIER in request.options:  # RFC 6842
        yield message.CLIENT_IDENTIFIER, request.options[message.CLIENT_IDENTIFIER]


def _options(
    lease: Lease, request: Request, kind: int, *, times: bool
) -> Iterator[tuple[int, bytes]]:
    """All options of an answer: first what must be in it, then what is wanted, in the client's
    order."""
    yield from _head(lease, request, kind)
    if times:
        yield from _times(lease.seconds)
    known = _known(lease)
    # The mask comes before the router: RFC 2132, 3.3.
    wanted = (message.SUBNET_MASK, *request.options.get(message.WANTED, _USUAL))
    for code in dict.fromkeys(wanted):
        if code in known:
            yield code, known[code]


def _times(seconds: int) -> Iterator[tuple[int, bytes]]:
    yield message.LEASE_TIME, seconds.to_bytes(4, "big")
    if seconds != FOR_EVER:
        yield message.RENEWAL_TIME, (seconds // 2).to_bytes(4, "big")
        yield message.REBINDING_TIME, (seconds * 7 // 8).to_bytes(4, "big")


def _known(lease: Lease) -> dict[int, bytes]:
    """What a client may want."""
    network = IPv4Network((lease.address, lease.prefix), strict=False)
    options = {
        message.SUBNET_MASK: network.netmask.packed,
        message.MTU: lease.mtu.to_bytes(2, "big"),
        message.BROADCAST: network.broadcast_address.packed if lease.prefix < 31 else b"",
        message.NAME_SERVERS: b"".join(server.packed for server in lease.dns[:63]),
        message.HOST_NAME: lease.host_name.encode(),
        message.DOMAIN: lease.domain.encode(),
    }
    if lease.router:
        options[message.ROUTER] = lease.router.packed
        options[message.CLASSLESS_ROUTES] = _routes(lease.router, network)
    return {code: value for code, value in options.items() if value}


def _routes(router: IPv4Address, network: IPv4Network) -> bytes:
    """RFC 3442: prefix length, that much of the network, and the router. A router outside the
    guest's network is first made reachable by a route to it alone, without a router."""
    to_router = b"" if router in network else bytes((32,)) + router.packed + NOBODY.packed
    return to_router + bytes((0,)) + router.packed
