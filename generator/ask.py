"""Asking the helper: finding it, giving it requests, and its own answer as the exit status."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .errors import IN_THE_WAY, TapdraftError
from .finding import grant, group_of
from .shell import HELPER, PATH


# Of the service that does the helper's work where file systems hold no capabilities.
SOCKET = Path("/run/tapdraft.socket")


def find() -> Path | None:
    """The helper that scripts find, or else the first one that is there but not for this user."""
    there = []
    for folder in PATH.split(":"):
        path = Path(folder, HELPER)
        try:
            if path.is_file():
                there.append(path)
        except PermissionError:
            continue
    mine = [path for path in there if os.access(path, os.X_OK)]
    usable = [path for path in mine if SOCKET.exists() or not is_client(path)]
    return next(iter(usable or there), None)


def is_client(path: Path) -> bool:
    """Is it the service's client, a script without any privilege, and not the launcher?"""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:  # the launcher is not for everybody to read
        return False


def ask(lines: Iterable[str]) -> int:
    """Give the helper these requests, all in one call; its exit status."""
    return _call(lines, "-")


def policy(lines: Iterable[str]) -> int:
    """Let the helper print what its policy permits, and whether these requests are; its status."""
    told = list(lines)
    return _call(told, "--check-policy", *(["-"] if told else []))


def _call(lines: Iterable[str], *words: str) -> int:
    path = find()
    if path is None:
        raise TapdraftError(
            f"{HELPER} is not installed, and only it can make taps for you",
            "install it as root with make install, or render scripts for root: "
            "tapdraft render --dialect=nft FILE",
            IN_THE_WAY,
        )
    if not os.access(path, os.X_OK):
        raise TapdraftError(
            f"you are not in the group {group_of(path)}, which may run {path}",
            f"as root: {grant(path)}; then log out and in again",
            IN_THE_WAY,
        )
    text = "".join(f"{line}\n" for line in lines)
    return subprocess.run([path, *words], input=text.encode(), check=False).returncode
