#!/usr/bin/python3
"""The table of attacks in SECURITY.md, made from the tests' own names and docstrings.

    tests/attack/table.py            write it between the two marker comments
    tests/attack/table.py --check    exit status 1 if it is not current

A test's name is a promise, and reads as one: test_a_newline_in_a_name_is_refused.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECURITY = ROOT / "SECURITY.md"
BEGIN, END = "<!-- attacks:begin -->", "<!-- attacks:end -->"
# In the order in which the helper meets them.
FILES = [
    *(
        f"attack/test_{name}.py"
        for name in (
            "arguments",
            "process",
            "traced",
            "confined",
            "others",
            "policy",
            "guest",
            "ports",
            "afterwards",
        )
    ),
    "fault/test_killed.py",
    "fault/test_errors.py",
    "fuzz/test_fuzz.py",
    "lab/test_concurrency.py",
]


def table() -> str:
    """The whole of it, as Markdown."""
    return "\n".join(line for file in FILES for line in _section(ROOT / "tests" / file))


def _section(file: Path) -> Iterator[str]:
    module = ast.parse(file.read_text())
    heading = (ast.get_docstring(module) or file.stem).split("\n")[0].rstrip(".")
    yield from (
        f"\n### {heading}\n",
        f"`{file.relative_to(ROOT)}`\n",
        "| what is promised | how, or why |",
        "|---|---|",
    )
    for test in module.body:
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            promise = test.name.removeprefix("test_").replace("_", " ")
            why = " ".join((ast.get_docstring(test) or "").split()).replace("|", "\\|")
            yield f"| {promise} | {why} |"


def updated(text: str) -> str:
    """The text of SECURITY.md with the table as it should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"error: {SECURITY.name} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n\n{END}{after}"


def main() -> int:
    text = SECURITY.read_text()
    if sys.argv[1:] == ["--check"]:
        return int(updated(text) != text)
    SECURITY.write_text(updated(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
