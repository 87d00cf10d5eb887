"""Every hint is a command that works when it is pasted, or a plain sentence.

The hints are found in the source: the second argument of an error, a `hint`, and a Problem's last.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tapdraft.generator import cli
from tapdraft.helper import __main__ as helper
from tapdraft.helper.request import parse

ROOT = Path(__file__).resolve().parents[1]
# Who raises with a hint, and its place among the arguments.
RAISED = {
    "TapdraftError": 1,
    "Wrong": 1,
    "BadRequest": 1,
    "Refused": 1,
    "InTheWay": 1,
    "HelperError": 1,
    "Problem": 4,
    "Obstacle": 1,
}
# What stands for a value in a hint's text, in place of the expression there.
VALUES = {"file": "net.toml", "name": "web", "line": "down web"}


def text(node: ast.AST) -> str:
    """A string as it may look when it is shown; "" if it is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text, node.values))
    if isinstance(node, ast.FormattedValue):
        last = ast.unparse(node.value).rpartition(".")[2]
        return VALUES.get(last, "web")
    return ""


def hints() -> Iterator[tuple[str, str]]:
    """Where each hint stands, and what it says."""
    for folder in ("generator", "helper"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                found: list[ast.AST] = []
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func).rpartition(".")[2]
                    found += node.args[RAISED[name] :][:1] if name in RAISED else []
                if isinstance(node, ast.Assign):
                    named = ast.unparse(node.targets[0]) in ("hint", "start")
                    found += [node.value] if named else []
                for one in found:
                    said = text(one)
                    if said:
                        yield f"{path.relative_to(ROOT)}:{one.lineno}", said  # type: ignore[attr-defined]


HINTS = sorted(set(hints()))


def commands(hint: str, program: str) -> list[list[str]]:
    """The words of the program's commands in a hint: at its begin, or behind a colon."""
    found = re.findall(rf"(?:^|: |; ){program} ([^;:?,]*)", hint)
    return [words.split() for words in found]


def test_the_hints_are_found() -> None:
    assert len(HINTS) > 80


@pytest.mark.parametrize(("where", "hint"), HINTS, ids=[where for where, _ in HINTS])
def test_a_command_in_a_hint_is_accepted_as_it_stands(where: str, hint: str) -> None:
    for words in commands(hint, "tapdraft"):
        if words != ["--help"]:
            cli._arguments(words)
    for words in commands(hint, "tapdraft-helper"):
        action, rest, _, _ = helper._options(words)
        rest = [word for word in rest if not word.startswith("--user=")]
        if action != "--help" and (rest or action != "--check-policy"):
            parse(" ".join(rest))


def test_no_check_names_the_helper_as_if_it_were_on_the_path() -> None:
    for file in (ROOT / "generator").glob("check*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                assert "tapdraft-helper -" not in text(node), file


def test_each_hint_of_a_script_is_a_command() -> None:
    common = (ROOT / "templates/common.sh.j2").read_text("utf-8")
    assert "is not installed, or you are not in the group tapdraft" in common
    hint = re.search(r'group tapdraft" \\\n +"([^"]*)"', common)
    assert hint
    cli._arguments(hint[1].split()[1:])


@pytest.mark.parametrize(("where", "hint"), HINTS, ids=[where for where, _ in HINTS])
def test_a_hint_says_what_to_do_and_not_what_a_manual_tells(where: str, hint: str) -> None:
    assert not hint.endswith("."), where
    assert "tells what" not in hint, where
    assert not re.match(r"(it|this|that) ", hint, re.IGNORECASE), where
