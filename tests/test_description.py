"""A description is read as it is meant, or refused with the place of every mistake."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapdraft.generator import network, values
from tapdraft.generator.description import (
    GUEST_KEYS,
    NETWORK_KEYS,
    Description,
    Guest,
    load,
    parse,
)
from tapdraft.generator.disks import Disk
from tapdraft.generator.errors import BadDescription, TapdraftError
from tapdraft.generator.locate import locate
from tapdraft.helper.request import Forward

GOLDEN = Path(__file__).parent / "golden"


def read(text: str) -> Description:
    return parse(text.encode(), "vm.toml")


def one(text: str) -> Guest:
    return read(f'[guest.web]\nkernel = "k"\n{text}').guests[0]


def complaint(text: str) -> str:
    with pytest.raises(BadDescription) as caught:
        read(text)
    return str(caught.value)


def test_what_is_left_out_has_its_default() -> None:
    guest = one("")
    assert (guest.machine, guest.memory, guest.cpus, guest.accel) == ("x86_64", 256, 1, "auto")
    assert (guest.mode, guest.host_open, guest.mtu, guest.queues) == ("nat", False, 1500, 1)
    assert (guest.address, guest.gateway, guest.prefix) == ("192.168.7.2", "192.168.7.1", 30)
    assert (guest.title, guest.addressing, guest.mac) == ("web", "kernel", "52:54:c0:a8:07:02")


def test_the_description_with_every_key_uses_every_key() -> None:
    """So that the golden files show what each of them does."""
    document = tomllib.loads((GOLDEN / "everything/description.toml").read_text())
    assert set(document["network"]) == set(NETWORK_KEYS)
    assert {key for guest in document["guest"].values() for key in guest} == set(GUEST_KEYS)


def test_addresses_are_taken_in_order_around_those_that_are_named() -> None:
    guests = read(
        '[network]\nsubnet = "10.0.0.0/28"\n'
        "[guest.a]\nkernel = 'k'\n[guest.b]\nkernel = 'k'\naddress = '10.0.0.6'\n"
        "[guest.c]\nkernel = 'k'\n[guest.d]\nkernel = 'k'\naddress = '10.0.0.13'\n"
    ).guests
    assert [(g.address, g.gateway) for g in guests] == [
        ("10.0.0.2", "10.0.0.1"),
        ("10.0.0.6", "10.0.0.5"),
        ("10.0.0.10", "10.0.0.9"),
        ("10.0.0.13", "10.0.0.14"),
    ]


def test_a_subnet_is_used_to_its_last_address_and_then_exhausted() -> None:
    guests = "".join(f"[guest.g{n}]\nkernel = 'k'\n" for n in range(64))
    assert len({guest.address for guest in read(guests).guests}) == 64
    said = complaint(guests + "[guest.more]\nkernel = 'k'\n")
    assert "vm.toml:129: no /30 of 192.168.7.0/24 is left for guest more" in said
    assert 'hint: write a larger subnet in [network]: "192.168.4.0/22"' in said


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), unique=True, max_size=12), st.integers(1, 30))
def test_no_two_guests_ever_share_an_address(named: list[int], free: int) -> None:
    text = "".join(f"[guest.n{n}]\nkernel='k'\naddress='192.168.7.{n}'\n" for n in named)
    text += "".join(f"[guest.f{n}]\nkernel='k'\n" for n in range(free))
    try:
        guests = read(text).guests
    except BadDescription:
        return
    blocks = [int(guest.address.rsplit(".", 1)[1]) // 4 for guest in guests]
    assert len(blocks) == len(set(blocks)) == len(named) + free
    assert len({guest.mac for guest in guests}) == len(guests)


def test_a_gateway_elsewhere_makes_a_routed_guest() -> None:
    guest = one('address = "192.168.7.9"\ngateway = "192.168.7.1/32"')
    assert (guest.address, guest.gateway, guest.prefix) == ("192.168.7.9", "192.168.7.1", 32)


@pytest.mark.parametrize(
    ("text", "memory"), [("512", 512), ('"512M"', 512), ('"2G"', 2048), ("1", 1)]
)
def test_memory_is_mebibytes_or_says_what_it_is(text: str, memory: int) -> None:
    assert one(f"memory = {text}").memory == memory


def test_one_disk_or_several_as_name_or_table() -> None:
    assert one('disk = "a"').disks == (Disk("a", "raw"),)
    assert one('disk = ["a.qcow2", { file = "b", readonly = true }]').disks == (
        Disk("a.qcow2", "qcow2"),
        Disk("b", "raw", True),
    )


# What is wrong, the line it is on, the offending text, what is said of it and what to do.
MISTAKES = {
    "unknown table": ("[gest.web]\n", 1, "gest", "no table 'gest'", "did you mean guest?"),
    "unknown key": ("[guest.web]\nmemry = 1\n", 2, "memry", "no key 'memry'", "mean memory?"),
    "unknown network key": ("[network]\nsubnt = 1\n", 2, "subnt", "no key 'subnt'", "mean subnet?"),
    "a key far from any": ("[guest.web]\nzzz = 1\n", 2, "zzz", "no key 'zzz'", "there are title,"),
    "dotted unknown key": ("guest.web.memry = 1\n", 1, "memry", "no key 'memry'", "memory"),
    "quoted unknown key": ('[guest.web]\n"memry" = 1\n', 2, '"memry"', "no key", "memory"),
    "inline unknown key": ("guest = { web = { memry = 1 } }\n", 1, "memry", "no key", "memory"),
    "no string": ("[guest.web]\nkernel = 7\n", 2, "7", "a number, not a string", "quotes"),
    "no number": ('[guest.web]\ncpus = "2"\n', 2, '"2"', "a string, not a number", "1 to 1024"),
    "true is no number": (
        "[guest.web]\ncpus = true\n",
        2,
        "true",
        "true or false, not a n",
        "1 to",
    ),
    "number too large": ("[guest.web]\nmtu = 99999\n", 2, "99999", "not from 68 to 65521", ""),
    "no such machine": ('[guest.web]\nmachine = "x86"\n', 2, '"x86"', "none of x86_64", "x86_64?"),
    "memory in KiB": ('[guest.web]\nmemory = "9K"\n', 2, '"9K"', "not a number", '"512M"'),
    "no list": ('[guest.web]\nforward = "tcp:1:1"\n', 2, '"tcp:1:1"', "not a list", "[ ]"),
    "in a list": (
        '[guest.web]\nforward = [\n  "tcp:1:1",\n  "x",\n]\n',
        4,
        '"x"',
        "not a port",
        "tcp:",
    ),
    "in a disk": ("[guest.web]\ndisk = [{ file = 'a', fmt = 1 }]\n", 2, "fmt", "no key", "format"),
    "in a table of disks": ("[guest.w]\n[[guest.w.disk]]\nfile = 1\n", 3, "1", "not a string", ""),
    "disk without file": ("[guest.web]\ndisk = {}\n", 2, "{}", "has no file", "file ="),
    "disk format": (
        '[guest.w]\ndisk.file="a"\ndisk.format="vmdx"\n',
        3,
        '"vmdx"',
        "none of raw",
        "",
    ),
    "bad name": ('[guest."a b"]\n', 1, '"a b"', "cannot be a guest's name", "a-z, 0-9 and hyphens"),
    "long name": ("[guest.abcdefghijklm]\n", 1, "abcdefghijklm", "1 to 12 characters", ""),
    "same name twice": ("[guest.a]\n[guest.a]\n", 2, "]", "declare", "toml.io"),
    "same key twice": ("[guest.a]\ncpus = 1\ncpus = 2\n", 3, "", "overwrite", "toml.io"),
    "no address": (
        "[guest.w]\nkernel='k'\naddress='7'\n",
        3,
        "'7'",
        "not an IPv4 address",
        "192.168.7.2",
    ),
    "outside": (
        "[guest.w]\nkernel='k'\naddress='10.0.0.2'\n",
        3,
        "'10.0.0.2'",
        "not in the subnet 192",
        "subnet",
    ),
    "first of its /30": (
        "[guest.w]\nkernel='k'\naddress='192.168.7.4'\n",
        3,
        "'192.168.7.4'",
        "first or last address",
        "gateway",
    ),
    "same address": (
        "[guest.a]\nkernel='k'\naddress='192.168.7.2'\n"
        "[guest.b]\nkernel='k'\naddress='192.168.7.2'\n",
        6,
        "'192.168.7.2'",
        "overlaps the addresses of guest a",
        "another /30",
    ),
    "overlapping": (
        "[guest.a]\nkernel='k'\naddress='192.168.7.2'\ngateway='192.168.7.9/28'\n"
        "[guest.b]\nkernel='k'\naddress='192.168.7.6'\n",
        7,
        "'192.168.7.6'",
        "overlaps",
        "",
    ),
    "gateway alone": (
        "[guest.a]\ngateway='192.168.7.9'\n",
        2,
        "'192.168.7.9'",
        "needs an address",
        "addr",
    ),
    "host bits": (
        "[network]\nsubnet='10.0.0.1/24'\n",
        2,
        "'10.0.0.1/24'",
        "not a subnet",
        '"10.0.0.0/24"',
    ),
    "small subnet": (
        "[network]\nsubnet='10.0.0.0/31'\n",
        2,
        "'10.0.0.0/31'",
        "divided",
        "/8 to /30",
    ),
    "loopback": (
        "[network]\nsubnet='127.0.0.0/8'\n",
        2,
        "'127.0.0.0/8'",
        "cannot be an",
        "private",
    ),
    "no subnet": ("[network]\nsubnet='ten'\n", 2, "'ten'", "not an IPv4 subnet", "192.168.7.0/24"),
    "uplink": ("[network]\nuplinks=['lo']\n", 2, "'lo'", "cannot be an uplink", ""),
    "uplink twice": ("[network]\nuplinks=['a', 'a']\n", 2, "'a'", "listed twice", ""),
    "no mac": ("[guest.a]\nmac='52:54'\n", 2, "'52:54'", "not a MAC address", "52:54:00"),
    "multicast mac": (
        "[guest.a]\nmac='01:00:00:00:00:01'\n",
        2,
        "'01:00:00:00:00:01'",
        "multicast",
        "",
    ),
    "same mac": (
        "[guest.a]\nkernel='k'\nmac='52:54:00:00:00:01'\n[guest.b]\nkernel='k'\n"
        "mac='52:54:00:00:00:01'\n",
        6,
        "'52:54:00:00:00:01'",
        "guest a has this",
        "",
    ),
    "same port": (
        "[guest.a]\nkernel='k'\nforward=['tcp:1:1']\n[guest.b]\nkernel='k'\n"
        "forward=['udp:1:1', 'tcp:1:9']\n",
        6,
        "'tcp:1:9'",
        "forwarded to a already",
        "",
    ),
    "initrd alone": ("[guest.a]\ndisk='d'\ninitrd='i'\n", 3, "'i'", "needs a kernel", "kernel ="),
    "append alone": ("[guest.a]\ndisk='d'\nappend='i'\n", 3, "'i'", "needs a kernel", "kernel ="),
    "nothing to start": (
        "[guest.a]\ncpus = 1\n",
        1,
        "a",
        "neither a kernel nor a disk",
        "kernel =",
    ),
    "ip= twice": (
        "[guest.a]\naddressing='kernel'\nkernel='k'\nappend='ip=dhcp'\n",
        2,
        "'kernel'",
        "ip= of its own",
        "addressing",
    ),
    "kernel's address without one": (
        "[guest.a]\ndisk='d'\naddressing='kernel'\n",
        3,
        "'kernel'",
        "no kernel",
        "name a kernel",
    ),
    "NUL": ('[guest.a]\nkernel="a\\u0000b"\n', 2, '"a\\u0000b"', "U+0000 could not be seen", ""),
    "escape": ('[guest.a]\nappend="\\u001b[2J"\n', 2, '"\\u001b[2J"', "U+001B could not", ""),
    "turned around": ('[guest.a]\ntitle="\u202eabc"\n', 2, '"', "U+202E could not be seen", ""),
    "no guest": ("[network]\n", 1, "[", "has no guest", "write [guest.NAME]"),
    "empty": ("", 1, "", "has no guest", "write [guest.NAME]"),
    "guest is no table": ("guest = 1\n", 1, "1", "guest is a number, not a table", "[guest]"),
    "a guest is no table": ("[guest]\na = 1\n", 2, "1", "a number, not a table", "[guest.NAME]"),
    "no TOML": ("[guest.a]\nkernel = k\n", 2, "k", "this is not TOML", "in quotes"),
    "no end": ("[guest.a]\nkernel = [\n", 2, "k", "this is not TOML", "toml.io"),
    "dns of a guest": (
        "[guest.a]\nkernel='k'\ndns=['9.9.9.9']\n",
        3,
        "dns",
        "no key 'dns'",
        "move dns to [network]",
    ),
    "a network's key elsewhere": (
        "[network]\nforward=['tcp:1:1']\n",
        2,
        "forward",
        "no key",
        "move forward to [guest.NAME]",
    ),
    "image": ("[guest.a]\nimage='d'\n", 2, "image", "no key 'image'", "did you mean disk?"),
    "vhd": ("[guest.a]\ndisk={file='d', format='vhd'}\n", 2, "'vhd'", "none of raw", "mean vpc?"),
    "True": ("[guest.a]\nsnapshot = True\n", 2, "True", "not TOML", "write true, in small letters"),
    "a subnet's address": (
        "[network]\nsubnet='192.168.7.0'\n",
        2,
        "'1",
        "no prefix length",
        '"192.168.7.0/24"',
    ),
    "memory in MB": (
        "[guest.a]\nmemory='512MB'\n",
        2,
        "'512MB'",
        "not how memory is",
        'write "512M"',
    ),
    "memory in GiB": ("[guest.a]\nmemory='2 gib'\n", 2, "'2 gib'", "not how memory", 'write "2G"'),
    "a dot in a name": (
        "[guest.web.local]\nkernel='k'\n",
        1,
        "local",
        "no key 'local'",
        "[guest.web-local]",
    ),
    "the file of a key": (
        "[guest.a]\nssh-key='id.pub'\n",
        2,
        "'id.pub'",
        "a file's name",
        "give the line",
    ),
    "the wrong half of a key": (
        "[guest.a]\nssh-key='-----BEGIN OPENSSH PRIVATE KEY-----'\n",
        2,
        "'-",
        "private key",
        ".pub",
    ),
    "outside of a table": ("kernel='k'\n", 1, "kernel", "no table", "write [guest.NAME] above it"),
    "a byte order mark": ("\ufeff[guest.a]\n", 1, "", "byte order mark", "sed -i"),
    "a port of two interfaces": (
        "[guest.a]\nkernel='k'\n[[guest.a.interface]]\nnetwork='user'\nforward=['tcp:1:1']\n"
        "[[guest.a.interface]]\nnetwork='user'\nforward=['udp:1:1', 'tcp:1:2']\n",
        8,
        "'tcp:1:2'",
        "tcp port 1 is forwarded to a already",
        "another port",
    ),
    "a port of another guest's interface": (
        "[guest.a]\nkernel='k'\nnetwork='user'\nforward=['tcp:1:1']\n[guest.b]\nkernel='k'\n"
        "interface={network='user', forward=['tcp:1:2']}\n",
        7,
        "'tcp:1:2'",
        "tcp port 1 is forwarded to a already",
        "another port",
    ),
    "a mac of two interfaces": (
        "[guest.a]\nkernel='k'\nmac='52:54:00:00:00:01'\n"
        "interface={network='user', mac='52:54:00:00:00:01'}\n",
        4,
        "'52:54:00:00:00:01'",
        "another interface has this MAC",
        "its own",
    ),
    "a mac of another guest's interface": (
        "[guest.a]\nkernel='k'\ninterface=[{network='user', mac='52:54:00:00:00:01'}]\n"
        "[guest.b]\nkernel='k'\nmac='52:54:00:00:00:01'\n",
        6,
        "'52:54:00:00:00:01'",
        "guest a has this MAC",
        "its own",
    ),
    "too deep": ("x = " + "[" * 5000 + "]" * 5000, 1, "x", "nested too deeply", ""),
    "a number without end": (f"x = {'9' * 5000}", 1, "x", "this is not TOML", ""),
    "too many words": (
        "[guest.a]\nkernel='k'\nforward=["
        + ", ".join(f"'tcp:{port}:{port}'" for port in range(1, 99))
        + "]\n",
        1,
        "a",
        "longer than",
        "",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_shown_with_its_line_and_a_hint(name: str) -> None:
    text, line, offending, what, hint = MISTAKES[name]
    said = complaint(text)
    assert re.search(rf"^error: vm\.toml:{line}: .*{re.escape(what)}", said, re.MULTILINE), said
    assert hint in said
    assert not hint or "hint: " in said
    shown = said.splitlines()
    at = next(n for n, row in enumerate(shown) if row.startswith(f"error: vm.toml:{line}:"))
    if offending and at + 2 < len(shown) and "^" in shown[at + 2]:
        start = shown[at + 2].index("^")
        assert shown[at + 1][start:].startswith(offending), said


def test_a_port_of_the_uplinks_and_the_same_of_the_loopback_go_together() -> None:
    """The one is forwarded from the host's uplinks, the other from 127.0.0.1."""
    more = "forward=['tcp:1:1']\ninterface={network='user', forward=['tcp:1:2']}\n"
    assert one(more).interfaces[0].forwards == ((Forward("tcp", 1, 2)),)


@pytest.mark.parametrize("machine", ["x86_64", "microblaze"])
def test_a_card_without_multiqueue_and_mtu_is_given_neither_and_that_is_said(machine: str) -> None:
    nic = "nic = 'e1000'\n" if machine == "x86_64" else "dtb = 'd'\n"
    guest = one(f"machine='{machine}'\n{nic}mtu = 1400\nqueues = 4\n")
    group = network.group(guest, "run")
    words = " ".join(word for option in group.options for word in option.words())
    assert "host_mtu" not in words
    assert "mq=" not in words
    assert "vectors=" not in words
    assert "has one queue: the tap's others are not used." in group.why
    assert "cannot tell the guest its MTU" in group.why
    assert network.group(one("mtu = 1400\nqueues = 4\n"), "run").why == network._WHY_TAP["run"]


def test_every_mistake_is_shown_at_once_in_the_order_of_lines() -> None:
    said = complaint("[guest.a]\nkernel = 1\nmemry = 2\n[guest.b]\nmtu = 1\n[other]\n")
    assert re.findall(r"vm\.toml:(\d+)", said) == ["2", "3", "5", "6"]


def test_a_mistake_does_not_bring_others_that_only_follow_from_it() -> None:
    assert complaint("[guest.a]\nkernel = 1\n").count("error:") == 1


def test_a_description_cannot_write_to_the_terminal_by_its_mistakes() -> None:
    said = complaint('[guest.web]\n"\\u001b[31m\\u202e" = 1\n# \x7f\n'.replace("\x7f", ""))
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert "\x1b" not in complaint("kernel = \x1b[31m\n")


def test_line_endings_of_other_systems_do_not_move_the_lines() -> None:
    with pytest.raises(BadDescription) as caught:
        parse(b"[guest.a]\r\nkernel = 'k'\r\nmtu = 1\r\n", "vm.toml")
    assert "vm.toml:3:" in str(caught.value)


def test_a_file_that_is_not_utf8_is_told_with_its_line() -> None:
    with pytest.raises(BadDescription, match=r"vm\.toml:2: this is not UTF-8"):
        parse(b"[guest.a]\nkernel = '\xff'\n", "vm.toml")


@pytest.mark.parametrize("name", ["missing", ".", "/dev/zero", "nul\0name"])
def test_what_cannot_be_read_is_told_without_a_traceback(name: str, tmp_path: Path) -> None:
    with pytest.raises(TapdraftError) as caught:
        load(name if name.startswith("/") else f"{tmp_path}/{name}")
    assert caught.value.status == 2


def test_an_unknown_guest_is_told_with_those_there_are() -> None:
    with pytest.raises(TapdraftError) as caught:
        read("[guest.a]\nkernel='k'\n[guest.b]\nkernel='k'\n").chosen(["c"])
    assert "name one of its guests: a, b" in str(caught.value)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["tcp:80:80", "192.168.7.2", "raw", "nat", "52:54:00:00:00:01"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GUEST_KEYS)), JSON)
def test_any_value_is_read_or_refused_as_wrong(key: str, value: Any) -> None:
    try:
        GUEST_KEYS[key](value)
    except values.Wrong as wrong:
        assert str(wrong)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused_as_a_bad_description(content: bytes) -> None:
    try:
        parse(content)
    except BadDescription as bad:
        assert str(bad).startswith("error: description:")


def test_keys_and_values_are_found_however_they_are_written() -> None:
    source = """# comment [not.a.table]
[a."b.c".d] # k = 1
k = '''
[x]
y = 1''' # after
'q' . r = [ 1, # one ]
  { s = "}]", t.u = 2 }, 1979-05-27 07:32:00 ]
[[e]]
f = \"\"\"a\\\"\"\"b\"\"\"
[[e]]
g = true
"""
    places = locate(source)
    table = ("a", "b.c", "d")
    assert places.key((*table, "k"))[:2] == (3, 1)
    assert places.value((*table, "q", "r", 0))[:2] == (6, 13)
    assert places.value((*table, "q", "r", 1, "s")) == (7, 9, 4)
    assert places.key((*table, "q", "r", 1, "t", "u"))[:2] == (7, 17)
    assert places.value((*table, "q", "r", 2)) == (7, 26, 19)
    assert places.key(("e", 0, "f"))[:2] == (9, 1)
    assert places.key(("e", 1, "g"))[:2] == (11, 1)
    assert places.key(("never",)) == (1, 1, 1)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    below = [found for key, inner in items for found in paths(inner, (*path, key))]
    return [*([path] if path else []), *below]


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*/description.toml")), ids=str)
def test_every_value_of_a_real_description_has_a_place(file: Path) -> None:
    source = file.read_text()
    places = locate(source)
    lines = source.split("\n")
    for path in paths(tomllib.loads(source)):
        assert path in places.values or path in places.keys, path
        place = places.value(path)
        assert lines[place.line - 1][place.column - 1 :], path
