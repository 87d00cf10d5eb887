"""What the options of the command line say.

Those of `run` stand in place of the description, for the guest that is run. Each row of CHANGES is
one, and what becomes of its word: a key of the guest and its value.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..description import keys, parser
from ..description.values import Wrong
from ..dhcp.resolvers import host_resolvers
from ..errors import USAGE, TapdraftError
from ..model import Guest

Arguments = dict[str, Any]
Table = dict[str, Any]


def _list(word: str) -> list[str]:
    return word.split(",")


def _as_it_is(word: Any) -> Any:
    return word


class Change(NamedTuple):
    key: str
    value: Callable[[Any], Any] = _as_it_is
    added: bool = False  # to what the description has, instead of in its place


CHANGES: dict[str, Change] = {
    "--network": Change("network"),
    "--bridge": Change("bridge"),
    "--forward": Change("forward", _list),
    "--vhost": Change("vhost"),
    "--accel": Change("accel"),
    "--display": Change("display"),
    "--gl": Change("gl"),
    "--serial": Change("serial", _list),
    "--audio": Change("audio"),
    "--agent": Change("agent"),
    "--qmp": Change("qmp"),
    "--firmware": Change("firmware"),
    "--snapshot": Change("snapshot"),
    "--append": Change("append", added=True),
    "--qemu": Change("qemu", shlex.split, added=True),
}


def changed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options of CHANGES that were given, by name; TapdraftError for a word that is none."""
    found = {name: arguments[name] for name in CHANGES if arguments.get(name)}
    for name, word in found.items():
        try:
            value = CHANGES[name].value(word)
            reader = keys.GUEST_KEYS.get(CHANGES[name].key)
            if reader is not None:
                reader(value)
        except (Wrong, ValueError) as wrong:
            hint = getattr(wrong, "hint", "") or f"see {CHANGES[name].key} in tapdraft.toml(5)"
            raise TapdraftError(f"{name}={word}: {wrong}", hint, USAGE) from None
    return found


def apply(tables: Mapping[str, Any], guest: str, options: Mapping[str, Any]) -> Table:
    """The guests' tables, with what the options say of `guest`, or of all without a name."""
    return {
        name: _apply(table, options) if guest in ("", name) and isinstance(table, dict) else table
        for name, table in tables.items()
    }


def _apply(table: Table, options: Mapping[str, Any]) -> Table:
    result = dict(table)
    for name, word in options.items():
        key, read, added = CHANGES[name]
        value = read(word)
        before = table.get(key)
        if added and isinstance(before, str | list):
            value = f"{before} {value}" if isinstance(before, str) else [*before, *value]
        result[key] = value
    if "--bridge" in options and "--network" not in options:
        result["network"] = "bridge"
    # What belongs to the kind of network that the description has goes with it.
    kind = result.get("network")
    if kind != table.get("network"):
        if kind != "bridge":
            result.pop("bridge", None)
        if kind in ("bridge", "none") and "--forward" not in options:
            result.pop("forward", None)
        if kind != "tap":
            for key in ("address", "gateway", "addressing", "queues", "user-data", "ssh-key"):
                result.pop(key, None)
            if "--vhost" not in options:
                result.pop("vhost", None)
    return result


def tapped(file: str, name: str) -> Guest:
    """The guest of this name; TapdraftError if it has no tap to be reached on."""
    (guest,) = parser.load(file, look=False).chosen([name])
    return need_tap(guest)


def need_tap(guest: Guest) -> Guest:
    if not guest.has_tap:
        kind = f'guest {guest.name} has network = "{guest.network}"'
        what = f"{kind}, and only a tap leads to a guest"
        hint = f'write network = "tap" below [guest.{guest.name}]'
        raise TapdraftError(what, hint, USAGE)
    return guest


def lacks_name_servers(guest: Guest) -> bool:
    """Is the guest told its network by something that names no name server, and one would help?"""
    told = guest.addressing in ("cloud-init", "credential")
    return told and guest.has_tap and guest.mode != "isolated" and not guest.name_servers


def with_name_servers(guests: tuple[Guest, ...]) -> tuple[Guest, ...]:
    """The guests, with this host's name servers where the description names none.

    For `run`, whose scripts are for this host. What `render` writes is the same on every host.
    """
    servers = tuple(map(str, host_resolvers()))
    return tuple(
        replace(guest, host_dns=servers) if guest.has_tap and guest.mode != "isolated" else guest
        for guest in guests
    )


def need_files(guests: Any, folder: Path) -> None:
    needed = [folder / name for guest in guests for name in guest.files]
    missing = [str(path) for path in needed if not path.is_file() and not path.is_block_device()]
    if missing:
        what = f"there is no file {', '.join(missing)}"
        hint = "put it there, or correct its name: names are relative to the description's folder"
        raise TapdraftError(what, hint, USAGE)


def number(arguments: Arguments, option: str, most: int) -> int:
    given = str(arguments[option])
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= most):
        what = f"{option}={given} is not a number from 1 to {most}"
        raise TapdraftError(what, f"write for example {option}={min(60, most)}", USAGE)
    return int(given)


def word(arguments: Arguments, option: str, words: tuple[str, ...]) -> str:
    word = str(arguments[option])
    if word not in words:
        what = f"{option} cannot be '{word}'"
        raise TapdraftError(what, f"use {option}={f' or {option}='.join(words)}", USAGE)
    return word
