"""The keys of a guest that say what its hardware is and how it is reached, beside its tap.

Each is a row of KEYS; what it means is in tapdraft.toml(5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import devices, disks, firmware, layout, network, plain, values
from .machines import MACHINES
from .network import Interface
from .reading import Keys

if TYPE_CHECKING:
    from .description import Guest

_INTERFACE = values.table(
    "an interface",
    {
        "network": values.one_of(*network.FURTHER),
        "bridge": values.interface,
        "mac": values.mac,
        "nic": values.text,
        "forward": values.many(values.forward),
    },
)


def _interface(value: Any) -> Interface:
    found = _INTERFACE(value)
    if (found.get("network") == "bridge") != ("bridge" in found):
        what = 'network = "bridge" and the bridge\'s name go together'
        raise values.Wrong(what, 'write { network = "bridge", bridge = "br0" }')
    if "network" not in found:
        raise values.Wrong("this interface has no network", 'write { network = "user" }')
    if found["network"] == "bridge" and "forward" in found:
        raise values.Wrong('forward needs network = "user"', 'write network = "user"', ("forward",))
    return Interface(
        found["network"],
        found.get("bridge", ""),
        found.get("mac", ""),
        found.get("nic", ""),
        found.get("forward", ()),
    )


# Where the description is silent: tapdraft's rows of machines, or qemu's own.
DEFAULTS = ("tapdraft", "qemu")
KEYS: Keys = {
    "defaults": values.one_of(*DEFAULTS),
    "board": values.text,
    "cpu": values.text,
    "nic": values.text,
    "card": values.many(values.text),
    "user-net": values.many(values.text),
    "ip-tap": values.text,
    "ip-user": values.text,
    "console": values.many(values.text),
    "graphics": values.many(values.text),
    "dtb": values.file,
    "bios": values.file,
    "firmware": values.file,
    "display": values.one_of(*devices.DISPLAYS),
    "gl": values.one_of(*devices.GL),
    "serial": values.many(devices.serial_line, "none", "window"),
    "audio": values.one_of(*devices.AUDIO),
    "agent": values.file,
    "qmp": devices.qmp,
    "snapshot": values.boolean,
    "nfs": layout.nfs,
    "network": values.one_of(*network.KINDS),
    "bridge": values.interface,
    "vhost": values.boolean,
    "tftp": values.file,
    "interface": values.one_or_many(_interface),
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What these keys come to for one guest."""

    board: str = ""  # -machine, "" for the machine's own
    cpu: str = ""  # -cpu, "" for the machine's own
    nic: str = ""  # -device, "" for the machine's own
    card: tuple[str, ...] = ()  # qemu's options for the card, in place of `nic`
    user_net: tuple[str, ...] = ()  # of qemu's own network, where the guest has that
    ip_tap: str = ""  # the kernel's words for the address on a tap, with marks
    ip_user: str = ""  # the same where the guest asks by DHCP
    console: tuple[str, ...] = ()  # the kernel's names, in place of @CONSOLE@
    graphics: tuple[str, ...] = ()  # qemu's options for the screen
    defaults: str = "tapdraft"  # one of DEFAULTS
    dtb: str = ""
    bios: str = ""
    firmware: str = ""  # one of firmware.WORDS, or a file
    display: str = "none"
    gl: str = "off"
    serial: tuple[str, ...] = ("terminal",)
    audio: str = ""
    agent: str = ""  # the socket of the guest agent
    qmp: str = ""  # a socket
    snapshot: bool = False
    nfs: str = ""  # SERVER:/folder,options or /folder,options
    network: str = "tap"  # one of network.KINDS
    bridge: str = ""
    vhost: bool = False
    tftp: str = ""
    interfaces: tuple[Interface, ...] = ()
    layout: str = "blocks"  # of [network]

    @property
    def has_tap(self) -> bool:
        return self.network == "tap"


def _plain(guest: "Guest") -> Iterator[tuple[str, str, str]]:
    """What belongs together with defaults = "qemu"."""
    if guest.defaults == "qemu":
        if not (guest.card or guest.nic or guest.network == "none"):
            yield "defaults", "no network card is named", 'write nic = "virtio-net-pci"'
        words = guest.append.split()
        for mark in (plain.IP, plain.CONSOLE):
            if words.count(mark) > values.MOST_MARKS:
                what = f"append has {mark} more than {values.MOST_MARKS} times"
                yield "append", what, f"write {mark} once"
        return
    for key in ("console", "graphics", "ip_tap", "ip_user"):
        if getattr(guest, key):
            what = f'{key.replace("_", "-")} without defaults = "qemu"'
            yield key.replace("_", "-"), what, 'write defaults = "qemu", or leave it out'


def objections(guest: "Guest") -> Iterator[tuple[str, str, str]]:
    """The key, what is wrong with it, and what to do."""
    machine = MACHINES[guest.machine]
    is_plain = guest.defaults == "qemu"
    yield from _plain(guest)
    if guest.accel == "kvm" and not is_plain and not (machine.kvm or guest.cpu):
        yield "accel", f"machine {guest.machine} does not run under KVM", 'write accel = "tcg"'
    if guest.kernel and machine.dtb and not guest.dtb and not is_plain:
        what = f"machine {guest.machine} has no way to tell the kernel what it is"
        yield "kernel", what, 'name the device tree: dtb = "board.dtb"'
    if guest.dtb and not guest.kernel:
        yield "dtb", "dtb needs a kernel", 'write kernel = "Image" as well'
    if guest.firmware and guest.bios:
        yield "bios", "bios and firmware are both given", "leave one of them out"
    yield ("firmware", *firmware.objection(guest))
    yield ("disk", *disks.objection(guest))
    yield devices.objection(guest)
    yield network.objection(guest)
    yield ("nfs", *layout.nfs_objection(guest))
