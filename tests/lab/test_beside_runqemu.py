"""Taps as Yocto's runqemu-ifup makes them, beside tapdraft's on one host."""

from __future__ import annotations

import json

from labnet import Lab

# What runqemu-ifup does for its tap N, as root; the last line is what its caller reads.
UP = r"""
set -e
ip tuntap add "tap$1" mode tap group 0
host=192.168.7.$(($1 * 2 + 1)) guest=192.168.7.$(($1 * 2 + 2))
ip address add "$host/32" broadcast 192.168.7.255 dev "tap$1"
ip link set "tap$1" up
ip route add "$guest" dev "tap$1"
for address in "$host" "$guest"; do iptables -t nat -A POSTROUTING -s "$address" -j MASQUERADE; done
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > "/proc/sys/net/ipv4/conf/tap$1/proxy_arp"
iptables -P FORWARD ACCEPT
echo "tap$1"
"""
OURS = ("up", "web", "192.168.7.1/30", "192.168.7.2")
BEYOND = ("up", "web", "192.168.7.129/30", "192.168.7.130")


def runqemu_up(lab: Lab, number: int = 0, *, refused: str = "") -> None:
    done = lab.run(["sh", "-c", UP, "up", str(number)])
    assert (done.status == 0) == (not refused), done.stderr
    assert refused in done.stderr


def addresses(lab: Lab) -> dict[str, list[str]]:
    links = json.loads(lab.run(["ip", "-j", "-4", "address"]).check().stdout)
    return {link["ifname"]: [each["local"] for each in link["addr_info"]] for link in links}


def test_runqemus_address_is_not_taken_from_it(lab: Lab) -> None:
    runqemu_up(lab)
    refused = lab.helper(*OURS)
    assert refused.status != 0
    assert "192.168.7.0/30 overlaps with 192.168.7.1/32 (tap0)" in refused.stderr
    lab.helper(*BEYOND).check()
    assert addresses(lab)["td-web"] == ["192.168.7.129"]


def test_runqemu_that_comes_second_takes_a_wider_subnets_address(lab: Lab) -> None:
    """It does not ask, and its route to one address is narrower than ours to the subnet."""
    lab.helper(*OURS).check()
    runqemu_up(lab)
    assert addresses(lab)["tap0"] == addresses(lab)["td-web"] == ["192.168.7.1"]
    found = lab.run(["ip", "route", "get", "192.168.7.2"]).check().stdout
    assert "dev tap0" in found


def test_runqemu_that_comes_second_fails_where_the_same_route_is(lab: Lab) -> None:
    """As the taps of an imported description have it."""
    lab.helper("up", "web", "192.168.7.1/32", "192.168.7.2").check()
    runqemu_up(lab, refused="File exists")


def test_either_goes_without_the_other(lab: Lab) -> None:
    """Ours leaves forwarding as runqemu set it, and takes nothing of runqemu's."""
    before = lab.snapshot()
    lab.helper(*BEYOND).check()
    runqemu_up(lab)
    lab.helper("down", "web").check()
    assert addresses(lab)["tap0"] == ["192.168.7.1"]
    rules = lab.run(["iptables", "-t", "nat", "-S"]).check().stdout
    assert rules.count("MASQUERADE") == 2
    switch = lab.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).check().stdout
    assert switch == "1\n"
    lab.helper(*BEYOND).check()
    lab.run(["ip", "tuntap", "del", "tap0", "mode", "tap"]).check()
    assert [tap.name for tap in lab.tapdraft().taps] == ["td-web"]
    lab.helper("down", "web").check()
    left = str(before.diff(lab.snapshot()))
    assert "MASQUERADE" in left  # what runqemu leaves behind
    assert "td-web" not in left


def test_the_alias_has_the_word_that_an_old_runqemu_looks_for(lab: Lab) -> None:
    """That of 2015 takes each link for its own of which `ip link` says tap."""
    lab.helper(*BEYOND).check()
    said = lab.run(["ip", "link"]).check().stdout
    assert "alias tapdraft" in said
