"""The address as a credential of systemd's, for guests with systemd 256 or newer.

Its network generator takes network.network.NAME for a .network file of networkd's:
https://www.freedesktop.org/software/systemd/man/latest/systemd.system-credentials.html
The strings and files that hold credentials are in systemd(1), under "System Credentials".
"""

from base64 import b64encode

from ..model import Guest
from . import smbios
from .kernel import network
from .method import Addition

# networkd takes the first file that fits: ahead of the guest's own.
NAME = "network.network.10-tapdraft"
HOST_NAME = "system.hostname"


def adds(guest: Guest) -> Addition:
    text = network_file(guest)
    plain: tuple[str, ...] = ()
    why = "What its systemd, 256 or newer, is told: a file for networkd, and its host name."
    if smbios.has_smbios(guest):
        # Encoded, as it has more than one line.
        plain = tuple(text.splitlines())
        options = smbios.smbios(
            f"io.systemd.credential.binary:{NAME}={b64encode(text.encode()).decode()}",
            f"io.systemd.credential:{HOST_NAME}={guest.name}",
        )
    else:
        options = (
            *smbios.fw_cfg(f"opt/io.systemd.credentials/{NAME}", text),
            *smbios.fw_cfg(f"opt/io.systemd.credentials/{HOST_NAME}", guest.name),
        )
    return Addition(options=options, why=why, plain=plain)


def objection(guest: Guest) -> tuple[str, str]:
    if not (smbios.has_smbios(guest) or smbios.has_fw_cfg(guest)):
        return f"the machine {guest.machine} has no way to hand over a credential", 'use "dhcp"'
    return "", ""


def network_file(guest: Guest) -> str:
    """As in systemd.network(5)."""
    lines = [
        "[Match]",
        f"MACAddress={guest.mac}",
        "[Network]",
        f"Address={network(guest).with_prefixlen}",
        f"Gateway={guest.gateway}",
        *(f"DNS={server}" for server in guest.name_servers),
        *([f"Domains={guest.domain}"] if guest.domain else []),
    ]
    return "".join(f"{line}\n" for line in lines)
