"""ping, ssh and --wait-for reach the guest's own tap and nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from labdhcp import PYTHON, ROOT
from labnet import Lab
from labrun import Namespace

HOME = "/home/alice"
WATCH = """
nft 'table inet watch {
    chain out { type filter hook output priority 0;
        ip daddr 192.168.7.2 oifname "eth0" counter; }; }'
"""
OPEN = (
    "from tapdraft.generator.commands import reach;"
    " print(reach.is_open('td-web', '192.168.7.2', {}))"
)


@pytest.fixture
def beside_a_stranger(lab: Lab) -> Lab:
    """A description whose guest's address somebody else has, behind the default route."""
    lab.run(["ip", "address", "add", "192.168.7.2/32", "dev", "lo"], netns="outside").check()
    lab.serve("192.168.7.2")
    lab.write(f"{HOME}/vm.toml", '[guest.web]\ndisk = "d"\n', owner="alice")
    assert lab.ping("192.168.7.2")
    lab.run(["sh", "-ec", WATCH]).check()
    return lab


def sent(lab: Lab) -> int:
    """The packets to the guest's address that left by the uplink."""
    ruleset = lab.run(["nft", "list", "table", "inet", "watch"]).check().stdout
    match = re.search(r"counter packets (\d+)", ruleset)
    assert match
    return int(match[1])


def is_open(lab: Lab, port: int) -> str:
    program = lab.run(["sh", "-c", "cat $(command -v tapdraft)"]).check().stdout
    folder = re.search(r'path\.insert\(0, "([^"]*)"\)', program)
    assert folder
    env = {"PYTHONPATH": folder[1]}
    argv = [PYTHON, "-c", OPEN.format(port)]
    return lab.run(argv, user="alice", env=env).check().stdout.strip()


SHELL = "tapdraft ssh vm.toml web true"


@pytest.mark.parametrize("pings", ["0 2147483647", "1 0"])
@pytest.mark.parametrize("tap", ["none", "down", "nobody on it"])
def test_no_packet_goes_to_a_stranger_with_the_guests_address(
    beside_a_stranger: Lab, tap: str, pings: str
) -> None:
    lab = beside_a_stranger
    lab.run(["sysctl", "-qw", f"net.ipv4.ping_group_range={pings}"]).check()
    if tap != "none":
        lab.run(["tapdraft", "up", "vm.toml"], user="alice", cwd=HOME).check()
    if tap == "down":
        lab.run(["ip", "link", "set", "td-web", "down"]).check()
    known = lab.site.path(f"{HOME}/.local/state/tapdraft")
    keys = {path: path.read_bytes() for path in known.rglob("*") if path.is_file()}
    words = ["tapdraft", "ping", "--timeout=1", "vm.toml", "web"]
    pinged = lab.run(words, user="alice", cwd=HOME)
    assert pinged.status in (1, 4), pinged.stderr
    assert "\nhint: " in pinged.stderr
    done = lab.run(["timeout", "5", *SHELL.split()], user="alice", cwd=HOME)
    assert done.status != 0
    assert is_open(lab, 80) == "False"
    assert sent(lab) == 0
    assert {path: path.read_bytes() for path in known.rglob("*") if path.is_file()} == keys


def test_ssh_and_ping_say_that_the_guest_is_not_running(beside_a_stranger: Lab) -> None:
    for words in (SHELL.split(), ["tapdraft", "ping", "--timeout=1", "vm.toml", "web"]):
        done = beside_a_stranger.run(words, user="alice", cwd=HOME).check(4)
        assert done.stderr.endswith(
            "error: td-web does not exist: guest web is not running\n"
            "hint: tapdraft run vm.toml web\n"
        )


def test_another_users_tap_of_that_name_is_not_the_guests(beside_a_stranger: Lab) -> None:
    lab = beside_a_stranger
    made = "ip tuntap add dev td-web mode tap user bob; ip link set dev td-web group 29699 up alias"
    up = "192.168.7.1/30"
    alias = "tapdraft 1 uid=61002 guest=web"
    lab.run(["sh", "-ec", f"{made} '{alias}'; ip address add {up} dev td-web"]).check()
    for words in (SHELL.split(), ["tapdraft", "ping", "vm.toml", "web"]):
        done = lab.run(words, user="alice", cwd=HOME).check(4)
        assert "error: td-web belongs to the user 61002\nhint: give guest web" in done.stderr


@pytest.fixture
def guest(beside_a_stranger: Lab) -> Iterator[Namespace]:
    """A network namespace that is the guest on the other end of the tap."""
    lab = beside_a_stranger
    lab.run(["tapdraft", "up", "vm.toml"], user="alice", cwd=HOME).check()
    space = Namespace(["unshare", "--net"], "")
    pump = lab.write("/run/labpump.py", (ROOT / "tests/lab/labpump.py").read_text())
    wire = lab.start([PYTHON, pump, "td-web", f"/proc/{space.pid}/ns/net", "eth0"])
    wire.expect("^carrying$", 20)
    setup = "ip link set eth0 up; ip address add 192.168.7.2/30 dev eth0"
    space.run(["sh", "-ec", setup]).check()
    yield space
    space.close()


@pytest.mark.parametrize("pings", ["0 2147483647", "1 0"])
def test_the_guest_on_the_tap_answers_in_the_strangers_stead(
    guest: Namespace, beside_a_stranger: Lab, pings: str
) -> None:
    lab = beside_a_stranger
    lab.run(["sysctl", "-qw", f"net.ipv4.ping_group_range={pings}"]).check()
    words = ["tapdraft", "ping", "--timeout=20", "vm.toml", "web"]
    pinged = lab.run(words, user="alice", cwd=HOME).check()
    assert pinged.stdout.startswith("web (192.168.7.2) answers after ")
    # Only the stranger has a web server.
    assert is_open(lab, 80) == "False"
    assert sent(lab) == 0
