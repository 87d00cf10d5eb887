"""The address on the kernel's command line: ip=, for a kernel given with -kernel.

The kernel reads it itself if it was built with IP_PNP, else its initramfs may:
https://docs.kernel.org/admin-guide/nfs/nfsroot.html

Only the first interface is named: the kernel keeps the last ip= that it finds, and the networks of
further interfaces have a DHCP of their own.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

from .. import layout
from . import Addition

if TYPE_CHECKING:
    from ..description import Guest


def adds(guest: "Guest") -> Addition:
    return Addition(append=words(guest))


def words(guest: "Guest") -> tuple[str, ...]:
    """ip=, and what makes the card's name the one that ip= has."""
    if guest.layout == "runqemu":
        return layout.words(guest)
    # All fields, as systemd's network generator takes no other form; "off": no DHCP besides.
    # Without net.ifnames=0 udev renames eth0 and the address is given to nothing.
    first, second = (*guest.dns, "", "")[:2]
    mask = str(network(guest).netmask)
    fields = (guest.address, "", guest.gateway, mask, guest.name, "eth0", "off", first, second)
    return "ip=" + ":".join(fields).rstrip(":"), "net.ifnames=0"


def objection(guest: "Guest") -> tuple[str, str]:
    if not guest.kernel:
        return (
            "there is no kernel to give the address to",
            'name a kernel, or leave addressing out: "dhcp" needs none',
        )
    if any(word.startswith("ip=") for word in guest.append.split()):
        return "append has an ip= of its own", 'leave it out, or write addressing = "none"'
    return "", ""


def network(guest: "Guest") -> IPv4Interface:
    """The guest's address in the smallest network that holds the gateway too: Linux takes no
    gateway outside its own network."""
    host, client = IPv4Address(guest.gateway), IPv4Address(guest.address)
    for prefix in range(min(guest.prefix, 30), 0, -1):
        around = IPv4Network((client, prefix), strict=False)
        ends = (around.network_address, around.broadcast_address)
        if host in around and host not in ends and client not in ends:
            return IPv4Interface((client, prefix))
    return IPv4Interface((client, 0))
