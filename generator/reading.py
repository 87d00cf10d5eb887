"""The tables of a description, and all that is wrong with them, each with its place."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from ..helper.request import Forward
from .errors import BadDescription, Problem, plain
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
            hint = "nest lists and tables only as deep as tapdraft.toml(5) shows"
            problem = Problem(1, 1, 1, "lists or tables are nested too deeply", hint)
        except ValueError as error:  # also a number too long for Python
            match = _WHERE.search(str(error))
            last = self.source.rstrip("\n").count("\n") + 1
            line, column = (int(match[1]), int(match[2])) if match and match[1] else (last, 1)
            what = _WHERE.sub("", str(error))
            hint = _meant(self.source, line, column) if match and match[1] else _SEE
            hint = hint if what == "Invalid value" else _SEE
            if self.source.lstrip().startswith("[config_bsp]"):
                hint = f"tapdraft import --output=vm.toml {plain(self.file)}"
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
                hint = nearest(key, known)
                if key not in _TABLES and not isinstance(value, dict | list):
                    hint = f"write [guest.NAME] above it: {key} stands outside of a table"
                self.wrong((key,), f"there is no table '{key}'", hint, at_key=True)
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
                self.wrong((*path, key), what, _key_meant(path, key, value, keys), at_key=True)
            elif self.check((*path, key), keys[key], value):
                found[key] = keys[key](value)
        return found

    def together(self, guests: "list[Guest]") -> None:
        """What only shows when the guests are seen side by side."""
        macs: dict[str, tuple[str, Path]] = {}
        ports: dict[tuple[bool, str, int], tuple[str, Path]] = {}
        for guest in guests:
            for path, mac, shared, forwards in _cards(guest, self.document):
                card = (guest.name, path)
                first, where = macs.setdefault(mac, card) if mac else card
                if (first, where) != card:
                    whose = f"guest {first}" if first != guest.name else "another interface"
                    hint = "leave mac out, or give each interface its own"
                    self.wrong((*path, "mac"), f"{whose} has this MAC address too", hint)
                for index, forward in enumerate(forwards):
                    place = (*path, "forward", index)
                    key = (shared, *forward[:2])
                    first, where = ports.setdefault(key, (guest.name, place))
                    if where != place:
                        port = f"{forward.protocol} port {forward.port}"
                        what = f"{port} is forwarded to {first} already"
                        self.wrong(place, what, "use another port")

    def finish(self) -> None:
        """Raise BadDescription if anything was wrong."""
        if self.problems:
            raise BadDescription(self.file, self.source, self.problems)


_SEE = "see https://toml.io"
_TABLES = ("network", "guest")
# What other programs call it.
_OTHERWISE = {
    "image": "disk",
    "drive": "disk",
    "hda": "disk",
    "rootfs": "disk",
    "ram": "memory",
    "smp": "cpus",
    "vcpus": "cpus",
    "cores": "cpus",
    "ip": "address",
    "arch": "machine",
    "cmdline": "append",
    "bootargs": "append",
    "initramfs": "initrd",
    "ports": "forward",
    "hostfwd": "forward",
    "name": "title",
    "bridges": "bridge",
}
# The keys that belong to the other table.
_OF_THE_NETWORK = ("subnet", "uplinks", "layout", "dns", "domain")


def _key_meant(path: Path, key: str, value: Any, keys: Keys) -> str:
    """A hint for a key that the table does not have."""
    if path[0] == "guest" and key in _OF_THE_NETWORK:
        return f"move {key} to [network], which holds for all guests"
    if path[0] == "network" and key not in keys and key in ("host", "forward", "addressing"):
        return f"move {key} to [guest.NAME]"
    if path[0] == "guest" and isinstance(value, dict):
        return f"a guest's name has no dot: write [guest.{path[-1]}-{key}]"
    if _OTHERWISE.get(key) in keys:
        return f"did you mean {_OTHERWISE[key]}?"
    return nearest(key, tuple(keys))


def _meant(source: str, line: int, column: int) -> str:
    """A hint for what tomllib does not take."""
    lines = source.split("\n")
    rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    word = re.match(r"[A-Za-z_][^\s,#\]}]*", rest)
    if word:
        if word[0].lower() in ("true", "false"):
            return f"write {word[0].lower()}, in small letters"
        return f'put text in quotes: "{word[0]}"'
    return _SEE


def _cards(
    guest: "Guest", document: dict[str, Any]
) -> Iterator[tuple[Path, str, bool, tuple[Forward, ...]]]:
    """The guest's interfaces: where each stands, its MAC address, "" if it names none, whether its
    ports are the uplinks', and its port forwards."""
    path: Path = ("guest", guest.name)
    yield path, guest.mac, guest.has_tap, guest.forwards
    tables = document["guest"][guest.name].get("interface")
    for index, one in enumerate(guest.interfaces):
        step: Path = (index,) if isinstance(tables, list) else ()
        yield (*path, "interface", *step), one.mac, False, one.forwards
