"""The address on the kernel's command line: ip=, for a kernel given with -kernel.

The kernel reads it itself if it was built with IP_PNP, else its initramfs may:
https://docs.kernel.org/admin-guide/nfs/nfsroot.html

There is one ip= for each card where what reads it is known to take several (evidence.py). The
tap's is the last, which is the one that everything else keeps, the kernel and klibc among them.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from ..model import Guest, user_address, user_net
from . import command_line
from .method import Addition


def adds(guest: Guest) -> Addition:
    return Addition(append=words(guest), note=_unnamed(guest))


def words(guest: Guest) -> tuple[str, ...]:
    """ip=, and what makes the card's name the one that ip= has."""
    if guest.layout == "runqemu" or guest.ip_tap:
        return command_line.words(guest)
    # All fields, as systemd's network generator takes no other form; "off": no DHCP besides.
    # Without net.ifnames=0 udev renames eth0 and the address is given to nothing.
    first, second = (*guest.name_servers, "", "")[:2]
    mask = str(network(guest).netmask)
    fields = (guest.address, "", guest.gateway, mask, guest.name, "eth0", "off", first, second)
    further = _further(guest) if guest.reader.takes_each else ()
    return (*further, "ip=" + ":".join(fields).rstrip(":"), "net.ifnames=0", *_dracut(guest))


def _unnamed(guest: Guest) -> str:
    """The end of a sentence about the cards that get no ip=, if there are such."""
    if not guest.interfaces or (guest.reader.takes_each and guest.layout != "runqemu"):
        return ""
    cards = " and ".join(f"eth{number}" for number in range(1, len(guest.interfaces) + 1))
    return f"; only one ip= is sure to be read, so {cards} have to ask by DHCP"


def _further(guest: Guest) -> tuple[str, ...]:
    """The cards beside the tap, without a way out: that is the tap's alone.

    qemu's own network has a fixed address; a bridge's is for its DHCP to tell.
    """
    words = []
    for number, one in enumerate(guest.interfaces, 1):
        net = user_net(guest, number)
        fixed = f"{user_address(net)}:::{net.netmask}::eth{number}:off"
        words.append(f"ip=:::::eth{number}:dhcp" if one.bridge else f"ip={fixed}")
    return tuple(words)


def _dracut(guest: Guest) -> tuple[str, ...]:
    """It leaves the network alone where the root file system needs none, unless it is told; and
    the first card that is named would be its main one: dracut.cmdline(7)."""
    if not guest.reader.is_dracut:
        return ()
    return "rd.neednet=1", *(("bootdev=eth0",) if guest.interfaces else ())


def objection(guest: Guest) -> tuple[str, str]:
    if not guest.kernel:
        return (
            "there is no kernel to give the address to",
            'name a kernel, or leave addressing out: "dhcp" needs none',
        )
    if not guest.ip_tap and any(word.startswith("ip=") for word in guest.append.split()):
        return "append has an ip= of its own", 'leave it out, or write addressing = "none"'
    return "", ""


def network(guest: Guest) -> IPv4Interface:
    """The guest's address in the smallest network that holds the gateway too: Linux takes no
    gateway outside its own network."""
    host, client = IPv4Address(guest.gateway), IPv4Address(guest.address)
    for prefix in range(min(guest.prefix, 30), 0, -1):
        around = IPv4Network((client, prefix), strict=False)
        ends = (around.network_address, around.broadcast_address)
        if host in around and host not in ends and client not in ends:
            return IPv4Interface((client, prefix))
    return IPv4Interface((client, 0))
