"""What an attacker has at hand: programs of its own, started as a user in the lab."""

from __future__ import annotations

import re
from typing import Any

import pytest
from labnet import PYTHON, Lab
from labrun import Result
from labsite import HELPER

UP = ("up", "web", "192.168.7.1/30", "192.168.7.2")

# What every attack program begins with. It ends with start(), which becomes the helper.
_PRELUDE = f"""
import ctypes, fcntl, os, resource, signal, socket, struct, sys, time
HELPER, UP = {HELPER!r}, {UP!r}
libc = ctypes.CDLL(None, use_errno=True)
def start(*words, program=HELPER, env=None):
    os.execve(program, [program, *(words or UP)], env or {{}})
"""


def program(code: str) -> list[str]:
    """The argv of an attack program."""
    return [PYTHON, "-I", "-c", _PRELUDE + code]


def attack(lab: Lab, code: str, *words: str, user: str = "alice", **options: Any) -> Result:
    """Run an attack program to its end."""
    return lab.run([*program(code), *words], user=user, **options)


def assert_refused(done: Result, status: int, error: str) -> None:
    """The exit status, and a message that says what is wrong; nothing else was written."""
    if done.status != status or done.stdout or "Traceback" in done.stderr:
        pytest.fail(f"expected exit status {status} and nothing on standard output\n{done}")
    if not re.match(rf"error: [^\n]*(?:{error})", done.stderr):
        pytest.fail(f"expected an error like {error!r}\n{done}")
    assert done.stderr.isascii(), "an attacker's bytes were printed back"
    assert all(character.isprintable() or character == "\n" for character in done.stderr)


def assert_up(done: Result, name: str = "web") -> None:
    """The attack did not even hold the helper up."""
    assert (done.status, done.stdout) == (0, f"td-{name} is up\n"), str(done)


def take_down(lab: Lab, user: str = "alice") -> None:
    lab.helper("down", "--all", user=user).check()
