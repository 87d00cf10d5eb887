"""Guest"""

from __future__ import annotations

import socket
import struct

import pytest
from attacker import UP, assert_up, program, take_down
from frames import (
    ATTACK,
    DONE,
    GATEWAY,
    GUEST,
    arp,
    assert_harmless,
    checksum,
    ethernet,
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


def outside() -> bytes:
    """A packet to where a guest in mode nat may go."""
    return ipv4(udp(DONE, 9), to=WEB)


HOST = "203.0.113.2"


def start(lab: Lab, *words: str, neighbours: bool = True) -> None:
    assert_up(lab.helper(*UP, *words))
    if neighbours:
        know_neighbours(lab)


@pytest.mark.parametrize(
    "to", [GATEWAY, HOST, "192.0.2.2", "192.168.7.3", "255.255.255.255", "224.0.0.1"]
)
def test_a_guest_cannot_reach_the_host(target: Lab, to: str) -> None:
    """By none of the host's addresses, by UDP or TCP, nor by broadcast: there is no answer."""
    start(target)
    server = listen(target, 5000)
    tcp = ipv4(tcp_syn(5000, to=to), to=to, protocol=6)
    assert send(target, ipv4(udp(ATTACK, 5000), to=to), tcp) == []
    say(target, "127.0.0.1", port=5000)
    assert_harmless(server)
    assert "connected" not in server.console
    server.stop()
    take_down(target)


def test_a_guest_can_reach_a_host_that_was_opened_for_it(target: Lab) -> None:
    """Or the attack above would have failed for another reason."""
    start(target, "host=open")
    server = listen(target, 5000)
    syn = ipv4(tcp_syn(5000), protocol=6)
    assert len(send(target, ipv4(udp(ATTACK, 5000)), syn)) == 1
    server.expect(ATTACK.decode(), 20)
    server.stop()
    take_down(target)


@pytest.mark.parametrize(
    "kind",
    [
        "fragments",
        "source route",
        "record route",
        "IP in IP",
        "IPv6 in IP",
        "GRE",
        "VLAN",
        "double VLAN",
        "MPLS",
        "IPv6",
        "LLC",
        "wrong length",
    ],
)
def test_no_unusual_packet_reaches_the_host(target: Lab, kind: str) -> None:
    """Whatever it is wrapped in or cut into."""
    start(target)
    server = listen(target, 5000)
    data = udp(ATTACK * 10, 5000)
    plain = ipv4(data)[14:]
    option = bytes((131 if kind == "source route" else 7, 7, 4)) + socket.inet_aton(HOST) + b"\0"
    frames = {
        "fragments": [ipv4(data[:8], fragment=0x2000), ipv4(data[8:], fragment=1)],
        "source route": [ipv4(data, options=option)],
        "record route": [ipv4(data, options=option)],
        "IP in IP": [ipv4(plain, protocol=4)],
        "IPv6 in IP": [ipv4(plain, protocol=41)],
        "GRE": [ipv4(b"\0\0\x08\0" + plain, protocol=47)],
        "VLAN": [ethernet(b"\0\1\x08\0" + plain, 0x8100)],
        "double VLAN": [ethernet(b"\0\1\x81\0\0\0\x08\0" + plain, 0x88A8)],
        "MPLS": [ethernet(b"\0\0\x11\xff" + plain, 0x8847)],
        "IPv6": [
            ethernet(
                b"\x60\0\0\0"
                + struct.pack("!HBB", len(data), 17, 64)
                + bytes(15)
                + b"\1"
                + bytes(15)
                + b"\1"
                + data,
                0x86DD,
            )
        ],
        "LLC": [ethernet(b"\xaa\xaa\3\0\0\0\x08\0" + plain, len(plain) + 8)],
        "wrong length": [
            ethernet(plain[:2] + b"\xff\xff" + plain[4:]),
            ethernet(b"\x4f" + plain[1:30]),
        ],
    }[kind]
    send(target, *frames)
    say(target, "127.0.0.1", port=5000)
    assert_harmless(server)
    server.stop()
    take_down(target)


@pytest.mark.parametrize("to", ["169.254.169.254", "169.254.170.2", "169.254.0.1"])
@pytest.mark.parametrize("mode", ["nat", "routed"])
def test_a_guest_cannot_reach_a_metadata_address(target: Lab, to: str, mode: str) -> None:
    """Clouds keep credentials there, and know the host by its address."""
    start(target, mode)
    wire = watch(target, "eth0", "outside")
    send(
        target, ipv4(udp(ATTACK, 80), to=to), ipv4(tcp_syn(80, to=to), to=to, protocol=6), outside()
    )
    assert_harmless(wire)
    assert repr(socket.inet_aton(to))[2:-1] not in wire.console
    wire.stop()
    take_down(target)


@pytest.mark.parametrize("mode", ["nat", "routed", "isolated"])
def test_a_guest_cannot_reach_another_guest(target: Lab, mode: str) -> None:
    """Neither another user's nor one of the same user's, whatever the modes are."""
    for name, number, user in (("bobs", 1, "bob"), ("mine", 2, "alice")):
        first = 4 * number
        assert_up(
            target.helper(
                "up", name, f"192.168.7.{first + 1}/30", f"192.168.7.{first + 2}", mode, user=user
            ),
            name,
        )
        know_neighbours(target, f"td-{name}", f"192.168.7.{first + 2}")
    start(target, mode)
    readers = [receive(target, "td-bobs", "bob"), receive(target, "td-mine", "alice")]
    for to in ("192.168.7.6", "192.168.7.10", "192.168.7.7", "192.168.7.255"):
        send(
            target,
            ipv4(udp(ATTACK, 9), to=to),
            ipv4(tcp_syn(9, to=to), to=to, protocol=6),
            ipv4(icmp(8, ATTACK), to=to, protocol=1),
        )
    for reader, to in zip(readers, ("192.168.7.6", "192.168.7.10"), strict=True):
        say(target, to)
        assert_harmless(reader)
        reader.stop()
    take_down(target)
    take_down(target, user="bob")


def test_a_guest_cannot_reach_the_net_behind_an_interface_that_is_no_uplink(target: Lab) -> None:
    start(target, "uplink=eth0")
    inner = watch(target, "eth1", "outside")
    for to in ("192.0.2.1", "192.0.2.255"):
        send(target, ipv4(udp(ATTACK, 9), to=to), ipv4(tcp_syn(9, to=to), to=to, protocol=6))
    say(target, "192.0.2.1")
    assert_harmless(inner)
    inner.stop()
    take_down(target)


def test_an_isolated_guest_cannot_leave(target: Lab) -> None:
    """Also not with a port forwarded to it: it may answer, and no more."""
    start(target, "isolated", "forward=tcp:8080:80")
    wire = watch(target, "eth0", "outside")
    send(
        target,
        ipv4(udp(ATTACK, 9), to=WEB),
        ipv4(icmp(8, ATTACK), to=WEB, protocol=1),
        ipv4(tcp_syn(80, to=WEB), to=WEB, protocol=6),
        ipv4(icmp(3, ATTACK, 1), to=WEB, protocol=1),
    )
    say(target, WEB)
    assert_harmless(wire)
    wire.stop()
    take_down(target)


@pytest.mark.parametrize(
    "source",
    [
        "192.168.7.6",
        HOST,
        GATEWAY,
        "192.0.2.2",
        "127.0.0.1",
        WEB,
        "203.0.113.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_a_guest_cannot_use_anothers_address(target: Lab, source: str) -> None:
    """Another guest's, the host's, the outside's, no address, broadcast: it does not get out."""
    start(target, "routed")
    wire = watch(target, "eth0", "outside")
    server = listen(target, 5000)
    send(
        target,
        ipv4(udp(ATTACK, 9), source, WEB),
        ipv4(udp(ATTACK, 67, 68), source, WEB),
        ipv4(udp(ATTACK, 5000), source),
        ipv4(icmp(8, ATTACK), source, WEB, 1),
        outside(),
    )
    assert_harmless(wire)
    say(target, "127.0.0.1", port=5000)
    assert_harmless(server)
    wire.stop()
    server.stop()
    take_down(target)


def neighbours(lab: Lab, interface: str) -> list[list[str]]:
    shown = lab.run(["ip", "neigh", "show", "dev", interface]).check().stdout
    # Without the state, the last word, which changes by itself; ip may end the line with a blank.
    return sorted(line.split()[:-1] for line in shown.splitlines())


def test_spoofed_arp_changes_no_other_link(target: Lab) -> None:
    """The guest claims to be the uplink's router, the host and another guest."""
    start(target)
    assert target.ping("203.0.113.1")
    before = neighbours(target, "eth0")
    stolen = [
        f
        for address in ("203.0.113.1", HOST, "192.168.7.6", GATEWAY)
        for f in (
            arp(2, address, address),
            arp(1, address, address),
            arp(1, address, GATEWAY),
            arp(2, address, GATEWAY),
        )
    ]
    send(target, *stolen)
    assert neighbours(target, "eth0") == before
    assert target.ping("203.0.113.1")
    assert "203.0.113.1 dev eth0" in target.run(["ip", "route", "get", WEB]).check().stdout.replace(
        "via ", ""
    )
    take_down(target)


def test_arp_tells_the_guest_no_address_but_its_gateways(target: Lab) -> None:
    start(target)
    for address in (HOST, "192.0.2.2", "127.0.0.1", "192.168.7.3"):
        assert send(target, arp(1, GUEST, address)) == []
    assert len(send(target, arp(1, GUEST, GATEWAY))) == 1
    take_down(target)


def test_dhcp_answers_of_a_guest_reach_nobody(target: Lab) -> None:
    """Neither a client on the host, nor the outside, nor another guest."""
    assert_up(target.helper("up", "bobs", "192.168.7.5/30", "192.168.7.6", user="bob"), "bobs")
    know_neighbours(target, "td-bobs", "192.168.7.6")
    start(target)
    other, wire, client = (
        receive(target, "td-bobs", "bob"),
        watch(target, "eth0", "outside"),
        listen(target, 68),
    )
    for to in ("255.255.255.255", GATEWAY, "192.168.7.6", "203.0.113.255"):
        for source in (GUEST, "0.0.0.0", "203.0.113.1"):
            send(target, ipv4(udp(ATTACK * 40, 68, 67), source, to))
    say(target, "192.168.7.6")
    say(target, WEB)
    say(target, "127.0.0.1", port=68)
    for process in (other, wire, client):
        assert_harmless(process)
        process.stop()
    take_down(target)
    take_down(target, user="bob")


def test_router_advertisements_and_neighbours_of_a_guest_change_nothing(target: Lab) -> None:
    """Nor anything else by IPv6: the tap has none, and packets are dropped besides."""
    start(target)
    before = target.snapshot()
    prefix = (
        struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 86400, 0)
        + bytes.fromhex("20010db8")
        + bytes(12)
    )
    link = bytes.fromhex("fe80") + bytes(13) + b"\x09"
    for kind, rest in (
        (134, struct.pack("!BBHII", 64, 0, 1800, 0, 0) + prefix),
        (136, bytes(4) + link),
        (137, bytes(4) + link + link),
        (135, bytes(4) + link),
        (128, ATTACK),
    ):
        body = struct.pack("!BBH", kind, 0, 0) + rest
        pseudo = (
            link + bytes.fromhex("ff02") + bytes(13) + b"\1" + struct.pack("!II", len(body), 58)
        )
        total = sum(
            struct.unpack(
                f"!{len(pseudo + body + bytes(len(body) % 2)) // 2}H",
                pseudo + body + bytes(len(body) % 2),
            )
        )
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
        packet = b"\x60\0\0\0" + struct.pack("!HBB", len(body), 58, 255) + pseudo[:32] + body
        assert send(target, ethernet(packet, 0x86DD, b"\x33\x33\0\0\0\1")) == []
    target.assert_no_residue(before)
    take_down(target)


def test_ipv6_of_a_guest_is_dropped_even_where_its_tap_has_been_given_it(target: Lab) -> None:
    """As by a host's own settings, which switch it on for every interface that comes up."""
    start(target, "host=open")
    target.run(["sysctl", "-qw", "net.ipv6.conf.td-web.disable_ipv6=0"]).check()
    server = target.start(
        program("""if True:
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.bind(("::", 5000))
        print("listening", flush=True)
        while True:
            print(server.recv(1000), flush=True)
        """)
    )
    server.expect("listening", 20)
    addresses = bytes.fromhex("fe80") + bytes(13) + b"\x09" + bytes.fromhex("ff02")
    addresses += bytes(13) + b"\1"
    data = udp(ATTACK, 5000)
    total = checksum(addresses + struct.pack("!II", len(data), 17) + data)
    data = data[:6] + struct.pack("!H", total) + data[8:]
    packet = b"\x60\0\0\0" + struct.pack("!HBB", len(data), 17, 64) + addresses + data
    send(target, ethernet(packet, 0x86DD, b"\x33\x33\0\0\0\1"))
    say(target, "127.0.0.1", port=5000)
    assert_harmless(server)
    server.stop()
    take_down(target)


def test_nothing_but_dhcp_comes_from_no_address(target: Lab) -> None:
    """Where the host is open, what is broadcast would reach whoever listens there."""
    start(target, "host=open")
    server = listen(target, 5000)
    everybody = b"\xff" * 6
    send(target, ipv4(udp(ATTACK, 5000), "0.0.0.0", "255.255.255.255", to_mac=everybody))
    say(target, "127.0.0.1", port=5000)
    assert_harmless(server)
    server.stop()
    take_down(target)


def test_redirects_of_a_guest_change_no_route(target: Lab) -> None:
    start(target)
    assert target.ping("203.0.113.1")
    route = target.run(["ip", "route", "get", WEB]).check().stdout
    inner = ipv4(udp(ATTACK, 9), HOST, WEB)[14:][:28]
    for code in (0, 1):
        send(
            target,
            ipv4(icmp(5, inner, code, socket.inet_aton(GUEST)), "203.0.113.1", HOST, 1),
            ipv4(icmp(5, inner, code, socket.inet_aton(GUEST)), GUEST, GATEWAY, 1),
        )
    assert target.run(["ip", "route", "get", WEB]).check().stdout == route
    take_down(target)


@pytest.mark.parametrize("forwards", ["0", "1"])
@pytest.mark.parametrize(("mode", "may"), [("nat", False), ("isolated", False), ("routed", True)])
def test_the_outside_can_begin_only_with_a_routed_guest(
    target: Lab, mode: str, may: bool, forwards: str
) -> None:
    """A neighbour that sends to the guest's address by way of the host, a router itself or not."""
    target.run(["sysctl", "-qw", f"net.ipv4.ip_forward={forwards}"]).check()
    start(target, mode, "forward=udp:5353:53")
    reader = receive(target, "td-web", "alice")
    target.run(["ip", "route", "add", "192.168.7.0/24", "via", HOST], netns="outside").check()
    say(target, GUEST, ATTACK, netns="outside")
    say(target, GUEST, ATTACK, netns="outside", port=53)
    say(target, HOST, ATTACK, netns="outside", port=5354)
    say(target, HOST, DONE, netns="outside", port=5353)
    reader.expect(DONE.decode(), 20)
    assert (ATTACK.decode() in reader.console) == may
    reader.stop()
    target.run(["ip", "route", "flush", "192.168.7.0/24"], netns="outside").check()
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


@pytest.mark.parametrize("mode", ["nat", "routed"])
def test_who_is_behind_no_uplink_reaches_no_guest(target: Lab, mode: str) -> None:
    """Neither at its own address nor at a forwarded port, though the host routes for them."""
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    start(target, mode, "uplink=eth0", "forward=udp:5353:53")
    reader = receive(target, "td-web", "alice")
    way = ["192.168.7.0/24", "via", "192.0.2.2"]
    target.run(["ip", "route", "add", *way], netns="outside").check()
    say(target, GUEST, ATTACK, netns="outside")
    say(target, "192.0.2.2", ATTACK, netns="outside", port=5353)
    say(target, HOST, DONE, netns="outside", port=5353)
    assert_harmless(reader)
    reader.stop()
    target.run(["ip", "route", "del", *way], netns="outside").check()
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


INNER = "192.0.2.77"  # behind the second interface of the host


def inner_net(lab: Lab, verb: str) -> None:
    """The outside sends to the inner net by way of the host, which knows a machine there."""
    lab.run(["ip", "route", verb, INNER, "via", HOST], netns="outside").check()
    lladdr = ["lladdr", "02:00:00:00:00:77"] if verb == "add" else []
    lab.run(["ip", "neigh", verb, INNER, *lladdr, "dev", "eth1"]).check()


@pytest.mark.parametrize("since", ["never", "before", "meanwhile"])
def test_the_host_does_not_become_a_router_for_its_neighbours(target: Lab, since: str) -> None:
    """Forwarding is on for the uplink, but for guests only, unless it was on before."""
    if since == "before":
        target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    assert_up(target.helper(*UP, "uplink=eth0", "forward=udp:5353:53"))
    if since == "meanwhile":
        target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    inner = watch(target, "eth1", "host")
    inner_net(target, "add")
    say(target, INNER, ATTACK, netns="outside")
    say(target, INNER, ATTACK, netns="outside", port=5353)
    say(target, "192.0.2.1")
    inner.expect(DONE.decode(), 20)
    assert (ATTACK.decode() in inner.console) == (since == "before")
    inner.stop()
    inner_net(target, "del")
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


def test_a_forwarded_port_is_not_taken_from_what_the_host_routes_for_others(target: Lab) -> None:
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    assert_up(target.helper(*UP, "uplink=eth0", "forward=udp:5353:53"))
    inner = watch(target, "eth1", "host")
    inner_net(target, "add")
    say(target, INNER, DONE, netns="outside", port=5353)
    inner.expect(DONE.decode(), 20)
    inner.stop()
    inner_net(target, "del")
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


def test_what_others_forward_meanwhile_still_gets_in(target: Lab) -> None:
    """As when a container's port is published while a guest is up."""
    assert_up(target.helper(*UP, "uplink=eth0"))
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    published = f"type nat hook prerouting priority dstnat; udp dport 7000 dnat to {INNER}:9;"
    target.run(["nft", f"table ip others {{ chain published {{ {published} }}; }}"]).check()
    inner = watch(target, "eth1", "host")
    inner_net(target, "add")
    say(target, HOST, DONE, netns="outside", port=7000)
    inner.expect(DONE.decode(), 20)
    inner.stop()
    inner_net(target, "del")
    target.run(["nft", "delete", "table", "ip", "others"]).check()
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


def test_ipv6_that_the_host_forwards_still_gets_through(make_lab: type[Lab]) -> None:
    """The host routes IPv6 and no IPv4: that guests use its uplink changes nothing."""
    lab, inner = make_lab(uplinks=("eth0", "eth1")), "2001:db8:2::77"
    lab.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]).check()
    lab.run(["ip", "address", "add", "2001:db8:1::2/64", "dev", "eth0", "nodad"]).check()
    lab.run(["ip", "address", "add", "2001:db8:2::2/64", "dev", "eth1", "nodad"]).check()
    lab.run(["ip", "neigh", "add", inner, "lladdr", "02:00:00:00:00:77", "dev", "eth1"]).check()
    own = ["ip", "address", "add", "2001:db8:1::1/64", "dev", "eth0", "nodad"]
    lab.run(own, netns="outside").check()
    lab.run(["ip", "route", "add", inner, "via", "2001:db8:1::2"], netns="outside").check()
    assert_up(lab.helper(*UP, "uplink=eth0"))
    wire = watch(lab, "eth1", "host")
    lab.run([*program(_SAY_BY_IPV6), inner], netns="outside").check()
    wire.expect(DONE.decode(), 20)


_SAY_BY_IPV6 = """if True:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"finish", (sys.argv[1], 9))"""
_BRIDGE = """
ip link add br0 type bridge
ip link set eth0 master br0
ip link add port type veth peer name machine
ip link set port master br0
for link in br0 port machine; do ip link set $link up; done
ip address del 203.0.113.2/24 dev eth0
ip address add 203.0.113.2/24 dev br0
ip route add default via 203.0.113.1
cd /proc/sys/net
[ ! -e bridge ] || echo 1 > bridge/bridge-nf-call-iptables
"""


def test_what_a_bridge_hands_on_still_gets_through(make_lab: type[Lab]) -> None:
    """The uplink is a bridge with other machines on it, and br_netfilter asks the rules."""
    lab, machine = make_lab(uplinks=("eth0", "eth1")), "203.0.113.50"
    lab.run(["sh", "-ec", _BRIDGE]).check()
    arp = ["ip", "neigh", "add", machine, "lladdr", "02:00:00:00:00:50", "dev", "eth0"]
    lab.run(arp, netns="outside").check()
    assert_up(lab.helper(*UP, "uplink=br0"))
    wire = watch(lab, "machine", "host")
    say(lab, machine, netns="outside")
    wire.expect(DONE.decode(), 20)


def test_what_others_are_answered_meanwhile_still_gets_in(target: Lab) -> None:
    """As when a container asks somebody outside while a guest is up."""
    outer = "203.0.113.77"
    ways = ((outer, "192.0.2.2", "eth0"), (INNER, HOST, "eth1"))
    assert_up(target.helper(*UP, "uplink=eth0"))
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).check()
    for to, via, leaves in ways:
        target.run(["ip", "route", "add", to, "via", via], netns="outside").check()
        there = ["lladdr", "02:00:00:00:00:77", "dev", leaves]
        target.run(["ip", "neigh", "add", to, *there]).check()
    inner = watch(target, "eth1", "host")
    speak = """if True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: in another's name
        udp.bind((sys.argv[1], 9))
        udp.sendto(sys.argv[3].encode(), (sys.argv[2], 9))"""
    for source, to, data in ((INNER, outer, "asked"), (outer, INNER, DONE.decode())):
        target.run([*program(speak), source, to, data], netns="outside").check()
    inner.expect(DONE.decode(), 20)
    inner.stop()
    for to, via, leaves in ways:
        target.run(["ip", "route", "del", to, "via", via], netns="outside").check()
        target.run(["ip", "neigh", "del", to, "dev", leaves]).check()
    take_down(target)
    target.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).check()


@pytest.mark.parametrize("mode", ["nat", "isolated"])
@pytest.mark.parametrize("began", ["outside", "guest"])
def test_a_connection_is_not_inherited_from_the_guest_that_had_the_address(
    target: Lab, began: str, mode: str
) -> None:
    """An accomplice goes on sending: the kernel may still have the connection that was there."""
    assert_up(target.helper("up", "bobs", "192.168.7.5/30", "192.168.7.6", user="bob"), "bobs")
    start(target, "forward=udp:5353:53")
    peer = """if True:
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(("198.51.100.1", 4444))
        print("bound", flush=True)
        to = ("203.0.113.2", 5353)
        if sys.argv[1] == "outside":
            peer.sendto(b"first", to)
        else:
            to = peer.recvfrom(100)[1]
        print("known", flush=True)
        open("/tmp/go").read()
        peer.sendto(b"attack", to)
        """
    target.run(["sh", "-c", "rm -f /tmp/go; mkfifo /tmp/go"]).check()
    accomplice = target.start([*program(peer), began], netns="outside")
    accomplice.expect("bound", 20)
    send(target, ipv4(udp(b"hello", 4444, 53), to=WEB))
    accomplice.expect("known", 20)
    take_down(target)
    prefix = {"nat": 30, "isolated": 32}[mode]
    assert_up(target.helper("up", "web", f"{GATEWAY}/{prefix}", GUEST, mode, user="bob"))
    know_neighbours(target)
    reader = receive(target, "td-web", "bob")
    target.run(["sh", "-c", "echo > /tmp/go"]).check()
    assert accomplice.wait() == 0
    say(target, GUEST)
    assert_harmless(reader)
    reader.stop()
    take_down(target, user="bob")
