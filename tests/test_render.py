"""What is rendered: compared byte for byte with tests/golden/, the folder's listing too.

tests/golden/SCENARIO/description.toml is rendered once for every folder DIALECT-ATTACH beside it.
TAPDRAFT_UPDATE_GOLDEN=1 writes them anew; the diff is then for a person to read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tapdraft.generator import output
from tapdraft.generator.description import Description, load, parse
from tapdraft.generator.errors import TapdraftError
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.render import render
from tapdraft.helper.request import parse as parse_request

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/golden"
WANTED = {
    "plain": ("helper-run", "helper-helper", "helper-hooks", "nft-run"),
    "two-guests": ("helper-run", "nft-run"),
    "quoting": ("helper-run", "nft-run"),
    "routed": ("helper-run", "nft-run"),
    "networks": ("helper-run", "nft-run"),
    "runqemu": ("helper-run",),
    "everything": ("helper-helper", "helper-hooks"),
    "addressing": ("helper-run", "helper-hooks", "nft-run"),
}
WANTED |= {f"machine-{name}": ("helper-run",) for name in MACHINES}
CASES = [(scenario, how) for scenario, all_of_them in WANTED.items() for how in all_of_them]


def described(scenario: str) -> Description:
    return load(str(GOLDEN / scenario / "description.toml"))


def rendered(scenario: str, how: str) -> dict[str, bytes]:
    dialect, _, attach = how.partition("-")
    return render(described(scenario), dialect=dialect, attach=attach)


def found(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("scenario", "how"), CASES)
def test_the_bytes_are_those_of_the_golden_folder(scenario: str, how: str) -> None:
    folder = GOLDEN / scenario / how
    files = rendered(scenario, how)
    if os.environ.get("TAPDRAFT_UPDATE_GOLDEN") == "1":
        shutil.rmtree(folder, ignore_errors=True)
        output.write(files, folder)
    golden = found(folder)
    assert sorted(files) == sorted(golden)
    for path, content in files.items():
        assert content.decode() == golden[path].decode(), path


def test_there_is_no_golden_folder_that_nothing_renders() -> None:
    there = {(p.parent.name, p.name) for p in GOLDEN.glob("*/*") if p.is_dir()}
    assert there == set(CASES)


def test_folder_user_time_and_locale_change_no_byte(tmp_path: Path) -> None:
    """The whole command, started under other circumstances each time."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/tapdraft").symlink_to(ROOT)
    outputs = []
    ways = [("C", "UTC", "1"), ("tr_TR.UTF-8", "Asia/Tokyo", "2")]
    for number, (locale, zone, seed) in enumerate(ways):
        folder = tmp_path / f"folder {number}" / ("x" * number)
        folder.mkdir(parents=True)
        shutil.copy(GOLDEN / "quoting/description.toml", folder / "d.toml")
        subprocess.run(
            [sys.executable, "-B", "-m", "tapdraft.generator", "render", "d.toml"],
            cwd=folder,
            env={
                "PYTHONPATH": str(tmp_path / "lib"),
                "LC_ALL": locale,
                "TZ": zone,
                "PYTHONHASHSEED": seed,
                "HOME": str(folder),
                "PATH": "/usr/bin",
            },
            check=True,
            capture_output=True,
            umask=0o077 if number else 0o022,
        )
        outputs.append(found(folder / "out"))
    assert outputs[0] == outputs[1] == rendered("quoting", "helper-run")


def test_nothing_of_the_rendering_machine_is_in_the_bytes() -> None:
    for scenario, how in CASES:
        for content in rendered(scenario, how).values():
            assert str(ROOT).encode() not in content


def test_sums_can_be_checked_by_sha256sum(tmp_path: Path) -> None:
    output.write(rendered("two-guests", "helper-run"), tmp_path)
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path, check=True)
    listed = (tmp_path / "SHA256SUMS").read_text().split()[1::2]
    assert sorted([*listed, "SHA256SUMS"]) == sorted(found(tmp_path))


@pytest.mark.parametrize(("scenario", "how"), CASES)
def test_a_script_asks_the_helper_for_what_the_description_says(scenario: str, how: str) -> None:
    """What is written as the request parses, and means the guest's addresses and ways."""
    files = rendered(scenario, how)
    for guest in filter(lambda guest: guest.has_tap, described(scenario).guests):
        name = "qemu" if how == "helper-helper" else "ifup"
        text = files[f"{guest.name}/{name}"].decode()
        start = text.index(f"up {guest.name} ")
        end = min(text.index(stop, start) for stop in "\n'" if stop in text[start:])
        request = parse_request(text[start:end])
        assert (request.guest, request.host) == (guest.address, guest.gateway)
        assert (request.mode, request.uplinks) == (guest.mode, guest.uplinks)
        assert request.forwards == guest.forwards


def test_a_guests_scripts_do_not_depend_on_the_other_guests() -> None:
    description = described("two-guests")
    both, one = render(description), render(description, description.guests[1:])
    assert {path: both[path] for path in one if path != "SHA256SUMS"} == {
        path: content for path, content in one.items() if path != "SHA256SUMS"
    }


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(TapdraftError, match="does not run as root"):
        render(described("plain"), dialect="nft", attach="helper")
    with pytest.raises(TapdraftError, match="does not run as root"):
        render(described("plain"), dialect="nft", attach="hooks")
    queues = parse(b'[guest.a]\nkernel = "k"\nqueues = 2\n')
    with pytest.raises(TapdraftError, match="takes one from a helper"):
        render(queues, attach="helper")


def test_scripts_can_be_run_and_sums_cannot_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        output.write(rendered("plain", "helper-run"), tmp_path)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    assert modes == {
        "ifup": 0o755,
        "ifdown": 0o755,
        "qemu": 0o755,
        "run": 0o755,
        "SHA256SUMS": 0o644,
    }


def test_rendering_again_replaces_and_leaves_what_is_not_ours(tmp_path: Path) -> None:
    output.write(rendered("two-guests", "helper-run"), tmp_path)
    (tmp_path / "web/notes").write_text("mine")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "web/ifup").write_text("changed by hand")
    output.write(rendered("plain", "helper-run"), tmp_path)
    assert (tmp_path / "web/notes").exists()
    assert (tmp_path / "mine").exists()
    assert (tmp_path / "db/ifup").exists()
    assert (tmp_path / "web/ifup").read_bytes() == rendered("plain", "helper-run")["web/ifup"]


def test_a_script_that_is_no_longer_rendered_goes_unless_it_was_changed(tmp_path: Path) -> None:
    output.write(rendered("plain", "helper-run"), tmp_path)
    output.write(rendered("plain", "helper-helper"), tmp_path)
    assert sorted(found(tmp_path)) == sorted(rendered("plain", "helper-helper"))
    output.write(rendered("plain", "helper-run"), tmp_path)
    (tmp_path / "web/ifup").write_text("changed by hand")
    output.write(rendered("plain", "helper-helper"), tmp_path)
    assert (tmp_path / "web/ifup").read_text() == "changed by hand"


def test_a_forged_list_of_sums_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    digest = hashlib.sha256(b"precious").hexdigest()
    for name in ("web/../../victim", "../victim", str(victim), "web//victim"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out/SHA256SUMS").write_text(f"{digest}  {name}\n")
        output.write(rendered("plain", "helper-run"), tmp_path / "out")
        assert victim.exists()


def test_a_failure_while_writing_leaves_the_old_files_and_no_half_ones(tmp_path: Path) -> None:
    output.write(rendered("plain", "helper-run"), tmp_path)
    before = found(tmp_path)
    files = {**rendered("two-guests", "helper-run"), "SHA256SUMS/x": b""}
    with pytest.raises(TapdraftError, match="cannot be written"):
        output.write(files, tmp_path)
    after = found(tmp_path)
    assert {path: after[path] for path in before} == before
    assert set(after) == set(before)
