"""The recipes of the distributions: what their own tools, where they are here, say of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tapdraft.helper import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
LAUNCHER = "usr/libexec/tapdraft/tapdraft-helper"
SCRIPTS = [
    "clean-root",
    "package-life",
    "recipes",
    "release-life",
    "service-life",
    "sources",
    "test-packages",
    "test-wheels",
    "capability",
    "group-members",
    "debian/build",
    "debian/tests/helper",
    "debian/tests/render",
    "debian/tapdraft-helper.postinst",
    "debian/tapdraft-helper.postrm",
    "rpm/build",
    "rpm/smoke",
]


def run(*argv: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        argv,
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    run("sh", "packaging/recipes", folder)
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing_in_scripts(requires: Callable[..., None], script: str) -> None:
    requires("shellcheck", "checkbashisms")
    path = next(path for path in (PACKAGING / script, ROOT / "tools" / script) if path.is_file())
    run("shellcheck", "-x", path)
    run("checkbashisms", "-f", path)


def test_shellcheck_finds_nothing_in_recipes(recipes: Path, requires: Callable[..., None]) -> None:
    requires("shellcheck")
    files = [
        *recipes.glob("arch/PKGBUILD"),
        *recipes.glob("arch/*.install"),
        *recipes.glob("alpine/APKBUILD"),
        *recipes.glob("alpine/*install"),
        *recipes.glob("gentoo/*/*/*.ebuild"),
    ]
    assert len(files) == 6
    run("shellcheck", *files)


def test_no_mark_is_left_to_be_filled_in(recipes: Path) -> None:
    texts = [
        path.read_text() for path in recipes.rglob("*") if path.suffix != ".gz" and path.is_file()
    ]
    assert texts
    assert not [text for text in texts if re.search("@[A-Z0-9]+@", text)]
    assert sum(__version__ in text for text in texts) >= 3


def test_the_archive_is_the_one_that_the_checksums_are_of(recipes: Path) -> None:
    archive = f"tapdraft-{__version__}.tar.gz"
    sha256 = run("sha256sum", recipes / "arch" / archive).split()[0]
    sha512 = run("sha512sum", recipes / "alpine" / archive).split()[0]
    assert f"sha256sums=('{sha256}')" in (recipes / "arch/PKGBUILD").read_text()
    assert f"{sha512}  {archive}" in (recipes / "alpine/APKBUILD").read_text()
    assert sha512 in (recipes / "gentoo/net-misc/tapdraft/Manifest").read_text()


def unpack(recipes: Path, kind: str, tmp_path: Path) -> Path:
    source = tmp_path / "src"
    source.mkdir()
    run("tar", "-xzf", recipes / kind / f"tapdraft-{__version__}.tar.gz", cwd=source)
    return source


def check_root(root: Path) -> None:
    """What every package of the helper brings, at the places of these distributions."""
    assert (root / LAUNCHER).stat().st_mode & 0o7777 == 0o750
    assert (root / "etc/tapdraft/policy.conf").read_text().count("[group tapdraft]") == 1
    assert (root / "usr/lib/tapdraft/tapdraft/helper/ruleset.nft").is_file()
    assert not (root / "usr/bin/tapdraft").exists()


def test_the_functions_of_arch_build_two_packages(recipes: Path, tmp_path: Path) -> None:
    source = unpack(recipes, "arch", tmp_path)
    steps = f"""set -eu; . '{recipes}/arch/PKGBUILD'; cd '{source}'; build; check
        pkgdir='{tmp_path}/command'; package_tapdraft
        pkgdir='{tmp_path}/helper'; package_tapdraft-helper; echo "${{depends[0]}}" """
    said = run("bash", "-c", steps)
    check_root(tmp_path / "helper")
    assert (tmp_path / "command/usr/bin/tapdraft").is_file()
    assert not (tmp_path / "command/usr/libexec").exists()
    assert re.search(r"^python>=3\.\d+$", said, re.MULTILINE)


def test_the_functions_of_alpine_build_two_packages(
    recipes: Path, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("busybox")
    source = unpack(recipes, "alpine", tmp_path) / f"tapdraft-{__version__}"
    log, both, helper = tmp_path / "log", tmp_path / "both", tmp_path / "helper"
    # Alpine's shell. abuild's function moves paths; its fakeroot stands in for who runs this.
    steps = f"""set -eu
        amove() {{ for path; do mkdir -p "$subpkgdir/${{path%/*}}"
            mv "$pkgdir/$path" "$subpkgdir/$path"; done; }}
        chown() {{ echo "chown $*" >> '{log}'; }}
        setcap() {{ echo "setcap $*" >> '{log}'; }}
        . '{recipes}/alpine/APKBUILD'; cd '{source}'; build; check
        pkgdir='{both}' subpkgdir='{helper}'; package; helper"""
    run("busybox", "sh", "-c", steps)
    check_root(helper)
    assert (both / "usr/bin/tapdraft").is_file()
    assert not (both / "usr/libexec").exists()
    # chown drops a capability, so it comes before setcap.
    launcher = helper / LAUNCHER
    assert log.read_text().splitlines() == [
        f"chown root:tapdraft {launcher}",
        f"setcap cap_net_admin=p {launcher}",
    ]


def test_the_ebuild_gives_one_capability_and_never_a_setuid_bit(recipes: Path) -> None:
    ebuild = recipes / f"gentoo/net-misc/tapdraft/tapdraft-{__version__}.ebuild"
    # The words that an ebuild may use before its functions.
    steps = f"""inherit() {{ :; }}; python_gen_cond_dep() {{ :; }}; P=tapdraft
        . '{ebuild}'; printf '%s\\n' "${{FILECAPS[@]}}" """
    assert run("bash", "-c", steps).split() == [
        "-o",
        "0",
        "-g",
        "tapdraft",
        "-m",
        "0750",
        "-M",
        "0750",
        "cap_net_admin=p",
        LAUNCHER,
    ]


def test_apparmors_compiler_accepts_the_profile(requires: Callable[..., None]) -> None:
    requires("apparmor_parser")
    profile = PACKAGING / "apparmor/usr.libexec.tapdraft.tapdraft-helper"
    run("apparmor_parser", "--skip-kernel-load", "--skip-cache", "--warn=all", profile)
    rules = [line.split("#")[0] for line in profile.read_text().splitlines()]
    assert not [line for line in rules if re.search(r"\s[rmwkl]*[pPcCuUi]*x[,\s]", line)]
    assert [line.split() for line in rules if line.strip().startswith("capability")] == [
        ["capability", "net_admin,"]
    ]


def test_selinuxs_compiler_accepts_the_module(
    requires: Callable[..., None], tmp_path: Path
) -> None:
    requires("checkmodule", "semodule_package", "make", "m4")
    shutil.copytree(PACKAGING / "selinux", tmp_path / "module")
    run(
        "make",
        "-f",
        "/usr/share/selinux/devel/Makefile",
        "NAME=default",
        "tapdraft.pp",
        cwd=tmp_path / "module",
    )
    assert (tmp_path / "module/tapdraft.pp").stat().st_size > 1000
    text = (PACKAGING / "selinux/tapdraft.te").read_text()
    assert re.findall(r"self:(?:cap_userns|capability2?) ([^;]+);", text) == ["net_admin"]


def test_the_version_is_written_in_one_place() -> None:
    """The changelog tells of versions; everything else asks helper/__init__.py."""
    number = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    kinds = {".py", ".cfg", ".toml", ".c", ".j2", ".1", ".5", ".8"}
    files = [path for path in ROOT.rglob("*") if path.suffix in kinds or path.name == "Makefile"]
    files += [
        path
        for folder in (PACKAGING, ROOT / "tools")
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    ]
    ours = [
        path
        for path in files
        if path.is_file() and path.parts[len(ROOT.parts)] not in {"build", "tests", "dist"}
    ]
    assert len(ours) > 50
    found = {path for path in ours if number.search(path.read_text(errors="replace"))}
    assert found == {ROOT / "helper/__init__.py"}
    assert f"## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text()
