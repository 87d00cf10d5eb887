"""What becomes of a described packet in the chains of a packet filter.

A field of a packet is known, or has a typical value and stands for all others too: guests talk to
any address. So a condition holds or not for the typical packet, and surely or not for all of them.
The walk follows jumps and gotos to any depth and gives all ends that a packet can come to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Field(NamedTuple):
    """A value of a packet. `known` is false where it is only the typical one."""

    value: Any
    known: bool = True


UNCLEAR = Field(None, False)  # nothing is known of it, not even what is typical
Packet = dict[str, Field]  # a field that is not there matches nothing, not even by !=


class Truth(NamedTuple):
    """Whether a condition holds for the typical packet, and whether that is so for all."""

    holds: bool
    sure: bool = True

    @property
    def possible(self) -> bool:
        return self.holds or not self.sure

    @property
    def certain(self) -> bool:
        return self.holds and self.sure


NEVER = Truth(False)


def all_of(truths: list[Truth]) -> Truth:
    """The conjunction. One that surely does not hold decides."""
    if any(not truth.possible for truth in truths):
        return NEVER
    return Truth(all(truth.holds for truth in truths), all(truth.sure for truth in truths))


class Verdict(NamedTuple):
    """`kind` is accept, drop, dnat, return, jump or goto; `target` is a chain or an address."""

    kind: str
    target: str = ""


# What a rule does with a packet, one after the other: the verdict, if the condition holds.
Outcomes = Callable[[Packet], list[tuple[Truth, Verdict]]]


class Rule(NamedTuple):
    text: str  # as its own tool writes it
    outcomes: Outcomes


class Chain(NamedTuple):
    """A chain. Only a base chain has a hook; `devices` are those of an ingress or egress hook."""

    source: str  # nft, iptables-nft or iptables-legacy
    family: str
    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    type: str = "filter"

    @property
    def place(self) -> tuple[str, str, str]:
        return self.source, self.family, self.table

    @property
    def label(self) -> str:
        return f"{self.family} {self.table} {self.name}"


class End(NamedTuple):
    """Where a packet may end; `typical` is true of the one where the typical packet does."""

    verdict: Verdict
    rule: Rule | None  # None for the policy
    chain: Chain
    typical: bool


class _Walked(NamedTuple):
    ends: tuple[End, ...]
    returns: bool  # can a packet come back to the caller?
    typically: bool  # does the typical one?


class Filter:
    """All chains of a host, by their names."""

    def __init__(self, chains: list[Chain]) -> None:
        self.chains = {(*chain.place, chain.name): chain for chain in chains}

    @property
    def base(self) -> list[Chain]:
        return [chain for chain in self.chains.values() if chain.hook]

    def has(self, chain: Chain, name: str) -> bool:
        """Is there a chain of that name in the table of `chain`?"""
        return (*chain.place, name) in self.chains

    def ends(self, chain: Chain, packet: Packet) -> list[End]:
        """All that can become of the packet in a base chain."""
        walked = self._walk(chain, packet, {})
        ends = list(walked.ends)
        if walked.returns:
            ends.append(End(Verdict(chain.policy), None, chain, walked.typically))
        return ends

    def _walk(self, chain: Chain, packet: Packet, known: dict[str, _Walked]) -> _Walked:
        # The kernel lets no loop in; where a text has one nevertheless, it leads nowhere.
        known[chain.name] = _Walked((), True, True)
        ends: list[End] = []
        left = typical_left = False  # came back to the caller by return, or out of a goto
        live = typical = True
        for rule in chain.rules:
            for truth, verdict in rule.outcomes(packet):
                if not live or not truth.possible:
                    continue
                here = typical and truth.holds
                if verdict.kind not in ("jump", "goto", "return"):
                    ends.append(End(verdict, rule, chain, here))
                    inner = _Walked((), False, False)
                elif verdict.kind == "return":
                    inner = _Walked((), True, True)
                else:
                    inner = self._inner(chain, verdict.target, packet, known)
                    ends += [end._replace(typical=end.typical and here) for end in inner.ends]
                if verdict.kind == "jump":
                    typical = typical and (inner.typically if here else True)
                    live = not truth.certain or inner.returns
                else:
                    left = left or inner.returns
                    typical_left = typical_left or (here and inner.typically)
                    typical = typical and not here
                    live = not truth.certain
            if not live:
                break
        known[chain.name] = _Walked(tuple(ends), left or live, typical_left or (live and typical))
        return known[chain.name]

    def _inner(self, chain: Chain, name: str, packet: Packet, known: dict[str, _Walked]) -> _Walked:
        target = self.chains.get((*chain.place, name))
        if target is None:
            return _Walked((), True, True)
        return known[name] if name in known else self._walk(target, packet, known)
