#!/usr/bin/python3
"""Write the shell completion of `tapdraft`, made from the usage text that docopt reads.

    generate.py bash|zsh|fish        to standard output

The text is the docstring of generator/cli.py. It is read, not imported: a build needs neither
docopt nor jinja2. Nothing about commands, options or their values is written down here, so that
the completion cannot differ from what the command accepts.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CLI = Path(__file__).resolve().parents[2] / "generator/cli.py"
# "helper, or nft for root" has the values helper and nft.
_NONE = "''"
_ALTERNATIVES = re.compile(r",\s*(?:or\s+)?|\s+or\s+")


@dataclass(frozen=True)
class Option:
    """One line of the usage text's options. `values` are known where it has a default."""

    name: str
    argument: str  # "DIR", or "" where it takes none
    text: str
    values: tuple[str, ...]


@dataclass
class Command:
    """What may follow one word of the usage text; all its usage lines together."""

    name: str
    text: str
    options: list[Option] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)  # "FILE", "GUEST..."


def usage() -> str:
    docstring = ast.get_docstring(ast.parse(CLI.read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"error: {CLI} has no docstring")
    return docstring


def _section(text: str, title: str) -> list[str]:
    """The lines below `title:`, each with its continuation lines joined to it."""
    found = re.search(rf"^{title}:\n((?:[ ]+.*\n?)+)", text, re.MULTILINE | re.IGNORECASE)
    if not found:
        sys.exit(f"error: the usage text has no section {title}:")
    return [" ".join(line.split()) for line in re.split(r"\n  (?=\S)", "\n" + found[1])[1:]]


def options(text: str) -> dict[str, Option]:
    found = {}
    for line in _section(text, "Options"):
        form = re.fullmatch(r"(--[a-z-]+)(?:=(\S+))? (.*)", line)
        if form is None:
            sys.exit(f"error: not the form of an option: {line}")
        name, argument, rest = form.groups()
        described, _, default = rest.removesuffix("]").partition(" [default: ")
        after = described.rpartition(": ")[2]
        words = [part.split()[0] for part in _ALTERNATIVES.split(after)]
        words = words if default in words else []  # a number of seconds is no word of a list
        found[name] = Option(name, argument or "", described, tuple(words))
    return found


def commands(text: str) -> dict[str, Command]:
    """Every command by its name; the name "" has what goes without one (--help)."""
    known = options(text)
    told = dict(line.split(" ", 1) for line in _section(text, "Commands"))
    found: dict[str, Command] = {}
    for line in _section(text, "Usage"):
        words = re.findall(r"[^\s\[\]()|]+", line)[1:]
        name = words[0] if re.fullmatch(r"[a-z]+", words[0]) else ""
        command = found.setdefault(name, Command(name, told.get(name, "")))
        for word in words:
            option = known.get(word.partition("=")[0])
            if option and option not in command.options:
                command.options.append(option)
            elif re.fullmatch(r"[A-Z_]+(\.\.\.)?", word) and word not in command.arguments:
                command.arguments.append(word)
    return found


def _kind(argument: str) -> str:
    """What a word stands for: `files`, `folders`, `guests` of the file before, or `nothing`."""
    kinds = {"DIR": "folders", "GUEST": "guests", "FILE": "files"}
    name = argument.removesuffix("...")
    return kinds.get(name, "files" if name.endswith("CONF") else "nothing")


def _dots(argument: str) -> str:
    return "..." if argument.endswith("...") else ""


def _with_argument(all_of: dict[str, Command]) -> list[Option]:
    every = [option for command in all_of.values() for option in command.options]
    return [option for option in dict.fromkeys(every) if option.argument]


def bash(all_of: dict[str, Command]) -> dict[str, Iterable[str]]:
    def cases() -> Iterator[str]:
        for name, command in all_of.items():
            words = [option.name + ("=" if option.argument else "") for option in command.options]
            words += [other for other in all_of if other] if not name else []
            kinds = " ".join(_kind(word) + _dots(word) for word in command.arguments)
            yield f"        {name or _NONE}) words='{' '.join(words)}' kinds='{kinds}' ;;"

    def values() -> Iterator[str]:
        for option in _with_argument(all_of):
            wanted = " ".join(option.values) or f":{_kind(option.argument)}"
            yield f"        {option.name}) _tapdraft_offer '{wanted}' && return ;;"

    return {"COMMANDS": cases(), "OPTIONS": values()}


def zsh(all_of: dict[str, Command]) -> dict[str, Iterable[str]]:
    named = [command for command in all_of.values() if command.name]

    def cases() -> Iterator[str]:
        for name, command in all_of.items():
            yield f"    {name or _NONE})"
            yield "        _arguments \\"
            yield from (f"            {_quoted(_zsh_option(o))} \\" for o in command.options)
            for number, argument in enumerate(command.arguments, 2):
                place = "*:" if _dots(argument) else f"{number}::"
                action = ZSH_ACTIONS[_kind(argument)]
                label = argument.removesuffix("...")
                yield f"            {_quoted(f'{place}{label}:{action}')} \\"
            yield "            '1:command:_tapdraft_commands' ;;"

    told = (f"        {_quoted(f'{command.name}:{command.text}')}" for command in named)
    return {"COMMANDS": told, "ARGUMENTS": cases()}


def _zsh_option(option: Option) -> str:
    text = re.sub(r"([\[\]:])", r"\\\1", option.text)
    if not option.argument:
        return f"{option.name}[{text}]"
    words = f"({' '.join(option.values)})" if option.values else ZSH_ACTIONS[_kind(option.argument)]
    return f"{option.name}=[{text}]:{option.argument}:{words}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(all_of: dict[str, Command]) -> dict[str, Iterable[str]]:
    def lines() -> Iterator[str]:
        first = "complete -c tapdraft -n '__fish_use_subcommand'"
        for name, command in all_of.items():
            start = f"complete -c tapdraft -n '__fish_seen_subcommand_from {name}'"
            start = start if name else first
            if name:
                yield f"{first} -a {name} -d {_fish(command.text)}"
            yield from (f"{start} {_fish_option(option)}" for option in command.options)
            kinds = {_kind(argument) for argument in command.arguments}
            yield from [f"{start} -F"] if "files" in kinds else []
            yield from [f"{start} -a '(__tapdraft_guests)'"] if "guests" in kinds else []

    return {"COMMANDS": lines()}


def _fish_option(option: Option) -> str:
    wanted = " -x" if option.argument else ""
    if _kind(option.argument) == "folders":
        wanted += "a '(__fish_complete_directories)'"
    elif option.values:
        wanted += f"a {_fish(' '.join(option.values))}"
    return f"-l {option.name[2:]}{wanted} -d {_fish(option.text)}"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main(shell: str) -> None:
    text = Path(__file__).with_name(f"{shell}.in").read_text(encoding="utf-8")
    for mark, lines in SHELLS[shell](commands(usage())).items():
        text = text.replace(f"@{mark}@", "\n".join(lines))
    print(text, end="")


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
ZSH_ACTIONS = {
    "files": "_files",
    "folders": "_files -/",
    "guests": "_tapdraft_guests",
    "nothing": " ",
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SHELLS:
        sys.exit(f"usage: generate.py {'|'.join(SHELLS)}")
    main(sys.argv[1])
