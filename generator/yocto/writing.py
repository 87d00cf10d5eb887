"""A description as TOML text: what was read, with the reason beside what is not obvious."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Value = str | int | bool | Sequence[Any] | Mapping[str, Any]


class Key(NamedTuple):
    name: str
    value: Value
    why: str = ""  # a comment above it
    off: bool = False  # written as a comment: what one of runqemu's words would add


def toml(value: Value) -> str:
    """One value. JSON's strings are TOML's basic strings as long as all of it is printable."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value)


def document(head: Sequence[str], tables: Mapping[str, Sequence[Key]]) -> str:
    """The whole file: comment lines, then each table that has keys."""
    lines = [f"# {line}" if line else "#" for line in head]
    for name, keys in tables.items():
        if keys:
            lines += ["", f"[{name}]", *(line for key in keys for line in _lines(key))]
    return "\n".join(lines) + "\n"


def _lines(key: Key) -> list[str]:
    why = [f"# {key.why}"] if key.why else []
    return [*why, f"{'# ' if key.off else ''}{key.name} = {toml(key.value)}"]
