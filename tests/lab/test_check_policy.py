"""An administrator, or a user, asks what the policy permits."""

from __future__ import annotations

import pytest
from labnet import Lab
from labsite import DEFAULT_POLICY

UP = ("up", "web", "192.168.7.1/30", "192.168.7.2")
MALLORY = "[user gone]\ndeny = yes\n"


@pytest.mark.parametrize("user", ["root", "alice"])
def test_the_sections_and_names_that_nobody_has_are_told(lab: Lab, user: str) -> None:
    lab.site.policy(DEFAULT_POLICY + MALLORY)
    said = lab.helper("--check-policy", user=user).check().stdout
    assert "/etc/tapdraft/policy.conf: sound, sections: 2\n" in said
    assert "[user gone]: there is no such user, so the section names nobody" in said
    assert "[group tapdraft]\n    subnets = 192.168.7.0/24\n" in said
    lab.site.policy()


def test_root_asks_for_somebody(lab: Lab) -> None:
    before = lab.snapshot()
    ask = ("--check-policy", "--user", "alice")
    said = lab.helper(*ask, *UP, user="root").check().stdout
    assert "192.168.7.2: permitted\n" in said
    said = lab.helper(*ask, "up", "web", "10.0.0.1/30", "10.0.0.2", user="root").check(3).stdout
    assert "10.0.0.0/30 is in none of its subnets" in said
    said = lab.helper("--check-policy", "--user=mallory", user="root").check(3).stdout
    assert "refused: no section of /etc/tapdraft/policy.conf names the caller" in said
    unknown = lab.helper("--check-policy", "--user=x", user="root").check(2)
    assert "there is no user 'x'" in unknown.stderr
    lab.assert_no_residue(before)


def test_a_policy_that_is_not_sound_is_an_error(lab: Lab) -> None:
    lab.site.policy("[group tapdraft]\nuplinks = eth*\n")
    said = lab.helper("--check-policy", user="root").check(4).stderr
    assert "error: /etc/tapdraft/policy.conf:2: uplinks = 'eth*': expected names" in said
    lab.site.policy()


def test_root_does_nothing_else_by_it(lab: Lab) -> None:
    """It is without any privilege then, whatever stands beside the option."""
    for words in (("--check-policy", "--fd=3", *UP), ("--check-policy", "down", "--all")):
        lab.helper(*words, user="root")
        assert not lab.tapdraft().taps
    lab.helper(*UP, "--check-policy", user="root").check(4)
