"""Other people's things"""

from __future__ import annotations

import itertools
import json
import os
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from attacker import UP, assert_refused, assert_up, attack, program, take_down
from labnet import Lab
from labsite import HELPER
from tracing import TUNSETIFF, TUNSETOWNER, TUNSETPERSIST, Call, Traced, makes_ioctl, sends

REFUSED, IN_THE_WAY = 3, 4
MARKS = ("group", "29699", "alias", "tapdraft 2 uid=61001 guest=web")
# Opens a tap as its owner may, without any capability, and does what follows.
OPEN_TAP = """if True:
    def attach(name, flags=0x1002):
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))
        return tap
    """
RTM_DELLINK, RTM_GETLINK = 17, 18


def words(name: str, number: int) -> tuple[str, ...]:
    """An `up` of a network of its own."""
    return ("up", name, f"192.168.7.{4 * number + 1}/30", f"192.168.7.{4 * number + 2}")


def links(lab: Lab) -> dict[str, dict[str, Any]]:
    """All that `ip` shows of each interface, by name, but whether a tap's end is held: the kernel
    notices that a moment later."""
    shown = json.loads(lab.run(["ip", "-d", "-j", "link"]).check().stdout)
    for link in shown:
        link["flags"] = sorted(set(link["flags"]) - {"NO-CARRIER", "LOWER_UP"})
        del link["operstate"]
    return {link["ifname"]: link for link in shown}


def test_another_users_tap_is_not_taken_down(target: Lab) -> None:
    """And the answer is the one for a tap that does not exist."""
    assert_up(target.helper(*UP))
    before = links(target)
    answers = {
        name: target.helper("down", name, user="bob").check().stdout for name in ("web", "none")
    }
    assert answers["web"].replace("web", "none") == answers["none"]
    assert target.helper("down", "--all", user="bob").check().stdout == "0 taps are down\n"
    assert links(target) == before
    take_down(target)


def test_another_users_tap_is_not_adopted(target: Lab) -> None:
    """With the same words or with others."""
    assert_up(target.helper(*UP))
    before = target.snapshot()
    for request in (UP, (*UP, "isolated"), words("web", 5)):
        assert_refused(target.helper(*request, user="bob"), IN_THE_WAY, "td-web is not yours")
    target.assert_no_residue(before)
    take_down(target)


def test_a_tap_that_another_user_has_made_anew_is_theirs(target: Lab) -> None:
    assert_up(target.helper(*UP, "forward=tcp:8080:80"))
    take_down(target)
    assert_up(target.helper(*UP, user="bob"))
    before = links(target)
    assert target.helper("down", "web").check().stdout == "td-web was not up\n"
    take_down(target)
    assert links(target) == before
    take_down(target, user="bob")


@pytest.mark.parametrize("kind", ["bridge", "veth", "tap"])
def test_an_interface_with_our_prefix_but_without_our_marks_is_left_alone(
    target: Lab, kind: str
) -> None:
    add = (
        ["ip", "tuntap", "add", "td-web", "mode", "tap", "user", "alice"]
        if kind == "tap"
        else ["ip", "link", "add", "td-web", "type", kind]
    )
    target.run(add).check()
    before = target.snapshot()
    assert_refused(target.helper(*UP), IN_THE_WAY, "td-web is not yours")
    assert target.helper("down", "web").check().stdout == "td-web was not up\n"
    take_down(target)
    target.assert_no_residue(before)
    target.run(["ip", "link", "delete", "td-web"]).check()


@pytest.mark.parametrize(
    "change",
    [
        ("alias", "tapdraft 2 uid=61002 guest=web"),
        ("alias", "tapdraft 2 uid=0 guest=web"),
        ("alias", ""),
        ("alias", "tapdraft 2 uid=061001 guest=web"),
        ("alias", "tapdraft 3 uid=61001 guest=web"),
        ("alias", "tapdraft 2 uid=61001 guest=web2"),
        ("alias", "tapdraft 2 uid=61001 guest=web "),
        ("alias", "tapdraft 2 uid=61001 guest=web\n"),
        ("alias", "x tapdraft 2 uid=61001 guest=web"),
        ("alias", "tapdraft 2 uid=\u0666\u0661\u0660\u0660\u0661 guest=web"),
        ("group", "0"),
        ("group", "29695"),
        ("group", "29704"),
        ("name", "td-web2"),
        ("name", "web"),
    ],
)
def test_down_with_a_single_mark_wrong_touches_nothing(
    target: Lab, change: tuple[str, str]
) -> None:
    """Name, group and alias together are the proof; an owner of the tap can change none of them."""
    assert_up(target.helper(*UP))
    if change[0] == "name":
        target.run(["ip", "link", "set", "td-web", "down"]).check()
    target.run(["ip", "link", "set", "td-web", *change]).check()
    name = change[1] if change[0] == "name" else "td-web"
    before = links(target)[name]
    target.helper("down", "web").check()
    target.helper("down", "--all").check()
    if name == "td-web2":
        target.helper("down", "web2").check()
    assert links(target)[name] == before
    target.run(["ip", "link", "delete", name]).check()
    take_down(target)


def test_marks_cannot_be_forged_by_who_owns_a_tap(target: Lab) -> None:
    """Alias, group, name, address and state are the kernel's to keep: all of it is refused."""
    assert_up(target.helper(*UP))
    before = target.snapshot()
    for change in (
        ["alias", "tapdraft 2 uid=61002 guest=web"],
        ["group", "29703"],
        ["name", "td-x"],
        ["mtu", "9000"],
        ["down"],
        ["address", "02:00:00:00:00:09"],
    ):
        assert target.run(["ip", "link", "set", "dev", "td-web", *change], user="alice").status
    assert target.run(["ip", "link", "delete", "td-web"], user="alice").status
    assert target.run(["ip", "address", "add", "10.0.0.1/8", "dev", "td-web"], user="alice").status
    target.assert_no_residue(before)
    take_down(target)


def test_a_tap_that_its_owner_gave_away_still_counts(target: Lab) -> None:
    """TUNSETOWNER is the owner's right; the quota goes by the alias."""
    target.site.policy("[group tapdraft]\nsubnets=192.168.7.0/24\ntaps=1\nmodes=nat\nuplinks=*\n")
    assert_up(target.helper(*UP))
    attack(target, OPEN_TAP + "fcntl.ioctl(attach('td-web'), 0x400454CC, 61002)").check()
    assert target.tapdraft().taps[0].owner == "bob"
    assert_refused(target.helper(*words("two", 2)), REFUSED, "its 1 taps are used up")
    assert target.helper("down", "web", user="bob").check().stdout == "td-web was not up\n"
    take_down(target)


def test_a_port_forward_is_not_inherited_from_a_tap_that_its_owner_deleted(target: Lab) -> None:
    """Who takes the name and the address later gets none of what was forwarded to it."""
    assert_up(target.helper(*UP, "forward=tcp:8080:80", "forward=udp:5353:53"))
    attack(target, OPEN_TAP + "fcntl.ioctl(attach('td-web'), 0x400454CB, 0)").check()
    assert not target.tapdraft().taps
    assert "8080" in target.tapdraft().table
    assert_up(target.helper(*UP, user="bob"))
    assert "8080" not in target.tapdraft().table
    assert "5353" not in target.tapdraft().table
    take_down(target, user="bob")


def test_an_owner_who_ends_a_tap_during_down_keeps_no_other_without_rules(target: Lab) -> None:
    """Before each request to the kernel in turn: all go, or what stays is guarded."""
    for number in itertools.count(1):
        assert_up(target.helper(*UP))
        assert_up(target.helper(*words("two", 2)), "two")
        traced = Traced(target, (HELPER, "down", "--all"))
        if traced.find(sends, number) is None:
            break
        attack(target, OPEN_TAP + "fcntl.ioctl(attach('td-web'), 0x400454CB, 0)")
        assert traced.end() == 0, traced.process.console
        assert not target.tapdraft().taps
    assert number > 8, "most were not tried"
    take_down(target)


@pytest.mark.parametrize("how", ["down", "up"])
def test_a_port_is_free_again_when_the_owner_has_deleted_its_tap(target: Lab, how: str) -> None:
    """For another guest at once; and any `down` clears it away, though others' taps are there."""
    assert_up(target.helper(*words("bobs", 9), user="bob"), "bobs")
    assert_up(target.helper(*UP, "forward=tcp:8080:80"))
    attack(target, OPEN_TAP + "fcntl.ioctl(attach('td-web'), 0x400454CB, 0)").check()
    assert "8080" in target.tapdraft().table
    if how == "down":
        take_down(target)
        assert "8080" not in target.tapdraft().table
    else:
        assert_up(target.helper(*words("two", 3), "forward=tcp:8080:80", user="bob"), "two")
        assert "192.168.7.14 . 80" in target.tapdraft().table
    take_down(target, user="bob")


def test_a_mac_that_the_owner_changed_is_no_obstacle(target: Lab) -> None:
    assert_up(target.helper(*UP))
    attack(
        target,
        OPEN_TAP + "fcntl.ioctl(attach('td-web'), 0x8924, "
        "struct.pack('16sH6s8x', b'td-web', 1, bytes.fromhex('020000000009')))",
    ).check()
    assert links(target)["td-web"]["address"] == "02:00:00:00:00:09"
    assert target.helper("down", "web").check().stdout == "td-web is down\n"


def test_one_tap_more_than_the_quota_is_refused(target: Lab) -> None:
    target.site.policy("[group tapdraft]\nsubnets=192.168.7.0/24\ntaps=2\nmodes=nat\nuplinks=*\n")
    for number in range(2):
        assert_up(target.helper(*words(f"w{number}", number)), f"w{number}")
    before = target.snapshot()
    assert_refused(target.helper(*words("w2", 2)), REFUSED, "its 2 taps are used up")
    lines = "\n".join(" ".join(words(f"w{n}", n)) for n in range(3))
    assert_refused(target.helper("-", input=lines), REFUSED, "its 2 taps are used up")
    target.assert_no_residue(before)
    take_down(target)


def test_nobody_uses_up_anothers_quota(target: Lab) -> None:
    target.site.policy("[group tapdraft]\nsubnets=192.168.7.0/24\ntaps=1\nmodes=nat\nuplinks=*\n")
    assert_up(target.helper(*words("bobs", 9), user="bob"), "bobs")
    assert_up(target.helper(*UP))
    take_down(target)
    take_down(target, user="bob")


def test_two_sections_do_not_add_up_to_a_larger_quota(target: Lab) -> None:
    """Nor does the member of many groups get a mode from one and a subnet from another."""
    section = "[{}]\nsubnets={}\ntaps={}\nmodes={}\nuplinks=*\n"
    target.site.policy(
        section.format("group tapdraft", "192.168.7.0/24", 1, "nat")
        + section.format("group alice", "192.168.7.0/24", 1, "nat")
        + section.format("user alice", "10.0.0.0/8", 9, "routed")
    )
    assert_up(target.helper(*UP))
    assert_refused(target.helper(*words("two", 2)), REFUSED, "used up.*used up")
    assert_refused(target.helper(*words("two", 2), "routed"), REFUSED, "is not among its modes")
    take_down(target)


def test_of_fifty_at_once_no_more_come_up_than_the_quota_has(target: Lab) -> None:
    target.site.policy("[group tapdraft]\nsubnets=192.168.7.0/24\ntaps=5\nmodes=nat\nuplinks=*\n")
    requests = "\n".join(" ".join(words(f"w{n}", n)) for n in range(50))
    script = f"while read -r line; do {HELPER} $line & done; wait"
    done = target.run(["sh", "-c", script], user="alice", input=requests + "\n")
    assert done.stdout.count(" is up\n") == 5
    assert done.stderr.count("used up") == 45
    assert len(target.tapdraft().taps) == 5
    take_down(target)


def test_a_lock_held_by_an_attacker_ends_in_a_clear_refusal(target: Lab, fresh: Lab) -> None:
    """Anybody can bind the port, and stop a helper of their own: waiting for it is bounded."""
    hold = "kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
    hold += "kernel.bind((0x74617064, 0))\nprint('held', flush=True)\nsignal.pause()"
    holder = target.start(program(hold), user="mallory")
    holder.expect("held", 20)
    stopped = Traced(fresh)
    stopped.run_to(makes_ioctl(TUNSETIFF))
    stopped.release(stopped=True)
    waiting = [lab.start([HELPER, *UP], user="bob") for lab in (target, fresh)]
    for process in waiting:
        process.expect(
            r"error: another process has held the lock for 10 seconds\nhint: look for", 40
        )
        assert process.wait() == IN_THE_WAY
    assert len(target.site.logged("result=failed uid=61002 .*held the lock")) == 2
    holder.stop()
    os.kill(stopped.pid, 18)
    assert stopped.process.wait() == 0
    assert_up(target.helper(*UP, user="bob"))
    take_down(target, user="bob")
    take_down(fresh)


def test_a_guest_that_is_requested_twice_is_refused_without_the_lock(target: Lab) -> None:
    """Or thousands of requests for one tap, which no quota bounds, would keep it from others."""
    hold = "kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
    hold += "kernel.bind((0x74617064, 0))\nprint('held', flush=True)\nsignal.pause()"
    holder = target.start(program(hold), user="mallory")
    holder.expect("held", 20)
    done = target.helper("-", input="\n".join([" ".join(UP)] * 2))
    assert_refused(done, IN_THE_WAY, "a guest is requested twice")
    holder.stop()


@pytest.mark.parametrize("other", [True, False])
@pytest.mark.parametrize("ending", ["up", "refused"])
def test_forwarding_that_goes_off_while_a_helper_is_stopped_stays_off(
    target: Lab, ending: str, other: bool
) -> None:
    """Anybody can stop a helper of theirs between check and act."""
    key = "net.ipv4.conf.eth0.forwarding"
    if other:
        target.helper(*words("two", 2), "uplink=eth1", user="bob").check()
    target.run(["sysctl", "-qw", f"{key}=1"]).check()
    far = ("up", "web", "192.168.7.1/32", "192.168.7.2", "uplink=eth0")
    stopped = Traced(target, (HELPER, *far))
    stopped.run_to(makes_ioctl(TUNSETIFF))
    stopped.release(stopped=True)
    target.run(["sysctl", "-qw", f"{key}=0"]).check()
    route = ["192.168.7.2/32", "dev", "eth1"]
    if ending == "refused":  # nearly at the end, as there is another way to the guest now
        target.run(["ip", "route", "add", *route]).check()
    os.kill(stopped.pid, 18)
    assert stopped.process.wait() == (0 if ending == "up" else 1)
    assert target.run(["sysctl", "-n", key]).check().stdout == "0\n"
    if ending == "refused":
        target.run(["ip", "route", "delete", *route]).check()
    take_down(target)
    take_down(target, user="bob")
    assert target.run(["sysctl", "-n", key]).check().stdout == "0\n"


def test_nobody_can_answer_in_the_kernels_place(target: Lab) -> None:
    """The helper's address on the netlink bus is known; only the privileged may write to it."""
    traced = Traced(target)
    traced.run_to(makes_ioctl(TUNSETIFF))
    done = attack(
        target,
        """if True:
        for protocol in (0, 12):
            forged = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            for port in (0x74617064, int(sys.argv[1])):
                try:
                    forged.sendto(b"\\0" * 64, (port, 0))
                except OSError as error:
                    print(error.strerror)
        """,
        str(traced.pid),
        user="mallory",
    ).check()
    assert set(done.stdout.splitlines()) <= {"Operation not permitted", "Connection refused"}
    assert done.stdout.count("\n") == 4
    assert traced.end() == 0
    take_down(target)


FOREIGN = """
table inet tapdraft { comment "of somebody else";
    chain input { type filter hook input priority 0; policy accept; tcp dport 22 accept; }; }
"""


@pytest.mark.parametrize("request_words", [UP, ("down", "web"), ("down", "--all")])
def test_a_foreign_table_with_our_name_is_not_touched(
    target: Lab, request_words: tuple[str, ...]
) -> None:
    target.run(["nft", FOREIGN]).check()
    before = target.snapshot()
    assert_refused(
        target.helper(*request_words), IN_THE_WAY, "a table inet tapdraft that this version"
    )
    target.assert_no_residue(before)
    target.run(["nft", "delete", "table", "inet", "tapdraft"]).check()


def test_an_uplink_that_an_administrator_takes_from_the_note_stays_as_it_is(target: Lab) -> None:
    """The set `opened` is all that tells what to restore."""
    assert_up(target.helper(*UP))
    target.run(["nft", "delete element inet tapdraft opened { eth0 }"]).check()
    target.helper(*words("two", 2)).check()
    target.helper("down", "--all").check()
    key = "net.ipv4.conf.eth0.forwarding"
    assert target.run(["sysctl", "-n", key]).check().stdout == "1\n"
    target.run(["sysctl", "-qw", f"{key}=0"]).check()


def test_a_port_forward_that_is_none_of_ours_is_refused_and_not_dropped(target: Lab) -> None:
    assert_up(target.helper(*UP))
    element = "element inet tapdraft forwards {{ sctp . 9 {}}}"
    target.run(["nft", "add " + element.format(": 192.168.7.2 . 9 ")]).check()
    before = target.snapshot()
    for request in (words("two", 2), ("down", "--all")):
        assert_refused(target.helper(*request), 1, "port forwards cannot be read")
    target.assert_no_residue(before)
    target.run(["nft", "delete " + element.format("")]).check()
    take_down(target)


OTHERS = """
table inet filter {
    set blocked { type ipv4_addr; elements = { 192.0.2.66 comment "why" }; }
    chain forward { type filter hook forward priority filter; policy drop;
        ct state established accept; };
    chain input { type filter hook input priority filter; policy drop; iifname "lo" accept; };
}
table ip tapdraft { chain c { type nat hook postrouting priority 99; oifname "eth1" masquerade; }; }
table bridge b { chain c { type filter hook forward priority 0; policy accept; }; }
"""


def test_other_tables_sysctls_routes_and_links_are_the_same_while_a_tap_is_up(target: Lab) -> None:
    """Not only afterwards. The uplink's forwarding is the one thing of the host's that changes."""
    target.run(["nft", OTHERS]).check()
    target.run(["iptables-nft", "-A", "FORWARD", "-i", "eth1", "-j", "DROP"]).check()
    target.run(["ip", "route", "add", "10.9.0.0/16", "via", "203.0.113.1", "table", "7"]).check()
    before = target.snapshot()
    assert_up(target.helper(*UP, "forward=tcp:8080:80", "host=open", "mtu=1400"))
    during = target.snapshot()
    rules, ours = (set(of.sections["nft"]) for of in (before, during))
    assert rules < ours
    assert all(
        '"inet", "table": "tapdraft"' in rule or '"inet", "name"' in rule for rule in ours - rules
    )
    changed = {
        line
        for name, lines in during.sections.items()
        for line in set(lines) ^ set(before.sections[name])
        if not name.startswith("nft") and "td-web" not in line
    }
    assert changed == {f"net/ipv4/conf/eth0/forwarding = {value}" for value in (0, 1)}
    take_down(target)
    target.assert_no_residue(before)
    target.run(["nft", "flush", "ruleset"]).check()
    target.run(["ip", "route", "flush", "table", "7"]).check()


def test_forwarding_that_was_switched_off_meanwhile_stays_off(target: Lab) -> None:
    """Neither another `up` nor the last `down` makes the host a router again."""
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    assert_up(target.helper(*UP))
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()
    assert_refused(target.helper(*words("two", 2)), IN_THE_WAY, "eth0, which is excluded")
    assert target.tapdraft().forwarding["eth0"] == 0
    take_down(target)
    assert target.tapdraft().forwarding["eth0"] == 0


def test_a_route_to_another_users_guest_cannot_be_taken(target: Lab) -> None:
    """Neither by a request for one address, nor by a wider or narrower network, nor a host's."""
    assert_up(target.helper("up", "web", "192.168.7.1/30", "192.168.7.2", user="bob"))
    assert_up(target.helper("up", "far", "192.168.7.200/32", "192.168.7.10", user="bob"), "far")
    before = target.snapshot()
    for host, guest in (
        ("192.168.7.9/32", "192.168.7.2"),
        ("192.168.7.2/32", "192.168.7.9"),
        ("192.168.7.1/29", "192.168.7.3"),
        ("192.168.7.33/32", "192.168.7.10"),
        ("192.168.7.9/30", "192.168.7.10"),
        ("192.168.7.200/32", "192.168.7.77"),
    ):
        assert_refused(
            target.helper("up", "evil", host, guest, "forward=tcp:8080:80"), IN_THE_WAY, "overlap"
        )
    target.assert_no_residue(before)
    take_down(target, user="bob")


def test_another_users_forwarded_port_cannot_be_taken(target: Lab) -> None:
    assert_up(target.helper(*UP, "forward=tcp:8080:80", user="bob"))
    before = target.snapshot()
    assert_refused(
        target.helper(*words("evil", 3), "forward=tcp:8080:80"),
        IN_THE_WAY,
        "tcp port 8080 is taken",
    )
    target.assert_no_residue(before)
    take_down(target, user="bob")


def message(traced: Traced, call: Call) -> int:
    """The type of a netlink request that is about to be sent."""
    return int(struct.unpack("=H", traced.data(call.args[1] + 4, 2))[0])


def requests(traced: Traced, kind: int) -> Callable[[Call], bool]:
    return lambda call: sends(call) and message(traced, call) == kind


@pytest.mark.parametrize("with_marks", ["none", "another user's", "the caller's, other kind"])
def test_an_interface_swapped_in_between_check_and_act_is_not_deleted(
    target: Lab, with_marks: str
) -> None:
    """Same name and same index; only the marks tell, so they are read again before deleting."""
    assert_up(target.helper(*UP))
    index = str(links(target)["td-web"]["ifindex"])
    traced = Traced(target, (HELPER, "down", "web"))
    traced.run_to(requests(traced, RTM_GETLINK), times=2)
    target.run(["ip", "link", "delete", "td-web"]).check()
    target.run(["ip", "link", "add", "td-web", "index", index, "type", "bridge"]).check()
    if with_marks != "none":
        uid = "61002" if with_marks == "another user's" else "61001"
        target.run(
            [
                "ip",
                "link",
                "set",
                "td-web",
                "group",
                "29699",
                "alias",
                f"tapdraft 2 uid={uid} guest=web",
                "mtu",
                "1400",
            ]
        ).check()
    before = links(target)["td-web"]
    traced.end()
    assert links(target)["td-web"] == before
    target.run(["ip", "link", "delete", "td-web"]).check()
    take_down(target)


def test_a_tap_that_goes_between_check_and_act_is_no_error(target: Lab) -> None:
    assert_up(target.helper(*UP))
    traced = Traced(target, (HELPER, "down", "web"))
    traced.run_to(requests(traced, RTM_GETLINK), times=2)
    target.run(["ip", "link", "delete", "td-web"]).check()
    assert traced.end() == 0


def test_an_interface_that_appears_between_check_and_act_is_not_adopted(target: Lab) -> None:
    """Without IFF_TUN_EXCL the kernel would hand out the other's tap."""
    traced = Traced(target)
    traced.run_to(makes_ioctl(TUNSETIFF))
    target.run(["ip", "tuntap", "add", "td-web", "mode", "tap", "user", "bob"]).check()
    before = target.snapshot()
    assert traced.end() == 1
    assert "create tap td-web: Device or resource busy" in traced.process.console
    target.assert_no_residue(before)
    target.run(["ip", "link", "delete", "td-web"]).check()


KEEP = """
    tap = attach("td-_new", 0x1102)
    fcntl.ioctl(tap, 0x400454CC, os.getuid())
    fcntl.ioctl(tap, 0x400454CB, 1)
"""


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("user", ["alice", "mallory", "bob"])
def test_nobody_keeps_a_queue_of_a_tap_from_the_moment_it_had_no_owner(
    target: Lab, user: str, stays: bool
) -> None:
    """Between two ioctls a tap with several queues can be opened by anybody, and read for good."""
    traced = Traced(target, (HELPER, *UP, "queues=2"))
    traced.run_to(makes_ioctl(TUNSETOWNER))
    then = "print('attached', flush=True)\n    " + ("signal.pause()" if stays else "")
    thief = target.start(program(f"{OPEN_TAP}{KEEP}    {then}"), user=user)
    thief.expect("attached", 20)
    if not stays:
        thief.wait()
    assert traced.end() == 1
    assert "somebody else has opened it" in traced.process.console
    assert not target.tapdraft().taps
    thief.stop()


@pytest.mark.parametrize("request_words", [("down", "--all"), ("down", "x"), words("x", 3)])
def test_a_tap_that_was_kept_before_it_was_marked_goes_with_the_next_request(
    target: Lab, request_words: tuple[str, ...]
) -> None:
    """Whoever stops and kills a helper of theirs at that moment: it is no tap beside the quota."""
    traced = Traced(target, (HELPER, *UP, "queues=2"))
    traced.run_to(makes_ioctl(TUNSETOWNER))
    attack(target, OPEN_TAP + KEEP).check()
    traced.kill()
    assert [tap.name for tap in target.tapdraft().taps] == ["td-_new"]
    target.helper(*request_words, user="bob").check()
    assert "td-_new" not in links(target)
    take_down(target, user="bob")
    assert_up(target.helper(*UP, "queues=2"))
    take_down(target)


# Classic BPF that drops every packet; the type of the link becomes IEEE 1394.
DROPS = """
    import ctypes
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    filter = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
"""
LEFT = {
    "nothing": "pass",
    "a filter": f"{DROPS}\n    fcntl.ioctl(tap, 0x401054D5, filter)",
    "a list of addresses": "fcntl.ioctl(tap, 0x400454D1, struct.pack('HH6s', 0, 1, b'\\2' * 6))",
    "another type": "fcntl.ioctl(tap, 0x400454CD, 24)",
}
SENDS = """
while True:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.168.7.2", 9))
    except OSError:
        pass
    time.sleep(0.1)
"""
LISTENS = """
    import select
    tap = attach("td-web", 0x1102)
    print("listening", flush=True)
    while select.select([tap], [], [], 30)[0]:
        if b"\\x08\\x06" == os.read(tap, 2000)[12:14]:
            print("ARP arrived", flush=True)
            break
"""


@pytest.mark.parametrize("what", LEFT)
def test_nobody_leaves_anything_in_a_tap_from_the_moment_it_had_no_owner(
    target: Lab, what: str
) -> None:
    """Who opens it and closes it again leaves no queue behind, but could leave a program."""
    traced = Traced(target, (HELPER, *UP, "queues=2"))
    traced.run_to(makes_ioctl(TUNSETOWNER))
    attack(
        target, f"{OPEN_TAP}\n    tap = attach('td-_new', 0x1102)\n    {LEFT[what]}", user="bob"
    ).check()
    if traced.end() == 0:
        assert what != "another type"
        listener = target.start(program(OPEN_TAP + LISTENS), user="alice")
        listener.expect("listening", 20)
        sender = target.start(program(SENDS), user="bob")
        listener.expect("ARP arrived", 20)
        sender.stop()
        assert listener.wait() == 0
    assert not target.tapdraft().taps or links(target)["td-web"]["link_type"] == "ether"
    take_down(target)


@pytest.mark.parametrize("mode", ["nat", "routed"])
def test_a_tap_cannot_have_the_name_of_an_uplink(target: Lab, mode: str) -> None:
    """Or other guests would reach it, and it the ports that are forwarded to them."""
    target.run(["ip", "link", "add", "td-lan", "type", "veth"]).check()
    assert_up(target.helper(*UP, mode, "uplink=td-lan"))
    target.run(["ip", "link", "delete", "td-lan"]).check()
    before = target.snapshot()
    assert_refused(
        target.helper(*words("lan", 3), user="bob"), IN_THE_WAY, "td-lan is the name of an uplink"
    )
    target.assert_no_residue(before)
    take_down(target)


def test_a_tap_without_an_owner_is_no_uplink(target: Lab) -> None:
    """Where the host forwards, nothing would have to be written to it."""
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    traced = Traced(target, (HELPER, *UP, "queues=2"))
    traced.run_to(makes_ioctl(TUNSETOWNER))
    attack(target, OPEN_TAP + KEEP).check()
    traced.kill()
    assert_refused(target.helper(*UP, "uplink=td-_new"), IN_THE_WAY, "td-_new is a guest's tap")
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


@pytest.mark.parametrize("queues", ["queues=1", "queues=2"])
def test_a_tap_is_nobodys_until_all_is_done(target: Lab, queues: str) -> None:
    """Its user opens it, and can make it persistent, only when it is marked, guarded and up."""
    traced = Traced(target, (HELPER, *UP, queues))
    traced.run_to(makes_ioctl(TUNSETOWNER))
    flags = "0x1102" if queues == "queues=2" else "0x1002"
    while (call := traced.step()) is not None and not makes_ioctl(TUNSETPERSIST)(call):
        if not call.entry or (not sends(call) and not makes_ioctl(TUNSETOWNER)(call)):
            continue
        tap = next(iter(target.tapdraft().taps))
        done = attack(target, OPEN_TAP + f"attach({tap.name!r}, {flags})")
        refused = "Operation not permitted" if queues == "queues=2" else "not permitted|busy"
        assert re.search(refused, done.stderr), str(done)
        assert done.status, str(done)
    assert traced.end() == 0
    take_down(target)


def test_the_doomed_group_takes_nobody_elses_interface_along(target: Lab) -> None:
    """Taps are deleted by group; an administrator's interface may be in that very group."""
    target.run(["ip", "link", "add", "precious", "type", "bridge"]).check()
    target.run(["ip", "link", "set", "precious", "group", "29698"]).check()
    for number in range(3):
        assert_up(target.helper(*words(f"w{number}", number)), f"w{number}")
    assert_up(target.helper(*words("bobs", 9), user="bob"), "bobs")
    take_down(target)
    assert {"precious", "td-bobs"} <= set(links(target))
    take_down(target, user="bob")
    target.run(["ip", "link", "delete", "precious"]).check()


def test_the_table_stays_while_another_users_tap_needs_it(target: Lab) -> None:
    assert_up(target.helper(*UP, "forward=tcp:8080:80"))
    assert_up(target.helper(*words("bobs", 9), user="bob"), "bobs")
    take_down(target)
    assert "masquerade" in target.tapdraft().table
    assert "8080" not in target.tapdraft().table
    assert target.tapdraft().forwarding["eth0"] == 1
    take_down(target, user="bob")


@pytest.mark.parametrize("option", [(), ("--use-vnet",)])
def test_a_tap_that_is_handed_over_has_just_the_header_that_was_asked_for(
    target: Lab, option: tuple[str, ...]
) -> None:
    done = attack(
        target,
        f"""if True:
        ours, theirs = socket.socketpair()
        os.set_inheritable(ours.fileno(), True)
        if not os.fork():
            os.dup2(2, 1)
            start(*{option}, f"--fd={{ours.fileno()}}", *UP)
        ours.close()
        (tap,) = socket.recv_fds(theirs, 1, 1)[1]
        os.wait()
        request = bytearray(40)
        fcntl.ioctl(tap, 0x800454D2, request)
        print(hex(struct.unpack_from("H", request, 16)[0] & 0x4000))""",
    ).check()
    assert done.stdout == ("0x4000\n" if option else "0x0\n")
    take_down(target)


def test_a_tap_that_is_there_is_not_handed_over_as_a_new_one(target: Lab) -> None:
    """qemu waits for a descriptor, and a tap for one qemu only: no `already`."""
    assert_up(target.helper(*UP))
    before = target.snapshot()
    done = attack(
        target,
        """if True:
        ours, theirs = socket.socketpair()
        os.set_inheritable(ours.fileno(), True)
        theirs.detach()
        start(f"--fd={ours.fileno()}", *UP)""",
    )
    assert_refused(done, IN_THE_WAY, "td-web exists already")
    target.assert_no_residue(before)
    take_down(target)


@pytest.mark.parametrize(
    ("peer", "error"), [("gone", "Broken pipe"), ("full", "Resource temporarily unavailable")]
)
def test_a_peer_that_does_not_take_the_tap_holds_nothing_up(
    target: Lab, peer: str, error: str
) -> None:
    """Who gives --fd a socket that nobody reads gets an error, and all is undone."""
    done = attack(
        target,
        f"""if True:
        ours, theirs = socket.socketpair()
        if {peer!r} == "gone":
            theirs.close()
        else:
            ours.setblocking(False)
            try:
                while True:
                    ours.send(bytes(4096))
            except BlockingIOError:
                ours.setblocking(True)
            if not os.fork():  # somebody has the other end, until the helper is gone
                libc.prctl(1, 9, 0, 0, 0)
                os.closerange(0, 3)
                signal.pause()
        os.set_inheritable(ours.fileno(), True)
        theirs.detach()
        start(f"--fd={{ours.fileno()}}", *UP)""",
    )
    assert_refused(done, 1, f"persist tap td-web: {error}")
