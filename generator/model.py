"""The model: what a description says, complete and checked. Everything else works with it.

Nothing here knows of TOML, of qemu's options or of shell. All classes are frozen. Text is as the
description has it: whoever makes an argument, a line of a file or a page of it quotes it there.
"""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from ..helper.request import Forward
from .errors import USAGE, TapdraftError

DEFAULT_SUBNET = IPv4Network("192.168.7.0/24")
# The values that keys allow.
ACCELERATORS = ("auto", "kvm", "tcg")
# Where the description is silent: tapdraft's rows of machines, or qemu's own.
DEFAULTS = ("tapdraft", "qemu")
LAYOUTS = ("blocks", "runqemu")
KINDS = ("tap", "user", "bridge", "none")
FURTHER = ("user", "bridge")  # beside the first: there is one tap for a guest
BUSES = ("virtio", "scsi", "ide", "sd", "cdrom", "mtd", "qemu")
FIRMWARE_WORDS = ("uefi", "secure-boot")
DISPLAYS = ("none", "gtk", "sdl", "egl-headless", "vnc", "public-vnc")
SHARED = ("vnc", "public-vnc")  # reached over the network, by others too
GL = ("off", "on", "es")
AUDIO = ("none", "alsa", "pa", "pipewire", "sdl", "oss", "jack")
SERIAL = ("terminal", "window", "none")  # and tcp:PORT, listen:PORT, file:NAME
# In `append` of a guest with defaults = "qemu": stands for what tells the address, or the console.
IP, CONSOLE = "@IP@", "@CONSOLE@"
USER_NETWORK = IPv4Address("10.0.2.0")  # qemu's own network, where nobody says otherwise


class Disk(NamedTuple):
    file: str  # as named in the description
    format: str
    readonly: bool = False
    bus: str = ""  # the machine's usual one


class Interface(NamedTuple):
    """One beside the first."""

    network: str  # one of FURTHER
    bridge: str = ""
    mac: str = ""
    nic: str = ""
    forwards: tuple[Forward, ...] = ()


class IpReader(NamedTuple):
    """Who reads ip= on the kernel's command line; `reads` is None if nobody can tell."""

    reads: bool | None
    why: str
    takes_each: bool = False  # one ip= for each card, or the last one alone?
    is_dracut: bool = False  # which does nothing without rd.neednet
    is_packed: bool = False  # so that it could not be looked at, as distributions' are
    is_unlikely: bool = False  # it could not be told, but it would be unusual
    lacks_driver: bool = False  # it reads ip=, and there is no card yet


NOT_LOOKED = IpReader(None, "nobody has looked")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The hardware of a guest, and how it is reached beside its tap."""

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
    firmware: str = ""  # one of FIRMWARE_WORDS, or a file
    display: str = "none"
    gl: str = "off"
    serial: tuple[str, ...] = ("terminal",)
    audio: str = ""
    agent: str = ""  # the socket of the guest agent
    qmp: str = ""  # a socket
    snapshot: bool = False
    nfs: str = ""  # SERVER:/folder,options or /folder,options
    network: str = "tap"  # one of KINDS
    bridge: str = ""
    vhost: bool = False
    tftp: str = ""
    interfaces: tuple[Interface, ...] = ()
    layout: str = "blocks"  # of [network]

    @property
    def has_tap(self) -> bool:
        return self.network == "tap"


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the guests share. No `uplinks`: the interfaces with a default route, when it runs."""

    subnet: IPv4Network = DEFAULT_SUBNET
    mode: str = "nat"
    uplinks: tuple[str, ...] = ()
    layout: str = "blocks"
    dns: tuple[str, ...] = ()
    domain: str = ""


@dataclass(frozen=True, kw_only=True)
class Guest(Hardware):
    """One guest, complete: what the description leaves out is filled in."""

    name: str
    title: str  # qemu's name for it, any characters
    machine: str = "x86_64"  # one of MACHINES
    memory: int  # MiB; 0 if qemu decides
    cpus: int = 1  # 0 if qemu decides
    kernel: str = ""  # files are named as in the description
    initrd: str = ""
    append: str = ""
    disks: tuple[Disk, ...] = ()
    accel: str = "auto"
    qemu: tuple[str, ...] = ()  # further arguments
    address: str
    gateway: str  # the host's address on the tap
    prefix: int  # of the gateway: 30 unless the description says otherwise
    addressing: str  # one of addressing.METHODS
    addressing_why: str
    reader: IpReader = NOT_LOOKED  # of ip=, for addressing "kernel"
    user_data: str = ""  # of cloud-init
    ssh_keys: tuple[str, ...] = ()
    mac: str
    mode: str
    host_open: bool = False
    forwards: tuple[Forward, ...] = ()
    uplinks: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    host_dns: tuple[str, ...] = ()  # of the host that it runs on, where dns names none
    domain: str = ""
    queues: int = 1
    mtu: int = 1500  # bytes

    @property
    def name_servers(self) -> tuple[str, ...]:
        """The name servers that the guest is told of where it does not ask by DHCP."""
        return self.dns or self.host_dns

    @property
    def files(self) -> tuple[str, ...]:
        """The files that qemu opens, in the order of its arguments."""
        named = (
            self.kernel,
            self.initrd,
            self.dtb,
            self.bios,
            "" if self.firmware in FIRMWARE_WORDS else self.firmware,
            *(one.file for one in self.disks),
        )
        return tuple(name for name in named if name)


@dataclass(frozen=True, kw_only=True)
class Description:
    network: Network
    guests: tuple[Guest, ...]

    def chosen(self, names: list[str]) -> tuple[Guest, ...]:
        """The guests of these names, all without names; TapdraftError for an unknown one."""
        known = {guest.name: guest for guest in self.guests}
        for name in names:
            if name not in known:
                raise TapdraftError(
                    f"the description has no guest '{name}'",
                    f"name one of its guests: {', '.join(known)}",
                    USAGE,
                )
        return tuple(guest for guest in self.guests if not names or guest.name in names)


def mac_address(guest: str, address: str, layout: str, index: int = 0) -> str:
    """The MAC of a guest that names none; 52: locally administered.

    From the whole address, so unique wherever the address is; as runqemu has it with that layout.
    Without an address from the guest's name, which is unique in the description only.
    """
    if address:
        packed = IPv4Address(address).packed
        first: tuple[int, ...] = (0x52, 0x54)
        if layout == "runqemu":
            first, packed = (0x52, 0x54, 0x00, 0x12, 0x34), packed[3:]
    else:
        first, packed = (0x52, 0x54), hashlib.sha256(f"{guest} {index}".encode()).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in (*first, *packed))


def user_net(guest: Guest, number: int) -> IPv4Network:
    """qemu's own network of the interface `number`: each has another, or the guest could not tell
    through which of them an answer goes."""
    kinds = (guest.network, *(one.network for one in guest.interfaces))
    return IPv4Network((int(USER_NETWORK) + 256 * kinds[:number].count("user"), 24))


def user_address(net: IPv4Network) -> str:
    """Where the forwarded ports of such a network lead, and what its own DHCP gives."""
    return str(net[15])


def disk_mark(number: int) -> str:
    """Stands in `qemu` for the file of the disk `number`, counted from 0, whose bus is "qemu"."""
    return f"@DISK{number}@"
