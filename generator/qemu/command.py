"""The qemu command of a guest: groups of options, each group with its reason.

Everything is said, nothing is left to qemu's or the user's configuration: what is written is the
whole machine. Values hold the description's words as they are; writing them for a shell is the
renderer's work.
"""

import re
from itertools import pairwise

from .. import addressing
from ..addressing import command_line
from ..machines import MACHINES, Machine
from ..model import Guest
from ..options import Group, Option, doubled, pairs
from ..shell import Variable, Word, word
from . import bare, devices, disks, firmware, network

# How the guest's tap comes to qemu: made before and given by name, asked for by qemu itself, or
# given by name with qemu running the scripts.
ATTACHMENTS = ("run", "helper", "hooks")


def command(guest: Guest, attach: str = "run") -> tuple[Group, ...]:
    """The options of the guest's qemu, in order."""
    if guest.defaults == "qemu":
        said = (*bare.groups(guest, attach), _address(guest))
        return tuple(group for group in said if group.options)
    groups = (
        _machine(guest),
        firmware.group(guest),
        _start(guest),
        disks.group(guest),
        network.group(guest, attach),
        network.further(guest),
        _address(guest),
        devices.group(guest),
        Group("Arguments from the description, unchanged.", tuple(pairs(disks.filled(guest)))),
    )
    return tuple(group for group in groups if group.options)


def argv(guest: Guest, attach: str = "run", **variables: str) -> list[str]:
    """The same as a list, the shell's `variables` (accel, cpu, here) filled in."""
    words = [MACHINES[guest.machine].binary]
    for group in command(guest, attach):
        for option in group.options:
            words += option.argv(variables)
    return words


def proof(machine: Machine) -> tuple[Option, ...]:
    """The smallest command that ends by itself if, and only if, KVM runs this machine."""
    return (
        Option("-no-user-config"),
        Option("-nodefaults"),
        Option("-machine", f"{machine.machine},accel=kvm{machine.kvm_machine}"),
        Option("-cpu", "host"),
        Option("-m", "16M"),
        Option("-display", "none"),
        *(Option(*option) for option in machine.proof),
    )


def needs(guest: Guest) -> dict[str, tuple[str, ...]]:
    """What the guest's qemu has to know, by the option whose help tells it.

    Not the CPU of a machine that has another one for older qemus.
    """
    listed = [
        option.value.partition(",")[0]
        for group in command(guest)
        for option in group.options
        if option.name == "-device" and isinstance(option.value, str)
    ]
    # As "driver=NAME" or JSON: qemu itself will say what it does not know.
    listed = [name for name in listed if re.fullmatch("[A-Za-z0-9._-]+", name)]
    cpu = cpu_of(guest).partition(",")[0]
    kind = board(guest).partition(",")[0].removeprefix("type=")
    found = {
        "machine": (kind,) if kind and "=" not in kind else (),
        "cpu": (cpu,) if cpu and not older(guest) and guest.accel != "kvm" else (),
        "device": tuple(dict.fromkeys(listed)),
    }
    return {kind: words for kind, words in found.items() if words}


def sandbox_denies(guest: Guest) -> str:
    """The setting of -sandbox in the description's own arguments that keeps qemu from starting a
    program with more rights than its own, "" without one."""
    given = [after for one, after in pairwise(guest.qemu) if one in ("-sandbox", "--sandbox")]
    settings = [setting for value in given for setting in value.split(",")]
    denying = ("spawn=deny", "elevateprivileges=deny", "elevateprivileges=children")
    return next((setting for setting in settings if setting in denying), "")


def board(guest: Guest) -> str:
    """-machine, without the accelerator."""
    if guest.defaults == "qemu":
        return bare.board(guest)
    return (guest.board or MACHINES[guest.machine].machine) + firmware.board(guest)


def cpu_of(guest: Guest) -> str:
    """-cpu under TCG; "" where the board has only its own."""
    return guest.cpu or ("" if guest.defaults == "qemu" else MACHINES[guest.machine].cpu)


def older(guest: Guest) -> str:
    """The CPU for a qemu that does not know the machine's own; "" where there is no such one."""
    said = guest.cpu or guest.accel == "kvm" or guest.defaults == "qemu"
    return "" if said else MACHINES[guest.machine].older


def accel(guest: Guest) -> str:
    """The accelerator; "auto" is TCG where nothing can prove that KVM works, and "" where qemu
    decides."""
    if guest.defaults == "qemu":
        return "" if guest.accel == "auto" else guest.accel
    if guest.accel == "auto" and not MACHINES[guest.machine].proof:
        return "tcg"
    return guest.accel


def _machine(guest: Guest) -> Group:
    machine = MACHINES[guest.machine]
    under = accel(guest)
    kind: str | Word
    cpu: str | Word
    if under == "auto":
        kind = word(f"{board(guest)},accel=", Variable.ACCEL)
        cpu = word(Variable.CPU)
    elif under == "kvm":
        kind = f"{board(guest)},accel=kvm{machine.kvm_machine}"
        cpu = guest.cpu or machine.kvm
    else:
        kind = f"{board(guest)},accel=tcg"
        cpu = word(Variable.CPU) if older(guest) else cpu_of(guest)
    options = [
        Option("-name", f"guest={doubled(guest.title)}"),
        Option("-no-user-config"),
        Option("-nodefaults"),
        Option("-machine", kind),
        *([Option("-cpu", cpu)] if cpu else []),
        Option("-smp", str(guest.cpus)),
        Option("-m", f"{guest.memory}M"),
        *(Option(*option) for option in machine.extra),
    ]
    if machine.bus:
        # Or a guest that has just started waits for randomness.
        options.append(Option("-object", "rng-random,id=rng0,filename=/dev/urandom"))
        options.append(Option("-device", f"virtio-rng-{machine.bus},rng=rng0"))
    return Group(
        "The machine: these devices, and none that qemu would add by itself.", tuple(options)
    )


def _start(guest: Guest) -> Group:
    """The kernel outside the image, and what it is told."""
    added = addressing.METHODS[guest.addressing].adds(guest)
    options = [Option("-kernel", guest.kernel)] if guest.kernel else []
    if guest.initrd:
        options.append(Option("-initrd", guest.initrd))
    if guest.dtb:
        options.append(Option("-dtb", guest.dtb))
    if guest.kernel:
        console = f"console={MACHINES[guest.machine].console}"
        has_console = any(word.startswith("console=") for word in guest.append.split())
        words = (
            *(() if has_console else (console,)),
            *command_line.nfs_root(guest),
            *command_line.dhcp(guest),
            *added.append,
            guest.append,
        )
        options.append(Option("-append", " ".join(word for word in words if word)))
    return Group("What it boots, and the kernel's command line.", tuple(options))


def _address(guest: Guest) -> Group:
    """What tells the guest its address, where that is something of qemu's."""
    added = addressing.METHODS[guest.addressing].adds(guest)
    return Group(added.why, tuple(Option(*option) for option in added.options), added.plain)
