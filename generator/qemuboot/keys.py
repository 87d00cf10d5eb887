"""What each variable of qemuboot.conf means as keys of a description."""

import os
from pathlib import Path

from ..errors import USAGE, TapdraftError
from ..machines import MACHINES, Machine
from . import words
from .beyond import Beyond
from .files import Files
from .reading import Variables
from .writing import Key

# For looking up files, or about the build: without a meaning of their own.
LOOKED_UP = (
    "DEPLOY_DIR_IMAGE",
    "IMAGE_LINK_NAME",
    "IMAGE_NAME",
    "KERNEL_IMAGETYPE",
    "KERNEL_IMAGE_NAME",
    "KERNEL_IMAGE_BIN_EXT",
    "MACHINE",
    "QB_DEFAULT_BIOS",
    "QB_DEFAULT_FSTYPE",
    "QB_DEFAULT_KERNEL",
    "QB_DTB",
    "QB_FSINFO",
    "QB_NET",
    "QB_SYSTEM_NAME",
    "STAGING_BINDIR_NATIVE",
    "STAGING_DIR_HOST",
    "STAGING_DIR_NATIVE",
    "TUNE_ARCH",
    "UNINATIVE_LOADER",
    "QB_TAP_NAMESERVER",
    "QB_NO_PNI",
    # They stand beside what runqemu reads, and were put together into that when it was built.
    "QB_DTB_LINK",
    "QB_MEM_VALUE",
)
SHELL = ("QB_SETUP_CMD", "QB_CLEANUP_CMD")
# What of these is passed on is looked at where that is done.
_IN_PART = ("QB_TAP_OPT", "QB_SLIRP_OPT", "QB_AUDIO_OPT")
_SHOWN = 200  # characters of what a warning quotes
# The machines whose qemu runqemu finds where QB_SYSTEM_NAME is empty.
_GUESSED = {
    "qemux86",
    "qemux86-64",
    "qemuarm",
    "qemuarm64",
    "qemumips",
    "qemumips64",
    "qemuppc",
    "qemuriscv32",
    "qemuriscv64",
    "qemuloongarch64",
}


class Keys:
    """One file's variables as keys; `warnings` has what has no meaning here, by its line."""

    def __init__(self, variables: Variables, files: Files, base: Path) -> None:
        self.variables = variables
        self.files = files
        self.base = base
        self.beyond = Beyond(files.deploy, base)
        self.name, self.machine = self._machine()
        self.guest: list[Key] = []
        self.network: list[Key] = [Key("layout", "runqemu")]
        self.qemu: list[str] = []  # qemu's arguments, in runqemu's order
        self.card: list[str] = []
        self.warnings: list[tuple[int, str]] = []
        self.used: set[str] = {*LOOKED_UP, *SHELL}

    def value(self, name: str, default: str = "") -> str:
        self.used.add(name)
        return self.files.value(name) or default

    def options(self, name: str, default: str = "") -> list[str]:
        """The variable's words, split as a shell would; empty is not there, as for runqemu."""
        return self.split(name, self.value(name, default))

    def split(self, name: str, text: str) -> list[str]:
        try:
            found = words.split(text)
        except ValueError as error:
            line = self.variables[name].line if name in self.variables else 1
            raise TapdraftError(
                f"line {line}: {name}: {error}", "quotes come in pairs", USAGE
            ) from None
        if name not in _IN_PART:
            for option in self.beyond.told(found):
                self.passes_on(name, option)
        return found

    def passes_on(self, name: str, what: str) -> None:
        """Warn of something that reaches beyond the guest."""
        line = self.variables[name].line if name in self.variables else 1
        shown = what if len(what) <= _SHOWN else f"{what[:_SHOWN]} ..."
        text = f"{name} passes on {shown}: it is not about the guest's hardware alone, so find out"
        self.warnings.append((line, f"{text} what it opens before you start the guest"))

    def warn(self, name: str, what: str) -> None:
        if name in self.variables:
            self.warnings.append((self.variables[name].line, f"{name} {what}"))

    def add(self, name: str, value: str | int | bool | list[str], why: str = "") -> None:
        self.guest.append(Key(name, value, why))

    def off(self, name: str, value: str | bool | list[str], why: str) -> None:
        self.guest.append(Key(name, value, why, off=True))

    def path(self, path: Path) -> str:
        """Relative to the description's folder where it is below it."""
        out = self.beyond.leads_out(path)
        if out and path.is_symlink():
            self.warnings.append((1, f"{path} is a link to {out}, outside the image's folder"))
        relative = os.path.relpath(path, self.base)
        return str(path) if relative.startswith("..") else relative

    def _machine(self) -> tuple[str, Machine]:
        named, binary = self.files.value("MACHINE"), self.files.value("QB_SYSTEM_NAME")
        known = {machine.binary: name for name, machine in reversed(MACHINES.items())}
        if named in MACHINES and binary in (MACHINES[named].binary, ""):
            if binary or named in _GUESSED:
                return named, MACHINES[named]
        elif binary in known:
            return known[binary], MACHINES[known[binary]]
        if not binary:
            what = f"QB_SYSTEM_NAME is empty, and machine {named or '(none)'} is none of Yocto's"
            raise TapdraftError(what, "add qb_system_name = qemu-system-ARCH to the file", USAGE)
        ours = max((name for name in known if binary.startswith(f"{name}-")), default="", key=len)
        if ours:
            what = f"QB_SYSTEM_NAME is {binary}: a vendor's own qemu, which tapdraft does not start"
            hint = f"if the image runs under {ours} too, write that into the file"
            raise TapdraftError(what, hint, USAGE)
        what = f"QB_SYSTEM_NAME is {binary}, which tapdraft does not know"
        raise TapdraftError(what, f"write one of these: {', '.join(sorted(known))}", USAGE)

    def rest(self) -> None:
        """Name what has no meaning here."""
        for name in SHELL:
            if self.value(name):
                self.warn(name, "is a command for a shell: it is not run")
        for name in self.variables:
            if name not in self.used and self.files.value(name):
                self.warn(name, "has no meaning here")
