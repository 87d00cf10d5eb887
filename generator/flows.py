"""The packets that a guest needs to get through, and the hooks that they pass.

What guests send comes from the tap and leaves by an uplink; answers come back the same way. DHCP
comes in on port 10067, see helper/ruleset.nft. What reaches the host is checked separately.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from ..helper.plan import group_of
from . import requests
from .description import Guest
from .packets import Chain, Field, Packet

# Guests talk to any address: this one is typical. So are these two ports.
TYPICAL = IPv4Address("93.184.215.14")
_CONNTRACK, _RAW, _DSTNAT = -200, -300, -100
_DHCP = {"l4proto": "udp", "status": frozenset()}


class Step(NamedTuple):
    """One hook on the way, for chains of these families."""

    hook: str
    packet: Packet
    families: tuple[str, ...] = ("ip", "inet")


class Flow(NamedTuple):
    """`towards` is "out" for what comes from a guest and "in" for what goes to it."""

    what: str
    steps: tuple[Step, ...]
    towards: str
    uplink: str
    port: tuple[str, int] | None = None  # of a forward
    level: str = "error"


def at(chain: Chain, step: Step, flow: Flow) -> Packet:
    """The packet as a chain sees it: its priority says what has been done to it before."""
    packet = dict(step.packet)
    early = step.hook in ("prerouting", "output", "ingress") and chain.priority <= _CONNTRACK
    if early or step.hook == "ingress" or chain.family in ("arp", "bridge"):
        packet["state"], packet["status"] = Field("invalid"), Field(frozenset())
        if chain.family in ("arp", "bridge") or step.hook == "ingress":
            packet.pop("state")
    # Before ours, DHCP still has the ports that the guest uses.
    raw = step.hook == "ingress" or (step.hook == "prerouting" and chain.priority <= _RAW)
    if raw and flow.what.startswith("DHCP requests"):
        packet["dport"] = Field(67)
    if step.hook == "prerouting" and chain.priority <= _DSTNAT and flow.uplink == _name(packet):
        packet["daddr"] = Field(packet["daddr"].value, False)
        packet["type"] = Field("local")
    return packet


def _name(packet: Packet) -> str:
    return str(packet["iifname"].value) if "iifname" in packet else ""


def flows(guest: Guest, uplinks: tuple[str, ...]) -> Iterator[Flow]:
    """All that a guest with a tap needs; the host's own connections to it come last."""
    tap = _Tap(guest)
    for uplink in uplinks:
        yield from tap.through(uplink)
    if guest.addressing == "dhcp":
        yield from tap.dhcp()
    yield from tap.host()


class _Tap:
    def __init__(self, guest: Guest) -> None:
        request = requests.up(guest)
        self.guest, self.name = guest, request.tap
        self.group = group_of(request)
        self.address, self.gateway = IPv4Address(guest.address), IPv4Address(guest.gateway)

    def packet(self, source: Any, target: Any, **fields: Any) -> Packet:
        packet = {
            "saddr": source,
            "daddr": target,
            "nfproto": "ipv4",
            "l4proto": "tcp",
            "mark": 0,
            "state": "new",
            "status": frozenset(),
            "flags": frozenset({"syn"}),
            "type": "unicast",
            "pkttype": Field("host", False),
            **fields,
        }
        if packet["l4proto"] != "tcp":
            packet.pop("flags")
        return {
            name: value if isinstance(value, Field) else Field(value)
            for name, value in packet.items()
        }

    def link(self, way: str, name: str) -> dict[str, Field]:
        """An interface as a packet's iif or oif."""
        ours = name == self.name
        return {
            f"{way}name": Field(name),
            f"{way}group": Field(self.group if ours else 0, ours),
            f"{way}kind": Field("tun") if ours else Field(None, False),
        }

    def steps(self, packet: Packet, came: str, goes: str) -> tuple[Step, ...]:
        into, out = self.link("iif", came), self.link("oif", goes)
        return (
            Step("ingress", {**packet, **into}, ("netdev", "inet")),
            Step("prerouting", {**packet, **into}),
            Step("forward", {**packet, **into, **out}),
            Step("postrouting", {**packet, **into, **out}),
            Step("egress", {**packet, **out}, ("netdev",)),
        )

    def through(self, uplink: str) -> Iterator[Flow]:
        anywhere, high = Field(TYPICAL, False), Field(40000, False)
        sends = self.guest.mode != "isolated"
        for protocol, port in (("tcp", 443), ("udp", 53)) if sends else ():
            there = self.packet(
                self.address, anywhere, l4proto=protocol, sport=high, dport=Field(port, False)
            )
            yield Flow("what guests send", self.steps(there, self.name, uplink), "out", uplink)
            back = self.packet(
                anywhere,
                self.address,
                l4proto=protocol,
                sport=Field(port, False),
                dport=high,
                state="established",
                flags=frozenset({"ack"}),
            )
            yield Flow("answers to guests", self.steps(back, uplink, self.name), "in", uplink)
        for protocol, port, inner in self.guest.forwards:
            yield from self._forward(uplink, protocol, port, inner)

    def _forward(self, uplink: str, protocol: str, port: int, inner: int) -> Iterator[Flow]:
        anywhere, high = Field(TYPICAL, False), Field(40000, False)
        before, _, *after = self.steps(
            self.packet(
                anywhere,
                self.address,
                l4proto=protocol,
                sport=high,
                dport=inner,
                status=frozenset({"dnat"}),
            ),
            uplink,
            self.name,
        )
        outer = {
            **self.packet(
                anywhere,
                Field(self.address, False),
                l4proto=protocol,
                sport=high,
                dport=port,
                type="local",
            ),
            **self.link("iif", uplink),
        }
        steps = (before._replace(packet=outer), Step("prerouting", outer), *after)
        what = "connections to forwarded ports"
        yield Flow(what, steps, "in", uplink, (protocol, port))
        back = self.packet(
            self.address,
            anywhere,
            l4proto=protocol,
            sport=inner,
            dport=high,
            state="established",
            status=frozenset({"dnat"}),
            flags=frozenset({"syn", "ack"}),
        )
        yield Flow("answers of forwarded ports", self.steps(back, self.name, uplink), "out", uplink)

    def dhcp(self) -> Iterator[Flow]:
        everybody = IPv4Address("255.255.255.255")
        asks = self.packet(
            IPv4Address(0),
            everybody,
            l4proto="udp",
            sport=68,
            dport=10067,
            type="broadcast",
            pkttype="broadcast",
        )
        into = {**asks, **self.link("iif", self.name)}
        yield Flow(
            "DHCP requests of guests",
            (
                Step("ingress", into, ("netdev", "inet")),
                Step("prerouting", into),
                Step("input", into),
            ),
            "out",
            "",
        )
        says = self.packet(
            self.gateway,
            Field(everybody, False),
            l4proto="udp",
            sport=10067,
            dport=68,
            state=Field("new", False),
            type=Field("broadcast", False),
        )
        out = {**says, **self.link("oif", self.name)}
        yield Flow(
            "DHCP answers to guests", (Step("output", out), Step("postrouting", out)), "in", ""
        )

    def host(self) -> Iterator[Flow]:
        high, port = Field(40000, False), Field(22, False)
        there = {
            **self.packet(self.gateway, self.address, sport=high, dport=port),
            **self.link("oif", self.name),
        }
        back = {
            **self.packet(
                self.address,
                self.gateway,
                sport=port,
                dport=high,
                state="established",
                flags=frozenset({"syn", "ack"}),
                type="local",
            ),
            **self.link("iif", self.name),
        }
        yield Flow(
            "what the host sends to guests",
            (Step("output", there), Step("postrouting", there)),
            "in",
            "",
            level="warning",
        )
        yield Flow(
            "answers of guests to the host",
            (Step("prerouting", back), Step("input", back)),
            "out",
            "",
            level="warning",
        )
        arp = {"nfproto": Field("arp")}
        yield Flow(
            "ARP between host and guests",
            (
                Step("input", {**arp, **self.link("iif", self.name)}, ("arp",)),
                Step("output", {**arp, **self.link("oif", self.name)}, ("arp",)),
            ),
            "out",
            "",
        )
