"""A guest's network interfaces, of each kind, as qemu is told of them.

tap     its tap, with tapdraft's NAT
user    qemu's own network stack: no privilege and nothing on the host; slow, and without ping
bridge  a bridge of the site's, through qemu-bridge-helper
none    nothing
"""

from collections.abc import Iterator

from ...helper.explain.commands import line
from ...helper.request import Forward
from .. import requests
from ..machines import MACHINES
from ..model import USER_NETWORK, Guest, mac_address, user_net
from ..options import Group, Option, doubled, pairs
from ..shell import Variable, Word, word

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


def group(guest: Guest, attach: str) -> Group:
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


def further(guest: Guest) -> Group:
    """The interfaces beside the first."""
    return Group("Further network interfaces.", tuple(_further(guest)))


def _further(guest: Guest) -> Iterator[Option]:
    for number, one in enumerate(guest.interfaces, 1):
        link = _bridge(one.bridge, number) if one.bridge else _user(guest, one.forwards, "", number)
        address = one.mac or mac_address(guest.name, "", "", number)
        nic = one.nic or MACHINES[guest.machine].nic
        yield Option("-netdev", link)
        yield _card(nic, f"net{number}", f",mac={address}")


def _netdev(guest: Guest, attach: str) -> str | Word:
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


def _user(guest: Guest, forwards: tuple[Forward, ...], tftp: str, number: int) -> str:
    net = user_net(guest, number)
    words = [f"user,id=net{number}"]
    words += [f"net={net}"] if net.network_address != USER_NETWORK else []
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
