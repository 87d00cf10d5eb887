"""Words for a POSIX shell. Everything that comes from a description goes through here."""

import re
import shlex
import textwrap
from collections.abc import Iterable

# Where scripts look for programs: a caller's PATH has no say.
PATH = (
    "/usr/local/libexec/tapdraft:/usr/libexec/tapdraft:/usr/lib/tapdraft:"
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
HELPER = "tapdraft-helper"

_VARIABLE = re.compile(r"\$([a-z]+)")


class Marked(str):
    """Text of our own that holds shell variables; never anything from a description."""

    __slots__ = ()

    def filled(self, variables: dict[str, str]) -> str:
        return _VARIABLE.sub(lambda match: variables[match[1]], self)


def quote(text: str) -> str:
    """One word for a shell. A Marked one keeps its variables, any other is taken as it is."""
    if isinstance(text, Marked) and _VARIABLE.search(text):
        return '"' + re.sub(r'([\\"`])', r"\\\1", text) + '"'
    # In double quotes, each escaped, where single ones would break up the word or look like a
    # variable that was forgotten.
    if set(text) & set("'$`"):
        return '"' + re.sub(r'([\\"`$])', r"\\\1", text) + '"'
    return shlex.quote(text)


def join(argv: Iterable[str]) -> str:
    return " ".join(quote(word) for word in argv)


def marked(argv: Iterable[str]) -> tuple[str, ...]:
    """The words of a plan that was made for variables instead of values.

    A request's alphabet has no `$`, so one can only be ours.
    """
    return tuple(Marked(word) for word in argv)


def comment(text: str, indent: str = "") -> str:
    """Comment lines of at most 96 columns."""
    wrapped = textwrap.wrap(text, 94 - len(indent), break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"{indent}# {line}" for line in wrapped)
