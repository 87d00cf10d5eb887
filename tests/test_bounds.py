"""What others wrote costs no more to read than its size allows: work is counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from tapdraft.generator import errors, locate, qemu, reading, values
from tapdraft.generator.description import LARGEST, load, parse
from tapdraft.generator.errors import BadDescription, TapdraftError


def work(function: Callable[..., Any], *arguments: Any) -> int:
    """How many functions are called, Python's own among them."""
    calls = 0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function(*arguments)
    except BadDescription as bad:
        str(bad)
    finally:
        sys.setprofile(None)
    return calls


def named(number: int, layout: str = "blocks") -> str:
    """Guests that name addresses, with gaps for those that do not."""
    text = f'[network]\nsubnet = "10.0.0.0/8"\nlayout = "{layout}"\n'
    for n in range(number):
        address = f"10.{n >> 8 & 255}.{n & 255}.2"
        text += f"[guest.n{n}]\nkernel='k'\naddress='{address}'\n[guest.f{n}]\nkernel='k'\n"
    return text


DESCRIPTIONS: dict[str, Callable[[int], str]] = {
    "guests with addresses": named,
    "the items of a list": lambda n: f"[guest.web]\nkernel='k'\nqemu=[{'1,' * n}]\n",
    "strings in a list": lambda n: "[guest.web]\nkernel='k'\nqemu=[" + "'a'," * n + "]\n",
    "unknown keys": lambda n: "[guest.web]\n" + "".join(f"memry{i} = 1\n" for i in range(n)),
    "unknown keys in a line": lambda n: (
        "guest = {web = {" + ", ".join(f"memry{i} = 1" for i in range(n)) + "}}\n"
    ),
    "tables": lambda n: "".join(f"[guest.'{i}']\nkernel = 'k'\n" for i in range(n)),
    "blank lines": lambda n: "\n" * n + "[guest.web]\nkernel = 'k'\n",
    "ports": lambda n: (
        "[guest.web]\nkernel='k'\nforward=["
        + "".join(f"'tcp:{i + 1}:1'," for i in range(n // 4))
        + "]\n"
    ),
}


@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_a_description_twice_as_long_is_about_twice_the_work(what: str) -> None:
    make = DESCRIPTIONS[what]
    for text in (make(8), make(16)):  # what is done once
        work(parse, text.encode())
    one, two = (work(parse, make(number).encode()) for number in (400, 800))
    assert two < 2.4 * one


class Counted(str):
    """Text that counts how much of it is searched."""

    __slots__ = ()
    searched = 0

    def count(self, *arguments: Any) -> int:
        _, start, end = (*arguments, 0, len(self))[:3]
        Counted.searched += end - start
        return super().count(*arguments)

    def rfind(self, *arguments: Any) -> int:
        Counted.searched += arguments[2] - (super().rfind(*arguments) + 1)
        return super().rfind(*arguments)


def test_the_place_of_a_key_is_found_without_reading_from_the_start() -> None:
    text = Counted("[guest.web]\nqemu = [\n" + "'a',\n" * 2000 + "]\n")
    Counted.searched = 0
    places = locate.locate(text)
    assert places.value(("guest", "web", "qemu", 1999)).line == 2002
    assert Counted.searched < 20 * len(text)


def test_a_large_gateway_is_stepped_over_at_once() -> None:
    text = (
        '[network]\nsubnet = "10.0.0.0/8"\n[guest.a]\nkernel="k"\naddress="10.0.0.2"\n'
        'gateway="10.0.0.1/9"\n[guest.b]\nkernel="k"\n'
    )
    guests = parse(text.encode()).guests
    assert guests[1].address == "10.128.0.2"
    assert work(parse, text.encode()) < 20_000


def test_a_name_of_many_parts_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading.tomllib, "loads", lambda _: pytest.fail("parsed"))
    for part in ("a.", '"a" . ', "'a'.", r'"\"".'):
        with pytest.raises(BadDescription, match="dotted name") as bad:
            parse(f"# a comment\n[guest.web]\n{part * 100_000}b = 1\n".encode())
        assert "description:3: a dotted name has more than 32 parts" in str(bad.value)


def test_text_with_many_dots_is_text() -> None:
    text = f"[guest.web]\nkernel = 'k'\nappend = \"{'..a ' * 40} 1.2.3.4\"\n"
    assert parse(text.encode()).guests[0].append


def test_a_long_list_is_refused_by_its_length() -> None:
    with pytest.raises(BadDescription) as bad:
        parse(f"[guest.web]\nkernel='k'\nqemu=[{'1,' * 300_000}]\n".encode())
    assert f"this list has 300000 items (at most {values.MOST_ITEMS})" in str(bad.value)


def test_no_more_is_told_of_mistakes_than_a_person_reads() -> None:
    keys = ", ".join(f"memry{number} = 1" for number in range(30_000))
    with pytest.raises(BadDescription) as bad:
        parse(f"guest = {{web = {{{keys}}}}}\n".encode())
    assert len(bad.value.problems) == reading.MOST_PROBLEMS
    assert len(str(bad.value)) < 2000 * reading.MOST_PROBLEMS
    with pytest.raises(BadDescription) as bad:
        parse(f"[guest.web]\n{'k' * 900_000} = 1\n".encode())
    assert len(str(bad.value)) < 20 * errors.SHOWN


def test_a_mistake_far_out_in_a_line_is_still_marked() -> None:
    with pytest.raises(BadDescription) as bad:
        parse(f"guest = {{web = {{title = '{'x' * 5000}', memory = 'much'}}}}\n".encode())
    line, marks = str(bad.value).splitlines()[1:3]
    assert line[marks.index("^") : marks.rindex("^") + 1] == "'much'"


def test_nested_lists_are_refused() -> None:
    with pytest.raises(BadDescription) as bad:
        parse(f"a = {'[' * 100_000}".encode())
    assert "nested too deeply" in str(bad.value)


def test_no_more_of_a_device_is_read_than_a_description_may_have() -> None:
    with pytest.raises(TapdraftError, match=f"is larger than {LARGEST >> 20} MiB"):
        load("/dev/zero")


MARKED = {
    "DISK": "qemu = ['{marks}']\ndisk = {{ file = '{text}', bus = 'qemu' }}\n",
    "IP": "append = '{marks}'\nkernel = 'k'\nip-tap = '{text}'\n",
    "CONSOLE": "append = '{marks}'\nkernel = 'k'\nconsole = ['{text}']\n",
}


@pytest.mark.parametrize("what", MARKED)
def test_marks_make_no_long_description_out_of_a_short_one(what: str) -> None:
    """Each stands for a text: many marks times a long text would fill the machine's memory."""
    mark = "@DISK0@ " if what == "DISK" else f"@{what}@ "
    head = "[guest.web]\ndefaults = 'qemu'\nnic = 'e1000'\n"
    with pytest.raises(BadDescription) as bad:
        parse((head + MARKED[what].format(marks=mark * 1000, text="x" * 1000)).encode())
    assert f"more than {values.MOST_MARKS}" in str(bad.value)
    guest = parse((head + MARKED[what].format(marks=mark * 3, text="someword")).encode()).guests[0]
    assert " ".join(qemu.argv(guest)).count("someword") == 3


@pytest.mark.parametrize("digit", ["0xf", "0b1", "0o7"])
def test_a_number_of_any_length_is_told_to_be_too_large(digit: str) -> None:
    number = digit + digit[-1] * 50_000
    for key in ("memory", "cpus", "mtu", "queues"):
        with pytest.raises(BadDescription, match="this number is not from"):
            parse(f"[guest.web]\nkernel = 'k'\n{key} = {number}\n".encode())
