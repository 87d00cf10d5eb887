"""Listens on one tap and answers, as an ordinary user.

Port 67 is reserved, so this is port 10067: the ruleset rewrites what the guest sends to 67, and the
answers' source back to 67. Nobody else gets a part of it:

- The socket is bound to the tap (SO_BINDTODEVICE, without privilege since Linux 5.7), so neither
  another guest, nor the outside, nor a process of this host reaches it.
- It sets neither SO_REUSEADDR nor SO_REUSEPORT, without which the kernel gives the port on one
  interface to one socket only, whatever the other one sets. Whoever had it first keeps it, and
  this one says so instead of starting; who comes second, fails.
"""

import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fcntl import ioctl
from ipaddress import IPv4Address

from ..errors import IN_THE_WAY, TapdraftError
from .answer import BROADCAST, Lease, answer
from .limited import Bucket, Limited, Log
from .message import LARGEST

PORT, CLIENT_PORT = 10067, 68
# linux/in.h; in_pktinfo: the interface, the address of ours, and the one in the packet's header
IP_PKTINFO, PKTINFO = 8, struct.Struct("=I4s4s")
PKTINFO_SPACE = socket.CMSG_SPACE(PKTINFO.size)
# A guest needs about four packets and two answers to start: so many at once, and in a second.
PACKETS, ANSWERS = (4000, 1000.0), (50, 5.0)
RTMGRP_LINK = 1  # linux/rtnetlink.h
SIOCGIFADDR = 0x8915  # linux/sockios.h


def tell_ready() -> None:
    """Write `ready` to standard output and close it, so that whoever reads it goes on."""
    with suppress(OSError):
        os.write(1, b"ready\n")
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)


def to_stderr(line: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        print(f"dhcp: {line}", file=sys.stderr, flush=True)


def serve(
    lease: Lease,
    tap: str,
    *,
    ready: Callable[[], None] = tell_ready,
    log: Log = to_stderr,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Answer the guest on `tap` until the tap is gone, or SIGTERM or SIGINT comes.

    `ready` is called once, when every packet from then on is answered. `log` gets a line for each
    thing that happens, with `quiet` only for what is not usual, and never a flood of them. Only for
    the main thread, as signals are. TapdraftError if the tap or the server's address on it is not
    there, or its port is taken.
    """
    limited = Limited(log)
    packets, answers = Bucket(*PACKETS, clock), Bucket(*ANSWERS, clock)
    with ExitStack() as held:
        end = held.enter_context(_signals())
        links = held.enter_context(_link_events())
        server = held.enter_context(_listen(lease, tap))
        index = socket.if_nametoindex(tap)
        ready()
        while _there(index, tap):
            # What a flood is more than that stays with the kernel, which drops it.
            wait = packets.wait()
            sources = [end, links] if wait else [end, links, server]
            readable, _, _ = select.select(sources, [], [], wait or None)
            if end in readable:
                return
            if links in readable:
                with suppress(OSError):  # ENOBUFS, lost events: the tap itself is looked at
                    links.recv(LARGEST)
            if server in readable:
                packets.take()
                _answer_one(server, lease, limited, quiet, answers)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable when SIGTERM or SIGINT comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            yield ours
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)


def _link_events() -> socket.socket:
    """A socket that becomes readable when an interface comes or goes: one that is bound to an
    interface is not told when its interface goes."""
    links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    links.bind((0, RTMGRP_LINK))
    links.setblocking(False)
    return links


def _there(index: int, tap: str) -> bool:
    """Is it still the same tap? One of the same name that was made anew has another index."""
    try:
        return socket.if_indextoname(index) == tap
    except OSError:
        return False


def _listen(lease: Lease, tap: str) -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _bind(server, tap)
        _check_address(server, lease, tap)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        server.setblocking(False)
    except BaseException:
        server.close()
        raise
    return server


def _bind(server: socket.socket, tap: str) -> None:
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, tap.encode())
        # To no address: broadcasts are not given to a socket that is bound to one.
        server.bind(("", PORT))
    except OSError as error:
        what, hint = {
            errno.ENODEV: (f"there is no tap {tap}", "set it up first"),
            errno.EPERM: (f"only root may listen on {tap} alone", "Linux 5.7 or newer permits it"),
            errno.EADDRINUSE: (
                f"somebody else holds UDP port {PORT} on {tap}",
                f"find out who: ss -ulpn 'sport = :{PORT}'",
            ),
        }.get(error.errno or 0, (f"cannot listen on {tap}: {error.strerror}", ""))
        raise TapdraftError(what, hint, IN_THE_WAY) from None


def _check_address(server: socket.socket, lease: Lease, tap: str) -> None:
    """Without the address that it names as its own, no answer would get out."""
    try:
        found = ioctl(server.fileno(), SIOCGIFADDR, struct.pack("16s24x", tap.encode()))
        address = str(IPv4Address(found[20:24]))
    except OSError:
        address = "no address"
    if address != str(lease.server):
        what = f"{tap} has {address} where {lease.server} should be"
        raise TapdraftError(what, "set the tap up anew", IN_THE_WAY)


def _destination(control: list[tuple[int, int, bytes]]) -> IPv4Address:
    """Which address the packet was sent to."""
    ((_, _, information),) = control
    return IPv4Address(PKTINFO.unpack(information)[2])


def _answer_one(
    server: socket.socket, lease: Lease, log: Limited, quiet: bool, answers: Bucket
) -> None:
    try:
        packet, control, _, (_, port) = server.recvmsg(LARGEST + 1, PKTINFO_SPACE)
        if port != CLIENT_PORT:
            return log("a packet that is not from a client's port is ignored")
        given = answer(lease, packet, broadcast=_destination(control) == BROADCAST)
        if given.message and not answers.take():
            return log(f"a message is not answered: there were more than {ANSWERS[1]:g} a second")
        if given.message:
            # The address that the client is told to answer to, whatever others the tap has.
            source = PKTINFO.pack(0, lease.server.packed, b"")
            control = [(socket.IPPROTO_IP, IP_PKTINFO, source)]
            server.sendmsg([given.message], control, 0, (str(given.to), CLIENT_PORT))
    except BlockingIOError:  # its checksum was wrong
        return None
    except OSError as error:
        return log(f"no answer gets out: {error.strerror}")
    if not (quiet and given.usual):
        log(given.note)
    return None
