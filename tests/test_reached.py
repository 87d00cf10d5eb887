"""What qemu opens: only the files that the description names, and nothing that others can use.

Each test starts the rendered script with the real qemu and asks it over a QMP socket of the test's
own.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tapdraft.generator import check_qemu, qemu
from tapdraft.generator.description import parse
from tapdraft.generator.errors import BadDescription, TapdraftError
from tapdraft.generator.finding import Place
from tapdraft.generator.render import render, scripts

LIMIT = 60  # seconds
BASE = '[guest.vm]\nmemory = 64\naccel = "tcg"\nnetwork = "none"\n'


class Qmp:
    """A started, stopped qemu, and the QMP socket through which it is asked."""

    def __init__(self, listening: socket.socket, process: subprocess.Popen[bytes]) -> None:
        listening.settimeout(LIMIT)
        self.process = process
        self.connection, _ = listening.accept()
        self.connection.settimeout(LIMIT)
        self.lines = self.connection.makefile("r")
        json.loads(self.lines.readline())
        self.ask("qmp_capabilities")

    def ask(self, command: str) -> Any:
        self.connection.sendall(json.dumps({"execute": command}).encode() + b"\n")
        for line in self.lines:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer
        raise AssertionError("qemu has closed the connection")


@contextmanager
def started(text: str, folder: Path, umask: int = 0) -> Iterator[Qmp]:
    """The rendered qemu script in the folder, whatever `umask` says."""
    ours = folder / "ours"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(ours))
    listening.listen()
    rooms = folder / "rooms"
    rooms.mkdir()
    words = ["-S", "-chardev", f"socket,id=test,path={ours}", "-mon", "chardev=test,mode=control"]
    more = f"qemu = {json.dumps(words)}"
    script = folder / "script"
    script.write_text(scripts(parse(f"{BASE}{text}\n{more}".encode()).guests[0])["qemu"])
    process = subprocess.Popen(
        ["sh", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        umask=umask,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"TMPDIR": str(rooms)},
    )
    try:
        running = Qmp(listening, process)
        assert list(rooms.iterdir()) == []
        yield running
        running.ask("quit")
    finally:
        listening.close()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


STRANGE = [
    "nbd:x",
    "fat:rw:x",
    "json:{}",
    "a,b",
    "a=b",
    "x:y",
    "ssh:x",
    "-x",
    "file:x",
    "a,,readonly=on",
]


@pytest.mark.parametrize("name", STRANGE)
def test_a_disk_and_a_firmware_are_the_files_of_just_that_name(
    name: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    for file in (name, f"{name}.fw"):
        (tmp_path / file).write_bytes(bytes(256 << 10))
    text = f'disk = {{ file = "{name}", format = "raw" }}\nfirmware = "{name}.fw"'
    with started(text, tmp_path) as running:
        blocks = {one["device"]: one["inserted"]["file"] for one in running.ask("query-block")}
        opened = {
            os.path.realpath(link) for link in Path(f"/proc/{running.process.pid}/fd").iterdir()
        }
    assert os.path.normpath(blocks["disk0"]) == name
    assert {str(tmp_path / name), str(tmp_path / f"{name}.fw")} <= opened


@pytest.mark.parametrize("name", STRANGE)
def test_the_sockets_and_logs_have_just_that_name_and_are_the_users_alone(
    name: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    (tmp_path / "d").write_bytes(bytes(1 << 20))
    text = f'disk = "d"\nqmp = "{name}.q"\nagent = "{name}.a"\nserial = ["file:{name}.log"]'
    with started(text, tmp_path):
        for file in (f"{name}.q", f"{name}.a"):
            mode = (tmp_path / file).stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert mode & 0o077 == 0
        assert (tmp_path / f"{name}.log").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", STRANGE)
def test_a_bios_is_the_file_of_just_that_name(
    name: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    (tmp_path / "d").write_bytes(bytes(1 << 20))
    (tmp_path / name).write_bytes(bytes(65536))
    with started(f'disk = "d"\nbios = "{name}"', tmp_path) as running:
        argv = Path(f"/proc/{running.process.pid}/cmdline").read_bytes().decode().split("\0")
        assert argv[argv.index("-bios") + 1] == name


@pytest.mark.parametrize("display", ["vnc", "public-vnc"])
def test_a_screen_on_the_network_wants_a_password_and_shows_no_monitor(
    display: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("qemu-system-x86_64")
    (tmp_path / "d").write_bytes(bytes(1 << 20))
    text = f'disk = "d"\ndisplay = "{display}"\nserial = ["window"]'
    with started(text, tmp_path) as running:
        told = running.ask("query-vnc")
        assert (told["enabled"], told["auth"]) == (True, "vnc")
        with socket.create_connection(("127.0.0.1", int(told["service"])), LIMIT) as viewer:
            stream = viewer.makefile("rwb")
            assert stream.read(12).startswith(b"RFB ")
            stream.write(b"RFB 003.008\n")
            stream.flush()
            kinds = stream.read(stream.read(1)[0])
        assert kinds == b"\x02"  # RFC 6143, 7.1.2: 1 would be None, 2 is by password
        assert {one["frontend-open"] for one in running.ask("query-chardev")} == {True}
        argv = Path(f"/proc/{running.process.pid}/cmdline").read_bytes().decode().split("\0")
        assert argv[argv.index("-serial") + 1] == "vc"
        assert argv.count("-mon") == 1  # the test's own
        assert "-monitor" not in argv
        assert running.process.stderr is not None
        said = b""
        while b"password of its screen is " not in said:
            said = running.process.stderr.readline()
        password = said.split()[-1].decode()
        assert len(password) == 8
        assert not any(password in word for word in argv)


def test_qemus_monitor_is_on_no_line_that_others_reach() -> None:
    lines = '["window", "tcp:4001", "listen:4002", "file:log", "none"]'
    for display in ("vnc", "public-vnc", "egl-headless"):
        text = f'{BASE}disk = "d"\ndisplay = "{display}"\nserial = {lines}'
        command = qemu.argv(parse(text.encode()).guests[0])
        assert not any(word.startswith("mon:") for word in command if display != "egl-headless")
        assert not any(word.startswith("mon:tcp") for word in command)


def test_qmp_over_tcp_is_refused_with_what_to_write() -> None:
    with pytest.raises(BadDescription) as caught:
        parse(f'{BASE}disk = "d"\nqmp = "tcp:4446"'.encode())
    assert 'hint: write qmp = "vm.qmp"' in str(caught.value)


def test_check_warns_of_a_screen_for_the_whole_network(tmp_path: Path) -> None:
    for display, findings in (("public-vnc", 1), ("vnc", 0)):
        guests = parse(f'{BASE}disk = "d"\ndisplay = "{display}"'.encode()).guests
        found = list(check_qemu.screens(Place(guests, tmp_path)))
        assert [one.level for one in found] == ["warning"] * findings


@pytest.mark.parametrize("setting", ["spawn=deny", "elevateprivileges=deny"])
def test_a_sandbox_that_would_stop_the_helper_is_refused(setting: str) -> None:
    told = f'kernel = "k"\nqemu = ["-sandbox", "on,obsolete=deny,{setting}"]'
    described = parse(f"[guest.vm]\n{told}".encode())
    render(described)
    for attach in ("helper", "hooks"):
        with pytest.raises(TapdraftError, match=f"has {setting} in -sandbox"):
            render(described, attach=attach)
    bridged = parse(f'[guest.vm]\nnetwork = "bridge"\nbridge = "br0"\n{told}'.encode())
    with pytest.raises(TapdraftError, match="qemu-bridge-helper"):
        render(bridged)
