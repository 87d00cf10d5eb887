"""What of the host is not netlink's: making taps, and the settings below /proc/sys/net."""

import errno
import fcntl
import os
import socket
import struct

from .netlink import Kernel

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
IFF_MULTI_QUEUE, IFF_TUN_EXCL = 0x0100, 0x8000
# What stays in a tap when who set it has closed it, and how none is said: no filter, no program
# that chooses queues or drops packets, no list of addresses.
_NONE = (
    (0x400054D6 | struct.calcsize("HP") << 16, bytes(struct.calcsize("HP"))),  # TUNDETACHFILTER
    (0x800454E0, struct.pack("=i", -1)),
    (0x800454E1, struct.pack("=i", -1)),  # TUNSET...EBPF
    (0x400454D1, bytes(4)),  # TUNSETTXFILTER
)


def create_tap(kernel: Kernel, name: str, flags: int) -> tuple[int, int]:
    """Descriptor and index of a new tap, which goes when the descriptor is closed.

    It is root's until give_tap(). OSError EBUSY if there is an interface of that name.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        mode = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | flags
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), mode))
        fcntl.ioctl(descriptor, TUNSETOWNER, 0)
        ifindex, untouched = kernel.find_tap(name)
        # Until it had an owner, anybody could open another queue of it, and change and keep it.
        if not untouched:
            kernel.delete_link(ifindex)
            raise OSError(errno.EBUSY, "somebody else has opened it")
        for request, none in _NONE if flags & IFF_MULTI_QUEUE else ():
            _unless_unknown(descriptor, request, none)
        return descriptor, ifindex
    except OSError:
        os.close(descriptor)
        raise


def _unless_unknown(descriptor: int, request: int, argument: bytes) -> None:
    try:
        fcntl.ioctl(descriptor, request, argument)
    except OSError as error:
        if error.errno != errno.EINVAL:  # an older kernel, where nobody else can have set it
            raise


def give_tap(descriptor: int, uid: int, channel: int | None) -> None:
    """Let its user open a tap, and let it outlive this process: for good, or as qemu's."""
    # Python takes the kernel's unsigned number for a signed one.
    fcntl.ioctl(descriptor, TUNSETOWNER, uid - (1 << 32) if uid >> 31 else uid)
    if channel is None:
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
    else:
        hand_over(descriptor, channel)


def hand_over(descriptor: int, channel: int) -> None:
    """Send a tap to qemu over its socket."""
    # Python asks the kernel what it is; OSError where it is no socket at all.
    qemu = socket.socket(fileno=channel)
    if (qemu.family, qemu.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        raise OSError(errno.ENOTSOCK, f"descriptor {channel} is no Unix stream socket")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", descriptor))
    # Who does not receive, or is gone, must neither hold the lock nor end this before it is undone.
    qemu.sendmsg([b"\0"], [rights], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def read_sysctl(key: str) -> str | None:
    """The value of a key below /proc/sys/net; None where there is no such key."""
    try:
        with open(f"/proc/sys/net/{key}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write_sysctl(key: str, value: str) -> None:
    with open(f"/proc/sys/net/{key}", "w", encoding="ascii") as file:
        file.write(value)
