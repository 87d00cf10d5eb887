"""The launcher alone: where the helper's Python side would be, a stub tells what it finds."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labrun import Result
from labsite import ROOT, STDLIB, VERSION, Site

PREFIX = "/usr/local/stub"
LAUNCHER = f"{PREFIX}/launcher"
HELPER = f"{PREFIX}/lib/tapdraft/tapdraft/helper"
CANNOT_CHECK, USAGE, IN_THE_WAY = 1, 2, 4

# Runs inside, where the helper would. Each attempt is one thing that hostile code would like to do.
STUB = """
import ctypes, errno, fcntl, json, mmap, os, prctl, resource, signal, socket, sys

def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return errno.errorcode[error.errno]

def call(name, *arguments):
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

def make_executable():
    memory = mmap.mmap(-1, 4096, prot=3)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call("mprotect", ctypes.c_void_p(address), 4096, 7)

def status():
    with open("/proc/self/status") as lines:
        return dict(line.rstrip().split(":\\t", 1) for line in lines)

def seen(argv):
    fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
           if os.path.exists(f"/proc/self/fd/{fd}")}
    return {
        "argv": argv[1:], "environ": {k.decode(): v.decode() for k, v in os.environb.items()},
        "path": sys.path, "modules": sorted(sys.modules), "status": status(), "fds": fds,
        "isolated": sys.flags.isolated, "no_site": sys.flags.no_site, "cwd": os.getcwd(),
        "umask": os.umask(0), "encoding": sys.stdout.encoding,
        "secure": ctypes.CDLL(None).getauxval(23), "dumpable": prctl.get_dumpable(),
        "timers": [signal.getitimer(which) for which in range(3)],
        "core": resource.getrlimit(resource.RLIMIT_CORE),
    }

# What each is refused with tells by whom: EPERM by the system call filter, EACCES by Landlock.
def tried():
    prctl.cap_effective.net_admin = True
    return {"allowed": {
        "sysctl": attempt(lambda: os.close(os.open(
            "/proc/sys/net/ipv4/conf/lo/forwarding", os.O_RDWR))),
        "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()),
        "users": attempt(lambda: __import__("pwd").getpwuid(0).pw_name),
    }, "EPERM": {
        "fork": attempt(os.fork),
        "spawn": attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
        "signal": attempt(lambda: os.kill(os.getpid(), 0)),
        "trace": attempt(lambda: call("ptrace", 0, 0, 0, 0)),
        "dumpable": attempt(lambda: prctl.set_dumpable(1)),
        "death signal": attempt(lambda: prctl.set_pdeathsig(9)),
        "namespace": attempt(lambda: call("unshare", 0x10000000)),
        "mount": attempt(lambda: call("mount", 0, b"/tmp", b"tmpfs", 0, 0)),
        "keyring": attempt(lambda: call("syscall", 250, 0, -4, 0)),
        "ring": attempt(lambda: call("syscall", 425, 1, 0)),
        "memory file": attempt(lambda: os.memfd_create("planted")),
        "remove": attempt(lambda: os.unlink("/tmp/anything")),
        "mode": attempt(lambda: os.chmod("/tmp", 0o777)),
        "limit of another": attempt(lambda: resource.prlimit(os.getpid(), resource.RLIMIT_CPU)),
        "terminal": attempt(lambda: fcntl.ioctl(0, 0x5412, b"x")),
        "writable code": attempt(lambda: mmap.mmap(-1, 4096, prot=7)),
        "code of data": attempt(make_executable),
        "internet": attempt(lambda: socket.socket(socket.AF_INET)),
        "datagram": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        "packet": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "uevent": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)),
    }, "EACCES": {
        "host name": attempt(lambda: open("/etc/hostname")),
        "home": attempt(lambda: os.listdir("/home/alice")),
        "temporary": attempt(lambda: open("/tmp/planted", "w")),
        "forwarding": attempt(lambda: open("/proc/sys/net/ipv4/ip_forward", "w")),
        "others": attempt(lambda: open(f"/proc/{os.getppid()}/status")),
        "null": attempt(lambda: open("/dev/null", "w")),
    }}

def main(argv):
    if argv[1:2] == ["nothing"]:
        # The C library does it first where it can, with /dev/full for reading.
        os._exit(any(os.readlink(f"/proc/self/fd/{fd}") not in ("/dev/null", "/dev/full")
                     for fd in argv[2:]))
    if argv[1:] == ["wait"]:
        # Without a capability nothing else keeps the user's other processes out.
        prctl.cap_permitted.limit()
        print("waiting", flush=True)
        return 0 if sys.stdin.readline() else 1
    print(json.dumps(tried() if argv[1:] == ["attempt"] else seen(argv)))
    return 0

def run():
    sys.exit(main(sys.argv))
"""


@pytest.fixture(scope="session")
def stubbed(bare_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with a launcher that starts the stub, privileged as `make install` does it."""
    build = tmp_path_factory.mktemp("launcher")
    subprocess.run(
        [
            "make",
            "-s",
            "-C",
            ROOT,
            f"PREFIX={PREFIX}",
            f"BUILD={build}",
            "PYTHON=/usr/bin/python3",
            f"{build}/tapdraft-helper",
            "launcher-asan",
        ],
        check=True,
    )
    bare_site.write(f"{HELPER}/__init__.py", "")
    bare_site.write(f"{HELPER}/__main__.py", STUB)
    for name, built in (("launcher", "tapdraft-helper"), ("asan", "tapdraft-helper-asan")):
        bare_site.write(f"{PREFIX}/{name}", (build / built).read_bytes(), mode=0o755)
        give(bare_site, f"{PREFIX}/{name}")
    return bare_site


def give(site: Site, launcher: str, capability: str = "cap_net_admin=p") -> None:
    site.run(["setcap", capability, launcher]).check()


def start(site: Site, *words: str, before: tuple[str, ...] = (), **options: Any) -> Result:
    """Start the launcher as alice, through the commands `before`."""
    return site.run([*before, LAUNCHER, *words], **{"user": "alice", **options})


def found(result: Result) -> dict[str, Any]:
    """What the stub found: the start succeeded."""
    answer = json.loads(result.check().stdout)
    assert isinstance(answer, dict)
    return answer


def refused(result: Result, status: int, words: str) -> None:
    """It was refused before Python started, in two lines, of which the first has these words."""
    lines = result.check(status).stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], result
    assert words in lines[0], result
    assert result.stdout == ""


def after(setup: str) -> tuple[str, ...]:
    """Commands that run Python code and then execute what follows, in the same process."""
    code = f"import os, sys\n{setup}\nos.execv(sys.argv[1], sys.argv[1:])"
    return ("/usr/bin/python3", "-c", code)


# --- the file itself


def test_it_is_built_with_what_hinders_exploits(stubbed: Site, requires: Any) -> None:
    requires("readelf")
    options = ["--wide", "--file-header", "--program-headers", "--dynamic", "--dyn-syms"]
    elf = subprocess.run(
        ["readelf", *options, stubbed.path(LAUNCHER)], check=True, capture_output=True, text=True
    ).stdout
    for pattern in (
        r"Type: +DYN .*Position-Independent",
        "GNU_RELRO",
        "BIND_NOW",
        "GNU_STACK .* RW ",
        "__stack_chk_fail",
        "__(dprintf|snprintf)_chk",
    ):
        assert re.search(pattern, elf), pattern
    assert not re.search("RPATH|RUNPATH|TEXTREL| RWE ", elf)


# --- 1. arguments


@pytest.mark.parametrize(
    "words",
    [
        ("word",) * 64,
        ("x" * 5000,),
        ("line\nbreak",),
        ("\x1b[31m",),
        ("del\x7f",),
        ("\u0430",),
        ("é",),
        ("--fd=",),
        ("--fd=2",),
        ("--fd=03",),
        ("--fd=+3",),
        ("--fd= 3",),
        ("--fd=0x3",),
        ("--fd=3 ",),
        ("--fd=-1",),
        ("--fd=1024",),
        ("--fd=99999999999999999999",),
        ("--fd=3,4",),
        ("--fd=3", "--fd=3"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("launcher", ["launcher", "asan"])
def test_arguments_that_no_request_needs_are_refused(
    stubbed: Site, launcher: str, words: tuple[str, ...]
) -> None:
    result = stubbed.run([f"{PREFIX}/{launcher}", *words], user="alice")
    refused(result, USAGE, "argument" if "--fd=" not in words[0] else "--fd= is not one descriptor")
    assert not [word for word in words if word in result.stderr and word not in ("word", "--fd=")]


def test_ordinary_arguments_arrive_as_they_are(stubbed: Site) -> None:
    words = ["up", "192.168.7.1/30", "a b", "$x;`'\"\\", "-h", "--help", "-c", "", *["w"] * 50]
    assert found(start(stubbed, *words))["argv"] == words


def test_an_empty_argument_list_does_no_harm(stubbed: Site) -> None:
    code = f"import ctypes; ctypes.CDLL(None).execve({LAUNCHER.encode()!r}, 0, 0)"
    assert found(stubbed.run(["/usr/bin/python3", "-c", code], user="alice"))["argv"] == []


# --- 2. privilege


def test_only_net_admin_arrives_and_nothing_is_effective(stubbed: Site) -> None:
    status = found(start(stubbed))["status"]
    sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert sets == {"CapInh": 0, "CapPrm": 1 << 12, "CapEff": 0, "CapAmb": 0}


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (("setpriv", "--no-new-privs"), "no_new_privs"),
        (("strace", "-o", "/dev/null"), "traced"),
        (("unshare", "--user", "--map-root-user"), "already holds"),
    ],
)
def test_a_caller_learns_why_the_capability_did_not_come(
    stubbed: Site, requires: Any, before: tuple[str, ...], words: str
) -> None:
    requires(before[0])
    refused(start(stubbed, before=before), IN_THE_WAY, words)


def become_alice(*options: str) -> tuple[str, ...]:
    return ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", *options, "--")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--bounding-set=-net_admin", "bounding set"),
        ("--inh-caps=+net_raw", "inheritable"),
    ],
)
def test_capability_sets_that_root_left_to_the_caller_are_refused(
    stubbed: Site, option: str, words: str
) -> None:
    before = become_alice(option)
    refused(start(stubbed, before=(*before, "env"), user="root"), IN_THE_WAY, words)


def test_root_is_told_how_to_run_the_python_side(stubbed: Site) -> None:
    result = start(stubbed, user="root")
    refused(result, IN_THE_WAY, "already holds")
    assert f"PYTHONPATH={PREFIX}/lib/tapdraft" in result.stderr


def test_root_who_gave_up_being_special_is_refused_too(stubbed: Site) -> None:
    before = ("setpriv", "--securebits=+noroot", "--inh-caps=-all", "--")
    refused(start(stubbed, before=before, user="root"), IN_THE_WAY, "already holds")


@pytest.fixture
def copy(stubbed: Site) -> Iterator[str]:
    """A copy of the launcher, without any capability."""
    path = f"{PREFIX}/copy"
    stubbed.run(["cp", LAUNCHER, path]).check()
    yield path
    stubbed.run(["rm", path]).check()


def test_a_copy_has_no_capability(stubbed: Site, copy: str) -> None:
    refused(stubbed.run([copy], user="alice"), IN_THE_WAY, "this file has none")


def test_an_ambient_capability_does_not_replace_the_file_s(stubbed: Site, copy: str) -> None:
    before = become_alice("--inh-caps=+net_admin", "--ambient-caps=+net_admin")
    refused(stubbed.run([*before, copy]), IN_THE_WAY, "already holds")


@pytest.mark.parametrize(
    "capability",
    [
        "cap_net_admin,cap_net_raw=p",
        "cap_net_raw=p",
        "cap_net_admin=ep",
        "cap_net_admin,cap_checkpoint_restore=p",
    ],
)
def test_a_file_with_another_capability_is_refused(
    stubbed: Site, copy: str, capability: str
) -> None:
    give(stubbed, copy, capability)
    refused(stubbed.run([copy], user="alice"), IN_THE_WAY, "more than net_admin")


@pytest.mark.parametrize("mode", ["u+s", "g+s"])
def test_a_setuid_or_setgid_bit_is_refused(stubbed: Site, copy: str, mode: str) -> None:
    stubbed.run(["chgrp", "bob", copy]).check()
    stubbed.run(["chmod", mode, copy]).check()
    give(stubbed, copy)
    refused(stubbed.run([copy], user="alice"), IN_THE_WAY, "ids differ")


def test_a_nosuid_mount_is_named(stubbed: Site, copy: str) -> None:
    give(stubbed, copy)
    script = f'mount --bind {PREFIX} {PREFIX} && mount -o remount,bind,nosuid {PREFIX} && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", script, "sh", *become_alice()]
    refused(stubbed.run([*inside, copy]), IN_THE_WAY, "nosuid")


def test_it_cannot_be_looked_into_by_its_own_user(stubbed: Site, requires: Any) -> None:
    requires("strace")
    answer = found(start(stubbed))
    assert (answer["secure"], answer["dumpable"]) == (1, False)
    script = f"""coproc {LAUNCHER} wait; read -ru "${{COPROC[0]}}"
        cat "/proc/$COPROC_PID/environ" "/proc/$COPROC_PID/mem"; strace -p "$COPROC_PID"
        echo >&"${{COPROC[1]}}"; wait "$COPROC_PID" && echo ended"""
    result = stubbed.run(["bash", "-c", script], user="alice").check()
    assert result.stdout == "ended\n"
    assert result.stderr.count("ermission denied") == 2, result
    assert "attach" in result.stderr


# --- 3. descriptors


OPEN = {"0", "1", "2"}


def own(answer: dict[str, Any]) -> set[str]:
    """The descriptors that are open, but for those that hold a path of /proc for Landlock."""
    held = re.compile(r"/proc/(\d+|sys/net\S*)$")
    return {fd for fd, path in answer["fds"].items() if not held.match(path)}


def test_inherited_descriptors_are_closed(stubbed: Site) -> None:
    many = after("for fd in range(10, 210): os.dup2(2, fd)")
    assert own(found(start(stubbed, before=many))) == OPEN


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_closed_standard_streams_are_opened_on_nothing(stubbed: Site, closed: str) -> None:
    before = after(f"for fd in {closed!r}: os.close(int(fd))")
    result = start(stubbed, "nothing", *closed, before=before).check()
    assert result.stdout + result.stderr == ""


def test_the_named_socket_is_kept_and_no_other(stubbed: Site) -> None:
    pair = after(
        "import socket; a, b = socket.socketpair()\nfor fd in 76, 77, 78: os.dup2(a.fileno(), fd)"
    )
    answer = found(start(stubbed, "--fd=77", before=pair))
    assert own(answer) == OPEN | {"77"}
    assert answer["fds"]["77"].startswith("socket:")


@pytest.mark.parametrize(
    "setup",
    [
        "pass",
        "os.dup2(2, 5)",
        "os.dup2(os.open('/', 0), 5)",
        "import socket as s; x = s.socketpair(s.AF_UNIX, s.SOCK_DGRAM)[0]; os.dup2(x.fileno(), 5)",
        "import socket as s; x = s.socket(); os.dup2(x.fileno(), 5)",
        "import socket as s; x = s.socket(s.AF_NETLINK, s.SOCK_RAW); os.dup2(x.fileno(), 5)",
    ],
)
def test_a_descriptor_that_is_no_unix_stream_is_not_kept(stubbed: Site, setup: str) -> None:
    refused(start(stubbed, "--fd=5", before=after(setup)), USAGE, "no Unix stream socket")


# --- 4. process


def test_timers_signals_mask_and_folder_of_the_caller_are_undone(stubbed: Site) -> None:
    answer = found(
        start(
            stubbed,
            cwd="/tmp",
            before=after(
                "import signal as s, resource as r; os.umask(0)\n"
                "for which in range(3): s.setitimer(which, 3600)\n"
                "for n in set(s.valid_signals()) - {9, 19}: s.signal(n, s.SIG_IGN)\n"
                "s.pthread_sigmask(s.SIG_BLOCK, s.valid_signals())\n"
                "r.setrlimit(r.RLIMIT_CORE, (r.RLIM_INFINITY, r.RLIM_INFINITY))"
            ),
        )
    )
    assert answer["timers"] == [[0.0, 0.0]] * 3
    assert answer["core"] == [0, 0]
    assert (answer["umask"], answer["cwd"]) == (0o77, "/")
    assert [int(answer["status"][name], 16) for name in ("SigBlk", "SigIgn")] == [0, 0]


def test_a_timer_of_a_millisecond_ends_it_or_does_nothing(stubbed: Site) -> None:
    result = start(stubbed, before=after("import signal as s; s.setitimer(s.ITIMER_REAL, 0.001)"))
    assert result.status in (0, -14), result


@pytest.mark.parametrize(
    "limit", ["nofile=64", "as=200000000", "data=100000000", "stack=262144", "cpu=2"]
)
def test_limits_that_would_end_it_half_way_are_refused(stubbed: Site, limit: str) -> None:
    result = start(stubbed, before=("prlimit", f"--{limit}"))
    refused(result, IN_THE_WAY, "ulimit -")


# --- 5. environment


def test_no_variable_of_the_caller_arrives(stubbed: Site, hostile: str) -> None:
    answer = found(
        start(
            stubbed,
            env={
                "PYTHONPATH": hostile,
                "PYTHONHOME": hostile,
                "PYTHONSTARTUP": f"{hostile}/json.py",
                "PYTHONINSPECT": "1",
                "PYTHONUSERBASE": hostile,
                "LD_AUDIT": f"{hostile}/none.so",
                "GLIBC_TUNABLES": "glibc.malloc.check=3",
                "PATH": hostile,
                "LC_ALL": "tr_TR.UTF-8",
            },
        )
    )
    hardening = answer["environ"].pop("TAPDRAFT_HARDENING")
    assert answer["environ"] == {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    assert re.fullmatch(r"landlock=(\d+|none) seccomp=(on|none)", hardening)
    assert answer["encoding"] == "utf-8"


def test_a_preloaded_library_is_not_loaded(stubbed: Site, tmp_path: Path) -> None:
    source, library = tmp_path / "evil.c", tmp_path / "evil.so"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor))\n"
        'static void load(void) { fputs("evil", stdout); fflush(stdout); }'
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    evil = stubbed.write("/home/alice/evil.so", library.read_bytes(), mode=0o755)
    assert stubbed.run(["/bin/true"], user="alice", env={"LD_PRELOAD": evil}).stdout == "evil"
    found(start(stubbed, env={"LD_PRELOAD": evil}))


# --- 6. files and 8. Python


@pytest.fixture
def hostile(stubbed: Site) -> str:
    """A folder of alice's with modules that would be noticed if they were imported."""
    for name in ("json.py", "os.py", "usercustomize.py", "tapdraft/__init__.py"):
        stubbed.write(f"/home/alice/evil/{name}", "print('evil')", owner="alice")
    return "/home/alice/evil"


def fixed(name: str) -> list[str]:
    """A list of the launcher's paths, as the build fixed it."""
    lines = subprocess.run(
        [ROOT / "tools/launcher-paths", f"{PREFIX}/lib/tapdraft", "/etc/tapdraft"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    [values] = [line.partition(name)[2] for line in lines if line.startswith(f"#define {name} ")]
    return re.findall('"(.*?)"', values)


def test_python_imports_from_the_fixed_folders_only(stubbed: Site, hostile: str) -> None:
    site_packages = f"/usr/local/lib/python{VERSION}/dist-packages"
    own_packages = f"/home/alice/.local/lib/python{VERSION}/site-packages"
    for path in (f"{own_packages}/evil.pth", f"{own_packages}/usercustomize.py"):
        stubbed.write(path, "import sys; print('evil')", owner="alice")
    stubbed.write(f"{site_packages}/evil.pth", "import sys; print('evil')")
    stubbed.write(f"{PREFIX}/pyvenv.cfg", f"home = {hostile}\n")
    assert "evil" in stubbed.run(["/usr/bin/python3", "-c", ""], user="alice").stdout
    answer = found(start(stubbed, cwd=hostile))
    assert answer["path"] == fixed("IMPORT_FOLDERS")
    assert (answer["isolated"], answer["no_site"]) == (1, 1)
    assert not {"site", "runpy", "usercustomize"} & set(answer["modules"])
    stubbed.run(["rm", f"{site_packages}/evil.pth", f"{PREFIX}/pyvenv.cfg"]).check()
    stubbed.run(["rm", "-r", "/home/alice/.local"]).check()


def test_all_that_the_real_helper_imports_is_checked() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import tapdraft.helper.__main__, tapdraft.helper.explain.preview\n"
        "print(*{m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)})"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tapdraft").mkdir()
        Path(folder, "tapdraft/helper").symlink_to(ROOT / "helper")
        imported = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-c", code, folder, *fixed("IMPORT_FOLDERS")],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    stdlib = fixed("IMPORT_FOLDERS")[0]
    trusted = (f"{folder}/tapdraft/", f"{stdlib}/", *fixed("TRUSTED_TREES"))
    assert len(imported) > 20
    assert [path for path in imported if not path.startswith(trusted)] == []


@pytest.mark.parametrize("spoil", ["chmod g+w", "chmod o+w", "chown alice"])
@pytest.mark.parametrize(
    "path",
    [
        f"{HELPER}/__main__.py",
        HELPER,
        f"{PREFIX}/lib/tapdraft",
        f"{PREFIX}/lib",
        PREFIX,
        "/usr",
        STDLIB,
        "/usr/lib/python3",
        "/usr/lib/python3/dist-packages/prctl.py",
        "/usr/lib/python3/dist-packages",
    ],
)
def test_files_that_others_could_change_are_refused(stubbed: Site, path: str, spoil: str) -> None:
    before = stubbed.path(path).stat()
    stubbed.run([*spoil.split(), path]).check()
    try:
        refused(start(stubbed), IN_THE_WAY, f"plain file or folder: {path}")
    finally:
        stubbed.run(["chown", f"{before.st_uid}:{before.st_gid}", path]).check()
        stubbed.run(["chmod", f"{before.st_mode & 0o7777:o}", path]).check()
    found(start(stubbed))


@pytest.mark.parametrize(
    "plant",
    [
        f"ln -s {STDLIB}/json/__init__.py",
        "mkfifo",
        "install -D -m 644 -o alice /dev/null",
        "install -d -m 700 -o alice",
    ],
)
def test_files_added_to_the_helper_must_be_plain_and_root_s(stubbed: Site, plant: str) -> None:
    extra = f"{HELPER}/extra"
    stubbed.run([*plant.split(), extra]).check()
    try:
        refused(start(stubbed), IN_THE_WAY, extra)
    finally:
        stubbed.run(["rm", "-r", extra]).check()


def test_a_folder_reached_by_a_symbolic_link_is_refused(stubbed: Site) -> None:
    stubbed.run(["mv", f"{PREFIX}/lib", f"{PREFIX}/moved"]).check()
    stubbed.run(["ln", "-s", f"{PREFIX}/moved", f"{PREFIX}/lib"]).check()
    try:
        refused(start(stubbed), IN_THE_WAY, f"{PREFIX}/lib")
    finally:
        stubbed.run(["rm", f"{PREFIX}/lib"]).check()
        stubbed.run(["mv", f"{PREFIX}/moved", f"{PREFIX}/lib"]).check()


def test_missing_files_are_named(stubbed: Site) -> None:
    stubbed.run(["mv", HELPER, f"{PREFIX}/away"]).check()
    stubbed.run(["rmdir", f"{PREFIX}/lib/tapdraft/tapdraft"]).check()
    try:
        refused(start(stubbed), IN_THE_WAY, "missing")
    finally:
        stubbed.run(["install", "-d", f"{PREFIX}/lib/tapdraft/tapdraft"]).check()
        stubbed.run(["mv", f"{PREFIX}/away", HELPER]).check()


# --- 7. confinement


def test_hostile_code_inside_can_do_nothing_but_the_helper_s_work(stubbed: Site) -> None:
    outcome = found(start(stubbed, "attempt"))
    assert outcome.pop("allowed") == {"sysctl": "None", "netlink": "None", "users": "'root'"}
    for error, attempts in outcome.items():
        assert set(attempts.values()) == {error}, attempts


def test_nothing_outside_the_stated_folders_is_looked_at(stubbed: Site, requires: Any) -> None:
    requires("strace")
    trace = ["strace", "-f", "-o", "/tmp/trace", "-e", "trace=%file,landlock_restrict_self"]
    found(start(stubbed, before=(*trace, *become_alice(), "env"), user="root"))
    calls = stubbed.path("/tmp/trace").read_text().partition("landlock_restrict_self(")[2]
    paths = set(re.findall(r'^\d+ +(?!getcwd)\w+\((?:AT_FDCWD, )?"(.*?)"', calls, re.MULTILINE))
    allowed = (
        *fixed("IMPORT_FOLDERS"),
        LAUNCHER,
        "/proc/self/",
        "/usr/share/zoneinfo/UTC",
        "/usr/lib/",
        "/lib/",
        "/etc/ld.so.cache",
    )
    assert len(paths) > 50
    assert sorted(path for path in paths if not path.startswith(allowed)) == []


def test_the_confinement_is_on_and_final(stubbed: Site) -> None:
    answer = found(start(stubbed))
    assert (answer["status"]["NoNewPrivs"], answer["status"]["Seccomp"]) == ("1", "2")
    assert answer["environ"]["TAPDRAFT_HARDENING"].endswith("seccomp=on")


# System calls of x86-64 and their first arguments, and errors.
LANDLOCK, PRCTL, CLOSE_RANGE, SECCOMP, SETITIMER = 444, 157, 436, 317, 38
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
EPERM, EINVAL, ENOSYS, EOPNOTSUPP = 1, 22, 38, 95


def pretend(call: int, option: int, error: int) -> tuple[str, ...]:
    """Commands that make a kernel which fails one system call (with one first argument), then
    become alice. A filter set by root, who needs no no_new_privs for it, does that."""
    filter_it = after(f"""
import ctypes, struct
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, {call}), (0x20, 0, 0, 16), (0x15, 0, 1, {option}),
         (0x06, 0, 0, 0x00050000 | {error}), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
filter = struct.pack("H6xP", len(steps), ctypes.addressof(program))
assert ctypes.CDLL(None).prctl(22, 2, filter, 0, 0) == 0
""")
    return (*filter_it, "/usr/bin/setpriv", *become_alice()[1:], "env")


@pytest.mark.parametrize(
    ("call", "option", "error", "hardening"),
    [
        (LANDLOCK, 0, ENOSYS, "landlock=none seccomp=on"),
        (LANDLOCK, 0, EOPNOTSUPP, "landlock=none seccomp=on"),
        (PRCTL, PR_SET_SECCOMP, EINVAL, "seccomp=none"),
    ],
)
def test_a_kernel_without_a_hardening_is_used_and_said_so(
    stubbed: Site, call: int, option: int, error: int, hardening: str
) -> None:
    answer = found(start(stubbed, before=pretend(call, option, error), user="root"))
    assert answer["environ"]["TAPDRAFT_HARDENING"].endswith(hardening)


@pytest.mark.parametrize(
    ("call", "option", "error"),
    [
        (LANDLOCK, 0, EPERM),
        (PRCTL, PR_SET_NO_NEW_PRIVS, EPERM),
        (PRCTL, PR_SET_DUMPABLE, EPERM),
        (CLOSE_RANGE, 3, ENOSYS),
        (SECCOMP, 1, EPERM),
        (SETITIMER, 0, EPERM),
    ],
)
def test_a_check_that_cannot_be_done_is_a_refusal(
    stubbed: Site, call: int, option: int, error: int
) -> None:
    result = start(stubbed, before=pretend(call, option, error), user="root")
    refused(result, CANNOT_CHECK, "could not ")


@pytest.mark.parametrize("words", [("up", "web"), ("--fd=5",), ("attempt",)])
def test_the_sanitizers_find_nothing_in_a_whole_start(
    stubbed: Site, words: tuple[str, ...]
) -> None:
    pair = after("import socket; a, b = socket.socketpair(); os.dup2(a.fileno(), 5)")
    result = stubbed.run([*pair, f"{PREFIX}/asan", *words], user="alice")
    assert found(result)
    assert result.stderr == ""
