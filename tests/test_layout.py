"""Who may import what: read from the source, so that no import within a function escapes."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    path
    for folder in ("helper", "generator", "templates")
    for path in (ROOT / folder).rglob("*.py")
)
# Each of these is imported by one module, so that another could take its place.
ONLY = {
    "pyroute2": "generator/interface.py",
    "prctl": "helper/caps.py",
    "jinja2": "generator/render.py",
    "docopt": "generator/cli.py",
}


def imports(path: Path) -> Iterator[str]:
    """The full names of all that a module imports."""
    package = ["tapdraft", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("library", ONLY)
def test_one_module_imports_it(library: str) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert importers == {ONLY[library]}


def test_the_helper_imports_nothing_of_the_generator_or_the_templates() -> None:
    for path in (ROOT / "helper").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith(("tapdraft.generator", "tapdraft.templates")), path
            assert name.split(".")[0] not in ("generator", "templates"), path


def test_every_import_of_our_own_goes_through_the_package() -> None:
    """`import helper` works in a checkout and nowhere else."""
    for path in MODULES:
        for name in imports(path):
            assert name.split(".")[0] not in ("helper", "generator", "templates"), path


def test_all_packages_are_installed() -> None:
    """A folder that setup.cfg does not name is missing from every package that is built."""
    named = (ROOT / "setup.cfg").read_text()
    for folder in {path.parent.relative_to(ROOT) for path in MODULES}:
        package = ".".join(("tapdraft", *folder.parts))
        assert f"    {package}\n" in named
        assert f"    {package} = {folder}\n" in named


HELPER = {path.stem: path for path in (ROOT / "helper").glob("*.py")}
# What never runs with a capability.
UNPRIVILEGED = {"preview", "commands", "diagnosis"}


def test_what_is_only_told_is_imported_after_every_capability_is_given_up() -> None:
    found = []
    for name in set(HELPER) - UNPRIVILEGED:
        for node in ast.walk(ast.parse(HELPER[name].read_text())):
            body = getattr(node, "body", None)
            for before, line in itertools.pairwise([None, *body]) if isinstance(body, list) else ():
                if isinstance(line, ast.ImportFrom):
                    told = {line.module, *(alias.name for alias in line.names)} & UNPRIVILEGED
                    found += told
                    assert not told or ast.unparse(before or line) == "caps.drop()", name
    assert sorted(found) == ["diagnosis", "preview"]
