"""A tap set up by the helper, tapdraft's DHCP responder on it as an ordinary user, and a namespace
that stands for the guest, so that any DHCP client can be the guest's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from labnet import PYTHON, Lab
from labproc import Process
from labrun import Namespace, Result

ROOT = Path(__file__).resolve().parents[2]
MODULES = "/usr/src/tapdraft-dhcp"
MAC = "52:54:c0:a8:07:02"
HOST, GUEST = "192.168.7.1", "192.168.7.2"

# Read-only, /sys tells systemd that there is no udev to wait for. Clients write to /etc.
_SETUP = """
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir /run/etc /run/etc.work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work overlay /etc
hostname guest-before
ip link set lo up
"""
_LOST = f"""
table netdev lab {{
    chain lost {{
        type filter hook ingress device td-web priority 0
        ip daddr {HOST} udp dport 67 drop
    }}
}}
"""


class GuestSpace(Namespace):
    """Network, mounts and host name of a guest."""

    def argv(
        self,
        argv: Sequence[str],
        user: str = "root",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        first, *rest = super().argv(argv, user, cwd, env)
        return [first, f"--uts=/proc/{self.pid}/ns/uts", *rest]


class Wired:
    """See the module."""

    def __init__(self, lab: Lab, *network: str) -> None:
        """`network` is what the helper is asked for: HOST/PREFIX and the guest's address."""
        self.lab = lab
        self._started: list[Process] = []
        self.env = {"PYTHONPATH": MODULES, "PYTHONDONTWRITEBYTECODE": "1"}
        for package in ("helper", "generator"):
            shutil.copytree(
                ROOT / package,
                lab.site.path(f"{MODULES}/tapdraft/{package}"),
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        compiler = [PYTHON, ROOT / "tools/compile_ruleset.py", ROOT / "helper/ruleset.nft"]
        done = subprocess.run(compiler, check=True, capture_output=True)
        lab.write(f"{MODULES}/tapdraft/helper/ruleset.bin", done.stdout)
        self.helper("up", "web", *(network or (f"{HOST}/30", GUEST))).check()
        mounts = f"--mount=/proc/{lab.host.pid}/ns/mnt"
        self.space = GuestSpace(
            [
                "nsenter",
                mounts,
                "--",
                "unshare",
                "--net",
                "--uts",
                "--mount",
                "--propagation",
                "private",
            ],
            _SETUP,
        )
        pump = lab.write("/run/labpump.py", (ROOT / "tests/lab/labpump.py").read_text())
        self.pump = lab.start([PYTHON, pump, "td-web", f"/proc/{self.space.pid}/ns/net", "eth0"])
        self.pump.expect("^carrying$", 20)
        self.run(["ip", "link", "set", "eth0", "address", MAC, "up"]).check()

    def helper(self, *words: str) -> Result:
        """Ask the helper's Python side, as root."""
        return self.lab.run([PYTHON, "-m", "tapdraft.helper", *words], env=self.env)

    def respond(self, *options: str) -> Process:
        """Start the responder as alice; it listens when this returns."""
        process = self.responder(*options)
        process.expect("^ready$", 20)
        return process

    def responder(self, *options: str) -> Process:
        """Start the responder as alice, whatever comes of it."""
        return self.lab.start(self.argv(*options), user="alice", env=self.env)

    def argv(self, *options: str) -> list[str]:
        """The responder's command line. An option that is given again is the one that counts."""
        return [
            PYTHON,
            "-m",
            "tapdraft.generator.dhcp",
            "--tap=td-web",
            f"--mac={MAC}",
            f"--address={GUEST}",
            "--prefix=30",
            f"--router={HOST}",
            *options,
        ]

    def run(self, argv: Sequence[str | Path], **options: object) -> Result:
        """Run in the guest."""
        return self.space.run(argv, **options)  # type: ignore[arg-type]  # the same keywords

    def start(self, argv: Sequence[str | Path], **env: str) -> Process:
        """Start in the guest. Ended with the lab."""
        self._started.append(self.space.start(argv, env=env))
        return self._started[-1]

    def write(self, inside: str, text: str, mode: int = 0o644) -> str:
        """Write a file that only the guest sees, below /run or /var/lib."""
        path = self.space.root / inside.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return inside

    def lose_power(self, client: Process) -> None:
        """End a client and all it started with no chance to say goodbye, and the kernel's memory
        with it; what it wrote to its files stays."""
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        self.run(["ip", "address", "flush", "dev", "eth0"]).check()

    def lose_unicast(self) -> None:
        """Lose what the guest sends to its server's port alone, on the wire: it is not told so.
        What it sends to everybody gets through."""
        self.lab.run(["nft", "-f", "-"], input=_LOST).check()

    def listen(self) -> Process:
        """Each DHCP message on the guest's interface from now on, as labwire.py tells it."""
        script = self.write("/run/labwire.py", (ROOT / "tests/lab/labwire.py").read_text())
        process = self.start([PYTHON, script, "eth0"])
        process.expect("^listening$", 20)
        return process

    def address(self) -> str:
        """The guest's address with its prefix length, empty if it has none."""
        shown = self.run(["ip", "-4", "-br", "address", "show", "dev", "eth0"]).check().stdout
        return " ".join(shown.split()[2:3])

    def reaches_outside(self) -> bool:
        """Does a ping get through NAT?"""
        ping = ["busybox", "ping", "-c", "1", "-W", "3", self.lab.web]
        return not self.run(ping).status

    def close(self) -> None:
        for process in reversed(self._started):
            process.stop()
        self.space.close()
