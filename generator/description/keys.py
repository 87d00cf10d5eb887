"""The keys of a description: each is a row of a table with its name and what reads its value.

What a key means is in tapdraft.toml(5). What two keys must have in common is in rules.py.
"""

import re
from typing import Any

from ...helper.request import MODES, MTUS, QUEUES
from .. import addressing
from ..formats import DISK_FORMATS, kind
from ..machines import MACHINES
from ..model import (
    ACCELERATORS,
    AUDIO,
    BUSES,
    DEFAULTS,
    DISPLAYS,
    FURTHER,
    GL,
    KINDS,
    LAYOUTS,
    SERIAL,
    Disk,
    Interface,
)
from . import values
from .tables import Keys

_PORT = re.compile(r"(tcp|listen):([1-9][0-9]{0,4})")
_NFS = re.compile(r"([A-Za-z0-9.-]+:)?(/[^,\s:]*)(,[^\s]*)?")


def _serial_line(value: Any) -> str:
    """Where a serial line leads."""
    match = _PORT.fullmatch(values.text(value))
    if match and int(match[2]) < 65536:
        return str(value)
    if value in SERIAL or (value.startswith("file:") and len(value) > 5):
        return str(value)
    hint = "use terminal, window, none, tcp:PORT, listen:PORT or file:NAME"
    raise values.Wrong("this is not a serial line", hint)


def _qmp(value: Any) -> str:
    """The socket on which qemu takes commands, which are as good as the user's own."""
    if values.text(value).startswith("tcp:"):
        raise values.Wrong(
            "each user of this host could command qemu there", 'write qmp = "vm.qmp"'
        )
    return values.file(value)


def _nfs(value: Any) -> str:
    """FOLDER, SERVER:FOLDER, and either with ,OPTIONS."""
    if not _NFS.fullmatch(values.text(value)):
        raise values.Wrong("this is not an NFS export", 'write "/srv/root", or "SERVER:/srv/root"')
    return str(value)


def _disk_format(value: Any) -> str:
    if value == "vhd":
        what = f"this is none of {', '.join(DISK_FORMATS)}"
        raise values.Wrong(what, "did you mean vpc? It is qemu's name for vhd")
    return str(values.one_of(*DISK_FORMATS)(value))


_DISK = values.table(
    "a disk",
    {
        "file": values.file,
        "format": _disk_format,
        "readonly": values.boolean,
        "bus": values.one_of(*BUSES),
    },
)


def _disk(value: Any) -> Disk:
    """A file's name, or a table of `file`, `format`, `readonly` and `bus`."""
    if not isinstance(value, str | dict):
        hint = 'write "disk.img", or { file = "disk.img", readonly = true }'
        raise values.Wrong(f"this is {values.named(value)}, not a file's name or a table", hint)
    found = _DISK({"file": value} if isinstance(value, str) else value)
    if "file" not in found:
        raise values.Wrong("this disk has no file", 'write file = "disk.img"')
    found.setdefault("format", kind(found["file"]))
    if found["file"].endswith(".iso"):
        found = {"bus": "cdrom", "readonly": True, **found}
    return Disk(**found)


_INTERFACE = values.table(
    "an interface",
    {
        "network": values.one_of(*FURTHER),
        "bridge": values.interface,
        "mac": values.mac,
        "nic": values.text,
        "forward": values.many(values.forward),
    },
)


def _interface(value: Any) -> Interface:
    found = _INTERFACE(value)
    if (found.get("network") == "bridge") != ("bridge" in found):
        what = 'network = "bridge" and the bridge\'s name go together'
        raise values.Wrong(what, 'write { network = "bridge", bridge = "br0" }')
    if "network" not in found:
        raise values.Wrong("this interface has no network", 'write { network = "user" }')
    if found["network"] == "bridge" and "forward" in found:
        raise values.Wrong('forward needs network = "user"', 'write network = "user"', ("forward",))
    return Interface(
        found["network"],
        found.get("bridge", ""),
        found.get("mac", ""),
        found.get("nic", ""),
        found.get("forward", ()),
    )


NETWORK_KEYS: Keys = {
    "subnet": values.subnet,
    "mode": values.one_of(*MODES),
    "uplinks": values.many(values.interface),
    "layout": values.one_of(*LAYOUTS),
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
    "disk": values.one_or_many(_disk),
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
    "queues": values.number(QUEUES[0], QUEUES[-1]),
    "mtu": values.number(MTUS[0], MTUS[-1]),
    "defaults": values.one_of(*DEFAULTS),
    "board": values.text,
    "cpu": values.text,
    "nic": values.text,
    "card": values.many(values.text),
    "user-net": values.many(values.text),
    "ip-tap": values.text,
    "ip-user": values.text,
    "console": values.many(values.text),
    "graphics": values.many(values.text),
    "dtb": values.file,
    "bios": values.file,
    "firmware": values.file,
    "display": values.one_of(*DISPLAYS),
    "gl": values.one_of(*GL),
    "serial": values.many(_serial_line, "none", "window"),
    "audio": values.one_of(*AUDIO),
    "agent": values.file,
    "qmp": _qmp,
    "snapshot": values.boolean,
    "nfs": _nfs,
    "network": values.one_of(*KINDS),
    "bridge": values.interface,
    "vhost": values.boolean,
    "tftp": values.file,
    "interface": values.one_or_many(_interface),
}
