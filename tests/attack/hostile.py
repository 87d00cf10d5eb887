"""Hostile code inside the helper: planted by test_confined.py at the point after the policy.

It has what the process has there, the capability raised, and calls the kernel directly. For each
attempt it prints "OK" or the error's name. It must not import ctypes, whose closures need memory
that is both written and executed.
"""

import _ctypes
import errno
import json
import os
import socket
from collections.abc import Callable


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]  # as C sees it: a long
    _type_ = "l"


class _Function(_ctypes.CFuncPtr):
    _flags_ = 1 | 8  # of C, and keeping errno
    _restype_ = _Long


# None is this program itself; typeshed knows only of files.
_syscall = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "syscall"))  # type: ignore[arg-type]


def call(number: int, *words: object) -> None:
    """A system call by its number on x86_64."""
    _ctypes.set_errno(0)
    if _syscall(_Long(number), *(_Long(w) if isinstance(w, int) else w for w in words)) == -1:
        raise OSError(_ctypes.get_errno(), "")


def opened(path: str, flags: int = os.O_RDONLY) -> None:
    os.close(os.open(path, flags))


def tap() -> None:
    os.close(os.open("/dev/net/tun", os.O_RDWR))


def abstract() -> None:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("\0tapdraft-attack")


CREATE = os.O_WRONLY | os.O_CREAT
ATTEMPTS: dict[str, Callable[[], object]] = {
    # What the helper itself needs, to show that this code runs as the helper does.
    "needed: read the policy": lambda: opened("/etc/tapdraft/policy.conf"),
    "needed: a netlink socket": lambda: socket.socket(16, 3, 0).close(),
    "needed: open the tun device": tap,
    "needed: write forwarding": lambda: opened(
        "/proc/sys/net/ipv4/conf/all/forwarding", os.O_WRONLY
    ),
    # Start or become something else.
    "execute a program": lambda: os.execv("/bin/true", ["true"]),
    "execute by descriptor": lambda: call(
        322, os.open("/usr/lib", os.O_PATH), b"", None, None, 0x1000
    ),
    "spawn a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "fork": os.fork,
    "vfork": lambda: call(58),
    "clone a thread": lambda: call(56, 0x10F00, 0, 0, 0, 0),
    "clone3": lambda: call(435, bytes(88), 88),
    "make memory executable": lambda: call(10, 0, 0, 7),
    "map memory to write and execute": lambda: call(9, 0, 4096, 7, 0x22, -1, 0),
    "make a file in memory": lambda: os.memfd_create("x"),
    # Files.
    "write to /tmp": lambda: opened("/tmp/planted", CREATE),
    "write to /dev/shm": lambda: opened("/dev/shm/planted", CREATE),
    "write to the user's home": lambda: opened("/home/alice/planted", CREATE),
    "write over a file of the user's": lambda: opened("/home/alice/own", os.O_WRONLY),
    "read a file of the user's": lambda: opened("/home/alice/own"),
    "read the user's home": lambda: os.listdir("/home/alice"),
    "read another process": lambda: opened("/proc/1/status"),
    "read the command line of another": lambda: opened("/proc/1/cmdline"),
    "read the kernel's log": lambda: opened("/proc/kallsyms"),
    "read its own memory": lambda: opened("/proc/self/mem", os.O_RDWR),
    "read the host's name": lambda: opened("/etc/hostname"),
    "read what the resolver has": lambda: opened("/etc/resolv.conf"),
    "write ip_forward": lambda: opened("/proc/sys/net/ipv4/ip_forward", os.O_WRONLY),
    "write tcp's settings": lambda: opened("/proc/sys/net/ipv4/tcp_syncookies", os.O_WRONLY),
    "write a kernel setting": lambda: opened("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "open a disk": lambda: opened("/dev/zero"),
    "make a folder": lambda: os.mkdir("/home/alice/planted"),
    "make a node": lambda: os.mknod("/home/alice/planted"),
    "remove a file": lambda: os.unlink("/home/alice/own"),
    "rename a file": lambda: os.rename("/home/alice/own", "/home/alice/planted"),
    "link a file": lambda: os.link("/home/alice/own", "/home/alice/planted"),
    "link a file symbolically": lambda: os.symlink("/home/alice/own", "/home/alice/planted"),
    "change a mode": lambda: os.chmod("/home/alice/own", 0o777),
    "change an owner": lambda: os.chown("/home/alice/own", 61001, 61001),
    "truncate a file": lambda: os.truncate("/home/alice/own", 0),
    "open a file by its handle": lambda: call(304, -100, bytes(16), 0),
    # Other processes, and more of the machine.
    "trace a process": lambda: call(101, 16, os.getppid(), 0, 0),
    "be traced": lambda: call(101, 0, 0, 0, 0),
    "read another's memory": lambda: call(310, os.getppid(), 0, 0, 0, 0, 0),
    "signal a process": lambda: os.kill(os.getppid(), 0),
    "open a process": lambda: call(434, os.getppid(), 0),
    "mount": lambda: call(165, b"none", b"/home/alice", b"tmpfs", 0, None),
    "unmount": lambda: call(166, b"/proc", 2),
    "leave a namespace": lambda: call(272, 0x10000000),
    "enter a namespace": lambda: call(308, os.open("/proc/self", os.O_RDONLY), 0),
    "change the root": lambda: call(161, b"/home"),
    "load a program into the kernel": lambda: call(321, 5, bytes(64), 64),
    "load a module": lambda: call(313, 0, b"", 0),
    "reach the keyrings": lambda: call(250, 0, -3, 0, 0, 0),
    "add a key": lambda: call(248, b"user", b"x", b"x", 1, -3),
    "io_uring": lambda: call(425, 8, bytes(120)),
    "performance counters": lambda: call(298, bytes(112), 0, -1, -1, 0),
    "user faults": lambda: call(323, 0),
    "become another user": lambda: call(105, 0),
    "become another group": lambda: call(116, 0, None),
    "change limits of another": lambda: call(302, os.getppid(), 7, None, bytes(16)),
    "become dumpable": lambda: call(157, 4, 1, 0, 0, 0),
    "raise an ambient capability": lambda: call(157, 47, 2, 12, 0, 0),
    "change securebits": lambda: call(157, 28, 0, 0, 0, 0),
    "change the personality": lambda: call(135, 0x0400000),
    "set the clock": lambda: call(227, 0, bytes(16)),
    "type into a terminal": lambda: call(16, 0, 0x5412, b"x"),
    "change an interface by ioctl": lambda: call(16, 0, 0x8914, bytes(40)),
    # The network.
    "a TCP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "an IPv6 socket": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "a ping socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1),
    "a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    "a socket to the hypervisor": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "a cryptography socket": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "netlink of the audit": lambda: socket.socket(16, 3, 9),
    "netlink of the kernel's events": lambda: socket.socket(16, 3, 15),
    "an abstract socket of another": abstract,
}


def main() -> None:
    results = {}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
        except OSError as error:
            results[name] = errno.errorcode.get(error.errno or 0, str(error))
        else:
            results[name] = "OK"
    os.write(1, json.dumps(results).encode())
    os._exit(0)
