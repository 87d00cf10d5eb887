"""The nft dialect does on a real kernel what it says, and takes back all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labnet import Lab
from labsite import Site

from tapdraft.generator.description.parser import parse
from tapdraft.generator.scripts.render import render

FOLDER = "/run/nft-scripts"
SHIMS = "/run/nft-shims"
DESCRIPTION = """
[network]
subnet = "192.168.7.0/24"
[guest.web]
kernel = "vmlinuz"
forward = ["tcp:8080:80", "udp:5353:53"]
[guest.db]
kernel = "vmlinuz"
mode = "isolated"
[guest.far]
kernel = "vmlinuz"
address = "192.168.7.100"
gateway = "192.168.7.65/32"
mode = "routed"
"""
OTHERS = """
table inet other { chain c { type filter hook forward priority 0; tcp dport 22 accept; }; }
"""
# Counts the calls of the programs that change something, and interferes with one of them.
SHIM = """#!/bin/sh
count=$(($(cat /run/nft-count) + 1))
echo "$count" > /run/nft-count
read -r at how < /run/nft-fault
program=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v "${0##*/}")
[ "$count" -eq "$at" ] || exec "$program" "$@"
case $how in
before) exit 1 ;;
after) "$program" "$@"; exit 1 ;;
killed) "$program" "$@"; kill -KILL 0 ;;
ended) "$program" "$@"; kill -TERM "$PPID" ;;
esac
"""


def put(lab: Lab, text: str = DESCRIPTION) -> None:
    for path, content in render(parse(text.encode()), dialect="nft").items():
        lab.write(f"{FOLDER}/{path}", content, mode=0o755)


def script(lab: Lab, name: str, *arguments: str, status: int = 0) -> str:
    done = lab.run([f"{FOLDER}/{name}", *arguments]).check(status)
    return str(done.stderr)


def test_up_makes_a_tap_that_is_the_users_and_marked(bare_lab: Lab) -> None:
    put(bare_lab)
    script(bare_lab, "web/ifup", "alice")
    (tap,) = bare_lab.tapdraft().taps
    assert (tap.name, tap.alias, tap.group) == ("td-web", "tapdraft 2 uid=61001 guest=web", "29699")
    assert (tap.owner, tap.up, tap.addresses) == ("alice", True, ("192.168.7.1/30",))


@pytest.fixture
def two_uplinks(bare_site: Site) -> Iterator[Lab]:
    lab = Lab(bare_site, uplinks=("eth0", "eth1"))
    yield lab
    lab.close()


@pytest.mark.parametrize("order", [("web", "db", "far"), ("far", "web", "db")])
def test_nothing_is_left_in_whatever_order_guests_go(
    two_uplinks: Lab, order: tuple[str, ...]
) -> None:
    lab = two_uplinks
    lab.run(["nft", OTHERS]).check()
    before = lab.snapshot()
    put(lab, DESCRIPTION.replace("[guest.web]", 'uplinks = ["eth0", "eth1"]\n[guest.web]'))
    for guest in ("web", "db", "far"):
        script(lab, f"{guest}/ifup", "alice")
    forwarding = lab.tapdraft().forwarding
    assert (forwarding["eth0"], forwarding["eth1"], forwarding["td-db"]) == (1, 1, 0)
    for guest in order:
        script(lab, f"{guest}/ifdown")
    lab.assert_no_residue(before)


def test_down_leaves_the_table_to_the_guests_that_are_there(bare_lab: Lab) -> None:
    put(bare_lab)
    script(bare_lab, "db/ifup", "alice")
    before = bare_lab.snapshot()
    script(bare_lab, "web/ifup", "alice")
    script(bare_lab, "web/ifdown")
    # What the guests' ways out were before is known until the last guest goes.
    found = before.without("nft", "nft text").diff(bare_lab.snapshot().without("nft", "nft text"))
    assert "td-web" not in found
    assert "table inet tapdraft" in bare_lab.tapdraft().table
    assert "8080" not in bare_lab.tapdraft().table


def test_down_twice_and_down_without_up_change_nothing(bare_lab: Lab) -> None:
    put(bare_lab)
    before = bare_lab.snapshot()
    script(bare_lab, "web/ifdown")
    script(bare_lab, "web/ifup", "alice")
    script(bare_lab, "web/ifdown")
    script(bare_lab, "web/ifdown")
    bare_lab.assert_no_residue(before)


def test_a_second_up_is_refused_and_harms_nothing(bare_lab: Lab) -> None:
    put(bare_lab)
    script(bare_lab, "web/ifup", "alice")
    before = bare_lab.snapshot()
    assert "the interface td-web exists already" in script(bare_lab, "web/ifup", "bob", status=4)
    bare_lab.assert_no_residue(before)


REFUSALS = {
    "an address of the host's": (
        "ip address add 192.168.7.1/24 dev eth0",
        "192.168.7.0/30 overlaps with",
    ),
    "a route around the guest's net": (
        "ip route add 192.168.0.0/16 dev eth0",
        "192.168.7.0/30 overlaps with",
    ),
    "a route to the guest": ("ip route add 192.168.7.2 dev eth0", "192.168.7.0/30 overlaps with"),
    "no default route": ("ip route del default", "no interface carries a default route"),
    "an uplink that is not to forward": (
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding",
        "forwarding is off on eth0, which is excluded",
    ),
    "a table of another's": ("nft add table inet tapdraft", "not of this version"),
    "a way out with a strange name": (
        "ip link add 'a*b' type veth peer name other && ip link set 'a*b' up && "
        "ip route add default dev 'a*b' metric 9",
        "the interface a*b has a strange name",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_up_refuses_what_is_in_the_way_and_changes_nothing(bare_lab: Lab, what: str) -> None:
    put(bare_lab)
    command, message = REFUSALS[what]
    bare_lab.run(["sh", "-c", command]).check()
    before = bare_lab.snapshot()
    assert message in script(bare_lab, "web/ifup", "alice", status=4)
    bare_lab.assert_no_residue(before)


def test_an_uplink_that_is_not_there_is_named(bare_lab: Lab) -> None:
    put(bare_lab, DESCRIPTION.replace("[guest.web]", 'uplinks = ["wlan7"]\n[guest.web]'))
    before = bare_lab.snapshot()
    assert "there is no interface wlan7" in script(bare_lab, "web/ifup", "alice", status=4)
    bare_lab.assert_no_residue(before)


def test_forwarding_that_was_switched_off_meanwhile_stays_off(bare_lab: Lab) -> None:
    """Neither another ifup nor the last ifdown makes the host a router again."""
    put(bare_lab)
    forwarding = "net.ipv4.conf.eth0.forwarding"
    bare_lab.run(["sysctl", "-qw", f"{forwarding}=1"]).check()
    script(bare_lab, "web/ifup", "alice")
    bare_lab.run(["sysctl", "-qw", f"{forwarding}=0"]).check()
    before = bare_lab.snapshot()
    said = script(bare_lab, "far/ifup", "alice", status=4)
    assert "forwarding is off on eth0, which is excluded from it on purpose" in said
    bare_lab.assert_no_residue(before)
    script(bare_lab, "web/ifdown")
    assert bare_lab.run(["sysctl", "-n", forwarding]).check().stdout == "0\n"


FOREIGN = {
    "a bridge": "ip link add td-web type bridge",
    "a tap in use": "ip tuntap add td-web mode tap; ip link set td-web up",
    "with an alias": "ip tuntap add td-web mode tap; ip link set td-web alias mine",
    "another guest's": "ip tuntap add td-web mode tap; "
    "ip link set td-web alias 'tapdraft 2 uid=0 guest=webb'",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_down_leaves_interfaces_that_are_not_tapdrafts(bare_lab: Lab, what: str) -> None:
    put(bare_lab)
    bare_lab.run(["sh", "-c", FOREIGN[what]]).check()
    before = bare_lab.snapshot()
    assert "is not tapdraft's" in script(bare_lab, "web/ifdown", status=4)
    bare_lab.assert_no_residue(before)


def test_down_restores_nothing_by_a_table_that_is_not_tapdrafts(bare_lab: Lab) -> None:
    put(bare_lab)
    key = "net.ipv4.conf.eth0.forwarding"
    bare_lab.run(["sysctl", "-qw", f"{key}=1"]).check()
    theirs = 'table inet tapdraft { set opened { type ifname; elements = { "eth0" }; }; }'
    bare_lab.run(["nft", theirs]).check()
    before = bare_lab.snapshot()
    script(bare_lab, "web/ifdown")
    bare_lab.assert_no_residue(before)


def test_a_port_of_another_guests_is_neither_taken_nor_given_back(bare_lab: Lab) -> None:
    put(bare_lab)
    script(bare_lab, "web/ifup", "alice")
    before = bare_lab.snapshot()
    put(
        bare_lab,
        DESCRIPTION.replace('mode = "isolated"', 'forward = ["tcp:8080:1"]').replace(
            'forward = ["tcp:8080:80", "udp:5353:53"]', ""
        ),
    )
    script(bare_lab, "db/ifup", "alice", status=1)
    script(bare_lab, "db/ifdown")
    bare_lab.assert_no_residue(before)


def test_up_needs_a_user_that_exists_and_root(bare_lab: Lab) -> None:
    put(bare_lab)
    before = bare_lab.snapshot()
    script(bare_lab, "web/ifup", status=2)
    script(bare_lab, "web/ifup", "nobody-here", status=1)
    done = bare_lab.run([f"{FOLDER}/web/ifup", "alice"], user="alice").check(4)
    assert "needs root" in done.stderr
    bare_lab.assert_no_residue(before)


@pytest.mark.parametrize(
    ("how", "beside"),
    [
        ("before", ""),
        ("after", ""),
        ("killed", ""),
        ("ended", ""),
        ("before", "db"),
        ("after", "db"),
    ],
)
def test_failing_at_any_command_leaves_nothing(bare_lab: Lab, how: str, beside: str) -> None:
    """Each call of ip, nft and sysctl in turn: not done, done but failed, ended or killed after it.

    What was killed cannot clean up, so ifdown has to. Beside another guest the table stays, and
    nothing of the failed one in it.
    """
    text = DESCRIPTION.replace(
        "[guest.web]", '[guest.web]\naddress = "192.168.7.2"\ngateway = "192.168.7.1/32"'
    )
    put(bare_lab, text)
    if beside:
        script(bare_lab, f"{beside}/ifup", "bob")
    for name in ("ip", "nft", "sysctl"):
        bare_lab.write(f"{SHIMS}/{name}", SHIM, mode=0o755)
    path = bare_lab.site.path(f"{FOLDER}/web/ifup")
    path.write_text(path.read_text().replace("\nPATH=", f"\nPATH={SHIMS}:"))
    before = bare_lab.snapshot()
    number = 0
    while True:
        number += 1
        bare_lab.write("/run/nft-count", "0\n")
        bare_lab.write("/run/nft-fault", f"{number} {how}\n")
        done = bare_lab.run([f"{FOLDER}/web/ifup", "alice"])
        reached = int(bare_lab.site.path("/run/nft-count").read_text()) >= number
        if how == "killed" or not done.status:
            script(bare_lab, "web/ifdown")
        if beside and not done.status:  # its ways out stay open as long as there is a guest
            script(bare_lab, f"{beside}/ifdown")
            script(bare_lab, f"{beside}/ifup", "bob")
            before = bare_lab.snapshot()
        found = before.diff(bare_lab.snapshot())
        assert not found, f"call {number}\n{found}\n{done}"
        took_back = done.stderr.partition("everything is taken back")[2]
        if "nft delete" in took_back:  # the guest is cut off before its rules go
            assert took_back.index("ip link delete") < took_back.index("nft delete")
        if not reached:
            break
    assert number > 15


WAYS_OUT = {
    "the halves of a default route": (
        "ip route replace 0.0.0.0/1 via 203.0.113.1; ip route add 128.0.0.0/1 via 203.0.113.1; "
        "ip route del default",
        {"eth0"},
    ),
    "not another guest's tap": ("ip route add default dev td-db metric 9", {"eth0"}),
    "not loopback": ("ip route add default dev lo metric 9", {"eth0"}),
}


@pytest.mark.parametrize("what", WAYS_OUT)
def test_the_ways_out_are_those_of_the_default_routes(bare_lab: Lab, what: str) -> None:
    put(bare_lab)
    script(bare_lab, "db/ifup", "alice")
    command, ways = WAYS_OUT[what]
    bare_lab.run(["sh", "-ec", command]).check()
    script(bare_lab, "web/ifup", "alice")
    forwarding = bare_lab.tapdraft().forwarding
    opened = {name for name, value in forwarding.items() if value and not name.startswith("td-")}
    assert opened == ways
    assert forwarding["td-db"] == 0


def test_a_guest_run_by_root_as_a_user_gets_out_and_leaves_nothing(bare_lab: Lab) -> None:
    lab = bare_lab
    lab.serve()
    files = lab.site.guest()
    put(
        lab,
        f"""
[guest.web]
kernel = "{files.kernel}"
initrd = "{files.initrd}"
append = "quiet tapdraft.get=http://{lab.web}/ tapdraft.http=80 tapdraft.end=poweroff"
accel = "tcg"
""",
    )
    before = lab.snapshot()
    guest = lab.guest([f"{FOLDER}/web/run", "alice"], user="root")
    guest.expect("guest: get .* ok", 60)
    assert guest.wait(60) == 0
    lab.assert_no_residue(before)


def test_qemu_is_the_users_own_process_with_nothing_to_gain(bare_lab: Lab) -> None:
    put(bare_lab, '[guest.web]\nkernel = "/dev/null"\naccel = "tcg"\n')
    path = bare_lab.site.path(f"{FOLDER}/web/qemu")
    path.write_text("#!/bin/sh\nid -un\nid -Gn\ngrep -E 'NoNewPrivs|CapEff' /proc/self/status\n")
    done = bare_lab.run([f"{FOLDER}/web/run", "alice"]).check()
    assert done.stdout.split() == [
        "alice",
        "alice",
        "tapdraft",
        "CapEff:",
        "0000000000000000",
        "NoNewPrivs:",
        "1",
    ]
