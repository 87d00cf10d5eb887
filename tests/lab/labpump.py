"""A wire without a virtual machine: carries frames between a tap of the host and a new tap in
another network namespace, which stands for the guest's interface. Run by path, as root.

    labpump.py TAP NAMESPACE-FILE NAME     until it is ended, or one of the two is gone
"""

import ctypes
import fcntl
import os
import select
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000


def attach(name: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tun


def enter(namespace: str) -> None:
    # os.setns is Python 3.12's.
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def carry(source: int, target: int) -> None:
    try:
        os.write(target, os.read(source, 65536))
    except BlockingIOError:
        return  # as on any wire, what there is no room for is lost
    except OSError as error:
        # EIO: the other side is not up, so nobody hears it.
        if error.errno != 5:
            raise


def main(tap: str, namespace: str, name: str) -> None:
    host = attach(tap)
    enter(namespace)
    guest = attach(name)
    print("carrying", flush=True)
    while True:
        readable, _, _ = select.select([host, guest], [], [])
        for end, other in ((host, guest), (guest, host)):
            if end in readable:
                carry(end, other)


main(*sys.argv[1:])
