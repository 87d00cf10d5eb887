"""What is fuzzed: bytes in, a promise about what comes out. An AssertionError, or any exception but
those a person is told as an error, is a finding. test_fuzz.py and fuzz.py both run these."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Callable
from typing import Any
from unittest import mock

from tapdraft.generator.description import parser
from tapdraft.generator.errors import TapdraftError
from tapdraft.generator.scripts.render import render
from tapdraft.helper import netlink, policy, state
from tapdraft.helper.caller import Caller
from tapdraft.helper.errors import BadRequest, HelperError, InTheWay
from tapdraft.helper.explain import commands, diagnosis
from tapdraft.helper.firewall import comment
from tapdraft.helper.netlink import attribute
from tapdraft.helper.plan import COMMENT, plan_up
from tapdraft.helper.request import parse

ALICE = Caller(61001, (61001, 61000), False)
SAFE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.:/=_- ")


def request_line(data: bytes) -> None:
    """A line is refused, with a reason in printable ASCII, or means one request that says as much.

    What finds the reason reads it for itself: it objects to what is refused and to nothing else.
    """
    said = data.decode("ascii", "replace")
    try:
        request = parse(said)
    except BadRequest:
        told = objection(said)
        assert told
        assert told.isascii()
        assert told.isprintable()
        return
    assert not objection(said)
    line = commands.line(request)
    assert set(line) <= SAFE
    assert parse(line)._replace(line=said) == request
    assert len(request.tap) <= 15
    if request.verb == "up":
        assert not any(c in request.tap for c in "%/ ")
        for operation in plan_up(request, "61001", ()):
            assert all(len(str(field)) < 100 for field in operation)


def objection(line: str) -> str:
    """What is told of a line that is no request, with the hint; "" if it is one."""
    try:
        diagnosis.check(line)
    except BadRequest as error:
        return f"{error}{error.hint}"
    return ""


def policy_file(data: bytes) -> None:
    """A policy is refused as a whole, or understood; then it decides on any request."""
    requests = [
        parse("up web 192.168.7.1/30 192.168.7.2 host=open uplink=eth0 forward=tcp:80:80"),
        parse("down web"),
    ]
    try:
        text = data.decode("utf-8", "surrogateescape")
        with mock.patch.object(policy, "_read", return_value=text):
            sections = policy.load("/etc/tapdraft/policy.conf")
        permitted = [yes for _, yes, _ in policy.decisions(sections, requests, ALICE, None)]
    except InTheWay as error:
        assert str(error).replace("\t", "").isprintable()  # a tab may stand in the file
        return
    lines = [line.strip() for line in data.decode("utf-8").split("\n")]  # or it is refused
    for section in sections:
        assert f"[{section.title}]" in lines
        assert 0 < section.line <= len(lines)
    # A permission needs words in the file that give it.
    if permitted[0]:
        assert any("open" in line for line in lines)
        assert any(not section.denies() for section in sections)
    # No deny is overlooked: each line that says it is some section's.
    said = sum(line.replace(" ", "").replace("\t", "").lower() == "deny=yes" for line in lines)
    assert said <= sum(section.denies() for section in sections)


def description_file(data: bytes) -> None:
    """A description is refused with the line and what to do, or renders to scripts."""
    try:
        found = parser.parse(data, "vm.toml")
    except TapdraftError as error:
        told = str(error)
        assert told.startswith("error: ")
        assert all(letter.isprintable() or letter == "\n" for letter in told)
        return
    for dialect in ("helper", "nft"):
        try:
            files = render(found, dialect=dialect, attach="run")
        except TapdraftError as error:
            assert str(error).startswith("error: ")
            continue
        for name, content in files.items():
            # Nothing of the description's gets out of its quotes into a line of its own.
            assert b"\0" not in content
            assert ".." not in name.split("/")


class _Recorded:
    """A socket that answers with what it was given, whatever is asked."""

    def __init__(self, data: bytes) -> None:
        # Two bytes say how long a datagram is, so that one input holds several.
        self.data = data

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, size: int) -> bytes:
        length = int.from_bytes(self.data[:2], "little")
        datagram, self.data = self.data[2 : 2 + length], self.data[2 + length :]
        if not datagram:
            raise OSError(errno.EAGAIN, "no more")
        return datagram[:size]


def netlink_answers(data: bytes) -> None:
    """Answers are understood, or end in an error; what is taken for a tap has all of its marks.

    Nobody but the kernel can answer, so that what is too short to be taken apart may end as main()
    ends whatever it did not expect: in an error and exit status 1, before anything is changed.
    """
    kernel = netlink.Kernel.__new__(netlink.Kernel)
    here: Any = _Recorded(data)
    kernel._route = kernel._nft = here
    kernel._sequence = 0
    try:
        found = state.read(kernel)
        request = parse("up web 192.168.7.1/30 192.168.7.2 uplink=none")
        found.collision([request])
        found.stale_forwards()
        found.complete(request)
    except (HelperError, OSError, ValueError, ArithmeticError, LookupError, struct.error):
        return
    for name, uid in found.taps.items():
        link = found.links[name]
        assert link.alias == f"tapdraft 2 uid={uid} guest={name.removeprefix('td-')}"
        assert 0x7400 <= link.group < 0x7408


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": request_line,
    "policy": policy_file,
    "description": description_file,
    "netlink": netlink_answers,
}


def corpus(target: str) -> list[bytes]:
    """Inputs that lead somewhere, to begin with."""
    found: dict[str, list[bytes]] = json.loads(SEEDS, object_hook=_encoded)
    return found[target] or [_of_a_kernel()]


def message(sequence: int, body: bytes, kind: int = 16, flags: int = 2) -> bytes:
    """A netlink message, by default one part of a list."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def recorded(*datagrams: bytes) -> bytes:
    """As netlink_answers() takes them."""
    return b"".join(struct.pack("<H", len(datagram)) + datagram for datagram in datagrams)


def _of_a_kernel() -> bytes:
    """All that is read on a host with one tap, one uplink and one forward."""
    link = struct.pack("=4xiI4x", 2, 1) + attribute(3, b"td-web\0")
    link += attribute(20, b"tapdraft 2 uid=61001 guest=web\0") + attribute(27, b"\3\x74\0\0")
    element = attribute(1, attribute(1, b"\6\0\0\0\x1f\x90\0\0"))
    element += attribute(2, attribute(1, b"\xc0\xa8\7\2\0\x50\0\0")) + attribute(
        6, comment("td-web")
    )
    uplink = attribute(1, attribute(1, b"eth0".ljust(16, b"\0")))
    lists = [
        link,
        b"",
        bytes(4) + attribute(3, attribute(1, uplink)),
        bytes(4) + attribute(3, attribute(1, uplink)),
        bytes(4) + attribute(3, attribute(1, element)),
        struct.pack("=xBxxI", 30, 2) + attribute(1, b"\xc0\xa8\7\1"),
        struct.pack("=BB10x", 2, 30) + attribute(1, b"\xc0\xa8\7\0") + attribute(4, b"\2\0\0\0"),
    ]
    answers = [message(n, body) + message(n, bytes(4), 3) for n, body in enumerate(lists, 1)]
    answers[1] = message(2, bytes(4) + attribute(6, comment(COMMENT)), flags=0)
    return recorded(*answers)


def _encoded(seeds: dict[str, list[str]]) -> dict[str, list[bytes]]:
    return {
        key: [seed.encode("latin-1") for seed in all_of_them] for key, all_of_them in seeds.items()
    }


SEEDS = json.dumps(
    {
        "request": [
            "up web 192.168.7.1/30 192.168.7.2",
            "up web 192.168.7.1/32 192.168.7.2 routed host=open uplink=eth0.7 uplink=br-lan "
            "forward=tcp:8080:80 forward=udp:5353:53 mtu=9000 queues=4",
            "down web",
            "down --all",
        ],
        "policy": [
            "[group tapdraft]\nsubnets = 192.168.7.0/24, 10.0.0.0/8\ntaps = 16\n"
            "modes = nat, isolated\nforwards = tcp:1024-65535, udp:53\nuplinks = *\nhost = open\n\n"
            "[user root]\ndeny = yes\n",
            "# nothing\n[user root]\nuplinks = eth0,\n  eth1\ntaps = 0\n",
        ],
        "description": [
            '[network]\nsubnet = "192.168.7.0/24"\nmode = "routed"\nuplinks = ["eth0"]\n\n'
            "[guest.web]\n"
            'memory = 512\ncpus = 2\nkernel = "bzImage"\nappend = "quiet $(x)"\n'
            'forward = ["tcp:80:80"]\n'
            'disk = ["a.qcow2", { file = "b.img", format = "raw" }]\nqemu = ["-name", "a b"]\n',
            '[guest.a]\n[guest.b]\naddress = "192.168.7.6"\nmac = "52:54:00:12:34:56"\n',
        ],
        "netlink": [],
    }
)
