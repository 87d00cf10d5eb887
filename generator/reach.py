"""Is the guest there? Asked of its own address on its own tap, as an ordinary user can ask.

Nothing is ever sent through another interface: the same address behind the default route belongs
to a stranger.
"""

import errno
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Interface
from typing import NamedTuple

from ..helper import state
from .connect import bound
from .description import Guest
from .errors import IN_THE_WAY, TapdraftError
from .requests import up

ECHO, ECHO_REPLY = 8, 0  # RFC 792
DISCARD = 9  # a port that a guest has closed: its refusal is an answer too
TRY_SECONDS = 1.0  # for one answer; the kernel itself asks again within
PAUSE_SECONDS = 0.1  # after a refusal, which comes at once and cannot be waited for otherwise

Attempt = Callable[[], bool]


def until(attempt: Attempt, seconds: float, given_up: Callable[[float], bool]) -> float | None:
    """How long it took until `attempt` was true; None after `seconds`, or when it is given up.

    `given_up` is given a time in seconds, and may use it to wait for what would end the wait.
    """
    start = time.monotonic()
    while True:
        if attempt():
            return time.monotonic() - start
        if given_up(PAUSE_SECONDS) or time.monotonic() - start > seconds:
            return None


class Obstacle(NamedTuple):
    """Why the guest cannot be reached through its tap."""

    what: str
    hint: str
    lasting: bool  # waiting does not help


def obstacle(guest: Guest, file: str) -> Obstacle | None:
    """What keeps the caller from the guest's tap; None if the tap is the caller's and is up."""
    from .interface import look  # noqa: PLC0415  pyroute2 takes longer than all the rest

    tap = up(guest).tap
    try:
        found = look(tap)
    except OSError as error:
        what = f"{tap} cannot be looked at: {error.strerror}"
        return Obstacle(what, "allow AF_NETLINK sockets here", True)
    start = f"tapdraft run {file} {guest.name}"
    if found is None:
        return Obstacle(f"{tap} does not exist: guest {guest.name} is not running", start, False)
    link, networks = found
    owner = state.owner(link)
    if owner is None or os.getuid() not in (0, owner):
        what = "was not made by tapdraft" if owner is None else f"belongs to the user {owner}"
        return Obstacle(f"{tap} {what}", f"give guest {guest.name} another name in {file}", True)
    if not link.up:
        return Obstacle(f"{tap} is switched off", f"tapdraft down {file} {guest.name}", False)
    if IPv4Interface(f"{guest.gateway}/{guest.prefix}").network not in networks:
        what = f"{tap} exists with other addresses: expected {guest.gateway}/{guest.prefix}"
        return Obstacle(what, f"tapdraft down {file} {guest.name}", True)
    return None


def need_tap_of_mine(guest: Guest, file: str) -> None:
    """TapdraftError unless the guest's tap is there and is the caller's."""
    found = obstacle(guest, file)
    if found:
        raise TapdraftError(found.what, found.hint, IN_THE_WAY)


def answers(tap: str, address: str) -> bool:
    """Does anything answer at `address` on the tap? By a ping where the host permits it to its
    users (net.ipv4.ping_group_range), else by a connection: also a refusal is an answer."""
    try:
        with bound(socket.SOCK_DGRAM, socket.IPPROTO_ICMP, tap) as pinger:
            return _pinged(pinger, address)
    except PermissionError:
        return _connected(tap, address, DISCARD) in (0, errno.ECONNREFUSED)
    except OSError as error:
        if error.errno == errno.ENODEV:  # the tap has gone meanwhile
            return False
        raise


def is_open(tap: str, address: str, port: int) -> bool:
    """Does a TCP connection to the port come about, through the tap?"""
    return _connected(tap, address, port) == 0


def _pinged(pinger: socket.socket, address: str) -> bool:
    # The kernel fills in identifier and checksum, and gives us only the answers to our own.
    with suppress(OSError):  # nobody to ask
        pinger.sendto(struct.pack("!BBHHH", ECHO, 0, 0, 0, 1), (address, 0))
        readable, _, _ = select.select([pinger], [], [], TRY_SECONDS)
        return bool(readable) and pinger.recv(64)[:1] == bytes((ECHO_REPLY,))
    return False


def _connected(tap: str, address: str, port: int) -> int:
    """0 or the error's number."""
    try:
        with bound(socket.SOCK_STREAM, 0, tap) as caller:
            caller.settimeout(TRY_SECONDS)
            return caller.connect_ex((address, port))
    except PermissionError:
        raise TapdraftError(
            f"this kernel does not let users bind a connection to {tap}",
            "use Linux 5.7 or newer",
            IN_THE_WAY,
        ) from None
    except OSError as error:
        return error.errno or errno.EIO


def ping(guest: Guest, file: str, seconds: float) -> int:
    """Wait until the guest answers on its tap, and say how long that took."""
    # Between two tries there is nothing that could be awaited: the guest is another machine.
    never = threading.Event()
    tap = up(guest).tap
    seen: list[Obstacle] = []

    def attempt() -> bool:
        found = obstacle(guest, file)
        if found and found.lasting:
            raise TapdraftError(found.what, found.hint, IN_THE_WAY)
        if found and not seen:
            print(f"[#] {found.what}; waiting for it", file=sys.stderr)
        seen[:] = [found] if found else []
        return not found and answers(tap, guest.address)

    took = until(attempt, seconds, never.wait)
    if took is None:
        if seen:
            raise TapdraftError(seen[0].what, seen[0].hint, IN_THE_WAY)
        raise TapdraftError(
            f"{guest.name} ({guest.address}) did not answer within {seconds:g} s",
            f"look at the guest's console, then at this host: tapdraft check {file}",
        )
    print(f"{guest.name} ({guest.address}) answers after {took:.1f} s")
    return 0
