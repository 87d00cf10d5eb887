"""A guest's disks: how each is attached, what its format is, and what has to be unpacked first."""

import re
from collections.abc import Iterator
from os.path import splitext
from typing import TYPE_CHECKING, Any, NamedTuple

from . import values
from .machines import MACHINES
from .options import Group, Option, plain_file
from .values import Wrong

if TYPE_CHECKING:
    from .description import Guest

BUSES = ("virtio", "scsi", "ide", "sd", "cdrom", "mtd", "qemu")
# By the ending of a file's name. Never left to qemu: a guest that writes another format's header
# into a raw disk would be given whatever file that header names.
FORMATS = {
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vhd": "vpc",
    ".vhdx": "vhdx",
    ".vdi": "vdi",
}
DISK_FORMATS = ("raw", *FORMATS.values())
UNPACKERS = {
    ".zst": ("zstd", "-dcq"),
    ".gz": ("gzip", "-dc"),
    ".xz": ("xz", "-dc"),
    ".bz2": ("bzip2", "-dc"),
    ".lz4": ("lz4", "-dcq"),
}
# A shell's file descriptors have one digit; those up to 4 are in use, and 9 is the lock of run.
DESCRIPTORS = range(5, 9)


class Disk(NamedTuple):
    file: str  # as named in the description
    format: str
    readonly: bool = False
    bus: str = ""  # the machine's usual one


class Packed(NamedTuple):
    """A compressed disk: unpacked into a file without a name, which `descriptor` holds open."""

    descriptor: int
    file: str
    unpacker: tuple[str, ...]


def stem(file: str) -> str:
    """The name without the ending of a compression."""
    return splitext(file)[0] if is_packed(file) else file


def is_packed(file: str) -> bool:
    return splitext(file)[1] in UNPACKERS


def kind(file: str) -> str:
    """The format that the name tells."""
    return FORMATS.get(splitext(stem(file))[1], "raw")


def _format(value: Any) -> str:
    if value == "vhd":
        what = f"this is none of {', '.join(DISK_FORMATS)}"
        raise Wrong(what, "did you mean vpc? It is qemu's name for vhd")
    return str(values.one_of(*DISK_FORMATS)(value))


_READ = values.table(
    "a disk",
    {
        "file": values.file,
        "format": _format,
        "readonly": values.boolean,
        "bus": values.one_of(*BUSES),
    },
)


def disk(value: Any) -> Disk:
    """A file's name, or a table of `file`, `format`, `readonly` and `bus`."""
    if not isinstance(value, str | dict):
        hint = 'write "disk.img", or { file = "disk.img", readonly = true }'
        raise Wrong(f"this is {values.named(value)}, not a file's name or a table", hint)
    found = _READ({"file": value} if isinstance(value, str) else value)
    if "file" not in found:
        raise Wrong("this disk has no file", 'write file = "disk.img"')
    found.setdefault("format", kind(found["file"]))
    if found["file"].endswith(".iso"):
        found = {"bus": "cdrom", "readonly": True, **found}
    return Disk(**found)


def packed(guest: "Guest") -> tuple[Packed, ...]:
    files = [disk.file for disk in guest.disks if is_packed(disk.file)]
    return tuple(
        Packed(number, file, UNPACKERS[splitext(file)[1]])
        for number, file in zip(DESCRIPTORS, files, strict=False)
    )


def objection(guest: "Guest") -> tuple[str, str]:
    """What is wrong with the disks of this guest, and what to do."""
    machine = MACHINES[guest.machine]
    files = [disk.file for disk in guest.disks if is_packed(disk.file)]
    if files and not guest.snapshot:
        return (
            f"{files[0]} is compressed: the guest's writes cannot be kept",
            "write snapshot = true to discard them, or unpack the disk",
        )
    if len(files) > len(DESCRIPTORS):
        return f"at most {len(DESCRIPTORS)} disks can be compressed", "unpack some"
    said = [index for index, disk in enumerate(guest.disks) if disk.bus == "qemu"]
    for number, index in enumerate(said):
        if not any(_mark(number) in word for word in guest.qemu):
            what = f"nothing in qemu attaches {guest.disks[index].file}"
            return what, f'write "-drive", "file={_mark(number)},..." there, or another bus'
    if said and sum(word.count("@DISK") for word in guest.qemu) > values.MOST_MARKS:
        what = f"qemu has more than {values.MOST_MARKS} marks of disks"
        return what, "write each @DISK0@ once"
    for disk in guest.disks:
        if disk.bus == "qemu" or (guest.defaults == "qemu" and not disk.bus):
            continue
        bus = disk.bus or machine.disk
        if not bus:
            return f"machine {guest.machine} has no disks", "start it from an initrd"
        if bus in ("virtio", "scsi") and not machine.bus:
            return f"machine {guest.machine} has no {bus}", f'write bus = "{machine.disk}"'
    return "", ""


def group(guest: "Guest") -> Group:
    options = [Option("-snapshot")] if guest.snapshot else []
    options += _disks(guest)
    why = "Its disks. The format is named, never guessed from what the guest wrote."
    if guest.snapshot:
        why += " What the guest writes is discarded when qemu ends."
    return Group(why, tuple(options))


def _disks(guest: "Guest") -> Iterator[Option]:
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


def _unnamed(guest: "Guest") -> dict[str, int]:
    return {disk.file: disk.descriptor for disk in packed(guest)}


def _mark(number: int) -> str:
    return f"@DISK{number}@"


def filled(guest: "Guest") -> tuple[str, ...]:
    """The words of `qemu`, with each mark of a disk replaced by its file."""
    unnamed = _unnamed(guest)
    said = [disk for disk in guest.disks if disk.bus == "qemu"]
    marks = {
        _mark(number): _name(disk, unnamed.get(disk.file, 0)) for number, disk in enumerate(said)
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
