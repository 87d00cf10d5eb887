"""The qemu command of a guest with defaults = "qemu": what the description says, nothing besides.

Where it is silent, the board and qemu decide, as for whoever starts qemu by hand. The order is
that of Yocto's runqemu, since it is the order in which devices get their places on a bus:

    network card, `qemu`, other disks, board, CPU and memory, sockets, serial lines, screen,
    `graphics`, firmware, kernel

In `qemu` @DISK0@ stands for the file of the first disk whose bus is "qemu", and so on. In `append`
@IP@ stands for the words that tell the address, and @CONSOLE@ for those of `console`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import disks, firmware, layout, network
from .machines import MACHINES
from .options import Group, Option, doubled, pairs

if TYPE_CHECKING:
    from .description import Guest

IP, CONSOLE = "@IP@", "@CONSOLE@"


def groups(guest: "Guest", attach: str) -> tuple[Group, ...]:
    """The groups of options, in order; what tells the address is the caller's."""
    from . import devices  # noqa: PLC0415  it asks this module for the screen

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


def board(guest: "Guest") -> str:
    """-machine; "" for qemu's own."""
    return (guest.board + firmware.board(guest)).lstrip(",")


def _machine(guest: "Guest") -> Iterator[Option]:
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


def _start(guest: "Guest") -> Iterator[Option]:
    if guest.kernel:
        yield Option("-kernel", guest.kernel)
    if guest.initrd:
        yield Option("-initrd", guest.initrd)
    words = kernel_words(guest) if guest.kernel else ""
    if words:
        yield Option("-append", words)
    if guest.dtb:
        yield Option("-dtb", guest.dtb)


def kernel_words(guest: "Guest") -> str:
    """The kernel's command line: `append`, with its marks replaced."""
    from . import addressing  # noqa: PLC0415  the methods look at descriptions

    told = addressing.METHODS[guest.addressing].adds(guest).append
    if guest.has_tap and guest.ip_tap:
        told = layout.words(guest)
    elif guest.network in ("user", "bridge"):
        told = tuple(guest.ip_user.split())
    marks = {IP: told, CONSOLE: tuple(f"console={name}" for name in _consoles(guest))}
    words = [*layout.nfs_root(guest)]
    if guest.append and IP not in guest.append.split():
        words += told
    for word in guest.append.split():
        words += marks.get(word, (word,))
    return " ".join(words)


def _consoles(guest: "Guest") -> tuple[str, ...]:
    """None where all there is to see is a window: then that is the console."""
    is_seen = any(line not in ("window", "none") for line in guest.serial)
    return guest.console if is_seen or not guest.serial else ()


def screen(guest: "Guest") -> Iterator[Option]:
    """What runqemu adds for a screen; the board's own is there besides."""
    from . import devices  # noqa: PLC0415  it asks this module for the screen

    if guest.display == "none":
        # More than -display none: the board and its firmware are told that nobody looks.
        yield Option("-nographic")
        return
    is_accelerated = guest.gl != "off" or guest.display == "egl-headless"
    is_pc = MACHINES[guest.machine].binary.endswith(("i386", "x86_64"))
    if guest.display in devices.SHARED:
        # Without -nodefaults qemu shows its monitor on this screen, which others can reach.
        yield from devices.served(guest)
        yield Option("-monitor", "none")
        return
    if is_pc:
        yield Option("-device", "virtio-vga-gl" if is_accelerated else "virtio-vga")
    gl = f",gl={guest.gl}" if guest.gl != "off" else ""
    yield Option("-display", guest.display + gl + ",show-cursor=on")
