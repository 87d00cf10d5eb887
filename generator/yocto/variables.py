"""qemuboot.conf: the variables of its section [config_bsp], each with the line it stands on.

The format is that of Python's configparser, which wrote it; read here because configparser does
not tell the lines.
"""

import re
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..errors import BadDescription, Position, Problem, TapdraftError

SECTION = "config_bsp"
LARGEST = 1 << 20  # bytes
_HEADER = re.compile(r"\[(.*)\]\s*")
_PAIR = re.compile(r"([^=:]+?)\s*[=:]\s*(.*)")


class Assignment(NamedTuple):
    value: str
    line: int  # 1 is the first


Variables = dict[str, Assignment]


def read(file: str) -> Variables:
    """The variables by their names in capitals; raises TapdraftError, and BadDescription with
    the line for what is wrong in the file."""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "name IMAGE.qemuboot.conf in tmp/deploy/images/MACHINE"
        raise TapdraftError(f"{file} cannot be read: {reason}", hint, 2) from None
    if len(content) > LARGEST:
        raise TapdraftError(f"{file} is larger than {LARGEST >> 20} MiB", "", 2)
    return parse(content, file)


def parse(content: bytes, file: str = "qemuboot.conf") -> Variables:
    """The same for these bytes; `file` is their name in error messages."""
    try:
        source = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(
            Position(line, 1, 1), "this is not UTF-8", "is it a qemuboot.conf at all?"
        )
        raise BadDescription(file, "", [problem]) from None
    return _Reader(file, source).variables()


class _Reader:
    def __init__(self, file: str, source: str) -> None:
        self.file = file
        self.source = source.replace("\r\n", "\n")
        self.found: Variables = {}
        self.section = ""
        self.last = ""  # the variable that an indented line goes on with

    def variables(self) -> Variables:
        for number, line in enumerate(self.source.split("\n"), 1):
            self._line(number, line)
        if not self.found:
            self._wrong(1, f"there is no variable in a section [{SECTION}]", "is this the file?")
        for name, variable in self.found.items():
            # configparser writes a percent sign twice.
            value = variable.value.replace("%%", "%").replace("\t", " ")
            self.found[name] = variable._replace(value=value)
            self._visible(name, value, variable.line)
        return self.found

    def _line(self, number: int, line: str) -> None:
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            return
        if line[0] in " \t" and self.last:
            before = self.found[self.last]
            self.found[self.last] = before._replace(value=f"{before.value} {line.strip()}")
            return
        self.last = ""
        header = _HEADER.fullmatch(line)
        if header:
            self.section = header[1]
            return
        if not self.section:
            self._wrong(number, "this stands before any section", f"begin with [{SECTION}]")
        pair = _PAIR.fullmatch(line.rstrip())
        if pair is None:
            self._wrong(number, "this is no variable", "write NAME = VALUE")
        if self.section == SECTION:
            self._add(number, pair[1].strip().upper(), pair[2])

    def _add(self, number: int, name: str, value: str) -> None:
        if name in self.found:
            line = self.found[name].line
            self._wrong(number, f"{name} is there already, in line {line}", "leave one of them out")
        self.found[name] = Assignment(value, number)
        self.last = name

    def _visible(self, name: str, value: str, line: int) -> None:
        for letter in name + value:
            if not letter.isprintable():
                what = f"the character U+{ord(letter):04X} could not be seen in a script"
                self._wrong(line, what, "take it out")

    def _wrong(self, line: int, what: str, hint: str) -> NoReturn:
        text = self.source.split("\n")[line - 1]
        problem = Problem(Position(line, 1, max(len(text), 1)), what, hint)
        raise BadDescription(self.file, self.source, [problem])
