"""Checks of this host's qemu: does it know the machine, the CPU and the devices of each guest?

Newer and older qemus differ. The guest's script looks for the same before it starts qemu.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache

from . import firmware, qemu, shell
from .finding import Finding, Place, error, warning
from .machines import MACHINES

HELP_SECONDS = 20
_QUOTED = re.compile(r'"([^" ]+)"')
_TYPE = re.compile(r"-[a-z0-9]+-cpu$")  # some list the name of the type: la464-loongarch-cpu


@cache
def known(binary: str, kind: str) -> frozenset[str]:
    """What qemu's help lists of a kind (machine, cpu, device), in lower case; nothing if it
    cannot be asked."""
    try:
        done = subprocess.run(
            [binary, f"-{kind}", "help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HELP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    words: list[str] = []
    for line in done.stdout.splitlines():
        words += _QUOTED.findall(line) if kind == "device" else line.split()[:2]
    return frozenset(_TYPE.sub("", word.strip("',\"").lower()) for word in words)


def lacking(binary: str, kind: str, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each of `words` that qemu does not know, and the nearest that it does."""
    there = known(binary, kind)
    for word in words if there else ():
        if word.lower() not in there:
            yield word, next(iter(get_close_matches(word.lower(), sorted(there), 1, 0.3)), "")


def parts(place: Place) -> Iterator[Finding]:
    for guest in place.guests:
        binary = shutil.which(MACHINES[guest.machine].binary, path=shell.PATH)
        if binary is None:
            continue  # said by another check
        for kind, words in qemu.needs(guest).items():
            for word, near in lacking(binary, kind, words):
                yield error(
                    "qemu",
                    f"this {os.path.basename(binary)} has no {kind} {word}, for guest {guest.name}",
                    f'{_key(kind)} = "{near}"   (in the description: the '
                    f"nearest that it has; {binary} -{kind} help lists all)",
                )


def _key(kind: str) -> str:
    return {"machine": "board", "cpu": "cpu", "device": "nic"}[kind]


def images(place: Place) -> Iterator[Finding]:
    """UEFI firmware where the guest wants some."""
    for guest in place.guests:
        pairs = firmware.places(guest)
        if pairs and not any(all(os.access(file, os.R_OK) for file in pair) for pair in pairs):
            yield error(
                "firmware",
                f"there is no UEFI firmware for guest {guest.name}",
                f"apt install {firmware.package(guest)}   (as root; or your distribution's)",
            )


def screens(place: Place) -> Iterator[Finding]:
    for guest in place.guests:
        if guest.display == "public-vnc":
            yield warning(
                "screen",
                f"the screen of guest {guest.name} is offered to the whole network, "
                "unencrypted; a password is all that guards it",
                f'display = "vnc"   (in the description; then: ssh -L 5900:127.0.0.1:5900 '
                f"{os.uname().nodename})",
            )


def bridges(place: Place) -> Iterator[Finding]:
    for guest in place.guests:
        wanted = [guest.bridge, *(one.bridge for one in guest.interfaces)]
        for bridge in filter(None, wanted):
            if not os.path.isdir(f"/sys/class/net/{bridge}/bridge"):
                yield error(
                    "bridge",
                    f"there is no bridge {bridge}, for guest {guest.name}",
                    f"ip link add {bridge} type bridge   (as root; and allow it in "
                    "/etc/qemu/bridge.conf)",
                )
