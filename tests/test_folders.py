"""Folders and files that others may have prepared: nothing is written, read or removed there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tapdraft.generator import cli, folders
from tapdraft.generator.commands import run, ssh
from tapdraft.generator.description.parser import parse
from tapdraft.generator.errors import TapdraftError
from tapdraft.generator.scripts import output
from tapdraft.generator.scripts.render import render
from tapdraft.generator.yocto import convert

ROOT = Path(__file__).resolve().parents[1]
STRANGER = 61001
TWO = '[guest.web]\nkernel = "vmlinuz"\n[guest.db]\nkernel = "vmlinuz"\n'
GUEST = parse(b'[guest.web]\nkernel = "k"\n').guests[0]


def rendered(text: str = '[guest.web]\nkernel = "vmlinuz"\n') -> dict[str, bytes]:
    return render(parse(text.encode()))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forged(folder: Path, names: dict[str, bytes]) -> None:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in names.items()]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_planted_link_to_a_private_folder_is_not_followed(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "hooks").write_bytes(b"precious")
    before = everything(private)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/web").symlink_to(private)
    forged(tmp_path / "out", {"web/hooks": b"precious"})
    with pytest.raises(TapdraftError, match="out/web is a symbolic link, not a folder"):
        output.write(rendered(), tmp_path / "out")
    assert everything(private) == before
    assert os.listdir(private) == ["hooks"]


def test_a_link_below_a_guests_folder_is_not_followed_either(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private/notes").write_bytes(b"precious")
    (tmp_path / "out/web").mkdir(parents=True)
    (tmp_path / "out/web/seed").symlink_to(tmp_path / "private")
    forged(tmp_path / "out", {"web/seed/notes": b"precious"})
    output.write(rendered(), tmp_path / "out")
    assert (tmp_path / "private/notes").exists()
    text = '[guest.web]\nkernel = "k"\naddressing = "cloud-init"\n'
    with pytest.raises(TapdraftError, match="seed is a symbolic link"):
        output.write(rendered(text), tmp_path / "out")
    assert os.listdir(tmp_path / "private") == ["notes"]


@pytest.mark.parametrize("name", ["SHA256SUMS", "web/qemu"])
@pytest.mark.parametrize("what", ["a FIFO", "a symbolic link", "a folder", "a socket"])
def test_what_is_no_file_is_neither_opened_nor_replaced(
    what: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "out/web").mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    place = tmp_path / "out" / name
    if what == "a FIFO":
        os.mkfifo(place)
    elif what == "a symbolic link":
        place.symlink_to(tmp_path / "victim")
    elif what == "a folder":
        place.mkdir()
    else:
        os.mknod(place, stat.S_IFSOCK | 0o600)
    with pytest.raises(TapdraftError, match=f"{name} is {what}, not a regular file"):
        output.write(rendered(), tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


def test_a_former_list_is_read_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/hooks").write_bytes(b"old")
    forged(tmp_path, {"web/hooks": b"old"})
    with (tmp_path / "SHA256SUMS").open("ab") as stream:
        stream.truncate(output.LARGEST + 1)
    output.write(rendered(), tmp_path)
    assert (tmp_path / "web/hooks").exists()
    assert (tmp_path / "SHA256SUMS").stat().st_size < 4096


def test_the_list_of_sums_keeps_the_guests_that_are_not_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.toml").write_text(TWO)
    assert cli.main(["render", "net.toml"]) == 0
    whole = (tmp_path / "out/SHA256SUMS").read_text()
    assert cli.main(["render", "net.toml", "web"]) == 0
    assert (tmp_path / "out/SHA256SUMS").read_text() == whole
    (tmp_path / "out/db/run").unlink()
    assert cli.main(["render", "net.toml", "web"]) == 0
    assert "db/ifup" in (tmp_path / "out/SHA256SUMS").read_text()
    subprocess.run(
        ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "out", check=True
    )


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_what_is_written_is_closed_to_others_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    text = '[guest.web]\nkernel = "k"\naddressing = "cloud-init"\n'
    before = os.umask(umask)
    try:
        output.write(rendered(text), tmp_path / "new/out")
    finally:
        os.umask(before)
    for path in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & ~0o755 == 0, path


def strange(folder: Path, how: str) -> None:
    folder.mkdir(parents=True)
    if how == "belongs to":
        os.chown(folder, STRANGER, STRANGER)
    elif how == "group":
        os.chown(folder, -1, STRANGER)
        folder.chmod(0o775)
    else:
        folder.chmod(0o777)


@pytest.mark.parametrize("how", ["belongs to", "others can write", "group"])
@pytest.mark.parametrize("where", ["there", "there/out", "there/out/web"])
def test_a_folder_that_somebody_else_can_change_is_refused_and_named(
    where: str, how: str, tmp_path: Path
) -> None:
    strange(tmp_path / where, how)
    told = "others can write to" if how == "group" else how
    with pytest.raises(TapdraftError, match=told) as error:
        output.write(rendered(), tmp_path / "there/out")
    assert str(tmp_path / where) in str(error.value)
    assert not [path for path in (tmp_path / where).rglob("*") if path.is_file()]


def test_a_folder_of_ones_own_in_a_sticky_one_is_used(tmp_path: Path) -> None:
    strange(tmp_path / "tmp", "others can write")
    (tmp_path / "tmp").chmod(0o1777)
    output.write(rendered(), tmp_path / "tmp/out")
    assert (tmp_path / "tmp/out/web/qemu").exists()
    with pytest.raises(TapdraftError, match="others can write"):
        output.write(rendered(), tmp_path / "tmp")


def test_a_strangers_link_on_the_way_is_refused_and_ones_own_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    output.write(rendered(), tmp_path / "link/out")
    assert (tmp_path / "real/out/web/qemu").exists()
    with pytest.raises(TapdraftError, match="link is a symbolic link") as error:
        output.write(rendered(), tmp_path / "link")
    assert str(tmp_path / "real") in error.value.hint
    os.chown(tmp_path / "link", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(TapdraftError, match=r"link .*belongs to"):
        output.write(rendered(), tmp_path / "link/out")


CONF = (
    "[config_bsp]\nmachine = qemux86-64\nkernel_imagetype = bzImage\n"
    "qb_system_name = qemu-system-x86_64\n"
)


def test_an_import_does_not_write_through_a_link(tmp_path: Path) -> None:
    conf = tmp_path / "image.qemuboot.conf"
    conf.write_text(CONF)
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "vm.toml").symlink_to("victim")
    with pytest.raises(TapdraftError, match=r"vm\.toml is a symbolic link"):
        convert.importing(str(conf), str(tmp_path / "vm.toml"), None)
    assert (tmp_path / "victim").read_text() == "precious"
    os.link(tmp_path / "victim", tmp_path / "hard.toml")
    with pytest.raises(TapdraftError, match=r"hard\.toml exists and differs"):
        convert.importing(str(conf), str(tmp_path / "hard.toml"), None)
    assert (tmp_path / "victim").read_text() == "precious"
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    convert.importing(str(conf), str(first), None)
    os.link(first, second)
    convert.importing(str(conf), str(second), None)
    assert not second.samefile(first)  # a file of its own, not written through the link


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
@pytest.mark.parametrize("how", ["belongs to", "others can write", "group"])
def test_the_scripts_of_a_run_are_never_where_somebody_else_can_change_them(
    how: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    strange(tmp_path / "given", how)
    monkeypatch.setenv(variable, str(tmp_path / "given"))
    with run.folder(None) as folder:
        assert tmp_path / "given" not in folder.parents
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_root_with_a_users_environment_uses_its_own_home_for_known_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(folders, "_password_home", lambda: str(tmp_path / "own"))
    strange(tmp_path / "alice", "belongs to")
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "alice/.local/state"))
    hosts = ssh.known_hosts("vm.toml", "web")
    assert hosts.parent == tmp_path / "own/.local/state/tapdraft/known_hosts"
    assert stat.S_IMODE(hosts.parent.stat().st_mode) == 0o700
    os.chown(tmp_path / "own", STRANGER, STRANGER)
    with pytest.raises(TapdraftError, match="belongs to"):
        ssh.known_hosts("vm.toml", "web")


KILLED = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tapdraft.generator.commands import run
with run.folder(None) as folder:
    script = folder / "run"
    script.write_text("#!/bin/sh\\necho $$ $PPID; echo; exec cat\\n")
    script.chmod(0o755)
    run.run(script, Path("/"), lambda _: None)
"""


def test_what_a_killed_run_left_is_swept_once_nothing_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (runtime / "tapdraft-notes").mkdir(mode=0o700)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/tapdraft").symlink_to(ROOT)
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", KILLED, str(tmp_path / "lib")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    script, parent = map(int, process.stdout.readline().split())
    assert parent == process.pid
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = runtime.glob("tapdraft-run-*")
    with run.folder(None):
        assert left.exists(), f"{script} still needs its scripts"
    process.stdin.close()
    assert process.stdout.read() == b""
    # The lock goes with the script's last descriptor, a moment after its output's end.
    descriptor = os.open(left, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.close(descriptor)
    with run.folder(None):
        assert not left.exists()
    assert os.listdir(runtime) == ["tapdraft-notes"]


def cache(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = ["sh", "-euc", ". tools/cache; own_cache"]
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", ["belongs to", "others can write", "group"])
@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_what_is_kept_between_runs_is_never_where_somebody_else_can_change_it(
    variable: str, how: str, tmp_path: Path
) -> None:
    """Programs are run from there, as root."""
    assert cache({"XDG_CACHE_HOME": str(tmp_path)}).stdout == f"{tmp_path}/tapdraft\n"
    strange(tmp_path / "strange", how)
    found = cache({variable: str(tmp_path / "strange")})
    assert str(tmp_path) not in found.stdout
    assert not (tmp_path / "strange/tapdraft").exists()
    assert not (tmp_path / "strange/.cache").exists()


@pytest.mark.parametrize(
    "what",
    ['disk = { file = "d.zst" }\nsnapshot = true', 'display = "vnc"'],
    ids=["disk", "password"],
)
@pytest.mark.parametrize("how", ["own", "sticky", "belongs to", "others can write", "group"])
def test_a_disk_and_a_password_are_kept_only_where_nobody_else_can_replace_them(
    how: str, what: str, tmp_path: Path
) -> None:
    """The name is opened twice before it is gone."""
    place = tmp_path / "kept"
    if how == "own":
        place.mkdir()
    else:
        strange(place, "others can write" if how == "sticky" else how)
        place.chmod(0o1777 if how == "sticky" else place.stat().st_mode)
    text = f'[guest.web]\nkernel = "k"\n{what}\n'
    script = rendered(text)["web/qemu"].decode()
    assert script.count("$(mktemp ") == script.count('$(mktemp "$kept/') == 1
    start = script.index("kept=")
    part = script[start : script.index("\nroom=", start)]
    done = subprocess.run(
        ["sh", "-euc", f'{part}\necho "$kept"'],
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, "TMPDIR": str(place)},
    )
    assert done.stdout.strip() == (str(place) if how in ("own", "sticky") else "/var/tmp")


def test_scripts_for_root_that_the_user_cannot_reach_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.toml").write_text(TWO)
    before = os.umask(0o077)
    try:
        assert cli.main(["render", "--dialect=nft", "net.toml"]) == 0
    finally:
        os.umask(before)
    warning, hint = capsys.readouterr().err.splitlines()
    assert warning == "warning: other users cannot enter out"
    subprocess.run(hint.removeprefix("hint: ").split(), check=True)
    assert cli.main(["render", "--dialect=nft", "net.toml"]) == 0
    assert capsys.readouterr().err == ""
