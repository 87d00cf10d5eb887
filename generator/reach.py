"""Is the guest there? Asked of its own address, as an ordinary user can ask."""

import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .errors import TapdraftError

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


def answers(address: str) -> bool:
    """Does anything answer at `address`? By a ping where the host permits it to its users
    (net.ipv4.ping_group_range), else by a connection: also a refusal is an answer."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as pinger:
            return _pinged(pinger, address)
    except PermissionError:
        return _connected(address, DISCARD) in (0, errno.ECONNREFUSED)


def is_open(address: str, port: int) -> bool:
    """Does a TCP connection to the port come about?"""
    return _connected(address, port) == 0


def _pinged(pinger: socket.socket, address: str) -> bool:
    # The kernel fills in identifier and checksum, and gives us only the answers to our own.
    with suppress(OSError):  # no route yet, or nobody to ask
        pinger.sendto(struct.pack("!BBHHH", ECHO, 0, 0, 0, 1), (address, 0))
        readable, _, _ = select.select([pinger], [], [], TRY_SECONDS)
        return bool(readable) and pinger.recv(64)[:1] == bytes((ECHO_REPLY,))
    return False


def _connected(address: str, port: int) -> int:
    """0 or the error's number."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.settimeout(TRY_SECONDS)
        try:
            return caller.connect_ex((address, port))
        except OSError as error:
            return error.errno or errno.EIO



def ping(name: str, address: str, seconds: float) -> int:
    """Wait until the guest answers, and say how long that took."""
    # Between two tries there is nothing that could be awaited: the guest is another machine.
    never = threading.Event()
    took = until(lambda: answers(address), seconds, never.wait)
    if took is None:
        raise TapdraftError(
            f"{name} ({address}) did not answer within {seconds:g} s",
            "is it running? Its console tells how far it is",
        )
    print(f"{name} ({address}) answers after {took:.1f} s")
    return 0
