"""A guest's disks: how each is attached, what its format is, and what has to be unpacked first."""

import re
from collections.abc import Iterator
from os.path import splitext
from typing import NamedTuple

from ..formats import DESCRIPTORS, UNPACKERS, is_packed
from ..machines import MACHINES
from ..model import Disk, Guest, disk_mark
from ..options import Group, Option, plain_file


class PackedDisk(NamedTuple):
    """A compressed disk: unpacked into a file without a name, which `descriptor` holds open."""

    descriptor: int
    file: str
    unpacker: tuple[str, ...]


def packed(guest: Guest) -> tuple[PackedDisk, ...]:
    files = [disk.file for disk in guest.disks if is_packed(disk.file)]
    return tuple(
        PackedDisk(number, file, UNPACKERS[splitext(file)[1]])
        for number, file in zip(DESCRIPTORS, files, strict=False)
    )


def group(guest: Guest) -> Group:
    options = [Option("-snapshot")] if guest.snapshot else []
    options += _disks(guest)
    why = "Its disks. The format is named, never guessed from what the guest wrote."
    if guest.snapshot:
        why += " What the guest writes is discarded when qemu ends."
    return Group(why, tuple(options))


def _disks(guest: Guest) -> Iterator[Option]:
    machine = MACHINES[guest.machine]
    unnamed = _unnamed(guest)
    controllers = set()
    for index, disk in enumerate(guest.disks):
        if disk.bus == "qemu":
            continue
        bus = disk.bus or ("virtio" if machine.bus else machine.disk)
        bus = "ide" if bus == "cdrom" and not machine.bus else bus
        device, controller = _device(bus, machine.bus)
        interface = "none" if device else bus
        more = ",media=cdrom" if disk.bus == "cdrom" and bus == "ide" else ""
        yield Option("-drive", _drive(index, disk, interface, unnamed.get(disk.file, 0)) + more)
        if controller and controller not in controllers:
            controllers.add(controller)
            yield Option("-device", controller)
        if device:
            yield Option("-device", f"{device},drive=disk{index}")


def _unnamed(guest: Guest) -> dict[str, int]:
    return {disk.file: disk.descriptor for disk in packed(guest)}


def filled(guest: Guest) -> tuple[str, ...]:
    """The words of `qemu`, with each mark of a disk replaced by its file."""
    unnamed = _unnamed(guest)
    said = [disk for disk in guest.disks if disk.bus == "qemu"]
    marks = {
        disk_mark(number): _name(disk, unnamed.get(disk.file, 0))
        for number, disk in enumerate(said)
    }
    # In one go: a file's name may look like a mark.
    return tuple(
        re.sub(r"@DISK[0-9]+@", lambda match: marks.get(match[0], match[0]), word)
        for word in guest.qemu
    )


def _name(disk: Disk, descriptor: int) -> str:
    """The file as qemu is given it."""
    return f"/dev/fd/{descriptor}" if descriptor else plain_file(disk.file)


def _device(bus: str, virtio: str) -> tuple[str, str]:
    """The device of a disk, "" where the board has it itself, and the controller it needs."""
    return {
        "virtio": (f"virtio-blk-{virtio}", ""),
        "scsi": ("scsi-hd", f"virtio-scsi-{virtio}"),
        "cdrom": ("scsi-cd", f"virtio-scsi-{virtio}"),
        "sd": ("sd-card", "sdhci-pci") if virtio == "pci" else ("", ""),
    }.get(bus, ("", ""))


def _drive(index: int, disk: Disk, interface: str, descriptor: int) -> str:
    file = _name(disk, descriptor)
    place = f",id=disk{index}" if interface == "none" else f",index={index},id=disk{index}"
    readonly = ",readonly=on" if disk.readonly or disk.bus == "cdrom" else ""
    return f"file={file},if={interface}{place},format={disk.format}{readonly}"
