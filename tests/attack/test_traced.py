"""Process: seen from outside, at the moments that count"""

from __future__ import annotations

import os
import re
import signal

import pytest
from attacker import UP, attack, take_down
from labnet import Lab
from labsite import HELPER
from tracing import TUNSETIFF, Call, Traced, makes_ioctl, opens_netlink, sends, writes_last_line

EMPTY = "0" * 16
NET_ADMIN = f"{1 << 12:016x}"
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")

# Where the process is held, from its first system call to its last.
STAGES = {
    "at the start": lambda call: True,
    "before the checks": lambda call: call.name == "capget",
    "before the confinement": lambda call: call.name == "landlock_create_ruleset",
    "before the filter": lambda call: call.name == "seccomp",
    "as Python starts": lambda call: call.name == "getdents64",
    "before the policy": lambda call: call.name == "capset",
    "with the capability raised": opens_netlink,
    "before the first change": makes_ioctl(TUNSETIFF),
    "before the last line": writes_last_line,
}
# What an attacker of the same user tries on a process.
PRY = """if True:
    pid = int(sys.argv[1])
    def tries(what, function):
        try:
            function()
        except OSError as error:
            print(what, error.strerror)
        else:
            print(what, "WORKED")
    def ptrace(request):
        if libc.ptrace(request, pid, 0, 0) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    def attach_memory(write):
        local = ctypes.create_string_buffer(8)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(local), 8)
        remote = (ctypes.c_size_t * 2)(0x400000, 8)
        call = libc.process_vm_writev if write else libc.process_vm_readv
        if call(pid, vector, 1, remote, 1, 0) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    def steal_descriptor():
        pidfd = os.pidfd_open(pid)
        if libc.syscall(438, pidfd, 1, 0) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    tries("attach", lambda: ptrace(16))
    tries("seize", lambda: ptrace(0x4206))
    for name in ("mem", "maps", "environ", "fd/1", "auxv", "syscall", "stack", "personality"):
        tries(name, lambda: os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY)))
    tries("mem to write", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))
    tries("list of descriptors", lambda: os.listdir(f"/proc/{pid}/fd"))
    tries("its root", lambda: os.listdir(f"/proc/{pid}/root/"))
    tries("read", lambda: attach_memory(False))
    tries("write", lambda: attach_memory(True))
    tries("pidfd_getfd", steal_descriptor)
    """


@pytest.mark.parametrize("stage", STAGES)
def test_nobody_of_the_same_user_can_look_into_it(target: Lab, stage: str) -> None:
    """ptrace, /proc/PID/mem and others, process_vm_readv, pidfd_getfd: at each stage."""
    traced = Traced(target)
    if stage != "at the start":
        traced.run_to(STAGES[stage])
    traced.release(stopped=True)
    found = attack(target, PRY, str(traced.pid)).check().stdout
    os.kill(traced.pid, signal.SIGCONT)
    assert traced.process.wait() == 0, (found, traced.process.console)
    assert len(found.splitlines()) == 16, found
    assert "WORKED" not in found
    take_down(target)


def test_the_capability_is_raised_around_the_kernel_calls_only(target: Lab) -> None:
    """Effective at every system call that reads a file, decides or logs: empty."""
    traced = Traced(target)
    traced.run_to(lambda call: call.name == "capset")
    raised: set[str] = set()
    lowered: set[str] = set()
    while (call := traced.step()) is not None:
        if call.entry:
            sets = traced.status()
            assert (sets["CapInh"], sets["CapAmb"]) == (EMPTY, EMPTY)
            (raised if sets["CapEff"] == NET_ADMIN else lowered).add(_kind(traced, call))
            assert sets["CapEff"] in (EMPTY, NET_ADMIN)
    assert {"netlink", "ioctl"} <= raised
    assert {"log", "policy.conf", "last line"} <= lowered
    assert not {"log", "policy.conf", "last line", "group", "passwd"} & raised
    take_down(target)


def _kind(traced: Traced, call: Call) -> str:
    if call.name == "openat":
        return traced.text(call.args[1]).rsplit("/", 1)[-1]
    if call.name == "sendto":
        return "netlink" if sends(call) else "log"
    return "last line" if writes_last_line(call) else call.name


@pytest.mark.parametrize("stage", ["with the capability raised", "before the first change"])
@pytest.mark.parametrize("limit", ["NOFILE", "CPU", "AS"])
def test_limits_lowered_while_it_works_leave_nothing_that_down_does_not_clear(
    target: Lab, stage: str, limit: str
) -> None:
    """The kernel lets a user change the limits of its processes at any time, as it lets it kill."""
    traced = Traced(target)
    traced.run_to(STAGES[stage])
    code = f"resource.prlimit(int(sys.argv[1]), resource.RLIMIT_{limit}, (0, 0))"
    attack(target, code, str(traced.pid)).check()
    traced.end()
    take_down(target)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (UP, b"td-web is up\n"),
        (("up", "web", "10.0.0.1/30", "10.0.0.2"), b"error: "),
        (("up", "web", "192.168.7.1/30", "192.168.7.2", "uplink=absent"), b"error: "),
        (("nonsense",), b"error: "),
        (("down", "--all"), b"0 taps are down\n"),
        (("--dry-run", *UP), b"# up web"),
        (("--explain", *UP), b"up web"),
        (("--status",), b"hardening "),
        (("--help",), b"tapdraft-helper: "),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_every_capability_is_gone_when_the_last_line_is_written(
    target: Lab, words: tuple[str, ...], text: bytes
) -> None:
    """Also when it is an error: no new privileges, the filter on, undumpable, all sets empty."""
    traced = Traced(target, (HELPER, *words))
    call = traced.run_to(writes_last_line)
    assert traced.data(call.args[1], len(text)) == text
    status = traced.status()
    assert [status[name] for name in CAPABILITY_SETS] == [EMPTY] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    # Undumpable: what /proc has of the process is root's, not the user's.
    assert os.stat(f"/proc/{traced.pid}/environ").st_uid == 0
    assert status["Uid"].split() == [str(target.site.users["alice"])] * 4
    traced.end()
    take_down(target)


# All that an `up` may open once main() has begun, beside what is below the stated folders.
MAY_OPEN = re.compile(
    r"""
    /usr/local/lib/tapdraft(/.*)? | /usr/lib/python3(\.\d+)?(/.*)? | /usr/lib/locale/.*
    | /(usr/)?lib(64)?/[^/]*/lib[^/]*\.so[.\d]* | /lib/x86_64-linux-gnu/.*
    | /usr/lib/x86_64-linux-gnu/.*
    | /etc/(ld\.so\.cache|tapdraft|tapdraft/policy\.conf|passwd|group|nsswitch\.conf|userdb)
    | /(usr/)?lib(64)? | /usr/local/lib | /usr/lib/python3\.\d+/lib-dynload
    # systemd's name service looks for files of members, from the top on and without reading it.
    | / | /etc | /run | /usr | /usr/local | /run/host | /run/systemd
    | (/etc|/run|/run/host|/run/systemd|/usr/lib|/usr/local/lib)/userdb/?
    | /var/lib/(extrausers|sss/mc)(/.*)? | /usr/share/zoneinfo/UTC
    | /proc/self(/status)? | /proc/sys/net
    | /proc/sys/net/ipv[46]/(ip_forward|conf(/[^/]*/[a-z_0-9]*)?)
    | /proc/sys/net/netfilter/nf_conntrack_count
    | /dev/net/tun | /dev/null
    """,
    re.VERBOSE,
)
STARTS_SOMETHING = ("execve", "execveat", "fork", "vfork", "clone", "clone3")
WRITABLE = re.compile(r"/dev/net/tun|/proc/sys/net/ipv[46]/conf/[^/]*/[a-z_0-9]*")


def test_nothing_is_executed_forked_or_opened_outside_the_list(target: Lab) -> None:
    """`strace -f` of a whole `up`: one execve, no fork, and each path that is opened is listed."""
    done = target.run(
        [
            "strace",
            "-f",
            "-u",
            "alice",
            "-y",
            "-o",
            "/tmp/trace",
            HELPER,
            *UP,
            "forward=tcp:8080:80",
        ]
    )
    assert done.stdout == "td-web is up\n", str(done)
    trace = target.site.path("/tmp/trace").read_text()
    started = re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE)
    assert [call for call in started if call in STARTS_SOMETHING] == ["execve"]
    assert len(set(re.findall(r"^\d+ ", trace, re.MULTILINE))) == 1
    found = re.findall(r'openat\((?:\w+)<([^>]*)>, "([^"]*)", (\w+)', trace)
    assert len(found) == len(re.findall(r"\bopen(?:at2?)?\(", trace)), "one was not understood"
    opened = [(os.path.join(folder, name), flags) for folder, name, flags in found]
    assert len(opened) > 100
    odd = {path for path, _ in opened if not MAY_OPEN.fullmatch(path)}
    assert not odd, " ".join(odd)
    written = {path for path, flags in opened if flags in ("O_WRONLY", "O_RDWR")}
    assert written
    assert [path for path in written if not WRITABLE.fullmatch(path)] == []
    after_main = trace[trace.index("policy.conf") :]
    assert "/home" not in after_main
    assert "/tmp" not in after_main
    take_down(target)
