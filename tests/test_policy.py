"""The policy: who may request what, as configured; and that a doubtful file permits nothing."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tapdraft.helper import policy
from tapdraft.helper.caller import Caller
from tapdraft.helper.errors import InTheWay
from tapdraft.helper.request import parse
from tapdraft.helper.state import State

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name
ALL = (
    "subnets = 192.168.7.0/24\ntaps = 2\nmodes = nat, isolated\n"
    "forwards = tcp:1024-65535\nuplinks = eth0\nhost = closed\n"
)
Load = Callable[[str], list[policy.Section]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Load a policy from its text, as if root had written it to a safe place."""

    def from_text(text: str) -> list[policy.Section]:
        monkeypatch.setattr(policy, "_read", lambda _path: text)
        return policy.load()

    return from_text


class Decision(NamedTuple):
    permitted: bool
    reason: str


def decide(sections: list[policy.Section], line: str) -> Decision:
    caller = Caller(os.getuid(), (os.getgid(),), holder=False)
    ((_, *decision),) = policy.decisions(sections, [parse(line)], caller, None)
    return Decision(*decision)


UP = "up web 192.168.7.1/30 192.168.7.2"


def test_what_a_section_permits_is_permitted_and_the_section_named(load: Load) -> None:
    sections = load(f"# ours\n[user {USER}]\n{ALL}")
    decision = decide(sections, f"{UP} uplink=eth0 forward=tcp:8080:80")
    assert decision == (True, f"{policy.PATH}:2: [user {USER}] permits it")


def test_a_group_of_the_callers_counts(load: Load) -> None:
    assert decide(load(f"[group {GROUP}]\n{ALL}"), UP).permitted


@pytest.mark.parametrize(
    ("words", "objection"),
    [
        (f"{UP} routed", "mode routed"),
        (f"{UP} host=open", "host=open"),
        (f"{UP} forward=tcp:80:80", "forward=tcp:80:80"),
        (f"{UP} forward=udp:8080:80", "forward=udp:8080:80"),
        (f"{UP} uplink=wlan0", "uplink=wlan0"),
        ("up web 192.168.8.1/30 192.168.8.2", "192.168.8.0/30"),
        ("up web 192.168.7.1/16 192.168.7.2", "192.168.0.0/16"),
        ("up web 192.168.7.1/32 192.168.8.2", "192.168.8.2/32"),
    ],
)
def test_what_is_not_permitted_is_refused_and_named(load: Load, words: str, objection: str) -> None:
    decision = decide(load(f"[user {USER}]\n{ALL}"), words)
    assert not decision.permitted
    assert objection in decision.reason


WIDE = (
    "subnets = 192.168.7.0/24\ntaps = 2\nmodes = nat\nhost = open\n"
    "forwards = tcp:1024-2048, udp:53\nuplinks = *, fifteenletters1\n"
)


@pytest.mark.parametrize(
    ("words", "permitted"),
    [
        ("host=open", True),
        ("uplink=wlan0", True),
        ("forward=tcp:1023:80", False),
        ("forward=tcp:1024:80", True),
        ("forward=tcp:2048:80", True),
        ("forward=tcp:2049:80", False),
        ("forward=udp:52:1", False),
        ("forward=udp:53:1", True),
        ("forward=udp:54:1", False),
    ],
)
def test_a_section_permits_up_to_its_bounds_and_no_further(
    load: Load, words: str, permitted: bool
) -> None:
    assert decide(load(f"[user {USER}]\n{WIDE}"), f"{UP} {words}").permitted == permitted


def test_blanks_tabs_comments_and_empty_lines_mean_nothing(load: Load) -> None:
    text = f"\n# [user nobody]\n\t# see [1]\n \t[user {USER}]\t\n"
    text += WIDE.replace(" = ", "\t=\t").replace("\n", " \n\n")
    assert load(text) == [load(f"[user {USER}]\n{WIDE}")[0]._replace(line=4)]


def test_a_section_names_users_or_groups_and_never_the_other_kind(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    users, groups = {"me": user}, {"us": group}
    monkeypatch.setattr(pwd, "getpwnam", users.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", groups.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)
    for title, permitted in (
        ("user me", True),
        ("group us", True),
        ("user us", False),
        ("group me", False),
    ):
        assert decide(load(f"[{title}]\n{ALL}"), UP).permitted == permitted


def test_an_empty_section_permits_no_up(load: Load) -> None:
    assert not decide(load(f"[user {USER}]\n"), UP).permitted


def test_one_deny_refuses_whatever_else_permits(load: Load) -> None:
    sections = load(f"[group {GROUP}]\n{ALL}[user {USER}]\ndeny = yes\n")
    assert not decide(sections, UP).permitted
    assert not decide(sections, "down web").permitted


def test_a_deny_that_says_no_refuses_nobody(load: Load) -> None:
    assert decide(load(f"[user {USER}]\ndeny = no\n{ALL}"), UP).permitted


@pytest.mark.parametrize(("text", "permitted"), [(ALL, True), (ALL.replace("taps = 2", ""), False)])
def test_a_section_permits_no_tap_where_it_does_not_say_how_many(
    load: Load, text: str, permitted: bool
) -> None:
    caller = Caller(os.getuid(), (os.getgid(),), holder=False)
    here = State({}, {}, {}, {}, (), False, {}, ())
    request = parse(f"{UP} isolated")
    ((_, *decision),) = policy.decisions(load(f"[user {USER}]\n{text}"), [request], caller, here)
    assert decision[0] == permitted


def test_one_section_has_to_permit_the_whole_request(load: Load) -> None:
    halves = (
        f"[user {USER}]\nsubnets = 192.168.7.0/24\ntaps = 2\nmodes = nat\n"
        f"[group {GROUP}]\nsubnets = 192.168.7.0/24\ntaps = 2\nmodes = nat, isolated\n"
        "forwards = tcp:1-65535\n"
    )
    assert decide(load(halves), UP).permitted
    assert not decide(
        load(halves.replace("nat, isolated", "isolated")), f"{UP} forward=tcp:80:80"
    ).permitted


def test_a_caller_in_no_section_may_not_even_take_down(load: Load) -> None:
    decision = decide(load("[user somebody-else]\n" + ALL), "down web")
    assert decision == (False, f"no section of {policy.PATH} names the caller")


def test_a_denied_name_that_nobody_has_denies_nobody(load: Load) -> None:
    for title in ("user nobody-knows-me", "group nobody-knows-me"):
        sections = load(f"[user {USER}]\n{ALL}[{title}]\ndeny = yes\n")
        assert decide(sections, UP).permitted


def test_a_group_without_a_name_may_be_a_denied_one_that_cannot_be_looked_up(load: Load) -> None:
    """As where the caller is known here, and its groups only to a name service that is down."""
    sections = load(f"[user {USER}]\n{ALL}[group students]\ndeny = yes\n")
    caller = Caller(os.getuid(), (os.getgid(), 61777), holder=False)
    ((_, permitted, reason),) = policy.decisions(sections, [parse(UP)], caller, None)
    assert not permitted
    assert "[group students] denies everything" in reason


@pytest.mark.parametrize("uid", [61999, 65534])
def test_a_uid_without_a_name_is_refused_whatever_its_groups_are(load: Load, uid: int) -> None:
    sections = load(f"[group {GROUP}]\n{ALL}")
    caller = Caller(uid, (os.getgid(),), holder=False)
    for line in (UP, "down web"):
        ((_, permitted, reason),) = policy.decisions(sections, [parse(line)], caller, None)
        assert (permitted, reason) == (
            False,
            f"the name service knows no uid {uid}, and the policy is about names",
        )


@pytest.mark.parametrize(
    "text",
    [
        "subnets = 192.168.7.0/24\n",
        "[everybody]\n",
        "[user ]\n",
        "[host a]\n",
        "[user a]\ncolour = red\n",
        "[user a]\ntaps = many\n",
        "[user a]\ntaps = -1\n",
        "[user a]\nsubnets = 192.168.7.1/24\n",
        "[user a]\nsubnets = everything\n",
        "[user a]\nmodes = bridged\n",
        "[user a]\nhost = ajar\n",
        "[user a]\ndeny = maybe\n",
        "[user a]\ndeny =\n",
        "[user a]\ndeny\n",
        "[user a]\ndeny = no, yes\n",
        "[user a]\nhost = open, closed\n",
        "[user a]\ntaps = 1, 2\n",
        "[user a]\nmodes\n",
        "[user a]\nforwards = tcp:9-1\n",
        "[user a]\nforwards = tcp:9-8\n",
        "[user a]\nforwards = tcp:1024-\n",
        "[user a]\nforwards = tcp:1-65536\n",
        "[user a]\nforwards = sctp:1-2\n",
        "[user a]\nforwards = tcp:0-9\n",
        "[user a]\nforwards = tcp:\n",
        "[user a]\ntaps = \u0663\n",
        "[user a]\ntaps = 100000\n",
        "[user a]\nuplinks = eth0 eth1\n",
        "[user a]\nuplinks = eth0, sixteenletters16\n",
        "[user a]\nname = b\n",
        "[user a]\ntaps = 1\ntaps = 2\n",
        "[user a]\n[user a]\n",
        "[user a\n",
        "[user a]\nhost = closed\x00\n",
        "\ufeff[user a]\n",
    ],
)
def test_a_mistake_in_the_policy_stops_everybody_and_is_named(load: Load, text: str) -> None:
    with pytest.raises(InTheWay) as error:
        load(text)
    last = text.count("\n")  # each of them is about its last line
    assert str(error.value).startswith(f"{policy.PATH}:{last}: ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("uplinks = eth*", "names of interfaces [(]no patterns[)], or [*] alone for all"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(load: Load, line: str, said: str) -> None:
    with pytest.raises(InTheWay, match=said):
        load(f"[user a]\n{line}\n")


def test_a_missing_policy_permits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InTheWay, match="No such file"):
        policy.load("/etc/no-such-folder/policy.conf")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("taps = 16 # note", "taps: '16 # note' has a comment, which needs a line of its own"),
        ("taps = 100000", "taps: 100000 is too large (0 to 99999)"),
        ("taps = many", "taps: expected a number from 0 to 99999, not 'many'"),
        ("modes = all", "modes: expected some of nat, routed, isolated, not 'all'"),
        ("tap = 1", "unknown key 'tap'; keys: deny, host, taps, "),
        ("taps: 1", "'taps: 1' is not KEY = VALUE"),
    ],
)
def test_a_mistake_in_the_policy_is_told_with_what_was_expected(
    line: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "_read", lambda _: f"[group tapdraft]\n{line}\n")
    with pytest.raises(InTheWay) as caught:
        policy.load()
    assert str(caught.value).startswith(f"{policy.PATH}:2: {said}")
