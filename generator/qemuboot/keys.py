"""What each variable of qemuboot.conf means as keys of a description."""

import os
from pathlib import Path

from ..errors import USAGE, TapdraftError
from ..machines import MACHINES, Machine
from ..values import nearest
from . import words
from .files import Files
from .reading import Variables
from .writing import Key

# For looking up files, or about the build: without a meaning of their own.
LOOKED_UP = (
    "DEPLOY_DIR_IMAGE", "IMAGE_LINK_NAME", "IMAGE_NAME", "KERNEL_IMAGETYPE", "KERNEL_IMAGE_NAME",
    "KERNEL_IMAGE_BIN_EXT", "MACHINE", "QB_DEFAULT_FSTYPE", "QB_DEFAULT_KERNEL", "QB_FSINFO",
    "QB_SYSTEM_NAME", "STAGING_BINDIR_NATIVE", "STAGING_DIR_HOST", "STAGING_DIR_NATIVE",
    "TUNE_ARCH", "UNINATIVE_LOADER", "QB_TAP_NAMESERVER", "QB_NO_PNI",
)  # fmt: skip
SHELL = ("QB_SETUP_CMD", "QB_CLEANUP_CMD")


class Keys:
    """One file's variables as keys; `warnings` has what has no meaning here, by its line."""

    def __init__(self, variables: Variables, files: Files, base: Path) -> None:
        self.variables = variables
        self.files = files
        self.base = base
        self.name, self.machine = self._machine()
        self.guest: list[Key] = []
        self.network: list[Key] = [Key("layout", "runqemu")]
        self.qemu: words.Pairs = []
        self.append: list[str] = []
        self.warnings: list[tuple[int, str]] = []
        self.used: set[str] = {*LOOKED_UP, *SHELL}

    def value(self, name: str, default: str = "") -> str:
        self.used.add(name)
        return self.variables[name].value if name in self.variables else default

    def options(self, name: str, default: str = "") -> words.Pairs:
        text = words.replaced(
            self.value(name, default), DEPLOY_DIR_IMAGE=self.path(self.files.deploy)
        )
        try:
            return words.pairs(text)
        except ValueError as error:
            line = self.variables[name].line
            raise TapdraftError(
                f"line {line}: {name}: {error}", "quotes come in pairs", USAGE
            ) from None

    def warn(self, name: str, what: str) -> None:
        if name in self.variables:
            self.warnings.append((self.variables[name].line, f"{name} {what}"))

    def add(self, name: str, value: str | int | bool | list[str], why: str = "") -> None:
        self.guest.append(Key(name, value, why))

    def off(self, name: str, value: str | list[str], why: str) -> None:
        self.guest.append(Key(name, value, why, off=True))

    def path(self, path: Path) -> str:
        """Relative to the description's folder where it is below it."""
        relative = os.path.relpath(path, self.base)
        return str(path) if relative.startswith("..") else relative

    def _machine(self) -> tuple[str, Machine]:
        named = self.files.value("MACHINE")
        if named in MACHINES:
            return named, MACHINES[named]
        binary = self.files.value("QB_SYSTEM_NAME")
        for name, machine in MACHINES.items():
            if machine.binary == binary:
                return name, machine
        raise TapdraftError(
            f"machine {named or '(none)'} with {binary or 'no QB_SYSTEM_NAME'} is not known",
            nearest(named, tuple(MACHINES)), USAGE,
        )  # fmt: skip

    def rest(self) -> None:
        """Name what has no meaning here."""
        for name in SHELL:
            if self.value(name):
                self.warn(name, "is a command for a shell: it is not run")
        self.used |= {"QB_NET", "QB_CMDLINE_IP_TAP", "QB_CMDLINE_IP_SLIRP", "QB_SLIRP_OPT",
                      "QB_TAP_OPT", "QB_NETWORK_DEVICE", "QB_ROOTFS_OPT",
                      "QB_ROOTFS_EXTRA_OPT"}  # fmt: skip
        for name in self.variables:
            if name not in self.used:
                self.warn(name, "has no meaning here")
