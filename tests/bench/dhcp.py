"""How long a guest waits for its address, and what the responder costs. Not part of the test suite.

    /usr/bin/python3 -m pytest -qs tests/bench/dhcp.py  (needs pytest: see tools/requires)

The installed command, in both forms: as the scripts start it, and as a user does; beside it the
module without the command around it. Through the real ruleset, between two taps: what a guest adds
to this is its own client's time.
"""

import json
import statistics
from pathlib import Path
from typing import NamedTuple

from labdhcp import GUEST, HOST, MAC, MODULES, Wired
from labnet import PYTHON, Lab
from labpackets import DISCOVER, REQUEST, ip, packet

DESCRIPTION = """
[network]
subnet = "192.168.7.0/24"
dns = ["198.51.100.1"]
[guest.web]
disk = "web.img"
"""
ROUNDS, STARTS = 500, 25
# Runs in the guest: DISCOVER, OFFER, REQUEST, ACK, so many times.
EXCHANGE = """
import json, socket, sys, time
rounds, discover, request = json.load(sys.stdin)
guest = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
guest.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
guest.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
guest.bind(("", 68))
guest.settimeout(10)
for _ in range(rounds):
    start = time.perf_counter()
    for message, kind in ((discover, 2), (request, 5)):
        guest.sendto(bytes.fromhex(message), ("255.255.255.255", 67))
        assert guest.recv(2048)[242] == kind
    print(time.perf_counter() - start)
"""
# Runs on the host as the user: from the start of a process to its line on standard output.
START = """
import json, subprocess, sys, time
rounds, argv = json.load(sys.stdin)
for _ in range(rounds):
    start = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"ready\\n"
        print(time.perf_counter() - start)
        process.terminate()
"""
BARE = [PYTHON, "-c", "print('ready')"]


class Times(NamedTuple):
    """Milliseconds."""

    median: float
    most: float

    def __str__(self) -> str:
        digits = 1 if self.median < 10 else 0
        return f"{self.median:.{digits}f} ms, at most {self.most:.{digits}f}"


def times(text: str) -> Times:
    """Of a number of seconds on each line."""
    values = [float(line) * 1000 for line in text.splitlines()]
    return Times(statistics.median(values), max(values))


def started(wired: Wired, argv: list[str]) -> Times:
    work = json.dumps([STARTS, argv])
    said = wired.lab.run([PYTHON, "-c", START], input=work, user="alice", env=wired.env)
    return times(said.check().stdout)


def exchanged(wired: Wired) -> Times:
    wanted = (55, b"\1\3\6\x0c\x0f\x1a\x79")
    messages = [packet(DISCOVER, wanted), packet(REQUEST, (54, ip(HOST)), (50, ip(GUEST)), wanted)]
    work = json.dumps([ROUNDS, *(message.hex() for message in messages)])
    return times(wired.run([PYTHON, "-c", EXCHANGE], input=work).check().stdout)


def row(wired: Wired, name: str, argv: list[str]) -> str:
    """What this command line of the responder takes."""
    start = started(wired, argv)
    responder = wired.lab.start(argv, user="alice", env=wired.env)
    responder.expect("^ready$", 20)
    exchange = exchanged(wired)
    status = Path(f"/proc/{responder.pid}/status").read_text()
    most = int(status.split("VmHWM:")[1].split()[0]) / 1024
    responder.stop()
    return f"| {name} | {exchange} | {start} | {most:.1f} MiB |"


def test_from_the_first_discover_to_the_acknowledgement(lab: Lab) -> None:
    wired = Wired(lab)
    lab.run([PYTHON, "-m", "compileall", "-q", MODULES]).check()  # as an installation does
    file = lab.write("/home/alice/guests.toml", DESCRIPTION, owner="alice")
    module = wired.argv("--dns=198.51.100.1", "--host-name=web")
    options = module[module.index("--tap=td-web") :]
    rows = [
        row(wired, "`tapdraft dhcp --tap=…`", ["tapdraft", "dhcp", *options]),
        row(wired, "`tapdraft dhcp FILE GUEST`", ["tapdraft", "dhcp", file, "web"]),
        row(wired, "the module alone", module),
    ]
    bare = started(wired, BARE)
    wired.close()
    print(f"\n\n{ROUNDS} leases for {MAC}, {STARTS} starts, of which Python takes {bare}\n")
    print("| DHCP | DISCOVER to ACK, median | start, median | memory, most |")
    print("|---|---|---|---|", *rows, "| limit | 50 ms | 150 ms | 40 MiB |", sep="\n")
