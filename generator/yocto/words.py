"""Options of qemu as qemuboot.conf has them: text that is split as a shell would."""

import re
import shlex

# Options that take no value, of those that machine configurations have.
_ALONE = ("-snapshot", "-no-reboot", "-nographic", "-usb", "-show-cursor", "-enable-kvm")
# No qemu has these any more; without a window they had no meaning before.
_GONE = ("-show-cursor",)

Pairs = list[tuple[str, str]]


def split(text: str) -> list[str]:
    """The words; ValueError for quotes that do not close."""
    return [word for word in shlex.split(text) if word not in _GONE]


def pairs(words: list[str]) -> Pairs:
    """Each option with its value, "" for one without."""
    rest = list(words)
    found: Pairs = []
    while rest:
        name = rest.pop(0)
        takes = name.startswith("-") and name not in _ALONE and rest
        found.append((name, rest.pop(0) if takes and not rest[0].startswith("-") else ""))
    return found


def flat(options: Pairs) -> list[str]:
    return [word for option in options for word in option if word]


def parts(value: str) -> list[str]:
    """What stands between the commas of an option's value; a comma written twice is none."""
    return re.split(r"(?<!,),(?!,)", value)


def properties(value: str) -> tuple[str, dict[str, str]]:
    """The first word of an option's value, and the NAME=VALUE that follow."""
    head, *rest = parts(value)
    return head, dict(part.partition("=")[::2] for part in rest)


def replaced(text: str, **marks: str) -> str:
    """The text with runqemu's @MARKS@ replaced."""
    for name, value in marks.items():
        text = text.replace(f"@{name}@", value)
    return text
