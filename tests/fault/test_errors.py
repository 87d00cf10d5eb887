"""Whatever the kernel refuses, the state afterwards is the one before."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from attacker import UP
from labnet import PYTHON, Lab
from labrun import Result
from labsite import HELPER
from labstate import Snapshot

# All that an `up` can do: a route beside the address, two uplinks, forwards, several queues.
EVERYTHING = (
    "up",
    "web",
    "192.168.7.1/32",
    "192.168.7.2",
    "nat",
    "uplink=eth0",
    "uplink=eth1",
    "forward=tcp:8080:80",
    "forward=udp:5353:53",
    "queues=2",
    "mtu=1400",
)
ERRORS = ("ENOMEM", "EBUSY", "EPERM", "ENOBUFS")
NO_MORE = 77


def run(lab: Lab, *words: str) -> Result:
    script = lab.site.write("/tmp/faulty.py", (Path(__file__).parent / "faulty.py").read_text())
    return lab.run([PYTHON, "-I", script, *words])


def assert_undone(lab: Lab, before: Snapshot, done: Result) -> None:
    """Exit status 1, an error that a person can read, and no trace."""
    assert done.status == 1, str(done)
    assert done.stdout == ""
    assert re.match(r"error: [a-z0-9 ./-]+: [A-Z][a-z ]+\n", done.stderr), done.stderr
    assert "internal error" not in done.stderr
    assert "Uplink(" not in done.stderr
    assert " :" not in done.stderr
    residue = before.diff(lab.snapshot())
    assert not residue, f"{done}\n{residue}"


@pytest.mark.parametrize("kind", ["request", "answer", "ioctl"])
@pytest.mark.parametrize("error", ERRORS)
def test_an_up_that_is_refused_anywhere_leaves_nothing(target: Lab, kind: str, error: str) -> None:
    """Each netlink request and ioctl in turn; or it is carried out and only the answer is lost."""
    before = target.snapshot()
    for number in itertools.count(1):
        done = run(target, kind, str(number), error, *EVERYTHING)
        if done.status == NO_MORE:
            break
        assert_undone(target, before, done)
    assert number > {"request": 10, "answer": 10, "ioctl": 3}[kind]
    target.run([PYTHON, "-I", "/tmp/faulty.py", "none", "0", "EPERM", "down", "--all"]).check()


@pytest.mark.parametrize(("error", "status"), [("EINVAL", 0), ("EOPNOTSUPP", 0), ("EPERM", 1)])
def test_a_kernel_that_keeps_its_connections_to_itself_is_no_reason_to_refuse(
    target: Lab, error: str, status: int
) -> None:
    """It was built without nfnetlink for them. Any other answer is one."""
    target.helper("up", "bobs", "192.168.7.9/30", "192.168.7.10", user="bob").check()
    # The ruleset of the tap has the kernel track this.
    send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
    target.run([PYTHON, "-I", "-c", send]).check()
    assert run(target, "connections", "1", error, *EVERYTHING).status == status
    target.run([PYTHON, "-I", "/tmp/faulty.py", "none", "0", "EPERM", "down", "--all"]).check()
    target.helper("down", "--all", user="bob").check()


@pytest.mark.parametrize("kind", ["request", "answer"])
def test_an_up_that_is_refused_takes_back_its_own_ways_out_only(target: Lab, kind: str) -> None:
    """Another's tap is there: the table stays, with what was there, and nothing else."""
    bobs = ("up", "bobs", "192.168.7.9/30", "192.168.7.10", "uplink=eth0")
    target.helper(*bobs, user="bob").check()
    before = target.snapshot()
    for number in itertools.count(1):
        done = run(target, kind, str(number), "ENOMEM", *EVERYTHING)
        if done.status == NO_MORE:
            break
        assert_undone(target, before, done)
    assert number > 10
    target.run([PYTHON, "-I", "/tmp/faulty.py", "none", "0", "EPERM", "down", "--all"]).check()
    target.helper("down", "bobs", user="bob").check()


@pytest.mark.parametrize("error", ["ENOMEM", "EPERM"])
def test_a_down_that_is_refused_anywhere_can_be_repeated(target: Lab, error: str) -> None:
    """It takes down what it can, says what it could not, and the next one finds the rest."""
    before = target.snapshot()
    tried = False
    for number in itertools.count(1):
        run(target, "none", "0", error, *EVERYTHING).check()
        done = run(target, "request", str(number), error, "down", "--all")
        if done.status == NO_MORE:
            break
        assert done.status == 1, str(done)
        assert done.stderr.startswith("error: ")
        if done.stderr.startswith("error: remove forward"):
            tried = target.tapdraft().taps == ()
        run(target, "none", "0", error, "down", "--all").check()
        target.assert_no_residue(before)
    assert number > 5
    assert tried, "a forward that stayed kept the tap"


def test_a_down_that_is_refused_anywhere_leaves_no_tap_without_its_rules(target: Lab) -> None:
    """Or its guest would reach the host and all that this routes to."""
    for number in itertools.count(1):
        for name, first in (("web", 1), ("two", 5)):
            words = ("up", name, f"192.168.7.{first}/30", f"192.168.7.{first + 1}")
            run(target, "none", "0", "ENOMEM", *words).check()
        done = run(target, "request", str(number), "ENOMEM", "down", "--all")
        there = target.tapdraft()
        assert there.table or not any(tap.up for tap in there.taps), f"request {number}: {done}"
        run(target, "none", "0", "ENOMEM", "down", "--all").check()
        if done.status == NO_MORE:
            break
    assert number > 8


# The system calls by which an `up` changes something, with an error that each may have.
CALLS = [
    ("ioctl", "ENOMEM"),
    ("openat", "EMFILE"),
    ("write", "EPERM"),
    ("sendto", "ENOBUFS"),
    ("setsockopt", "EPERM"),
    ("socket", "ENFILE"),
    ("bind", "EACCES"),
]


@pytest.mark.parametrize(("call", "error"), CALLS)
def test_a_system_call_that_fails_in_the_installed_helper_leaves_nothing(
    target: Lab, call: str, error: str
) -> None:
    """The same from outside, by strace, with all of the confinement on."""
    before = target.snapshot()
    # Of the files that are opened, only the last ones have to do with taps.
    total = int(
        target.run(
            [
                "sh",
                "-c",
                f"strace -qq -u alice -e trace={call} {HELPER} {' '.join(UP)} "
                f"2>&1 | grep -c '^{call}('",
            ]
        ).stdout
    )
    target.helper("down", "--all").check()
    target.site.syslog.clear()
    for number in range(max(1, total - 24), total + 1):
        done = target.run(
            [
                "strace",
                "-qq",
                "-u",
                "alice",
                "-o",
                "/dev/null",
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:error={error}:when={number}",
                HELPER,
                *UP,
            ]
        )
        assert "Traceback" not in done.stderr
        # Only the log, the last line, or the last look at /proc/self/status can fail with it done.
        if done.status == 0 or target.site.logged("result=done"):
            assert [tap.name for tap in target.tapdraft().taps] == ["td-web"], (number, done)
            target.helper("down", "--all").check()
        target.site.syslog.clear()
        assert done.status in (0, 1, 3, 4), str(done)
        residue = before.diff(target.snapshot())
        assert not residue, f"{call} {number}: {done}\n{residue}"
