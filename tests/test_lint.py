"""Types and style hold in all of the source, as pyproject.toml asks for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("helper", "generator", "templates")
SCRIPTS = ("tools/compile_ruleset.py", "packaging/completion/generate.py")


def assert_silent(argv: list[str], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr)


def test_ruff_finds_nothing(requires: Callable[..., None]) -> None:
    requires("ruff")
    assert_silent(["ruff", "check", "--no-cache", "--quiet", "."], ROOT)


def test_ruff_has_nothing_to_lay_out(requires: Callable[..., None]) -> None:
    requires("ruff")
    assert_silent(["ruff", "format", "--no-cache", "--check", "--quiet", "--diff", "."], ROOT)


def test_every_type_is_right(requires: Callable[..., None], tmp_path: Path) -> None:
    """Strictly, and under the names by which the packages are imported."""
    requires("mypy")
    (tmp_path / "tapdraft").mkdir()
    for package in PACKAGES:
        (tmp_path / "tapdraft" / package).symlink_to(ROOT / package)
    settings = [
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--python-executable",
        sys.executable,
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    packages = [word for package in PACKAGES for word in ("-p", f"tapdraft.{package}")]
    assert_silent(["mypy", *settings, *packages], tmp_path)
    for script in SCRIPTS:
        assert_silent(["mypy", *settings, str(ROOT / script)], tmp_path)
