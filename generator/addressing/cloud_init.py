"""The address through cloud-init's NoCloud: a folder that qemu shows the guest as a disk.

The folder lies beside the scripts and is read with them; qemu makes the FAT volume of it, so no
tool is needed: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
The ssh keys are in the meta-data, so that the user's own user-data stays as it is.
"""

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from ..machines import MACHINES
from ..shell import Variable, word
from . import Addition
from .kernel import network

if TYPE_CHECKING:
    from ..description import Guest

FOLDER = "seed"
NODE = "seed0"


def adds(guest: "Guest") -> Addition:
    disk = word(
        f"driver=vvfat,node-name={NODE},dir=",
        Variable.HERE,
        f"/{FOLDER},label=CIDATA,read-only=on",
    )
    return Addition(
        options=(
            ("-blockdev", disk),
            ("-device", f"virtio-blk-{MACHINES[guest.machine].bus},drive={NODE}"),
        ),
        why="What cloud-init reads its address and name from: the folder beside this script.",
        files={f"{FOLDER}/{name}": content for name, content in seed(guest).items()},
    )


def objection(guest: "Guest") -> tuple[str, str]:
    if not MACHINES[guest.machine].bus:
        return f"the machine {guest.machine} has no virtio for the seed's disk", 'use "dhcp"'
    return "", ""


def seed(guest: "Guest") -> dict[str, str]:
    """The three files. What cloud-init did once it does again only for another instance, so the
    instance has the content in its name: after a change it is a new one. The host's name servers
    do not count: on another network the guest is still the same, and keeps its host keys."""
    user_data = guest.user_data or "#cloud-config\n{}\n"
    config = network_config(guest)
    described = network_config(replace(guest, host_dns=()))
    content = "\0".join((guest.name, user_data, described, *guest.ssh_keys))
    meta_data = [
        f"instance-id: {_text(f'{guest.name}-{sha256(content.encode()).hexdigest()[:12]}')}",
        f"local-hostname: {_text(guest.name)}",
    ]
    if guest.ssh_keys:
        meta_data += ["public-keys:", *(f"  - {_text(key)}" for key in guest.ssh_keys)]
    return {"meta-data": _lines(meta_data), "network-config": config, "user-data": user_data}


def network_config(guest: "Guest") -> str:
    """Version 2, which is netplan's. The card is known by its address, whatever its name is."""
    lines = [
        "version: 2",
        "ethernets:",
        "  eth0:",
        "    match:",
        f"      macaddress: {_text(guest.mac)}",
        "    set-name: eth0",
        "    dhcp4: false",
        "    addresses:",
        f"      - {_text(network(guest).with_prefixlen)}",
        "    routes:",
        '      - to: "0.0.0.0/0"',
        f"        via: {_text(guest.gateway)}",
    ]
    if guest.mtu != 1500:
        lines.append(f"    mtu: {guest.mtu}")
    servers = guest.name_servers
    if servers or guest.domain:
        lines.append("    nameservers:")
    if servers:
        lines += ["      addresses:", *(f"        - {_text(server)}" for server in servers)]
    if guest.domain:
        lines += ["      search:", f"        - {_text(guest.domain)}"]
    return _lines(lines)


def _text(value: str) -> str:
    """A string in YAML, whatever it looks like: null, on, 0x10 and 123 are names of guests too."""
    return json.dumps(value)


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
