"""A guest's network interfaces, of each kind, as qemu is told of them.

tap     its tap, with tapdraft's NAT
user    qemu's own network stack: no privilege and nothing on the host; slow, and without ping
bridge  a bridge of the site's, through qemu-bridge-helper
none    nothing
"""

import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, NamedTuple

from ..helper.commands import line
from ..helper.request import Forward
from . import requests
from .machines import MACHINES
from .options import Group, Option, doubled, pairs
from .shell import Variable, Word, word

if TYPE_CHECKING:
    from .description import Guest

KINDS = ("tap", "user", "bridge", "none")
FURTHER = ("user", "bridge")  # beside the first: there is one tap for a guest
_USER = IPv4Address("10.0.2.0")  # qemu's own network, where nobody says otherwise

_WHY_TAP = {
    "run": "Its network: ifup has made the tap, so qemu runs no script.",
    "helper": "Its network: qemu asks the helper for the tap, which disappears when qemu ends.",
    "hooks": "Its network: the tap exists already. qemu runs ifup and ifdown as its own user.",
}
_WHY = {
    "user": "Its network: qemu's own. It needs nothing on the host; it forwards 127.0.0.1's ports.",
    "bridge": "Its network: a bridge of the host, which qemu-bridge-helper must be allowed to use.",
    "none": "It has no network.",
}


class Interface(NamedTuple):
    """One beside the first."""

    network: str  # one of FURTHER
    bridge: str = ""
    mac: str = ""
    nic: str = ""
    forwards: tuple[Forward, ...] = ()


def mac(guest: str, address: str, layout: str, index: int = 0) -> str:
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


def user_net(guest: "Guest", number: int) -> IPv4Network:
    """qemu's own network of the interface `number`: each has another, or the guest could not tell
    through which of them an answer goes."""
    kinds = (guest.network, *(one.network for one in guest.interfaces))
    return IPv4Network((int(_USER) + 256 * kinds[:number].count("user"), 24))


def user_address(net: IPv4Network) -> str:
    """Where the forwarded ports of such a network lead, and what its own DHCP gives."""
    return str(net[15])


def objection(guest: "Guest") -> tuple[str, str, str]:
    """The key that is wrong, what is wrong with it, and what to do."""
    kind = guest.network
    if (kind == "bridge") != bool(guest.bridge):
        if guest.bridge:
            what = f'bridge needs network = "bridge", not "{kind}"'
            return "bridge", what, 'write network = "bridge", or leave bridge out'
        return "network", "the bridge has no name", 'write bridge = "br0" as well'
    for key, given in (("vhost", guest.vhost), ("queues", guest.queues > 1)):
        if given and kind != "tap":
            return key, f'{key} needs network = "tap", not "{kind}"', f"leave {key} out"
    if guest.forwards and kind not in ("tap", "user"):
        what = f'forward needs network = "tap" or "user", not "{kind}"'
        return "forward", what, "leave forward out"
    if guest.tftp and kind != "user":
        return "tftp", f'tftp needs network = "user", not "{kind}"', "leave tftp out"
    if guest.interfaces and _on_board(guest.nic or MACHINES[guest.machine].nic):
        what = f"machine {guest.machine} has one network interface, on its board"
        return "interface", what, "leave interface out"
    return "", "", ""


def group(guest: "Guest", attach: str) -> Group:
    if guest.network == "none":
        return Group(_WHY["none"], (Option("-nic", "none"),))
    netdev = _netdev(guest, attach)
    if guest.card:
        words = [word.replace("@MAC@", guest.mac) for word in guest.card]
        why = _WHY_TAP[attach] if guest.network == "tap" else _WHY[guest.network]
        return Group(why, (*pairs(words), Option("-netdev", netdev)))
    nic = guest.nic or MACHINES[guest.machine].nic
    device = f",mac={guest.mac}"
    virtio = nic.startswith("virtio-net")
    if guest.queues > 1 and virtio:
        device += ",mq=on"
        # Two vectors a queue pair, one for the control queue, one for changes of configuration.
        device += f",vectors={2 * guest.queues + 2}" if "-pci" in nic else ""
    device += f",host_mtu={guest.mtu}" if guest.mtu != 1500 and virtio else ""
    why = _WHY_TAP[attach] if guest.network == "tap" else _WHY[guest.network]
    name = _on_board(nic) or nic.partition(",")[0]
    if guest.queues > 1 and not virtio:
        why += f" The card {name} has one queue: the tap's others are not used."
    if guest.mtu != 1500 and not virtio:
        why += f" The card {name} cannot tell the guest its MTU: DHCP does, or set it in the guest."
    return Group(why, (Option("-netdev", netdev), _card(nic, "net0", device)))


def further(guest: "Guest") -> Group:
    """The interfaces beside the first."""
    return Group("Further network interfaces.", tuple(_further(guest)))


def _further(guest: "Guest") -> Iterator[Option]:
    for number, one in enumerate(guest.interfaces, 1):
        link = _bridge(one.bridge, number) if one.bridge else _user(guest, one.forwards, "", number)
        address = one.mac or mac(guest.name, "", "", number)
        nic = one.nic or MACHINES[guest.machine].nic
        yield Option("-netdev", link)
        yield _card(nic, f"net{number}", f",mac={address}")


def _netdev(guest: "Guest", attach: str) -> str | Word:
    if guest.network == "user":
        return _user(guest, guest.forwards, guest.tftp, 0)
    if guest.network == "bridge":
        return _bridge(guest.bridge, 0)
    tap = requests.up(guest).tap
    more = f",queues={guest.queues}" if guest.queues > 1 else ""
    more += ",vhost=on" if guest.vhost else ""
    ways: dict[str, str | Word] = {
        "run": f"tap,id=net0,ifname={tap},script=no,downscript=no{more}",
        "helper": f"tap,id=net0{more},helper=tapdraft-helper {line(requests.up(guest))}",
        "hooks": word(
            f"tap,id=net0,ifname={tap},script=",
            Variable.HERE,
            "/ifup,downscript=",
            Variable.HERE,
            f"/ifdown{more}",
        ),
    }
    return ways[attach]


def _user(guest: "Guest", forwards: tuple[Forward, ...], tftp: str, number: int) -> str:
    net = user_net(guest, number)
    words = [f"user,id=net{number}"]
    words += [f"net={net}"] if net.network_address != _USER else []
    # Of the loopback only: to the outside the ports would be open without any policy's say.
    words += [f"hostfwd={f.protocol}:127.0.0.1:{f.port}-:{f.guest_port}" for f in forwards]
    words += [f"tftp={doubled(tftp)}"] if tftp else []
    # What the description says of it itself, for the first card alone.
    words += guest.user_net if number == 0 else ()
    return ",".join(words)


def _bridge(name: str, number: int) -> str:
    return f"bridge,id=net{number},br={name}"


def _on_board(nic: str) -> str:
    return nic.removeprefix("on board ") if nic.startswith("on board ") else ""


def _card(nic: str, netdev: str, more: str) -> Option:
    model = _on_board(nic)
    if model:
        more = more.replace("mac=", "macaddr=")
        return Option("-net", f"nic,netdev={netdev},model={model}{more}")
    name = nic.partition(",")[0]
    # No boot ROM: nothing is loaded over the network, and the ROM's file need not be installed.
    if "romfile=" not in nic and not name.endswith(("-device", "-ccw")) and "usb" not in name:
        more += ",romfile="
    return Option("-device", f"{nic},netdev={netdev}{more}")
