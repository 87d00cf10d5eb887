"""Many at once: nobody gets what another has, and everybody gets an answer."""

from __future__ import annotations

import json

from labnet import Lab
from labsite import HELPER

EACH = 25
# Starts one helper a line, all at once, and tells each one's status when all have ended.
STARTER = f"""
while read -r line; do
    (
        answer=$({HELPER} $line 2>&1)
        echo $? $answer
    ) &
done
wait
"""


def ask(lab: Lab, lines: dict[str, list[str]]) -> dict[str, list[str]]:
    """What each user's helpers answered, all of them started at about the same moment."""
    for user, requests in lines.items():
        lab.write(f"/home/{user}/requests", "\n".join(requests) + "\n", owner=user)
    started = {
        user: lab.start(
            ["sh", "-c", f"exec < /home/{user}/requests\n{STARTER}", "sh", user], user=user
        )
        for user in lines
    }
    for process in started.values():
        process.wait(60)
    return {user: process.console.splitlines() for user, process in started.items()}


def up(name: str, number: int) -> str:
    return f"up {name} 192.168.7.{4 * number + 1}/30 192.168.7.{4 * number + 2} nat"


def assert_clear(answers: list[str]) -> None:
    """Each ended in a tap or a refusal that says what is in the way."""
    assert len(answers) == EACH
    for answer in answers:
        status, _, words = answer.partition(" ")
        assert (status == "0" and words.startswith("td-")) or (
            status in "34" and words.startswith("error: ")
        ), answer


def test_of_fifty_ups_by_two_users_no_two_share_a_name_or_an_address(lab: Lab) -> None:
    """Both want the same names on the same networks, and others besides."""
    policy = "[group tapdraft]\nsubnets = 192.168.7.0/24\ntaps = 40\nmodes = nat\nuplinks = *\n"
    lab.site.policy(policy)
    before = lab.snapshot()
    answers = ask(
        lab,
        {
            "alice": [up(f"g{n}", n) for n in range(EACH)],
            "bob": [up(f"g{n}", n + n % 2 * 30) for n in range(EACH)],
        },
    )
    for told in answers.values():
        assert_clear(told)
    taps = lab.tapdraft().taps
    done = [line for told in answers.values() for line in told if line.startswith("0 ")]
    assert len(done) == len(taps) >= EACH
    addresses = [address for tap in taps for address in tap.addresses]
    assert len(set(addresses)) == len(addresses) == len(taps)
    routes = json.loads(lab.run(["ip", "-j", "route"]).check().stdout)
    networks = [route["dst"] for route in routes if route["dev"].startswith("td-")]
    assert len(set(networks)) == len(networks) == len(taps)
    for user in ("alice", "bob"):
        lab.helper("down", "--all", user=user).check()
    lab.assert_no_residue(before)


def test_ups_and_downs_at_once_leave_what_was_asked_for_last(lab: Lab) -> None:
    """One user's taps come while the other's go; the table stays as long as there is one."""
    before = lab.snapshot()
    for number in range(8):
        lab.helper(*up(f"b{number}", number).split(), user="bob").check()
    answers = ask(
        lab,
        {
            "alice": [up(f"a{n}", n + 20) for n in range(8)],
            "bob": [f"down b{n}" for n in range(8)],
        },
    )
    assert all(line.startswith("0 td-") for told in answers.values() for line in told)
    state = lab.tapdraft()
    assert {tap.name for tap in state.taps} == {f"td-a{n}" for n in range(8)}
    assert "masquerade" in state.table
    assert state.forwarding["eth0"] == 1
    lab.helper("down", "--all").check()
    lab.assert_no_residue(before)
