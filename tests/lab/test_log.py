"""The audit log: one line for each decision and each result, for whoever may read authpriv."""

from labnet import Lab

WEB = ("up", "web", "192.168.7.1/30", "192.168.7.2")
AUTHPRIV_NOTICE, AUTHPRIV_WARNING = "<85>", "<84>"


def test_a_decision_and_a_result_are_logged_for_what_is_done(lab: Lab) -> None:
    lab.helper(*WEB).check()
    decision, result = lab.site.syslog.lines()
    assert decision.startswith(AUTHPRIV_NOTICE)
    assert 'decision=allow uid=61001 gid=61001 request="up web 192.168.7.1/30' in decision
    assert "[group tapdraft] permits it" in decision
    assert "result=done uid=61001" in result
    assert 'reason="td-web is up"' in result


def test_a_refusal_is_logged_as_a_warning(lab: Lab) -> None:
    lab.helper("up", "web", "10.0.0.1/30", "10.0.0.2").check(3)
    (line,) = lab.site.syslog.lines()
    assert line.startswith(AUTHPRIV_WARNING)
    assert "decision=refuse uid=61001" in line
    assert "10.0.0.0/30 is in none of its subnets" in line


def test_what_failed_is_logged_with_its_reason(lab: Lab) -> None:
    lab.helper(*WEB).check()
    lab.site.syslog.clear()
    lab.helper(*WEB, "mtu=1400").check(4)
    assert "result=failed" in lab.site.syslog.lines()[-1]
    assert "with different settings" in lab.site.syslog.lines()[-1]


def test_words_that_are_no_request_are_logged_without_repeating_what_was_sent(lab: Lab) -> None:
    lab.helper("up", "decision=allow").check(2)
    lab.helper("-", input="up decision=allow\nup decision=allow\n").check(2)
    by_argument, by_input = lab.site.syslog.lines()
    for line in (by_argument, by_input):
        assert line.startswith(AUTHPRIV_WARNING)
        assert 'decision=refuse uid=61001 gid=61001 request="" reason="malformed: ' in line
        assert "decision=allow" not in line


def test_asking_who_permits_what_changes_nothing_and_needs_no_capability(lab: Lab) -> None:
    before = lab.snapshot()
    said = lab.helper("--explain", *WEB).check().stdout
    assert "permitted" in said
    assert "/etc/tapdraft/policy.conf:1: [group tapdraft] permits it" in said
    said = lab.helper("--explain", *WEB, "forward=tcp:80:80").check(3).stdout
    assert "forward=tcp:80:80 is not among its forwards" in said
    lab.assert_no_residue(before)
