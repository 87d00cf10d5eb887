"""Guest: the host's ports, connections and protocols"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from attacker import UP, assert_up, program, take_down
from frames import (
    ATTACK,
    DONE,
    GATEWAY,
    GUEST,
    TAP,
    arp,
    assert_harmless,
    checksum,
    echo,
    hold,
    icmp,
    ipv4,
    know_neighbours,
    listen,
    receive,
    say,
    send,
    tcp_syn,
    udp,
    watch,
)
from labnet import WEB, Lab
from labproc import Process

HOST = "203.0.113.2"
# In ruleset.nft: what a guest comes out at, how many connections it has at a time, and how many it
# begins in a second once it has begun as many.
PORTS, MOST, RATE = range(61000, 65536), 2048, 256

# A peer outside that speaks first on each line of its input, and a client of the host's.
_PEER = """if True:
    kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
    server = socket.socket(socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("198.51.100.1", 9000))
    if kind == socket.SOCK_STREAM:
        server.listen()
    print("listening", flush=True)
    if kind == socket.SOCK_STREAM:
        peer = server.accept()[0]
        port = peer.getpeername()[1]
    else:
        port = server.recvfrom(100)[1][1]
        server.connect(("203.0.113.2", port))
        peer = server
    print(f"port={port}.", flush=True)
    open("/tmp/go").read()
    peer.send(b"attack")
    print("said", peer.recv(100), flush=True)
    """
_CLIENT = """if True:
    kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
    client = socket.socket(socket.AF_INET, kind)
    client.connect(("198.51.100.1", 9000))
    if kind == socket.SOCK_DGRAM:
        client.send(b"hello")
    print("got", client.recv(100), flush=True)
    client.send(b"an answer")
    """


def start(lab: Lab, *words: str) -> None:
    assert_up(lab.helper(*UP, *words))
    know_neighbours(lab)


def frames(watcher: Process) -> Iterator[bytes]:
    """What a watcher has printed so far."""
    lines = watcher.console.splitlines()
    yield from (eval(line) for line in lines if line.startswith(("b'", 'b"')))  # noqa: S307  bytes, by the watcher


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_forward_takes_over_no_connection_that_the_host_already_has(
    target: Lab, protocol: str
) -> None:
    """It began before the first tap, so connection tracking does not know it."""
    target.run(["sh", "-c", "rm -f /tmp/go; mkfifo /tmp/go"]).check()
    peer = target.start([*program(_PEER), protocol], netns="outside")
    peer.expect("listening", 20)
    client = target.start([*program(_CLIENT), protocol])
    port = peer.expect(r"port=(\d+)\.", 20)[1]
    start(target, f"forward={protocol}:{port}:80", "forward=udp:5353:53")
    reader = receive(target, "td-web", "alice")
    target.run(["sh", "-c", "echo > /tmp/go"]).check()
    client.expect(f"got b'{ATTACK.decode()}'", 20)
    peer.expect("said b'an answer'", 20)
    say(target, HOST, netns="outside", port=5353)
    assert_harmless(reader)
    for process in (reader, peer, client):
        process.stop()
    take_down(target)


def test_a_service_of_the_host_that_starts_later_wins_over_a_forward(target: Lab) -> None:
    start(target, "forward=udp:5000:53", "forward=tcp:5000:53", "forward=udp:5353:53")
    reader = receive(target, "td-web", "alice")
    server = listen(target, 5000)
    say(target, HOST, ATTACK, netns="outside", port=5000)
    server.expect(ATTACK.decode(), 20)
    connect = f"socket.create_connection(({HOST!r}, 5000), 20)"
    target.run(program(connect), netns="outside").check()
    server.expect("connected", 20)
    say(target, HOST, netns="outside", port=5353)
    assert_harmless(reader)
    reader.stop()
    server.stop()
    take_down(target)


def raw(lab: Lab, packet: bytes) -> None:
    """Send a whole IPv4 packet from outside, whatever it says of itself."""
    code = """if True:
        wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        wire.sendto(bytes.fromhex(sys.argv[1]), ("203.0.113.2", 0))"""
    lab.run([*program(code), packet.hex()], netns="outside").check()


def segment(
    flags: int, port: int, source: str, to: str, source_port: int = 40000, number: int = 1
) -> bytes:
    """One of TCP's with data and a right checksum, whatever its flags say."""
    head = struct.pack("!HHIIBBHHH", source_port, port, number, 0, 0x50, flags, 8192, 0, 0) + ATTACK
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!HH", 6, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def test_a_segment_without_a_beginning_is_not_handed_to_a_guest(target: Lab) -> None:
    """A connection that is half made, or that a sleeping host forgot, is not the guest's."""
    start(target, "forward=tcp:8080:80", "forward=udp:5353:53")
    reader = receive(target, "td-web", "alice")
    for flags in (0x10, 0x18, 0x12, 0x04, 0x11):
        raw(target, ipv4(segment(flags, 8080, WEB, HOST), WEB, HOST, 6)[14:])
    say(target, HOST, netns="outside", port=5353)
    assert_harmless(reader)
    reader.stop()
    take_down(target)


PUBLISHED = {
    "nft": "nft 'table ip k8s { chain pre { type nat hook prerouting priority dstnat;"
    " fib daddr type local udp dport 7000 dnat to 192.0.2.77:9; }; }'",
    "iptables": "iptables-nft -t nat -A PREROUTING -p udp --dport 7000 -m addrtype"
    " --dst-type LOCAL -j DNAT --to-destination 192.0.2.77:9",
}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("by", PUBLISHED)
def test_a_port_that_another_table_publishes_stays_that_tables(
    fresh: Lab, by: str, when: str
) -> None:
    """A container's, say: no socket tells of it, and whoever's chain is asked first has it."""
    before = fresh.snapshot()
    up = [*UP, "uplink=eth0", "forward=udp:7000:53", "forward=udp:5353:53"]
    if when == "meanwhile":
        assert_up(fresh.helper(*up))
    fresh.run(["sh", "-ec", PUBLISHED[by]]).check()
    if when == "before":
        assert_up(fresh.helper(*up))
    know_neighbours(fresh)
    fresh.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    there = ["lladdr", "02:00:00:00:00:77", "dev", "eth1"]
    fresh.run(["ip", "neigh", "add", "192.0.2.77", *there]).check()
    inner, reader = watch(fresh, "eth1", "host"), receive(fresh, "td-web", "alice")
    say(fresh, HOST, ATTACK, netns="outside", port=7000)
    inner.expect(ATTACK.decode(), 20)
    say(fresh, HOST, netns="outside", port=5353)
    assert_harmless(reader)
    inner.stop()
    reader.stop()
    take_down(fresh)
    fresh.run(["ip", "neigh", "del", "192.0.2.77", "dev", "eth1"]).check()
    fresh.run(["nft", "flush", "ruleset"]).check()
    fresh.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()
    fresh.assert_no_residue(before)


@pytest.mark.parametrize("port", [1, 22, 111, 512, 1023, 1024, 8301, 32768, 60999, 65535])
@pytest.mark.parametrize("hidden", ["by us alone", "by another table, too"])
def test_a_guest_comes_out_at_ports_of_the_guests_own(fresh: Lab, port: int, hidden: str) -> None:
    """Not at reserved ones, which old services trust, nor at those of the host's clients."""
    if hidden == "by another table, too":
        post = "type nat hook postrouting priority srcnat; oifname eth0 masquerade;"
        fresh.run(["nft", f"table ip theirs {{ chain post {{ {post} }}; }}"]).check()
    start(fresh)
    wire = watch(fresh, "eth0", "outside")
    send(
        fresh,
        ipv4(udp(b"by udp", 2049, port), to=WEB),
        ipv4(tcp_syn(2049, port, to=WEB), to=WEB, protocol=6),
        ipv4(udp(DONE, 9), to=WEB),
    )
    wire.expect(DONE.decode(), 20)
    sent = [f for f in frames(wire) if f[23] in (6, 17) and f[36:38] == b"\x08\x01"]
    assert {frame[23] for frame in sent} == {6, 17}
    assert all(frame[26:30] == socket.inet_aton(HOST) for frame in sent)
    assert all(int.from_bytes(frame[34:36], "big") in PORTS for frame in sent)
    wire.stop()
    take_down(fresh)
    fresh.run(["nft", "flush", "ruleset"]).check()


def test_a_guest_gets_nothing_that_a_peer_sends_to_a_service_of_the_host(target: Lab) -> None:
    """It has asked that peer from the service's port, so that this comes as an answer."""
    start(target)
    server = listen(target, 8301)
    peer = listen(target, 8301, netns="outside")
    send(target, ipv4(udp(b"I am the host", 8301, 8301), to=WEB))
    peer.expect("I am the host", 20)
    peer.stop()
    reader = receive(target, "td-web", "alice")
    code = f"""if True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(({WEB!r}, 8301))
        udp.sendto({ATTACK!r}, ({HOST!r}, 8301))"""
    target.run(program(code), netns="outside").check()
    server.expect(ATTACK.decode(), 20)
    say(target, GUEST)
    assert_harmless(reader)
    reader.stop()
    server.stop()
    take_down(target)


@pytest.mark.parametrize("where", ["outside", "the host"])
def test_a_guest_cannot_fill_the_table_of_connections(fresh: Lab, where: str) -> None:
    """It has so many at a time and no more; another guest has its own."""
    start(fresh)
    more = range(1, MOST + 500)
    flood = [
        ipv4(udp(b"", 53, 1024 + number), to=WEB)
        if where == "outside"
        else ipv4(icmp(8, b"", 0, struct.pack("!HH", number, 0)), protocol=1)
        for number in more
    ]
    # In pieces whose answers fit the tap's queue. All of the pings by which a piece is known to be
    # through are one connection, so they go on.
    for first in range(0, len(flood), 500):
        send(fresh, *flood[first : first + 500])
    count = fresh.run(["sysctl", "-n", "net.netfilter.nf_conntrack_count"]).check().stdout
    assert MOST - 10 <= int(count) <= MOST + 10
    assert_up(fresh.helper("up", "bobs", "192.168.7.5/30", "192.168.7.6", user="bob"), "bobs")
    know_neighbours(fresh, "td-bobs", "192.168.7.6")
    wire = watch(fresh, "eth0", "outside")
    other = ipv4(udp(DONE, 9), "192.168.7.6", WEB)
    ping = ipv4(icmp(8, DONE), "192.168.7.6", "192.168.7.5", 1)
    send(fresh, other, ping, user="bob", tap="td-bobs")  # returns with the answer
    wire.expect(DONE.decode(), 20)
    wire.stop()
    take_down(fresh)
    take_down(fresh, user="bob")


# Begins connections, fifty at once, and resets each as soon as it is answered. A ping on the same
# way tells that what was sent before it has been answered, if it ever is.
_RESETS = (
    TAP
    + """
    synchronize, reset, ping = ([bytes.fromhex(frame) for frame in line.split()]
                                for line in sys.stdin.read().splitlines())
    begun, began = 0, time.monotonic()
    for first in range(0, len(synchronize), 50):
        for frame in synchronize[first:first + 50] + ping:
            os.write(tap, frame)
        while b"finish" not in (frame := os.read(tap, 70000)):
            if frame[23] == 6 and frame[47] == 0x12:
                begun += 1
                os.write(tap, reset[int.from_bytes(frame[36:38], "big") - 1024])
    print(begun, time.monotonic() - began)
    """
)


def test_a_guest_cannot_fill_the_table_with_connections_that_are_over(fresh: Lab) -> None:
    """Which the kernel keeps for a while, and does not count: it begins no more than so many."""
    start(fresh)
    server = fresh.start(
        program("""if True:
        server = socket.create_server(("198.51.100.1", 80), backlog=4096)
        print("listening", flush=True)
        signal.pause()
        """),
        netns="outside",
    )
    server.expect("listening", 20)
    ports = range(1024, 1024 + 3 * MOST)
    lines = (
        [ipv4(tcp_syn(80, port, to=WEB), to=WEB, protocol=6) for port in ports],
        [ipv4(segment(4, 80, GUEST, WEB, port, 2), to=WEB, protocol=6) for port in ports],
        [echo(WEB)],
    )
    words = "\n".join(" ".join(frame.hex() for frame in line) for line in lines)
    done = fresh.run([*program(_RESETS), "td-web"], user="alice", input=words).check()
    begun, seconds = map(float, done.stdout.split())
    assert MOST - 10 <= begun <= MOST + RATE * (seconds + 1)
    server.stop()
    take_down(fresh)


_CONNECTED = """if True:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((sys.argv[1], 5182))
    client.send(b"hello")
    print(f"port={client.getsockname()[1]}.", flush=True)
    print(client.recv(100), flush=True)
    """


def error(code: int, inner: bytes, to: str, kind: int = 3, source: str = GUEST) -> bytes:
    """A frame with an ICMP error about a packet; code 4 says that it was larger than 552 bytes."""
    rest = struct.pack("!HH", 0, 552 if code == 4 else 0)
    return ipv4(icmp(kind, inner, code, rest), source, to, 1)


@pytest.mark.parametrize("words", ["nat", "isolated", "routed", "isolated host=open"])
def test_forged_errors_of_a_guest_concern_nobody_but_itself(target: Lab, words: str) -> None:
    """They lower no path MTU of the host's, end none of its sockets, and none leaves."""
    start(target, *words.split(), "forward=udp:5353:53")
    wire = watch(target, "eth0", "outside")
    server = listen(target, 5182, netns="outside")
    client = target.start([*program(_CONNECTED), WEB])
    port = int(client.expect(r"port=(\d+)\.", 20)[1])
    server.expect("hello", 20)
    route = target.run(["ip", "route", "get", WEB]).check().stdout
    ours = ipv4(udp(ATTACK, 5182, port), HOST, WEB)[14:]
    theirs = ipv4(udp(ATTACK, port, 5182), WEB, HOST)[14:]
    forged = [
        error(code, inner, to, kind)
        for kind, code in ((3, 4), (3, 3), (3, 1), (11, 0), (12, 0), (4, 0))
        for inner, to in ((ours, HOST), (ours, GATEWAY), (theirs, WEB), (ours[:12], HOST))
    ]
    send(target, *forged)
    assert target.run(["ip", "route", "get", WEB]).check().stdout == route
    say(target, WEB)
    assert_harmless(wire)
    reply = f"""if True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        udp.bind(({WEB!r}, 5182))
        udp.sendto(b"still there", ({HOST!r}, {port}))"""
    server.stop()
    target.run(program(reply), netns="outside").check()
    client.expect("still there", 20)
    for process in (wire, client):
        process.stop()
    take_down(target)


def test_a_router_tells_a_guest_behind_nat_that_its_packets_are_too_large(target: Lab) -> None:
    """What is related to the guest's own connections still gets in: path MTU discovery works."""
    start(target)
    wire = watch(target, "eth0", "outside")
    sent = ipv4(udp(DONE, 9), to=WEB)
    send(target, sent)
    wire.expect(DONE.decode(), 20)
    (seen,) = (frame for frame in frames(wire) if DONE in frame and frame[23] == 17)
    reader = receive(target, "td-web", "alice")
    raw(target, error(4, seen[14:], HOST, source="203.0.113.1")[14:])
    reader.expect(DONE.decode(), 20)
    (told,) = (frame for frame in frames(reader) if DONE in frame and frame[23] == 1)
    assert told[34:36] == b"\x03\x04"
    assert told[54:58] == socket.inet_aton(GUEST)  # the source of the packet that it is about
    reader.stop()
    wire.stop()
    take_down(target)


def test_errors_of_a_guest_about_what_it_was_sent_arrive(target: Lab) -> None:
    """At the host and at who asked a forwarded port, or the attacks above had failed otherwise."""
    start(target, "isolated", "forward=udp:5353:53")
    client = target.start([*program(_CONNECTED), GUEST])
    port = int(client.expect(r"port=(\d+)\.", 20)[1])
    send(target, error(3, ipv4(udp(b"hello", 5182, port), GATEWAY, GUEST)[14:], GATEWAY))
    client.expect("Connection refused", 20)
    wire = watch(target, "eth0", "outside")
    reader = receive(target, "td-web", "alice")
    say(target, HOST, netns="outside", port=5353)
    reader.expect(DONE.decode(), 20)
    (asked,) = (frame for frame in frames(reader) if DONE in frame and frame[23] == 17)
    reader.stop()
    to = socket.inet_ntoa(asked[26:30])
    send(target, error(3, asked[14:], to))
    say(target, "203.0.113.1", b"behind it")
    wire.expect("behind it", 20)
    told = [f for f in frames(wire) if f[23] == 1 and f[34] == 3 and DONE in f]
    assert [frame[26:30] for frame in told] == [socket.inet_aton(HOST)]
    wire.stop()
    client.stop()
    take_down(target)


@pytest.mark.parametrize(("mode", "may"), [("nat", False), ("routed", True)])
def test_no_protocol_that_cannot_be_hidden_leaves_a_guest_behind_nat(
    target: Lab, mode: str, may: bool
) -> None:
    """Tunnels, routing protocols and others would leave in the host's name."""
    start(target, mode)
    wire = watch(target, "eth0", "outside")
    inner = ipv4(udp(ATTACK, 9), "10.99.0.1", "10.99.0.2")[14:]
    for protocol, start_of in (
        (4, b""),
        (47, b"\0\0\x08\0"),
        (41, b""),
        (50, b""),
        (89, b""),
        (112, b""),
        (132, bytes(12)),
        (33, bytes(16)),
    ):
        send(target, ipv4(start_of + inner, to=WEB, protocol=protocol))
    send(target, ipv4(udp(DONE, 9), to=WEB))
    wire.expect(DONE.decode(), 20)
    left = {frame[23] for frame in frames(wire) if ATTACK in frame}
    assert left >= {4, 47, 50, 89} if may else not left
    wire.stop()
    take_down(target)


# With virtio-net's header, in which a guest asks the host for a checksum: from where, to where.
_ASKS = (
    TAP.replace("0x1002", "0x5002")
    + """
    for line in sys.stdin.read().split():
        start, offset, frame = line.split(":")
        head = (int(start) > 0, 0, 0, 0, int(start), int(offset))
        os.write(tap, struct.pack("=BBHHHH", *head) + bytes.fromhex(frame))
    """
)
_NO_OFFLOAD = """if True:
    off = ctypes.create_string_buffer(struct.pack("=II", 0x17, 0))  # ETHTOOL_STXCSUM
    asked = struct.pack("16sP16x", b"eth0", ctypes.addressof(off))
    fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, asked)
    """
_FILL = ("iptables-nft", "-t", "mangle", "-A", "FORWARD", "-i", "td-+", "-j", "CHECKSUM")


def test_where_checksums_are_filled_in_no_guest_writes_one_over_its_port(fresh: Lab) -> None:
    """Else the host writes it behind all rules, wherever in the packet the guest asks for it."""
    fresh.run(program(_NO_OFFLOAD)).check()
    fresh.run([*_FILL, "--checksum-fill"]).check()
    start(fresh)
    wire = watch(fresh, "eth0", "outside")
    over_port = ipv4(udp(b"\0\0" + ATTACK, 2049, 61007), to=WEB)
    behind = ipv4(udp(DONE, 9), to=WEB)
    words = f"34:0:{over_port.hex()}\n0:0:{behind.hex()}"
    fresh.run([*program(_ASKS), "td-web"], user="alice", input=words).check()
    wire.expect(DONE.decode(), 20)
    (left,) = (frame for frame in frames(wire) if ATTACK in frame and frame[23] == 17)
    assert int.from_bytes(left[34:36], "big") in PORTS
    wire.stop()
    take_down(fresh)
    fresh.run(["nft", "flush", "ruleset"]).check()


@pytest.mark.parametrize("flags", [0x00, 0x03, 0x04, 0x10, 0x29])
def test_no_packet_leaves_nat_with_the_guests_own_address(target: Lab, flags: int) -> None:
    """What belongs to no connection is not translated; a wrong checksum is of none, either."""
    start(target)
    wire = watch(target, "eth0", "outside")
    broken = bytearray(udp(ATTACK, 53))
    broken[6:8] = b"\x12\x34"
    send(
        target,
        ipv4(segment(flags, 80, GUEST, WEB), to=WEB, protocol=6),
        ipv4(bytes(broken), to=WEB),
        ipv4(udp(DONE, 9), to=WEB),
    )
    wire.expect(DONE.decode(), 20)
    assert not [f for f in frames(wire) if f[26:30] == socket.inet_aton(GUEST)]
    wire.stop()
    take_down(target)


def test_a_guest_reaches_no_loopback_address_even_where_the_host_routes_them(target: Lab) -> None:
    """With net.ipv4.conf.all.route_localnet=1 and host=open."""
    key = "net.ipv4.conf.all.route_localnet"
    target.run(["sysctl", "-qw", f"{key}=1"]).check()
    start(target, "host=open")
    server = listen(target, 5000)
    send(target, ipv4(udp(ATTACK, 5000), to="127.0.0.1"), ipv4(udp(ATTACK, 5000), to="127.1.2.3"))
    say(target, "127.0.0.1", port=5000)
    assert_harmless(server)
    server.stop()
    take_down(target)
    target.run(["sysctl", "-qw", f"{key}=0"]).check()


def test_dhcp_offers_of_a_guest_reach_no_client_of_an_open_host(target: Lab) -> None:
    start(target, "host=open")
    client = listen(target, 68)
    everybody = b"\xff" * 6
    offer = udp(ATTACK * 40, 68, 67)
    send(target, ipv4(offer, to="255.255.255.255", to_mac=everybody), ipv4(offer))
    say(target, "127.0.0.1", port=68)
    assert_harmless(client)
    client.stop()
    take_down(target)


@pytest.mark.parametrize("everywhere", ["0", "2"])
def test_arp_with_false_senders_makes_no_neighbours(target: Lab, everywhere: str) -> None:
    """The table of neighbours is one for the whole host. 2 is what some systems set for all."""
    key = "net.ipv4.conf.all.rp_filter"
    before = target.run(["sysctl", "-n", key]).check().stdout.strip()
    target.run(["sysctl", "-qw", f"{key}={everywhere}"]).check()
    start(target)
    senders = [socket.inet_ntoa(struct.pack("!I", 0x2D000001 + 7 * n)) for n in range(300)]
    others = (*senders, WEB, HOST, "192.168.7.6")
    holder = hold(target, *(arp(1, sender, GATEWAY) for sender in others))
    shown = target.run(["ip", "-4", "neigh", "show", "dev", "td-web"]).check().stdout
    assert {line.split()[0] for line in shown.splitlines()} == {GUEST}
    holder.stop()
    take_down(target)
    target.run(["sysctl", "-qw", f"{key}={before}"]).check()
