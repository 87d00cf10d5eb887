"""The optional service takes the caller from the kernel and the request from the connection."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tapdraft.generator import ask, check_helper
from tapdraft.generator.finding import Place
from tapdraft.helper import service
from tapdraft.helper.caller import Caller
from tapdraft.helper.errors import BadRequest, InTheWay

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "packaging/systemd"


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests is no user of an installed policy."""
    monkeypatch.setattr(service, "_judge", lambda _caller: None)


def arguments_of(peer: socket.socket) -> list[str]:
    return service._Request(peer).arguments(Caller(os.getuid(), (os.getgid(),), holder=False))


@pytest.fixture
def ends() -> tuple[socket.socket, socket.socket]:
    caller, peer = socket.socketpair()
    return caller, peer


def framed(words: bytes) -> bytes:
    return struct.pack("!I", len(words)) + words


def test_who_asks_is_who_connected(ends: tuple[socket.socket, socket.socket]) -> None:
    caller = service._caller(ends[1])
    assert (caller.uid, caller.gids[0]) == (os.geteuid(), os.getegid())
    assert set(caller.gids[1:]) == set(os.getgroups())
    assert not caller.holder


def test_arguments_come_as_they_were_given(ends: tuple[socket.socket, socket.socket]) -> None:
    given = ["--explain", "up", "web", "192.168.7.1/30", "192.168.7.2"]
    ends[0].sendall(framed("\n".join(given).encode()) + b"rest")
    assert arguments_of(ends[1]) == given
    assert ends[1].recv(9) == b"rest"


def test_the_socket_for_a_tap_is_the_one_that_came(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = socket.socketpair()
    socket.send_fds(ends[0], [framed(b"--fd=0\ndown\nweb")], [there.fileno()])
    option, *words = arguments_of(ends[1])
    assert words == ["down", "web"]
    descriptor = int(option.removeprefix("--fd="))
    assert descriptor > 2
    assert os.path.sameopenfile(descriptor, there.fileno())
    os.close(descriptor)
    here.close()


@pytest.mark.parametrize("number", [b"0", b"1", b"3"])
def test_a_number_without_a_socket_means_no_descriptor(
    ends: tuple[socket.socket, socket.socket], number: bytes
) -> None:
    ends[0].sendall(framed(b"--fd=%b\nup\nweb" % number))
    assert arguments_of(ends[1])[0] == "--fd=none"


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\0\0", b"\xff" * 8, struct.pack("!I", 4097), framed(b"up web")[:-1]],
    ids=repr,
)
def test_what_is_no_request_is_an_error(
    ends: tuple[socket.socket, socket.socket], data: bytes
) -> None:
    ends[0].sendall(data)
    ends[0].shutdown(socket.SHUT_WR)
    with pytest.raises(BadRequest):
        arguments_of(ends[1])


def test_what_does_not_arrive_in_time_is_an_error(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One deadline for all of it: whoever sends a byte now and then does not put it off."""
    clock = iter((0.0, 0.1, 0.2, 1.9, 2.1))
    monkeypatch.setattr(service.time, "monotonic", lambda: next(clock))
    ends[0].sendall(framed(b"up web -") + b"up")
    request = service._Request(ends[1])
    assert request.arguments(Caller(os.getuid(), (os.getgid(),), holder=False)) == ["up web -"]
    with pytest.raises(BadRequest, match="did not arrive whole within 2 seconds"):
        request.rest()


def test_a_user_has_a_few_places_at_once() -> None:
    first, other = (Caller(uid, (uid,), holder=False) for uid in (61001, 61002))
    taken = [service._take_place(first) for _ in range(service.MOST_AT_ONCE)]
    with pytest.raises(InTheWay, match="4 requests of uid 61001 are being served already"):
        service._take_place(first)
    taken.append(service._take_place(other))
    taken.pop(0).close()
    taken.append(service._take_place(first))
    for place in taken:
        place.close()


def test_more_sockets_than_one_are_refused(ends: tuple[socket.socket, socket.socket]) -> None:
    socket.send_fds(ends[0], [framed(b"--fd=3\nup")], [0, 1, 2, 0, 1, 2])
    with pytest.raises(BadRequest):
        arguments_of(ends[1])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the service installed in it, as by a packager."""
    folder = tmp_path_factory.mktemp("service")
    subprocess.run(
        [
            "make",
            "-s",
            "install-helper",
            "install-service",
            f"DESTDIR={folder}/root",
            f"BUILD={folder}/build",
            "PREFIX=/usr",
        ],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    return folder / "root"


def test_the_unit_is_sandboxed_and_its_score_is_the_documented_one(
    installed: Path, requires: Callable[..., None]
) -> None:
    requires("systemd-analyze")
    unit = installed / "usr/lib/systemd/system/tapdraft@.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        check=True,
        capture_output=True,
        text=True,
    )
    score = re.search(r"exposure level for \S+: ([0-9.]+) OK", done.stdout)
    assert score, done.stdout
    told = re.search(
        r"exposure level ([0-9.]+) of 10 \(([0-9.]+) with systemd (\d+)\)",
        (ROOT / "doc/administrators.md").read_text(),
    )
    assert told
    version = subprocess.run(
        ["systemd-analyze", "--version"], check=True, capture_output=True, text=True
    ).stdout
    newer = int(version.split()[1]) >= int(told[3])  # it knows of more that is closed
    assert score[1] == told[2 if newer else 1]


def test_the_service_imports_from_where_the_launcher_does(installed: Path) -> None:
    script = (installed / "usr/lib/tapdraft/tapdraft-service").read_text()
    paths = (installed.parent / "build/paths.h").read_text()
    found = re.search(r"^#define IMPORT_FOLDERS (.*)$", paths, re.MULTILINE)
    assert found
    assert f"sys.path[:] = [{found[1]}]\n" in script
    assert script.startswith("#!/usr/bin/python3 -ISB\n")


def test_the_client_says_what_to_do_where_there_is_no_service(installed: Path) -> None:
    argv = [sys.executable, "-I", installed / "usr/lib/tapdraft/tapdraft-helper", "down", "--all"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 4
    assert re.match("error: .*\nhint: as root: usermod -aG tapdraft USER", done.stderr)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with launcher/tapdraft-helper and client/tapdraft-helper, where scripts look."""
    for name, content in (("launcher", b"\x7fELF"), ("client", b"#!/usr/bin/python3 -I\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tapdraft-helper").write_bytes(content)
        (tmp_path / name / "tapdraft-helper").chmod(0o755)
    monkeypatch.setattr(ask, "PATH", f"{tmp_path}/launcher:{tmp_path}/client")
    monkeypatch.setattr(ask, "SOCKET", tmp_path / "socket")
    return tmp_path


def test_the_generator_uses_the_launcher_where_it_may(places: Path) -> None:
    (places / "socket").touch()
    assert ask.find() == places / "launcher/tapdraft-helper"


def test_the_generator_uses_the_service_where_the_launcher_is_closed(places: Path) -> None:
    (places / "launcher/tapdraft-helper").chmod(0)
    (places / "socket").touch()
    assert ask.find() == places / "client/tapdraft-helper"


def test_without_a_service_the_launcher_is_what_is_missing(places: Path) -> None:
    (places / "launcher/tapdraft-helper").chmod(0)
    assert ask.find() == places / "launcher/tapdraft-helper"


def test_no_capability_is_asked_for_a_script(places: Path) -> None:
    (places / "launcher/tapdraft-helper").unlink()
    (places / "socket").touch()
    assert not list(check_helper.capability(Place((), places)))
