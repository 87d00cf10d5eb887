"""What a qemuboot.conf passes on to qemu that reaches beyond the guest's own hardware.

The options that machine configurations have for hardware are known here, and what of them names no
file and no connection goes without a word. Whatever else is said is told, whether it is harmful
or not: a list of what is harmful would never be complete.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from . import words

# Options of qemu that take no value: a word behind one is a disk's file.
_ALONE = (
    "-snapshot",
    "-no-reboot",
    "-no-shutdown",
    "-nographic",
    "-usb",
    "-show-cursor",
    "-enable-kvm",
    "-nodefaults",
    "-no-user-config",
    "-S",
    "-no-acpi",
    "-no-hpet",
)
# Those with a value that is about hardware, as far as it names nothing outside.
_HARDWARE = (
    "-device",
    "-machine",
    "-M",
    "-cpu",
    "-smp",
    "-m",
    "-global",
    "-vga",
    "-rtc",
    "-boot",
    "-k",
    "-icount",
    "-accel",
    "-watchdog",
    "-watchdog-action",
    "-soundhw",
    "-g",
    "-name",
    "-uuid",
    "-numa",
    "-append",
)
_FILES = ("-bios", "-dtb", "-kernel", "-initrd", "-hw-dtb")
_DISKS = ("-drive", "-hda", "-hdb", "-hdc", "-hdd", "-cdrom", "-sd", "-mtdblock", "-pflash")
# What of these leads nowhere but to the terminal or the window.
_CLOSED = {
    "-serial": r"mon:(stdio|vc)|stdio|null|none|vc(:.*)?",
    "-parallel": r"stdio|null|none|vc(:.*)?",
    "-monitor": r"stdio|null|none|vc(:.*)?",
    "-usbdevice": r"tablet|mouse|keyboard|wacom-tablet|ccid",
    # Without server=on it connects, here to a port that is the user's to open.
    "-chardev": r"(null|stdio|vc|ringbuf)(,(id|mux|size)=\w+)*"
    r"|socket(,(id=\w+|port=[0-9]+|host=127\.0\.0\.1|nodelay=on))*",
    "-object": r"(rng-random(,(id=\w+|filename=/dev/u?random))*|can-bus,id=\w+"
    r"|rng-builtin,id=\w+|memory-backend-ram(,[a-z]+=\w+)*|cryptodev-backend,id=\w+)",
    "-net": r"nic(,(netdev|model|macaddr|vlan|name|id)=[^,]*)*",
    "-display": r"(none|gtk|sdl|curses|egl-headless)(,[a-z-]+=\w+)*",
    "-audiodev": r"(none|alsa|pa|pipewire|sdl|oss|jack),id=\w+",
    "-audio": r"(none|alsa|pa|pipewire|sdl|oss|jack)(,model=\w+)?",
}
# Properties that name a file, whatever device or board has them, and those of something else.
_FILE = re.compile(r"[\w.-]*(file|filename|path|dir|backing|dumpdtb|dtb|firmware|kernel|initrd)")
_PLACE = re.compile(r"[\w.-]*(host|fd|server|socket|url|sysfsdev|driver)")
# Devices that are something of the host's.
_OF_THE_HOST = re.compile(
    "(driver=)?(usb-host|usb-redir|usb-mtp|vfio|vhost|ivshmem|virtio-9p|ipmi-bmc-extern|scsi-generic"
    "|scsi-block|pvrdma).*"
)
_MAC = re.compile("@MAC@|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class Beyond:
    """`deploy` is the image's folder, whose files are the image's own; qemu takes the others from
    `base`, the description's."""

    def __init__(self, deploy: Path, base: Path) -> None:
        self._deploy = os.path.realpath(deploy)
        self._base = base

    def told(self, said: list[str]) -> Iterator[str]:
        """Each option of `said` that is not about the guest's hardware alone, for a person."""
        rest = list(said)
        while rest:
            name = rest.pop(0)
            if not name.startswith("-"):
                yield f"{name}, which qemu takes for a disk's file"
                continue
            # qemu takes two dashes for one.
            option = name[1:] if name.startswith("--") else name
            if option in _ALONE:
                continue
            known = option in (*_HARDWARE, *_FILES, *_DISKS, *_CLOSED)
            # qemu takes the next word for the value of an option that has one, whatever it is.
            value = rest.pop(0) if rest and (known or not rest[0].startswith("-")) else ""
            if not (known and self._is_hardware(option, value)):
                yield f"{name} {value}".rstrip()

    def leads_out(self, file: Path) -> str:
        """Where the link `file` leads if that is not below the image's folder, else ""."""
        real = Path(os.path.realpath(file))
        return "" if real.is_relative_to(self._deploy) else str(real)

    def is_own_network(self, part: str) -> bool:
        """Is this property of qemu's own network about the guest and ports of 127.0.0.1 alone?"""
        name, _, value = part.partition("=")
        if name == "hostfwd":
            return re.match(r"(tcp|udp)?:127\.0\.0\.1:[0-9]+-", value) is not None
        if name in ("tftp", "bootfile"):
            return self._is_images(value)
        return name == "net" or (name not in ("guestfwd", "smb") and "/" not in value)

    def _is_hardware(self, option: str, value: str) -> bool:
        if option in _CLOSED:
            return re.fullmatch(_CLOSED[option], value) is not None
        if option in ("-append", "-name"):
            return True
        if option in _FILES:
            return self._is_images(value)
        if value.startswith("{") or _OF_THE_HOST.fullmatch(value):
            return False  # JSON says the same in other words
        head, *rest = words.parts(value)
        if "=" in head:
            rest.append(head)
        elif not (self._is_images(head) if option in _DISKS else _is_plain(head)):
            return False
        return all(self._is_own(part) for part in rest)

    def _is_own(self, part: str) -> bool:
        """Does a property name nothing outside?"""
        name, _, value = part.partition("=")
        if _FILE.fullmatch(name.lower()):
            return self._is_images(value)
        return not _PLACE.fullmatch(name.lower()) and _is_plain(value)

    def _is_images(self, value: str) -> bool:
        """A file of the image's own, where the link that it may be does not lead out."""
        if value in ("", "@ROOTFS@"):
            return True
        file = value.replace(",,", ",")
        # A protocol: nbd:, fat:, json:
        return ":" not in file.partition("/")[0] and not self.leads_out(self._base / file)


def _is_plain(value: str) -> bool:
    return bool(_MAC.fullmatch(value)) or not set("/:") & set(value)
