"""The tapdraft command: its words, its exit statuses, and that no traceback reaches a user."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labnet import Lab
from tapdraft.generator import ask, cli, shell
from tapdraft.helper import __version__

ROOT = Path(__file__).resolve().parents[1]
GOOD = '[guest.web]\nkernel = "vmlinuz"\n[guest.db]\nkernel = "vmlinuz"\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a description in it, to work in; no helper is found from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ask, "PATH", str(tmp_path / "bin"))
    (tmp_path / "vm.toml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the whole program in a process of its own."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/tapdraft").symlink_to(ROOT)

    def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-B", "-m", "tapdraft.generator", *arguments],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "lib")},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            **options,
        )  # type: ignore[call-overload]  # the options are Popen's own

    return start


def helper(here: Path, then: str) -> None:
    """A stand-in for the helper that writes down what it is asked."""
    (here / "bin").mkdir()
    program = here / "bin/tapdraft-helper"
    program.write_text(f'#!/bin/sh\necho "$@" > "{here}/words"\ncat > "{here}/asked"\n{then}\n')
    program.chmod(0o755)


def test_render_writes_what_it_says_it_writes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["render", "vm.toml", "web"]) == 0
    told = capsys.readouterr().out.split()
    assert told == [f"out/web/{name}" for name in ("ifdown", "ifup", "qemu", "run")] + [
        "out/SHA256SUMS"
    ]
    assert all((here / path).is_file() for path in told)


def test_render_needs_none_of_the_guests_files_unless_asked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be on another machine than the one that is to run the scripts."""
    assert cli.main(["render", "vm.toml"]) == 0
    assert cli.main(["render", "--check-files", "vm.toml"]) == 2
    assert "there is no file vmlinuz" in capsys.readouterr().err
    (here / "vmlinuz").write_text("")
    assert cli.main(["render", "--check-files", "vm.toml"]) == 0


def test_files_are_relative_to_the_descriptions_folder(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "vm.toml").rename(here / "sub/vm.toml")
    (here / "sub/vmlinuz").write_text("")
    assert cli.main(["render", "--check-files", "sub/vm.toml"]) == 0


# What is wrong, and what is said of it above the command's usage.
WRONG_USE = {
    "no file": (["render"], "render needs FILE"),
    "no guest": (["ping", "vm.toml"], "ping needs GUEST"),
    "ssh without a guest": (["ssh", "vm.toml"], "ssh needs GUEST"),
    "unknown option": (["render", "--fast", "vm.toml"], "render has no option --fast"),
    "nearly an option": (["check", "--jsn"], "check has no option --jsn; did you mean --json?"),
    "an option of another": (["up", "--json", "vm.toml"], "up has no option --json"),
    "no value": (["ping", "--timeout"], "--timeout needs a value: --timeout=SECONDS"),
    "a value": (["list", "--json=3"], "--json takes no value, but '--json=3' gives it one"),
    "down with nothing": (["down"], "down needs FILE"),
    "too many": (["list", "vm.toml"], "'vm.toml' is one argument too many for list"),
}


@pytest.mark.parametrize("what", WRONG_USE)
def test_a_usage_error_shows_the_whole_usage_of_that_command(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = WRONG_USE[what]
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    error, *usage = err.splitlines()
    assert (error, out) == (f"error: {said}", "")
    assert usage[0].startswith(f"usage: tapdraft {words[0]}")
    forms = cli.USAGE_TEXT.forms[words[0]]
    shown = " ".join(" ".join(usage).removeprefix("usage: ").split())
    assert shown == " ".join(forms)
    assert max(map(len, usage)) <= 80


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("foo", "tapdraft --help"),
        ("rn", "did you mean tapdraft run?"),
        ("vm.toml", "name the command first: tapdraft run vm.toml"),
    ],
)
def test_an_unknown_command_is_answered_with_those_there_are(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word, "x"]) == 2
    error, shown = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: unknown command '{word}'; commands: render, run, up, ")
    assert shown == f"hint: {hint}"


def test_tapdraft_alone_shows_its_commands_and_not_every_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", "usage: tapdraft COMMAND ...")
    assert re.findall(r"^  ([a-z]+) ", err, re.MULTILINE) == list(cli.USAGE_TEXT.commands)
    assert "--" not in err.partition("tapdraft COMMAND --help")[0]


@pytest.mark.parametrize("name", cli.USAGE_TEXT.commands)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_a_command_is_about_that_command(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, option])
    assert not end.value.code
    said = capsys.readouterr().out
    assert said.startswith(f"usage: tapdraft {name} ")
    assert max(map(len, said.splitlines())) <= 80
    own = set(re.findall(r"--[a-z-]+", " ".join(cli.USAGE_TEXT.forms[name])))
    assert set(re.findall(r"^  (--[a-z-]+)", said, re.MULTILINE)) == own


def test_help_behind_the_guest_is_the_guests(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cli.ssh, "run", lambda *words: asked.append(words[3]) or 0)
    assert cli.main(["ssh", "vm.toml", "web", "ls", "--help"]) == 0
    assert asked == [["ls", "--help"]]


MISTAKES = {
    "unknown dialect": ["render", "--dialect=iptables-save", "vm.toml"],
    "unknown attachment": ["render", "--attach=no", "vm.toml"],
    "no such file": ["render", "nothing.toml"],
    "a folder": ["render", "."],
    "unknown guest": ["render", "vm.toml", "nobody"],
    "which guest": ["run", "vm.toml"],
    "missing files": ["run", "vm.toml", "web"],
    "nft from qemu": ["render", "--dialect=nft", "--attach=hooks", "vm.toml"],
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_in_two_lines(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(MISTAKES[what]) == 2
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert (error[:7], hint[:6], out) == ("error: ", "hint: ", "")


def test_a_bad_description_is_told_with_its_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "vm.toml").write_text("[guest.web]\nmemry = 3\n")
    assert cli.main(["render", "vm.toml"]) == 2
    assert capsys.readouterr().err.startswith("error: vm.toml:2: [guest] has no key 'memry'\n")
    assert not (here / "out").exists()


@pytest.mark.parametrize("obstacle", ["out", "out/web", "out/web/ifup/x"])
def test_an_output_that_cannot_be_written_is_told(
    obstacle: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (here / obstacle).write_text("in the way")
    assert cli.main(["render", "vm.toml"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert not list(here.rglob(".*"))


def test_help_and_version_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments, told in ((["--help"], "Usage:"), (["--version"], __version__)):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert not end.value.code
        assert told in capsys.readouterr().out


def test_up_asks_for_all_guests_in_one_call(here: Path) -> None:
    helper(here, "exit 0")
    assert cli.main(["up", "vm.toml"]) == 0
    assert (here / "words").read_text() == "-\n"
    assert (here / "asked").read_text() == (
        "up web 192.168.7.1/30 192.168.7.2 nat\nup db 192.168.7.5/30 192.168.7.6 nat\n"
    )


def test_down_asks_for_those_named_or_for_all(here: Path) -> None:
    helper(here, "exit 0")
    assert cli.main(["down", "vm.toml", "db"]) == 0
    assert (here / "asked").read_text() == "down db\n"
    assert cli.main(["down", "--all"]) == 0
    assert (here / "asked").read_text() == "down --all\n"


@pytest.mark.parametrize("status", [1, 2, 3, 4])
def test_the_helpers_answer_is_the_exit_status(status: int, here: Path) -> None:
    helper(here, f"exit {status}")
    assert cli.main(["up", "vm.toml"]) == status


def test_a_helper_that_reads_nothing_is_no_broken_pipe(here: Path) -> None:
    helper(here, "")
    (here / "bin/tapdraft-helper").write_text("#!/bin/sh\nexec <&-\nexit 3\n")
    (here / "vm.toml").write_text("".join(f"[guest.g{n}]\nkernel='k'\n" for n in range(64)))
    assert cli.main(["up", "vm.toml"]) == 3


def test_without_the_helper_up_says_what_is_missing_and_what_to_do(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", "vm.toml"]) == 4
    err = capsys.readouterr().err
    assert "tapdraft-helper is not installed" in err
    assert "make install" in err
    assert "--dialect=nft" in err


def run_script(here: Path, qemu: str) -> None:
    """`tapdraft run` of this folder starts `qemu` in place of qemu, and no helper."""
    (here / "vmlinuz").write_text("")
    (here / "bin").mkdir()
    for name, text in (("tapdraft-helper", 'echo "$1" >> log'), ("qemu-system-x86_64", qemu)):
        (here / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (here / "bin" / name).chmod(0o755)


@pytest.fixture
def found_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scripts that are rendered find their programs in this folder."""
    monkeypatch.setattr(shell, "PATH", f"{here}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return here


def test_run_runs_what_render_writes_and_leaves_no_file(
    found_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = found_here / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    run_script(found_here, "ls -d runtime/*/web/run > seen; exit 7")
    assert cli.main(["run", "vm.toml", "web"]) == 7
    assert (found_here / "seen").read_text().startswith("runtime/tapdraft-")
    assert list(runtime.iterdir()) == []
    assert (found_here / "log").read_text().split() == ["up", "down"]


def test_run_keeps_the_scripts_where_it_is_told_to(found_here: Path) -> None:
    """Where the description names no name servers, run adds those of this host: test_addressing."""
    run_script(found_here, "exit 0")
    described = (found_here / "vm.toml").read_text()
    (found_here / "vm.toml").write_text('[network]\ndns = ["9.9.9.9"]\n' + described)
    assert cli.main(["run", "--output=kept", "vm.toml", "web"]) == 0
    assert cli.main(["render", "--output=rendered", "vm.toml", "web"]) == 0
    for name in ("web/run", "web/qemu", "web/ifup", "web/ifdown", "SHA256SUMS"):
        kept, rendered = found_here / "kept" / name, found_here / "rendered" / name
        assert kept.read_bytes() == rendered.read_bytes()


def test_one_guest_need_not_be_named(found_here: Path) -> None:
    run_script(found_here, "exit 0")
    (found_here / "vm.toml").write_text('[guest.web]\nkernel = "vmlinuz"\n')
    assert cli.main(["run", "vm.toml"]) == 0


def test_a_reader_that_has_enough_is_no_error_to_tell(
    here: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = command("render", "vm.toml", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert err == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_key_press_ends_it_without_a_traceback(
    here: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    os.mkfifo(here / "slow.toml")
    process = command("render", "slow.toml")
    writer = os.open(here / "slow.toml", os.O_WRONLY)  # returns when it is being read
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    os.close(writer)
    assert b"Traceback" not in err
    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_a_locale_without_a_character_is_no_error(
    locale: str,
    here: Path,
    command: Callable[..., subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (here / "vm.toml").write_text('[guest.web]\n"k\u00e9rnel" = "\u2603"\n', "utf-8")
    process = command("render", "vm.toml")
    _, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    assert process.returncode == 2


# What is done to the three streams, and the status of what writes to standard output then.
STREAMS = {"<&-": 0, ">&-": 1, "> /dev/full": 1, "2>&-": 0, "2> /dev/full": 0, "<&- >&- 2>&-": 1}
COMMANDS = {
    "render vm.toml": None,
    "--help": None,
    "up vm.toml": 4,
    "down --all": 4,
    "render": 2,
    "render nothing.toml": 2,
    "dhcp --tap td-web x": 2,
    "dhcp --tap=td-web x": 2,
    "run vm.toml web": 2,
    "ping vm.toml nobody": 2,
}


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("words", COMMANDS)
def test_closed_and_full_streams_make_no_traceback_and_leave_the_status_right(
    words: str, streams: str, here: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    status = COMMANDS[words]
    if words.startswith("run") and streams[:2] in ("<&", ">&"):
        status = 4
    argv = " ".join((sys.executable, "-B -m tapdraft.generator", words, streams))
    env = {**os.environ, "PYTHONPATH": str(here / "lib")}
    done = subprocess.run(
        ["sh", "-c", f"exec {argv}"],
        cwd=here,
        env=env,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.returncode == (STREAMS[streams] if status is None else status), done.stderr
    if streams == "> /dev/full" and status is None:
        assert b"error: standard output" in done.stderr


def test_a_run_without_a_console_says_so_before_it_makes_a_tap(found_here: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(found_here / "lib")}
    (found_here / "lib").mkdir(exist_ok=True)
    (found_here / "lib/tapdraft").symlink_to(ROOT)
    argv = f"exec {sys.executable} -B -m tapdraft.generator run vm.toml web"
    for streams, named in (("<&-", b"standard input"), (">&-", b"standard output")):
        done = subprocess.run(
            ["sh", "-c", f"{argv} {streams}"],
            cwd=found_here,
            env=env,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 4
        assert done.stderr.startswith(b"error: " + named + b" is closed")
        assert not (found_here / "seen").exists()


READERS = [
    "render {}",
    "run {}",
    "up {}",
    "down {}",
    "ping {} web",
    "ssh {} web",
    "dhcp {} web",
    "check {}",
    "import {}",
]


@pytest.mark.parametrize("what", ["missing", "a folder", "garbage", "empty", "a FIFO", "a device"])
@pytest.mark.parametrize("words", READERS)
def test_a_bad_file_is_an_error_of_use_and_no_traceback(
    words: str, what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = here / "bad"
    writer: subprocess.Popen[bytes] | None = None
    if what == "a folder":
        bad.mkdir()
    elif what == "garbage":
        bad.write_bytes(bytes(range(256)) * 9)
    elif what == "empty":
        bad.touch()
    elif what == "a FIFO":
        os.mkfifo(bad)
        writer = subprocess.Popen(["sh", "-c", ": > bad"], cwd=here)
    elif what == "a device":
        bad.symlink_to("/dev/zero")
    assert cli.main(words.format("bad").split()) == 2
    assert "error: " in capsys.readouterr().err
    assert writer is None or writer.wait() == 0


def test_a_file_whose_name_begins_with_a_dash_is_read_after_two_dashes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "vm.toml").rename(here / "-x.toml")
    assert cli.main(["render", "--", "-x.toml"]) == 0
    assert "out/web/run" in capsys.readouterr().out


def test_the_limit_of_open_files_is_named(
    here: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = command(
        "render", "vm.toml", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Too many open files: the limit is 5, by ulimit -n" in err
    assert b"Traceback" not in err


@pytest.fixture
def in_lab(bare_lab: Lab) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command in a lab without the helper; status, output, errors."""
    # Other tests may have installed it in the session's site.
    hide = "[ ! -d /usr/local/libexec ] || mount -t tmpfs none /usr/local/libexec"
    bare_lab.run(["sh", "-c", hide]).check()
    source = bare_lab.site.path("/run/source")
    source.mkdir(exist_ok=True)
    for folder in ("helper", "generator", "templates"):
        subprocess.run(["cp", "-r", ROOT / folder, source], check=True)
    link = bare_lab.site.path("/run/lib/tapdraft")
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/run/source")

    def run(*words: str, user: str = "root") -> tuple[int, str, str]:
        argv = ["/usr/bin/python3", "-B", "-m", "tapdraft.generator", *words]
        done = bare_lab.run(argv, user=user, env={"PYTHONPATH": "/run/lib"}, cwd="/run")
        return done.status, done.stdout, done.stderr

    yield run
    subprocess.run(["rm", "-r", source, link.parent], check=True)


Command = Callable[..., tuple[int, str, str]]
TAPS = """
ip tuntap add dev td-web mode tap user alice
ip link set dev td-web group 29699 alias 'tapdraft 2 uid=61001 guest=web'
ip address add 192.168.7.1/30 dev td-web
ip tuntap add dev td-far mode tap user bob
ip link set dev td-far group 29701 alias 'tapdraft 2 uid=61002 guest=far'
ip address add 192.168.7.9/32 dev td-far
ip link set td-far up
ip route add 192.168.7.20/32 dev td-far scope link src 192.168.7.9
ip tuntap add dev td-other mode tap
nft 'table inet tapdraft { comment "tapdraft 2: removed with the last tap";
set uplinks { type ifname; }
set opened { type ifname; }
map forwards { type inet_proto . inet_service : ipv4_addr . inet_service
elements = { tcp . 8080 comment "td-web" : 192.168.7.2 . 80 }; }; }'
"""


def test_list_shows_the_taps_that_are_tapdrafts_and_only_those(
    bare_lab: Lab, in_lab: Command
) -> None:
    bare_lab.run(["sh", "-ec", TAPS]).check()
    status, out, _ = in_lab("list", "--json")
    far, web = json.loads(out)
    assert status == 0
    assert (web["guest"], web["user"]) == ("web", "alice")
    assert (web["mode"], web["host"]) == ("nat", "closed")
    assert (web["host_address"], web["guest_address"]) == ("192.168.7.1/30", "192.168.7.2")
    assert web["forwards"] == ["tcp:8080:80"]
    assert (far["guest"], far["user"], far["mode"], far["host"]) == ("far", "bob", "routed", "open")
    assert (far["host_address"], far["guest_address"]) == ("192.168.7.9/32", "192.168.7.20")
    status, out, _ = in_lab("list", user="alice")
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["TAP", "td-far", "td-web"]
    assert "Only root can see port forwards." in out


def test_list_without_taps_is_empty(in_lab: Command) -> None:
    assert in_lab("list") == (0, "", "")
    assert in_lab("list", "--json") == (0, "[]\n", "")


def findings(command: Command, *words: str, user: str = "alice") -> dict[str, list[dict[str, str]]]:
    _, out, err = command("check", "--json", *words, user=user)
    assert err == ""
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(out):
        assert finding["fix"], finding
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_check_says_that_the_helper_is_missing(in_lab: Command) -> None:
    status, out, _ = in_lab("check", user="alice")
    assert status == 4
    assert "error: the helper is not installed\nhint: make install" in out


def test_check_finds_the_tun_device_closed_or_gone(bare_lab: Lab, in_lab: Command) -> None:
    assert "tun" not in findings(in_lab)
    bare_lab.run(["chmod", "0600", "/dev/net/tun"]).check()
    (finding,) = findings(in_lab)["tun"]
    assert finding["fix"].startswith("chmod 0666 /dev/net/tun")
    bare_lab.run(["sh", "-c", finding["fix"].split("   ")[0]]).check()
    assert "tun" not in findings(in_lab)


def test_check_finds_a_missing_way_out_and_an_overlap(bare_lab: Lab, in_lab: Command) -> None:
    bare_lab.write("/run/vm.toml", '[guest.web]\nkernel = "vmlinuz"\n')
    bare_lab.run(["rm", "-f", "/etc/tapdraft/policy.conf"]).check()  # any subnet will do
    assert "uplink" not in findings(in_lab, "vm.toml")
    bare_lab.run(["ip", "address", "add", "192.168.7.77/24", "dev", "eth0"]).check()
    bare_lab.run(["ip", "route", "del", "default"]).check()
    found = findings(in_lab, "vm.toml")
    assert "no interface carries a default route" in found["uplink"][0]["what"]
    assert "192.168.7.0/30 overlaps with 192.168.7.0/24 (eth0)" in found["subnet"][0]["what"]
    assert 'subnet = "192.168.8.0/24"' in found["subnet"][0]["fix"]
    assert "vmlinuz, of guest web, is missing" in found["files"][0]["what"]


WALLS = {
    "policy": "nft 'table inet wall { chain forward { type filter hook forward priority 0;"
    " policy drop; ct state established accept; }; }'",
    "last rule": "nft 'table inet wall { chain f { type filter hook forward priority 0;"
    " ct state established accept; counter reject with icmpx admin-prohibited; }; }'",
    "iptables": "iptables-nft -P FORWARD DROP",
    "docker": "iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER;"
    " iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN",
}


@pytest.mark.parametrize("wall", WALLS)
def test_what_check_says_of_a_firewall_opens_it(
    wall: str, bare_lab: Lab, in_lab: Command, requires: Callable[..., None]
) -> None:
    requires("nft", *(["iptables-nft"] if "iptables" in WALLS[wall] else []))
    assert "firewall" not in findings(in_lab, user="root")
    bare_lab.run(["sh", "-ec", WALLS[wall]]).check()
    (finding,) = findings(in_lab, user="root")["firewall"]
    assert finding["level"] == "error"
    fix = finding["fix"].split("   ")[0].replace("iptables ", "iptables-nft ")
    bare_lab.run(["sh", "-ec", fix]).check()
    assert "firewall" not in findings(in_lab, user="root")


def test_a_user_is_told_of_firewalls_that_only_root_can_read(
    bare_lab: Lab, in_lab: Command
) -> None:
    assert "firewall" not in findings(in_lab)
    bare_lab.run(["ip", "link", "add", "docker0", "type", "bridge"]).check()
    (finding,) = findings(in_lab)["firewall"]
    assert finding["level"] == "warning"
    assert finding["what"].startswith("Docker is here")


def test_who_gives_runqemus_file_or_word_is_told_of_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.qemuboot.conf").write_text("[config_bsp]\ndeploy_dir_image = .\n")
    assert cli.main(["run", "x.qemuboot.conf"]) == 2
    hint = "hint: tapdraft import --output=vm.toml"
    assert f"{hint} x.qemuboot.conf\n" in capsys.readouterr().err
    assert cli.main(["runqemu", "qemux86-64"]) == 2
    assert hint in capsys.readouterr().err


def test_the_responders_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["dhcp", "--tap=td-web", "--help"])
    assert capsys.readouterr().out.startswith("usage: tapdraft dhcp ")
