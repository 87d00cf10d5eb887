"""What lets guests through, in the words of whoever made the chain: for good, for all guests.

doc/administrators.md has each of these with what takes it back.
"""

import os
import shutil

from ..helper.plan import GROUP
from . import shell
from .flows import Flow
from .packets import Chain, End, Filter

_UFW = "/etc/ufw/ufw.conf"
FIREWALLD = "firewall-cmd --permanent --zone=trusted --add-interface=td-+; firewall-cmd --reload"
UFW_FORWARD = "ufw route allow in on td-+; ufw route allow out on td-+"
UFW_DHCP = "ufw allow in on td-+ to any port 10067 proto udp"
_DHCP = "DHCP requests of guests"
# Where distributions keep the rules of iptables, and what writes them there.
_KEPT = {
    "/etc/sysconfig/iptables": "{}-save > /etc/sysconfig/iptables",
    "/etc/iptables/iptables.rules": "{}-save > /etc/iptables/iptables.rules",
    "/etc/iptables/rules.v4": "{}-save > /etc/iptables/rules.v4",
}


def of(chain: Chain, end: End, flow: Flow, all_chains: Filter) -> str:
    """The command for root that lets `flow` pass `chain`."""
    if chain.table == "firewalld" or all_chains.has(chain, "FORWARD_direct"):
        return FIREWALLD
    if chain.source == "nft":
        return _nft(chain, flow)
    if chain.table == "filter" and all_chains.has(chain, "ufw-before-forward"):
        return _ufw(chain, flow)
    return _iptables(chain, flow, all_chains)


def ufw_is_on() -> bool:
    try:
        with open(_UFW, encoding="utf-8", errors="replace") as file:
            return any(line.strip().lower() == "enabled=yes" for line in file)
    except OSError:
        return False


def _ufw(chain: Chain, flow: Flow) -> str:
    if chain.hook == "forward":
        return UFW_FORWARD
    if chain.hook == "output":
        return "ufw allow out on td-+"
    return UFW_DHCP if flow.what == _DHCP else "ufw allow in on td-+"


def _nft(chain: Chain, flow: Flow) -> str:
    """nft keeps nothing by itself: the comment says where to write it."""
    insert = f"nft insert rule {chain.label}"
    into, out = f"iifgroup {GROUP}/29", f"oifgroup {GROUP}/29"
    if chain.family == "arp":
        words = [f'{"iifname" if chain.hook == "input" else "oifname"} "td-*"']
        return f"{insert} '{words[0]} accept'"
    if chain.hook == "forward":
        words = [into, out]
    elif chain.hook == "input":
        words = [
            f"{into} udp dport 10067"
            if flow.what == _DHCP
            else f"{into} ct state established,related"
        ]
    elif chain.hook == "output" or (chain.hook == "postrouting" and flow.towards == "in"):
        words = [out]
    elif flow.towards == "out":
        words = [into]
    elif chain.priority > -200 and chain.hook == "prerouting":
        port = f"{flow.port[0]} dport {flow.port[1]}" if flow.port else ""
        words = [f"iifname {flow.uplink} {port or 'ct state established,related'}"]
    else:
        return f"nft -a list chain {chain.label}   # and let what comes in on {flow.uplink} pass"
    rules = "; ".join(f"{insert} {word} accept" for word in words)
    return f"{rules} # to keep it, write it into /etc/nftables.conf too"


def _iptables(chain: Chain, flow: Flow, all_chains: Filter) -> str:
    program = _program(chain.source)
    table = "" if chain.table == "filter" else f" -t {chain.table}"
    if chain.hook == "forward":
        docker = chain.table == "filter" and all_chains.has(chain, "DOCKER-USER")
        name = "DOCKER-USER" if docker else chain.name
        words = [f"{name} -i td-+", f"{name} -o td-+"]
    elif chain.hook == "input":
        words = [
            f"{chain.name} -i td-+ -p udp --dport 10067"
            if flow.what == _DHCP
            else f"{chain.name} -i td-+ -m conntrack --ctstate ESTABLISHED,RELATED"
        ]
    elif chain.hook == "output" or (chain.hook == "postrouting" and flow.towards == "in"):
        words = [f"{chain.name} -o td-+"]
    elif chain.hook == "prerouting" and flow.towards == "out":
        words = [f"{chain.name} -i td-+"]
    elif chain.hook == "prerouting" and chain.table != "raw":
        port = (
            f"-p {flow.port[0]} --dport {flow.port[1]}"
            if flow.port
            else ("-m conntrack --ctstate ESTABLISHED,RELATED")
        )
        words = [f"{chain.name} -i {flow.uplink} {port}"]
    else:
        return f"{program}{table} -S {chain.name}   # and let what passes {flow.uplink} through"
    rules = "; ".join(f"{program}{table} -I {word} -j ACCEPT" for word in words)
    return f"{rules}{_kept(program, docker=chain.hook == 'forward' and 'DOCKER-USER' in rules)}"


def _kept(program: str, *, docker: bool) -> str:
    """What writes the rules of iptables to where this host reads them at boot."""
    if docker:
        return " # doc/administrators.md: how to keep it over a boot"
    if shutil.which("netfilter-persistent", path=shell.PATH):
        return "; netfilter-persistent save"
    for path, command in _KEPT.items():
        if os.path.exists(path):
            return f"; {command.format(program)}"
    return " # to keep it, have it run at each boot"


def _program(source: str) -> str:
    """iptables, where that is the one that made the rules; else the one by its full name."""
    path = shutil.which("iptables", path=shell.PATH)
    kind = "iptables-legacy" if "legacy" in os.path.realpath(path or "") else "iptables-nft"
    return "iptables" if path and kind == source else source
