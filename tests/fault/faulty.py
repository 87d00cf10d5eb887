"""Runs the helper's Python side with one netlink answer or one ioctl replaced by an error.

    faulty.py KIND NUMBER ERROR REQUEST-WORDS...

KIND is `request` (the kernel refuses the nth request), `answer` (it is carried out, and the answer
gets lost), `connections` (the nth look at those that are tracked is refused), or `ioctl`. Root runs
it in a lab: what is tested is what the helper does about it. Exit status 77 says that there were
fewer than NUMBER of them.
"""

import errno
import fcntl
import importlib
import os
import socket
import struct
import sys

KIND, NUMBER, ERROR = sys.argv[1], int(sys.argv[2]), getattr(errno, sys.argv[3])
GET_CONNECTION = 1 << 8 | 1  # linux/netfilter/nfnetlink_conntrack.h
count = 0


def due(kind: str) -> bool:
    """Is this the one?"""
    global count  # noqa: PLW0603  one process, one count
    count += kind == KIND
    return kind == KIND and count == NUMBER


class Faulty(socket.socket):
    """A netlink socket that now and then lies about the kernel."""

    forged = b""
    lost = False

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]  # of one kind
        if self.family != socket.AF_NETLINK:  # the log
            return super().send(data, flags)
        # A transaction is a batch: its last message is what is acknowledged.
        _, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
        if due("request") or (kind == GET_CONNECTION and due("connections")):
            self.forged = struct.pack("=IHHIIi", 36, 2, 0, sequence, 0, -ERROR) + data[:16]
            return len(data)
        self.lost = due("answer")
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        forged, self.forged = self.forged, b""
        if self.lost:
            super().recv(size, flags)
            raise OSError(ERROR, os.strerror(ERROR))
        return forged or super().recv(size, flags)


def ioctl(descriptor: int, request: int, argument: bytes | int) -> object:
    if due("ioctl"):
        raise OSError(ERROR, os.strerror(ERROR))
    if isinstance(argument, int):
        return real_ioctl(descriptor, request, argument)
    return real_ioctl(descriptor, request, argument)


def main() -> None:
    sys.path.insert(0, "/usr/local/lib/tapdraft")
    helper = importlib.import_module("tapdraft.helper.__main__")
    netlink = importlib.import_module("tapdraft.helper.netlink")
    netlink.socket.socket = Faulty
    fcntl.ioctl = ioctl
    status = helper.main(["tapdraft-helper", *sys.argv[4:]])
    os._exit(status if count >= NUMBER else 77)


real_ioctl = fcntl.ioctl
main()
