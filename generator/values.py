"""Readers of single values of a description: each returns what it read or raises Wrong."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from ..helper.diagnosis import check_addresses, check_interface, check_name, parse_forward
from ..helper.errors import HelperError
from ..helper.request import Forward

Reader = Callable[[Any], Any]

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
# The kinds of keys that OpenSSH knows: sshd(8), "authorized_keys file format".
_SSH_KEY = re.compile(
    r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]{32,}={0,2}( [!-~ ]{0,200})?"
)
_SIZE = re.compile(r"([1-9][0-9]{0,8})([MG])")
MOST_ITEMS = 1000  # of a list
# Of one mark in a text, as each becomes a text of any length.
MOST_MARKS = 100
_LONGEST = 64  # characters of a word that is compared with those that are known; bits of a number
# How other programs write them: 512MB, 512 MiB, 2g.
_OTHER_SIZE = re.compile(r"([1-9][0-9]{0,8}) ?([MG])(?:i?B)?", re.IGNORECASE)
_TYPES = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number with a fraction",
    list: "a list",
    dict: "a table",
}


class Wrong(Exception):
    """What is wrong with a value; `path` leads from it to the offending part.

    With `at_key` that part is the last key of the path, not its value.
    """

    def __init__(
        self, what: str, hint: str = "", path: tuple[str | int, ...] = (), at_key: bool = False
    ) -> None:
        super().__init__(what)
        self.hint = hint
        self.path = path
        self.at_key = at_key


def text(value: Any) -> str:
    """A string that can be an argument of a program, and be seen by whoever reviews a script.

    Characters that move a terminal's cursor or turn the reading direction around could hide there
    what a script does.
    """
    if not isinstance(value, str):
        raise Wrong(f"this is {named(value)}, not a string", "put it in quotes")
    for letter in value:
        if not letter.isprintable() and letter not in "\n\t":
            what = f"the character U+{ord(letter):04X} could not be seen in a script"
            raise Wrong(what, "remove the character")
    return value


def file(value: Any) -> str:
    """A file's name; a relative one is relative to the description's folder."""
    if not text(value):
        raise Wrong("a file's name cannot be empty", "write the name, or leave the key out")
    return str(value)


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"this is {named(value)}, not true or false", "write true or false, no quotes")
    return value


def number(low: int, high: int) -> Reader:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong(f"this is {named(value)}, not a number", f"use {low} to {high}")
        if not low <= value <= high:
            # Of a number with thousands of digits Python makes no text.
            shown = str(value) if value.bit_length() <= _LONGEST else "this number"
            raise Wrong(f"{shown} is not from {low} to {high}", f"use {low} to {high}")
        return value

    return read


def one_of(*words: str) -> Reader:
    def read(value: Any) -> str:
        if text(value) not in words:
            raise Wrong(f"this is none of {', '.join(words)}", nearest(value, words))
        return str(value)

    return read


def many(reader: Reader, *repeated: Any) -> Reader:
    """A list of what `reader` reads, no value twice unless it is free text or one of `repeated`."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Wrong(f"this is {named(value)}, not a list", "put it in [ ]")
        if len(value) > MOST_ITEMS:
            raise Wrong(f"this list has {len(value)} items (at most {MOST_ITEMS})")
        found: list[Any] = []
        seen: set[str] = set()
        for index, item in enumerate(value):
            found.append(inside(index, reader, item))
            # Not the value itself: a table cannot be in a set.
            same = repr(found[-1])
            if same in seen and reader is not text and found[-1] not in repeated:
                raise Wrong("this is listed twice", "remove one of the two", (index,))
            seen.add(same)
        return tuple(found)

    return read


def one_or_many(reader: Reader) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        return many(reader)(value) if isinstance(value, list) else (reader(value),)

    return read


def memory(value: Any) -> int:
    """MiB: a number, or a string with M or G."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    spelt = _OTHER_SIZE.fullmatch(value) if isinstance(value, str) and not match else None
    if spelt:
        right = f"{spelt[1]}{spelt[2].upper()}"
        raise Wrong(f"'{value}' is not how memory is written", f'write "{right}"')
    if match:
        value = int(match[1]) * (1024 if match[2] == "G" else 1)
    try:
        return int(number(1, 1 << 24)(value))
    except Wrong as wrong:
        raise Wrong(str(wrong), 'write MiB as a number, or "512M" or "2G"') from None


def address(value: Any) -> str:
    try:
        return str(IPv4Address(text(value)))
    except ValueError:
        raise Wrong("this is not an IPv4 address", 'write "192.168.7.2"') from None


def address_with_prefix(value: Any) -> str:
    """The host's address and the length of its prefix, /30 without one."""
    try:
        plain = value if "/" in text(value) else f"{value}/30"
        return IPv4Interface(plain).with_prefixlen
    except ValueError:
        hint = 'write "192.168.7.1", or "192.168.7.1/32"'
        raise Wrong("this is not an IPv4 address", hint) from None


def subnet(value: Any) -> IPv4Network:
    try:
        found = IPv4Interface(text(value)).network
    except ValueError:
        raise Wrong("this is not an IPv4 subnet", 'write "192.168.7.0/24"') from None
    if "/" not in value:
        network = IPv4Interface(f"{value}/24").network
        raise Wrong("this subnet has no prefix length", f'write "{network}"')
    if str(found) != value:
        raise Wrong("this is an address in a subnet, not a subnet", f'write "{found}"')
    if not 8 <= found.prefixlen <= 30:
        raise Wrong(f"a /{found.prefixlen} cannot be divided among guests", "use /8 to /30")
    _helper(check_addresses, str(found[1]), 30, str(found[2]))
    return found


def mac(value: Any) -> str:
    if not _MAC.fullmatch(text(value).lower()):
        raise Wrong("this is not a MAC address", 'write "52:54:00:12:34:56"')
    if int(value[:2], 16) & 1:
        raise Wrong("this is a multicast MAC address", "make the first byte even: 52")
    return str(value).lower()


def domain(value: Any) -> str:
    if not _DOMAIN.fullmatch(text(value)):
        raise Wrong("this is not a domain", 'write "lab.example"')
    return str(value)


def ssh_key(value: Any) -> str:
    if "PRIVATE KEY" in text(value):
        raise Wrong("this is a private key", "give the public one: the line in the .pub file")
    if not _SSH_KEY.fullmatch(value):
        if value.endswith(".pub") or re.fullmatch(r"[~./\w-]+", value):
            what = "this is a file's name, not a public key"
            raise Wrong(what, "give the line that the .pub file has")
        raise Wrong("this is not a public key of OpenSSH", "give the line that the .pub file has")
    return str(value)


def guest_name(value: Any) -> str:
    return str(_helper(check_name, value))


def interface(value: Any) -> str:
    return str(_helper(check_interface, text(value)))


def forward(value: Any) -> Forward:
    found: Forward = _helper(parse_forward, text(value))
    return found


def table(kind: str, keys: dict[str, Reader]) -> Reader:
    """A table with some of `keys`; `kind` is what a person calls it."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Wrong(f"this is {named(value)}, not a table", f"write {{ {next(iter(keys))} = }}")
        for key in value:
            if key not in keys:
                what = f"{kind} has no key '{key}'"
                raise Wrong(what, nearest(key, tuple(keys)), (key,), True)
        return {key: inside(key, keys[key], item) for key, item in value.items()}

    return read


def named(value: Any) -> str:
    """What kind of value this is, for a person."""
    return _TYPES.get(type(value), "a date or time")


def nearest(word: str, words: tuple[str, ...]) -> str:
    """A hint: the nearest of `words`, or all of them."""
    close = get_close_matches(word, words, 1) if len(word) <= _LONGEST else []
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(words)}"


def inside(step: str | int, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except Wrong as wrong:
        raise Wrong(str(wrong), wrong.hint, (step, *wrong.path), wrong.at_key) from None


def _helper(check: Callable[..., Any], *arguments: Any) -> Any:
    """Ask one of the helper's own checks, so that both sides agree."""
    try:
        return check(*arguments)
    except HelperError as error:
        raise Wrong(str(error), error.hint) from None
