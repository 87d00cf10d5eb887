"""A test's own network: a host with uplinks, and an outside host beyond them.

      host                                  outside
      td-…   the taps under test            198.51.100.1/32   web and name server
      eth0   203.0.113.2/24  ------------   eth0  203.0.113.1/24
      eth1   192.0.2.2/24    ------------   eth1  192.0.2.1/24      (when asked for)

Outside knows nothing of the guests' subnets: only what is masqueraded finds its way back.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from labproc import Guest, Process
from labrun import Namespace, Result
from labsite import Site
from labstate import Snapshot, snapshot

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
WEB = "198.51.100.1"
NETWORKS = ("203.0.113", "192.0.2", "198.18.0", "198.18.1")

# Link-local addresses appear a moment after a link is up; without waiting for them the first
# snapshot would now and then lack them.
_SETUP = r"""
for name in all default; do
    echo 0 > "/proc/sys/net/ipv6/conf/$name/accept_dad"
    echo 0 > "/proc/sys/net/ipv6/conf/$name/router_solicitations"
done
ip link set lo up
"""
_HOST = _SETUP + "mount -t sysfs sysfs /sys\n"
_UPLINK = r"""
set -eu
pid=$1 name=$2 net=$3 number=$4
ip link add "$name" address "02:00:00:00:$number:02" type veth \
    peer name "$name" address "02:00:00:00:$number:01" netns "$pid"
ip address add "$net.2/24" dev "$name"
ip link set "$name" up
nsenter --net="/proc/$pid/ns/net" ip address add "$net.1/24" dev "$name"
nsenter --net="/proc/$pid/ns/net" ip link set "$name" up
until ip -6 route show table local dev "$name" | grep -q '^local fe80'; do sleep 0.01; done
"""


@dataclass(frozen=True)
class Tap:
    """What the kernel knows of a tap."""

    name: str
    alias: str
    group: str
    up: bool
    owner: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class TapdraftState:
    """What there is of tapdraft: its taps, its table as text, the forwarding switches by link."""

    taps: tuple[Tap, ...]
    table: str
    forwarding: Mapping[str, int]


class Lab:
    """See the module. Made by the fixtures `lab` and `make_lab`."""

    web = WEB
    address = "203.0.113.2"

    def __init__(self, site: Site, uplinks: Sequence[str] = ("eth0",)) -> None:
        self.site = site
        self._started: list[Process | Guest] = []
        mount = f"--mount=/proc/{site.space.pid}/ns/mnt"
        self.outside = Namespace(["nsenter", mount, "--", "unshare", "--net"], _SETUP)
        self.host = Namespace(
            ["nsenter", mount, "--", "unshare", "--net", "--mount", "--propagation", "private"],
            _HOST,
        )
        self.run(["ip", "address", "add", f"{WEB}/32", "dev", "lo"], netns="outside").check()
        for number, name in enumerate(uplinks):
            self.run(
                [
                    "sh",
                    "-c",
                    _UPLINK,
                    "uplink",
                    str(self.outside.pid),
                    name,
                    NETWORKS[number],
                    f"{number:02x}",
                ]
            ).check()
        if uplinks:
            self.run(["ip", "route", "add", "default", "via", f"{NETWORKS[0]}.1"]).check()

    def run(self, argv: Sequence[str | Path], *, netns: str = "host", **options: Any) -> Result:
        """Run `argv` to its end. Keywords: user, input, cwd, env, limit (see Namespace.run)."""
        return self._space(netns).run(argv, **options)

    def start(self, argv: Sequence[str | Path], *, netns: str = "host", **options: Any) -> Process:
        """Start `argv` and return at once. Keywords: user, cwd, env. Ended with the lab."""
        process = self._space(netns).start(argv, **options)
        self._started.append(process)
        return process

    def _space(self, netns: str) -> Namespace:
        return {"host": self.host, "outside": self.outside}[netns]

    def helper(self, *words: str, user: str = "alice", **options: Any) -> Result:
        """Run the installed helper."""
        return self.run([self.site.helper, *words], user=user, **options)

    def write(self, inside: str, text: str | bytes, owner: str = "root", mode: int = 0o644) -> str:
        """Write a file (see Site.write)."""
        return self.site.write(inside, text, owner, mode)

    def serve(self, *addresses: str) -> Process:
        """Start the outside's web and name servers; they listen when this returns."""
        served = self.site.write("/run/laboutside.py", (HERE / "laboutside.py").read_text())
        argv = [PYTHON, "-u", served, *(addresses or (WEB,))]
        process = self.start(argv, netns="outside")
        process.expect("^listening$", 20)
        return process

    def ping(self, address: str, *, netns: str = "host") -> bool:
        """Does `address` answer?"""
        return not self.run(["busybox", "ping", "-c", "1", "-W", "3", address], netns=netns).status

    def get(self, url: str, *, netns: str = "host") -> str | None:
        """The page at `url`, or None if there is none within five seconds."""
        argv = ["timeout", "5", "busybox", "wget", "-q", "-O", "-", url]
        done = self.run(argv, netns=netns)
        return None if done.status else done.stdout

    def guest(self, argv: Sequence[str | Path], **options: Any) -> Guest:
        """Start something that runs a guest, on a terminal. Keywords: user (alice), cwd, env."""
        guest = self.host.guest(argv, **options)
        self._started.append(guest)
        return guest

    def qemu(
        self,
        tap: str,
        append: str,
        *,
        arch: str = "amd64",
        user: str = "alice",
        extra: Sequence[str] = (),
    ) -> Guest:
        """Start the test guest on a tap that exists, without any of tapdraft's scripts."""
        files = self.site.guest(arch)
        machine = {
            "amd64": ["qemu-system-x86_64"],
            "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"],
        }[arch]
        console = {"amd64": "ttyS0", "arm64": "ttyAMA0"}[arch]
        return self.guest(
            [
                *machine,
                "-accel",
                "tcg",
                "-m",
                "256",
                "-nographic",
                "-nodefaults",
                "-serial",
                "mon:stdio",
                "-kernel",
                files.kernel,
                "-initrd",
                files.initrd,
                "-append",
                f"console={console} quiet {append}",
                "-netdev",
                f"tap,id=n0,ifname={tap},script=no,downscript=no",
                "-device",
                "virtio-net-pci,netdev=n0,romfile=",
                *extra,
            ],
            user=user,
        )

    def snapshot(self, *, macs: bool = True) -> Snapshot:
        """All of the host's network state that can be compared."""
        argv = [
            "nsenter",
            f"--net=/proc/{self.host.pid}/ns/net",
            "--",
            PYTHON,
            "-I",
            "-S",
            str(HERE / "labprobe.py"),
        ]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return snapshot(done.stdout, macs=macs)

    def assert_no_residue(self, before: Snapshot) -> None:
        """Fail with what differs from `before`."""
        found = before.diff(self.snapshot())
        if found:
            pytest.fail(f"the host is not as it was before:\n{found}")

    def tapdraft(self) -> TapdraftState:
        """What there is of tapdraft on the host."""
        links = json.loads(self.run(["ip", "-j", "-d", "address"]).check().stdout)
        table = self.run(["nft", "--stateless", "list", "table", "inet", "tapdraft"])
        switches = self.run(["sh", "-c", "cd /proc/sys/net/ipv4/conf && grep -H . */forwarding"])
        forwarding = {
            line.split("/")[0]: int(line.rsplit(":", 1)[1]) for line in switches.stdout.splitlines()
        }
        return TapdraftState(tuple(_taps(links)), table.stdout, forwarding)

    def close(self) -> None:
        """End and reap everything that was started here, then the namespaces."""
        for process in reversed(self._started):
            process.stop()
        self.host.close()
        self.outside.close()


def _taps(links: list[dict[str, Any]]) -> Iterator[Tap]:
    for link in links:
        if link["ifname"].startswith("td-"):
            yield Tap(
                name=link["ifname"],
                alias=link.get("ifalias", ""),
                group=link["group"],
                up="UP" in link["flags"],
                owner=str(link.get("linkinfo", {}).get("info_data", {}).get("user", "")),
                addresses=tuple(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]),
            )
