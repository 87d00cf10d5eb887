"""What counts as a way out of the host, and what a guest's network collides with."""

from __future__ import annotations

import pytest
from labnet import Lab

UP = ("up", "web", "192.168.7.1/30", "192.168.7.2")


def ip(lab: Lab, *words: str) -> None:
    lab.run(["ip", *words]).check()


@pytest.mark.parametrize("group", [False, True])
def test_a_default_route_by_a_nexthop_object_is_found(lab: Lab, group: bool) -> None:
    ip(lab, "route", "delete", "default")
    lab.run(["sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0"]).check()
    ip(lab, "nexthop", "add", "id", "1", "via", "203.0.113.1", "dev", "eth0")
    if group:
        ip(lab, "nexthop", "add", "id", "2", "group", "1")
    ip(lab, "route", "add", "default", "nhid", "2" if group else "1")
    lab.helper(*UP).check()
    assert "eth0" in lab.tapdraft().table


def test_a_local_default_route_is_no_way_out(lab: Lab) -> None:
    ip(lab, "route", "delete", "default")
    ip(lab, "route", "add", "local", "default", "dev", "eth0", "table", "100")
    assert "no interface carries a default route" in lab.helper(*UP).check(4).stderr


@pytest.mark.parametrize("kind", ["throw", "unreachable", "blackhole", "prohibit"])
def test_a_route_that_leads_nowhere_is_no_collision(lab: Lab, kind: str) -> None:
    """As VPNs and containers' daemons set up for all private networks."""
    ip(lab, "route", "add", kind, "192.168.0.0/16")
    lab.helper(*UP).check()


def test_a_route_that_leads_somewhere_is_a_collision(lab: Lab) -> None:
    """Also a wide one: the guest could answer the host in the place of whoever is there."""
    ip(lab, "route", "add", "192.168.0.0/16", "via", "203.0.113.1")
    assert "overlaps with 192.168.0.0/16 (eth0)" in lab.helper(*UP).check(4).stderr


@pytest.mark.parametrize("name", ["td-wan", "enP1p1s0"])
def test_an_interface_of_any_name_may_be_an_uplink(lab: Lab, name: str) -> None:
    ip(lab, "link", "add", name, "type", "bridge")
    lab.helper(*UP, f"uplink={name}").check()
    assert name in lab.tapdraft().table
    lab.helper("down", "web").check()


def test_a_guests_tap_is_no_uplink(lab: Lab) -> None:
    lab.helper(*UP).check()
    two = ("up", "two", "192.168.7.5/30", "192.168.7.6", "uplink=td-web")
    assert "td-web is a guest's tap" in lab.helper(*two).check(4).stderr


def test_a_name_that_is_not_ascii_is_shown_whole(lab: Lab) -> None:
    ip(lab, "link", "add", "b\u00fcro", "type", "bridge")
    ip(lab, "address", "add", "192.168.7.9/24", "dev", "b\u00fcro")
    assert "(b\u00fcro)" in lab.helper(*UP).check(4).stderr
