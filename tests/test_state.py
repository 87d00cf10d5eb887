"""What is there, as far as it can be judged without a kernel: which addresses are taken."""

from ipaddress import IPv4Network

import pytest
from tapdraft.helper.netlink import Link
from tapdraft.helper.request import parse
from tapdraft.helper.state import State, owner

ETH0 = Link(2, "eth0", "", 0, 1500, True, False)


def host(addresses: str = "", routes: str = "") -> State:
    """A host whose eth0 has these networks, and which routes those there."""
    has, leads = ({2: set(map(IPv4Network, words.split()))} for words in (addresses, routes))
    return State({"eth0": ETH0}, {}, has, leads, ("eth0",), False, {}, ())


@pytest.mark.parametrize(
    ("there", "clash"),
    [
        ("192.168.7.0/30", True),
        ("192.168.7.3/32", True),
        ("192.168.7.0/32", True),
        ("192.168.0.0/16", True),
        ("192.168.6.0/23", True),
        ("192.0.0.0/2", True),
        ("192.168.6.252/30", False),
        ("192.168.7.4/30", False),
        ("192.168.7.4/32", False),
        ("0.0.0.0/0", False),
        ("128.0.0.0/1", False),
        ("", False),
        ("172.16.0.0/12 192.168.7.2/32 192.168.8.0/24", True),
    ],
)
@pytest.mark.parametrize("routed", [True, False])
def test_what_the_host_has_or_routes_is_not_given_to_a_guest(
    there: str, clash: bool, routed: bool
) -> None:
    state = host(routes=there) if routed else host(addresses=there)
    others = [f"up a{n} 10.99.{n}.1/30 10.99.{n}.2" for n in range(3)]
    requests = [parse(line) for line in (*others, "up web 192.168.7.1/30 192.168.7.2")]
    found = state.collision(requests)
    assert bool(found) == clash
    assert not found or "web: 192.168.7.0/30 overlaps with" in found


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("192.168.7.1/32 192.168.7.9", "192.168.7.5/32 192.168.7.9", True),
        ("192.168.7.1/32 192.168.7.9", "192.168.7.9/32 192.168.7.5", True),
        ("192.168.7.1/30 192.168.7.2", "192.168.7.2/32 192.168.7.20", True),
        ("192.168.7.1/24 192.168.7.2", "192.168.7.9/30 192.168.7.10", True),
        ("192.168.7.1/30 192.168.7.2", "192.168.7.5/30 192.168.7.6", False),
        ("192.168.7.1/32 192.168.7.2", "192.168.7.3/32 192.168.7.4", False),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_two_guests_of_one_call_share_no_address(
    one: str, other: str, clash: bool, turn: int
) -> None:
    requests = [parse(line) for line in (f"up a {one}", f"up b {other}")[::turn]]
    assert bool(host().collision(requests)) == clash


@pytest.mark.parametrize(
    ("name", "alias", "group", "uid"),
    [
        ("td-web", "tapdraft 2 uid=61001 guest=web", 0x7400, 61001),
        ("td-web", "tapdraft 2 uid=0 guest=web", 0x7407, 0),
        ("td-web", "tapdraft 2 uid=61001 guest=web", 0x7408, None),
        ("td-web", "tapdraft 2 uid=61001 guest=web", 0x73FF, None),
        ("td-two", "tapdraft 2 uid=61001 guest=web", 0x7400, None),
        ("web", "tapdraft 2 uid=61001 guest=web", 0x7400, None),
        ("td-web", "tapdraft 2 uid=061001 guest=web", 0x7400, None),
        ("td-web", "tapdraft 1 uid=61001 guest=web", 0x7400, 61001),
        ("td-web", "tapdraft 3 uid=61001 guest=web", 0x7400, None),
        ("td-web", "tapdraft 2 uid=61001 guest=web ", 0x7400, None),
    ],
)
def test_a_tap_is_known_by_all_of_its_marks(
    name: str, alias: str, group: int, uid: int | None
) -> None:
    assert owner(Link(3, name, alias, group, 1500, True, False)) == uid
