"""Process: what whoever starts the helper chooses about its start"""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest
from attacker import UP, assert_refused, assert_up, attack, program, take_down
from labnet import PYTHON, Lab
from labsite import CACHE_TAG, HELPER, LIBPYTHON, STDLIB, VERSION, Site

IN_THE_WAY = 4
# A module or library that tells of having been run, in a place that every user can write to.
TELLTALE = "open('/tmp/was-run', 'w').close()"


def was_run(site: Site) -> bool:
    """Was an attacker's code run in the helper's process?"""
    return site.path("/tmp/was-run").exists()


@pytest.fixture(scope="module")
def library(installed_site: Site) -> str:
    """A library that tells when it is loaded, also as an auditor or a Python module."""
    source = installed_site.write(
        "/tmp/tell.c",
        """
        #include <fcntl.h>
        __attribute__((constructor)) static void tell(void) { creat("/tmp/was-run", 0644); }
        unsigned la_version(unsigned version) { tell(); return version; }
        void *PyInit_json(void) { tell(); return 0; }
        """,
    )
    installed_site.run(["gcc", "-shared", "-fPIC", "-o", "/tmp/tell.so", source]).check()
    installed_site.run(["cp", "/tmp/tell.so", "/usr/lib/libtell.so"]).check()
    return "/tmp/tell.so"


LOADER = {
    "LD_PRELOAD": "/tmp/tell.so:libtell.so",
    "LD_AUDIT": "/tmp/tell.so:libtell.so",
    "LD_LIBRARY_PATH": "/tmp/libs",
    "LD_DEBUG": "all",
    "LD_PROFILE": "libc.so.6",
    "GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.rtld.optional_static_tls=x",
}
LIBRARY = {
    "GCONV_PATH": "/tmp/libs",
    "LOCPATH": "/tmp/libs",
    "MALLOC_TRACE": "/tmp/was-run",
    "RES_OPTIONS": "debug",
    "HOSTALIASES": "/tmp/x",
    "NLSPATH": "/tmp/%N",
    "TZ": "/tmp/zone",
    "TZDIR": "/tmp",
    "LC_ALL": "tr_TR.UTF-8",
    "PATH": "/tmp",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "XDG_CONFIG_HOME": "/tmp",
    "TAPDRAFT_HARDENING": "none",
    "SYSTEMD_BYPASS_USERDB": "no",
}
INTERPRETER = {
    "PYTHONPATH": "/tmp/py",
    "PYTHONHOME": "/tmp/py",
    "PYTHONSTARTUP": "/tmp/py/json.py",
    "PYTHONINSPECT": "1",
    "PYTHONUSERBASE": "/tmp/py",
    "PYTHONPYCACHEPREFIX": "/tmp/py",
    "PYTHONBREAKPOINT": "json.tell",
    "PYTHONVERBOSE": "1",
    "PYTHONDEBUG": "3",
    "PYTHONWARNINGS": "error",
    "PYTHONMALLOC": "debug",
    "PYTHONUTF8": "0",
    "PYTHONDUMPREFS": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONPLATLIBDIR": "/tmp/py",
    "PYTHONOPTIMIZE": "2",
    "PYTHONEXECUTABLE": "/tmp/py/bin/python3",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONTRACEMALLOC": "1",
}


@pytest.mark.parametrize("variable", [*LOADER, "all"])
def test_the_loader_obeys_no_variable(target: Lab, library: str, variable: str) -> None:
    """To the loader the program is as privileged as a setuid one."""
    loaded = target.run(["ldd", HELPER]).check().stdout
    for name in ("libc.so.6", "libseccomp.so.2", LIBPYTHON):
        assert name in loaded, "the trap is for a library that the launcher does not load"
        target.run(["install", "-D", library, f"/tmp/libs/{name}"]).check()
    settings = LOADER if variable == "all" else {variable: LOADER[variable]}
    done = target.helper(*UP, env=settings)
    assert_up(done)
    assert not was_run(target.site)
    take_down(target)


def test_the_library_obeys_no_variable(target: Lab) -> None:
    """The environment is made anew, and nothing of the caller's is copied."""
    assert_up(target.helper(*UP, env=LIBRARY))
    assert not was_run(target.site)
    assert target.helper("--status", env=LIBRARY).check().stdout.startswith("hardening landlock=")
    take_down(target)


@pytest.mark.parametrize(
    "variable", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "all"]
)
def test_python_obeys_no_variable(target: Lab, variable: str) -> None:
    for name in (
        "json",
        "os",
        "sitecustomize",
        "usercustomize",
        "encodings",
        "configparser",
        "prctl",
    ):
        target.write(f"/tmp/py/{name}.py", TELLTALE)
    settings = INTERPRETER if variable == "all" else {variable: INTERPRETER[variable]}
    done = target.helper(*UP, env=settings)
    assert_up(done)
    assert not done.stderr
    assert not was_run(target.site)
    take_down(target)


def test_modules_in_the_working_folder_are_not_imported(target: Lab) -> None:
    """json.py and others, a package tapdraft, pyvenv.cfg, and compiled files beside them."""
    folder = "/home/alice/trap"
    for name in (
        "json",
        "os",
        "socket",
        "syslog",
        "prctl",
        "configparser",
        "tapdraft/__init__",
        "tapdraft/helper/__main__",
        "pyroute2/__init__",
        "encodings/__init__",
    ):
        target.write(f"{folder}/{name}.py", TELLTALE, owner="alice")
    target.write(f"{folder}/pyvenv.cfg", f"home = {folder}\ninclude-system-site-packages = true\n")
    target.write(f"{folder}/python{VERSION.replace('.', '')}._pth", ".\nimport json\n")
    target.run([PYTHON, "-m", "compileall", "-q", folder]).check()
    assert_up(target.helper(*UP, cwd=folder))
    assert not was_run(target.site)
    take_down(target)


def test_a_working_folder_that_cannot_be_read_is_harmless(target: Lab) -> None:
    code = "os.mkdir('/tmp/gone'); os.chdir('/tmp/gone'); os.rmdir('/tmp/gone'); start()"
    assert_up(attack(target, code))
    take_down(target)


def test_pth_files_and_usercustomize_in_the_users_site_are_not_run(target: Lab) -> None:
    site = target.run([PYTHON, "-m", "site", "--user-site"], user="alice").stdout.strip()
    target.write(f"{site}/usercustomize.py", TELLTALE, owner="alice")
    target.write(f"{site}/evil.pth", f"import os; {TELLTALE}", owner="alice")
    target.run(["chown", "-R", "alice", "/home/alice/.local"]).check()
    assert_up(target.helper(*UP))
    assert not was_run(target.site)
    target.run([PYTHON, "-c", "pass"], user="alice").check()
    assert was_run(target.site), "the trap itself does not work"
    target.run(["rm", "-r", "/tmp/was-run", "/home/alice/.local"]).check()
    take_down(target)


def test_a_poisoned_pycache_is_not_used(target: Lab) -> None:
    """Nobody but root can put one there, and PYTHONPYCACHEPREFIX leads nowhere."""
    code = f"""
        helper = "/usr/local/lib/tapdraft/tapdraft/helper"
        for folder in (helper, {STDLIB!r}, "/tmp/prefix"):
            try:
                os.makedirs(folder + "/__pycache__", exist_ok=True)
                open(folder + "/__pycache__/json.{CACHE_TAG}.pyc", "wb").close()
                open(folder + "/__pycache__/policy.{CACHE_TAG}.pyc", "wb").close()
            except OSError:
                continue
            print("could write below", folder, flush=True)
        start(env={{"PYTHONPYCACHEPREFIX": "/tmp/prefix"}})
        """
    done = attack(target, "if True:\n" + code)
    assert done.stdout == "could write below /tmp/prefix\ntd-web is up\n", str(done)
    take_down(target)


CLOSED = [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)]


@pytest.mark.parametrize("closed", CLOSED, ids=lambda c: "".join(map(str, c)))
def test_closed_standard_descriptors_are_harmless(target: Lab, closed: tuple[int, ...]) -> None:
    """Else the tap or a netlink socket would become 1 or 2, and messages would be written to it."""
    done = attack(target, f"for fd in {closed}: os.close(fd)\nstart()")
    assert done.status == 0, str(done)
    assert done.stdout == ("" if 1 in closed else "td-web is up\n")
    assert [tap.name for tap in target.tapdraft().taps] == ["td-web"]
    take_down(target)


@pytest.mark.parametrize("closed", CLOSED, ids=lambda c: "".join(map(str, c)))
def test_a_refusal_with_closed_standard_descriptors_goes_nowhere(
    target: Lab, closed: tuple[int, ...]
) -> None:
    done = attack(
        target, f"for fd in {closed}: os.close(fd)\nstart('up', 'web', '10.0.0.1/30', '10.0.0.2')"
    )
    assert (done.status, done.stdout) == (3, "")
    assert ("error: " in done.stderr) == (2 not in closed)


def test_200_inherited_descriptors_are_harmless(target: Lab) -> None:
    """Folders, taps, sockets: none of them is open any more when Python starts."""
    assert_up(
        attack(
            target,
            """if True:
        for number in range(100):
            os.set_inheritable(os.open("/", os.O_RDONLY), True)
            os.set_inheritable(os.open("/dev/net/tun", os.O_RDWR), True)
            os.set_inheritable(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).detach(), True)
        start()""",
        )
    )
    take_down(target)


@pytest.mark.parametrize("protocol", [0, 12, 15])
@pytest.mark.parametrize(
    "words", [UP, ("up", "\x72" * 200), ("--help",)], ids=["done", "refused", "help"]
)
def test_a_netlink_socket_as_standard_output_is_harmless(
    target: Lab, protocol: int, words: tuple[str, ...]
) -> None:
    """The kernel asks what the writer may do, too: whatever is written then, nothing is held."""
    done = attack(
        target,
        f"""if True:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {protocol}).detach()
        os.dup2(kernel, 0), os.dup2(kernel, 1), os.dup2(kernel, 2)
        start(*{words})""",
    )
    assert (done.stdout, done.stderr) == ("", "")
    take_down(target)


@pytest.mark.parametrize("what", ["/dev/net/tun", "/proc/self/mem", "/dev/full", "a closed pipe"])
def test_no_kind_of_standard_output_is_dangerous(target: Lab, what: str) -> None:
    """What was done stays done, and `down` undoes it, also when nobody could be told."""
    attack(
        target,
        f"""if True:
        if {what!r} == "a closed pipe":
            read, write = os.pipe()
            os.close(read)
        else:
            write = os.open({what!r}, os.O_RDWR)
        os.dup2(write, 1), os.dup2(write, 2)
        start()""",
    )
    take_down(target)


@pytest.mark.parametrize("milliseconds", [1, 2, 5, 10, 20, 30, 40, 50])
def test_an_interval_timer_ends_it_early_or_not_at_all(target: Lab, milliseconds: int) -> None:
    """It is off before anything is changed; until then it ends a process that did nothing."""
    seconds = milliseconds / 1000
    code = f"signal.setitimer(signal.ITIMER_REAL, {seconds}, {seconds})\nstart()"
    done = attack(target, code)
    if done.status == 0:
        assert_up(done)
    else:
        assert done.status == -signal.SIGALRM
        assert not target.tapdraft().taps
        assert not target.tapdraft().table
    take_down(target)


@pytest.mark.parametrize("timer", ["ITIMER_VIRTUAL", "ITIMER_PROF"])
def test_a_timer_of_processor_time_is_switched_off(target: Lab, timer: str) -> None:
    """The launcher needs less than these 20 ms until it does that, and Python more afterwards."""
    assert_up(attack(target, f"signal.setitimer(signal.{timer}, 0.02, 0.02)\nstart()"))
    take_down(target)


@pytest.mark.parametrize("what", ["block", "ignore", "block and send"])
def test_blocked_or_ignored_signals_are_harmless(target: Lab, what: str) -> None:
    """Pending ones end it before it has done anything, as they would have without being blocked."""
    done = attack(
        target,
        f"""if True:
        every = set(signal.Signals) - {{signal.SIGKILL, signal.SIGSTOP}}
        if {what!r} == "ignore":
            for number in every:
                signal.signal(number, signal.SIG_IGN)
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, every)
        if {what!r} == "block and send":
            for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1):
                os.kill(os.getpid(), number)
        start()""",
    )
    if what == "block and send":
        assert done.status < 0
        assert not target.tapdraft().taps
    else:
        assert_up(done)
    take_down(target)


def test_it_can_be_ended_though_the_caller_ignored_every_signal(target: Lab) -> None:
    code = """if True:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        read, write = os.pipe()
        os.dup2(read, 0)
        if os.fork():
            start("-")
        os.close(1)
        while "libpython" not in open(f"/proc/{os.getppid()}/stat").read() + "libpython":
            pass
        status = f"/proc/{os.getppid()}/status"
        while "SigIgn:\\t0000000000000000" not in open(status).read():
            pass
        os.kill(os.getppid(), signal.SIGTERM)
        """
    assert attack(target, code).status == -signal.SIGTERM


@pytest.mark.parametrize(
    ("limit", "value", "option"),
    [
        ("NOFILE", 0, "n"),
        ("NOFILE", 16, "n"),
        ("NOFILE", 127, "n"),
        ("AS", 1 << 24, ""),
        ("AS", 256 << 20, "v"),
        ("DATA", 64 << 20, "d"),
        ("CPU", 1, "t"),
        ("CPU", 9, "t"),
        ("STACK", 64 << 10, "s"),
        ("STACK", 512 << 10, "s"),
    ],
)
def test_a_limit_too_small_to_finish_is_refused(
    target: Lab, limit: str, value: int, option: str
) -> None:
    """Or the program cannot even start: either way nothing is begun that could not be finished."""
    done = attack(
        target, f"resource.setrlimit(resource.RLIMIT_{limit}, ({value}, {value}))\nstart()"
    )
    if done.status == IN_THE_WAY:
        assert_refused(done, IN_THE_WAY, f"too small: ulimit -{option}")
    else:
        assert limit in ("NOFILE", "AS", "STACK", "DATA"), str(done)
        assert done.status in (127, -signal.SIGSEGV, -signal.SIGKILL), str(done)
        assert not done.stdout


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("FSIZE", 0),
        ("NPROC", 0),
        ("MEMLOCK", 0),
        ("SIGPENDING", 0),
        ("MSGQUEUE", 0),
        ("CORE", -1),
        ("NOFILE", 128),
        ("CPU", 10),
        ("STACK", 1 << 20),
        ("AS", 512 << 20),
        ("RTPRIO", 0),
        ("NICE", 0),
    ],
)
def test_with_the_least_that_is_accepted_it_finishes(target: Lab, limit: str, value: int) -> None:
    assert_up(
        attack(target, f"resource.setrlimit(resource.RLIMIT_{limit}, ({value}, {value}))\nstart()")
    )
    take_down(target)


def test_more_taps_than_descriptors_are_undone_as_a_whole(target: Lab) -> None:
    target.site.policy("[group tapdraft]\nsubnets=192.168.0.0/16\ntaps=500\nmodes=nat\nuplinks=*")
    lines = "\n".join(
        f"up w{n} 192.168.{n // 64}.{n % 64 * 4 + 1}/30 192.168.{n // 64}.{n % 64 * 4 + 2}"
        for n in range(200)
    )
    code = "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\nstart('-')"
    done = target.run(program(code), user="alice", input=lines)
    assert_refused(done, 1, "Too many open files")


def test_no_core_file_is_ever_written(target: Lab) -> None:
    """It would have what it read on it; core patterns that run a program see no process either."""
    target.write("/home/alice/cores/x", "")
    target.run(["chown", "alice", "/home/alice/cores"]).check()
    code = """if True:
        resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
        os.chdir("/home/alice/cores")
        read, write = os.pipe()
        os.dup2(read, 0)
        if os.fork():
            start("-")
        limits = f"/proc/{os.getppid()}/status"
        while "Seccomp:\\t2" not in open(limits).read():
            pass
        os.kill(os.getppid(), signal.SIGQUIT)
        """
    assert attack(target, code).status == -signal.SIGQUIT
    assert [path.name for path in target.site.path("/home/alice/cores").iterdir()] == ["x"]
    assert not target.site.path("/core").exists()


def test_no_new_privs_set_by_the_caller_is_named(target: Lab) -> None:
    done = target.run(["setpriv", "--no-new-privs", HELPER, *UP], user="alice")
    assert_refused(done, IN_THE_WAY, "no capability: no_new_privs is set")


def test_a_bounding_set_without_net_admin_is_named(target: Lab) -> None:
    done = target.run(
        [
            "setpriv",
            "--bounding-set=-net_admin",
            "--reuid=alice",
            "--regid=alice",
            "--init-groups",
            "--inh-caps=-all",
            HELPER,
            *UP,
        ]
    )
    assert_refused(done, IN_THE_WAY, "no capability: the bounding set has no net_admin")


def test_a_tracer_takes_the_capability_away_and_is_named(target: Lab) -> None:
    done = target.run(["strace", "-qq", "-o", "/dev/null", HELPER, *UP], user="alice")
    assert_refused(done, IN_THE_WAY, "no capability: .*traced")


def test_a_copy_on_a_nosuid_mount_is_named(target: Lab) -> None:
    done = target.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            """
        mkdir -p /tmp/nosuid; mount -t tmpfs -o nosuid,mode=755 tmpfs /tmp/nosuid
        cp "$1" /tmp/nosuid/helper; chgrp tapdraft /tmp/nosuid/helper
        chmod 750 /tmp/nosuid/helper; setcap cap_net_admin=p /tmp/nosuid/helper
        exec setpriv --reuid=alice --regid=alice --init-groups --inh-caps=-all \\
            /tmp/nosuid/helper up web 192.168.7.1/30 192.168.7.2""",
            "sh",
            HELPER,
        ]
    )
    assert_refused(done, IN_THE_WAY, "no capability: .*nosuid")


def test_a_copy_has_no_capability(target: Lab) -> None:
    done = target.run(
        ["sh", "-c", f"cp {HELPER} /tmp/copy && exec /tmp/copy up web 192.168.7.1/30 192.168.7.2"],
        user="alice",
    )
    assert_refused(done, IN_THE_WAY, "no capability: .*has none")


def test_a_hard_link_is_the_same_program_or_cannot_be_made(target: Lab) -> None:
    """protected_hardlinks forbids it; where it does not, another name is all that is gained."""
    code = "os.link(HELPER, '/usr/local/libexec/tapdraft/link')"
    assert attack(target, code).status == 1
    link = "/usr/local/libexec/tapdraft/link"
    target.run(["ln", HELPER, link]).check()
    assert_up(target.run([link, *UP], user="alice"))
    target.run(["rm", link]).check()
    take_down(target)


def test_a_symbolic_link_is_the_same_program(target: Lab) -> None:
    """No path is taken from the name by which it was started: modules come from the same place."""
    target.write(f"/home/alice/lib/python{VERSION}/os.py", TELLTALE, owner="alice")
    target.run(["mkdir", "-p", "/home/alice/bin"]).check()
    target.run(["ln", "-sf", HELPER, "/home/alice/bin/python3"]).check()
    assert_up(target.run(["/home/alice/bin/python3", *UP], user="alice"))
    assert not was_run(target.site)
    take_down(target)


def test_who_is_not_in_the_group_cannot_even_start_it(target: Lab) -> None:
    done = attack(target, "start()", user="mallory")
    assert done.status == 1
    assert "PermissionError" in done.stderr


NAMESPACES = {
    "as root of it": ["unshare", "--user", "--map-root-user", "--mount"],
    "as oneself": ["unshare", "--user", "--map-current-user", "--mount", "--keep-caps"],
    "as oneself, without capabilities": ["unshare", "--user", "--map-current-user", "--mount"],
}
FORGED = """
mkdir -p /tmp/forged/etc/tapdraft /tmp/forged/py
printf '[user alice]\\nsubnets=0.0.0.0/0\\ntaps=99\\nmodes=nat\\nuplinks=*\\n' \\
    > /tmp/forged/etc/tapdraft/policy.conf
cp /etc/passwd /etc/group /etc/ld.so.cache /tmp/forged/etc
mount --bind /tmp/forged/etc /etc 2>/dev/null
"""


@pytest.mark.parametrize("how", NAMESPACES)
def test_a_forged_policy_in_a_user_namespace_gains_nothing(target: Lab, how: str) -> None:
    """The capability that the file gives there is of that namespace, not of the host's network."""
    done = target.run(
        [
            *NAMESPACES[how],
            "sh",
            "-c",
            FORGED + 'exec "$@"',
            "sh",
            HELPER,
            "up",
            "web",
            "10.66.0.1/30",
            "10.66.0.2",
        ],
        user="alice",
    )
    assert done.status != 0, str(done)
    assert_refused(done, done.status, "")


@pytest.mark.parametrize("how", NAMESPACES)
def test_a_forged_python_in_a_user_namespace_gains_nothing(target: Lab, how: str) -> None:
    """Whatever code the attacker makes it run: the host's network does not obey it."""
    script = """
        mkdir -p /tmp/fake-helper
        printf 'import os\\nprint(os.popen("(ip link set eth0 down; ip link add x type veth) 2>&1"
            ).read())' > /tmp/fake-helper/__main__.py
        mount --bind /tmp/fake-helper /usr/local/lib/tapdraft/tapdraft/helper 2>/dev/null
        "$@"; exec python3 /tmp/fake-helper/__main__.py"""
    done = target.run(
        [*NAMESPACES[how], "sh", "-c", script, "sh", HELPER, *UP[:2], "10.66.0.1/30", "10.66.0.2"],
        user="alice",
    )
    assert "Operation not permitted" in done.stdout + done.stderr, str(done)
    assert "is up" not in done.stdout


def test_a_chroot_in_a_user_namespace_gains_nothing(target: Lab) -> None:
    """Even the loader is the attacker's there; the capability is still of that namespace only."""
    done = target.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            """
        root=/tmp/root.$$
        for folder in usr etc proc dev lib lib64; do mkdir -p "$root/$folder"; done
        for folder in usr lib lib64 dev; do mount --rbind /$folder "$root/$folder"; done
        mount --rbind /proc "$root/proc"
        mkdir -p "$root/etc/tapdraft"; cp /etc/passwd /etc/group "$root/etc"
        printf '[user alice]\\nsubnets=0.0.0.0/0\\ntaps=9\\nmodes=nat\\nuplinks=*\\n' \\
            > "$root/etc/tapdraft/policy.conf"
        exec chroot "$root" "$@" """,
            "sh",
            HELPER,
            "up",
            "web",
            "10.66.0.1/30",
            "10.66.0.2",
        ],
        user="alice",
    )
    assert done.status != 0
    assert_refused(done, done.status, "")


def test_inheritable_and_ambient_capabilities_of_the_caller_are_refused(target: Lab) -> None:
    """A caller with an inheritable net_raw, which nobody but an administrator can give."""
    done = target.run(
        [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--init-groups",
            "--inh-caps=-all,+net_raw",
            HELPER,
            *UP,
        ]
    )
    assert_refused(done, IN_THE_WAY, "inheritable")


def test_who_is_root_is_told_to_run_it_without_the_launcher(target: Lab) -> None:
    assert_refused(target.helper(*UP, user="root"), IN_THE_WAY, "already holds the privilege")


@pytest.mark.parametrize("mode", ["setuid", "setgid"])
def test_a_launcher_that_somebody_made_setuid_refuses(target: Lab, mode: str) -> None:
    """Also as a copy that keeps the capability, made by a careless administrator."""
    copy = "/usr/local/libexec/tapdraft/careless"
    target.run(
        [
            "sh",
            "-ec",
            f"cp {HELPER} {copy}; chgrp tapdraft {copy}; "
            f"chmod {'4750' if mode == 'setuid' else '2750'} {copy}; "
            f"setcap cap_net_admin=p {copy}",
        ]
    ).check()
    done = target.run([copy, *UP], user="alice")
    target.run(["rm", copy]).check()
    assert_refused(done, IN_THE_WAY, "real and effective ids differ")


@pytest.mark.parametrize(
    "capability", ["cap_net_admin=ep", "cap_net_admin,cap_net_raw=p", "cap_net_raw=p"]
)
def test_a_launcher_with_other_capabilities_refuses(target: Lab, capability: str) -> None:
    copy = "/usr/local/libexec/tapdraft/careless"
    target.run(
        [
            "sh",
            "-ec",
            f"cp {HELPER} {copy}; chgrp tapdraft {copy}; chmod 750 {copy}; "
            f"setcap {capability} {copy}",
        ]
    ).check()
    done = target.run([copy, *UP], user="alice")
    target.run(["rm", copy]).check()
    assert_refused(done, IN_THE_WAY, "")


FILES = [
    "/usr/local/lib/tapdraft/tapdraft/helper/policy.py",
    "/usr/local/lib/tapdraft/tapdraft/helper",
    "/usr/local/lib/tapdraft",
    "/usr/local/lib",
    "/usr/lib/python3/dist-packages/prctl.py",
    STDLIB,
    f"{STDLIB}/json",
    f"{STDLIB}/__pycache__",
    f"{STDLIB}/collections/__pycache__",
    f"{STDLIB}/encodings/utf_8.py",
    "/usr/lib/python3/dist-packages/__pycache__",
    f"/usr/lib/python3/dist-packages/__pycache__/prctl.{CACHE_TAG}.pyc",
]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        *itertools.product(FILES, ["chmod o+w"]),
        *itertools.product(FILES[:1], ["chmod g+w", "chown alice"]),
    ],
)
def test_a_module_that_others_could_have_written_is_refused(
    target: Lab, file: str, change: str
) -> None:
    path = target.site.path(file)
    before = path.stat()
    target.run([*change.split(), file]).check()
    done = target.helper(*UP)
    os.chown(path, before.st_uid, before.st_gid)
    path.chmod(before.st_mode & 0o7777)
    assert_refused(done, IN_THE_WAY, f"not root's alone, or not a plain file or folder: {file}")


def test_a_module_that_is_a_symbolic_link_is_refused(target: Lab) -> None:
    file = "/usr/local/lib/tapdraft/tapdraft/helper/extra.py"
    target.run(["ln", "-s", "/home/alice/extra.py", file]).check()
    done = target.helper(*UP)
    Path(target.site.path(file)).unlink()
    assert_refused(done, IN_THE_WAY, "not root's alone, or not a plain file or folder")
