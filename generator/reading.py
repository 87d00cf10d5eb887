"""The tables of a description, and all that is wrong with them, each with its place."""

import re
import tomllib
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from .errors import BadDescription, Problem
from .locate import MOST_PARTS, Path, Places, locate, long_key
from .values import Reader, Wrong, named, nearest

if TYPE_CHECKING:
    from .description import Guest

Keys = dict[str, Reader]
MOST_PROBLEMS = 100  # that are told of one description

# What tomllib says at the end of its messages.
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


class Reading:
    """One description being read: problems are collected, and raised by `finish()`."""

    def __init__(self, file: str, source: str, folder: FilePath | None = None) -> None:
        self.file = file
        self.source = source
        self.folder = folder  # of the guests' files, where they may be looked at
        self.problems: list[Problem] = []
        self.document, self.places = self._parsed()

    def _parsed(self) -> tuple[dict[str, Any], Places]:
        long = long_key(self.source)
        if long is not None:
            before = self.source[:long]
            line, column = before.count("\n") + 1, long - before.rfind("\n")
            problem = Problem(line, column, 1, f"a dotted name has more than {MOST_PARTS} parts")
            raise BadDescription(self.file, self.source, [problem])
        try:
            return tomllib.loads(self.source), locate(self.source)
        except RecursionError:
            problem = Problem(1, 1, 1, "lists or tables are nested too deeply")
        except ValueError as error:  # also a number too long for Python
            match = _WHERE.search(str(error))
            last = self.source.rstrip("\n").count("\n") + 1
            line, column = (int(match[1]), int(match[2])) if match and match[1] else (last, 1)
            what = _WHERE.sub("", str(error))
            hint = "see https://toml.io"
            if what == "Invalid value":
                hint = f"text has to be in quotes; {hint}"
            problem = Problem(line, column, 1, f"this is not TOML: {what}", hint)
        raise BadDescription(self.file, self.source, [problem])

    def wrong(self, path: Path, what: str, hint: str = "", *, at_key: bool = False) -> None:
        place = self.places.key(path) if at_key else self.places.value(path)
        self.problems.append(Problem(*place, what, hint))
        if len(self.problems) >= MOST_PROBLEMS:
            self.finish()

    def check(self, path: Path, reader: Reader, value: Any, *, at_key: bool = False) -> bool:
        """Does `reader` take this value? If not, that is noted."""
        try:
            reader(value)
        except Wrong as wrong:
            at_key = at_key or wrong.at_key
            self.wrong((*path, *wrong.path), str(wrong), wrong.hint, at_key=at_key)
            return False
        return True

    def tables(self, known: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The tables at the top that are known."""
        found = {}
        for key, value in self.document.items():
            if key not in known:
                self.wrong((key,), f"there is no table '{key}'", nearest(key, known), at_key=True)
            elif not isinstance(value, dict):
                self.wrong((key,), f"{key} is {named(value)}, not a table", f"write [{key}]")
            else:
                found[key] = value
        return found

    def table(self, path: Path, table: Any, keys: Keys) -> dict[str, Any]:
        """The values of one table, by key."""
        if not isinstance(table, dict):
            hint = f"keys of a guest stand below [guest.NAME], not [{path[0]}]"
            self.wrong(path, f"this is {named(table)}, not a table", hint)
            return {}
        found = {}
        for key, value in table.items():
            if key not in keys:
                what = f"[{path[0]}] has no key '{key}'"
                self.wrong((*path, key), what, nearest(key, tuple(keys)), at_key=True)
            elif self.check((*path, key), keys[key], value):
                found[key] = keys[key](value)
        return found

    def together(self, guests: "list[Guest]") -> None:
        """What only shows when the guests are seen side by side."""
        macs: dict[str, str] = {}
        ports: dict[tuple[str, int], str] = {}
        for guest in guests:
            path = ("guest", guest.name)
            first = macs.setdefault(guest.mac, guest.name)
            if first != guest.name:
                self.wrong((*path, "mac"), f"guest {first} has this MAC address too")
            mine: set[tuple[str, int]] = set()
            for index, forward in enumerate(guest.forwards):
                first = ports.setdefault(forward[:2], guest.name)
                is_twice = forward[:2] in mine
                mine.add(forward[:2])
                if first != guest.name or is_twice:
                    what = f"{forward.protocol} port {forward.port} is forwarded to {first} already"
                    self.wrong((*path, "forward", index), what, "use another port")

    def finish(self) -> None:
        """Raise BadDescription if anything was wrong."""
        if self.problems:
            raise BadDescription(self.file, self.source, self.problems)
