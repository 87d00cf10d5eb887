"""The lab must see every kind of residue, and leave none of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from labnet import Lab
from labsite import Site

TABLE = "table inet other { chain c { type filter hook forward priority 0; counter; }; }"

RESIDUE = {
    "link": ["ip", "link", "add", "left", "type", "bridge"],
    "tap": ["ip", "tuntap", "add", "td-left", "mode", "tap"],
    "alias of a link": ["ip", "link", "set", "eth0", "alias", "left"],
    "group of a link": ["ip", "link", "set", "eth0", "group", "29696"],
    "address": ["ip", "address", "add", "192.168.7.1/30", "dev", "eth0"],
    "address 6": ["ip", "address", "add", "2001:db8::1/64", "dev", "lo"],
    "route": ["ip", "route", "add", "192.168.7.0/24", "via", "203.0.113.1"],
    "route in another table": ["ip", "route", "add", "192.168.7.0/24", "dev", "eth0", "table", "7"],
    "route 6": ["ip", "-6", "route", "add", "2001:db8:7::/64", "dev", "eth0"],
    "rule": ["ip", "rule", "add", "from", "192.168.7.0/24", "table", "7"],
    "rule 6": ["ip", "-6", "rule", "add", "from", "2001:db8::/64", "table", "7"],
    "nft table": ["nft", TABLE],
    "forwarding of the uplink": ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding"],
    "ip_forward": ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
    "other sysctl": ["sh", "-c", "echo 7 > /proc/sys/net/ipv6/conf/default/hop_limit"],
}


@pytest.mark.parametrize("kind", RESIDUE)
def test_residue_is_seen(bare_lab: Lab, kind: str) -> None:
    before = bare_lab.snapshot()
    bare_lab.run(RESIDUE[kind]).check()
    with pytest.raises(pytest.fail.Exception, match="not as it was before"):
        bare_lab.assert_no_residue(before)


def test_removed_things_are_no_residue(bare_lab: Lab) -> None:
    before = bare_lab.snapshot()
    bare_lab.run(["ip", "tuntap", "add", "td-x", "mode", "tap"]).check()
    bare_lab.run(["ip", "address", "add", "192.168.7.1/30", "dev", "td-x"]).check()
    bare_lab.run(["nft", TABLE]).check()
    bare_lab.run(["nft", "delete", "table", "inet", "other"]).check()
    bare_lab.run(["ip", "link", "delete", "td-x"]).check()
    bare_lab.assert_no_residue(before)


def test_a_rule_in_a_table_of_others_is_seen_though_counters_are_not(bare_lab: Lab) -> None:
    bare_lab.run(["nft", TABLE]).check()
    before = bare_lab.snapshot()
    bare_lab.run(["nft", "list", "ruleset"]).check()
    bare_lab.assert_no_residue(before)
    bare_lab.run(["nft", "add", "rule", "inet", "other", "c", "drop"]).check()
    assert "+ " in before.diff(bare_lab.snapshot())


def test_traffic_alone_is_no_residue(bare_lab: Lab) -> None:
    bare_lab.run(
        [
            "nft",
            "table inet t { chain c { type filter hook output priority 0; "
            "ct state new counter; }; }",
        ]
    ).check()
    bare_lab.serve()
    before = bare_lab.snapshot()
    assert bare_lab.ping(bare_lab.web)
    assert bare_lab.get(f"http://{bare_lab.web}/") == "hello from outside\nyou are 203.0.113.2\n"
    bare_lab.assert_no_residue(before)


def test_the_outside_answers_names(bare_lab: Lab) -> None:
    server = bare_lab.serve()
    answer = bare_lab.run(["busybox", "nslookup", "-type=a", "web.example", bare_lab.web]).check()
    assert "Address: 198.51.100.1\n" in answer.stdout
    assert server.expect(r"dns 203\.0\.113\.2 \d+ web\.example", 5)


def test_outside_does_not_know_the_guests(bare_lab: Lab) -> None:
    assert bare_lab.ping("203.0.113.2", netns="outside")
    assert not bare_lab.ping("192.168.7.2", netns="outside")


def test_everything_that_was_started_ends_with_the_lab(bare_site: Site) -> None:
    lab = Lab(bare_site)
    # Each says when it is there: nsenter takes a while to enter the namespaces.
    there = ["sh", "-c", "echo there; exec sleep 1000"]
    for started in (lab.start(["setsid", "-f", *there]), lab.start(there, netns="outside")):
        started.expect("there", 60)
    lab.start(["busybox", "httpd", "-p", "127.0.0.1:8080", "-h", "/"])
    inside = lab.host.inhabitants() + lab.outside.inhabitants() + [lab.host.pid, lab.outside.pid]
    assert len(inside) >= 4
    lab.close()
    assert not [pid for pid in inside if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_nothing_reaches_the_machine(bare_lab: Lab) -> None:
    accounts = [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")]
    bare_lab.write("/etc/tapdraft/policy.conf", "x")
    bare_lab.write("/usr/local/libexec/left", "x")
    bare_lab.write("/tmp/left-by-the-lab", "x")
    bare_lab.run(["sh", "-c", "echo x > /home/alice/left"], user="alice").check()
    for name in ("/etc/tapdraft", "/usr/local/libexec/left", "/tmp/left-by-the-lab", "/home/alice"):
        assert not os.path.lexists(name) or not os.path.samefile(name, bare_lab.site.path(name))
    assert accounts == [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")]
    alice = bare_lab.run(["getent", "passwd", "alice"]).check().stdout
    assert alice.startswith("alice:x:61001:")
    machine = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    assert "02:00:00:00:" not in machine.stdout


def test_a_file_capability_holds_in_the_site(bare_lab: Lab) -> None:
    bare_lab.run(
        [
            "sh",
            "-ec",
            "mkdir -p /usr/local/libexec/t; cp /bin/cat /usr/local/libexec/t/;"
            "setcap cap_net_admin=p /usr/local/libexec/t/cat",
        ]
    ).check()
    status = bare_lab.run(["/usr/local/libexec/t/cat", "/proc/self/status"], user="alice").check()
    assert "CapPrm:\t0000000000001000\n" in status.stdout
    assert "CapEff:\t0000000000000000\n" in status.stdout
    plain = bare_lab.run(["cat", "/proc/self/status"], user="alice").check()
    assert "CapPrm:\t0000000000000000\n" in plain.stdout


def test_users_and_groups_are_there(bare_lab: Lab) -> None:
    assert bare_lab.run(["id", "-Gn"], user="alice").check().stdout == "alice tapdraft\n"
    assert bare_lab.run(["id", "-Gn"], user="mallory").check().stdout == "mallory\n"
    assert bare_lab.run(["id", "-u"], user="bob").check().stdout == "61002\n"
    assert bare_lab.run(["env"], user="bob").check().stdout.count("\n") == 7


def test_the_log_of_a_user_is_read(bare_lab: Lab) -> None:
    bare_lab.site.syslog.clear()
    for number in range(50):
        bare_lab.run(["logger", "-p", "authpriv.notice", f"line {number}"], user="alice").check()
    lines = bare_lab.site.logged("alice: line ")
    assert len(lines) == 50
    assert lines[0].startswith("<85>")


def test_a_process_is_waited_for_by_what_it_writes(bare_lab: Lab) -> None:
    process = bare_lab.start(["sh", "-c", "echo one; echo two; exec sleep 1000"])
    process.expect("^one$", 10)
    process.expect("^two$", 10)
    process.signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    with pytest.raises(pytest.fail.Exception, match="the output ended"):
        process.expect("three")


def test_two_uplinks_lead_outside(bare_site: Site) -> None:
    lab = Lab(bare_site, uplinks=("eth0", "eth1"))
    try:
        assert lab.ping("203.0.113.1")
        assert lab.ping("192.0.2.1")
    finally:
        lab.close()


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_a_real_guest_talks_on_a_tap(bare_lab: Lab, arch: str) -> None:
    bare_lab.run(["ip", "tuntap", "add", "td-x", "mode", "tap", "user", "61001"]).check()
    bare_lab.run(["ip", "address", "add", "192.168.7.1/30", "dev", "td-x"]).check()
    bare_lab.run(["ip", "link", "set", "td-x", "up"]).check()
    guest = bare_lab.qemu(
        "td-x",
        "ip=192.168.7.2::192.168.7.1:255.255.255.252:web:eth0:off:192.0.2.53: "
        "tapdraft.ping=192.168.7.1 tapdraft.ping=192.168.7.3 tapdraft.connect=192.168.7.1:99 "
        "tapdraft.http=80",
        arch=arch,
    )
    guest.expect(r"guest: address 192\.168\.7\.2 .* gateway 192\.168\.7\.1 on eth0$")
    guest.expect("guest: hostname web dns 192.0.2.53")
    guest.expect(r"guest: ping 192\.168\.7\.1 ok$")
    guest.expect(r"guest: ping 192\.168\.7\.3 failed$")
    guest.expect(r"guest: connect 192\.168\.7\.1:99 closed$")
    guest.expect("guest: ready$")
    assert bare_lab.get("http://192.168.7.2/") == "hello from the guest web\n"
    assert Path(f"/proc/{guest.qemu()}/status").read_text().count("\t61001") == 8
    assert guest.poweroff() == 0
