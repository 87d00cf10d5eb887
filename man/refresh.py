#!/usr/bin/python3
"""Write again what is made from something else: the manuals as text, and the README's scripts.

usage: python3 man/refresh.py

man/text/*.txt are the manuals as mandoc prints them, for who has no man. In the README, a block
below a line `<!-- web/ifup -->` is that file, rendered from the block below `<!-- net.toml -->`.
tests/test_documents.py fails where any of them is not as this would write it.
"""

import re
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MANUALS = sorted(page for section in "1578" for page in (ROOT / "man").glob(f"*.{section}"))
DESCRIPTION = "net.toml"
_BLOCK = re.compile(r"^<!-- (\S+) -->\n```(\w*)\n(.*?)^```$", re.M | re.S)
_OVERSTRUCK = re.compile(r".\x08")


def as_text(page: Path) -> str:
    """A manual as plain text of 78 columns."""
    argv = ["mandoc", "-T", "utf8", "-O", "width=78", page]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    return _OVERSTRUCK.sub("", done.stdout)


def blocks(readme: str) -> dict[str, str]:
    """The contents of the README's marked blocks, by name."""
    return {name: content for name, _, content in _BLOCK.findall(readme)}


def with_scripts(readme: str) -> str:
    """The README with the scripts in it as they are rendered now."""
    from tapdraft.generator.description import parser  # noqa: PLC0415  main() says where it is
    from tapdraft.generator.scripts import render  # noqa: PLC0415  main() says where it is

    described = parser.parse(blocks(readme)[DESCRIPTION].encode(), DESCRIPTION)
    files = {name: data.decode() for name, data in render.render(described).items()}

    def block(match: re.Match[str]) -> str:
        name, language, content = match.groups()
        content = files[name] if name != DESCRIPTION else content
        return f"<!-- {name} -->\n```{language}\n{content}```"

    return _BLOCK.sub(block, readme)


def main() -> None:
    package = types.ModuleType("tapdraft")  # importable without an installation
    package.__path__ = [str(ROOT)]
    sys.modules.setdefault("tapdraft", package)
    for page in MANUALS:
        target = ROOT / "man/text" / f"{page.name}.txt"
        target.parent.mkdir(exist_ok=True)
        target.write_text(as_text(page), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_scripts(readme.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
