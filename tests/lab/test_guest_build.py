"""tools/guest, with a made-up distribution in place of apt's servers."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from labsite import ROOT

MODULES = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
]

APT_CACHE = """\
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
word=$1 package=$(eval echo \\$$#)
[ -d "$REPO/$package" ] || exit 0
if [ "$word" = show ]; then echo "Package: $package"; else cat "$REPO/$package.depends"; fi
"""
APT_GET = """\
#!/bin/sh
package=$(eval echo \\$$#)
dpkg-deb --root-owner-group --build "$REPO/$package" "${package}_1_amd64.deb" > /dev/null
"""


class Distribution:
    """Packages as folders, and apt's two commands in front of the real ones."""

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "repo"
        self.tools = folder / "tools"
        self.cache = folder / "cache"
        self.tools.mkdir()
        for name, text in (("apt-cache", APT_CACHE), ("apt-get", APT_GET)):
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)
        self.package("busybox-static", {"bin/busybox": "#!busybox"})

    def package(self, name: str, files: Mapping[str, str], depends: str = "") -> None:
        for path, text in files.items():
            (self.repo / name / path).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / name / path).write_text(text)
        (self.repo / name / "DEBIAN").mkdir(parents=True)
        (self.repo / name / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
        )
        lines = "".join(f"  Depends: {word}\n" for word in depends.split())
        (self.repo / f"{name}.depends").write_text(f"{name}\n{lines}")

    def build(self, cache: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "sh",
                str(ROOT / "tools/guest"),
                "--arch",
                "amd64",
                "--cache",
                str(self.cache) + cache,
            ],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={
                "PATH": f"{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/nonexistent",
                "REPO": str(self.repo),
            },
        )


@pytest.fixture
def distribution(tmp_path: Path, requires: Callable[..., None]) -> Distribution:
    requires("dpkg-deb", "cpio", "xz")
    return Distribution(tmp_path)


def debian(distribution: Distribution) -> None:
    modules = {f"lib/modules/6.1.0-1/kernel/{name}.ko": name for name in MODULES}
    distribution.package(
        "linux-image-6.1.0-1-cloud-amd64", {"boot/vmlinuz-6.1.0-1-cloud-amd64": "kernel", **modules}
    )
    distribution.package("linux-image-cloud-amd64", {}, "linux-image-6.1.0-1-cloud-amd64")


def members(initrd: Path) -> list[str]:
    archive = gzip.decompress(initrd.read_bytes())
    listed = subprocess.run(
        ["cpio", "--quiet", "-it"], input=archive, capture_output=True, check=True
    )
    return listed.stdout.decode().split()


def test_debians_kernel_comes_with_its_modules(distribution: Distribution) -> None:
    debian(distribution)
    folder = Path(distribution.build().stdout.strip())
    assert (folder / "vmlinuz").read_text() == "kernel"
    found = members(folder / "initrd")
    assert {f"modules/{name}.ko" for name in MODULES} <= set(found)
    assert {"init", "bin/busybox", "modules/order"} <= set(found)


def test_ubuntus_kernel_has_its_modules_elsewhere_or_built_in(distribution: Distribution) -> None:
    distribution.package(
        "linux-image-virtual", {}, "linux-image-generic linux-image-6.8.0-9-generic"
    )
    distribution.package(
        "linux-image-6.8.0-9-generic",
        {"boot/vmlinuz-6.8.0-9-generic": "kernel"},
        "linux-base linux-modules-6.8.0-9-generic linux-modules-extra",
    )
    builtin = "".join(f"kernel/drivers/{name}.ko\n" for name in MODULES if name != "net_failover")
    folder = "lib/modules/6.8.0-9-generic"
    distribution.package(
        "linux-modules-6.8.0-9-generic",
        {f"{folder}/modules.builtin": builtin, f"{folder}/kernel/net_failover.ko": "module"},
    )
    built = distribution.build()
    assert built.returncode == 0, built.stderr
    found = members(Path(built.stdout.strip()) / "initrd")
    assert [name for name in found if name.endswith(".ko")] == ["modules/net_failover.ko"]


def test_the_same_packages_give_the_same_bytes(distribution: Distribution) -> None:
    debian(distribution)
    first, second = (Path(distribution.build(name).stdout.strip()) for name in ("-a", "-b"))
    assert first != second
    assert (first / "initrd").read_bytes() == (second / "initrd").read_bytes()


def test_what_is_built_is_not_built_again(distribution: Distribution) -> None:
    debian(distribution)
    first = distribution.build()
    (distribution.tools / "apt-get").write_text("#!/bin/sh\nexit 1\n")
    second = distribution.build()
    assert second.stdout == first.stdout
    assert second.stderr == ""


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no kernel", "no kernel package for amd64 is known to apt"),
        ("no download", "the package linux-image-6.1.0-1-cloud-amd64 could not be fetched"),
        ("no module", "the kernel has no module virtio_net, nor is it built in"),
    ],
)
def test_a_failed_build_says_why_and_leaves_nothing(
    distribution: Distribution, broken: str, message: str
) -> None:
    if broken != "no kernel":
        debian(distribution)
    if broken == "no download":
        (distribution.tools / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    if broken == "no module":
        kernel = distribution.repo / "linux-image-6.1.0-1-cloud-amd64/lib/modules/6.1.0-1/kernel"
        (kernel / "virtio_net.ko").unlink()
    built = distribution.build()
    assert built.returncode == 1
    assert f"error: {message}" in built.stderr
    assert list(distribution.cache.iterdir()) == []
