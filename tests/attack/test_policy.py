"""Policy"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attacker import UP, assert_refused, assert_up, attack, take_down
from labnet import PYTHON, Lab
from labsite import DEFAULT_POLICY, GROUP, HELPER, POLICY
from tracing import Call, Traced, opens_netlink

REFUSED, IN_THE_WAY = 3, 4
FOLDER = "/etc/tapdraft"
BIND = "/usr/bin/python3 -c 'import socket, sys; socket.socket(1).bind(sys.argv[1])'"


@contextmanager
def changed(lab: Lab, command: str, back: str) -> Iterator[None]:
    """Something about the policy is changed as root, and put back."""
    lab.run(["sh", "-ec", command]).check()
    try:
        yield
    finally:
        lab.run(["sh", "-ec", back]).check()


def refuses_to_run(lab: Lab, error: str) -> None:
    """Whatever is asked: a doubtful policy permits nothing, and `down` is no exception."""
    for words in (UP, ("down", "--all"), ("--explain", *UP)):
        assert_refused(lab.helper(*words), IN_THE_WAY, error)


@pytest.mark.parametrize(
    ("command", "back"),
    [
        (f"chmod g+w {POLICY}", f"chmod g-w {POLICY}"),
        (f"chmod o+w {POLICY}", f"chmod o-w {POLICY}"),
        (f"chown alice {POLICY}", f"chown root {POLICY}"),
        (f"chmod g+w {FOLDER}", f"chmod g-w {FOLDER}"),
        (f"chmod o+w {FOLDER}", f"chmod o-w {FOLDER}"),
        (f"chown alice {FOLDER}", f"chown root {FOLDER}"),
        ("chmod o+w /etc", "chmod o-w /etc"),
    ],
)
def test_a_policy_that_others_than_root_could_change_is_refused(
    target: Lab, command: str, back: str
) -> None:
    """The file itself, its folder, and those above."""
    with changed(target, command, back):
        refuses_to_run(target, "others than root can change it|not root's alone")


@pytest.mark.parametrize(
    "kind",
    [
        "a symbolic link",
        "a link to root's own file",
        "a FIFO",
        "a folder",
        "a device",
        "a socket",
        "nothing",
    ],
)
def test_a_policy_that_is_no_regular_file_is_refused(target: Lab, kind: str) -> None:
    """Nor does a FIFO hold anything up, nor a link lead to another file, be it root's."""
    make = {
        "a symbolic link": f"cp {POLICY}.kept /home/alice/p; ln -s /home/alice/p {POLICY}",
        "a link to root's own file": f"ln -s policy.conf.kept {POLICY}",
        "a FIFO": f"mkfifo -m 644 {POLICY}",
        "a folder": f"mkdir {POLICY}",
        "a device": f"mknod -m 644 {POLICY} c 1 5",
        "a socket": f"{BIND} {POLICY}; chmod 644 {POLICY}",
        "nothing": "true",
    }[kind]
    with changed(
        target, f"mv {POLICY} {POLICY}.kept; {make}", f"rm -rf {POLICY}; mv {POLICY}.kept {POLICY}"
    ):
        refuses_to_run(target, "policy.conf: ")


def test_a_folder_above_that_is_a_symbolic_link_is_refused(target: Lab) -> None:
    with changed(
        target,
        f"mv {FOLDER} {FOLDER}.kept; ln -s {FOLDER}.kept {FOLDER}",
        f"rm {FOLDER}; mv {FOLDER}.kept {FOLDER}",
    ):
        refuses_to_run(target, "it is not a folder")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "larger than 65536 bytes"),
        (DEFAULT_POLICY.encode() + b"\0", "a character that is no text"),
        (b"\0" * 100, "a character that is no text"),
        (b"\xef\xbb\xbf" + DEFAULT_POLICY.encode(), ""),
        (DEFAULT_POLICY.encode() + b"# \xff\n", "no text, or not UTF-8"),
        (DEFAULT_POLICY.encode("utf-16"), ""),
        (DEFAULT_POLICY.replace("\n", "\r\n").encode(), "a character that is no text"),
        (DEFAULT_POLICY.replace("\n", "\r").encode(), "a character that is no text"),
        (DEFAULT_POLICY.encode() + b"# \x1b[8m\n", "a character that is no text"),
        ("# \u202e\n".encode() + DEFAULT_POLICY.encode(), "a character that is no text"),
        (DEFAULT_POLICY.encode()[1:], ""),
        (b"[group tapdraft", ""),
        (b"[group tapdraft]\nsub", ""),
        (b"taps = 3\n", ""),
        (DEFAULT_POLICY.encode() + b"[group tapdraft]\ndeny = yes\n", "is there twice"),
        (DEFAULT_POLICY.encode() + b"taps = 17\n", "has 'taps' twice"),
        (DEFAULT_POLICY.encode() + b"denny = yes\n", "unknown key 'denny'"),
        (DEFAULT_POLICY.encode() + b"deny\n", ""),
        (DEFAULT_POLICY.encode() + b"deny: yes\n", ""),
        (DEFAULT_POLICY.encode() + b"deny = maybe\n", "deny: expected yes or no, not 'maybe'"),
        (DEFAULT_POLICY.encode() + b"deny = yes # for now\n", ""),
        (DEFAULT_POLICY.encode() + b"[DEFAULT]\ntaps = 99\n", "neither"),
        (DEFAULT_POLICY.encode() + b"[users mallory]\ndeny = yes\n", "neither"),
        (DEFAULT_POLICY.encode() + b"[user  mallory]\ndeny = yes\n", "neither"),
        (DEFAULT_POLICY.encode() + b"[user]\ndeny = yes\n", "neither"),
        (DEFAULT_POLICY.encode() + b"[user alice] deny = yes\n", "unknown key"),
        (DEFAULT_POLICY.encode() + b"uplinks = eth0,\n  deny = yes\n", ""),
        (b"[group tapdraft]\nuplinks = *,\n  eth1\n", "is not KEY = VALUE"),
        (b"[group tapdraft]\nsubnets = 192.168.7.1/24\n", "host bits"),
        (b"[group tapdraft]\nsubnets = fe80::/64\n", ""),
        (b"[group tapdraft]\ntaps = -1\n", ""),
        (b"[group tapdraft]\ntaps = 0x10\n", ""),
        (b"[group tapdraft]\nmodes = all\n", ""),
        (b"[group tapdraft]\nforwards = tcp:1-99999\n", ""),
        (b"[group tapdraft]\nforwards = 1-65535\n", ""),
        (b"[group tapdraft]\nhost = %(deny)s\n", ""),
    ],
    ids=lambda value: repr(value[-30:]) if isinstance(value, bytes) else "",
)
def test_a_policy_that_is_not_understood_whole_permits_nothing(
    target: Lab, content: bytes | None, error: str
) -> None:
    """1 GiB, NUL, BOM, truncated, said twice, misspelt, indented away: never half of it."""
    if content is None:
        target.site.policy("")
        target.run(["truncate", "-s", "1G", POLICY]).check()
    else:
        target.write(POLICY, content)
    assert_refused(target.helper(*UP), IN_THE_WAY, f"policy.conf.*{error}")


def test_a_policy_of_the_largest_size_is_read_to_its_end(target: Lab) -> None:
    end = "[user alice]\ndeny = yes\n"
    target.site.policy(DEFAULT_POLICY + "#\n".rjust(65536 - len(DEFAULT_POLICY + end), "#") + end)
    assert target.site.path(POLICY).stat().st_size == 65536
    assert_refused(target.helper(*UP), REFUSED, "denies everything")


@pytest.mark.parametrize(
    "content", ["uplinks = *,\n  deny = yes\n", "\t[user alice]\n  deny = yes\n"]
)
def test_no_deny_is_lost_in_an_indented_line(target: Lab, content: str) -> None:
    """As where an indented line belongs to the one before it: each stands for itself here."""
    target.site.policy(DEFAULT_POLICY.replace("uplinks", "# uplinks") + content)
    assert_refused(target.helper(*UP), REFUSED, "denies everything")


PERMITTED = "subnets=192.168.7.0/24\ntaps=9\nmodes=nat\nuplinks=*\n"


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "# nothing\n",
        "[group tapdraft]\n",
        "[group tapdraft]\nsubnets=\ntaps=9\nmodes=\nuplinks=\n",
        "[group nogroup]\n" + PERMITTED,
        "[group wheel]\n" + PERMITTED,
        "[user bob]\n" + PERMITTED,
        "[user tapdraft]\n" + PERMITTED,
        "[group nobody-has-this]\n" + PERMITTED,
        "[user nobody-has-this]\n" + PERMITTED,
        "[user 61001]\n" + PERMITTED,
        "[group 61000]\n" + PERMITTED,
        "[user *]\n" + PERMITTED,
        "[user Alice]\n" + PERMITTED,
        "[user ALL]\n" + PERMITTED,
    ],
)
def test_what_no_section_permits_is_refused(target: Lab, policy: str) -> None:
    """Empty files and sections, names of nobody, numbers, patterns, other spellings."""
    target.site.policy(policy)
    assert_refused(target.helper(*UP), REFUSED, "")


@pytest.mark.parametrize("section", ["user alice", "group tapdraft", "group alice"])
def test_one_deny_is_stronger_than_any_permission(target: Lab, section: str) -> None:
    """Whichever section comes first."""
    parts = [
        f"[{name}]\n" + ("deny=yes\n" if name == section else "") + PERMITTED
        for name in ("user alice", "group tapdraft", "group alice")
    ]
    for policy in ("".join(parts), "".join(reversed(parts))):
        target.site.policy(policy)
        assert_refused(target.helper(*UP), REFUSED, rf"\[{section}\] denies everything")
    assert_refused(target.helper("down", "web"), REFUSED, "denies everything")


@pytest.mark.parametrize("section", ["user gone", "group gone"])
def test_a_denied_name_that_nobody_has_stops_nobody(target: Lab, section: str) -> None:
    """Someone who has left, or an example that was copied: nobody else is refused for it."""
    target.site.policy(DEFAULT_POLICY + f"[{section}]\ndeny = yes\n")
    assert_up(target.helper(*UP))
    take_down(target)


def as_alice(*settings: str, regid: str = "alice") -> list[str]:
    return ["setpriv", "--reuid=alice", f"--regid={regid}", *settings, "--inh-caps=-all"]


def test_a_denied_group_that_cannot_be_looked_up_may_be_any_without_a_name(target: Lab) -> None:
    """A name service that is down must not turn a denied user into a permitted one."""
    target.site.policy(DEFAULT_POLICY + "[group students]\ndeny = yes\n")
    done = target.run([*as_alice(f"--groups={GROUP},61777"), HELPER, *UP])
    assert_refused(done, REFUSED, r"\[group students\] denies everything")


SUBORDINATE = 200001


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, DEFAULT_POLICY + "[user alice]\ndeny=yes\n"])
def test_a_subordinate_uid_is_nobody(target: Lab, policy: str) -> None:
    """With a file that its user made setuid in a user namespace: the groups stay the user's."""
    target.site.policy(policy)
    target.write(
        "/tmp/shim.c",
        """
        #define _GNU_SOURCE
        #include <unistd.h>
        int main(int count, char **words)
        {
            uid_t uid = geteuid();
            return count < 2 || setresuid(uid, uid, uid) || execv(words[1], words + 1);
        }
        """,
    )
    target.run(["gcc", "/tmp/shim.c", "-o", "/tmp/shim"]).check()
    target.run(["chown", str(SUBORDINATE), "/tmp/shim"]).check()
    target.run(["chmod", "4755", "/tmp/shim"]).check()
    for words in (UP, ("down", "--all")):
        done = target.run(["/tmp/shim", HELPER, *words], user="alice")
        assert_refused(done, REFUSED, f"the name service knows no uid {SUBORDINATE}")
    assert target.site.logged(f"decision=refuse uid={SUBORDINATE} .*knows no uid")
    target.site.policy()


def test_a_file_that_a_member_made_setgid_lends_the_group_to_nobody(target: Lab) -> None:
    """Who is no member by the name service has none of its rights, whatever the kernel says."""
    done = target.run(
        [
            "setpriv",
            "--reuid=mallory",
            f"--regid={GROUP}",
            "--clear-groups",
            "--inh-caps=-all",
            HELPER,
            *UP,
        ]
    )
    assert_refused(done, REFUSED, "no section of /etc/tapdraft/policy.conf names the caller")


@pytest.mark.parametrize("change", ["renamed", "deleted"])
def test_root_takes_down_the_taps_of_a_user_who_is_gone(target: Lab, change: str) -> None:
    """The alias has the uid, which no longer means anybody the policy could permit."""
    assert_up(target.helper(*UP))
    edit = "s/^alice:/alicia:/" if change == "renamed" else "/^alice:/d"
    target.site.policy(DEFAULT_POLICY + "[user alice]\ndeny = yes\n")
    with changed(
        target,
        f"cp -p /etc/passwd /etc/passwd.kept; sed -i {edit} /etc/passwd",
        "mv /etc/passwd.kept /etc/passwd",
    ):
        own = [f"--reuid={target.site.users['alice']}", f"--regid={GROUP}", f"--groups={GROUP}"]
        done = target.run(["setpriv", *own, "--inh-caps=-all", HELPER, "down", "web"])
        assert_refused(done, REFUSED, "knows no uid" if change == "deleted" else "names the caller")
        directly = ["env", "-i", "PYTHONPATH=/usr/local/lib/tapdraft", PYTHON, "-P", "-m"]
        done = target.run([*directly, "tapdraft.helper", "down", "web"])
        assert (done.status, done.stdout) == (0, "td-web is down\n"), str(done)
    assert not target.tapdraft().taps
    target.site.policy()


def test_a_group_given_up_by_the_session_still_denies(target: Lab) -> None:
    """As with a session from before the group was joined: the list of its members counts.

    Who is in which groups can come from elsewhere than the list, and be silent.
    """
    target.site.policy(DEFAULT_POLICY + "[group students]\ndeny = yes\n")
    names = "/etc/nsswitch.conf"
    with changed(
        target,
        f"echo students:x:61777:alice >> /etc/group; cp -p {names} {names}.kept;"
        f"echo initgroups: db >> {names}",
        f"sed -i /^students:/d /etc/group; mv {names}.kept {names}",
    ):
        done = target.run(
            [
                "setpriv",
                "--reuid=alice",
                "--regid=alice",
                f"--groups={GROUP},61001",
                "--inh-caps=-all",
                HELPER,
                *UP,
            ]
        )
        assert_refused(done, REFUSED, r"\[group students\] denies everything")


def test_a_users_own_group_denies_where_the_session_has_another(target: Lab) -> None:
    """As after newgrp(1): nobody is in the list of members of their first group."""
    target.site.policy(DEFAULT_POLICY + "[group alice]\ndeny = yes\n")
    other = ["--reuid=alice", f"--regid={GROUP}", f"--groups={GROUP}", "--inh-caps=-all"]
    done = target.run(["setpriv", *other, HELPER, *UP])
    assert_refused(done, REFUSED, r"\[group alice\] denies everything")


def test_a_group_joined_after_the_session_began_does_not_permit(target: Lab) -> None:
    """What the kernel says of the caller counts, not what the list of members has become."""
    target.site.policy("[group students]\n" + PERMITTED)
    with changed(
        target, "echo students:x:61777:alice >> /etc/group", "sed -i /^students:/d /etc/group"
    ):
        own = ["--reuid=alice", "--regid=alice", f"--groups={GROUP},61001", "--inh-caps=-all"]
        done = target.run(["setpriv", *own, HELPER, *UP])
        assert_refused(done, REFUSED, "names the caller")


def test_a_group_that_was_left_permits_no_longer_than_the_session(target: Lab) -> None:
    """Who is in the group neither by the session nor by its list cannot start the helper at all."""
    done = target.run(
        [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--clear-groups",
            "--inh-caps=-all",
            "env",
            HELPER,
            *UP,
        ]
    )
    assert done.status == 126
    assert "Permission denied" in done.stderr


def test_a_policy_replaced_while_it_is_read_is_the_old_one_or_the_new_one(target: Lab) -> None:
    """What was opened is what is checked and read, whatever has its name by then."""
    traced = Traced(target)
    # The second time is under the lock.
    traced.run_to(lambda call: call.name == "openat" and traced.text(call.args[1]) == POLICY, 2)
    traced.step()
    target.write(
        "/home/alice/forged.conf", "[group tapdraft]\ndeny=yes\n", owner="alice", mode=0o666
    )
    target.run(["cp", "-p", POLICY, f"{POLICY}.kept"]).check()
    target.run(["mv", "/home/alice/forged.conf", POLICY]).check()
    assert traced.end() == 0
    refuses_to_run(target, "others than root can change it")
    target.run(["mv", f"{POLICY}.kept", POLICY]).check()
    take_down(target)


def test_a_policy_swapped_for_a_link_just_before_it_is_opened_is_refused(target: Lab) -> None:
    """The folders were checked a moment ago; the file is opened without following."""
    traced = Traced(target)

    def opens_policy(call: Call) -> bool:
        return call.name == "openat" and traced.text(call.args[1]) == POLICY

    traced.run_to(opens_policy)
    target.write("/home/alice/forged.conf", "[group tapdraft]\n" + PERMITTED)
    with changed(
        target,
        f"mv {POLICY} {POLICY}.kept; ln -s /home/alice/forged.conf {POLICY}",
        f"mv {POLICY}.kept {POLICY}",
    ):
        assert traced.end() == IN_THE_WAY
    assert "Too many levels of symbolic links" in traced.process.console


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("up", "web", "10.0.0.1/30", "10.0.0.2"), "10.0.0.0/30 is in none of its subnets"),
        (("up", "web", "192.168.6.1/30", "192.168.6.2"), "is in none of its subnets"),
        (("up", "web", "192.168.7.1/23", "192.168.7.2"), "is in none of its subnets"),
        (
            ("up", "web", "192.168.7.1/32", "192.168.8.2"),
            "192.168.8.2/32 is in none of its subnets",
        ),
        (
            ("up", "web", "192.168.8.1/32", "192.168.7.2"),
            "192.168.8.1/32 is in none of its subnets",
        ),
        ((*UP, "routed"), "mode routed is not among its modes"),
        ((*UP, "isolated"), "mode isolated is not among its modes"),
        ((*UP, "host=open"), "host=open is not permitted"),
        ((*UP, "forward=tcp:22:22"), "forward=tcp:22:22 is not among its forwards"),
        ((*UP, "forward=tcp:1023:22"), "is not among its forwards"),
        ((*UP, "forward=udp:2048:22"), "is not among its forwards"),
        (
            (*UP, "forward=tcp:2048:22", "forward=tcp:2049:22"),
            "tcp:2049:22 is not among its forwards",
        ),
        ((*UP, "uplink=eth1"), "uplink=eth1 is not among its uplinks"),
        ((*UP, "uplink=eth0", "uplink=eth1"), "uplink=eth1 is not among its uplinks"),
        ((*UP, "uplink=eth"), "uplink=eth is not among its uplinks"),
        ((*UP, "uplink=eth0.7"), "uplink=eth0.7 is not among its uplinks"),
    ],
)
def test_what_goes_beyond_the_section_is_refused(
    target: Lab, words: tuple[str, ...], error: str
) -> None:
    target.site.policy(
        "[group tapdraft]\nsubnets=192.168.7.0/24\ntaps=3\nmodes=nat\nuplinks=eth0\n"
        "forwards=tcp:1024-2048\n"
    )
    assert_refused(target.helper(*words), REFUSED, error)
    assert target.helper("--explain", *words).status in (REFUSED, IN_THE_WAY)


def test_a_default_route_that_leads_elsewhere_is_no_way_around_the_uplinks(target: Lab) -> None:
    """The uplinks that a request leaves open are asked of the policy, too."""
    target.site.policy(
        "[group tapdraft]\nsubnets=192.168.7.0/24\ntaps=3\nmodes=nat\nuplinks=eth1\n"
    )
    assert_refused(target.helper(*UP), REFUSED, "uplink=eth0 is not among its uplinks")


def test_who_may_not_ask_learns_nothing_of_what_is_there(target: Lab) -> None:
    """Not even whether an uplink exists, or a tap of that name: the answers are the same."""
    assert_up(target.helper(*UP))
    target.site.policy(DEFAULT_POLICY + "[user bob]\ndeny = yes\n")
    answers = {
        target.helper(*UP, "nat", f"uplink={name}", user="bob").stderr.replace(name, "X")
        for name in ("eth0", "none")
    }
    answers |= {
        target.helper(
            "up", "new", "192.168.7.1/30", "192.168.7.2", "nat", "uplink=X".lower(), user="bob"
        )
        .stderr.replace("new", "web")
        .replace("uplink=x", "uplink=X")
    }
    assert len(answers) == 1
    target.site.policy()
    take_down(target)


@pytest.mark.parametrize("words", [UP, ("up", "web", "10.0.0.1/30", "10.0.0.2"), ("down", "--all")])
def test_explain_and_dry_run_change_nothing(target: Lab, words: tuple[str, ...]) -> None:
    before = target.snapshot()
    for action in ("--explain", "--dry-run"):
        assert target.helper(action, *words).status in (0, REFUSED)
        assert attack(target, f"start({action!r}, *{words})").status in (0, REFUSED)
    target.assert_no_residue(before)


def test_the_policy_of_a_caller_is_never_read(target: Lab) -> None:
    """No variable, folder or link of the user's leads to another one."""
    forged = "[user alice]\nsubnets=0.0.0.0/0\ntaps=9\nmodes=nat\nuplinks=*\n"
    for path in (
        "/home/alice/.config/tapdraft/policy.conf",
        "/home/alice/policy.conf",
        "/home/alice/etc/tapdraft/policy.conf",
        "/tmp/policy.conf",
    ):
        target.write(path, forged, owner="alice")
    done = target.helper(
        "up",
        "web",
        "10.0.0.1/30",
        "10.0.0.2",
        cwd="/home/alice",
        env={"XDG_CONFIG_HOME": "/home/alice/.config", "TAPDRAFT_POLICY": "/tmp/policy.conf"},
    )
    assert_refused(done, REFUSED, "is in none of its subnets")
    os.unlink(target.site.path("/tmp/policy.conf"))


def test_a_policy_that_was_revoked_before_the_lock_permits_nothing(target: Lab) -> None:
    """Anybody can stop a helper of theirs: it reads the policy again when it has the lock."""
    stopped = Traced(target)
    stopped.run_to(opens_netlink)
    stopped.release(stopped=True)
    target.site.policy("[user alice]\ndeny = yes\n" + DEFAULT_POLICY)
    os.kill(stopped.pid, signal.SIGCONT)
    assert stopped.process.wait() == REFUSED, stopped.process.console
    assert "denies everything" in stopped.process.console
    target.site.policy()
