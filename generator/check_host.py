"""Checks of the host: what qemu needs, the guests' files and addresses, and a way out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network

from ..helper.errors import HelperError
from ..helper.request import Request
from . import qemu as command
from . import requests, shell
from .finding import Finding, Place, error, grant, warning
from .listing import snapshot
from .machines import MACHINES

TUN = "/dev/net/tun"
KVM = "/dev/kvm"
PROOF_SECONDS = 10


def tun(_: Place) -> Iterator[Finding]:
    if not os.path.exists(TUN):
        yield error(
            "tun", f"{TUN} is missing",
            "modprobe tun   (as root; in a container: mkdir -p /dev/net && "
            "mknod -m 0666 /dev/net/tun c 10 200)",
        )  # fmt: skip
    elif not os.access(TUN, os.R_OK | os.W_OK):
        yield error("tun", f"{TUN} is closed to you", f"chmod 0666 {TUN}   (as root)")
    else:
        try:
            os.close(os.open(TUN, os.O_RDWR))
        except OSError as failure:
            yield error(
                "tun", f"{TUN} cannot be opened: {failure.strerror}", "modprobe tun   (as root)"
            )


def qemu(place: Place) -> Iterator[Finding]:
    for name in _machines(place):
        machine = MACHINES[name]
        if shutil.which(machine.binary, path=shell.PATH) is None:
            yield error(
                "qemu", f"{machine.binary} is not installed",
                f"apt install {machine.package}   (as root; or your distribution's package)",
            )  # fmt: skip


def kvm(place: Place) -> Iterator[Finding]:
    """KVM counts as usable only if something really runs under it."""
    own = [name for name in _machines(place) if MACHINES[name].proof and _native(name)]
    if not own:
        return
    wanted = [guest.name for guest in place.guests if guest.accel == "kvm"]
    give = error if wanted else warning
    slower = f"guest {wanted[0]} wants it" if wanted else "guests run under TCG, slower"
    if not os.path.exists(KVM):
        yield give("kvm", f"{KVM} is missing: {slower}", "modprobe kvm   (as root)")
    elif not os.access(KVM, os.R_OK | os.W_OK):
        yield give("kvm", f"{KVM} is closed to you: {slower}", f"{grant(KVM)}   (as root)")
    elif not _proved(own[0]):
        yield give(
            "kvm", f"{KVM} is there, but nothing runs under it: {slower}",
            'accel = "tcg"   (in the description, which is what auto comes to here)',
        )  # fmt: skip


def _native(name: str) -> bool:
    """Is this machine of the host's own kind?"""
    host = os.uname().machine
    kinds = ("x86_64", "i386") if host == "x86_64" else (host,)
    return MACHINES[name].binary.removeprefix("qemu-system-") in kinds


def _proved(name: str) -> bool:
    """Does what the qemu script would start end by itself?"""
    binary = shutil.which(MACHINES[name].binary, path=shell.PATH)
    argv = [word for option in command.proof(MACHINES[name]) for word in option.argv()]
    try:
        done = subprocess.run(
            [str(binary), *argv], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=PROOF_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def files(place: Place) -> Iterator[Finding]:
    for guest in place.guests:
        for name in guest.files:
            path = place.folder / name
            if not os.access(path, os.R_OK):
                how = "closed to you" if os.path.exists(path) else "missing"
                yield error(
                    "files", f"{path}, of guest {guest.name}, is {how}",
                    f"chmod +r {path}" if how != "missing" else "put it there, or correct its name",
                )  # fmt: skip


def addresses(place: Place) -> Iterator[Finding]:
    state, _ = snapshot()
    for guest in place.tapped:
        request = requests.up(guest)
        # Its own tap may be there already: up says the same of any other difference.
        if request.tap in state.taps:
            continue
        clash = state.collision([request])
        if clash:
            yield error(
                "subnet", f"guest {clash}",
                f'[network] subnet = "{_free(place)}"   (in the description)',
            )  # fmt: skip


def uplinks(place: Place) -> Iterator[Finding]:
    state, _ = snapshot()
    wanted = [requests.up(guest) for guest in place.tapped]
    wanted += [] if place.guests else [Request("up", name="any")]
    seen = set()
    for request in wanted:
        try:
            state.complete(request)
        except HelperError as failure:
            if str(failure) not in seen:
                fix = failure.hint.replace("uplink=IF", 'uplinks = ["IF"] in [network]')
                yield error("uplink", str(failure), f"ip route add default via GATEWAY, or {fix}"
                            if "default route" in str(failure) else fix)  # fmt: skip
            seen.add(str(failure))


def _machines(place: Place) -> list[str]:
    """The machines of the guests; without guests, the host's own."""
    own = os.uname().machine
    there = {guest.machine for guest in place.guests}
    return sorted(there) or [own if own in MACHINES else next(iter(MACHINES))]


def _free(place: Place) -> str:
    """A /24 that overlaps with nothing here."""
    state, _ = snapshot()
    for third in range(7, 255):
        network = IPv4Network(f"192.168.{third}.0/24")
        asked = Request("up", name="any", host=str(network[1]), prefix=24, guest=str(network[2]))
        if not state.collision([asked]):
            return str(network)
    return "10.77.0.0/16"
