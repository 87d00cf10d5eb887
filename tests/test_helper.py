"""The helper's own command line, and the socket that it is given, without the launcher before it.

The service and root start it like that.
"""

import os
import socket
from pathlib import Path

import pytest
from tapdraft.helper import PROGRAM, host
from tapdraft.helper import __main__ as helper
from tapdraft.helper import netlink
from tapdraft.helper.caller import Caller
from tapdraft.helper.errors import BadRequest, InTheWay
from tapdraft.helper.netlink import Kernel
from tapdraft.helper.request import parse

CALLER = Caller(61001, (61001,), holder=False)
UP = "up web 192.168.7.1/30 192.168.7.2"


@pytest.mark.parametrize(
    ("arguments", "meaning"),
    [
        (["down", "web"], ("", ["down", "web"], None, False)),
        (["down", "--all"], ("", ["down", "--all"], None, False)),
        (["--dry-run", "down", "--all"], ("--dry-run", ["down", "--all"], None, False)),
        (["down", "web", "--explain"], ("--explain", ["down", "web"], None, False)),
        (["--use-vnet", "--fd=10", "--br=br0", "up"], ("", ["up"], 10, True)),
        (
            ["--check-policy", "--user", "bob", "down", "--all"],
            ("--check-policy", ["--user=bob", "down", "--all"], None, False),
        ),
        ([], ("", [], None, False)),
    ],
)
def test_options_may_stand_anywhere(arguments: list[str], meaning: tuple[object, ...]) -> None:
    assert helper._options(arguments) == meaning


@pytest.mark.parametrize(
    "arguments",
    [
        ["--force"],
        ["--fd=x"],
        ["--fd=-1"],
        ["--fd=10000"],
        ["--fd="],
        ["--fd=3", "--fd=4"],
        ["--fd=\u0663"],
        ["--dry-run", "--explain"],
        ["--version", "--status"],
        ["--br"],
        ["--fd=3", "--fd=x"],
        ["--use-vnet=1"],
        ["--all=1"],
        ["--"],
    ],
)
def test_an_option_that_is_none_is_refused(arguments: list[str]) -> None:
    with pytest.raises(BadRequest, match="unknown option"):
        helper._options([*arguments, "down", "web"])


@pytest.mark.parametrize("option", ["--status", "--version", "--help"])
def test_an_option_that_takes_no_request_stands_alone(option: str) -> None:
    with pytest.raises(BadRequest, match=f"{option} stands alone"):
        helper._options([option, "rubbish"])


@pytest.mark.parametrize("option", ["--dry-run", "--explain"])
def test_nothing_is_told_of_no_request(
    option: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script whose variable is empty would take silence for a permission."""
    for step in ("settle", "drop"):  # these tests go on with what they may do
        monkeypatch.setattr(helper.caps, step, lambda: None)
    status = helper.answer(lambda: CALLER, lambda _: [option], lambda _: b"")
    assert (status, "the request is empty" in capfd.readouterr().err) == (2, True)


@pytest.mark.parametrize(
    "lines", [(UP, UP.replace("web", "two")), ("down web",), (f"{UP} queues=2",)]
)
def test_a_socket_goes_with_one_up_of_one_queue(lines: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match="one up of one queue"):
        helper._apply([parse(line) for line in lines], CALLER, 3, False)


def test_a_lock_that_cannot_be_taken_is_no_lock_that_another_holds() -> None:
    kernel = Kernel()
    kernel.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.lock(10.0)


def test_a_lock_that_comes_free_too_late_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a stop that lasted until the policy was another one."""
    kernel = Kernel()
    clock = iter((0.0, 11.0))
    monkeypatch.setattr(netlink.time, "monotonic", lambda: next(clock))
    with pytest.raises(InTheWay, match="held the lock for 10 seconds"):
        kernel.lock(10.0)
    kernel.close()


def test_a_tap_is_handed_over_by_a_unix_stream_socket_and_nothing_else(tmp_path: Path) -> None:
    file = os.open(tmp_path / "tap", os.O_RDWR | os.O_CREAT)
    ours, theirs = socket.socketpair()
    host.hand_over(file, os.dup(ours.fileno()))
    _, (received,), _, _ = socket.recv_fds(theirs, 1, 1)
    assert os.path.samestat(os.fstat(received), os.fstat(file))
    with socket.socketpair(type=socket.SOCK_DGRAM)[0] as datagrams, socket.socket() as internet:
        for channel in (datagrams, internet):
            with pytest.raises(OSError, match="no Unix stream socket"):
                host.hand_over(file, os.dup(channel.fileno()))
    with pytest.raises(OSError, match="non-socket"):
        host.hand_over(file, os.dup(file))
    for descriptor in (file, received, ours.detach(), theirs.detach()):
        os.close(descriptor)


def test_a_hint_names_the_helper_by_its_full_path_and_works_when_it_is_pasted() -> None:
    told = helper._told(InTheWay("td-web exists", "tapdraft-helper down web"))
    assert told == ["error: td-web exists", f"hint: {PROGRAM} down web"]
    assert PROGRAM.endswith("/tapdraft-helper")
