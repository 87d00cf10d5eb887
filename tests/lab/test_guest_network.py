"""What a guest's network lets through and what not, seen from within a real guest."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

import pytest
from labnet import WEB, Lab
from labproc import Guest

HOME = "/home/alice"
GUEST = """
[guest.{name}]
memory = "256M"
accel = "{accel}"
kernel = "{kernel}"
initrd = "{initrd}"
append = "quiet {append}"
{more}
"""
GOES_OUT = f"tapdraft.ping={WEB} tapdraft.get=http://{WEB}/ tapdraft.http=80"
PAGE = "hello from the guest web\n"


class Bench:
    """A lab whose outside serves, and a description of alice's that grows guest by guest."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.outside = lab.serve()
        self.before = lab.snapshot()
        self.text = '[network]\nsubnet = "192.168.7.0/24"\n'

    def add(self, name: str, append: str, more: str = "", accel: str = "tcg") -> None:
        files = self.lab.site.guest()
        self.text += GUEST.format(
            name=name,
            append=append,
            more=more,
            accel=accel,
            kernel=files.kernel,
            initrd=files.initrd,
        )

    def render(self, *options: str) -> None:
        self.lab.write(f"{HOME}/net.toml", self.text, owner="alice")
        argv = ["tapdraft", "render", f"--output={HOME}/scripts", *options, "net.toml"]
        self.lab.run(argv, user="alice").check()

    def run(self, name: str, *words: str, user: str = "alice") -> Guest:
        return self.lab.guest([f"{HOME}/scripts/{name}/run", *words], user=user, cwd=HOME)

    def start(self, append: str, more: str = "") -> Guest:
        self.add("web", append, more)
        self.render()
        return self.run("web")

    def end(self, guest: Guest) -> None:
        """Switch the guest off; nothing of it may be left."""
        assert guest.poweroff() == 0
        self.lab.assert_no_residue(self.before)


@pytest.fixture
def bench(lab: Lab, requires: Callable[..., None]) -> Bench:
    requires("qemu-system-x86_64")
    return Bench(lab)


def got_out(guest: Guest) -> None:
    guest.expect(rf"guest: ping {WEB} ok$")
    guest.expect(rf"guest: get http://{WEB}/ ok: hello from outside$")
    guest.expect("guest: ready$")


def test_a_nat_guest_is_known_outside_by_the_hosts_address_only(bench: Bench) -> None:
    guest = bench.start(GOES_OUT)
    got_out(guest)
    bench.outside.expect(r'^http 203\.0\.113\.2 \d+ "GET / ', 10)
    assert "192.168.7." not in bench.outside.console
    assert bench.lab.ping("192.168.7.2")
    route = ["ip", "route", "add", "192.168.7.0/24", "via", "203.0.113.2"]
    bench.lab.run(route, netns="outside").check()
    assert not bench.lab.ping("192.168.7.2", netns="outside")
    assert bench.lab.get("http://192.168.7.2/", netns="outside") is None
    bench.end(guest)


def test_a_routed_guest_is_known_by_its_own_address(bench: Bench) -> None:
    route = ["ip", "route", "add", "192.168.7.0/24", "via", "203.0.113.2"]
    bench.lab.run(route, netns="outside").check()
    guest = bench.start(GOES_OUT, 'mode = "routed"')
    got_out(guest)
    bench.outside.expect(r'^http 192\.168\.7\.2 \d+ "GET / ', 10)
    assert bench.lab.get("http://192.168.7.2/", netns="outside") == PAGE
    bench.end(guest)


def test_an_isolated_guest_stays_in_but_answers_at_its_port(bench: Bench) -> None:
    words = f"tapdraft.ping={WEB} tapdraft.ping=192.168.7.1 tapdraft.http=80"
    guest = bench.start(words, 'mode = "isolated"\nforward = ["tcp:8080:80"]')
    guest.expect(rf"guest: ping {WEB} failed$")
    guest.expect(r"guest: ping 192\.168\.7\.1 ok$")
    guest.expect("guest: ready$")
    assert bench.lab.get("http://203.0.113.2:8080/", netns="outside") == PAGE
    bench.end(guest)


@pytest.mark.parametrize(("more", "seen"), [("", "closed"), ('host = "open"', "open")])
def test_the_hosts_services_are_closed_to_a_guest_unless_opened(
    bench: Bench, more: str, seen: str
) -> None:
    bench.lab.start(["busybox", "httpd", "-f", "-p", "0.0.0.0:8000", "-h", "/usr"])
    words = "tapdraft.connect=192.168.7.1:8000 tapdraft.connect=203.0.113.2:8000"
    guest = bench.start(words, more)
    guest.expect(rf"guest: connect 192\.168\.7\.1:8000 {seen}$")
    guest.expect(rf"guest: connect 203\.0\.113\.2:8000 {seen}$")
    guest.expect("guest: ready$")
    bench.end(guest)


def test_guests_do_not_reach_each_other(bench: Bench) -> None:
    bench.add("web", GOES_OUT, 'forward = ["tcp:8080:80"]')
    bench.add(
        "db",
        f"tapdraft.ping={WEB} tapdraft.ping=192.168.7.2 "
        "tapdraft.connect=192.168.7.2:80 tapdraft.connect=203.0.113.2:8080",
    )
    bench.render()
    web = bench.run("web")
    got_out(web)
    db = bench.run("db")
    db.expect(rf"guest: ping {WEB} ok$")
    db.expect(r"guest: ping 192\.168\.7\.2 failed$")
    db.expect(r"guest: connect 192\.168\.7\.2:80 closed$")
    db.expect(r"guest: connect 203\.0\.113\.2:8080 closed$")
    db.expect("guest: ready$")
    assert web.poweroff() == 0
    assert [tap.name for tap in bench.lab.tapdraft().taps] == ["td-db"]
    bench.end(db)


def test_the_nft_dialect_serves_a_guest_too(bench: Bench) -> None:
    bench.add("web", GOES_OUT, 'forward = ["tcp:8080:80"]')
    bench.render("--dialect=nft")
    guest = bench.run("web", "alice", user="root")
    got_out(guest)
    status = bench.lab.run(["cat", f"/proc/{guest.qemu()}/status"]).check().stdout
    assert "Uid:\t61001\t61001\t61001\t61001\n" in status
    assert "CapPrm:\t0000000000000000\n" in status
    assert bench.lab.get("http://203.0.113.2:8080/", netns="outside") == PAGE
    bench.end(guest)


def test_without_kvm_a_guest_runs_all_the_same(bench: Bench) -> None:
    bench.add("web", GOES_OUT, accel="auto")
    bench.render()
    guest = bench.run("web")
    guest.expect("KVM does not work here")
    got_out(guest)
    bench.end(guest)


def test_run_takes_down_the_tap_of_a_qemu_that_was_killed(bench: Bench) -> None:
    guest = bench.start("")
    guest.expect("guest: ready$")
    bench.lab.run(["kill", "-KILL", str(guest.qemu())], user="alice").check()
    assert guest.wait() == 128 + signal.SIGKILL
    bench.lab.assert_no_residue(bench.before)


def test_two_runs_of_one_guest_at_once_are_one_guest(bench: Bench) -> None:
    """Neither has its tap when both start; the one that loses takes nothing away."""
    bench.add("web", GOES_OUT)
    bench.render()
    both = [bench.run("web"), bench.run("web")]
    ends = {os.pidfd_open(guest.pid): guest for guest in both}
    ended, _, _ = select.select(list(ends), [], [], 60)
    (lost,) = (ends[end] for end in ended)
    (won,) = (guest for guest in both if guest is not lost)
    for end in ends:
        os.close(end)
    assert lost.wait() == 4
    assert "error: guest web is running already" in lost.console
    assert "qemu-system" not in lost.console
    got_out(won)
    bench.end(won)


def test_a_tap_that_was_up_before_a_run_is_up_after_it(bench: Bench) -> None:
    bench.add("web", "")
    bench.render()
    bench.lab.run([f"{HOME}/scripts/web/ifup"], user="alice").check()
    guest = bench.run("web")
    guest.expect("guest: ready$")
    assert guest.poweroff() == 0
    assert [tap.name for tap in bench.lab.tapdraft().taps] == ["td-web"]
    bench.lab.run([f"{HOME}/scripts/web/ifdown"], user="alice").check()
    bench.lab.assert_no_residue(bench.before)


def test_who_is_in_no_section_gets_no_guest(bench: Bench) -> None:
    bench.lab.site.policy(
        "[user bob]\nsubnets = 192.168.7.0/24\ntaps = 1\nmodes = nat\nuplinks = *\n"
    )
    guest = bench.start("")
    assert guest.wait() == 3
    assert "error: " in guest.console
    assert "hint: " in guest.console
    assert "qemu-system" not in guest.console
    bench.lab.assert_no_residue(bench.before)
