"""How each command is used, taken from the text of `tapdraft --help`, and what is wrong with a use.

A usage error shows the whole usage of the command that was meant; `tapdraft CMD --help` shows that
and what the command's own options do.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from .errors import USAGE, TapdraftError, plain

_FORM = re.compile(r"^  (tapdraft ([a-z]+)\b.*(?:\n {4,}\S.*)*)", re.M)
_SUMMARY = re.compile(r"^  ([a-z]+) {2,}(\S.*(?:\n {4,}\S.*)*)", re.M)
_OPTION = re.compile(r"^  (--[a-z-]+)(?:=\S+)? +(.*(?:\n {4,}\S.*)*)", re.M)
_WIDTH = 80


class WrongUse(TapdraftError):
    """An error, and below it the usage of what was meant."""

    def __init__(self, what: str, usage: str) -> None:
        super().__init__(what, status=USAGE)
        self.usage = usage

    def __str__(self) -> str:
        what = f"error: {plain(self.args[0])}\n" if self.args[0] else ""
        return what + self.usage


class Usage:
    """The commands, forms and options of a help text that is laid out as docopt reads it."""

    def __init__(self, text: str) -> None:
        usage, _, rest = text.partition("\nCommands:\n")
        summaries, _, options = rest.partition("\nOptions:\n")
        self.forms: dict[str, list[str]] = {}
        for form, command in _FORM.findall(usage):
            self.forms.setdefault(command, []).append(" ".join(form.split()))
        self.summaries = {c: " ".join(what.split()) for c, what in _SUMMARY.findall(summaries)}
        self.options = {name: " ".join(what.split()) for name, what in _OPTION.findall(options)}

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(self.forms)

    def command(self, words: Sequence[str]) -> str:
        """The command that these words mean, or ''."""
        first = next((word for word in words if not word.startswith("-")), "")
        return first if first in self.forms else ""

    def asks_for_help(self, words: Sequence[str]) -> bool:
        """Is it `CMD --help`, and not the --help of a program that ssh starts in the guest?"""
        own = words[:3] if words[:1] == ["ssh"] else words
        return bool(self.command(words)) and not {"--help", "-h"}.isdisjoint(own)

    def short(self) -> str:
        """What `tapdraft` alone prints: the commands, one a line."""
        width = max(map(len, self.summaries))
        lines: list[str] = []
        for name, what in self.summaries.items():
            lines += _filled(f"  {name:{width}} ", what.split(), width + 4)
        head = "usage: tapdraft COMMAND ...\n\n"
        return head + "\n".join(lines) + "\n\ntapdraft COMMAND --help says how a command is used."

    def of(self, command: str) -> str:
        """The usage of one command, all its forms, in lines of at most 80 columns."""
        lines: list[str] = []
        for form in self.forms[command]:
            head = f"{'       ' if lines else 'usage: '}tapdraft {command}"
            lines += _filled(head, re.findall(r"\[[^]]*\]\S*|\S+", form)[2:])
        return "\n".join(lines)

    def help(self, command: str) -> str:
        """The usage of one command, what it does, and what its options do."""
        what = self.summaries[command]
        first, *words = f"{what}.".split()
        sentence = "\n".join(_filled(first.capitalize(), words, 0))
        text = f"{self.of(command)}\n\n{sentence}\n"
        own = self._options(command)
        width = max((len(name + self._value(command, name)) for name in own), default=0)
        lines: list[str] = []
        for name in own:
            value = self._value(command, name)
            words = self.options[name].removeprefix(f"{command}: ").split()
            lines += _filled(f"  {name + value:{width}} ", words, width + 4)
        return text + ("\nOptions:\n" + "\n".join(lines) + "\n" if lines else "")

    def wrong(self, words: Sequence[str], complaint: str) -> WrongUse:
        """What is wrong with these words. `complaint` is docopt's, if it has one."""
        command = self.command(words)
        if not words:
            return WrongUse("", self.short())
        if not command:
            return WrongUse(*self._unknown(words))
        return WrongUse(self._wrong(command, words, complaint), self.of(command))

    def _unknown(self, words: Sequence[str]) -> tuple[str, str]:
        first = next((word for word in words if not word.startswith("-")), "")
        names = ", ".join(self.commands)
        if not first:
            what = f"unknown option {words[0]}, or no command; commands: {names}"
            return what, "hint: tapdraft --help"
        close = get_close_matches(first, self.commands, 1)
        hint = f"did you mean tapdraft {close[0]}?" if close else "tapdraft --help"
        if first == "runqemu":
            hint = "tapdraft import --output=vm.toml IMAGE.qemuboot.conf"
        if first.endswith(".toml"):
            hint = f"name the command first: tapdraft run {plain(first)}"
        return f"unknown command '{first}'; commands: {names}", f"hint: {hint}"

    def _wrong(self, command: str, words: Sequence[str], complaint: str) -> str:
        own = self._options(command)
        found: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            name, equals, _ = word.partition("=")
            if word == "--":
                break
            if not word.startswith("-") or word == "-":
                found.append(word)
                continue
            meant = [one for one in own if one == name] or [o for o in own if o.startswith(name)]
            if len(meant) != 1:
                close = get_close_matches(name, own, 1)
                return f"{command} has no option {name}" + (
                    f"; did you mean {close[0]}?" if close else ""
                )
            value = self._value(command, meant[0])
            if value and not equals and not rest:
                return f"{meant[0]} needs a value: {meant[0]}{value}"
            if equals and not value:
                return f"{meant[0]} takes no value, but '{word}' gives it one"
            if value and not equals:
                rest.pop(0)
        return self._counted(command, found[1:]) or complaint or f"{command} is not used so"

    def _counted(self, command: str, found: Sequence[str]) -> str:
        """Are there too few words or too many? `found` are those behind the command."""
        plainest = re.sub(r"\[--[^]]*\]", "", self.forms[command][0]).split()[2:]
        needed = [word for word in plainest if word[0].isupper()]
        if len(found) < len(needed):
            return f"{command} needs {' and '.join(needed[len(found) :])}"
        most = len([word for word in plainest if word != "[--]"])
        if "..." not in self.forms[command][0] and len(found) > most:
            return f"'{found[most]}' is one argument too many for {command}"
        return ""

    def _value(self, command: str, option: str) -> str:
        """ "=WHAT" for an option that takes a value, as the command's own usage has it."""
        match = re.search(rf"{option}(=\w+)?(?![a-z-])", " ".join(self.forms[command]))
        return (match[1] or "") if match else ""

    def _options(self, command: str) -> list[str]:
        named = set(re.findall(r"--[a-z-]+", " ".join(self.forms[command])))
        return [name for name in self.options if name in named]


def _filled(head: str, words: Sequence[str], indent: int | None = None) -> list[str]:
    """`head` and the words behind it, in lines that are no wider than a terminal."""
    indent = len(head) + 1 if indent is None else indent
    lines = [head]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append(" " * indent + word)
        else:
            lines[-1] += f" {word}"
    return lines
