"""Tells of each DHCP message that passes an interface, either way. Run by path, as root.

    labwire.py INTERFACE    a line each, until it is ended: KIND TO XID CIADDR OPTION...

`3 255.255.255.255 7a3c01ff 192.168.7.2 53 61 55 12` is a REQUEST to everybody from a client that
has 192.168.7.2. It sees what is on the wire, also where a firewall drops it further on.
"""

import socket
import struct
import sys

ETH_P_ALL, IPV4, UDP = 3, 0x0800, 17


def options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while data[at] != 255:
        if data[at]:  # else padding
            found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
            at += 1 + data[at + 1]
        at += 1
    return found


def tell(packet: bytes) -> None:
    datagram = packet[(packet[0] & 15) * 4 :]
    if packet[9] != UDP or sorted(struct.unpack_from("!2H", datagram)) != [67, 68]:
        return
    message = datagram[8:]
    codes = options(message[240:])
    print(
        codes[53][0],
        socket.inet_ntoa(packet[16:20]),
        message[4:8].hex(),
        socket.inet_ntoa(message[12:16]),
        *codes,
        flush=True,
    )


def main(interface: str) -> None:
    # Without their Ethernet headers; ETH_P_ALL is the only one that also gets what goes out.
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    wire.bind((interface, ETH_P_ALL))
    print("listening", flush=True)
    while True:
        packet, (_, kind, *_) = wire.recvfrom(65535)
        if kind == IPV4:
            tell(packet)


main(sys.argv[1])
