"""How addresses are laid out: blocks of tapdraft's own, or as runqemu has them.

blocks   each guest a /30 of the subnet
runqemu  the guest number N of the file, counted from 0: the host has .(2N+1)/32, the guest
         .(2N+2), its MAC ends in the same number, and its kernel is told just what runqemu tells
"""

from ..model import Guest

# What runqemu tells guests when nobody says otherwise.
_DNS = "8.8.8.8"


def words(guest: Guest) -> tuple[str, ...]:
    """The kernel's words as runqemu writes them: its network is a /24 for the guest, and the
    fields behind the name server are left out."""
    if guest.ip_tap:
        said = guest.ip_tap.replace("@CLIENT@", guest.address)
        return tuple(said.replace("@GATEWAY@", guest.gateway).split())
    dns = guest.dns[0] if guest.dns else _DNS
    return f"ip={guest.address}::{guest.gateway}:255.255.255.0::eth0:off:{dns}", "net.ifnames=0"


def dhcp(guest: Guest) -> tuple[str, ...]:
    """The kernel's words where somebody else's DHCP has the guest's address."""
    told = any(word.startswith("ip=") for word in guest.append.split())
    return ("ip=dhcp",) if guest.network in ("user", "bridge") and not told else ()


def nfs_root(guest: Guest) -> tuple[str, ...]:
    """The kernel's words for a root file system over NFS; see nfsroot.rst of its documentation."""
    if not guest.nfs:
        return ()
    export, _, options = guest.nfs.partition(",")
    here = "10.0.2.2" if guest.network == "user" else guest.gateway
    place = export if not export.startswith("/") else f"{here}:{export}"
    return "root=/dev/nfs", f"nfsroot={place},{options or 'nfsvers=3,tcp'}", "rw"
