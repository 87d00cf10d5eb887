"""The same helper where file systems hold no capabilities: one process of systemd's a connection.

The unit gives it CAP_NET_ADMIN and takes nearly everything else away. Who asks is not who started
it but who is at the other end: the kernel says who that was when it connected. All else, from the
words of a request to the policy and the log, is as if the caller had started the launcher.

A request is a length of four bytes, the arguments with line ends between them, and then what would
be on standard input; the socket of --fd= comes along. The answer ends in NUL and the exit status.
"""

import os
import select
import socket
import struct
import time

from . import policy
from .__main__ import MOST_BYTES as MOST_REQUEST_BYTES
from .__main__ import answer, say
from .caller import Caller, this_caller
from .errors import BadRequest, InTheWay, Refused

SECONDS = 2.0  # for a whole request to arrive, as whoever waits keeps others from being served
SECONDS_TO_ANSWER = 10  # and for the answer to be taken, where it is larger than the socket holds
MOST_BYTES = 4096  # of arguments, as the launcher has it
MOST_AT_ONCE = 4  # requests of one user
SO_PEERGROUPS = 59  # asm-generic/socket.h
MOST_GROUPS = 256  # as many as Python's getsockopt() takes; the kernel refuses to cut the list


def main() -> None:
    """Serve the connection that is standard input, and end."""
    serve(socket.socket(fileno=os.dup(0)))
    os._exit(0)


def serve(peer: socket.socket) -> None:
    """Answer what the other end asks, on standard output and standard error."""
    request = _Request(peer)
    wait = struct.pack("ll", SECONDS_TO_ANSWER, 0)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    status = answer(lambda: _caller(peer), request.arguments, request.rest)
    say(1, f"\0{status}")
    # What nobody has read would, as this closes, take the answer with it.
    peer.shutdown(socket.SHUT_RD)
    while peer.recv(65536, socket.MSG_DONTWAIT):
        pass


def _caller(peer: socket.socket) -> Caller:
    """Who connected: the kernel keeps the effective ids of that moment, and the groups.

    The launcher refuses whose real ids are others. Here they cannot be seen, and need not be: a
    program can make its effective ids the real ones, so that either way they say the same.
    """
    _, uid, gid = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = peer.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    gids = struct.unpack(f"={len(groups) // 4}I", groups)
    return this_caller(holder=False)._replace(uid=uid, gids=(gid, *gids))


def _judge(caller: Caller) -> None:
    """Refuse whoever may request nothing at all before reading a byte of theirs."""
    refusal = policy.refusal(policy.load(), caller)
    if refusal:
        caller.log("decision=refuse", "", refusal)
        raise Refused(refusal, "an administrator can change the policy")


def _take_place(caller: Caller) -> socket.socket:
    """One of the few places that a user has at once; it is free again when this process ends."""
    place = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for number in range(MOST_AT_ONCE):
        try:
            place.bind(f"\0tapdraft-service/{caller.uid}/{number}")
        except OSError:
            continue
        return place
    what = f"{MOST_AT_ONCE} requests of uid {caller.uid} are being served already"
    raise InTheWay(what, "wait until they are answered")


class _Request:
    """What the other end sends, all of it before one deadline. BadRequest if it is no request."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer, self._until = peer, 0.0

    def arguments(self, caller: Caller) -> list[str]:
        """The arguments of a caller who may ask at all.

        The socket that --fd= names is the one that came with them.
        """
        _judge(caller)
        self._place = _take_place(caller)
        # From now on: how long the name service takes is not the caller's fault.
        self._until = time.monotonic() + SECONDS
        self._wait()
        head, descriptors, flags, _ = socket.recv_fds(self._peer, 4, 1)
        head += self._read(4 - len(head))
        if len(head) < 4 or flags & socket.MSG_CTRUNC:
            raise BadRequest("the service expects a length of four bytes and at most one socket")
        (length,) = struct.unpack("!I", head)
        if length > MOST_BYTES:
            raise BadRequest(f"expected at most {MOST_BYTES} bytes of arguments, not {length}")
        data = self._read(length)
        if len(data) < length:
            raise BadRequest(f"expected {length} bytes of arguments, and {len(data)} came")
        words = data.decode("ascii", "replace").split("\n")
        # A number of the caller's own choice would mean a descriptor of this process.
        here = f"--fd={descriptors[0]}" if descriptors else "--fd=none"
        return [here if word.startswith("--fd=") else word for word in words]

    def rest(self, most: int = MOST_REQUEST_BYTES + 1) -> bytes:
        """What would be on standard input."""
        return self._read(most)

    def _read(self, most: int) -> bytes:
        """All that comes until the end, or so many bytes."""
        parts = []
        while most > 0:
            self._wait()
            part = self._peer.recv(min(most, 65536))
            if not part:
                break
            parts.append(part)
            most -= len(part)
        return b"".join(parts)

    def _wait(self) -> None:
        """Let the next read end at the deadline, and say so if that has come."""
        left = self._until - time.monotonic()
        if left <= 0 or not select.select([self._peer], [], [], left)[0]:
            raise BadRequest(f"the request did not arrive whole within {SECONDS:.0f} seconds")
