"""SIGKILL at every system call: `down` clears what is left, and nothing is left after it."""

from __future__ import annotations

import itertools

from labnet import Lab
from labsite import HELPER
from tracing import Call, Traced, opens_netlink

BOTH = ("up", "web", "192.168.7.1/32", "192.168.7.2", "nat", "forward=tcp:8080:80", "queues=2")


# Calls that leave the kernel as it is: killed before one is killed before what follows it.
PURE = {
    "mmap",
    "munmap",
    "mprotect",
    "brk",
    "madvise",
    "read",
    "lseek",
    "newfstatat",
    "fstat",
    "stat",
    "getpid",
    "rt_sigaction",
    "rt_sigprocmask",
    "clock_gettime",
    "getdents64",
    "readlink",
    "fcntl",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "capget",
    "prctl",
    "futex",
    "getrandom",
}


def at_change(call: Call) -> bool:
    return call.name not in PURE


def glance(lab: Lab) -> list[str]:
    """What there is of links, rules and forwarding; the whole host is compared at the end."""
    script = "ls /sys/class/net; nft -s list ruleset; cat /proc/sys/net/ipv4/conf/eth0/forwarding"
    return lab.run(["sh", "-c", script]).check().stdout.splitlines()


def test_an_up_killed_at_any_system_call_is_cleared_by_down(target: Lab) -> None:
    """From the first that needs the capability to the last, while another user's tap is there."""
    target.helper("up", "bobs", "192.168.7.9/30", "192.168.7.10", user="bob").check()
    before = glance(target)
    for number in itertools.count(1):
        traced = Traced(target, (HELPER, *BOTH))
        traced.run_to(opens_netlink)
        if traced.find(at_change, number) is None:
            break
        where = f"killed before change {number}, {traced.call}"
        traced.kill()
        target.helper("down", "--all").check()
        assert glance(target) == before, where
    assert number > 50, "most were not tried"
    target.helper("down", "--all").check()
    target.helper("down", "--all", user="bob").check()


def test_the_first_up_killed_as_it_makes_the_table_is_cleared_by_down(target: Lab) -> None:
    """With nobody else's tap: the table, the uplink and its forwarding come and go with it."""
    before = glance(target)
    for number in itertools.count(1):
        traced = Traced(target, (HELPER, *BOTH))
        traced.run_to(lambda call: call.name == "setsockopt")
        if traced.find(at_change, number) is None:
            break
        traced.kill()
        target.helper("down", "--all").check()
        assert glance(target) == before, f"killed before change {number}, {traced.call}"
    target.helper("down", "--all").check()


def test_an_up_killed_before_it_holds_anything_changes_nothing(target: Lab) -> None:
    """The launcher's and Python's own start: every fortieth of their system calls."""
    before = glance(target)
    traced = Traced(target, (HELPER, *BOTH))
    steps = 1
    while (call := traced.step()) is not None and not opens_netlink(call):
        steps += 1
    traced.kill()
    for number in range(1, steps, 80):
        traced = Traced(target, (HELPER, *BOTH))
        traced.step(number)
        traced.kill()
        assert glance(target) == before, f"killed at step {number}, {traced.call}"


def test_a_down_killed_at_any_system_call_is_finished_by_the_next(target: Lab) -> None:
    """While another user's tap is there, which must stay as it is."""
    target.helper("up", "bobs", "192.168.7.9/30", "192.168.7.10", user="bob").check()
    before = target.snapshot()
    for number in itertools.count(1):
        for name, first in (("web", 1), ("two", 5)):
            target.helper(
                "up",
                name,
                f"192.168.7.{first}/30",
                f"192.168.7.{first + 1}",
                f"forward=tcp:{8000 + first}:80",
            ).check()
        traced = Traced(target, (HELPER, "down", "--all"))
        traced.run_to(opens_netlink)
        if traced.find(at_change, number) is None:
            break
        traced.kill()
        target.helper("down", "--all").check()
        found = before.diff(target.snapshot())
        assert not found, f"killed before change {number}, {traced.call}\n{found}"
    assert number > 20, "most were not tried"
    target.helper("down", "--all", user="bob").check()
