"""qemu's options, in groups that each say why they are there."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .shell import Word

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Option(NamedTuple):
    name: str
    value: str | Word = ""  # without one: an option that takes none

    def words(self) -> tuple[str | Word, ...]:
        return (self.name, self.value) if self.value else (self.name,)

    def argv(self, variables: Mapping[str, str] = NO_VARIABLES) -> tuple[str, ...]:
        """The words as qemu gets them, with the script's variables filled in."""
        words = self.words()
        return tuple(one.filled(variables) if isinstance(one, Word) else one for one in words)


class Group(NamedTuple):
    why: str
    options: tuple[Option, ...]
    plain: tuple[str, ...] = ()  # lines to show below the reason


def doubled(text: str) -> str:
    """A comma within a value of qemu's is written twice."""
    return text.replace(",", ",,")


def plain_file(name: str) -> str:
    """A file's name as a value of qemu's that may also be a protocol, as in nbd:..., or JSON."""
    named = name if ":" not in name or name.startswith("/") else f"./{name}"
    return doubled(named)


def pairs(words: Sequence[str]) -> Iterator[Option]:
    """The words with each option's value beside it, for the reader; none is lost or added."""
    rest = list(words)
    while rest:
        name = rest.pop(0)
        takes = name.startswith("-") and rest and rest[0] and not rest[0].startswith("-")
        yield Option(name, rest.pop(0) if takes else "")
