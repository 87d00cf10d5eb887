"""Connect to a guest through its tap and through nothing else, and hand the connection to ssh.

    connect.py TAP ADDRESS PORT

ssh starts it by ProxyCommand with ProxyUseFdpass, ssh_config(5): standard output is a Unix socket,
over which the connected descriptor is sent. ssh's own BindInterface binds to the address of an
interface, not to the interface. Run by path: it imports nothing of tapdraft's.
"""

import os
import socket
import sys


def bound(kind: socket.SocketKind, protocol: int, tap: str) -> socket.socket:
    """A socket whose packets leave through `tap` or not at all.

    OSError if there is no such interface. Needs no privilege since Linux 5.7, SO_BINDTODEVICE in
    socket(7).
    """
    made = socket.socket(socket.AF_INET, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(tap))
    except OSError:
        made.close()
        raise
    return made


def main(tap: str, address: str, port: str) -> int:
    try:
        with bound(socket.SOCK_STREAM, 0, tap) as guest:
            guest.connect((address, int(port)))
            with socket.socket(fileno=os.dup(1)) as ssh:
                socket.send_fds(ssh, [b"\0"], [guest.fileno()])
    except OSError as error:
        print(f"error: {address} port {port} on {tap}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
