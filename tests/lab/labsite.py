"""A machine within the machine: tapdraft installed for real, users, a syslog, nothing kept.

One mount namespace for the whole test session. /usr, /etc, /var and /home are overlays whose
upper halves are in memory, /dev, /run and /tmp are its own, so `make install`, a policy or a new
user never reach the machine's own files.
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
host     = open, closed
"""

_SETUP = r"""
scratch=$1
mount -t tmpfs -o mode=755 tmpfs "$scratch"
for folder in usr etc var home; do
    upper=$scratch/$folder
    mkdir "$upper" "$upper.work"
    mount -t overlay -o "lowerdir=/$folder,upperdir=$upper,workdir=$upper.work" overlay "/$folder"
done
mkdir "$scratch/dev"
mount -t tmpfs -o mode=755 tmpfs "$scratch/dev"
cd "$scratch/dev"
for node in null,3 zero,5 full,7 random,8 urandom,9; do
    mknod -m 666 "${node%,*}" c 1 "${node#*,}"
done
mknod -m 666 tty c 5 0
mkdir net pts shm
mknod -m 666 net/tun c 10 200
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts pts
mount -t tmpfs -o mode=1777 tmpfs shm
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
ln -s fd/0 stdin
ln -s fd/1 stdout
ln -s fd/2 stderr
cd /
mount --rbind "$scratch/dev" /dev
# The overlays hold on to it; the machine's folder is free to go.
umount -l "$scratch"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -m 1777 /run/lock
ip link set lo up
# Kernel modules that are loaded by what uses them first add files to /proc/sys/net everywhere:
# let that happen before any test looks.
ip tuntap add td-warm mode tap
ip link delete td-warm
nft -f - << 'END'
table inet warm {
    chain a { type nat hook postrouting priority 100; masquerade; }
    chain b { type filter hook prerouting priority -300; ct state new fib saddr . iif oif 0 drop; }
    chain c { type nat hook prerouting priority -100; tcp dport 9 dnat ip to 192.0.2.1; }
}
delete table inet warm
END
"""

_ACCOUNTS = r"""
for name in alice bob mallory tapdraft; do
    sed -i "/^$name:/d" /etc/passwd /etc/group
    [ ! -f /etc/gshadow ] || sed -i "/^$name:/d" /etc/gshadow
done
echo "tapdraft:x:61000:alice,bob" >> /etc/group
for account in alice:61001 bob:61002 mallory:61003; do
    name=${account%:*} id=${account#*:}
    echo "$name:x:$id:$id::/home/$name:/bin/sh" >> /etc/passwd
    echo "$name:x:$id:" >> /etc/group
    mkdir -p "/home/$name" "/run/user/$id"
    chown "$name:$name" "/home/$name" "/run/user/$id"
    chmod 700 "/home/$name" "/run/user/$id"
done
rm -f /etc/resolv.conf
echo "nameserver 198.51.100.1" > /etc/resolv.conf
"""


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
                ["unshare", "--mount", "--net", "--propagation", "private"], _SETUP, scratch)
        self.run(["sh", "-euc", _ACCOUNTS]).check()
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
        shutil.copytree(ROOT, self.path(SOURCE), dirs_exist_ok=True, ignore=shutil.ignore_patterns(
            ".git", "__pycache__", ".*_cache", ".hypothesis", ".venv*", "build", "dist", "out"))
        self.run(["make", "-C", SOURCE, "install", "PREFIX=/usr/local", "SYSCONFDIR=/etc",
                  "PYTHON=/usr/bin/python3"], limit=180).check()

    def guest(self, arch: str = "amd64") -> GuestFiles:
        """The test guest for `arch` (amd64, arm64), built once and cached on the machine."""
        if arch not in self._guests:
            built = subprocess.run(
                ["sh", str(ROOT / "packaging/guest"), "--arch", arch],
                check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if built.returncode:
                pytest.fail(f"packaging/guest failed:\n{built.stderr}")
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


