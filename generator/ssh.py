"""The user's own ssh, to a guest."""

import os
import shlex
import sys
from hashlib import sha256
from pathlib import Path

from . import connect, folders, reach
from .description import Guest
from .errors import FAILED, TapdraftError
from .requests import up


def argv(guest: Guest, user: str, known_hosts: str, command: list[str]) -> list[str]:
    """ssh's arguments. All else is as the user's own configuration has it."""
    quoted = known_hosts.replace("%", "%%")
    through = [sys.executable, "-I", "-B", str(connect.__file__), up(guest).tap, guest.address]
    return [
        "ssh",
        # Through the tap or not at all: if it goes, the address may be a stranger's.
        "-o",
        f"ProxyCommand={shlex.join(through).replace('%', '%%')} %p",
        "-o",
        "ProxyUseFdpass=yes",
        # Nor through a connection that an ssh of the user's has open to this address already: it
        # may lead to a stranger, or to the guest that had the address before.
        "-o",
        "ControlPath=none",
        "-o",
        f'UserKnownHostsFile="{quoted}"',
        # Nobody knows the key of a new guest, and nobody else is at the other end of its tap.
        # ssh refuses a guest whose key has changed.
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        f"HostKeyAlias={guest.name}",
        *(["-l", user] if user else []),
        "--",
        guest.address,
        *command,
    ]


def known_hosts(description: str, guest: str) -> Path:
    """The guest's own file, in a folder that nobody else can write to: another description may
    have a guest of that name too."""
    place = sha256(os.path.realpath(description).encode()).hexdigest()[:12]
    below = Path("tapdraft/known_hosts")
    return folders.home("XDG_STATE_HOME", ".local/state", below) / f"{guest}-{place}"


def run(description: str, guest: Guest, user: str, command: list[str]) -> int:
    """Become ssh; returns only if there is none. TapdraftError without the guest's tap."""
    reach.need_tap_of_mine(guest, description)
    hosts = known_hosts(description, guest.name)
    try:
        os.execvp("ssh", argv(guest, user, str(hosts), command))  # noqa: S606  no shell is wanted
    except OSError as error:
        what = f"ssh cannot be started: {error.strerror}"
        raise TapdraftError(what, "install openssh-client", FAILED) from None
