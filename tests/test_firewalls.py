"""What check says of other firewalls: the rules are the kernel's, read and judged for real.

Each wall is put up, check names it, its own fix is done to the letter, and check is content.
"""

from __future__ import annotations

import json

import pytest
from labnet import Lab

DESCRIPTION = """
[network]
subnet = "192.168.7.0/24"
[guest.web]
kernel = "vmlinuz"
accel = "tcg"
forward = ["tcp:8080:80"]
"""
DHCP = DESCRIPTION + 'addressing = "dhcp"\n'


def nft(rules: str, hook: str = "forward", priority: str = "0", rest: str = "") -> str:
    return (
        f"nft 'table inet wall {{ {rest} chain w {{ type filter hook {hook} priority {priority};"
        f" {rules} }}; }}'"
    )


CHAIN = "chain others { ct state established accept; drop; }; chain more { jump others; };"
SURE = {
    "a reject of every kind": (
        "iptables-nft -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
        "icmp-host",
    ),
    "a last rule that logs and drops": (
        nft('ct state established accept; log prefix "x" drop;'),
        "log prefix",
    ),
    "a jump to a chain that drops": (nft("jump others;", rest=CHAIN), "drop"),
    "a goto within a jump": (nft("jump m;", rest=CHAIN + "chain m { goto more; };"), "others"),
    "all but one interface": (nft('iifname != "eth9" drop;'), 'iifname != "eth9"'),
    "a verdict map": (nft('iifname vmap { "td-web" : drop, "lo" : accept };'), "vmap"),
    "the guests by their addresses": (nft("ip saddr 192.168.0.0/16 drop;"), "192.168.0.0/16"),
    "a set with the guests in it": (
        nft(
            "ip saddr @s drop;",
            rest="set s { type ipv4_addr; flags interval; elements = { 192.168.0.0/16 }; };",
        ),
        "@s",
    ),
    "a mark that nobody gives": (nft("meta mark != 0x1 reject;"), "mark != 0x00000001"),
    "a drop at prerouting": (
        nft("policy drop; iifname { eth0, lo } accept;", "prerouting", "-150"),
        "policy",
    ),
    "a drop at postrouting": (nft('oifname "td-*" drop;', "postrouting"), "td-*"),
    "a drop at the tap's own ingress": (
        "ip tuntap add td-web mode tap;"
        " nft 'table netdev w { chain w { type filter hook ingress device td-web priority 0;"
        " policy drop; }; }'",
        "policy",
    ),
    "extensions of iptables": (
        "iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT;"
        " iptables-nft -N MINE; iptables-nft -A FORWARD -m limit --limit 9/s -g MINE;"
        " iptables-nft -A MINE -m comment --comment 'x y' -j DROP",
        "MINE",
    ),
    "the old iptables": (
        "iptables-legacy -N MINE; iptables-legacy -A FORWARD -j MINE;"
        " iptables-legacy -A MINE -s 192.168.7.2 -j DROP",
        "MINE",
    ),
    "what is forwarded": (nft('iifname "eth0" ct state new drop;'), "ct state new"),
}


@pytest.fixture
def ready(lab: Lab) -> Lab:
    lab.write("/root/vmlinuz", "")
    return lab


def findings(lab: Lab, text: str = DESCRIPTION) -> list[dict[str, str]]:
    lab.write("/root/vm.toml", text)
    done = lab.run(["tapdraft", "check", "--json", "vm.toml"])
    assert done.stderr == ""
    return [f for f in json.loads(done.stdout) if f["check"] in ("firewall", "port")]


def levels(lab: Lab, text: str = DESCRIPTION) -> list[str]:
    return [finding["level"] for finding in findings(lab, text)]


def mend(lab: Lab, found: list[dict[str, str]]) -> None:
    for finding in found:
        command, mark, _ = finding["fix"].partition("   (as root)")
        assert mark, finding
        lab.run(["sh", "-ec", command]).check()


@pytest.mark.parametrize("wall", SURE)
def test_a_firewall_that_drops_is_named_with_its_rule_and_its_fix_opens_it(
    wall: str, ready: Lab
) -> None:
    assert findings(ready) == []
    command, rule = SURE[wall]
    ready.run(["sh", "-ec", command]).check()
    found = findings(ready)
    assert {finding["level"] for finding in found} == {"error"}
    assert all(rule in finding["what"] for finding in found), found
    mend(ready, found)
    assert findings(ready) == []


PERHAPS = {
    "a port": nft("tcp dport 25 drop;"),
    "a network beyond": nft("ip daddr 10.0.0.0/8 drop;"),
    "a limit": nft("limit rate over 10/second drop;"),
    "in a chain that is jumped to": nft(
        "ct state new jump c;",
        rest="chain c { tcp dport 1-1023 return; ip daddr 10.0.0.0/8 drop; };",
    ),
    "an extension": "iptables-nft -A FORWARD -p tcp -m multiport --dports 25,465 -j REJECT",
    "one that is not known": "iptables-nft -A FORWARD -m length --length 1400: -j DROP",
}


@pytest.mark.parametrize("wall", PERHAPS)
def test_a_drop_under_conditions_is_a_warning_with_the_rule(wall: str, ready: Lab) -> None:
    ready.run(["sh", "-ec", PERHAPS[wall]]).check()
    (finding,) = findings(ready)
    assert finding["level"] == "warning"
    assert "the rule '" in finding["what"]
    assert "drops some of what guests send" in finding["what"]


OPEN = {
    "by the uplink": nft("policy drop; iifname eth0 accept; oifname eth0 accept;"),
    "by the guests' names": nft('policy drop; iifname "td-*" accept; oifname "td-*" accept;'),
    "by the group": nft(
        "policy drop; iifgroup 29696/29 accept; oifgroup & 0xfff8 == 0x7400 accept;"
    ),
    "by state": nft(
        "ct state vmap { established : accept, related : accept, invalid : drop };"
        " ct status dnat accept; iifname td-web accept; drop;"
    ),
    "in a chain": nft(
        "jump c; drop;",
        rest="chain c { ct state established,related accept;"
        " ip saddr 192.168.7.0/24 accept;"
        " ip daddr 192.168.7.2 tcp dport 80 accept; };",
    ),
    "drops for others": nft(
        "ip saddr 10.0.0.0/8 iifname eth7 drop; iifname != td-web oifname !="
        " td-web drop; meta nfproto ipv6 drop; tcp flags & (fin|syn) =="
        " (fin|syn) drop;"
    ),
    "by a return": nft(
        "policy accept; jump c;", rest="chain c { iifname { td-web, eth0 } return; drop; };"
    ),
    "iptables": "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i eth0 -j ACCEPT;"
    " iptables-nft -A FORWARD -m conntrack ! --ctstate INVALID -o eth0 -j ACCEPT",
    "another firewall's input without DHCP": nft(
        "policy drop; ct state established accept;", "input"
    ),
    "reverse path filters": nft("fib saddr . iif oif missing drop;", "prerouting")
    + "; iptables-nft -t raw -A PREROUTING -m rpfilter --invert -j DROP",
}


@pytest.mark.parametrize("wall", OPEN)
def test_a_firewall_that_lets_guests_pass_is_not_complained_of(wall: str, ready: Lab) -> None:
    ready.run(["sh", "-ec", OPEN[wall]]).check()
    assert findings(ready) == []


@pytest.mark.parametrize(
    "wall",
    [
        nft("policy drop; ct state established accept; iif lo accept;", "input"),
        "iptables-nft -A INPUT -m state --state ESTABLISHED -j ACCEPT;"
        " iptables-nft -A INPUT -j REJECT --reject-with icmp-host-prohibited",
        "iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT;"
        " iptables-legacy -P INPUT DROP",
        nft("ip saddr 0.0.0.0 udp dport 67 drop;", "prerouting", "-400"),
    ],
)
def test_a_guest_that_asks_by_dhcp_is_told_who_drops_its_question(wall: str, ready: Lab) -> None:
    ready.run(["sh", "-ec", wall]).check()
    assert "error" not in levels(ready)
    found = [finding for finding in findings(ready, DHCP) if finding["level"] == "error"]
    assert [finding["level"] for finding in found] == ["error"]
    assert "DHCP requests of guests" in found[0]["what"]
    mend(ready, found)
    assert "error" not in levels(ready, DHCP)


def test_a_port_that_a_container_has_is_not_to_be_forwarded(ready: Lab) -> None:
    ready.run(
        [
            "sh",
            "-ec",
            "iptables-nft -t nat -N DOCKER;"
            " iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER;"
            " iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT"
            " --to-destination 172.17.0.2:80",
        ]
    ).check()
    (finding,) = findings(ready)
    assert finding["level"] == "error"
    assert "tcp port 8080 goes to 172.17.0.2:80 already" in finding["what"]
    assert findings(ready, DESCRIPTION.replace("8080", "8081")) == []


def test_a_loop_and_a_thousand_chains_are_walked_once(ready: Lab) -> None:
    """Each chain is jumped to twice by the one before: walked anew, that would never end."""
    chains = "".join(
        f"chain c{i} {{ tcp dport {i + 1} jump c{i + 1}; udp dport {i + 1} jump c{i + 1}; }};"
        for i in reversed(range(14))
    )
    text = nft("jump c0; drop;", rest=f"chain c14 {{ tcp dport 1 accept; }}; {chains}")
    ready.run(["sh", "-ec", text]).check()
    assert "error" in levels(ready)
