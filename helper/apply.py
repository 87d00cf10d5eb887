"""Carrying out: the plans of all requests in one pass, all or nothing; and taking down."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from . import firewall, host
from . import plan as p
from .errors import HelperError, InTheWay
from .netlink import Kernel, Link
from .request import Request
from .state import UNFINISHED, State, owner, read

_ALL_DOWN = (
    "every user who has a tap (ip link show type tun) takes theirs down: tapdraft-helper down --all"
)


class Work:
    """One pass over a plan. The kernel is locked, and `state` is what is there."""

    def __init__(
        self, kernel: Kernel, state: State, uid: int, channel: int | None, virtio_header: bool
    ) -> None:
        self.kernel, self.state = kernel, state
        self.uid = uid  # of the caller
        # To qemu, if that is to have the tap.
        self.channel, self.flags = channel, host.IFF_VNET_HDR if virtio_header else 0
        self.wanted: list[Request] = []  # what is not there yet
        self.descriptors: dict[str, int] = {}  # of the taps made here, by name
        self.owners: dict[str, int] = {}  # whose they will be
        self.indexes = {name: link.ifindex for name, link in state.links.items()}

    def plan_up(self, requests: Iterable[Request]) -> p.Plan:
        """One plan for all the requests, without what is there. InTheWay if it cannot be."""
        self.wanted = [request for request in requests if not self._is_up(request)]
        for request in self.wanted:
            if request.tap in self.state.uplinks:  # and guests would be let out to this guest
                what = f"{request.tap} is the name of an uplink until all taps are down"
                raise InTheWay(what, "choose another name for the guest")
        clash = self.state.collision(self.wanted)
        if clash:
            raise InTheWay(clash, "choose a subnet that this host neither has nor routes")
        if self.wanted and self.state.table and self.state.mark != p.MARK:
            # Its rules are not this version's, and the guests that they guard are running.
            raise InTheWay("the table inet tapdraft is an earlier version's", _ALL_DOWN)
        stale = self.state.stale_forwards()
        ports = {f[1:3]: "taken by another guest" for f in self.state.forwards if f not in stale}
        operations: list[p.Operation] = [p.RemoveForward(*forward[1:3]) for forward in stale]
        operations += map(p.DeleteTap, self._unfinished())
        for request in self.wanted:
            for protocol, port, _ in request.forwards:
                if (protocol, port) in ports:
                    what = f"{request.name}: {protocol} port {port} is {ports[protocol, port]}"
                    raise InTheWay(what, "forward another port")
                ports[protocol, port] = "taken by another guest"
            operations += p.plan_up(request, str(self.uid), self.state.complete(request))
        # An operation is a tuple, equal to any other of the same fields: its type is in the key.
        once = {(type(operation), operation): operation for operation in operations}
        there: list[p.Operation] = [p.AddUplink(*uplink) for uplink in self.state.uplinks.values()]
        for operation in [*there, p.EnsureRuleset()] if self.state.table else []:
            once.pop((type(operation), operation), None)
        return tuple(once.values())

    def _is_up(self, request: Request) -> bool:
        """Is the tap there, just as requested? InTheWay if its name is taken otherwise."""
        if request.tap not in self.state.links:
            return False
        if self.state.taps.get(request.tap) != self.uid:
            raise InTheWay(f"{request.tap} is not yours", "choose another name for the guest")
        hint = f"take it down first: tapdraft-helper down {request.name}"
        if self.state.mark != p.MARK:
            raise InTheWay(f"{request.tap} is there, made by an earlier version", hint)
        if not self.state.table:  # nothing keeps its guest from the host and the other guests
            raise InTheWay(f"{request.tap} exists, but somebody has removed its ruleset", hint)
        if self.channel is not None or not self.state.same(request):
            words = "already" if self.channel is not None else "with different settings"
            raise InTheWay(f"{request.tap} exists {words}", hint)
        return True

    def plan_down(self, taps: Sequence[str]) -> p.Plan:
        """One plan to take down these taps, what earlier ones left, and the table with the last."""
        gone = {*taps, *(forward.tap for forward in self.state.stale_forwards())}
        forwards = [forward[1:3] for forward in self.state.forwards if forward.tap in gone]
        plan = p.plan_down([*taps, *self._unfinished()], forwards)
        if self.state.table and not set(self.state.taps) - set(taps):
            plan += p.plan_last(self.state.uplinks.values())
        return plan

    def _unfinished(self) -> list[str]:
        """What a helper that was killed could not mark yet: only one at a time makes taps."""
        return [UNFINISHED] if UNFINISHED in self.state.links else []

    def carry_out(self, plan: p.Plan) -> None:
        """All of the plan; at an error, undo what was done of it and raise HelperError."""
        for step in _steps(plan):
            try:
                self._do(step)
            except Exception as error:  # nothing is half done, whatever it is
                left = self._undo()
                if not isinstance(error, OSError):
                    raise
                said = "; ".join((_failed(step[0], error), *left))
                raise HelperError(said, _hint(error, left)) from None

    def _undo(self) -> list[str]:
        """Take back what the kernel now has of an `up`; what could not be taken back, in words.

        The kernel is asked, as an operation may be half done, or done and only the answer lost.
        """
        before = self.state.uplinks
        try:
            self.state = read(self.kernel, networks=False)
        except (HelperError, OSError) as error:
            return [f"read what is there: {error}"]
        plan = self.plan_down(list(self.descriptors))
        if set(self.state.taps) - set(self.descriptors):  # the table stays, but not all of it
            new = set(self.state.uplinks.values()) - set(before.values())
            plan += tuple(p.RestoreForwarding(*uplink) for uplink in new if uplink.was != "1")
            plan += tuple(p.RemoveUplink(*uplink) for uplink in new)
        return self.take_down(plan)

    def take_down(self, plan: p.Plan) -> list[str]:
        """As much of the plan as can be done; what could not be, in words."""
        errors: list[str] = []
        for step in _steps(plan):
            if errors and isinstance(step[0], p.RemoveUplink | p.RemoveRuleset):
                break  # they guard the host from what is still there
            try:
                self._do(step)
            except OSError as error:
                errors.append(_failed(step[0], error))
        return errors

    def _do(self, step: list[p.Operation]) -> None:
        operation, kernel = step[0], self.kernel
        match operation:
            case p.DeleteTap():
                self._delete_taps([o.tap for o in step if isinstance(o, p.DeleteTap)])
            case p.SetUp():
                if host.read_sysctl("netfilter/nf_conntrack_count") != "0":
                    # To be told that there is none, the kernel walks its whole table for 10 ms.
                    networks = [network for r in self.wanted for network in r.networks]
                    firewall.forget_connections(kernel, networks)
                for tap in (o.tap for o in step if isinstance(o, p.SetUp)):
                    kernel.set_link(self.indexes[tap], up=True)
            case p.CreateTap(tap, uid, group, mtu, multi_queue):
                flags = self.flags | (host.IFF_MULTI_QUEUE if multi_queue else 0)
                # Others can open a tap of several queues before it has an owner, stop this process
                # and keep it: by this name every later helper knows it, and deletes it.
                name = UNFINISHED if multi_queue else tap
                made = host.create_tap(kernel, name, flags)
                self.descriptors[tap], self.indexes[tap] = made
                self.owners[tap] = int(uid)
                kernel.set_link(made[1], name=tap, mtu=mtu, group=group, alias=operation.alias)
            case p.HardenTap():
                for key, value in operation.settings:
                    if host.read_sysctl(key) is not None:  # a kernel may be without IPv6
                        host.write_sysctl(key, value)
            case p.AddAddress(tap, address, prefix):
                kernel.add_address(self.indexes[tap], address, prefix)
            case p.AddRoute(tap, guest, source):
                kernel.add_route(self.indexes[tap], guest, source)
            case p.EnableForwarding(interface, was):
                if was != "1":  # it is on, or an administrator has just switched it off
                    host.write_sysctl(f"ipv4/conf/{interface}/forwarding", "1")
            case p.RestoreForwarding(interface, was):
                key = f"ipv4/conf/{interface}/forwarding"
                # Where somebody has switched on forwarding for the whole host, they need it.
                if host.read_sysctl("ipv4/ip_forward") == "0" and host.read_sysctl(key) is not None:
                    host.write_sysctl(key, was)
            case p.PersistTap(tap):
                host.give_tap(self.descriptors[tap], self.owners[tap], self.channel)
            case _:
                kernel.commit([message for o in step for message in firewall.messages(o)])

    def _delete_taps(self, taps: list[str]) -> None:
        """Delete those of these taps that are still there."""
        links = {link.ifindex: link for link in self.kernel.links()}
        ours = {index for tap in taps if (index := self._index_of(tap, links)) is not None}
        # Taps that a killed helper left in the group go along; what is not tapdraft's must not.
        foreign = [o for o in links.values() if o.group == p.DOOMED and owner(o) is None]
        if len(ours) > 1 and not foreign:
            # One by one, each would cost a grace period: cut them off, then delete their group.
            for index in ours:
                self._unless_gone(partial(self.kernel.set_link, index, up=False, group=p.DOOMED))
            self._unless_gone(partial(self.kernel.delete_group, p.DOOMED))
        else:
            for index in ours:
                self._unless_gone(partial(self.kernel.delete_link, index))
        for tap in set(taps) & set(self.descriptors):
            os.close(self.descriptors.pop(tap))

    def _index_of(self, tap: str, links: dict[int, Link]) -> int | None:
        """The index of a tap if that is still the interface that was looked at or made here."""
        if tap in self.descriptors:  # made here: it need not be marked yet
            return self.indexes[tap] if self.indexes[tap] in links else None
        known = self.state.links.get(tap)
        return known.ifindex if known and links.get(known.ifindex) == known else None

    def _unless_gone(self, call: Callable[[], None]) -> None:
        """Its owner can end a tap at any moment."""
        try:
            call()
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def _steps(plan: Iterable[p.Operation]) -> list[list[p.Operation]]:
    """The steps of a plan in their order, each of one operation or of what is done in one go.

    Taps are deleted before the rules that guard them, and guarded before they are switched on.
    """
    operations = list(plan)

    def each(kind: type[p.Operation]) -> list[list[p.Operation]]:
        return [[operation] for operation in operations if type(operation) is kind]

    def at_once(*kinds: type[p.Operation]) -> list[list[p.Operation]]:
        step = [o for kind in kinds for o in operations if type(o) is kind]
        return [step] if step else []

    return [
        *at_once(p.RemoveForward),  # one transaction of nftables
        *at_once(p.DeleteTap),  # one deletion of a group
        *each(p.CreateTap),
        *each(p.HardenTap),
        *each(p.AddAddress),
        *at_once(p.EnsureRuleset, p.AddUplink, p.ForwardPort),  # one transaction of nftables
        *each(p.EnableForwarding),
        *at_once(p.SetUp),  # one look at the connections
        *each(p.AddRoute),
        *each(p.PersistTap),
        *each(p.RestoreForwarding),
        *each(p.RemoveUplink),
        *each(p.RemoveRuleset),
    ]


def _failed(operation: p.Operation, error: OSError) -> str:
    words = re.sub("(?!^)([A-Z])", r" \1", type(operation).__name__).lower()
    return f"{' '.join((words, *map(str, operation[:1])))}: {error.strerror}"


def _hint(error: OSError, left: list[str]) -> str:
    if error.errno == errno.EMFILE:
        return "each tap needs a descriptor: raise ulimit -n, or ask for fewer at once"
    if error.filename == "/dev/net/tun":
        return "modprobe tun, and see that /dev/net/tun is there with mode 0666"
    return "tapdraft-helper down --all" if left else "nothing was changed"
