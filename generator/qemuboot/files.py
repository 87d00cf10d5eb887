"""Where runqemu looks for the files of an image: names in the deploy folder, by pattern."""

import os
from pathlib import Path

from .reading import Variables

# Images that hold a kernel besides the root file system; of wic, unless QB_FSINFO says otherwise.
_WIC = ("wic", "wic.zst", "wic.vmdk", "wic.qcow2", "wic.vdi", "wic.vhd", "wic.vhdx")
_WITH_KERNEL = ("hddimg", "iso")
_OTHER_NAMES = {"ramfs": "cpio.gz", "tar.bz2": "nfs", "tar.gz": "nfs"}


class Files:
    """The files that the variables of `conf` name; what is not there is named all the same."""

    def __init__(self, conf: str, variables: Variables, fstype: str = "") -> None:
        self.folder = Path(conf).absolute().parent
        self.variables = variables
        self.missing: list[Path] = []
        named = self._resolved("DEPLOY_DIR_IMAGE")
        # Images may have been copied away from where they were built.
        self.deploy = Path(named) if named and Path(named).is_dir() else self.folder
        fstype = fstype or self.value("QB_DEFAULT_FSTYPE") or "ext4"
        self.fstype = _OTHER_NAMES.get(fstype, fstype)

    def value(self, name: str) -> str:
        return self.variables[name].value if name in self.variables else ""

    def _resolved(self, name: str) -> str:
        """As runqemu does: what begins with ../ is relative to the file, as is a lone dot."""
        value = self.value(name)
        if value == "." or value.startswith("../"):
            return os.path.normpath(self.folder / value)
        return value

    @property
    def kernel_inside(self) -> bool:
        flags = self.value("QB_FSINFO").split()
        if self.fstype in _WIC:
            return "wic:no-kernel-in-fs" not in flags
        return self.fstype in _WITH_KERNEL

    def kernel(self) -> Path | None:
        name = self._resolved("QB_DEFAULT_KERNEL")
        if name == "none" or self.kernel_inside:
            return None
        kind = self.value("KERNEL_IMAGETYPE")
        return self._first([name or kind or "bzImage", kind, f"{kind}*" if kind else ""])

    def rootfs(self) -> Path | None:
        named = self._resolved("QB_ROOTFS")
        if named == "none" or self.fstype == "none":
            return None
        if named:
            return self._first([named])
        names = [self.value("IMAGE_LINK_NAME"), self.value("IMAGE_NAME")]
        ending = "-nfsroot" if self.fstype == "nfs" else f".{self.fstype}"
        exact = [f"{name}{ending}" for name in names if name]
        longer = [f"{name}*{ending}" for name in names if name]
        return self._first([*exact, *longer] or [f"image{ending}"])

    def one(self, variable: str) -> Path | None:
        """The file of QB_DTB or QB_DEFAULT_BIOS."""
        name = self._resolved(variable)
        return self._first([name]) if name and name != "none" else None

    def _first(self, patterns: list[str]) -> Path:
        """The first that is there, else what the first pattern would be."""
        for pattern in filter(None, patterns):
            path = self.deploy / pattern
            if path.exists():
                return path
            if not os.path.isabs(pattern) and "*" in pattern:
                for match in sorted(self.deploy.glob(pattern)):
                    return match
        first = self.deploy / patterns[0]
        self.missing.append(first)
        return first
