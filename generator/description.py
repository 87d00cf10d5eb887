"""The description: the user's TOML file, read into what the rest works with.

Every key is a row of one of the tables below: its name and the function that reads its value.
What a key means is in tapdraft.toml(5).
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from ..helper.commands import line
from ..helper.diagnosis import check
from ..helper.errors import HelperError
from ..helper.request import MODES, Forward
from . import addressing, firmware, hardware, layout, values
from .addressing import auto
from .addressing.reader import LOOKED, NOBODY, Reader
from .allot import Addresses, Allotment
from .disks import Disk, disk
from .errors import BadDescription, Problem, TapdraftError
from .hardware import Hardware
from .machines import MACHINES
from .network import mac
from .reading import Keys, Reading
from .requests import up

DEFAULT_SUBNET = IPv4Network("192.168.7.0/24")
LARGEST = 1 << 20  # bytes of a description
Change = Callable[[dict[str, Any]], dict[str, Any]]

ACCELERATORS = ("auto", "kvm", "tcg")

NETWORK_KEYS: Keys = {
    "subnet": values.subnet,
    "mode": values.one_of(*MODES),
    "uplinks": values.many(values.interface),
    "layout": values.one_of(*layout.LAYOUTS),
    "dns": values.many(values.address),
    "domain": values.domain,
}
GUEST_KEYS: Keys = {
    "title": values.text,
    "machine": values.one_of(*MACHINES),
    "memory": values.memory,
    "cpus": values.number(1, 1024),
    "kernel": values.file,
    "initrd": values.file,
    "append": values.text,
    "disk": values.one_or_many(disk),
    "accel": values.one_of(*ACCELERATORS),
    "qemu": values.many(values.text),
    "address": values.address,
    "gateway": values.address_with_prefix,
    "addressing": values.one_of(*addressing.WORDS),
    "user-data": values.text,
    "ssh-key": values.one_or_many(values.ssh_key),
    "mac": values.mac,
    "mode": values.one_of(*MODES),
    "host": values.one_of("closed", "open"),
    "forward": values.many(values.forward),
    "queues": values.number(1, 256),
    "mtu": values.number(68, 65521),
    **hardware.KEYS,
}


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
    reader: Reader = NOBODY  # of ip=, for addressing "kernel"
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
            "" if self.firmware in firmware.WORDS else self.firmware,
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
                    2,
                )
        return tuple(guest for guest in self.guests if not names or guest.name in names)


def load(file: str, change: Change = dict, *, look: bool = True) -> Description:
    """Read a description; raises TapdraftError, and BadDescription for what is in it.

    `change` is given the guests' tables as they were read, and gives those that count. `look` at
    the guests' kernels and initramfs, which the addressing of a guest may depend on, nothing else.
    """
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "name the TOML file that describes the guests; tapdraft.toml(5) has examples"
        raise TapdraftError(f"{file} cannot be read: {reason}", hint, 2) from None
    if len(content) > LARGEST:
        raise TapdraftError(f"{file} is larger than {LARGEST >> 20} MiB", "", 2)
    return parse(content, file, change, Path(file).parent if look else None)


def parse(
    content: bytes, file: str = "description", change: Change = dict, folder: Path | None = None
) -> Description:
    """The description that these bytes are; `file` is its name in error messages.

    The guests' files are looked at if they are named relative to a `folder`.
    """
    try:
        source = content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadDescription(
            file, "", [Problem(line, 1, 1, "this is not UTF-8", "save the file as UTF-8")]
        ) from None
    LOOKED.clear()
    if source.startswith("\ufeff"):
        what = "the file begins with a byte order mark, U+FEFF"
        hint = f"save it as UTF-8 without one: sed -i '1s/^\\xef\\xbb\\xbf//' {shlex.quote(file)}"
        raise BadDescription(file, "", [Problem(1, 1, 1, what, hint)])
    reading = Reading(file, source, folder)
    top = reading.tables(("network", "guest"))
    network = Network(**reading.table(("network",), top.get("network", {}), NETWORK_KEYS))
    guests = _guests(reading, change(top.get("guest", {})), network)
    if not guests and not reading.problems:
        hint = "write [guest.NAME] and its keys below it"
        reading.wrong((), "this description has no guest", hint)
    reading.finish()
    return Description(network=network, guests=tuple(guests))


def _guests(reading: Reading, tables: dict[str, Any], network: Network) -> list[Guest]:
    read: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        if reading.check(("guest", name), values.guest_name, name, at_key=True):
            before = len(reading.problems)
            keys = reading.table(("guest", name), table, GUEST_KEYS)
            if len(reading.problems) == before:  # else the rest would only be consequences
                read[name] = keys
    allotment = Allotment(reading, network.subnet, network.layout)
    for name, keys in read.items():
        allotment.reserve(name, keys)
    guests = []
    for number, (name, keys) in enumerate(read.items()):
        address = allotment.take(name)
        if address is not None:
            told = auto.told(keys, reading.folder)._asdict()
            guests.append(_guest(name, keys | told, network, address, number % 127))
            _judge(reading, guests[-1])
    reading.together(guests)
    return guests


def _mac(name: str, given: Mapping[str, Any], address: str, number: int) -> str:
    """runqemu has another row of addresses for guests with qemu's own network."""
    if given["layout"] == "runqemu" and given.get("network") == "user":
        return f"52:54:00:12:35:{2 * number + 2:02x}"
    return mac(name, address, given["layout"])


def _guest(
    name: str, keys: dict[str, Any], network: Network, addresses: Addresses, number: int
) -> Guest:
    given = dict(keys)
    # What is called otherwise in the file, where it reads better there.
    given.update(
        name=name,
        address=addresses.guest,
        gateway=addresses.gateway,
        prefix=addresses.prefix,
        host_open=given.pop("host", "closed") == "open",
        disks=given.pop("disk", ()),
        forwards=given.pop("forward", ()),
        uplinks=network.uplinks,
        dns=network.dns,
        domain=network.domain,
        user_data=given.pop("user-data", ""),
        ssh_keys=given.pop("ssh-key", ()),
        layout=network.layout,
        user_net=given.pop("user-net", ()),
        ip_tap=given.pop("ip-tap", ""),
        ip_user=given.pop("ip-user", ""),
        interfaces=given.pop("interface", ()),
    )
    given.setdefault("title", name)
    given.setdefault("mode", network.mode)
    if given.get("defaults") == "qemu":
        given.setdefault("memory", 0)
        given.setdefault("cpus", 0)
    given.setdefault("memory", MACHINES[given.get("machine", "x86_64")].memory)
    given.setdefault("mac", _mac(name, given, addresses.guest, number))
    return Guest(**given)


def _judge(reading: Reading, guest: Guest) -> None:
    """What is wrong with a guest whose single keys are right."""
    path = ("guest", guest.name)
    for key in ("initrd", "append"):
        # A board's own firmware may look for an initrd that qemu loads.
        is_its_own = key == "initrd" and guest.defaults == "qemu"
        if getattr(guest, key) and not guest.kernel and not is_its_own:
            hint = 'write kernel = "vmlinuz" as well'
            reading.wrong((*path, key), f"{key} needs a kernel", hint)
    if not (guest.kernel or guest.disks or guest.qemu or guest.defaults == "qemu"):
        what = f"guest {guest.name} has neither a kernel nor a disk"
        hint = f'write kernel = "vmlinuz" or disk = "disk.img" below [guest.{guest.name}]'
        reading.wrong(path, what, hint, at_key=True)
    for key, given in (("user-data", guest.user_data), ("ssh-key", guest.ssh_keys)):
        if given and guest.addressing != "cloud-init":
            what = f'{key} needs addressing = "cloud-init", not "{guest.addressing}"'
            reading.wrong((*path, key), what, 'write addressing = "cloud-init"')
    for key, what, hint in hardware.objections(guest):
        if what:
            reading.wrong((*path, key), what, hint)
    if not guest.has_tap:
        if guest.addressing != "none":
            what = f'addressing needs network = "tap", not "{guest.network}"'
            reading.wrong((*path, "addressing"), what, "leave addressing out")
        return
    what, hint = addressing.METHODS[guest.addressing].objection(guest)
    if what:
        reading.wrong((*path, "addressing"), what, hint)
    try:
        check(line(up(guest)))
    except HelperError as error:
        reading.wrong(path, str(error), error.hint, at_key=True)
