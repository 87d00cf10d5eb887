"""Where runqemu looks for the files of an image: names in the deploy folder, by pattern."""

import glob
import os
from pathlib import Path

from ..errors import USAGE, TapdraftError
from .reading import Variables

WIC = ("wic", "wic.zst", "wic.vmdk", "wic.qcow2", "wic.vdi", "wic.vhd", "wic.vhdx")
TAR = ("tar.zst", "tar.bz2", "tar.gz", "tar.xz", "tar")
_WITH_KERNEL = ("hddimg", "iso")
_OTHER_NAMES = {"ramfs": "cpio.gz", **dict.fromkeys(TAR, "nfs")}

_Name = tuple[str, str]  # as the file has it, and what may follow as a pattern


class Files:
    """The files that the variables of `conf` name; what is not there is named all the same.

    The folder is the file's own, whatever DEPLOY_DIR_IMAGE says: an image may have been copied
    away from where it was built, and the other one would be an older build.
    """

    def __init__(self, conf: str, variables: Variables, fstype: str = "") -> None:
        self.conf = conf
        self.deploy = Path(conf).resolve().parent
        self.variables = variables
        self.missing: list[Path] = []
        self.fstype = _OTHER_NAMES.get(fstype, fstype) or self._default()

    def _default(self) -> str:
        """What QB_DEFAULT_FSTYPE says: one type, which is the end of a file's name."""
        found = self.value("QB_DEFAULT_FSTYPE") or "ext4"
        if len(found.split()) != 1 or found == "ramfs":
            what = f"expected one type of image in QB_DEFAULT_FSTYPE, found {found!r}"
            first = found.split()[0] if found.split() else "ext4"
            hint = f"add --type={'cpio.gz' if first == 'ramfs' else first} to the command"
            raise TapdraftError(f"{self.conf}: {what}", hint, USAGE)
        return _OTHER_NAMES.get(found, found)

    def value(self, name: str) -> str:
        return self.variables[name].value if name in self.variables else ""

    def _resolved(self, name: str) -> str:
        """As runqemu does: what begins with ../ is relative to the file, as is a lone dot."""
        value = self.value(name)
        if value == "." or value.startswith("../"):
            return os.path.normpath(self.deploy / value)
        return value

    @property
    def kernel_inside(self) -> bool:
        """Does the image hold the kernel too? Of wic, unless QB_FSINFO says otherwise."""
        flags = [flag for flag in self.value("QB_FSINFO").split() if flag.startswith("wic:")]
        if self.fstype in WIC:
            return flags[-1:] != ["wic:no-kernel-in-fs"]
        return self.fstype in _WITH_KERNEL

    def kernel(self) -> Path | None:
        name = os.path.basename(self.value("QB_DEFAULT_KERNEL"))
        if name == "none" or self.kernel_inside:
            return None
        kind = self.value("KERNEL_IMAGETYPE")
        more = [(kind, "*")] if kind else []
        return self._first([(name or kind or "bzImage", ""), (kind, ""), *more])

    def rootfs(self) -> Path | None:
        if self.value("QB_ROOTFS") == "none" or self.fstype == "none":
            return None
        link, name = self.value("IMAGE_LINK_NAME"), self.value("IMAGE_NAME")
        if self.fstype == "nfs":
            return self.deploy / f"{link or name}-nfsroot"
        ending = f"*.{glob.escape(self.fstype)}"
        patterns = [(each, ending) for each in (name, link) if each]
        named = f"{link or name or 'image'}.{self.fstype}"
        return self._first([*patterns, (named, "")], named)

    def dtb(self) -> Path | None:
        name = self._resolved("QB_DTB")
        return self._first([(name, ""), (name, "*"), ("", "*.dtb")]) if name else None

    def bios(self) -> Path | None:
        name = os.path.basename(self.value("QB_DEFAULT_BIOS"))
        return self._first([(name, "")]) if name and name != "none" else None

    def _first(self, names: list[_Name], otherwise: str = "") -> Path:
        """The first file that is there, else what would be: the first name, or `otherwise`."""
        for begin, rest in names:
            if not begin + rest:
                continue
            found = [self.deploy / begin]
            if rest:
                # What the file says is a name, and no pattern that could match all that there is.
                found = (
                    []
                    if os.path.isabs(begin)
                    else sorted(self.deploy.glob(f"{glob.escape(begin)}{rest}"))
                )
            # os.path's: a name that the system refuses is one that is not there.
            for path in found:
                if os.path.isfile(path):
                    return path
        first = self.deploy / (otherwise or names[0][0])
        self.missing.append(first)
        return first
