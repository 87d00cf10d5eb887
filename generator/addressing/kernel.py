"""The address on the kernel's command line: ip=, for a kernel given with -kernel.

The kernel reads it itself if it was built with IP_PNP, else its initramfs may:
https://docs.kernel.org/admin-guide/nfs/nfsroot.html
"""

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from . import Addition

if TYPE_CHECKING:
    from ..description import Guest


def adds(guest: "Guest") -> Addition:
    # All fields, as systemd's network generator takes no other form; "off": no DHCP besides.
    # Without net.ifnames=0 udev renames eth0 and the address is given to nothing.
    first, second = (*guest.dns, "", "")[:2]
    fields = (
        guest.address, "", guest.gateway, netmask(guest), guest.name, "eth0", "off", first, second
    )  # fmt: skip
    return Addition(append=("ip=" + ":".join(fields).rstrip(":"), "net.ifnames=0"))


def objection(guest: "Guest") -> tuple[str, str]:
    if not guest.kernel:
        return "there is no kernel to give the address to", 'name a kernel, or addressing = "none"'
    if any(word.startswith("ip=") for word in guest.append.split()):
        return "append has an ip= of its own", 'leave it out, or write addressing = "none"'
    return "", ""


def netmask(guest: "Guest") -> str:
    """Of the smallest network that holds both: Linux takes no gateway outside its own network."""
    host, client = IPv4Address(guest.gateway), IPv4Address(guest.address)
    for prefix in range(min(guest.prefix, 30), 0, -1):
        network = IPv4Network((client, prefix), strict=False)
        ends = (network.network_address, network.broadcast_address)
        if host in network and host not in ends and client not in ends:
            return str(network.netmask)
    return "0.0.0.0"  # noqa: S104  a netmask, not an address to listen on
