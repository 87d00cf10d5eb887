"""The responder on a real tap: who reaches it, who does not, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from labdhcp import GUEST, HOST, Wired
from labnet import PYTHON, Lab
from labpackets import ACK, DISCOVER, INFORM, OFFER, REQUEST, Reply, ip, packet, read
from labproc import Process

ASK = (Path(__file__).resolve().parent / "lab/labask.py").read_text()
EVERYBODY = "255.255.255.255:67"
TAKEN = "error: somebody else holds UDP port 10067 on td-web\nhint: find out who: ss -ulpn"

# How somebody may bind the port: options set before, and the address.
WAYS = {
    "the tap": ("device()", "('', 10067)"),
    "the tap, reusing addresses": ("device(); option(SO_REUSEADDR)", "('', 10067)"),
    "the tap, reusing ports": ("device(); option(SO_REUSEPORT)", "('', 10067)"),
    "the tap, reusing both": (
        "device(); option(SO_REUSEADDR); option(SO_REUSEPORT)",
        "('', 10067)",
    ),
    "the tap's address": ("option(SO_REUSEADDR); option(SO_REUSEPORT)", f"('{HOST}', 10067)"),
    "every interface": ("option(SO_REUSEADDR); option(SO_REUSEPORT)", "('', 10067)"),
    "every broadcast": ("option(SO_REUSEADDR)", "('255.255.255.255', 10067)"),
    "IPv6 and IPv4": (
        "s = socket(AF_INET6, SOCK_DGRAM); s.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0);"
        "option(SO_REUSEADDR)",
        "('::', 10067)",
    ),
}
BIND = """
import sys, time
from socket import *
s = socket(AF_INET, SOCK_DGRAM)
device = lambda: s.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"td-web")
option = lambda name: s.setsockopt(SOL_SOCKET, name, 1)
{}
s.bind({})
print("bound", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def wired(bare_lab: Lab) -> Iterator[Wired]:
    wired = Wired(bare_lab)
    yield wired
    wired.close()


def ask(wired: Wired, *packets: str, port: int = 68, to: str = EVERYBODY) -> tuple[str, Reply]:
    """Send packets from the guest; who answered the last, and what."""
    script = wired.write("/run/ask.py", ASK)
    done = wired.run([PYTHON, script, "eth0", str(port), to, *packets, "wait"]).check()
    source, data = done.stdout.split()
    return source, read(bytes.fromhex(data))


def say(wired: Wired, *packets: str, port: int = 68, to: str = EVERYBODY) -> None:
    """Send packets from the guest."""
    script = wired.write("/run/ask.py", ASK)
    wired.run([PYTHON, script, "eth0", str(port), to, *packets]).check()


def configure(wired: Wired) -> None:
    """Give the guest its address without asking."""
    wired.run(["ip", "address", "add", f"{GUEST}/30", "dev", "eth0"]).check()


def bind(wired: Wired, way: str) -> Process:
    """Somebody without any privilege tries to take the port."""
    code = BIND.format(*WAYS[way])
    return wired.lab.start([PYTHON, "-c", code], user="mallory")


def test_answers_come_from_port_67_of_the_taps_address(wired: Wired) -> None:
    wired.respond()
    source, offer = ask(wired, packet(DISCOVER).hex())
    assert (source, offer.kind, offer.yiaddr) == (f"{HOST}:67", OFFER, GUEST)
    source, ack = ask(wired, packet(REQUEST, (54, ip(HOST)), (50, ip(GUEST))).hex())
    assert (source, ack.kind, ack.yiaddr) == (f"{HOST}:67", ACK, GUEST)


def test_answers_name_the_server_even_where_the_tap_has_another_address(wired: Wired) -> None:
    on_tap = ["dev", "td-web"]
    wired.lab.run(["ip", "address", "add", "192.168.7.129/25", *on_tap]).check()
    wired.lab.run(["ip", "route", "add", GUEST, "src", "192.168.7.129", *on_tap]).check()
    wired.respond()
    configure(wired)
    for destination in (EVERYBODY, f"{HOST}:67"):
        assert ask(wired, packet(REQUEST, ciaddr=GUEST).hex(), to=destination)[0] == f"{HOST}:67"


def test_a_guest_with_its_address_is_informed_and_renewed_at_it(wired: Wired) -> None:
    responder = wired.respond("--dns=198.51.100.9")
    configure(wired)
    source, ack = ask(wired, packet(INFORM, ciaddr=GUEST).hex(), to=f"{HOST}:67")
    assert (source, ack.kind, ack.options[6]) == (f"{HOST}:67", ACK, ip("198.51.100.9"))
    _, ack = ask(wired, packet(REQUEST, ciaddr=GUEST).hex(), to=f"{HOST}:67")
    assert (ack.kind, ack.yiaddr, ack.ciaddr) == (ACK, GUEST, GUEST)
    responder.expect(r"^dhcp: 192\.168\.7\.2 informed\n.*leased \(renewing\)$")


def test_a_guest_that_asks_everybody_is_answered_at_its_address(wired: Wired) -> None:
    responder = wired.respond()
    configure(wired)
    source, ack = ask(wired, packet(REQUEST, ciaddr=GUEST).hex())
    assert (source, ack.kind, ack.yiaddr, ack.ciaddr) == (f"{HOST}:67", ACK, GUEST, GUEST)
    responder.expect(r"leased \(rebinding\)$")


def test_without_name_servers_of_its_own_the_guest_is_told_the_hosts(wired: Wired) -> None:
    wired.respond()
    assert ask(wired, packet(DISCOVER).hex())[1].options[6] == ip("198.51.100.1")


@pytest.mark.parametrize("way", WAYS)
def test_who_holds_the_port_first_keeps_it_and_no_guest_starts(wired: Wired, way: str) -> None:
    bind(wired, way).expect("^bound$", 20)
    refused = wired.responder()
    assert refused.wait() == 4
    assert refused.console.startswith(TAKEN)


@pytest.mark.parametrize("way", WAYS)
def test_who_comes_second_gets_nothing(wired: Wired, way: str) -> None:
    wired.respond()
    late = bind(wired, way)
    assert late.wait() == 1
    assert "Address already in use" in late.console


def test_a_second_responder_on_the_tap_is_refused_and_the_first_goes_on(wired: Wired) -> None:
    wired.respond()
    second = wired.responder()
    assert second.wait() == 4
    assert second.console.startswith(TAKEN)
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER


def test_each_tap_has_a_responder_of_its_own(wired: Wired) -> None:
    wired.helper("up", "db", "192.168.7.5/30", "192.168.7.6").check()
    first = wired.respond()
    second = wired.respond("--tap=td-db", "--router=192.168.7.5", "--address=192.168.7.6")
    assert ask(wired, packet(DISCOVER).hex())[1].yiaddr == GUEST
    first.expect("offered$", 20)
    assert second.console == "ready\n"


def test_nobody_but_the_guest_reaches_it(wired: Wired) -> None:
    responder = wired.respond()
    lab, data = wired.lab, packet(DISCOVER).hex()
    script = lab.write("/run/ask.py", ASK)
    for interface, to in (("lo", HOST), ("lo", "127.0.0.1"), ("eth0", "203.0.113.2")):
        lab.run([PYTHON, script, interface, "68", f"{to}:10067", data]).check()
    for to in ("203.0.113.2", "203.0.113.255"):
        lab.run([PYTHON, script, "eth0", "68", f"{to}:10067", data], netns="outside").check()
    # Only now one of the guest's: what came before would be before it in the log.
    ask(wired, packet(REQUEST, (50, ip(GUEST))).hex())
    responder.expect("leased")
    assert responder.console == f"ready\ndhcp: {GUEST} leased (rebooting)\n"


def test_a_packet_from_another_port_is_not_answered(bare_lab: Lab) -> None:
    wired = Wired(bare_lab, f"{HOST}/30", GUEST, "host=open")
    responder = wired.respond()
    configure(wired)  # the ruleset lets nothing else out of no address
    say(wired, packet(DISCOVER).hex(), port=6868, to=f"{HOST}:10067")
    responder.expect("^dhcp: a packet that is not from a client's port is ignored$")
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER
    responder.expect("offered$")
    assert responder.console.count("offered") == 1
    wired.close()


def test_a_flood_stops_neither_the_answers_nor_fills_the_log_or_the_memory(wired: Wired) -> None:
    responder = wired.respond()
    rubbish = [
        b"".hex(),
        b"x".hex(),
        packet(DISCOVER, mac=b"\2\0\0\0\0\1").hex(),
        packet(DISCOVER, giaddr="192.0.2.1").hex(),
        packet(DISCOVER, end=b"").hex(),
        (b"\xff" * 1400).hex(),
        packet(REQUEST, (50, ip("192.0.2.1"))).hex(),
    ]
    say(wired, *(f"{data}*300" for data in rubbish))
    for _ in range(3):
        assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER
    assert responder.running()
    assert len(responder.console.splitlines()) < 40
    status = Path(f"/proc/{responder.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 40 * 1024


def test_what_is_larger_than_a_frame_is_not_answered(wired: Wired) -> None:
    responder = wired.respond()
    configure(wired)  # a broadcast is never fragmented by Linux
    say(wired, packet(DISCOVER).ljust(9000, b"\0").hex(), to=f"{HOST}:67")
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER
    responder.expect("offered$")
    assert responder.console.count("offered") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_a_signal_and_leaves_nothing(wired: Wired, number: signal.Signals) -> None:
    before = wired.lab.snapshot()
    files = wired.lab.run(["find", "/run", "/tmp", "/home/alice"]).stdout
    responder = wired.respond()
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER
    responder.signal(number)
    assert responder.wait() == 0
    assert "10067" not in wired.lab.run(["ss", "-uln"]).stdout
    assert "Traceback" not in responder.console
    wired.lab.assert_no_residue(before)
    assert wired.lab.run(["find", "/run", "/tmp", "/home/alice"]).stdout == files


def test_it_ends_with_its_tap(wired: Wired) -> None:
    responder = wired.respond()
    wired.helper("down", "web").check()
    assert responder.wait() == 0
    assert responder.console == "ready\n"


def test_a_tap_of_the_same_name_is_not_its_tap(wired: Wired) -> None:
    responder = wired.respond()
    responder.signal(signal.SIGSTOP)  # so that it does not see the name missing in between
    wired.lab.run(["sh", "-c", "ip link delete td-web; ip tuntap add td-web mode tap"]).check()
    responder.signal(signal.SIGCONT)
    assert responder.wait() == 0


def test_other_links_come_and_go_and_it_stays(wired: Wired) -> None:
    responder = wired.respond()
    for _ in range(20):
        wired.lab.run(["sh", "-c", "ip tuntap add x mode tap; ip link delete x"]).check()
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER
    assert responder.running()


def test_a_tap_that_is_down_for_a_while_is_waited_for(wired: Wired) -> None:
    responder = wired.respond()
    wired.lab.run(["ip", "link", "set", "td-web", "down"]).check()
    wired.lab.run(["ip", "link", "set", "td-web", "up"]).check()
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER
    assert responder.running()


@pytest.mark.parametrize("script", ['exec "$@" 2>&-', '{ "$@" 2>&1 >&3 3>&- | :; } 3>&1'])
def test_it_answers_when_nobody_reads_its_log(wired: Wired, script: str) -> None:
    shell = wired.lab.start(["sh", "-c", script, "sh", *wired.argv()], user="alice", env=wired.env)
    shell.expect("^ready$", 20)
    for _ in range(3):
        assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER


def test_who_reads_that_it_is_ready_also_reads_the_end(wired: Wired) -> None:
    waits = '"$@" 2>/dev/null | { cat; echo end of file; }'
    shell = wired.lab.start(["sh", "-c", waits, "sh", *wired.argv()], user="alice", env=wired.env)
    shell.expect("^ready\nend of file$", 20)
    assert ask(wired, packet(DISCOVER).hex())[1].kind == OFFER


WRONG = {
    "no such tap": (["--tap=td-none"], 4, "error: there is no tap td-none\nhint: set it up first"),
    "no tap's name": (["--tap=" + "x" * 20], 4, "error: "),
    "another address": (
        ["--router=192.168.7.9"],
        4,
        "error: td-web has 192.168.7.1 where 192.168.7.9 should be\nhint: ",
    ),
    "a bad MAC": (["--mac=nonsense"], 2, "error: 'nonsense' is not a MAC address"),
    "a bad prefix": (["--prefix=33"], 2, "error: 33 is not a prefix length"),
    "a bad address": (["--address=1.2.3"], 2, "usage: "),
    "an unknown option": (["--nonsense"], 2, "usage: "),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_before_any_guest_starts(wired: Wired, what: str) -> None:
    options, status, text = WRONG[what]
    responder = wired.responder(*options)
    assert responder.wait() == status
    assert responder.console.startswith(text)
    assert "Traceback" not in responder.console
    assert "ready" not in responder.console


def test_a_tap_without_an_address_is_named(wired: Wired) -> None:
    wired.lab.run(["ip", "address", "flush", "dev", "td-web"]).check()
    responder = wired.responder()
    assert responder.wait() == 4
    assert responder.console.startswith("error: td-web has no address where 192.168.7.1 should be")


def test_quiet_says_only_what_is_not_usual(wired: Wired) -> None:
    responder = wired.respond("--quiet")
    ask(wired, packet(DISCOVER).hex())
    ask(wired, packet(REQUEST, (50, ip("192.0.2.1"))).hex())
    responder.expect("refused")
    assert responder.console.startswith("ready\ndhcp: 192.0.2.1 refused (rebooting): ")
