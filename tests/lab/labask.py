"""Sends datagrams from a socket on one interface and shows what comes back. Run by path, as root.

    labask.py INTERFACE PORT TO:PORT HEX[*TIMES]... [wait]

Sends each packet, TIMES over, from PORT; with `wait` it then waits for one datagram at most ten
seconds and prints who sent it and the bytes: `192.168.7.1:67 0201...`.
"""

import socket
import sys


def main(interface: str, port: str, to: str, *packets: str) -> None:
    address, _, target = to.rpartition(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.bind(("", int(port)))
    for packet in packets:
        if packet == "wait":
            sock.settimeout(10)
            data, source = sock.recvfrom(65535)
            print(f"{source[0]}:{source[1]} {data.hex()}")
        else:
            text, _, times = packet.partition("*")
            for _ in range(int(times or 1)):
                sock.sendto(bytes.fromhex(text), (address, int(target)))


main(*sys.argv[1:])
