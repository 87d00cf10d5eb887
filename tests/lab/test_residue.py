"""The host is left exactly as it was: links, addresses, routes, rules, nftables, all sysctls."""

import json

import pytest
from labnet import Lab
from labsite import DEFAULT_POLICY

WEB = ("up", "web", "192.168.7.1/30", "192.168.7.2", "forward=tcp:8080:80")
DB = ("up", "db", "192.168.7.5/30", "192.168.7.6", "isolated", "forward=udp:5353:53")
SOMEBODY_ELSES = """
table ip docker-like {
	chain FORWARD { type filter hook forward priority filter; policy drop; }
	set s { type ipv4_addr; elements = { 192.0.2.1 comment "theirs" } }
}
table inet tapdraft-not {
	chain forward { type filter hook forward priority 5; policy accept; }
}
"""


@pytest.fixture(params=["alone", "beside other tables", "with forwarding on"])
def host(request: pytest.FixtureRequest, lab: Lab) -> Lab:
    if request.param == "beside other tables":
        lab.run(["nft", "-f", "-"], input=SOMEBODY_ELSES).check()
    if request.param == "with forwarding on":
        lab.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]).check()
    return lab


def test_nothing_is_left_of_one_guest(host: Lab) -> None:
    before = host.snapshot()
    host.helper(*WEB, user="alice").check()
    assert host.snapshot().diff(before)
    host.helper("down", "web", user="alice").check()
    host.assert_no_residue(before)


@pytest.mark.parametrize("order", [("web", "db"), ("db", "web")])
def test_nothing_is_left_of_two_guests_in_either_order(host: Lab, order: tuple[str, str]) -> None:
    before = host.snapshot()
    host.helper(*WEB, user="alice").check()
    host.helper(*DB, user="alice").check()
    for name in order:
        host.helper("down", name, user="alice").check()
    host.assert_no_residue(before)


def test_nothing_is_left_of_two_users_guests(host: Lab) -> None:
    before = host.snapshot()
    host.helper(*WEB, user="alice").check()
    host.helper(*DB, user="bob").check()
    host.helper("down", "--all", user="alice").check()
    assert [tap.name for tap in host.tapdraft().taps] == ["td-db"]
    host.helper("down", "--all", user="bob").check()
    host.assert_no_residue(before)


def test_the_second_guest_does_not_forget_what_the_first_one_noted(make_lab: type[Lab]) -> None:
    lab = make_lab(uplinks=("eth0", "eth1"))
    lab.run(["sysctl", "-q", "-w", "net.ipv4.conf.eth1.forwarding=1"]).check()
    before = lab.snapshot()
    lab.helper(*WEB, "uplink=eth0", user="alice").check()
    lab.helper(
        "up", "db", "192.168.7.5/30", "192.168.7.6", "uplink=eth1", "uplink=eth0", user="alice"
    ).check()
    lab.helper("down", "--all", user="alice").check()
    lab.assert_no_residue(before)


def test_other_tables_are_untouched_while_a_guest_is_up(lab: Lab) -> None:
    lab.run(["nft", "-f", "-"], input=SOMEBODY_ELSES).check()
    before = lab.run(["nft", "list", "ruleset"]).stdout
    lab.helper(*WEB, user="alice").check()
    lab.run(["nft", "delete", "table", "inet", "tapdraft"]).check()
    assert lab.run(["nft", "list", "ruleset"]).stdout == before


def test_forwarding_that_the_host_switched_on_meanwhile_stays_on(lab: Lab) -> None:
    # As when a container engine starts while a guest runs: it needs every interface.
    lab.helper(*WEB, user="alice").check()
    lab.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]).check()
    lab.helper("down", "web", user="alice").check()
    assert lab.tapdraft().forwarding["eth0"] == 1


def test_an_uplink_that_is_excluded_from_forwarding_on_purpose_is_not_used(lab: Lab) -> None:
    lab.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]).check()
    lab.run(["sysctl", "-q", "-w", "net.ipv4.conf.eth0.forwarding=0"]).check()
    before = lab.snapshot()
    result = lab.helper(*WEB, user="alice").check(4)
    assert "excluded from it on purpose" in result.stderr
    lab.assert_no_residue(before)


def test_the_halves_of_a_default_route_are_a_way_out_and_no_overlap(lab: Lab) -> None:
    # As VPNs have them.
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        lab.run(["ip", "route", "add", half, "via", "203.0.113.1"]).check()
    lab.run(["ip", "route", "delete", "default"]).check()
    lab.helper(*WEB, user="alice").check()
    assert lab.tapdraft().forwarding["eth0"] == 1


def test_a_default_route_over_several_interfaces_is_a_way_out_over_each(
    make_lab: type[Lab],
) -> None:
    lab = make_lab(uplinks=("eth0", "eth1"))
    shown = lab.run(["ip", "-j", "route", "show", "default"]).check().stdout
    gateway = json.loads(shown)[0]["gateway"]
    lab.run(["ip", "route", "delete", "default"]).check()
    hops = [
        word
        for name in ("eth0", "eth1")
        for word in ("nexthop", "via", gateway, "dev", name, "onlink")
    ]
    lab.run(["ip", "route", "add", "default", *hops]).check()
    lab.helper(*WEB, user="alice").check()
    uplinks = lab.run(["nft", "list", "set", "inet", "tapdraft", "uplinks"]).check().stdout
    assert '"eth0"' in uplinks
    assert '"eth1"' in uplinks


def test_neither_loopback_nor_another_tap_is_taken_for_a_way_out(lab: Lab) -> None:
    # A transparent proxy has the one, a guest that is a gateway the other.
    lab.run(["ip", "route", "add", "local", "default", "dev", "lo", "table", "100"]).check()
    lab.helper(*WEB, user="alice").check()
    way = ["default", "via", "192.168.7.2", "metric", "9"]
    lab.run(["ip", "route", "add", *way]).check()
    lab.helper("up", "db", "192.168.7.5/30", "192.168.7.6", user="alice").check()
    uplinks = lab.run(["nft", "list", "set", "inet", "tapdraft", "uplinks"]).check().stdout
    assert 'elements = { "eth0" }' in uplinks


def test_what_a_killed_script_has_half_noted_is_no_hindrance(lab: Lab) -> None:
    before = lab.snapshot()
    lab.helper(*DB[:-1], user="alice").check()
    lab.run(["nft", "add element inet tapdraft opened { eth0 }"]).check()
    lab.helper(*WEB, user="alice").check()
    lab.helper("down", "--all", user="alice").check()
    lab.assert_no_residue(before)


def test_an_uplink_that_does_not_exist_is_refused(lab: Lab) -> None:
    before = lab.snapshot()
    result = lab.helper(*WEB, "uplink=eth7", user="alice").check(4)
    assert "there is no interface eth7" in result.stderr
    lab.assert_no_residue(before)


def test_only_who_leaves_needs_an_uplink(lab: Lab) -> None:
    lab.site.policy(DEFAULT_POLICY.replace("uplinks  = *", "uplinks  = eth0"))
    lab.run(["ip", "route", "delete", "default"]).check()
    before = lab.snapshot()
    result = lab.helper(*WEB, user="alice").check(4)
    assert "no interface carries a default route" in result.stderr
    lab.assert_no_residue(before)
    lab.site.policy(DEFAULT_POLICY.replace("uplinks  = *", "uplinks  ="))
    lab.helper(*WEB[:4], "isolated", user="alice").check()
    assert lab.tapdraft().forwarding["eth0"] == 0
    lab.helper("down", "web", user="alice").check()
    lab.assert_no_residue(before)


def test_an_uplink_that_is_gone_by_then_is_no_error(make_lab: type[Lab]) -> None:
    lab = make_lab(uplinks=("eth0", "eth1"))
    lab.helper(*WEB, "uplink=eth1", user="alice").check()
    lab.run(["ip", "link", "delete", "eth1"]).check()
    lab.helper("down", "web", user="alice").check()
    assert lab.tapdraft().table == ""


def test_the_host_at_large_does_not_forward(lab: Lab) -> None:
    lab.helper(*WEB, user="alice").check()
    read = lab.run(["sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.conf.eth0.forwarding"])
    assert read.stdout.split() == ["0", "1"]


def test_a_second_up_with_the_same_words_changes_nothing(lab: Lab) -> None:
    lab.helper(*WEB, user="alice").check()
    before = lab.snapshot()
    assert "already" in lab.helper(*WEB, user="alice").check().stdout
    lab.assert_no_residue(before)


@pytest.mark.parametrize("word", ["mtu=1400", "host=open", "forward=tcp:8081:80", "routed"])
def test_a_second_up_with_other_words_is_refused_and_changes_nothing(lab: Lab, word: str) -> None:
    lab.helper(*WEB, user="alice").check()
    before = lab.snapshot()
    result = lab.helper(*WEB, word, user="alice").check(4)
    assert "exists with different settings" in result.stderr
    lab.assert_no_residue(before)


FAR = ("up", "web", "192.168.7.1/32", "192.168.7.2", "uplink=eth0", "forward=tcp:8080:80")
WIDE = ("up", "web", "192.168.7.1/29", "192.168.7.2", "uplink=eth0")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FAR, (*FAR, "queues=2")),
        (FAR, (*FAR, "uplink=eth1")),
        (FAR, (*FAR, "forward=udp:5353:53")),
        (FAR, (*FAR[:-1], "forward=tcp:8080:81")),
        (FAR, FAR[:-1]),
        (FAR[:-1], ("up", "web", "192.168.7.1/32", "192.168.7.3", "uplink=eth0")),
        (FAR[:-1], ("up", "web", "192.168.7.1/30", "192.168.7.2", "uplink=eth0")),
        (FAR[:-1], ("up", "web", "192.168.7.2/32", "192.168.7.1", "uplink=eth0")),
        (WIDE, ("up", "web", "192.168.7.3/29", "192.168.7.2", "uplink=eth0")),
    ],
)
def test_a_second_up_may_differ_in_nothing_that_shows_on_the_host(
    make_lab: type[Lab], first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    lab = make_lab(uplinks=("eth0", "eth1"))
    lab.helper(*first, user="alice").check()
    before = lab.snapshot()
    assert "exists with different settings" in lab.helper(*second, user="alice").check(4).stderr
    lab.assert_no_residue(before)


def test_a_tap_that_somebody_has_switched_off_is_not_called_up(lab: Lab) -> None:
    lab.helper(*WEB, user="alice").check()
    lab.run(["ip", "link", "set", "td-web", "down"]).check()
    assert "exists with different settings" in lab.helper(*WEB, user="alice").check(4).stderr


def test_down_for_what_is_not_there_succeeds(lab: Lab) -> None:
    before = lab.snapshot()
    lab.helper("down", "web", user="alice").check()
    lab.helper("down", "--all", user="alice").check()
    lab.assert_no_residue(before)


def test_down_works_while_somebody_holds_the_tap(lab: Lab) -> None:
    before = lab.snapshot()
    lab.helper(*WEB, user="alice").check()
    hold = (
        "import fcntl,os,struct,time\n"
        "f=os.open('/dev/net/tun',os.O_RDWR)\n"
        "fcntl.ioctl(f,0x400454CA,struct.pack('16sH22x',b'td-web',0x1002))\n"
        "print('held',flush=True)\ntime.sleep(600)\n"
    )
    holder = lab.start(["/usr/bin/python3", "-c", hold], user="alice")
    holder.expect("held")
    lab.helper("down", "web", user="alice").check()
    lab.assert_no_residue(before)


def test_many_taps_are_made_and_deleted_in_one_call(lab: Lab) -> None:
    lab.site.policy(DEFAULT_POLICY.replace("= 16", "= 200").replace("192.168.7.0/24", "10.0.0.0/8"))
    before = lab.snapshot()
    lines = [f"up g{n} 10.1.{n}.1/30 10.1.{n}.2 forward=tcp:{2000 + n}:80" for n in range(200)]
    lab.helper("-", user="alice", input="\n".join(lines) + "\n").check()
    assert len(lab.tapdraft().taps) == len(lines)
    lab.helper("down", "--all", user="alice").check()
    lab.assert_no_residue(before)


def test_one_bad_request_of_many_changes_nothing(lab: Lab) -> None:
    before = lab.snapshot()
    lines = [f"up g{n} 192.168.7.{n * 4 + 1}/30 192.168.7.{n * 4 + 2}" for n in range(15)]
    lines[0] += " forward=tcp:8080:80"
    for bad, status in (
        ("up bad 192.168.7.61/30", 2),
        ("up bad 10.0.0.1/30 10.0.0.2", 3),
        ("up bad 192.168.7.1/30 192.168.7.2", 4),
        ("up g0 192.168.7.61/30 192.168.7.62", 4),
        ("up bad 192.168.7.61/30 192.168.7.62 forward=tcp:8080:81", 4),
    ):
        lab.helper("-", user="alice", input="\n".join([*lines, bad])).check(status)
        lab.assert_no_residue(before)


@pytest.mark.parametrize(
    ("address", "guest"),
    [
        ("203.0.113.129/30", "203.0.113.130"),
        ("203.0.113.2/30", "203.0.113.1"),
        ("10.9.0.1/16", "10.9.0.2"),
        ("10.9.8.5/30", "10.9.8.6"),
        ("192.0.2.9/32", "10.9.8.7"),
        ("10.7.7.5/30", "10.7.7.6"),
        ("100.64.0.1/30", "100.64.0.2"),
    ],
)
def test_an_address_that_overlaps_what_the_host_has_is_refused(
    lab: Lab, address: str, guest: str
) -> None:
    for network in ("10.9.8.0/24", "64.0.0.0/2"):
        lab.run(["ip", "route", "add", network, "dev", "eth0"]).check()
    # No route leads to its net.
    lab.run(["ip", "address", "add", "10.7.7.1/24", "dev", "eth0", "noprefixroute"]).check()
    lab.site.policy(DEFAULT_POLICY.replace("192.168.7.0/24", "0.0.0.0/0"))
    before = lab.snapshot()
    result = lab.helper("up", "web", address, guest, user="alice").check(4)
    assert "overlap" in result.stderr
    lab.assert_no_residue(before)


def test_a_guest_may_be_named_twice_to_be_taken_down(lab: Lab) -> None:
    before = lab.snapshot()
    lab.helper(*WEB, user="alice").check()
    done = lab.helper("-", user="alice", input="down web\ndown web\n").check()
    assert done.stdout == "td-web is down\n" * 2
    lab.assert_no_residue(before)


def test_the_ruleset_in_the_kernel_is_the_text_that_was_reviewed(lab: Lab) -> None:
    def rules() -> object:
        listed = json.loads(lab.run(["nft", "-j", "list", "table", "inet", "tapdraft"]).stdout)
        return [
            {
                kind: {key: value for key, value in item.items() if key not in ("handle", "elem")}
                for kind, item in entry.items()
            }
            for entry in listed["nftables"]
        ]

    lab.helper(*WEB, user="alice").check()
    by_helper = rules()
    lab.helper("down", "web", user="alice").check()
    lab.run(["nft", "-f", f"{lab.site.source}/helper/ruleset.nft"]).check()
    assert by_helper == rules()
