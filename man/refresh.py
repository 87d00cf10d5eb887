#!/usr/bin/python3
"""Update what is made from something else: the manuals as text, and the scripts in documents.

usage: python3 man/refresh.py

man/text/*.txt are the manuals as mandoc prints them, for people without man. In README.md and
doc/scripts.md, a block below a line `<!-- web/ifup -->` is that script, rendered from the README's
block below `<!-- net.toml -->`. With `<!-- web/ifup from "TEXT" -->` the block begins at the first
line of the script that begins with TEXT. tests/test_documents.py fails if a file differs from what
this program would write.
"""

import re
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MANUALS = sorted(page for section in "1578" for page in (ROOT / "man").glob(f"*.{section}"))
DESCRIPTION = "net.toml"
WITH_SCRIPTS = ("README.md", "doc/scripts.md")
_BLOCK = re.compile(r'^<!-- (\S+)(?: from "(.*)")? -->\n```(\w*)\n(.*?)^```$', re.M | re.S)
_OVERSTRUCK = re.compile(r".\x08")


def as_text(page: Path) -> str:
    """A manual as plain text of 78 columns."""
    argv = ["mandoc", "-T", "utf8", "-O", "width=78", page]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    return _OVERSTRUCK.sub("", done.stdout)


def blocks(document: str) -> dict[str, str]:
    """The contents of a document's marked blocks, by name."""
    return {name: content for name, _, _, content in _BLOCK.findall(document)}


def with_scripts(document: str) -> str:
    """The document with its scripts as they are rendered now."""
    from tapdraft.generator.description import parser  # noqa: PLC0415  main() says where it is
    from tapdraft.generator.scripts import render  # noqa: PLC0415  main() says where it is

    source = blocks((ROOT / "README.md").read_text("utf-8"))[DESCRIPTION]
    described = parser.parse(source.encode(), DESCRIPTION)
    files = {name: data.decode() for name, data in render.render(described).items()}
    files[DESCRIPTION] = source

    def block(match: re.Match[str]) -> str:
        name, start, language, _ = match.groups()
        content = files[name]
        if start:
            content = content[content.index(f"\n{start}") + 1 :]
        mark = f'{name} from "{start}"' if start else name
        return f"<!-- {mark} -->\n```{language}\n{content}```"

    return _BLOCK.sub(block, document)


def main() -> None:
    package = types.ModuleType("tapdraft")  # importable without an installation
    package.__path__ = [str(ROOT)]
    sys.modules.setdefault("tapdraft", package)
    for page in MANUALS:
        target = ROOT / "man/text" / f"{page.name}.txt"
        target.parent.mkdir(exist_ok=True)
        target.write_text(as_text(page), encoding="utf-8")
    for name in WITH_SCRIPTS:
        document = ROOT / name
        document.write_text(with_scripts(document.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
