"""Frames of a hostile guest, built by hand, and a process that writes them into its tap."""

from __future__ import annotations

import socket
import struct

from attacker import program
from labnet import Lab
from labproc import Process

GUEST, GATEWAY = "192.168.7.2", "192.168.7.1"
MAC = bytes.fromhex("020000000099")
# What an attack carries, and what is sent behind it, on a way that is open: when that has arrived,
# the attack would have, too.
ATTACK, DONE = b"attack", b"finish"

# Who opens a tap switches its carrier on, and a moment later the kernel begins to send by it: that
# is awaited, or what is sent at once would be lost.
TAP = """if True:
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    events.bind((0, 1))
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1002))
    while open(f"/sys/class/net/{sys.argv[1]}/operstate").read() != "up\\n":
        events.recv(65536)
    # Another change of links, after the one that the event was about: TUNGETIFF waits for it.
    fcntl.ioctl(tap, 0x800454D2, bytearray(40))
    """
_WRITE = (
    TAP
    + """
    for frame in sys.stdin.read().split():
        os.write(tap, bytes.fromhex(frame))
    signal.alarm(20)
    while True:
        frame = os.read(tap, 70000)
        print(frame.hex(), flush=True)
        if b"finish" in frame:
            break
    """
)
# With the tap open: what the kernel has learnt on a link goes with the carrier.
_HOLD = (
    TAP
    + """
    for frame in open("/run/frames").read().split():
        os.write(tap, bytes.fromhex(frame))
    while b"finish" not in os.read(tap, 70000):
        pass
    print("through", flush=True)
    signal.pause()
    """
)
_READ = (
    TAP
    + """
    print("attached", flush=True)
    while True:
        print(os.read(tap, 70000), flush=True)
    """
)
_WATCH = """if True:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((sys.argv[1], 0))
    print("watching", flush=True)
    while True:
        print(wire.recv(70000), flush=True)
    """


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(
        struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2))
    )
    total = (total & 0xFFFF) + (total >> 16)
    folded: int = ~(total + (total >> 16)) & 0xFFFF
    return folded


def ethernet(payload: bytes, kind: int = 0x0800, destination: bytes = b"\xff" * 6) -> bytes:
    return destination + MAC + struct.pack("!H", kind) + payload


def ipv4(
    payload: bytes,
    source: str = GUEST,
    to: str = GATEWAY,
    protocol: int = 17,
    options: bytes = b"",
    fragment: int = 0,
    to_mac: bytes = b"",
) -> bytes:
    """A whole frame with an IPv4 packet, RFC 791."""
    length = 20 + len(options)
    head = (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | length // 4,
            0,
            length + len(payload),
            7,
            fragment,
            64,
            protocol,
            0,
            socket.inet_aton(source),
            socket.inet_aton(to),
        )
        + options
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ethernet(head + payload, destination=to_mac or host_mac())


def udp(data: bytes, port: int, source_port: int = 40000) -> bytes:
    return struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data


def tcp_syn(port: int, source_port: int = 40000, source: str = GUEST, to: str = GATEWAY) -> bytes:
    head = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 0x50, 2, 8192, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!HH", 6, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def icmp(kind: int, data: bytes, code: int = 0, rest: bytes = bytes(4)) -> bytes:
    head = struct.pack("!BBH", kind, code, 0) + rest + data
    return head[:2] + struct.pack("!H", checksum(head)) + head[4:]


def arp(operation: int, sender: str, target: str, sender_mac: bytes = MAC) -> bytes:
    """A whole frame, RFC 826."""
    return ethernet(
        struct.pack(
            "!HHBBH6s4s6s4s",
            1,
            0x0800,
            6,
            4,
            operation,
            sender_mac,
            socket.inet_aton(sender),
            bytes(6),
            socket.inet_aton(target),
        ),
        0x0806,
    )


def echo(to: str = GATEWAY, data: bytes = DONE) -> bytes:
    """A ping, which is what a guest may always do to its gateway."""
    return ipv4(icmp(8, data), to=to, protocol=1)


_mac = b"\xff" * 6


def host_mac() -> bytes:
    return _mac


def know_neighbours(lab: Lab, tap: str = "td-web", guest: str = GUEST) -> None:
    """Tell the guest's and the host's addresses on the link to each other, as ARP would."""
    global _mac  # noqa: PLW0603  one lab at a time
    _mac = bytes.fromhex(
        lab.run(["cat", f"/sys/class/net/{tap}/address"]).check().stdout.replace(":", "")
    )
    lab.run(["ip", "neigh", "replace", guest, "lladdr", MAC.hex(":"), "dev", tap]).check()


def send(lab: Lab, *frames: bytes, user: str = "alice", tap: str = "td-web") -> list[bytes]:
    """Write frames into the tap, then a ping, and return what came out of it, up to the answer."""
    words = "\n".join(frame.hex() for frame in (*frames, echo()))
    done = lab.run([*program(_WRITE), tap], user=user, input=words).check()
    return [bytes.fromhex(line) for line in done.stdout.split()][:-1]


def hold(lab: Lab, *frames: bytes, user: str = "alice", tap: str = "td-web") -> Process:
    """Write frames into the tap, await the answer to a ping, and keep the tap open."""
    lab.write("/run/frames", "\n".join(frame.hex() for frame in (*frames, echo())))
    holder = lab.start([*program(_HOLD), tap], user=user)
    holder.expect("through", 20)
    return holder


def receive(lab: Lab, tap: str, user: str) -> Process:
    """A guest that prints what it is sent."""
    reader = lab.start([*program(_READ), tap], user=user)
    reader.expect("attached", 20)
    return reader


def watch(lab: Lab, interface: str, netns: str) -> Process:
    """Print every frame that passes an interface."""
    watcher = lab.start([*program(_WATCH), interface], netns=netns)
    watcher.expect("watching", 20)
    return watcher


def say(lab: Lab, to: str, data: bytes = DONE, *, netns: str = "host", port: int = 9) -> None:
    """One UDP packet of the host's own, or the outside's."""
    code = """if True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))"""
    lab.run([*program(code), to, str(port), data.decode()], netns=netns).check()


def listen(lab: Lab, port: int, netns: str = "host") -> Process:
    """A server that prints what reaches it, by UDP or TCP."""
    server = lab.start(
        program(f"""if True:
        import select
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for server in (udp, tcp):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("0.0.0.0", {port}))
        tcp.listen()
        print("listening", flush=True)
        while True:
            for ready in select.select([udp, tcp], [], [])[0]:
                print(ready.recv(1000) if ready is udp else b"connected", flush=True)
                ready is tcp and tcp.accept()
        """),
        netns=netns,
    )
    server.expect("listening", 20)
    return server


def assert_harmless(watcher: Process) -> None:
    """What was sent behind the attack has come, and nothing of the attack."""
    watcher.expect(DONE.decode(), 10)
    assert ATTACK.decode() not in watcher.console
