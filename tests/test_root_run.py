"""Root's `run USER` of the nft dialect: what runs as the user never gets at root's terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tapdraft.generator.shell import PATH, quote

GOLDEN = Path(__file__).resolve().parent / "golden"
LIMIT = 60  # seconds
USUAL = "/usr/sbin:/usr/bin:/sbin:/bin"
# One that every user may run, whichever runs the tests.
PYTHON = "/usr/bin/python3"

# Runs in place of qemu, as the user: tries to type into each terminal it can get at, to change its
# settings and to become its owner.
ATTACK = """
import fcntl, os, sys, termios
root = sys.argv[1]
def all_of(fd):
    for letter in b"typed-by-the-user\\n":
        fcntl.ioctl(fd, termios.TIOCSTI, bytes([letter]))
for fd in range(64):
    try:
        if os.isatty(fd):
            print("terminal", fd, os.ttyname(fd), flush=True)
            all_of(fd)
            fcntl.ioctl(fd, termios.TIOCSCTTY, 1)
    except OSError:
        pass
try:
    fd = os.open("/dev/tty", os.O_RDWR)
    print("controlling", os.ttyname(fd) if os.ttyname(fd) != "/dev/tty" else os.ttyname(0))
    all_of(fd)
except OSError:
    print("controlling none")
try:
    os.open(root, os.O_RDWR)
    print("opened it")
except OSError:
    print("could not open it")
print("uid", os.getuid(), "done", flush=True)
"""


@pytest.fixture
def script(tmp_path: Path, requires: Callable[..., None]) -> Path:
    """`run` with stand-ins for ifup and ifdown, in a folder that the user can read."""
    requires("script", "setpriv", "setsid")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path
    while folder != Path("/tmp") and folder.stat().st_uid == os.getuid() and folder != Path("/"):
        folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent
    text = (GOLDEN / "plain/nft-run/web/run").read_text()
    text = text.replace(f"\nPATH={PATH}\n", f"\nPATH={quote(USUAL)}\n")
    text = text.replace("/sys/class/net/", quote(f"{tmp_path}/"))
    (tmp_path / "run").write_text(text)
    for name in ("ifup", "ifdown"):
        (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / "attack.py").write_text(ATTACK)
    for name in ("run", "ifup", "ifdown"):
        (tmp_path / name).chmod(0o755)
    return tmp_path / "run"


def as_qemu(script: Path, text: str) -> None:
    (script.parent / "qemu").write_text(f'#!/bin/sh\n[ "${{1:-}}" != --check ] || exit 0\n{text}\n')
    (script.parent / "qemu").chmod(0o755)


def on_a_terminal(argv: list[str]) -> tuple[str, str, int]:
    """Run argv with a controlling terminal of its own; its name, what it showed, the status.

    A reader stays at the terminal until the end, as root's shell would: what is typed into it
    would be seen.
    """
    pid, master = pty.fork()
    if pid == 0:
        reader = "import os,sys;print('ready', os.ttyname(0), flush=True)\n"
        reader += "import subprocess,termios,fcntl,struct\n"
        reader += "status = subprocess.call(sys.argv[1:])\n"
        reader += "left = struct.unpack('i', fcntl.ioctl(0, termios.FIONREAD, b'    '))[0]\n"
        reader += "print('left', left, 'owner', os.stat(os.ttyname(0)).st_uid, flush=True)\n"
        reader += "sys.exit(status)\n"
        os.execv(sys.executable, [sys.executable, "-c", reader, *argv])  # noqa: S606
    shown = b""
    while select.select([master], [], [], LIMIT)[0]:
        try:
            more = os.read(master, 4096)
        except OSError:
            break
        if not more:
            break
        shown += more
    _, status = os.waitpid(pid, 0)
    os.close(master)
    text = shown.decode(errors="replace")
    return text.split("ready ")[1].split()[0], text, os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("how", ["", " < /dev/null", " > /dev/null", " < /dev/null 2> /dev/null"])
def test_what_runs_as_the_user_cannot_type_into_roots_terminal(how: str, script: Path) -> None:
    as_qemu(script, f'{PYTHON} "${{0%/*}}/attack.py" "$TERMINAL" > "$SEEN"; exit 7')
    seen = script.parent / "seen"
    seen.touch()
    seen.chmod(0o666)
    command = f'TERMINAL=$(tty) SEEN="{seen}"; export TERMINAL SEEN; "{script}" nobody{how}'
    name, shown, status = on_a_terminal(["sh", "-c", command])
    told = seen.read_text()
    assert "done" in told, shown
    assert "uid 0 " not in told
    assert status == 7, shown
    assert name not in told.split(), told
    assert "could not open it" in told
    assert "left 0 owner 0" in shown


def test_without_a_terminal_the_session_has_none_and_input_and_status_pass(script: Path) -> None:
    as_qemu(script, f'{PYTHON} "${{0%/*}}/attack.py" /dev/console; cat; exit 9')
    done = subprocess.run(
        [script, "nobody"],
        input=b"\x00typed\n\x04",
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 9
    assert b"controlling none" in done.stdout
    assert b"terminal" not in done.stdout
    assert done.stdout.endswith(b"\x00typed\n\x04")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_signal_for_run_reaches_what_runs_as_the_user(terminal: bool, script: Path) -> None:
    ready = script.parent / "ready"
    os.mkfifo(ready)
    ready.chmod(0o666)
    as_qemu(script, f"trap 'exit 5' TERM\n: > '{ready}'\nread -r never")
    inner = pty.openpty() if terminal else None
    process = subprocess.Popen(
        [script, "nobody"],
        start_new_session=True,
        stdin=inner[1] if inner else subprocess.PIPE,
        stdout=inner[1] if inner else subprocess.DEVNULL,
    )
    ready.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 5
    for fd in inner or ():
        os.close(fd)
