"""What of the host is not netlink's: making taps, and the settings below /proc/sys/net."""

import errno
import fcntl
import os
import struct

from .netlink import Kernel

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
IFF_MULTI_QUEUE, IFF_TUN_EXCL = 0x0100, 0x8000


def create_tap(kernel: Kernel, name: str, uid: int, flags: int) -> tuple[int, int]:
    """Descriptor and index of a new tap, which goes when the descriptor is closed.

    OSError EBUSY if there is an interface of that name.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        mode = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | flags
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), mode))
        fcntl.ioctl(descriptor, TUNSETOWNER, uid)
        ifindex, queues = kernel.open_queues(name)
        # Until it had an owner, anybody could open another queue of it, and keep that for good.
        if queues > 1:
            kernel.delete_link(ifindex)
            raise OSError(errno.EBUSY, "somebody else has opened it")
        return descriptor, ifindex
    except OSError:
        os.close(descriptor)
        raise


def persist_tap(descriptor: int) -> None:
    fcntl.ioctl(descriptor, TUNSETPERSIST, 1)


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
