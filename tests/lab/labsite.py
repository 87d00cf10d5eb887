"""A machine within the machine: tapdraft installed for real, users, a syslog, nothing kept.

One mount namespace for the whole test session, laid out by tools/sandbox, so `make install`,
a policy or a new user never reach the machine's own files.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from labrun import Namespace, Result

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "/usr/src/tapdraft"
HELPER = "/usr/local/libexec/tapdraft/tapdraft-helper"
POLICY = "/etc/tapdraft/policy.conf"
USERS = {"alice": 61001, "bob": 61002, "mallory": 61003}
GROUP = 61000  # tapdraft: alice and bob
DEFAULT_POLICY = """\
[group tapdraft]
subnets  = 192.168.7.0/24
taps     = 16
modes    = nat, routed, isolated
forwards = tcp:1024-65535, udp:1024-65535
uplinks  = *
host     = open
"""


def _of_python(expression: str) -> str:
    """Something of the distribution's Python, which the launcher embeds."""
    code = f"import sys, sysconfig; print({expression})"
    return subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code], check=True, text=True, capture_output=True
    ).stdout.strip()


VERSION = _of_python("'%d.%d' % sys.version_info[:2]")
STDLIB = _of_python("sysconfig.get_path('stdlib')")
LIBPYTHON = _of_python("sysconfig.get_config_var('INSTSONAME')")
CACHE_TAG = _of_python("sys.implementation.cache_tag")


class Syslog:
    """The other end of /dev/log: what programs inside have written to syslog."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = str(path)
        self._socket.bind(self._path)
        path.chmod(0o666)
        self._lines: list[str] = []
        self._marks: dict[bytes, threading.Event] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # Always draining: a full queue would block the program that logs.
        while True:
            data = self._socket.recv(65536)
            if data in self._marks:
                self._marks[data].set()
                if data == b"\0end":
                    return
            else:
                self._lines.append(data.rstrip(b"\0\n").decode(errors="backslashreplace"))

    def _mark(self, data: bytes) -> None:
        """Wait until everything that was sent before now has been read."""
        event = self._marks[data] = threading.Event()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(data, self._path)
        assert event.wait(10)

    def lines(self) -> list[str]:
        """All lines so far, each as it was sent, `<86>…` in front: facility * 8 + severity."""
        self._mark(b"\0mark")
        return list(self._lines)

    def clear(self) -> None:
        self._mark(b"\0mark")
        self._lines.clear()

    def close(self) -> None:
        self._mark(b"\0end")
        self._socket.close()


@dataclass(frozen=True)
class GuestFiles:
    """Paths of the test guest's kernel and initramfs inside the site, readable by everybody."""

    kernel: str
    initrd: str


class Site:
    """The session's mount namespace. Tests mostly use it through `lab`."""

    helper = HELPER
    policy_file = POLICY
    source = SOURCE
    users = USERS

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory(prefix="tapdraft-lab-") as scratch:
            self.space = Namespace(
                ["unshare", "--mount", "--net", "--propagation", "private"],
                'sh "$1" "$2"',
                str(ROOT / "tools/sandbox"),
                scratch,
            )
        self.syslog = Syslog(self.path("/dev/log"))
        self._guests: dict[str, GuestFiles] = {}

    def path(self, inside: str) -> Path:
        """The path by which this process reaches the file `inside` of the site."""
        return self.space.root / inside.lstrip("/")

    def run(self, argv: list[str], **options: object) -> Result:
        """Run in the site's own network namespace, which has nothing but a loopback."""
        return self.space.run(argv, **options)  # type: ignore[arg-type]  # the same keywords

    def write(self, inside: str, text: str | bytes, owner: str = "root", mode: int = 0o644) -> str:
        """Write a file of the site and return its path inside."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        uid = USERS.get(owner, 0)
        os.chown(path, uid, uid)
        path.chmod(mode)
        return inside

    def policy(self, text: str = DEFAULT_POLICY) -> None:
        """Put a policy in place, as an administrator would."""
        self.write(POLICY, text)

    def install(self) -> None:
        """Build and install from a copy of this tree, as root, for real."""
        shutil.copytree(
            ROOT,
            self.path(SOURCE),
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(
                ".git", "__pycache__", ".*_cache", ".hypothesis", ".venv*", "build", "dist", "out"
            ),
        )
        self.run(
            [
                "make",
                "-C",
                SOURCE,
                "install",
                "PREFIX=/usr/local",
                "SYSCONFDIR=/etc",
                "PYTHON=/usr/bin/python3",
            ],
            limit=180,
        ).check()

    def guest(self, arch: str = "amd64") -> GuestFiles:
        """The test guest for `arch` (amd64, arm64), built once and cached on the machine."""
        if arch not in self._guests:
            built = subprocess.run(
                ["sh", str(ROOT / "tools/guest"), "--arch", arch],
                check=False,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            if built.returncode:
                pytest.fail(f"tools/guest failed:\n{built.stderr}")
            folder = f"/usr/share/tapdraft-guest/{arch}"
            for name in ("vmlinuz", "initrd"):
                self.write(f"{folder}/{name}", Path(built.stdout.strip(), name).read_bytes())
            self._guests[arch] = GuestFiles(f"{folder}/vmlinuz", f"{folder}/initrd")
        return self._guests[arch]

    def logged(self, pattern: str) -> list[str]:
        """The syslog lines in which `pattern` is found."""
        return [line for line in self.syslog.lines() if re.search(pattern, line)]

    def close(self) -> None:
        self.syslog.close()
        self.space.close()
