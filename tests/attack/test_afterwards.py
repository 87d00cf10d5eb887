"""Afterwards"""

from __future__ import annotations

import itertools
import re

import pytest
from attacker import UP, assert_refused, assert_up, attack, program, take_down
from labnet import Lab
from labsite import DEFAULT_POLICY, HELPER, POLICY, SOURCE
from tracing import Traced, opens_netlink

# tapdraft-helper(8) documents it: facility and severity, time, program, pid, and the fields.
LINE = re.compile(
    r"<8[45]>\w{3} [ \d]\d [\d:]{8} tapdraft-helper\[(\d+)\]: "
    r"(decision=(?:allow|refuse)|result=(?:done|failed)) "
    r'uid=(\d+) gid=(\d+) request="([a-z0-9.:/=_ -]*)" reason="([^"\x00-\x1f\x7f-\x9f]*)"',
    re.ASCII,
)
FORGERIES = [
    ("up", 'x" reason="permits it', *UP[2:]),
    ("up", "web\nNov 22 00:00:00 tapdraft-helper[1]: decision=allow uid=0", *UP[2:]),
    ("up", "\x1b[2Kweb", *UP[2:]),
    ("up", "web\u2028uid=0", *UP[2:]),
    ("up", "web", '192.168.7.1/30" reason="x', "192.168.7.2"),
    ("--\nresult=done",),
    ("up", "%s%n%m", *UP[2:]),
    ("up", "a" * 4000),
    ("down", "uid=0"),
]


@pytest.mark.parametrize("words", FORGERIES, ids=lambda words: repr(words[:2])[:40])
def test_no_argument_forges_a_line_of_the_log(target: Lab, words: tuple[str, ...]) -> None:
    """Nor a field of one; also by standard input, where any byte can be said."""
    target.helper(*words)
    target.helper("-", input=" ".join(words) + "\n")
    for line in target.site.syslog.lines():
        fields = LINE.fullmatch(line)
        assert fields, line
        assert fields[2] == "decision=refuse"
        assert (fields[3], fields[4]) == ("61001", "61001")
    assert target.site.syslog.lines(), "a refusal was not logged"


def test_every_decision_and_every_result_is_logged(target: Lab) -> None:
    """With who asked: the real uid, gid and process, whatever the environment claims."""
    forged = {"USER": "root", "LOGNAME": "root", "SUDO_UID": "0"}
    assert_up(target.helper(*UP, env=forged))
    target.helper("up", "x", "10.0.0.1/30", "10.0.0.2", env=forged)
    target.helper("up", "y", *UP[2:], env=forged)
    take_down(target)
    found = [LINE.fullmatch(line) for line in target.site.syslog.lines()]
    assert [(line[2], line[5].split()[1]) for line in found if line] == [
        ("decision=allow", "web"),
        ("result=done", "web"),
        ("decision=refuse", "x"),
        ("decision=allow", "y"),
        ("result=failed", "y"),
        ("decision=allow", "--all"),
        ("result=done", "--all"),
    ]
    assert {(line[3], line[4]) for line in found if line} == {("61001", "61001")}


MOMENTS = ("socket", "connect", "capset", "sendto", "bind", "openat")


def test_a_limit_lowered_at_any_moment_leaves_no_tap_without_a_line(target: Lab) -> None:
    """A user can take new descriptors from a process of theirs, as it can kill it."""
    code = "resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NOFILE, (0, 0))"
    for number in itertools.count(1):
        target.site.syslog.clear()
        traced = Traced(target)
        traced.run_to(lambda call: call.name == "connect")  # the first is to the log
        if number > 1 and traced.find(lambda call: call.name in MOMENTS, number - 1) is None:
            break
        attack(target, code, str(traced.pid)).check()
        traced.end()
        if target.tapdraft().taps:
            assert target.site.logged("decision=allow .*up web"), number
            take_down(target)
    assert number > 30, "most were not tried"
    take_down(target)


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
def test_what_cannot_be_logged_is_not_done(target: Lab, kind: str) -> None:
    """The log is there and does not answer; where there is none at all, the helper works."""
    log = "/dev/log"
    target.run(["mv", log, f"{log}.kept"]).check()
    assert_up(target.helper(*UP))
    take_down(target)
    code = f"socket.socket(socket.AF_UNIX, socket.{kind}).bind('{log}')"
    attack(target, code, user="root").check()
    target.run(["chmod", "666", log]).check()
    done = target.helper(*UP)
    told = [target.helper(option) for option in ("--version", "--help", "--status")]
    target.run(["mv", f"{log}.kept", log]).check()
    assert_refused(done, 1, "the log cannot be opened: /dev/log: Connection refused")
    assert [one.status for one in told] == [0, 0, 0]


FULL = """if True:
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind("/dev/log"), os.chmod("/dev/log", 0o666)
    while True:
        writer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        writer.connect("/dev/log"), writer.setblocking(False)
        try:
            writer.send(b"x")
        except BlockingIOError:
            break
    print("full", flush=True)
    signal.pause()"""


def test_a_log_that_takes_nothing_holds_nobody_up_for_ever(target: Lab) -> None:
    """Its queue is full and its daemon stands still: the lock is free again after a while."""
    target.run(["mv", "/dev/log", "/dev/log.kept"]).check()
    daemon = target.start(program(FULL), user="root")
    daemon.expect("full", 20)
    done = target.helper(*UP)
    daemon.stop()
    target.run(["mv", "/dev/log.kept", "/dev/log"]).check()
    assert_refused(done, 1, "the log takes nothing: /dev/log")


def test_a_log_that_goes_away_meanwhile_leaves_nothing_unlogged(target: Lab) -> None:
    """A helper that was stopped could wait for the moment at which the daemon starts anew."""
    target.run(["mv", "/dev/log", "/dev/log.kept"]).check()
    daemon = target.start(program(FULL.replace("while True", "while False")), user="root")
    daemon.expect("full", 20)
    traced = Traced(target)
    traced.run_to(opens_netlink)
    daemon.stop()
    target.run(["rm", "/dev/log"]).check()
    status = traced.end()
    target.run(["mv", "/dev/log.kept", "/dev/log"]).check()
    assert status == 1
    assert "error: the log is gone: /dev/log" in traced.process.console
    take_down(target)


def test_a_log_that_is_a_stream_is_written_to(target: Lab) -> None:
    target.run(["mv", "/dev/log", "/dev/log.kept"]).check()
    code = """if True:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("/dev/log"), os.chmod("/dev/log", 0o666), listener.listen()
        print("listening", flush=True)
        print(listener.accept()[0].makefile("rb").read().split(b"\\0"))"""
    daemon = target.start(program(code), user="root")
    daemon.expect("listening", 20)
    assert_refused(target.helper("up", "x", "10.0.0.1/30", "10.0.0.2"), 3, "")
    target.run(["mv", "/dev/log.kept", "/dev/log"]).check()
    assert daemon.wait() == 0
    assert "decision=refuse uid=61001" in daemon.console


@pytest.mark.parametrize("what", ["wrong", "unreadable"])
def test_what_failed_before_the_lock_is_logged(target: Lab, what: str) -> None:
    """A policy that is wrong, and one that cannot be opened."""
    target.site.syslog.clear()
    if what == "wrong":
        target.site.policy("[group tapdraft\n")
        target.helper(*UP).check(4)
        target.site.policy()
    else:
        traced = Traced(target)
        traced.run_to(lambda call: call.name == "openat" and traced.text(call.args[1]) == POLICY)
        code = "resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NOFILE, (0, 0))"
        attack(target, code, str(traced.pid)).check()
        assert traced.end() == 4
    (line,) = target.site.syslog.lines()
    assert LINE.fullmatch(line), line
    assert re.search(r'result=failed uid=61001 .*"up web .*policy\.conf', line), line


def test_a_name_of_the_policys_does_not_end_a_field_of_the_log(target: Lab) -> None:
    """Reasons hold words of the policy, and a name service may have a group of any name."""
    group = 'q" uid="0'
    target.run(["sh", "-c", f"echo '{group}:x:61778:alice' >> /etc/group"]).check()
    target.site.policy(f"{DEFAULT_POLICY}[group {group}]\ndeny = yes\n")
    assert_refused(target.helper(*UP), 3, "denies everything")
    target.run(["sed", "-i", "/61778/d", "/etc/group"]).check()
    (line,) = target.site.syslog.lines()
    fields = LINE.fullmatch(line)
    assert fields, line
    assert "q' uid='0] denies everything" in fields[6]


def test_down_twice_succeeds_twice(target: Lab) -> None:
    assert_up(target.helper(*UP))
    assert target.helper("down", "web").check().stdout == "td-web is down\n"
    assert target.helper("down", "web").check().stdout == "td-web was not up\n"
    take_down(target)
    take_down(target)


def test_down_works_while_the_guest_holds_the_tap(target: Lab) -> None:
    """And what the guest's emulator still holds is of no use any more."""
    assert_up(target.helper(*UP))
    holder = target.start(
        program("""if True:
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"td-web", 0x1002))
        print("held", flush=True)
        try:
            os.read(tap, 10)
            os.write(tap, bytes(60))
        except OSError as error:
            print("gone:", error.strerror, flush=True)
        """),
        user="alice",
    )
    holder.expect("held", 20)
    assert target.helper("down", "web").check().stdout == "td-web is down\n"
    holder.expect("gone: ", 20)


def test_a_tap_that_its_owner_still_holds_cannot_be_made_again_from_it(target: Lab) -> None:
    """The descriptor of a tap that was taken down makes no interface, persistent or other."""
    done = attack(
        target,
        """if True:
        import subprocess
        subprocess.run([HELPER, *UP], check=True, stdout=subprocess.DEVNULL)
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"td-web", 0x1002))
        subprocess.run([HELPER, "down", "web"], check=True, stdout=subprocess.DEVNULL)
        for request, argument in ((0x400454CB, 1), (0x400454CC, 61002),
                                  (0x400454CA, struct.pack("16sH22x", b"td-web", 0x1002))):
            try:
                fcntl.ioctl(tap, request, argument)
            except OSError as error:
                print(error.strerror)
        """,
    ).check()
    assert done.stdout.count("\n") == 3


def test_exactly_one_file_has_a_capability_and_none_is_setuid(target: Lab) -> None:
    """In all that is installed: the launcher, with net_admin, closed to who is not in the group."""
    # Where an installation puts things: other tests have launchers of their own beside it.
    roots = [f"/usr/local/{part}" for part in ("bin", "lib", "libexec", "share")]
    roots += ["/etc/tapdraft", target.site.source]
    found = target.run(["find", *roots, "-perm", "/6000", "-type", "f"]).check().stdout
    assert found == ""
    capable = target.run(["getcap", "-r", *roots]).check().stdout
    assert capable == f"{HELPER} cap_net_admin=p\n"
    mode = target.run(["stat", "-c", "%a %U %G", HELPER]).check().stdout
    assert mode == "750 root tapdraft\n"
    theirs = ["/usr/local/lib/tapdraft", "/usr/local/libexec/tapdraft", "/etc/tapdraft"]
    assert (
        target.run(
            [
                "find",
                *theirs,
                "(",
                "-perm",
                "/022",
                "-o",
                "!",
                "-user",
                "root",
                ")",
                "!",
                "-type",
                "l",
            ]
        )
        .check()
        .stdout
        == ""
    )


OPEN_LAUNCHER = """if True:
    kept = os.open(HELPER, os.O_RDONLY)
    print("open", flush=True)
    while os.path.exists("/tmp/old"):
        time.sleep(0.05)
    os.execve(kept, [HELPER, "--version"], {})"""


def test_a_launcher_that_was_replaced_cannot_be_started_any_more(target: Lab) -> None:
    """Who has the old file open could start it, with its capability, for as long as they like."""
    target.write("/tmp/old", "")
    old = target.start(program(OPEN_LAUNCHER), user="alice")
    old.expect("open", 20)
    target.run(["make", "-C", SOURCE, "install-helper"], limit=180).check()
    target.run(["rm", "/tmp/old"]).check()
    old.expect("PermissionError: .*Permission denied", 20)
    assert target.run(["sh", "-c", f"echo {HELPER}*"]).check().stdout == f"{HELPER}\n"


def test_a_launcher_that_was_only_unlinked_refuses_after_a_while(target: Lab) -> None:
    """As package managers replace and remove files. None of that while here, to be seen at once."""
    copy = "/usr/local/libexec/tapdraft/earlier"
    target.run(
        [
            "sh",
            "-ec",
            f"""
        B=/tmp/earlier F=$B/tapdraft-helper
        make -C {SOURCE} BUILD=$B CPPFLAGS=-DREPLACED_SECONDS=-1 $F
        cp $F {copy}; chgrp tapdraft {copy}
        chmod 750 {copy}; setcap cap_net_admin=p {copy}""",
        ],
        limit=180,
    ).check()
    target.write("/tmp/old", "")
    assert_up(target.run([copy, *UP], user="alice"))
    old = target.start(program(OPEN_LAUNCHER.replace("HELPER", repr(copy))), user="alice")
    old.expect("open", 20)
    target.run(["rm", copy, "/tmp/old"]).check()
    old.expect("error: this file was replaced or removed a while ago", 20)
    assert old.wait() == 4
    take_down(target)


def test_what_is_missing_of_the_confinement_is_told(target: Lab) -> None:
    """To whoever asks, and from what the launcher found, not from the environment."""
    assert re.fullmatch(
        r"hardening landlock=\d+ seccomp=on\n",
        target.helper("--status", env={"TAPDRAFT_HARDENING": "x"}).check().stdout,
    )
