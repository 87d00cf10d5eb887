"""The request: what parses, what does not, and that its one canonical form says the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapdraft.helper.commands import line
from tapdraft.helper.diagnosis import check, first_error
from tapdraft.helper.errors import BadRequest
from tapdraft.helper.request import LONGEST_LINE, Forward, Request, parse

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,11}", fullmatch=True)
FORWARDS = st.builds(
    Forward, st.sampled_from(("tcp", "udp")), st.integers(1, 65535), st.integers(1, 65535)
)
REQUESTS = st.builds(
    Request,
    verb=st.just("up"),
    name=NAMES,
    host=st.just("10.20.30.1"),
    prefix=st.integers(8, 30),
    guest=st.just("10.20.30.2"),
    mode=st.sampled_from(("nat", "routed", "isolated")),
    host_open=st.booleans(),
    uplinks=st.lists(st.sampled_from(("eth0", "wlan0", "br0.7")), unique=True).map(tuple),
    forwards=st.lists(FORWARDS, unique_by=lambda forward: forward[:2], max_size=5).map(tuple),
    mtu=st.integers(68, 65521),
    queues=st.integers(1, 256),
    line=st.just(""),
)


@given(REQUESTS)
def test_a_request_read_back_from_its_line_is_the_same(request_: Request) -> None:
    assert parse(line(request_))._replace(line="") == request_


def test_defaults_are_nat_with_the_host_closed_mtu_1500_and_one_queue() -> None:
    request = parse("up web 192.168.7.1/30 192.168.7.2")
    line_ = "up web 192.168.7.1/30 192.168.7.2"
    assert request == Request("up", "web", "192.168.7.1", 30, "192.168.7.2", line=line_)
    assert (request.mode, request.host_open, request.mtu, request.queues) == ("nat", False, 1500, 1)
    assert line(request) == "up web 192.168.7.1/30 192.168.7.2 nat"


def test_the_words_after_the_addresses_come_in_any_order() -> None:
    one = parse("up a 10.0.0.1/30 10.0.0.2 mtu=1400 isolated host=open forward=udp:53:53")
    two = parse("up a 10.0.0.1/30 10.0.0.2 isolated forward=udp:53:53 host=open mtu=1400")
    assert one._replace(line="") == two._replace(line="")


def test_a_guest_outside_the_hosts_prefix_is_reached_by_a_route() -> None:
    outside = parse("up a 192.168.7.1/32 192.168.7.2").networks
    assert [str(network) for network in outside] == ["192.168.7.1/32", "192.168.7.2/32"]
    inside = parse("up a 192.168.7.1/30 192.168.7.2").networks
    assert [str(network) for network in inside] == ["192.168.7.0/30"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("up", "needs a name"),
        ("up Web 10.0.0.1/30 10.0.0.2", "cannot be a guest's name"),
        ("UP web 10.0.0.1/30 10.0.0.2", "unknown request"),
        ("up web 10.0.0.1/30 10.0.0.2 NAT", "has no setting"),
        ("up  web 10.0.0.1/30 10.0.0.2", "two spaces"),
        (" up web 10.0.0.1/30 10.0.0.2", "two spaces"),
        ("up web 10.0.0.1/30 10.0.0.2 ", "two spaces"),
        ("add web 10.0.0.1/30 10.0.0.2", "unknown request"),
        ("up web 10.0.0.1/30", "needs a name"),
        ("up web 10.0.0.1 10.0.0.2", "no prefix length"),
        ("up web 10.0.0.1/30 10.0.0.1", "cannot both"),
        ("up web 10.0.0.1/30 10.0.0.5", "is not in"),
        ("up web 10.0.0.0/30 10.0.0.2", "first or last"),
        ("up web 10.0.0.1/30 10.0.0.3", "first or last"),
        ("up web 10.0.0.1/31 10.0.0.0", "cannot have the prefix"),
        ("up web 10.0.0.1/7 10.0.0.2", "not from 8"),
        ("up web 10.0.0.1/030 10.0.0.2", "plain number"),
        ("up web 10.0.0.01/30 10.0.0.2", "not an IPv4 address"),
        ("up web 10.0.1/30 10.0.0.2", "not an IPv4 address"),
        ("up web 0.0.0.1/30 0.0.0.2", "cannot be an address"),
        ("up web 127.0.0.1/30 127.0.0.2", "cannot be an address"),
        ("up web 169.254.169.253/30 169.254.169.254", "cannot be an address"),
        ("up web 224.0.0.1/30 224.0.0.2", "cannot be an address"),
        ("up web 255.255.255.253/30 255.255.255.254", "cannot be an address"),
        ("up abcdefghijklm 10.0.0.1/30 10.0.0.2", "1 to 12 characters"),
        ("up -web 10.0.0.1/30 10.0.0.2", "cannot be a guest's name"),
        ("up a.b 10.0.0.1/30 10.0.0.2", "cannot be a guest's name"),
        ("up a_b 10.0.0.1/30 10.0.0.2", "cannot be a guest's name"),
        ("up a%d 10.0.0.1/30 10.0.0.2", "U+0025"),
        ("up web 10.0.0.1/30 10.0.0.2\n", "U+000A"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=٣٠٠٠", "U+0660"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=0", "not from 68"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=67", "not from 68"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=65522", "not from 68"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=99999999999", "plain number"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=0x5dc", "plain number"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=-1500", "plain number"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=1500 mtu=1500", "given twice"),
        ("up web 10.0.0.1/30 10.0.0.2 nat isolated", "given twice"),
        ("up web 10.0.0.1/30 10.0.0.2 mtu=1500 mtu=1400", "given twice"),
        ("up web 10.0.0.1/30 10.0.0.2 queues=1 queues=2", "given twice"),
        ("up web 10.0.0.1/30 10.0.0.2 host=open host=closed", "given twice"),
        ("up web 10.0.0.1/30 10.0.0.2 queues=0", "not from 1"),
        ("up web 10.0.0.1/30 10.0.0.2 queues=257", "not from 1"),
        ("up web 10.0.0.1/30 10.0.0.2 host=ajar", "has no setting"),
        ("up web 10.0.0.1/30 10.0.0.2 uplink=", "cannot be an interface's name"),
        ("up web 10.0.0.1/30 10.0.0.2 uplink=..", "cannot be an uplink"),
        ("up web 10.0.0.1/30 10.0.0.2 uplink=a/b", "cannot be an interface's name"),
        ("up web 10.0.0.1/30 10.0.0.2 uplink=lo", "cannot be an uplink"),
        ("up web 10.0.0.1/30 10.0.0.2 uplink=all", "cannot be an uplink"),
        ("up web 10.0.0.1/30 10.0.0.2 uplink=eth0 uplink=eth0", "given twice"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=icmp:1:1", "not a port forward"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=tcp:80", "not a port forward"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=tcp:0:80", "not from 1"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=tcp:65536:80", "not from 1"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=tcp:80:0", "not from 1"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=tcp:80:65536", "not from 1"),
        ("up web 10.0.0.1/30 10.0.0.2 forward=tcp:80:1 forward=tcp:80:2", "forwarded twice"),
        ("up web 10.0.0.1/30 10.0.0.2 colour=red", "has no setting"),
        ("down", "one name"),
        ("down web db", "one name"),
        ("down --force", "cannot be a guest's name"),
        ("down ..", "cannot be a guest's name"),
    ],
)
def test_what_is_wrong_is_refused_and_named(text: str, said: str) -> None:
    with pytest.raises(BadRequest):
        parse(text)
    assert said in str(first_error([text]))


OPTIONS = """
    nat routed isolated bridged host=open host=closed host=ajar host uplink=eth0 uplink=br0.7
    uplink=lo uplink=lo0 uplink=.. uplink=td-a uplink=sixteenletters16 uplink= uplink mtu=67 mtu=68
    mtu=1500 mtu=65521 mtu=65522 mtu=0100 mtu=-1 mtu queues=0 queues=1 queues=256 queues=257
    forward=tcp:80:80 forward=tcp:80:81 forward=udp:80:80 forward=tcp:0:1 forward=tcp:1:65536
    forward=tcp:65535:65535 forward=sctp:1:1 forward=tcp:1 forward=tcp:1:1:1 =nat mode=nat
    colour=red --all
"""
ADDRESSES = """
    10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.01 10.0.1 0.0.0.1 127.0.0.1 169.254.0.2
    224.0.0.1 255.255.255.255 192.168.7.1 192.168.7.2 256.0.0.1 web
"""
PREFIXES = ("", "/", "/7", "/8", "/24", "/30", "/31", "/32", "/33", "/030", "/30/30")
VERBS = ("up", "up", "up", "up", "down", "add", "Up")
LABELS = ("web", "a", "-a", "a-", "twelveletter", "thirteenchars", "a_b", "--all")


BASES = st.one_of(
    st.just("up web 10.0.0.1/30 10.0.0.2"),
    st.builds(
        "{} {} {}{} {}".format,
        *(
            st.sampled_from(words)
            for words in (VERBS, LABELS, ADDRESSES.split(), PREFIXES, ADDRESSES.split())
        ),
    ),
)


@settings(max_examples=3000, derandomize=True, deadline=None)
@given(BASES, st.lists(st.sampled_from(OPTIONS.split()), max_size=4))
def test_a_reason_is_found_for_what_is_refused_and_for_nothing_else(
    base: str, words: list[str]
) -> None:
    for said in (" ".join(base.split()[:2]), " ".join([base, *words])):
        agreed = []
        for reads in (parse, check):
            try:
                reads(said)
            except BadRequest:
                agreed.append(said)
        assert len(agreed) in (0, 2)


@pytest.mark.parametrize(
    "words",
    [
        "uplink=lo0",
        "uplink=allied",
        "uplink=default0",
        "uplink=.a",
        "uplink=a..",
        "uplink=td",
        "uplink=fifteenletters1",
        "mtu=68",
        "mtu=65521",
        "queues=256",
        "host=closed",
        "isolated",
        "forward=tcp:65535:1 forward=udp:65535:1",
        "uplink=eth0 uplink=eth1 host=open routed",
    ],
)
def test_what_is_right_to_its_bounds_is_taken(words: str) -> None:
    request = parse(f"up web 10.0.0.1/30 10.0.0.2 {words}")
    check(request.line)
    assert set(words.split()) - {"host=closed"} <= set(line(request).split())
    assert request.host_open == ("host=open" in words)


@pytest.mark.parametrize(("length", "taken"), [(LONGEST_LINE, True), (LONGEST_LINE + 1, False)])
def test_a_line_is_taken_up_to_the_longest_and_no_further(length: int, taken: bool) -> None:
    said = "up web 10.0.0.1/30 10.0.0.2 uplink=e uplink=f"
    more = len(" forward=tcp:1000:1000")
    ports = range(1000, 1000 + (length - len(said)) // more)
    said += "".join(f" forward=tcp:{port}:{port}" for port in ports)
    missing = length - len(said)
    said = said.replace("=e", "=e" + "e" * (missing // 2))
    said = said.replace("=f", "=f" + "f" * (missing - missing // 2))
    assert len(said) == length
    if taken:
        assert len(parse(said).forwards) == len(ports)
    else:
        assert "longer than" in str(first_error([said]))
        with pytest.raises(BadRequest):
            parse(said)


@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        request = parse(text)
    except BadRequest:
        assert str(first_error([text])).isprintable()
    else:
        assert parse(line(request))._replace(line="") == request._replace(line="")


def test_a_line_of_a_megabyte_is_refused_unread() -> None:
    with pytest.raises(BadRequest):
        parse("up " + "a" * 1_000_000)
    assert "longer than" in str(first_error(["up " + "a" * 1_000_000]))


@pytest.mark.parametrize("name", ["enP1p1s0", "enX0", "wlP2", "A", "td-wan"])
def test_capitals_and_our_prefix_are_in_names_of_uplinks(name: str) -> None:
    line = f"up web 10.0.0.1/30 10.0.0.2 uplink={name}"
    assert parse(line).uplinks == (name,)
    check(line)
