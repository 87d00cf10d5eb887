"""Many requests at the same moment, by two users, for names and addresses that clash."""

from __future__ import annotations

import subprocess
from ipaddress import ip_interface

from labnet import Lab
from labsite import DEFAULT_POLICY

USERS = ("alice", "bob")


def request(number: int) -> list[str]:
    """The words of one request: names repeat after 35, addresses after 41."""
    host = 4 * (number % 41) + 1
    return ["up", f"g{number % 35}", f"192.168.7.{host}/30", f"192.168.7.{host + 1}"]


def at_once(lab: Lab, count: int) -> list[tuple[str, list[str], int, str]]:
    """Start `count` helpers before any is waited for; user, words, status and errors of each."""
    started = []
    for number in range(count):
        user, words = USERS[number % 2], request(number)
        argv = lab.host.argv([lab.site.helper, *words], user)
        started.append(
            (
                user,
                words,
                subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
        )
    found = []
    for user, words, process in started:
        errors = process.communicate(timeout=120)[1]
        found.append((user, words, process.returncode, errors))
    return found


def test_fifty_at_once_share_no_name_and_no_address(lab: Lab) -> None:
    lab.site.policy(DEFAULT_POLICY.replace("taps     = 16", "taps     = 50"))
    before = lab.snapshot()
    found = at_once(lab, 50)
    done = {(user, *words[1:3]) for user, words, status, _ in found if status == 0}
    for user, words, status, errors in found:
        assert status in (0, 1, 3, 4), errors
        if status:
            assert errors.startswith("error: "), (user, words, errors)
            assert "Traceback" not in errors
    taps = lab.tapdraft().taps
    networks = [ip_interface(address).network for tap in taps for address in tap.addresses]
    assert len(taps) >= 20
    assert len(networks) == len(taps) == len(set(networks)) == len(done)
    names = {str(lab.site.users[user]): user for user in USERS}
    made = {
        (names[tap.alias.split("uid=")[1].split()[0]], tap.name[3:], tap.addresses[0])
        for tap in taps
    }
    assert made == done
    for user in USERS:
        lab.helper("down", "--all", user=user).check()
    lab.assert_no_residue(before)


def test_fifty_at_once_stay_within_the_quota(lab: Lab) -> None:
    lab.site.policy(DEFAULT_POLICY.replace("taps     = 16", "taps     = 5"))
    found = at_once(lab, 50)
    owners = [tap.alias.split("uid=")[1].split()[0] for tap in lab.tapdraft().taps]
    assert sorted(owners) == ["61001"] * 5 + ["61002"] * 5
    assert {status for *_, status, _ in found} <= {0, 1, 3, 4}


def test_downs_among_the_ups_leave_a_consistent_host(lab: Lab) -> None:
    before = lab.snapshot()
    argv = lab.host.argv([lab.site.helper, "down", "--all"], "alice")
    downs = [
        subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(5)
    ]
    at_once(lab, 20)
    for process in downs:
        process.communicate(timeout=60)
        assert process.returncode == 0
    state = lab.tapdraft()
    assert ("table inet tapdraft" in state.table) == bool(state.taps)
    for user in USERS:
        lab.helper("down", "--all", user=user).check()
    lab.assert_no_residue(before)
