"""Checks of what the guests' files are: a kernel for the machine, a disk in the format named."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, Place, error
from .machines import MACHINES

_HEAD = 4096
# e_machine of linux/elf-em.h, by the ends of the names of qemu's programs.
_ELF = {
    3: ("i386", "x86_64"),
    8: ("mips", "mipsel", "mips64", "mips64el"),
    20: ("ppc", "ppc64"),
    21: ("ppc64",),
    22: ("s390x",),
    40: ("arm", "aarch64"),
    42: ("sh4", "sh4eb"),
    62: ("x86_64", "i386"),
    183: ("aarch64",),
    189: ("microblaze", "microblazeel"),
    243: ("riscv32", "riscv64"),
    258: ("loongarch64",),
}
# Where else a kernel has its mark: x86's boot.rst, arm64's booting.rst, zImage, riscv's
# boot-image-header.rst.
_MARKS = (
    (0x202, b"HdrS", ("x86_64", "i386")),
    (56, b"ARMd", ("aarch64",)),
    (0x24, b"\x18\x28\x6f\x01", ("arm", "aarch64")),
    (56, b"RSC\x05", ("riscv32", "riscv64")),
)


def kernels(place: Place) -> Iterator[Finding]:
    for guest in place.guests:
        if not guest.kernel:
            continue
        path = place.folder / guest.kernel
        head, own = _head(path), MACHINES[guest.machine].binary.removeprefix("qemu-system-")
        kinds = _architectures(head)
        what = ""
        if path.is_dir():
            what = "is a folder"
        elif _is_text(head):
            what = "is a text"
        elif kinds and own not in kinds:
            what = f"is a kernel for {' or '.join(kinds)}, not for {guest.machine}"
        if what:
            yield error(
                "files",
                f"{path}, the kernel of guest {guest.name}, {what}",
                f'name a kernel for {guest.machine}: kernel = "FILE"   (in the description)',
            )


def disks(place: Place) -> Iterator[Finding]:
    """qemu believes the format that it is told: of another one it makes an unreadable disk."""
    for guest in place.guests:
        for disk in guest.disks:
            head = _head(place.folder / disk.file)
            is_qcow2 = head.startswith(b"QFI\xfb")
            if (
                not head
                or disk.format not in ("raw", "qcow2")
                or is_qcow2 == (disk.format == "qcow2")
            ):
                continue
            there = "qcow2" if is_qcow2 else "not qcow2"
            yield error(
                "files",
                f"{place.folder / disk.file}, a disk of guest {guest.name}, is {there}, "
                f"and its format is said to be {disk.format}",
                f'format = "{"qcow2" if is_qcow2 else "raw"}"   (of that disk, in the description)',
            )


def vhost(place: Place) -> Iterator[Finding]:
    for guest in place.tapped:
        if guest.vhost and not os.access("/dev/vhost-net", os.R_OK | os.W_OK):
            there = os.path.exists("/dev/vhost-net")
            yield error(
                "vhost",
                f"guest {guest.name} wants vhost, and /dev/vhost-net is "
                f"{'closed to you' if there else 'missing'}",
                "chmod 0666 /dev/vhost-net   (as root)"
                if there
                else "modprobe vhost_net   (as root)",
            )


def display(place: Place) -> Iterator[Finding]:
    for guest in place.guests:
        windows = guest.display in ("gtk", "sdl")
        if windows and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            yield error(
                "display",
                f"guest {guest.name} wants a window, and this session has no display",
                'display = "none"   (in the description), or start from a graphical session',
            )


def _head(path: Path) -> bytes:
    """The first bytes of a regular file; nothing of any other, which reading could block on."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, _HEAD) if regular else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\n\r\t" for letter in text)


def _architectures(head: bytes) -> tuple[str, ...]:
    """What a kernel is for by its marks, as qemu's programs are called; () where none is known."""
    if head.startswith(b"\x7fELF") and len(head) > 20:
        machine = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
        return _ELF.get(machine, ())
    for offset, mark, kinds in _MARKS:
        if head[offset : offset + len(mark)] == mark:
            return kinds
    return ()
