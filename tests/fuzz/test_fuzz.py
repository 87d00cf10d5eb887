"""The fuzz targets, by hypothesis: each with raw bytes, and with bytes that are nearly right."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))

import targets
from tapdraft.helper.firewall import comment
from tapdraft.helper.netlink import attribute
from tapdraft.helper.plan import COMMENT

# The same examples each time: what chance finds is for the long runs of fuzz.py.
STEADY = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

WORDS = st.sampled_from(
    [
        "up",
        "down",
        "--all",
        "web",
        "-",
        "",
        "192.168.7.1/30",
        "192.168.7.2",
        "10.0.0.1/32",
        "0.0.0.0/0",
        "nat",
        "routed",
        "isolated",
        "host=open",
        "host=closed",
        "host=",
        "uplink=eth0",
        "uplink=..",
        "forward=tcp:80:80",
        "forward=tcp:0080:80",
        "mtu=1400",
        "mtu=-1",
        "queues=2",
        "queues=1e1",
        "%d",
        "\n",
        "\x1b",
        "\xe9",
        "a" * 12,
        "a" * 13,
        "192.168.7.3",
        "127.0.0.1/8",
        "forward=udp:65536:1",
    ]
)
POLICY_LINES = st.sampled_from(
    [
        "[group tapdraft]",
        "[user alice]",
        "[user root]",
        "[group root]",
        "[user root] deny = yes",
        "  [user root]",
        "deny = yes",
        "  deny = yes",
        "deny=yes",
        "Deny = yes",
        "deny = no",
        "deny",
        "subnets = 0.0.0.0/0",
        "subnets = 192.168.7.0/24,",
        "  10.0.0.0/8",
        "taps = 9",
        "taps = 0x9",
        "modes = nat",
        "forwards = tcp:1-65535",
        "forwards = tcp:9-1",
        "uplinks = *",
        "uplinks = eth0,",
        "host = open",
        "",
        "# deny = yes",
        "; x",
        "= 3",
        "[DEFAULT]",
        "[]",
        "[",
        "%(x)s = 1",
        "uplinks : *",
        "\tdeny = yes",
    ]
)
DESCRIPTION_LINES = st.sampled_from(
    [
        "[network]",
        "[guest.web]",
        "[guest.a]",
        "[guest.'$(x)']",
        "[guest]",
        "[[guest]]",
        "memory = 512",
        'memory = "x"',
        "memory = -1",
        "cpus = 99999999999999999999",
        'kernel = "b z\\"\'$(id)`"',
        'append = "\\u001b[2J"',
        'append = "a\\nb"',
        'disk = ["a", { file = "b" }]',
        "disk = 3",
        "disk = [[]]",
        'subnet = "192.168.7.0/24"',
        'subnet = "0.0.0.0/0"',
        'subnet = "::/0"',
        'address = "192.168.7.2"',
        'mac = "52:54:00:00:00:01"',
        'forward = ["tcp:80:80"]',
        'forward = ["tcp:0:0"]',
        'qemu = ["-x", "a b"]',
        'machine = "aarch64"',
        'machine = "../x"',
        'mode = "routed"',
        'uplinks = ["eth0"]',
        "mtu = 1400",
        "queues = 2",
        'host = "open"',
        "nan = nan",
        "x = 1979-05-27",
        '"" = 1',
        "interface = [1]",
        "dns = [1]",
        'dns = ["192.0.2.53"]',
        'addressing = "dhcp"',
        'accel = "kvm"',
        "a.b.c = 1",
        'hostname = "\\u202e"',
    ]
)


@pytest.mark.parametrize("target", targets.TARGETS)
@STEADY
@given(data=st.binary(max_size=2000))
def test_no_bytes_at_all_surprise_it(target: str, data: bytes) -> None:
    targets.TARGETS[target](data)


@pytest.mark.parametrize("target", ["request", "policy", "description"])
@STEADY
@given(data=st.data())
def test_no_change_to_what_is_right_surprises_it(target: str, data: st.DataObject) -> None:
    """Cut, doubled, and with other bytes in it."""
    seed = data.draw(st.sampled_from(targets.corpus(target)))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, len(seed)))
    targets.TARGETS[target](seed[:start] + data.draw(st.binary(max_size=40)) + seed[end:])


@STEADY
@given(st.lists(WORDS, max_size=9))
def test_no_words_of_a_request_surprise_it(words: list[str]) -> None:
    targets.request_line(" ".join(words).encode("latin-1"))
    targets.request_line(
        " ".join(["up", "web", "192.168.7.1/30", "192.168.7.2", *words]).encode("latin-1")
    )


@STEADY
@given(st.lists(POLICY_LINES, max_size=12))
def test_no_lines_of_a_policy_surprise_it(lines: list[str]) -> None:
    targets.policy_file("\n".join(lines).encode())
    targets.policy_file("\n".join(["[user root]", *lines]).encode())


@STEADY
@given(st.lists(DESCRIPTION_LINES, max_size=14))
def test_no_lines_of_a_description_surprise_it(lines: list[str]) -> None:
    targets.description_file("\n".join(lines).encode())
    targets.description_file("\n".join(["[guest.web]", 'kernel = "k"', *lines]).encode())


DONE = struct.pack("=i", 0)
NAMES = st.sampled_from(
    [b"td-web", b"td-two", b"td-", b"eth0", b"lo", b"td-web2", b"\xff" * 15, b""]
)
ALIASES = st.sampled_from(
    [
        b"tapdraft 2 uid=61001 guest=web",
        b"tapdraft 2 uid=61001 guest=two",
        b"tapdraft 2 uid=0 guest=web",
        b"tapdraft 2 uid=01 guest=web",
        b"tapdraft 3 uid=1 guest=web",
        b"tapdraft 2 uid=1 guest=web\n",
        b"x",
        b"",
    ]
)
LINKS = st.builds(
    lambda index, name, alias, group, rest: (
        struct.pack("=4xiI4x", index, 1)
        + attribute(3, name + b"\0")
        + attribute(20, alias + b"\0")
        + attribute(27, struct.pack("=I", group))
        + rest
    ),
    st.integers(-1, 9),
    NAMES,
    ALIASES,
    st.integers(0x73FF, 0x7409),
    st.binary(max_size=20),
)
ADDRESSES = st.builds(
    lambda length, index, address: struct.pack("=xBxxI", length, index) + attribute(1, address),
    st.integers(0, 40),
    st.integers(0, 9),
    st.binary(max_size=5),
)
ROUTES = st.builds(
    lambda length, to, hops: (
        struct.pack("=BB10x", 2, length) + attribute(1, to) + attribute(9, hops)
    ),
    st.integers(0, 40),
    st.binary(max_size=5),
    st.binary(max_size=24),
)
ELEMENTS = st.builds(
    lambda key, value, note: (
        bytes(4)
        + attribute(
            3,
            attribute(
                1,
                attribute(1, attribute(1, key))
                + attribute(2, attribute(1, value))
                + attribute(6, note),
            ),
        )
    ),
    st.binary(max_size=16),
    st.binary(max_size=8),
    st.sampled_from(
        [
            comment("td-web"),
            b"",
            b"\0\xff",
        ]
    ),
)


@STEADY
@given(
    st.tuples(*(st.lists(kind, max_size=3) for kind in (LINKS, *[ELEMENTS] * 3, ADDRESSES, ROUTES)))
)
def test_no_answers_of_the_kernel_surprise_it(answers: tuple[list[bytes], ...]) -> None:
    """In the order in which the state is read, all of them well-formed but for their contents."""
    links, *others = answers
    table = [bytes(4) + attribute(6, comment(COMMENT))]
    datagrams = []
    for sequence, bodies in enumerate([links, table, *others], 1):
        if bodies is table:
            datagrams.append(targets.message(sequence, table[0], flags=0))
        else:
            parts = [targets.message(sequence, body) for body in bodies]
            datagrams.append(b"".join(parts) + targets.message(sequence, DONE, 3))
    targets.netlink_answers(targets.recorded(*datagrams))


def test_what_the_netlink_target_begins_with_is_understood() -> None:
    """Or chance would have to find the way to everything behind the first message."""
    fails = mock.patch.object(targets.state.State, "collision", side_effect=AssertionError("read"))
    with fails, pytest.raises(AssertionError, match="read"):
        targets.netlink_answers(targets.corpus("netlink")[0])
