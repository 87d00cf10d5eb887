"""The state of a network namespace as text that can be compared, and what differs between two."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# What changes by itself, and why. Everything else below /proc/sys/net must come back.
VOLATILE_SYSCTLS = {
    "net/netfilter/nf_conntrack_count": "the number of connections that are tracked just now",
    "net/nf_conntrack_count": "the same, under its older name",
}
# Numbers that the kernel gives out, and what follows the carrier a moment later.
VOLATILE_LINK_KEYS = {"ifindex", "link_index", "operstate", "stats", "stats64"}
VOLATILE_FLAGS = {"LOWER_UP", "NO-CARRIER", "RUNNING", "M-DOWN"}
# nft numbers everything anew; counters count.
VOLATILE_NFT_KEYS = {"handle", "packets", "bytes"}
# Of the sets in which connections of guests are counted: an interface is in them once it had one.
VOLATILE_NFT_LINE = re.compile(
    r'\s*(elements = { )?"[^"]+" (ct count over \d+|limit rate over .*)(,| })?'
)
VOLATILE_ROUTE_WORDS = re.compile(r" (linkdown|expires \d+sec)\b")
# A tap that is left brings a hundred sysctls with it: the first lines of a section tell enough.
MOST_LINES = 30

Sections = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Snapshot:
    """Lines of text by section: links, addresses, routes, rules, nft, nft text, sysctl."""

    sections: Sections

    def without(self, *names: str) -> Snapshot:
        """The same with some sections left out."""
        return Snapshot({k: v for k, v in self.sections.items() if k not in names})

    def diff(self, later: Snapshot) -> str:
        """What `later` has more (+) and less (-), by section, cut where it is long; empty if the
        same."""
        return "\n".join(self._diff(later))

    def _diff(self, later: Snapshot) -> Iterator[str]:
        for name in sorted(set(self.sections) | set(later.sections)):
            lines = difflib.ndiff(self.sections.get(name, ()), later.sections.get(name, ()))
            changed = [line for line in lines if line[0] in "+-"]
            if changed:
                yield f"{name}:"
                yield from (f"  {line}" for line in changed[:MOST_LINES])
            if len(changed) > MOST_LINES:
                yield f"  ... and {len(changed) - MOST_LINES} more"


def snapshot(probe: str, *, macs: bool = True) -> Snapshot:
    """Make a snapshot from the probe's output. `macs=False` leaves out the MAC addresses of
    tap devices, which the kernel chooses at random."""
    state = json.loads(probe)
    return Snapshot(
        {
            "links": tuple(_links(json.loads(state["links"]), macs)),
            "addresses": tuple(_addresses(json.loads(state["addresses"]))),
            "routes": _lines(state["routes"]),
            "routes6": _lines(state["routes6"]),
            "rules": _lines(state["rules"]),
            "rules6": _lines(state["rules6"]),
            "nft": tuple(json.dumps(entry) for entry in _nft(json.loads(state["nft"])["nftables"])),
            "nft text": tuple(
                line
                for line in state["nft text"].splitlines()
                if not VOLATILE_NFT_LINE.fullmatch(line)
            ),
            "sysctl": tuple(
                f"{key} = {value}"
                for key, value in sorted(state["sysctl"].items())
                if key not in VOLATILE_SYSCTLS
            ),
        }
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(sorted(VOLATILE_ROUTE_WORDS.sub("", line).strip() for line in text.splitlines()))


def _links(links: list[dict[str, Any]], macs: bool) -> Iterator[str]:
    for link in sorted(links, key=lambda link: str(link["ifname"])):
        hidden = set(VOLATILE_LINK_KEYS)
        if not macs and link.get("linkinfo", {}).get("info_kind") == "tun":
            hidden |= {"address", "permaddr"}
        for key, value in sorted(link.items()):
            shown = sorted(set(value) - VOLATILE_FLAGS) if key == "flags" else value
            if key not in hidden:
                yield f"{link['ifname']} {key} {json.dumps(shown)}"


def _addresses(links: list[dict[str, Any]]) -> Iterator[str]:
    for link in sorted(links, key=lambda link: str(link["ifname"])):
        for address in link["addr_info"]:
            kept = {k: v for k, v in address.items() if k not in ("tentative", "dadfailed")}
            yield f"{link['ifname']} {json.dumps(kept, sort_keys=True)}"


def _nft(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _nft(v)
            for k, v in value.items()
            if k not in VOLATILE_NFT_KEYS
            and not (k == "elem" and re.search('"ct count"|"limit"', json.dumps(v)))
        }
    if isinstance(value, list):
        return [_nft(v) for v in value if not (isinstance(v, dict) and "metainfo" in v)]
    return value
