"""Options of qemu as qemuboot.conf has them: text that is split as a shell would."""

import shlex
from collections.abc import Callable

# Options that take no value, of those that machine configurations have.
_ALONE = ("-snapshot", "-no-reboot", "-nographic", "-usb", "-show-cursor", "-enable-kvm")

Pairs = list[tuple[str, str]]


def pairs(text: str) -> Pairs:
    """Each option with its value, "" for one without. ValueError for quotes that do not close."""
    words = shlex.split(text)
    found: Pairs = []
    while words:
        name = words.pop(0)
        takes = name.startswith("-") and name not in _ALONE and words
        found.append((name, words.pop(0) if takes and not words[0].startswith("-") else ""))
    return found


def flat(options: Pairs) -> list[str]:
    return [word for option in options for word in option if word]


def first(options: Pairs, name: str) -> str:
    """The value of the last option of this name: qemu takes that."""
    return next((value for option, value in reversed(options) if option == name), "")


def properties(value: str) -> tuple[str, dict[str, str]]:
    """The first word of an option's value, and the NAME=VALUE that follow."""
    head, *rest = value.split(",")
    return head, dict(part.partition("=")[::2] for part in rest)


def replaced(text: str, **marks: str) -> str:
    """The text with runqemu's @MARKS@ replaced."""
    for name, value in marks.items():
        text = text.replace(f"@{name}@", value)
    return text


def split(options: Pairs, mine: Callable[[str, str], bool]) -> tuple[Pairs, Pairs]:
    """Those that `mine` is true of, and the others."""
    taken = [option for option in options if mine(*option)]
    return taken, [option for option in options if option not in taken]
