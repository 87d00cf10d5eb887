"""The qemu command of a guest: groups of options, each group with its reason.

Everything is said, nothing is left to qemu's or the user's configuration: what is written is the
whole machine. Values hold the description's words as they are; writing them for a shell is the
renderer's work.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import addressing, requests
from .description import Guest
from .machines import MACHINES, Machine
from .shell import Marked
from .values import Disk

# How the guest's tap comes to qemu: made before and given by name, asked for by qemu itself, or
# given by name with qemu running the scripts.
ATTACHMENTS = ("run", "helper", "hooks")


class Option(NamedTuple):
    name: str
    value: str = ""  # without one: an option that takes none

    def words(self) -> tuple[str, ...]:
        return (self.name, self.value) if self.value else (self.name,)


class Group(NamedTuple):
    why: str
    options: tuple[Option, ...]
    plain: tuple[str, ...] = ()  # lines to show below the reason


def command(guest: Guest, attach: str = "run") -> tuple[Group, ...]:
    """The options of the guest's qemu, in order."""
    groups = (
        _machine(guest), _start(guest), _disks(guest), _network(guest, attach),
        _address(guest), _display(guest),
        Group("From the description, as they are.", tuple(_pairs(guest.qemu))),
    )  # fmt: skip
    return tuple(group for group in groups if group.options)


def argv(guest: Guest, attach: str = "run", **variables: str) -> list[str]:
    """The same as a list, the shell's `variables` (accel, cpu, here) filled in."""
    words = [MACHINES[guest.machine].binary]
    for group in command(guest, attach):
        for option in group.options:
            for word in option.words():
                words.append(word.filled(variables) if isinstance(word, Marked) else word)
    return words


def proof(machine: Machine) -> tuple[Option, ...]:
    """The smallest command that ends by itself if, and only if, KVM runs this machine."""
    return (
        Option("-no-user-config"),
        Option("-nodefaults"),
        Option("-machine", f"{machine.machine},accel=kvm"),
        Option("-cpu", "host"),
        Option("-m", "16M"),
        Option("-display", "none"),
        *(Option(*option) for option in machine.proof),
    )


def doubled(text: str) -> str:
    """A comma within a value of qemu's is written twice."""
    return text.replace(",", ",,")


def _pairs(words: Sequence[str]) -> Iterator[Option]:
    """The words with each option's value beside it, for the reader; none is lost or added."""
    rest = list(words)
    while rest:
        name = rest.pop(0)
        takes = name.startswith("-") and rest and rest[0] and not rest[0].startswith("-")
        yield Option(name, rest.pop(0) if takes else "")


def _machine(guest: Guest) -> Group:
    machine = MACHINES[guest.machine]
    if guest.accel == "auto":
        kind, cpu = Marked(f"{machine.machine},accel=$accel"), Marked("$cpu")
    else:
        kind = Marked(f"{machine.machine},accel={guest.accel}")
        cpu = Marked("host" if guest.accel == "kvm" else machine.cpu)
    options = (
        Option("-name", f"guest={doubled(guest.title)}"),
        Option("-no-user-config"),
        Option("-nodefaults"),
        Option("-machine", kind),
        Option("-cpu", cpu),
        Option("-smp", str(guest.cpus)),
        Option("-m", f"{guest.memory}M"),
        # Or a guest that has just started waits for randomness.
        Option("-object", "rng-random,id=rng0,filename=/dev/urandom"),
        Option("-device", f"virtio-rng-{machine.bus},rng=rng0"),
    )
    return Group("The machine: exactly this, whatever qemu would add by itself.", options)


def _start(guest: Guest) -> Group:
    """The kernel outside the image, and what it is told."""
    added = addressing.METHODS[guest.addressing].adds(guest)
    options = [Option("-kernel", guest.kernel)] if guest.kernel else []
    if guest.initrd:
        options.append(Option("-initrd", guest.initrd))
    if guest.kernel:
        console = f"console={MACHINES[guest.machine].console}"
        has_console = any(word.startswith("console=") for word in guest.append.split())
        words = (*(() if has_console else (console,)), *added.append, guest.append)
        options.append(Option("-append", " ".join(word for word in words if word)))
    return Group("What it starts, and what the kernel is told.", tuple(options))


def _disks(guest: Guest) -> Group:
    options = []
    for index, disk in enumerate(guest.disks):
        options.append(Option("-drive", _drive(index, disk)))
        bus = MACHINES[guest.machine].bus
        options.append(Option("-device", f"virtio-blk-{bus},drive=disk{index}"))
    return Group("Its disks. The format is named, never guessed from what the guest wrote.",
                 tuple(options))  # fmt: skip


def _drive(index: int, disk: Disk) -> str:
    # "nbd:..." would be a protocol to qemu, not a file's name.
    plain = disk.file if ":" not in disk.file or disk.file.startswith("/") else f"./{disk.file}"
    readonly = ",readonly=on" if disk.readonly else ""
    return f"file={doubled(plain)},if=none,id=disk{index},format={disk.format}{readonly}"


def _network(guest: Guest, attach: str) -> Group:
    tap = requests.up(guest).tap
    queues = f",queues={guest.queues}" if guest.queues > 1 else ""
    netdev = {
        "run": f"tap,id=net0,ifname={tap},script=no,downscript=no{queues}",
        "helper": f"tap,id=net0,helper=tapdraft-helper {requests.up(guest).line()}",
        "hooks": Marked(
            f"tap,id=net0,ifname={tap},script=$here/ifup,downscript=$here/ifdown{queues}"
        ),
    }[attach]
    device = f"virtio-net-{MACHINES[guest.machine].bus},netdev=net0,mac={guest.mac}"
    # Two vectors a queue pair, one for the control queue, one for changes of configuration.
    device += f",mq=on,vectors={2 * guest.queues + 2}" if guest.queues > 1 else ""
    device += f",host_mtu={guest.mtu}" if guest.mtu != 1500 else ""
    # No boot ROM: nothing is loaded over the network, and the ROM's file need not be installed.
    device += ",romfile=" if MACHINES[guest.machine].bus == "pci" else ""
    why = {
        "run": "Its network: the tap is there already, so qemu runs no script.",
        "helper": "Its network: qemu asks the helper for the tap, which goes when qemu ends.",
        "hooks": "Its network: the tap is there; qemu runs the two scripts, as whoever started it.",
    }[attach]
    return Group(why, (Option("-netdev", netdev), Option("-device", device)))


def _address(guest: Guest) -> Group:
    """What tells the guest its address, where that is something of qemu's."""
    added = addressing.METHODS[guest.addressing].adds(guest)
    return Group(added.why, tuple(Option(*option) for option in added.options), added.plain)


def _display(guest: Guest) -> Group:
    devices = () if guest.display == "none" else MACHINES[guest.machine].display
    options = (
        Option("-display", guest.display),
        *(Option("-device", device) for device in devices),
        Option("-serial", "mon:stdio"),
    )
    return Group("This terminal is its console. Ctrl-a x ends it, Ctrl-a h tells more.", options)
