"""Checks of other firewalls: which rule would drop a guest's packets, and what lets them pass.

An accept in our table does not undo a drop in somebody else's, and we never change theirs. Each
packet that a guest needs (flows.py) is followed through all chains of its hooks (packets.py).
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from ..helper.plan import TABLE
from . import firewall_fix, requests, ruleset
from .description import Guest, parse
from .finding import Finding, Place, error, warning
from .flows import Flow, Step, at, flows
from .listing import snapshot
from .packets import Chain, End, Field, Packet

_SIGNS = {
    "Docker": ("/run/docker.sock", "/sys/class/net/docker0"),
    "firewalld": ("/run/firewalld", "/run/firewalld.pid"),
    "nftables": ("/etc/systemd/system/sysinit.target.wants/nftables.service",),
    "iptables": ("/etc/iptables/rules.v4", "/etc/sysconfig/iptables"),
}
# Without a description: what any guest would need.
_ANY = b'[guest.any]\nkernel = "any"\naddressing = "dhcp"\n'


class _Drop(NamedTuple):
    """A chain in the way, and what lets guests through."""

    label: str
    fix: str


def forward_chains(place: Place) -> Iterator[Finding]:
    """What root can see: every chain that a guest's packets pass, iptables' included."""
    view = ruleset.read()
    if view.filter is None:
        return
    for what in view.unseen:
        yield warning("firewall", what, "tapdraft check   (as root)")
    surely: dict[_Drop, list[tuple[Flow, End]]] = {}
    perhaps: dict[_Drop, list[tuple[Flow, End]]] = {}
    for flow in _flows(place):
        for step in flow.steps:
            for chain in view.filter.base:
                if not _passes(chain, step):
                    continue
                packet = _marked(at(chain, step, flow), view.marks)
                for end in view.filter.ends(chain, packet):
                    if end.verdict.kind == "drop":
                        drop = _Drop(chain.label, firewall_fix.of(chain, end, flow, view.filter))
                        (surely if end.typical else perhaps).setdefault(drop, []).append(
                            (flow, end)
                        )
    for drop, found in surely.items():
        give = error if any(flow.level == "error" for flow, _ in found) else warning
        yield give("firewall", _told(drop, found, "drops"), f"{drop.fix}   (as root)")
    for drop, found in perhaps.items():
        if drop not in surely:
            yield warning(
                "firewall",
                _told(drop, found, "drops some of"),
                f"if that is not meant: {drop.fix}   (as root)",
            )


def ports(place: Place) -> Iterator[Finding]:
    """A port that another table hands on already would be taken from whoever has it."""
    view = ruleset.read()
    if view.filter is None:
        return
    told = set()
    for flow in _flows(place):
        step = next((step for step in flow.steps if step.hook == "prerouting"), None)
        if flow.port is None or step is None:
            continue
        for chain in view.filter.base:
            if not _passes(chain, step) or chain.hook != "prerouting":
                continue
            packet = _marked(at(chain, step, flow), view.marks)
            for end in view.filter.ends(chain, packet):
                protocol, port = flow.port
                if (
                    end.verdict.kind == "dnat"
                    and end.typical
                    and end.rule
                    and flow.port not in told
                ):
                    told.add(flow.port)
                    yield error(
                        "port",
                        f"{protocol} port {port} goes to {end.verdict.target} already, by "
                        f"the rule {end.rule.text!r} in {end.chain.label}",
                        f'forward = ["{protocol}:OTHER:..."]   (another port, in the description)',
                    )


def unreadable(_: Place) -> Iterator[Finding]:
    """Without privilege no chain can be read: only who is here can be told."""
    view = ruleset.read()
    if view.filter is not None:
        return
    for name, found in (*_SIGNS.items(), ("ufw", ())):
        here = firewall_fix.ufw_is_on() if name == "ufw" else any(map(os.path.exists, found))
        if here:
            yield warning(
                "firewall",
                f"{name} is here and may drop what guests send; its rules cannot be "
                f"read: {view.why}",
                "tapdraft check   (as root)",
            )


def _flows(place: Place) -> Iterator[Flow]:
    guests = place.tapped or ([] if place.guests else parse(_ANY).guests)
    state, _ = snapshot()
    for guest in guests:
        uplinks = guest.uplinks or state.default_uplinks
        for flow in flows(guest, tuple(uplinks) if _leaves(guest) else ()):
            # Without a description nobody knows whether guests will ask by DHCP.
            unasked = not place.guests and flow.what.startswith("DHCP")
            yield flow._replace(level="warning") if unasked else flow


def _leaves(guest: Guest) -> bool:
    return requests.up(guest).leaves or bool(guest.forwards)


def _passes(chain: Chain, step: Step) -> bool:
    """Do packets of this step come through a base chain of somebody else's?"""
    if (chain.family, chain.table) == TABLE or chain.hook != step.hook:
        return False
    if chain.hook in ("ingress", "egress"):
        name = step.packet["iifname" if chain.hook == "ingress" else "oifname"].value
        return chain.family in step.families and name in chain.devices
    if step.hook in ("ingress", "egress"):
        return False
    if chain.type == "nat" and step.packet.get("state", Field("new")).value == "established":
        return False  # only the first packet of a connection passes these
    return chain.family in step.families


def _marked(packet: Packet, marks: bool) -> Packet:
    """Where rules give packets marks, nobody knows which this one has."""
    return {**packet, "mark": Field(0, False)} if marks else packet


def _told(drop: _Drop, found: list[tuple[Flow, End]], does: str) -> str:
    whats = list(dict.fromkeys(flow.what for flow, _ in found))
    rules = dict.fromkeys(
        f"the rule {end.rule.text!r} in {end.chain.label}"
        if end.rule
        else f"the policy of {end.chain.label}"
        for _, end in found
    )
    named = " and ".join(list(rules)[:3])
    more = f" and {len(rules) - 3} more" if len(rules) > 3 else ""
    verb = does if len(rules) == 1 else does.replace("drops", "drop")
    return f"the chain {drop.label} is in the way: {named}{more} {verb} {' and '.join(whats)}"
