"""Checks of the host: what qemu needs, the guests' files and addresses, and a way out."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from ..helper import policy as helper_policy
from ..helper.caller import Caller
from ..helper.errors import HelperError
from ..helper.policy import Section
from ..helper.request import Request
from ..helper.state import State
from . import qemu as command
from . import requests, shell
from .dhcp.resolvers import host_resolvers
from .finding import Finding, Place, error, grant, group_of, in_group_since, user, warning
from .listing import snapshot
from .machines import MACHINES

TUN = "/dev/net/tun"
KVM = "/dev/kvm"
PROOF_SECONDS = 10


def tun(_: Place) -> Iterator[Finding]:
    if not os.path.exists(TUN):
        yield error(
            "tun",
            f"{TUN} is missing",
            "modprobe tun   (as root; in a container: mkdir -p /dev/net && "
            "mknod -m 0666 /dev/net/tun c 10 200)",
        )
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
                "qemu",
                f"{machine.binary} is not installed",
                f"apt install {machine.package}   (as root; or your distribution's package)",
            )


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
        older = in_group_since(KVM)
        yield give(
            "kvm",
            f"you are in the group {group_of(KVM)}, but this session is older: {slower}"
            if older
            else f"{KVM} is closed to you: {slower}",
            "log in anew" if older else f"{_open_kvm()}   (as root)",
        )
    elif not _proved(own[0]):
        yield give(
            "kvm",
            f"{KVM} is there, but nothing runs under it: {slower}",
            'accel = "tcg"   (in the description, which is what auto comes to here)',
        )


def _open_kvm() -> str:
    """The command that gives KVM to this user; the group kvm is who it is for."""
    if os.stat(KVM).st_gid and group_of(KVM) != str(os.stat(KVM).st_gid):
        return grant(KVM)
    return f"groupadd -f kvm; chgrp kvm {KVM}; chmod g+rw {KVM}; usermod -aG kvm {user()}"


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
            [str(binary), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROOF_SECONDS,
            check=False,
        )
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
                    "files",
                    f"{path}, of guest {guest.name}, is {how}",
                    f"chmod +r {path}" if how != "missing" else "put it there, or correct its name",
                )


def addresses(place: Place) -> Iterator[Finding]:
    state, complete = snapshot()
    told = set()
    for guest in place.tapped:
        request = requests.up(guest)
        if request.tap in state.taps:
            yield from _own(state, request, complete)
            continue
        clash = state.collision([request])
        if clash:
            free = _free(place)
            yield error(
                "subnet",
                f"guest {clash}",
                f'[network] subnet = "{free}"   (in the description)'
                if free
                else "ask the administrator for a subnet that is free: the policy permits none",
            )
        if request.tap in state.links and request.tap not in told:
            told.add(request.tap)
            yield error(
                "tap",
                f"there is an interface {request.tap} that tapdraft did not make",
                f"ip link delete {request.tap}   (as root, if nobody needs it)",
            )


def _own(state: State, request: Request, complete: bool) -> Iterator[Finding]:
    """What `up` would say of a tap of that name, and what has come to it since."""
    tap, link = request.tap, state.links[request.tap]
    if state.taps[tap] != os.getuid() and os.getuid() != 0:
        yield error(
            "tap",
            f"{tap} is the tap of another user, with uid {state.taps[tap]}",
            "give the guest another name   (in the description)",
        )
        return
    wanted = set(request.networks)
    addresses = state.addresses.get(link.ifindex, set())
    for foreign in sorted(addresses - wanted):
        yield warning(
            "tap",
            f"{tap} has the address {foreign}, which tapdraft did not give it: something "
            "on this host configures it, perhaps by a DHCP server in the guest",
            f"ip address flush dev {tap} && tapdraft down; then keep network managers away from "
            "td-*: doc/administrators.md   (as root)",
        )
    expected = [*wanted, *(IPv4Network(address) for address in (request.host, request.guest))]
    for way in sorted(state.ways.get(link.ifindex, set())):
        if not any(way.subnet_of(network) for network in expected):
            yield warning(
                "tap",
                f"a route to {way} leads to {tap}, which tapdraft did not make",
                f"ip route delete {way} dev {tap}   (as root)",
            )
    others = [
        f"{way} ({name})"
        for name, other in state.links.items()
        if name != tap
        for way in state.ways.get(other.ifindex, set())
        if way.prefixlen == 32 and way.subnet_of(IPv4Network(request.guest))
    ]
    broken = (
        f"{tap} is down"
        if not link.up
        else f"{tap} has no address"
        if not addresses & wanted
        else f"a route over the guest's address leads elsewhere: {others[0]}"
        if others
        else "the table inet tapdraft is gone"
        if complete and not state.table
        else f"{tap} exists with different settings"
        if complete and not state.same(request)
        else ""
    )
    if broken:
        yield error(
            "tap",
            f"guest {request.name}: {broken}",
            f"tapdraft down {request.name}, then "
            f"tapdraft up {request.name}   (with the description's name before the guest's)",
        )


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
                yield error(
                    "uplink",
                    str(failure),
                    f"ip route add default via GATEWAY, or {fix}"
                    if "default route" in str(failure)
                    else fix,
                )
            seen.add(str(failure))


def _machines(place: Place) -> list[str]:
    """The machines of the guests; without guests, the host's own."""
    own = os.uname().machine
    there = {guest.machine for guest in place.guests}
    return sorted(there) or [own if own in MACHINES else next(iter(MACHINES))]


def _free(place: Place) -> str:
    """A /24 that overlaps with nothing here and that the policy permits; "" if there is none.

    Where the policy cannot be read, what is free will do.
    """
    state, _ = snapshot()
    try:
        sections = helper_policy.load()
    except HelperError:
        sections = []
    caller = Caller(os.getuid(), (os.getgid(), *os.getgroups()), holder=False)
    for network in _candidates():
        asked = Request("up", name="any", host=str(network[1]), prefix=24, guest=str(network[2]))
        if state.collision([asked]):
            continue
        if os.getuid() == 0 or not sections or _permitted(sections, asked, caller):
            return str(network)
    return ""


def _candidates() -> Iterator[IPv4Network]:
    """Private subnets, those near the default first."""
    yield from (IPv4Network(f"192.168.{third}.0/24") for third in (*range(7, 255), *range(7)))
    yield from (IPv4Network(f"10.{second}.0.0/24") for second in range(256))
    yield from (IPv4Network(f"172.{second}.0.0/24") for second in range(16, 32))


def _permitted(sections: Sequence[Section], request: Request, caller: Caller) -> bool:
    """Do the words of the policy permit it? What uplinks are there now is another question."""
    decided = helper_policy.decisions(list(sections), [request], caller, None)
    return all(permitted for _, permitted, _ in decided)


def resolvers(place: Place) -> Iterator[Finding]:
    """Guests take over the host's name servers, unless the description names some."""
    for guest in place.tapped:
        if guest.dns or guest.mode == "isolated":
            continue
        if not host_resolvers():
            yield warning(
                "dns",
                f"guest {guest.name} gets no name server: those of this host are out of "
                "a guest's reach",
                'dns = ["9.9.9.9"]   (in [network] of the description)',
            )
            return
        state, _ = snapshot()
        own = [s for s in host_resolvers() if _is_own(state, s)]
        if own and not guest.host_open:
            yield warning(
                "dns",
                f"the name server {own[0]} is this host itself, which guest {guest.name} "
                "may not reach",
                'dns = ["9.9.9.9"]   (in [network] of the description)',
            )
            return


def _is_own(state: State, address: IPv4Address) -> bool:
    """Is it an address of this host? The kernel has a /32 for each in its table local."""
    return any(
        IPv4Network(address) == network and name != "lo"
        for name, link in state.links.items()
        if name not in state.taps
        for network in state.ways.get(link.ifindex, set())
        if network.prefixlen == 32
    )


def memory(place: Place) -> Iterator[Finding]:
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    for guest in place.guests:
        if guest.memory > there:
            yield error(
                "memory",
                f"guest {guest.name} wants {guest.memory}M of memory, and this host has {there}M",
                f'memory = "{there // 2}M"   (in the description)',
            )
