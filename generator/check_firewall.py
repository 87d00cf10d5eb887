"""Checks of other firewalls: which chain would drop a guest's packets, and what lets them pass.

An accept in our table does not undo a drop in somebody else's, and we never change theirs. Every
base chain at the forward hook is asked; one that drops by policy or by its last rule, and has no
rule for our taps, is in the way.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from ..helper.plan import GROUP, GROUPS, TABLE
from . import requests, shell
from .finding import Finding, Place, error, warning

_MASK = f"{GROUP:#x}/{2**32 - GROUPS:#x}"
# For iptables, which writes its own tables, also where nft shows them.
_IPTABLES = (
    f"iptables -I {{chain}} -m devgroup --src-group {_MASK} -j ACCEPT; "
    f"iptables -I {{chain}} -m devgroup --dst-group {_MASK} -j ACCEPT"
)
_SIGNS = {
    "Docker": ("/run/docker.sock", "/sys/class/net/docker0"),
    "firewalld": ("/run/firewalld", "/run/firewalld.pid"),
}
_UFW = "/etc/ufw/ufw.conf"


def forward_chains(place: Place) -> Iterator[Finding]:
    """What nftables has, which takes CAP_NET_ADMIN to read, iptables-nft included."""
    ruleset = _ruleset()
    for chain in ruleset or []:
        if "chain" in chain and _drops(chain["chain"], ruleset or []):
            found = chain["chain"]
            where = f"{found['family']} {found['table']} {found['name']}"
            yield error(
                "firewall", f"the chain {where} drops what guests send",
                f"{_fix(found, ruleset or [], place)}   (as root)",
            )  # fmt: skip
    legacy = _legacy()
    if legacy:
        yield error(
            "firewall", "iptables-legacy drops what guests send",
            _IPTABLES.format(chain="FORWARD").replace("iptables", "iptables-legacy"),
        )  # fmt: skip


def unreadable(_: Place) -> Iterator[Finding]:
    """Without privilege no chain can be read: only who is here can be told."""
    if _ruleset() is not None:
        return
    for name, found in (*_SIGNS.items(), ("ufw", ())):
        here = _ufw_is_on() if name == "ufw" else any(map(os.path.exists, found))
        if here:
            yield warning(
                "firewall", f"{name} is here and may drop what guests send; only root can see",
                "tapdraft check   (as root)",
            )  # fmt: skip


def _ruleset() -> list[dict[str, Any]] | None:
    """All chains and rules, or None where they cannot be read."""
    nft = shutil.which("nft", path=shell.PATH)
    if nft is None:
        return None
    done = subprocess.run([nft, "-j", "list", "ruleset"], capture_output=True, check=False)
    if done.returncode:
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
    return found


def _drops(chain: dict[str, Any], ruleset: list[dict[str, Any]]) -> bool:
    if chain.get("hook") != "forward" or chain.get("type") != "filter":
        return False
    if (chain["family"], chain["table"]) == TABLE or chain["family"] not in ("ip", "inet"):
        return False
    rules = _rules(chain["family"], chain["table"], chain["name"], ruleset)
    if _lets_taps_pass(chain, rules, ruleset):
        return False
    last = rules[-1]["expr"] if rules else []
    # A last rule without conditions: firewalld rejects that way, with an accepting policy.
    return chain.get("policy") == "drop" or (
        bool(last) and all(set(part) & {"drop", "reject", "counter"} for part in last)
        and not all("counter" in part for part in last)
    )  # fmt: skip


def _rules(
    family: str, table: str, chain: str, ruleset: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        entry["rule"] for entry in ruleset
        if "rule" in entry
        and (entry["rule"]["family"], entry["rule"]["table"], entry["rule"]["chain"])
        == (family, table, chain)
    ]  # fmt: skip


def _lets_taps_pass(
    chain: dict[str, Any], rules: list[dict[str, Any]], ruleset: list[dict[str, Any]]
) -> bool:
    """Is there a rule here, or in a chain that is jumped to, that names our taps both ways?"""
    texts = [json.dumps(rule["expr"]) for rule in rules]
    for rule in rules:
        for part in rule["expr"]:
            target = part.get("jump", {}).get("target") if isinstance(part, dict) else None
            if target:
                inner = _rules(chain["family"], chain["table"], target, ruleset)
                texts += [json.dumps(entry["expr"]) for entry in inner]
    named = [t for t in texts if "accept" in t.lower() and (str(GROUP) in t or '"td-' in t)]
    # iptables' own match for device groups is not shown in JSON: it is a rule of type xt.
    opaque = [t for t in texts if '"xt"' in t and "devgroup" in t]
    return len(named) >= 2 or len(opaque) >= 2


def _fix(chain: dict[str, Any], ruleset: list[dict[str, Any]], place: Place) -> str:
    """The command that lets guests through in the words of whoever made the chain."""
    taps = [requests.up(guest).tap for guest in place.tapped]
    if chain["table"] == "firewalld":
        names = taps or ["td-GUEST"]
        return "; ".join(f"firewall-cmd --zone=trusted --add-interface={tap}" for tap in names)
    if chain["name"] == "FORWARD":
        docker = any(e.get("chain", {}).get("name") == "DOCKER-USER" for e in ruleset)
        if _ufw_is_on() and taps:
            return "; ".join(
                f"ufw route allow in on {tap}; ufw route allow out on {tap}" for tap in taps
            )
        return _IPTABLES.format(chain="DOCKER-USER" if docker else "FORWARD")
    where = f"{chain['family']} {chain['table']} {chain['name']}"
    return (
        f"nft insert rule {where} iifgroup {GROUP}/29 accept; "
        f"nft insert rule {where} oifgroup {GROUP}/29 accept"
    )


def _ufw_is_on() -> bool:
    try:
        with open(_UFW, encoding="utf-8", errors="replace") as file:
            return any(line.strip().lower() == "enabled=yes" for line in file)
    except OSError:
        return False


def _legacy() -> bool:
    """Does iptables-legacy drop at the forward hook? Only root can know."""
    try:
        with open("/proc/net/ip_tables_names", encoding="ascii") as file:
            if "filter" not in file.read().split():
                return False
    except OSError:
        return False
    program = shutil.which("iptables-legacy", path=shell.PATH)
    if program is None:
        return False
    done = subprocess.run([program, "-S", "FORWARD"], capture_output=True, text=True, check=False)
    return "-P FORWARD DROP" in done.stdout and "--src-group" not in done.stdout
