"""Somebody removes all of nftables' rules, tapdraft's too, while taps are up."""

from labnet import Lab

WEB = ("up", "web", "192.168.7.1/30", "192.168.7.2")


def test_a_tap_without_its_ruleset_is_not_called_up_until_it_is_made_anew(lab: Lab) -> None:
    lab.helper(*WEB, user="alice").check()
    lab.run(["nft", "flush", "ruleset"]).check()
    assert "removed its ruleset" in lab.helper(*WEB, user="alice").check(4).stderr
    lab.helper("down", "web", user="alice").check()
    lab.helper(*WEB, user="alice").check()
    assert lab.tapdraft().table


def test_the_taps_of_a_flushed_host_can_be_taken_down(lab: Lab) -> None:
    before = lab.snapshot()
    lab.helper(*WEB, user="alice").check()
    lab.run(["nft", "flush", "ruleset"]).check()
    lab.helper("down", "--all", user="alice").check()
    # What it was before went with the table: SECURITY.md says so.
    lab.run(["sysctl", "-q", "-w", "net.ipv4.conf.eth0.forwarding=0"]).check()
    lab.assert_no_residue(before)
