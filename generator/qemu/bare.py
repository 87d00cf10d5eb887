"""The qemu command of a guest with defaults = "qemu": what the description says, nothing besides.

Where it is silent, the board and qemu decide, as for whoever starts qemu by hand. The order is
that of Yocto's runqemu, since it is the order in which devices get their places on a bus:

    network card, `qemu`, other disks, board, CPU and memory, sockets, serial lines, screen,
    `graphics`, firmware, kernel

In `qemu` @DISK0@ stands for the file of the first disk whose bus is "qemu", and so on. In `append`
@IP@ stands for the words that tell the address, and @CONSOLE@ for those of `console`.
"""

from collections.abc import Iterator

from .. import addressing
from ..addressing import command_line
from ..model import CONSOLE, IP, Guest
from ..options import Group, Option, doubled, pairs
from . import devices, disks, firmware, network


def groups(guest: Guest, attach: str) -> tuple[Group, ...]:
    """The groups of options, in order; what tells the address is the caller's."""
    return (
        Group("Its name.", (Option("-name", f"guest={doubled(guest.title)}"),)),
        network.group(guest, attach),
        network.further(guest),
        Group("Arguments from the description, unchanged.", tuple(pairs(disks.filled(guest)))),
        disks.group(guest),
        Group("The machine. Everything else is qemu's default.", tuple(_machine(guest))),
        devices.group(guest),
        Group("The screen's devices, from the description.", tuple(pairs(guest.graphics))),
        firmware.group(guest),
        Group("What it boots, and the kernel's command line.", tuple(_start(guest))),
    )


def board(guest: Guest) -> str:
    """-machine; "" for qemu's own."""
    return (guest.board + firmware.board(guest)).lstrip(",")


def _machine(guest: Guest) -> Iterator[Option]:
    if board(guest):
        yield Option("-machine", board(guest))
    if guest.accel != "auto":
        yield Option("-accel", guest.accel)
    if guest.cpu:
        yield Option("-cpu", guest.cpu)
    if guest.cpus:
        yield Option("-smp", str(guest.cpus))
    if guest.memory:
        yield Option("-m", f"{guest.memory}M")


def _start(guest: Guest) -> Iterator[Option]:
    if guest.kernel:
        yield Option("-kernel", guest.kernel)
    if guest.initrd:
        yield Option("-initrd", guest.initrd)
    words = kernel_words(guest) if guest.kernel else ""
    if words:
        yield Option("-append", words)
    if guest.dtb:
        yield Option("-dtb", guest.dtb)


def kernel_words(guest: Guest) -> str:
    """The kernel's command line: `append`, with its marks replaced."""
    told = addressing.METHODS[guest.addressing].adds(guest).append
    if guest.has_tap and guest.ip_tap:
        told = command_line.words(guest)
    elif guest.network in ("user", "bridge"):
        told = tuple(guest.ip_user.split())
    marks = {IP: told, CONSOLE: tuple(f"console={name}" for name in _consoles(guest))}
    words = [*command_line.nfs_root(guest)]
    if guest.append and IP not in guest.append.split():
        words += told
    for word in guest.append.split():
        words += marks.get(word, (word,))
    return " ".join(words)


def _consoles(guest: Guest) -> tuple[str, ...]:
    """None where all there is to see is a window: then that is the console."""
    is_seen = any(line not in ("window", "none") for line in guest.serial)
    return guest.console if is_seen or not guest.serial else ()
