"""Rules of nftables as conditions on packets: reads what `nft -j list ruleset` gives.

See libnftables-json(5). A condition that is not understood may hold or not.
"""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from .packets import NEVER, UNCLEAR, Chain, Field, Packet, Rule, Truth, Verdict, all_of

_PORTS = {"tcp", "udp", "th", "sctp", "dccp", "udplite"}
# Statements after which a packet goes on as if they were not there.
_PLAIN = {
    "counter",
    "log",
    "mangle",
    "notrack",
    "set",
    "map",
    "ct helper",
    "ct timeout",
    "meter",
    "comment",
    "last",
    "flow",
    "dup",
    "secmark",
}


class NotUnderstood(Exception):
    """A value that this module has no idea of."""


# Not every release of nft says in JSON which devices an ingress chain is of.
_DEVICES = re.compile(r"hook (?:ingress|egress) devices? (?:= )?(.*?) priority")


def chains(entries: list[dict[str, Any]], listing: str) -> list[Chain]:
    """All chains with their rules; `listing` is what `nft -a list ruleset` says of them."""
    texts, devices_of = _texts(listing)
    sets = {
        (e["family"], e["table"], e["name"]): e.get("elem", [])
        for entry in entries
        for e in (entry.get("set"), entry.get("map"))
        if e
    }
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    for entry in entries:
        if "rule" in entry:
            rule = entry["rule"]
            where = (rule["family"], rule["table"], rule["chain"])
            text = texts.get((*where, rule["handle"]), f"handle {rule['handle']}")
            rules.setdefault(where, []).append(_rule(rule, text, sets))
    found = []
    for entry in entries:
        if "chain" in entry:
            one = entry["chain"]
            where = (one["family"], one["table"], one["name"])
            found.append(
                Chain(
                    "nft",
                    one["family"],
                    one["table"],
                    one["name"],
                    tuple(rules.get(where, ())),
                    one.get("hook", ""),
                    one.get("prio", 0),
                    one.get("policy", "accept"),
                    devices_of.get(where, ()),
                    one.get("type", "filter"),
                )
            )
    return found


def sets_marks(entries: list[dict[str, Any]]) -> bool:
    """Does any rule give packets a mark?"""
    return any(
        "mark" in str(part["mangle"].get("key"))
        for entry in entries
        if "rule" in entry
        for part in entry["rule"]["expr"]
        if "mangle" in part
    )


def _texts(
    listing: str,
) -> tuple[dict[tuple[str, str, str, int], str], dict[tuple[str, str, str], tuple[str, ...]]]:
    """The rules' texts by their handles, and the devices of ingress and egress chains."""
    rules: dict[tuple[str, str, str, int], str] = {}
    devices: dict[tuple[str, str, str], tuple[str, ...]] = {}
    family = table = chain = ""
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"] and len(words) > 3:
            family, table = words[1:3]
        elif words[:1] == ["chain"] and len(words) > 2:
            chain = words[1]
        else:
            text, mark, handle = line.rpartition(" # handle ")
            named = _DEVICES.search(line)
            if mark and handle.isdigit():
                rules[family, table, chain, int(handle)] = text.strip()
            elif named:
                devices[family, table, chain] = tuple(re.findall(r"[^\s\"{},]+", named[1]))
    return rules, devices


class _Reader:
    """One rule's conditions, with the sets of its table."""

    def __init__(self, family: str, table: str, sets: dict[tuple[str, str, str], Any]) -> None:
        self.family, self.table, self.sets = family, table, sets

    def condition(self, part: dict[str, Any], packet: Packet) -> Truth:
        if "match" in part:
            return self.match(part["match"], packet)
        if "limit" in part:  # a limit lets the usual packet pass
            return Truth(not part["limit"].get("inv", False), False)
        if "quota" in part or "ct count" in part:
            return Truth(False, False)
        return Truth(True, False)

    def match(self, match: dict[str, Any], packet: Packet) -> Truth:
        return self.compare(self.value(match["left"], packet), match["op"], match["right"])

    def compare(self, field: Field | None, op: str, right: Any) -> Truth:
        if field is None:
            return NEVER
        try:
            elements = list(self.elements(right))
            if not elements:
                return Truth(op == "!=")
            found = [self.equal(field, op, element) for element in elements]
        except (NotUnderstood, AddressValueError, ValueError, TypeError, KeyError):
            return Truth(op == "!=", False)
        if any(truth.certain for truth in found):
            truth = Truth(True)
        else:
            truth = Truth(any(t.holds for t in found), all(t.sure for t in found))
        return Truth(not truth.holds, truth.sure) if op == "!=" else truth

    def elements(self, right: Any) -> Iterator[Any]:
        if isinstance(right, str) and right.startswith("@"):
            for element in self.sets.get((self.family, self.table, right[1:]), ()):
                yield from self.elements(element)
        elif isinstance(right, dict) and "set" in right:
            inner = right["set"]
            for element in inner if isinstance(inner, list) else [inner]:
                yield from self.elements(element)
        elif isinstance(right, dict) and "elem" in right:
            yield from self.elements(right["elem"]["val"])
        else:
            yield right

    def equal(self, field: Field, op: str, element: Any) -> Truth:
        if isinstance(element, dict) and "concat" in element:
            if not isinstance(field.value, tuple):
                raise NotUnderstood
            pairs = zip(field.value, element["concat"], strict=True)
            return all_of([self.compare(part, "==", wanted) for part, wanted in pairs])
        return Truth(field.value is not None and _same(field.value, op, element), field.known)

    def value(self, left: Any, packet: Packet) -> Field | None:
        """The packet's value; None where the packet has none, which matches nothing."""
        if not isinstance(left, dict):
            return UNCLEAR
        if "concat" in left:
            parts = [self.value(part, packet) for part in left["concat"]]
            return None if None in parts else Field(tuple(parts))
        if "&" in left:
            return self._masked(left["&"], packet)
        if "meta" in left:
            return _meta(left["meta"]["key"], packet)
        if "ct" in left:
            key = left["ct"].get("key")
            return packet.get(key, UNCLEAR) if key in ("state", "status", "mark") else UNCLEAR
        if "fib" in left:
            return _route(left["fib"], packet)
        return _payload(left.get("payload", {}), packet)

    def _masked(self, parts: list[Any], packet: Packet) -> Field | None:
        field, mask = self.value(parts[0], packet), parts[1]
        if field is None or field.value is None:
            return field
        if isinstance(field.value, frozenset):
            return Field(field.value & _flags(mask), field.known)
        if isinstance(field.value, int) and isinstance(mask, int):
            return Field(field.value & mask, field.known)
        return UNCLEAR


def _meta(key: str, packet: Packet) -> Field | None:
    if key in ("iif", "oif"):
        return packet.get(f"{key}name")
    if key in (
        "iifname",
        "oifname",
        "iifgroup",
        "oifgroup",
        "iifkind",
        "oifkind",
        "l4proto",
        "nfproto",
        "mark",
        "pkttype",
    ):
        return packet.get(key)
    return Field("ip") if key == "protocol" and packet["nfproto"].value == "ipv4" else UNCLEAR


def _payload(payload: dict[str, Any], packet: Packet) -> Field | None:
    protocol, field = payload.get("protocol"), payload.get("field")
    proto = packet["l4proto"].value if "l4proto" in packet else None
    if protocol in ("ip6", "icmpv6"):
        return None
    if protocol == "ip" and packet["nfproto"].value != "ipv4":
        return None
    if protocol == "ip" and field in ("saddr", "daddr"):
        return packet.get(str(field))
    if protocol == "ip" and field == "protocol":
        return packet.get("l4proto")
    if protocol in _PORTS and protocol not in ("th", proto):
        return None
    if protocol in _PORTS and field in ("sport", "dport", "flags"):
        return packet.get(str(field))
    return None if protocol == "icmp" and proto != "icmp" else UNCLEAR


def _route(fib: dict[str, Any], packet: Packet) -> Field | None:
    flags = fib.get("flags", [])
    if fib.get("result") == "type" and "daddr" in flags:
        return packet.get("type")
    # There is a way back to a guest by its tap, and to the outside by the uplink.
    return Field(True) if fib.get("result") in ("oif", "oifname") and "saddr" in flags else UNCLEAR


def _flags(value: Any) -> frozenset[str]:
    if value == 0:
        return frozenset()
    if isinstance(value, dict) and "|" in value:
        value = value["|"]
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise NotUnderstood
    return frozenset(found)


def _same(value: Any, op: str, element: Any) -> bool:
    if isinstance(value, frozenset):
        wanted = _flags(element)
        return bool(value & wanted) if op == "in" else value == wanted
    if isinstance(element, list):
        return any(_same(value, op, one) for one in element)
    if isinstance(element, dict) and "|" in element:
        return any(_same(value, op, one) for one in element["|"])
    if isinstance(element, dict) and "prefix" in element:
        prefix = element["prefix"]
        if isinstance(value, IPv4Address):
            return value in IPv4Network(f"{prefix['addr']}/{prefix['len']}")
        shift = 32 - int(prefix["len"])
        return int(value) >> shift == int(prefix["addr"]) >> shift
    if isinstance(element, dict) and "range" in element:
        first, last = (_like(value, end) for end in element["range"])
        return bool(first <= value <= last)
    if isinstance(element, str) and isinstance(value, str) and element.endswith("*"):
        return value.startswith(element[:-1])
    return bool(value == _like(value, element))


def _like(value: Any, text: Any) -> Any:
    """`text` as what `value` is, to be compared with it."""
    if isinstance(value, IPv4Address):
        return IPv4Address(text)
    if isinstance(value, bool):
        return bool(text)
    if isinstance(value, int):
        return 0 if text == "default" else int(text)
    if not isinstance(text, str):
        raise NotUnderstood
    return text


def _rule(rule: dict[str, Any], text: str, sets: dict[tuple[str, str, str], Any]) -> Rule:
    reader = _Reader(rule["family"], rule["table"], sets)

    def outcomes(packet: Packet) -> list[tuple[Truth, Verdict]]:
        conditions: list[Truth] = []
        found: list[tuple[Truth, Verdict]] = []
        for part in rule["expr"]:
            kind = next(iter(part)) if isinstance(part, dict) and part else str(part)
            verdict = _verdict(part)
            if verdict:
                found.append((all_of(conditions), verdict))
            elif kind == "vmap":
                for truth, chosen in _choices(reader, part["vmap"], packet):
                    found.append((all_of([*conditions, truth]), chosen))
            elif kind not in _PLAIN:
                conditions.append(reader.condition(part, packet))
        return found

    return Rule(text, outcomes)


def _choices(
    reader: _Reader, vmap: dict[str, Any], packet: Packet
) -> Iterator[tuple[Truth, Verdict]]:
    data = vmap["data"]
    pairs = (
        reader.sets.get((reader.family, reader.table, data[1:]), ())
        if isinstance(data, str)
        else data.get("set", ())
    )
    value = reader.value(vmap["key"], packet)
    for key, does in pairs:
        verdict = _verdict(does)
        if verdict:
            yield reader.compare(value, "==", key), verdict


def _verdict(part: Any) -> Verdict | None:
    if not isinstance(part, dict):
        return None
    for kind in ("accept", "return", "drop"):
        if kind in part:
            return Verdict(kind)
    if "reject" in part:
        return Verdict("drop")
    for kind in ("jump", "goto"):
        if kind in part:
            return Verdict(kind, part[kind]["target"])
    for kind in ("dnat", "redirect"):
        if kind in part:
            inner = part[kind] or {}
            address, port = inner.get("addr", "this host"), inner.get("port")
            return Verdict("dnat", f"{address}:{port}" if port else f"{address}")
    if {"snat", "masquerade", "queue", "tproxy", "fwd", "synproxy"} & set(part):
        return Verdict("accept")
    return None
