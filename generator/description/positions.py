"""Where in a TOML file a key or a value stands, which tomllib does not tell.

`locate()` walks over a document that tomllib has accepted, so it need not find errors in it, only
tell strings, keys, tables and arrays apart. The format: https://toml.io/en/v1.0.0
"""

import re
import tomllib
from bisect import bisect_left
from typing import NamedTuple

from ..errors import KeyPath, Position

_BLANK = re.compile(r"(?:[\s]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\]|\\.)*"' r"|'[^']*'", re.DOTALL
)
# A date and a time may be separated by a blank.
_SCALAR = re.compile(r"[^\s,\]}#]+(?: \d\d:[^\s,\]}#]*)?")
MOST_PARTS = 32  # of a dotted key
# What a key of more parts has in it; it may be text that only looks like one.
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PART}\.[ \t]*){{{MOST_PARTS}}}")


class Positions(NamedTuple):
    """The places of a document's keys and values, by their path from the top."""

    keys: dict[KeyPath, Position]
    values: dict[KeyPath, Position]

    def key(self, path: KeyPath) -> Position:
        return self._nearest(self.keys, path)

    def value(self, path: KeyPath) -> Position:
        return self.values.get(path) or self._nearest(self.keys, path)

    def _nearest(self, places: dict[KeyPath, Position], path: KeyPath) -> Position:
        for length in range(len(path), 0, -1):
            if path[:length] in places:
                return places[path[:length]]
        return Position(1, 1, 1)


def long_key(source: str) -> int | None:
    """Where the first key with more parts than MOST_PARTS is: tomllib's time grows with the
    square of their number."""
    match = _LONG_KEY.search(source)
    return match.start() if match else None


def locate(source: str) -> Positions:
    """The places of all keys and values of a document that tomllib accepts."""
    return _Walk(source).document()


class _Walk:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.places = Positions({}, {})
        # Where lines end, looked for once: there may be as many keys as lines.
        self._ends = [match.start() for match in re.finditer("\n", source)]
        self.repeated: dict[KeyPath, int] = {}  # [[tables]] so far, by name

    def document(self) -> Positions:
        table: KeyPath = ()
        while not self._done():
            if self.source[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.places

    def _done(self) -> bool:
        self._skip()
        return self.at >= len(self.source)

    def _skip(self) -> None:
        self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.source, self.at)
        if match is None:
            raise ValueError(f"not TOML at character {self.at}")
        self.at = match.end()
        return match.group()

    def _place(self, start: int) -> Position:
        before = bisect_left(self._ends, start)
        begin = self._ends[before - 1] + 1 if before else 0
        return Position(before + 1, start - begin + 1, self.at - start)

    def _header(self) -> KeyPath:
        many = self.source.startswith("[[", self.at)
        self.at += 2 if many else 1
        path = self._key(())
        self.at += 2 if many else 1
        if not many:
            return path
        count = self.repeated.get(path, 0)
        self.repeated[path] = count + 1
        self.places.keys[(*path, count)] = self.places.keys[path]
        return (*path, count)

    def _key(self, table: KeyPath) -> KeyPath:
        """A key, dotted or not; every part of it is noted where it first occurs."""
        path = table
        while True:
            self._skip()
            start = self.at
            part = self._take(_KEY)
            name = part if part[0] not in "\"'" else tomllib.loads(f"key = {part}")["key"]
            path = (*path, name)
            self.places.keys.setdefault(path, self._place(start))
            self._skip()
            if not self.source.startswith(".", self.at):
                return path
            self.at += 1

    def _pair(self, table: KeyPath) -> None:
        path = self._key(table)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        start = self.at
        first = self.source[start]
        if first == "[":
            self._items(path)
        elif first == "{":
            self._inline(path)
        else:
            self._take(_STRING if first in "\"'" else _SCALAR)
        self.places.values[path] = self._place(start)

    def _items(self, path: KeyPath) -> None:
        index = 0
        while self._more("]"):
            self._value((*path, index))
            index += 1

    def _inline(self, path: KeyPath) -> None:
        while self._more("}"):
            self._pair(path)

    def _more(self, end: str) -> bool:
        """Step over the bracket or comma here; False after the closing one."""
        if self.source[self.at] in "[{":
            self.at += 1
        self._skip()
        if self.source[self.at] == ",":
            self.at += 1
            self._skip()
        if self.source[self.at] != end:
            return True
        self.at += 1
        return False
