"""Words for a POSIX shell.

Text from outside and the variables of a script never meet in one string. A `str` is text: it is
quoted, whatever it holds. A `Variable` is one of a closed set. A `Word` has both as separate parts,
each of which is written by itself. What comes out is `Code`, which nothing quotes again.
"""

import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

# Where scripts look for programs: a caller's PATH has no say.
PATH = (
    "/usr/local/libexec/tapdraft:/usr/libexec/tapdraft:/usr/lib/tapdraft:"
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
HELPER = "tapdraft-helper"


class Variable(Enum):
    """The shell variables that may stand in a word. Each is set by the script itself."""

    ACCEL = "accel"
    CPU = "cpu"
    FIRMWARE = "firmware"
    HERE = "here"
    UID = "uid"
    UPLINK = "uplink"
    VARS = "vars"
    WAS = "was"


class Word(NamedTuple):
    """One word of a script: text and variables, side by side."""

    parts: tuple[str | Variable, ...]

    @property
    def variables(self) -> frozenset[Variable]:
        return frozenset(part for part in self.parts if isinstance(part, Variable))

    def filled(self, values: Mapping[str, str]) -> str:
        """The word as a program gets it, with the variables' values by name."""
        return "".join(
            values[part.value] if isinstance(part, Variable) else part for part in self.parts
        )


class Code(str):
    """A piece of a shell script. The functions below make it, and the templates."""

    __slots__ = ()

    def __html__(self) -> "Code":
        """Tell jinja2 that this is written as it is."""
        return self


def word(*parts: str | Variable) -> Word:
    return Word(parts)


def quote(text: str | Word) -> Code:
    """One word of a script. No part of it is ever more than a part of this word."""
    if isinstance(text, Word):
        return Code(f'"{in_quotes(text)}"') if text.variables else quote("".join(text.filled({})))
    # In double quotes, each escaped, where single ones would break up the word or look like a
    # variable that was forgotten.
    if set(text) & set("'$`"):
        return Code(f'"{in_quotes(text)}"')
    return Code(shlex.quote(text))


def in_quotes(text: str | Word) -> Code:
    """The same for a place within double quotes."""
    parts = text.parts if isinstance(text, Word) else (text,)
    return Code(
        "".join(
            # In braces: what follows may be a letter.
            _variable(part, following) if isinstance(part, Variable) else _escaped(part)
            for part, following in zip(parts, (*parts[1:], ""), strict=True)
        )
    )


def join(words: Iterable[str | Word]) -> Code:
    return Code(" ".join(quote(word) for word in words))


def comment(text: str, indent: int = 0) -> Code:
    """Comment lines of at most 96 columns."""
    wrapped = textwrap.wrap(text, 94 - indent, break_long_words=False, break_on_hyphens=False)
    return Code("\n".join(f"{' ' * indent}# {line}" for line in wrapped))


def in_comment(text: str) -> Code:
    """The same for a place within a line that is a comment: it stays one line."""
    return Code(" ".join(text.splitlines()))


def _escaped(text: str) -> str:
    return re.sub(r'([\\"`$])', r"\\\1", text)


def _variable(variable: Variable, following: str | Variable) -> str:
    if isinstance(following, str) and re.match(r"[A-Za-z0-9_]", following):
        return f"${{{variable.value}}}"
    return f"${variable.value}"
