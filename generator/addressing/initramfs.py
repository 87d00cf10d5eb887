"""What the files of an initramfs tell about who reads ip=; the rules are in evidence.py."""

import re
import stat

from .archive import Member
from .reader import Reader

_IP = re.compile(rb"(?<![\w.-])ip=|\bKOPT_ip\b")  # Alpine's init has each word as a variable
_DRACUT = re.compile(r"(.*/)?lib/dracut/hooks/cmdline/\d+-(parse-ip-opts|nm-config)\.sh")
_DRACUTS = re.compile(r"(usr/)?lib/dracut[-/].*")
_TOOLS = re.compile(r"scripts/(\w+)-(top|premount|block|bottom)/.+")
_DRIVER = re.compile(r"(.*/)?virtio[-_]net\.ko(\.\w+)?")
_MODULE = re.compile(r"\.ko(\.\w+)?$")
_BUILT_IN = re.compile(rb"/virtio_net\.ko\s")
# An init that belongs to one of these is not judged by its words alone.
_MADE = re.compile(rb"/scripts/functions|init_functions|dracut")

NO_INIT = Reader(False, "its initramfs has no init")


class Seen:
    """What was seen of one, until it is enough."""

    def __init__(self, init: str, boot: str) -> None:
        self._init, self._boot = init, boot
        self._names: set[str] = set()
        self._is_script: bool | None = None  # its init
        self.is_built_in: bool | None = None  # the driver of a virtio card, if it tells
        self._naming = self._reading = self._calling = False  # some script ip=, or a program for it

    def add(self, member: Member) -> Reader | None:
        """One more file; the answer, if that is enough."""
        self.note_drivers(member)
        if _DRACUT.fullmatch(member.name):
            return Reader(True, "dracut's network in its initramfs reads ip=", True, True)
        self._note(member.name)
        if {"systemd-networkd", "generator"} <= self._names:
            why = "systemd-network-generator in its initramfs reads ip="
            return Reader(True, why, takes_each=True)
        if {"init_functions", "hooks/net"} <= self._names:
            return Reader(True, "mkinitcpio's net hook in its initramfs reads ip=")
        if member.name == self._init:
            self._is_script = member.content.startswith(b"#!")
        if stat.S_ISREG(member.mode) and b"\0" not in member.content:
            return self._script(member.name, member.content)
        return None

    @property
    def driver(self) -> bool:
        """Does it bring the driver of a virtio card?"""
        return "driver" in self._names

    @property
    def modules(self) -> bool:
        """Does it bring any driver?"""
        return "module" in self._names

    def note_drivers(self, member: Member) -> None:
        """One more file, of which only what drivers there are matters."""
        name = member.name
        if _DRIVER.fullmatch(name):
            self._names.add("driver")
        elif _MODULE.search(name):
            self._names.add("module")
        elif name.endswith("/modules.builtin") and member.content:
            self.is_built_in = _BUILT_IN.search(member.content) is not None

    def _note(self, name: str) -> None:
        if name in ("init_functions", "hooks/net", "scripts/functions"):
            self._names.add(name)
        elif name.endswith(("/systemd-networkd", "/net-lib.sh")):
            self._names.add(name.rpartition("/")[2])
        elif name.endswith(".wants/systemd-network-generator.service"):
            self._names.add("generator")
        elif _DRACUTS.fullmatch(name):
            self._names.add("dracut")

    def _script(self, name: str, text: bytes) -> Reader | None:
        if name == "init" != self._init:
            return None  # it is not run
        runs = _TOOLS.fullmatch(name)
        is_run = name in (self._init, f"scripts/{self._boot}")
        if runs:
            is_run = runs[1] in ("init", self._boot)
        if is_run and b"configure_networking" in text:
            return Reader(True, "initramfs-tools in its initramfs reads ip= for a script there")
        names_ip = _IP.search(text) is not None
        if runs or name.startswith("hooks/"):
            self._calling |= names_ip or b"ipconfig" in text
        reads = names_ip and b"/proc/cmdline" in text and not _MADE.search(text)
        if reads and name == self._init:
            return Reader(True, "its initramfs reads ip=: its init does", takes_each=True)
        self._naming |= names_ip
        self._reading |= reads
        return None

    def verdict(self) -> Reader:
        """When all files were seen."""
        maker = self._maker()
        if self._is_script is None:
            return NO_INIT
        if maker and self._calling:
            return Reader(None, f"{maker} made its initramfs, and some script there names ip=")
        if maker == "dracut" and "net-lib.sh" in self._names:
            return Reader(None, "dracut made its initramfs, with a network that is not known here")
        if maker == "initramfs-tools" and self._boot not in ("local", "nfs"):
            return Reader(None, f"initramfs-tools made its initramfs, for boot={self._boot}")
        if maker:
            return Reader(False, f"{maker} made its initramfs, without a network")
        return self._of_any_maker()

    def _maker(self) -> str:
        known = {
            "scripts/functions": "initramfs-tools",
            "dracut": "dracut",
            "init_functions": "mkinitcpio",
        }
        return next((maker for name, maker in known.items() if name in self._names), "")

    def _of_any_maker(self) -> Reader:
        if self._reading:
            return Reader(True, "a script in its initramfs reads ip=")
        if self._naming:
            return Reader(None, "a script in its initramfs names ip=, but may not read it")
        if self._is_script:
            return Reader(False, "no script in its initramfs names ip=")
        return Reader(None, "the init of its initramfs is a program")
