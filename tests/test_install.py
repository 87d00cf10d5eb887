"""What `make install` leaves behind, for real or with DESTDIR, and what `make uninstall` leaves."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labrun import Namespace, Result
from labsite import CACHE_TAG, ROOT, Site

LAUNCHER = "/usr/local/libexec/tapdraft/tapdraft-helper"
HELPERDIR = "/usr/local/lib/tapdraft"
POLICY = "/etc/tapdraft/policy.conf"
ORDINARY = "/home/alice/source"


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below, with its mode and the digest of its bytes."""
    return {
        f"/{path.relative_to(folder)}": (
            stat.S_IMODE(path.stat().st_mode),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def copy_source(site: Site, inside: str, owner: int = 0) -> None:
    """A clean copy of the source, as somebody would unpack it."""
    source = site.path(inside)
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(
            ".git", "__pycache__", ".*_cache", ".hypothesis", "build", "dist", "out"
        ),
    )
    for path in (source, *source.rglob("*")):
        os.chown(path, owner, owner)


@pytest.fixture(scope="session")
def ordinary(bare_site: Site) -> tuple[Path, str]:
    """What an ordinary user installed into a folder of theirs, and what make said."""
    copy_source(bare_site, ORDINARY, owner=61001)
    done = bare_site.run(
        ["make", "-C", ORDINARY, "install", "DESTDIR=/home/alice/dest"],
        user="alice",
        env={"SOURCE_DATE_EPOCH": "1"},
        limit=180,
    ).check()
    return bare_site.path("/home/alice/dest"), done.stdout + done.stderr


def test_an_ordinary_user_can_install_into_a_folder_of_theirs(ordinary: tuple[Path, str]) -> None:
    folder, said = ordinary
    assert "left to the packager" in said
    assert f"setcap cap_net_admin=p {LAUNCHER}" in said
    files = contents(folder)
    assert files[LAUNCHER][0] == 0o750
    assert (folder / POLICY[1:]).read_text() == (ROOT / "packaging/policy.conf").read_text()


def test_nothing_is_setuid_or_open_to_writing(ordinary: tuple[Path, str]) -> None:
    modes = {name: mode for name, (mode, _) in contents(ordinary[0]).items()}
    assert {name for name, mode in modes.items() if mode & 0o6022} == set()
    programs = {name for name, mode in modes.items() if mode & 0o111}
    assert programs == {LAUNCHER, "/usr/local/bin/tapdraft"}


@pytest.mark.parametrize("umask", ["000", "077"])
def test_what_is_built_and_installed_is_root_s_alone_to_write_whatever_the_umask(
    fresh: Callable[..., Result], ordinary: object, umask: str
) -> None:
    build = "umask $1 && rm -rf build && make install install-service"
    fresh(["sh", "-c", build, "sh", umask], cwd="/opt/source", limit=180).check()
    folders = ["/usr/local", "/etc/tapdraft", "/opt/source/build"]
    assert fresh(["find", *folders, "-perm", "/022", "!", "-type", "l"]).check().stdout == ""
    closed = fresh(["find", *folders, "!", "-perm", "-444", "!", "-type", "l"]).check().stdout
    assert closed == f"{LAUNCHER}\n"


def test_folders_of_the_system_keep_their_modes(
    fresh: Callable[..., Result], ordinary: object
) -> None:
    fresh(["install", "-d", "-m", "2775", "/usr/local/lib", "/usr/local/share/man/man1"]).check()
    fresh(["make", "-C", "/opt/source", "install"], limit=180).check()
    modes = fresh(["stat", "-c", "%a", "/usr/local/lib", "/usr/local/share/man/man1"]).check()
    assert modes.stdout == "2775\n2775\n"


def test_the_documents_are_installed_and_their_links_lead_somewhere(
    ordinary: tuple[Path, str],
) -> None:
    documents = ordinary[0] / "usr/local/share/doc/tapdraft"
    here = {str(path.relative_to(documents)) for path in documents.rglob("*.md")}
    assert {f"doc/{path.name}" for path in (ROOT / "doc").glob("*.md")} < here
    for name in here:
        text = (documents / name).read_text()
        for link in re.findall(r"\]\(([\w./-]+\.(?:md|txt))(?:#[\w-]+)?\)", text):
            assert (documents / name).parent.joinpath(link).is_file(), (name, link)


# Starts the helper over and over until it is told to end; prints what was not as it should be.
CALLS = """
import subprocess, sys
count = 0
print("begun", flush=True)
while not __import__("os").path.exists("/tmp/enough") or count == 0:
    done = subprocess.run([sys.argv[1], "--version"], capture_output=True, text=True)
    count += 1
    if done.returncode or done.stderr or not done.stdout.startswith("tapdraft-helper "):
        sys.exit(f"call {count}: {done}")
print(count)
"""


def test_calls_that_are_made_while_it_is_installed_anew_are_answered(site: Site) -> None:
    site.path("/tmp/enough").unlink(missing_ok=True)
    calls = site.space.start(["/usr/bin/python3", "-c", CALLS, LAUNCHER], user="alice")
    calls.expect("begun")
    for _ in range(8):
        site.run(["make", "-C", site.source, "install-helper"], limit=180).check()
    site.write("/tmp/enough", "")
    calls.expect(r"^\d+\r?$")
    assert calls.wait() == 0
    site.path("/tmp/enough").unlink()
    assert not site.path(f"{HELPERDIR}.new").exists()
    assert not site.path(f"{LAUNCHER}.new").exists()


def test_members_of_a_group_that_existed_before_are_named(
    fresh: Callable[..., Result], ordinary: object
) -> None:
    said = fresh(["make", "-C", "/opt/source", "install"], limit=180).check().stderr
    assert (
        "note: the group tapdraft existed before; its members may now run tapdraft-helper: "
        "alice bob\nhint: to remove a user from it: gpasswd --delete USER tapdraft\n"
    ) in said
    again = fresh(["make", "-C", "/opt/source", "install"], limit=180).check().stderr
    assert "existed before" not in again


def test_a_source_archive_made_without_git_is_the_same(
    fresh: Callable[..., Result], ordinary: object, tmp_path: Path
) -> None:
    """What was built or left in the folder does not get into it."""
    subprocess.run(["make", "-s", "dist", f"BUILD={tmp_path}"], cwd=ROOT, check=True)
    [archive] = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "-C", tmp_path, "-xzf", archive], check=True)
    [folder] = (path for path in tmp_path.iterdir() if path.is_dir())
    for junk in (
        "build/x",
        "tapdraft.egg-info/PKG-INFO",
        "helper/__pycache__/x.pyc",
        "out/web/run",
        ".pytest_cache/x",
        "tests/.hypothesis/x",
        ".venv/bin/python",
        "helper/plan.py~",
    ):
        (folder / junk).parent.mkdir(parents=True, exist_ok=True)
        (folder / junk).write_text("junk")
    subprocess.run(["make", "-s", "dist", f"BUILD={tmp_path}/again"], cwd=folder, check=True)
    # Not compared by the assertion: showing how megabytes differ takes pytest hours.
    is_same = (tmp_path / "again" / archive.name).read_bytes() == archive.read_bytes()
    assert is_same


def test_the_command_works_without_what_only_the_helper_needs(tmp_path: Path) -> None:
    """python-prctl is compiled from source: `pip install .` has to do without libcap's headers."""
    (tmp_path / "prctl.py").write_text("raise ImportError('there is no python-prctl')")
    (tmp_path / "tapdraft").symlink_to(ROOT)
    (tmp_path / "net.toml").write_text(
        '[network]\nsubnet = "192.168.7.0/24"\n[guest.web]\nkernel = "vmlinuz"\n'
    )
    for words in (["render", "net.toml"], ["list"], ["check", "net.toml"]):
        done = subprocess.run(
            ["/usr/bin/python3", "-m", "tapdraft.generator", *words],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "."},
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == (4 if words[0] == "check" else 0), done
    assert (tmp_path / "out/web/run").exists()
    requires = (ROOT / "setup.cfg").read_text().split("[options.extras_require]")
    assert "prctl" not in requires[0]
    assert "prctl" in requires[1]


def test_the_privileged_folder_holds_the_helper_and_nothing_else(
    ordinary: tuple[Path, str],
) -> None:
    names = {name for name in contents(ordinary[0]) if name.startswith(f"{HELPERDIR}/")}
    folder = f"{HELPERDIR}/tapdraft/helper"
    sources = {
        f"{folder}/{path.relative_to(ROOT / 'helper')}"
        for path in (ROOT / "helper").rglob("*")
        if path.suffix in (".py", ".nft")
    }
    compiled = {
        re.sub(r"(\w+)\.py$", rf"__pycache__/\1.{CACHE_TAG}.pyc", name)
        for name in sources
        if name.endswith(".py")
    }
    assert names == sources | compiled | {f"{folder}/ruleset.bin"}


def test_bytecode_is_taken_as_it_is_and_says_nothing_of_the_build(
    ordinary: tuple[Path, str],
) -> None:
    compiled = list(ordinary[0].rglob("*.pyc"))
    assert len(compiled) > 20
    for path in compiled:
        data = path.read_bytes()
        assert data[4:8] == b"\1\0\0\0"  # PEP 552: by the source's hash, not looked at when run
        assert b"/home/alice" not in data


def test_two_builds_anywhere_anytime_by_anybody_give_the_same_bytes(
    bare_site: Site, ordinary: tuple[Path, str]
) -> None:
    copy_source(bare_site, "/var/tmp/elsewhere")
    for path in bare_site.path("/var/tmp/elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    bare_site.run(
        ["make", "-C", "/var/tmp/elsewhere", "install", "BUILD=b", "DESTDIR=/var/tmp/dest"],
        limit=180,
        env={"SOURCE_DATE_EPOCH": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
    ).check()
    assert contents(bare_site.path("/var/tmp/dest")) == contents(ordinary[0])


def test_exactly_one_file_has_exactly_one_capability(
    site: Site, ordinary: tuple[Path, str]
) -> None:
    found = site.run(["getcap", *contents(ordinary[0])]).check().stdout
    assert found == f"{LAUNCHER} cap_net_admin=p\n"
    listed = site.run(["stat", "-c", "%A %U:%G", LAUNCHER]).check().stdout
    assert listed == "-rwxr-x--- root:tapdraft\n"


def test_only_the_group_may_start_the_helper(site: Site) -> None:
    assert "tapdraft-helper" in site.run([LAUNCHER, "--version"], user="alice").check().stdout
    assert "ermission denied" in site.run([LAUNCHER, "--version"], user="mallory").stderr


@pytest.fixture
def fresh(bare_site: Site) -> Iterator[Callable[..., Result]]:
    """Run something in a mount namespace of its own, where nothing is installed yet."""
    space = Namespace(
        ["nsenter", f"--mount=/proc/{bare_site.space.pid}/ns/mnt", "unshare", "--mount", "--net"],
        'for folder in /usr/local /etc/tapdraft /opt; do mkdir -p "$folder"; '
        'mount -t tmpfs -o mode=755 tmpfs "$folder"; done; '
        f"mkdir /opt/source; cp -r {ORDINARY}/. /opt/source",
    )
    yield space.run
    space.close()


def test_uninstall_removes_all_that_install_brought(
    fresh: Callable[..., Result], ordinary: object
) -> None:
    fresh(["make", "-C", "/opt/source", "install"], limit=180).check()
    assert LAUNCHER in fresh(["find", "/usr/local"]).stdout
    fresh(["make", "-C", "/opt/source", "uninstall"]).check()
    assert fresh(["find", "/usr/local", "/etc/tapdraft", "-type", "f"]).check().stdout == ""


def test_a_policy_that_was_changed_is_kept(fresh: Callable[..., Result], ordinary: object) -> None:
    fresh(["make", "-C", "/opt/source", "install"], limit=180).check()
    fresh(["sh", "-c", f"echo '# mine' >> {POLICY}"]).check()
    fresh(["make", "-C", "/opt/source", "install"], limit=180).check()
    said = fresh(["make", "-C", "/opt/source", "uninstall"]).check().stdout
    assert "is kept" in said
    assert fresh(["tail", "-n", "1", POLICY]).stdout == "# mine\n"


def test_a_file_system_without_capabilities_is_said_and_no_failure(
    fresh: Callable[..., Result], ordinary: object
) -> None:
    fresh(["mount", "-t", "ramfs", "-o", "mode=755", "ramfs", "/usr/local"]).check()
    said = fresh(["make", "-C", "/opt/source", "install"], limit=180).check().stderr
    assert "has no capability" in said
    assert fresh(["stat", "-c", "%a %G", LAUNCHER]).stdout == "750 tapdraft\n"
    refusal = fresh([LAUNCHER, "--version"], user="alice").check(4).stderr
    assert "no capability: this file has none" in refusal


def test_another_prefix_and_folder_for_the_policy_are_used_by_both_sides(
    fresh: Callable[..., Result], ordinary: object
) -> None:
    where = ["PREFIX=/usr/local/td", "SYSCONFDIR=/usr/local/td/etc"]
    fresh(["make", "-C", "/opt/source", "install", *where], limit=180).check()
    fresh(["rm", "-rf", POLICY]).check()
    words = ["up", "web", "192.168.7.1/30", "192.168.7.2", "isolated"]
    helper = "/usr/local/td/libexec/tapdraft/tapdraft-helper"
    said = fresh([helper, "--explain", *words], user="alice").check().stdout
    assert "/usr/local/td/etc/tapdraft/policy.conf:" in said


def test_network_managers_are_told_to_leave_taps_alone(ordinary: tuple[Path, str]) -> None:
    """NetworkManager reads nothing below /usr/local; networkd does, and takes the first match."""
    folder = ordinary[0]
    network = (folder / "usr/local/lib/systemd/network/05-tapdraft.network").read_text()
    assert "[Match]\nName=td-*\n\n[Link]\nUnmanaged=yes\n" in network
    manager = (folder / "etc/NetworkManager/conf.d/05-tapdraft.conf").read_text()
    assert "match-device=interface-name:td-*\nmanaged=0\n" in manager
