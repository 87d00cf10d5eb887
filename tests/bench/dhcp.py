"""How long a guest waits for its address, and what the responder costs. Not part of the test suite.

    /usr/bin/python3 -m pytest -qs tests/bench/dhcp.py

Through the real ruleset, between two taps: what a guest adds to this is its own client's time.
"""

import json
import statistics
from pathlib import Path

from labdhcp import GUEST, HOST, MAC, MODULES, Wired
from labnet import PYTHON, Lab
from labpackets import DISCOVER, REQUEST, ip, packet

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


def milliseconds(text: str) -> tuple[float, float]:
    """Median and maximum of a number of seconds on each line."""
    values = [float(line) * 1000 for line in text.splitlines()]
    return statistics.median(values), max(values)


def started(wired: Wired, argv: list[str]) -> tuple[float, float]:
    work = json.dumps([STARTS, argv])
    return milliseconds(
        wired.lab.run([PYTHON, "-c", START], input=work, user="alice", env=wired.env).check().stdout
    )


def test_from_the_first_discover_to_the_acknowledgement(bare_lab: Lab) -> None:
    wired = Wired(bare_lab)
    bare_lab.run([PYTHON, "-m", "compileall", "-q", MODULES]).check()  # as an installation does
    start, bare = (started(wired, argv) for argv in (wired.argv(), BARE))

    responder = wired.respond("--dns=198.51.100.1", "--host-name=web")
    wanted = (55, b"\1\3\6\x0c\x0f\x1a\x79")
    messages = [packet(DISCOVER, wanted), packet(REQUEST, (54, ip(HOST)), (50, ip(GUEST)), wanted)]
    work = json.dumps([ROUNDS, *(message.hex() for message in messages)])
    exchange = milliseconds(wired.run([PYTHON, "-c", EXCHANGE], input=work).check().stdout)
    memory = {
        line.split()[0]: int(line.split()[1]) / 1024
        for line in Path(f"/proc/{responder.pid}/status").read_text().splitlines()
        if line.startswith(("VmRSS", "VmHWM"))
    }
    wired.close()
    print(f"\n\n| the DHCP responder, {ROUNDS} leases for {MAC} | median | most | limit |")
    print("|---|---|---|---|")
    print(f"| from DISCOVER to ACK | {exchange[0]:.1f} ms | {exchange[1]:.1f} ms | 50 ms |")
    print(f"| from its start to `ready` | {start[0]:.0f} ms | {start[1]:.0f} ms | 150 ms |")
    print(f"| of that, Python alone | {bare[0]:.0f} ms | {bare[1]:.0f} ms | |")
    print(f"| memory | {memory['VmRSS:']:.1f} MiB | {memory['VmHWM:']:.1f} MiB | 40 MiB |")
