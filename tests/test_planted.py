"""Folders that somebody else has prepared, by the command line: see also test_folders.py."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STRANGER = 61001
LIMIT = 60  # seconds
COMMAND = """
import sys
sys.path.insert(0, sys.argv[1])
from tapdraft.generator.cli import main
sys.exit(main(sys.argv[2:]))
"""
NETWORK = '[guest.web]\nkernel = "vmlinuz"\n'
CONF = (
    "[config_bsp]\nmachine = qemux86-64\nkernel_imagetype = bzImage\n"
    "qb_system_name = qemu-system-x86_64\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a description, from which tapdraft is started."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/tapdraft").symlink_to(ROOT)
    (tmp_path / "net.toml").write_text(NETWORK)
    return tmp_path


def tapdraft(
    place: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", COMMAND, str(place / "lib"), *words], cwd=place, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT, check=False,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_a_render_removes_and_writes_nothing_where_a_planted_link_leads(place: Path) -> None:
    private = place / "private"
    private.mkdir(mode=0o700)
    (private / "hooks").write_bytes(b"precious")
    (place / "out").mkdir()
    (place / "out/web").symlink_to(private)
    digest = hashlib.sha256(b"precious").hexdigest()
    (place / "out/SHA256SUMS").write_text(f"{digest}  web/hooks\n")
    done = tapdraft(place, "render", "net.toml")
    assert {path.name: path.read_bytes() for path in private.iterdir()} == {"hooks": b"precious"}
    assert done.returncode != 0
    assert "out/web is a symbolic link" in done.stderr


@pytest.mark.parametrize("name", ["SHA256SUMS", "web/qemu"])
def test_a_render_does_not_wait_for_a_planted_fifo(name: str, place: Path) -> None:
    (place / "out/web").mkdir(parents=True)
    os.mkfifo(place / "out" / name)
    done = tapdraft(place, "render", "net.toml")
    assert done.returncode != 0
    assert f"{name} is a FIFO" in done.stderr
    assert stat.S_ISFIFO((place / "out" / name).stat().st_mode)


def test_an_import_makes_no_file_where_a_planted_link_leads(place: Path) -> None:
    (place / "image.qemuboot.conf").write_text(CONF)
    (place / "vm.toml").symlink_to("victim")
    done = tapdraft(place, "import", "--output=vm.toml", "image.qemuboot.conf")
    assert not (place / "victim").exists()
    assert done.returncode != 0
    assert "vm.toml is a symbolic link" in done.stderr


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_a_run_with_a_users_environment_puts_no_script_into_that_users_folder(
    variable: str, place: Path, requires: Callable[..., None]
) -> None:
    """Or the user exchanges it before it is started."""
    requires("qemu-system-x86_64")
    text = 'accel = "tcg"\nnetwork = "none"\nqemu = ["-version"]\n'
    (place / "net.toml").write_text(NETWORK + text)
    (place / "vmlinuz").touch()
    given = place / "given"
    given.mkdir()
    if os.geteuid() == 0:
        os.chown(given, STRANGER, STRANGER)
    given.chmod(0o777)
    os.utime(given, (1, 1))
    own = {"XDG_RUNTIME_DIR": "", "TMPDIR": "", variable: str(given)}
    done = tapdraft(place, "run", "net.toml", env=own)
    assert given.stat().st_mtime == 1, "something was made in it"
    assert done.returncode == 0
    assert "QEMU emulator version" in done.stdout
