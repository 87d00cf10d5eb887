"""How addresses are laid out: blocks of tapdraft's own, or as runqemu has them.

blocks   each guest a /30 of the subnet
runqemu  the guest number N of the file, counted from 0: the host has .(2N+1)/32, the guest
         .(2N+2), its MAC ends in the same number, and its kernel is told just what runqemu tells
"""

import re
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from .values import Wrong, text

if TYPE_CHECKING:
    from .description import Guest

LAYOUTS = ("blocks", "runqemu")
# What runqemu tells guests when nobody says otherwise.
_DNS = "8.8.8.8"
_NFS = re.compile(r"([A-Za-z0-9.-]+:)?(/[^,\s:]*)(,[^\s]*)?")


def numbered(subnet: IPv4Network, number: int) -> tuple[str, str]:
    """The host's and the guest's address of runqemu's guest `number`."""
    return str(subnet[2 * number + 1]), str(subnet[2 * number + 2])


def most(subnet: IPv4Network) -> int:
    """How many guests runqemu has room for: up to .254 of a /24."""
    return min(subnet.num_addresses // 2 - 1, 127)


def words(guest: "Guest") -> tuple[str, ...]:
    """The kernel's words as runqemu writes them: its network is a /24 for the guest, and the
    fields behind the name server are left out."""
    if guest.ip_tap:
        said = guest.ip_tap.replace("@CLIENT@", guest.address)
        return tuple(said.replace("@GATEWAY@", guest.gateway).split())
    dns = guest.dns[0] if guest.dns else _DNS
    return f"ip={guest.address}::{guest.gateway}:255.255.255.0::eth0:off:{dns}", "net.ifnames=0"


def dhcp(guest: "Guest") -> tuple[str, ...]:
    """The kernel's words where somebody else's DHCP has the guest's address."""
    told = any(word.startswith("ip=") for word in guest.append.split())
    return ("ip=dhcp",) if guest.network in ("user", "bridge") and not told else ()


def nfs(value: Any) -> str:
    """FOLDER, SERVER:FOLDER, and either with ,OPTIONS."""
    if not _NFS.fullmatch(text(value)):
        raise Wrong("this is not an NFS export", 'write "/srv/root", or "SERVER:/srv/root"')
    return str(value)


def nfs_root(guest: "Guest") -> tuple[str, ...]:
    """The kernel's words for a root file system over NFS; see nfsroot.rst of its documentation."""
    if not guest.nfs:
        return ()
    export, _, options = guest.nfs.partition(",")
    here = "10.0.2.2" if guest.network == "user" else guest.gateway
    place = export if not export.startswith("/") else f"{here}:{export}"
    return "root=/dev/nfs", f"nfsroot={place},{options or 'nfsvers=3,tcp'}", "rw"


def nfs_objection(guest: "Guest") -> tuple[str, str]:
    if not guest.nfs:
        return "", ""
    if not guest.kernel:
        return "nfs needs a kernel", 'write kernel = "vmlinuz" as well'
    if guest.nfs.startswith("/"):
        if guest.has_tap and not guest.host_open:
            return "the host's NFS server is closed to the guest", 'write host = "open"'
        if guest.network not in ("tap", "user"):
            return "nfs names a folder and no server", 'write "SERVER:/folder"'
    return "", ""
