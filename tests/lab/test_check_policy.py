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


def test_a_user_asks_for_the_guests_of_a_description(lab: Lab) -> None:
    before = lab.snapshot()
    text = '[guest.{}]\nkernel = "k"\n'
    lab.write("/home/alice/vm.toml", text.format("web"), owner="alice")
    said = lab.run(["tapdraft", "check", "--policy", "vm.toml"], user="alice").check().stdout
    assert "[group tapdraft]\n    subnets = 192.168.7.0/24\n" in said
    assert "up web 192.168.7.1/30 192.168.7.2 nat: permitted\n" in said
    lab.write(
        "/home/alice/vm.toml",
        '[network]\nsubnet = "10.1.0.0/24"\n' + text.format("web"),
        owner="alice",
    )
    said = lab.run(["tapdraft", "check", "--policy", "vm.toml"], user="alice").check(3).stdout
    assert "[group tapdraft] refuses it: 10.1.0.0/30 is in none of its subnets" in said
    said = lab.run(["tapdraft", "check", "--policy"], user="alice").check().stdout
    assert "permitted" not in said
    done = lab.run(["tapdraft", "check", "--policy"], user="mallory").check(4)
    assert "you are not in the group tapdraft" in done.stderr
    lab.assert_no_residue(before)


def test_a_section_that_permits_no_tap_is_told(lab: Lab) -> None:
    lab.site.policy("[group tapdraft]\ntaps = 4\nmodes = nat\n")
    said = lab.helper("--check-policy", user="root").check().stdout
    assert "warning: /etc/tapdraft/policy.conf:1: [group tapdraft]: it permits no tap" in said
    assert "as it has no subnets\n" in said
    lab.site.policy()


def test_a_user_without_a_name_is_told_so(lab: Lab) -> None:
    for words in (("--user",), ("--user=",)):
        said = lab.helper("--check-policy", *words, user="root").check(2).stderr
        assert "error: --user needs a name\n" in said


def test_an_address_for_a_network_is_answered_with_the_network(lab: Lab) -> None:
    lab.site.policy("[group tapdraft]\nsubnets = 192.168.7.1/24\n")
    said = lab.helper("--check-policy", user="root").check(4).stderr
    assert "did you mean 192.168.7.0/24?\n" in said
    assert "hint: correct this line as root, then: " in said
    lab.site.policy()


def test_a_policy_that_is_not_sound_is_an_error(lab: Lab) -> None:
    lab.site.policy("[group tapdraft]\nuplinks = eth*\n")
    said = lab.helper("--check-policy", user="root").check(4).stderr
    assert "error: /etc/tapdraft/policy.conf:2: uplinks: expected names of interfaces" in said
    lab.site.policy()


def test_root_does_nothing_else_by_it(lab: Lab) -> None:
    """It is without any privilege then, whatever stands beside the option."""
    for words in (("--check-policy", "--fd=3", *UP), ("--check-policy", "down", "--all")):
        lab.helper(*words, user="root")
        assert not lab.tapdraft().taps
    lab.helper(*UP, "--check-policy", user="root").check(4)
