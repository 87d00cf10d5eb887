"""qemu's options, in groups that each say why they are there."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Option(NamedTuple):
    name: str
    value: str = ""  # without one: an option that takes none

    def words(self) -> tuple[str, ...]:
        return (self.name, self.value) if self.value else (self.name,)


class Group(NamedTuple):
    why: str
    options: tuple[Option, ...]
    plain: tuple[str, ...] = ()  # lines to show below the reason


def doubled(text: str) -> str:
    """A comma within a value of qemu's is written twice."""
    return text.replace(",", ",,")


def pairs(words: Sequence[str]) -> Iterator[Option]:
    """The words with each option's value beside it, for the reader; none is lost or added."""
    rest = list(words)
    while rest:
        name = rest.pop(0)
        takes = name.startswith("-") and rest and rest[0] and not rest[0].startswith("-")
        yield Option(name, rest.pop(0) if takes else "")
