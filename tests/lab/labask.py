"""Sends datagrams from a socket on one interface and shows what comes back. Run by path, as root.

    labask.py INTERFACE PORT TO:PORT HEX[*TIMES]... [wait]

Sends each packet, TIMES over, from PORT; with `wait` it then waits for one datagram, and prints
who sent it and the bytes: `192.168.7.1:67 0201...`. As a client does, it sends the last packet
again when no answer comes within two seconds, for a datagram may be lost, and fails after five.
"""

import socket
import sys


def main(interface: str, port: str, to: str, *packets: str) -> None:
    address, _, target = to.rpartition(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.bind(("", int(port)))
    last = b""
    for packet in packets:
        if packet == "wait":
            print(answer(sock, last, (address, int(target))))
        else:
            text, _, times = packet.partition("*")
            last = bytes.fromhex(text)
            for _ in range(int(times or 1)):
                sock.sendto(last, (address, int(target)))


def answer(sock: socket.socket, question: bytes, to: tuple[str, int]) -> str:
    sock.settimeout(2)
    for _ in range(5):
        try:
            data, source = sock.recvfrom(65535)
            return f"{source[0]}:{source[1]} {data.hex()}"
        except TimeoutError:
            sock.sendto(question, to)
    sys.exit("no answer")


main(*sys.argv[1:])
