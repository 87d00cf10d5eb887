"""The same helper where file systems hold no capabilities: one process of systemd's a connection.

The unit gives it CAP_NET_ADMIN and takes nearly everything else away. Who asks is not who started
it but who is at the other end: the kernel says who that was when it connected. All else, from the
words of a request to the policy and the log, is as if the caller had started the launcher.

A request is a length of four bytes, the arguments with line ends between them, and then what would
be on standard input; the socket of --fd= comes along. The answer ends in NUL and the exit status.
"""

import os
import socket
import struct

from .__main__ import answer, say
from .caller import Caller, this_caller

SECONDS = 10.0  # to send a request, which keeps others from being served
MOST_BYTES = 4096  # of arguments, as the launcher has it
SO_PEERGROUPS = 59  # asm-generic/socket.h
MOST_GROUPS = 256  # as many as Python's getsockopt() takes; the kernel refuses to cut the list


def main() -> None:
    """Serve the connection that is standard input, and end."""
    peer = socket.socket(fileno=os.dup(0))
    peer.settimeout(SECONDS)
    arguments = _arguments(peer)
    caller = _caller(peer)
    peer.settimeout(None)  # it is a property of the connection, which standard input is too
    say(1, f"\0{answer(arguments, caller)}")
    os._exit(0)


def _caller(peer: socket.socket) -> Caller:
    _, uid, gid = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = peer.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    gids = struct.unpack(f"={len(groups) // 4}I", groups)
    return this_caller(holder=False)._replace(uid=uid, gids=(gid, *gids))


def _arguments(peer: socket.socket) -> list[str]:
    """The caller's arguments, the socket that --fd= names being the one that came with them."""
    head, descriptors, flags, _ = socket.recv_fds(peer, 4, 1)
    (length,) = struct.unpack("!I", head)
    if length > MOST_BYTES or flags & socket.MSG_CTRUNC:
        raise SystemExit("not a request")
    data = b""
    while len(data) < length:
        part = peer.recv(length - len(data))
        if not part:
            raise SystemExit("half a request")
        data += part
    words = data.decode("ascii", "replace").split("\n")
    # A number of the caller's own choice would mean a descriptor of this process.
    here = f"--fd={descriptors[0]}" if descriptors else "--fd=none"
    return [here if word.startswith("--fd=") else word for word in words]
