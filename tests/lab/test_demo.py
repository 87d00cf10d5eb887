"""tools/demo keeps what it promises, and says so when it cannot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from labsite import ROOT

LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", "build", "out")


def demo(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(tree / "tools/demo"), *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.fixture
def tree(tmp_path: Path, requires: Callable[..., None]) -> Path:
    """A copy of the sources, in a folder of the kind that the demo's own /tmp would hide."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    requires("qemu-system-x86_64", "gcc", "make")
    shutil.copytree(ROOT, tmp_path / "a tree", ignore=LEFT_OUT)
    return tmp_path / "a tree"


def change(tree: Path, old: str, new: str) -> None:
    script = tree / "tools/demo"
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new))


def test_the_demo_keeps_its_promises_and_leaves_the_scripts(tree: Path, tmp_path: Path) -> None:
    listing = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    shown = demo(tree, f"--keep={tmp_path}/kept")
    assert shown.returncode == 0, shown.stdout
    for line in (
        "    | guest: ping 198.51.100.1 ok",
        "ok: nothing is left",
        "    | http://192.168.7.2/: hello from the guest web",
        "    | http://203.0.113.2:8080/: hello from the guest web",
    ):
        assert line in shown.stdout
    assert re.search(r"^\[ *\d+ s\] done$", shown.stdout, re.MULTILINE)
    assert "\x1b" not in shown.stdout
    kept = sorted(
        str(path.relative_to(tmp_path / "kept"))
        for path in (tmp_path / "kept").rglob("*")
        if path.is_file()
    )
    assert kept == ["SHA256SUMS", "web/ifdown", "web/ifup", "web/qemu", "web/run"]
    assert sorted(path.relative_to(tree) for path in tree.rglob("*")) == listing


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('mode = "nat"', 'mode = "isolated"', "the guest did not show: ping 198.51.100.1 ok"),
        (
            "    state > /tmp/after",
            "    nft add table ip left\n    state > /tmp/after",
            "something is left",
        ),
    ],
)
def test_a_broken_promise_is_an_error(tree: Path, old: str, new: str, error: str) -> None:
    change(tree, old, new)
    change(tree, "modes    = nat", "modes    = nat, isolated")
    shown = demo(tree)
    assert shown.returncode == 1
    assert shown.stdout.endswith(f"error: {error}\n")
