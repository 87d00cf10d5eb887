"""All rules of this host's packet filters, as far as the caller may see them."""

import json
import os
import shutil
import subprocess
from functools import cache
from typing import NamedTuple

from . import read_iptables, read_nft, shell
from .packets import Chain, Filter

_SECONDS = 60


class View(NamedTuple):
    """`filter` is None where nothing can be read, and `why` says why."""

    filter: Filter | None
    why: str = ""
    unseen: tuple[str, ...] = ()  # what was not readable
    marks: bool = False  # does any rule give packets a mark?


@cache
def read() -> View:
    """The rules of nftables and of both kinds of iptables. It takes CAP_NET_ADMIN."""
    listing, why = _run("nft", "-j", "list", "ruleset")
    if listing is None:
        return View(None, why)
    try:
        entries = json.loads(listing or '{"nftables": []}')["nftables"]
        found = read_nft.chains(entries, _run("nft", "-a", "list", "ruleset")[0] or "")
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        return View(None, f"nft -j list ruleset gives what is not understood: {failure}")
    marks, unseen = read_nft.sets_marks(entries), []
    # nft does not show the extensions of iptables: iptables-nft knows what its own tables hold.
    extended = {
        (entry["rule"]["family"], entry["rule"]["table"])
        for entry in entries
        if "rule" in entry
        and any("xt" in part for part in entry["rule"]["expr"] if isinstance(part, dict))
    }
    if any(family == "ip" for family, _ in extended):
        text, why = _run("iptables-nft-save")
        theirs = read_iptables.chains(text or "", "iptables-nft")
        tables = {chain.table for chain in theirs}
        lost = sorted(table for family, table in extended if family == "ip" and table not in tables)
        why = why or "iptables-nft-save leaves them out"
        unseen += [f"the rules of table ip {table} cannot be read: {why}" for table in lost]
        found = [
            chain
            for chain in found
            if (chain.family, chain.table) not in {("ip", table) for table in tables}
        ] + theirs
        marks = marks or read_iptables.sets_marks(text or "")
    else:
        found = [_as_iptables(chain, entries) for chain in found]
    legacy, said = _legacy()
    if legacy is None:
        unseen.append(f"the rules of iptables-legacy cannot be read: {said}")
    found += read_iptables.chains(legacy or "", "iptables-legacy")
    marks = marks or read_iptables.sets_marks(legacy or "")
    return View(Filter(found), "", tuple(unseen), marks)


def _as_iptables(chain: Chain, entries: list[dict[str, object]]) -> Chain:
    """iptables' own tables without extensions: the rules are the same, the tool is not."""
    ours = chain.family == "ip" and chain.table in ("filter", "nat", "mangle", "raw", "security")
    names = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
    there = set()
    for entry in entries:
        other = entry.get("chain")
        if (
            isinstance(other, dict)
            and other.get("table") == chain.table
            and other.get("family") == "ip"
        ):
            there.add(str(other.get("name")))
    return chain._replace(source="iptables-nft") if ours and names & there else chain


def _legacy() -> tuple[str | None, str]:
    """The rules of iptables-legacy, or None. Asking it would load its modules where none are."""
    try:
        with open("/proc/net/ip_tables_names", encoding="ascii") as file:
            tables = file.read().split()
    except FileNotFoundError:
        return "", ""
    except OSError as failure:
        return None, failure.strerror or ""
    if not tables:
        return "", ""
    return _run("iptables-legacy-save")


def _run(program: str, *arguments: str) -> tuple[str | None, str]:
    """What a program writes; None and why, where it does not."""
    path = shutil.which(program, path=shell.PATH)
    if path is None:
        return None, f"{program} is not installed"
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={"PATH": shell.PATH, "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return None, f"{program} cannot be run: {failure}"
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if os.geteuid() != 0:
            return None, "only root may read them"
        return None, said[0] if said else f"{program} ended with {done.returncode}"
    return done.stdout.decode(errors="replace"), ""
