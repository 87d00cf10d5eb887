"""What can go wrong, as the user is told it: what is wrong, what to do, and the exit status."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

FAILED, USAGE, REFUSED, IN_THE_WAY = 1, 2, 3, 4
SHOWN = 200  # characters of a line of a file, and of a word from it


def plain(text: str) -> str:
    """`text` for a terminal: a file must not be able to move the cursor or turn text around."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


class TapdraftError(Exception):
    """An error for a person: what is wrong, `hint` what to do about it, and the exit status."""

    def __init__(self, what: str, hint: str = "", status: int = FAILED) -> None:
        super().__init__(what)
        self.hint = hint
        self.status = status

    def __str__(self) -> str:
        lines = [f"error: {plain(self.args[0])}"]
        lines += [f"hint: {plain(self.hint)}"] if self.hint else []
        return "\n".join(lines)


class Position(NamedTuple):
    """A part of a file: `line` and `column` count from 1, `width` is in characters."""

    line: int
    column: int
    width: int


KeyPath = tuple[str | int, ...]  # of a key or a value in a description, from the top


Where = TypeVar("Where", Position, KeyPath)


class Problem(NamedTuple, Generic[Where]):
    """One thing that is wrong, where, and what to do about it.

    `where` is a KeyPath until the text of the file is at hand, then a Position.
    """

    where: Where
    what: str
    hint: str = ""
    at_key: bool = False  # with a path: the key itself is wrong, not its value


class BadDescription(TapdraftError):
    """Everything that is wrong with a description, in the order of its lines."""

    def __init__(self, file: str, source: str, problems: Iterable[Problem[Position]]) -> None:
        super().__init__(f"{file} is not a good description", status=USAGE)
        self.file = file
        self.lines = source.split("\n")
        self.problems = sorted(problems, key=lambda problem: (problem.where, problem.what))

    def __str__(self) -> str:
        return "\n".join(self._one(problem) for problem in self.problems)

    def _one(self, problem: Problem[Position]) -> str:
        at = problem.where
        text = [f"error: {plain(self.file)}:{at.line}: {plain(_short(problem.what))}"]
        if at.line <= len(self.lines) and self.lines[at.line - 1].strip():
            text += _marked(self.lines[at.line - 1].rstrip("\r"), at)
        text += [f"hint: {plain(problem.hint)}"] if problem.hint else []
        return "\n".join(text)


def _short(text: str) -> str:
    return text if len(text) <= 2 * SHOWN else f"{text[:SHOWN]} ... {text[-SHOWN:]}"


def _marked(line: str, at: Position) -> list[str]:
    """The line, and a second one with carets under the offending text."""
    start = at.column - 1
    # A line may be as long as the file: what is around the mistake is shown.
    first = max(0, start - SHOWN // 2)
    line, start = line[first : first + SHOWN].replace("\t", " "), start - first
    end = max(start + 1, min(start + at.width, len(line)))
    before, offending = plain(line[:start]), plain(line[start:end])
    carets = "^" * max(1, len(offending))
    return [f"    {before}{offending}{plain(line[end:])}", f"    {' ' * len(before)}{carets}"]
