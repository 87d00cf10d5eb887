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
    "pyroute2": "generator/commands/interface.py",
    "prctl": "helper/caps.py",
    "jinja2": "generator/scripts/render.py",
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


def test_what_is_only_told_is_imported_after_every_capability_is_given_up() -> None:
    """helper/explain/ never runs while a capability is held."""
    found = []
    for name, path in HELPER.items():
        for node in ast.walk(ast.parse(path.read_text())):
            body = getattr(node, "body", None)
            for before, line in itertools.pairwise([None, *body]) if isinstance(body, list) else ():
                if isinstance(line, ast.ImportFrom) and line.level:
                    told = (line.module or "").partition(".")[0] == "explain"
                    found += [alias.name for alias in line.names] if told else []
                    assert not told or ast.unparse(before or line) == "caps.drop()", name
    assert sorted(found) == ["first_error", "preview"]


# Each package of the generator, above those that it may import. What is not in a package, but
# cli.py and what starts it, is the ground: it imports nothing of a package. CONTRIBUTING.md has
# the same order, with what each is for.
ORDER = (
    "dhcp",
    "addressing",
    "qemu",
    "description",
    "scripts",
    "commands",
    "checks",
    "yocto",
    "cli",
)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("tapdraft", *(parts[:-1] if parts[-1] == "__init__" else parts)))


NAMES = {_module(path) for path in MODULES}


def imported_modules(path: Path) -> set[str]:
    """Our own modules that a module imports: of `from . import x` x, where that is a module."""
    found = set(imports(path)) & NAMES
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


GRAPH = {_module(path): imported_modules(path) for path in MODULES}


def test_no_module_imports_itself_by_way_of_others() -> None:
    finished: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in finished:
            for other in sorted(GRAPH[module] - {module}):
                walk(other, (*way, module))
            finished.add(module)

    for module in GRAPH:
        walk(module, ())


def test_a_package_imports_only_those_below_it() -> None:
    def rank(module: str) -> int:
        room = module.split(".")[2] if module.count(".") > 1 else ""
        room = "cli" if room == "__main__" else room
        return ORDER.index(room) + 1 if room in ORDER else 0

    above = [
        f"{module} -> {other}"
        for module, others in GRAPH.items()
        for other in others
        if module.startswith("tapdraft.generator.")
        and other.startswith("tapdraft.generator.")
        and rank(other) > rank(module)
    ]
    assert above == []


def test_no_import_is_hidden_from_the_program() -> None:
    for path in MODULES:
        assert "TYPE_CHECKING" not in path.read_text(), path


def test_contributing_tells_the_same_order() -> None:
    said = (ROOT / "CONTRIBUTING.md").read_text()
    places = [said.index(f"`generator/{room}") for room in ORDER]
    assert places == sorted(places)


# What every package may have one of.
OFTEN = {"__init__", "__main__", "errors"}


def test_no_two_modules_have_one_name() -> None:
    seen: dict[str, Path] = {}
    for path in MODULES:
        if path.stem not in OFTEN:
            assert path.stem not in seen, (path, seen.get(path.stem))
            seen[path.stem] = path


def test_no_two_public_classes_have_one_name() -> None:
    seen: dict[str, Path] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert node.name not in seen, (node.name, path, seen.get(node.name))
                seen[node.name] = path
