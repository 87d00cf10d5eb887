"""Carrying out: the plans of all requests in one pass, all or nothing; and taking down."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Interface, IPv4Network
from itertools import groupby

from . import plan as p
from .errors import HelperError, InTheWay
from .netlink import (
    IFF_MULTI_QUEUE, IFF_VNET_HDR, AnswerLost, Kernel, Link, Message, add_element, delete_element,
    delete_table, forward_key, forward_value, listening, read_sysctl, ruleset, uplink_key,
    write_sysctl,
)  # fmt: skip
from .request import Request
from .ruleset import FORWARDS, UPLINKS
from .state import State, overlapping, port_of, tap_of

# Taps of many requests are made together and switched on together; what nftables can do in one
# transaction stands side by side.
_ORDER = (
    p.RemoveForward, p.CreateTap, p.HardenTap, p.AddAddress, p.EnsureRuleset, p.AddUplink,
    p.ForwardPort, p.EnableForwarding, p.SetUp, p.AddRoute, p.PersistTap,
)  # fmt: skip
_TRANSACTION = (p.RemoveForward, p.EnsureRuleset, p.AddUplink, p.ForwardPort)


def prepare_up(state: State, requests: Iterable[Request], uid: int) -> p.Plan:
    """One plan for all the requests, without what is there already. InTheWay if it cannot be."""
    wanted = [request for request in requests if not is_up(state, request, uid)]
    clash = overlapping(wanted)
    if clash:
        raise InTheWay(f"the requests overlap: {clash}", "give each guest what is its alone")
    stale = state.stale_forwards()
    taken = {port_of(element) for element in state.forwards} - set(stale)
    in_use = listening() if any(request.forwards for request in wanted) else set()
    operations: list[p.Operation] = [p.RemoveForward(*forward) for forward in stale]
    for request in wanted:
        there = state.collision(request)
        if there:
            what = f"{request.name}: its addresses overlap with {there}"
            raise InTheWay(what, "choose a subnet that this host neither has nor routes")
        for forward in request.forwards:
            port, elsewhere = f"{forward.protocol} port {forward.port}", "forward another port"
            if forward[:2] in taken:
                raise InTheWay(f"{request.name}: {port} is taken by another guest", elsewhere)
            if forward[:2] in in_use:  # its clients would come to the guest, passwords and all
                raise InTheWay(f"{request.name}: {port} is in use on this host", elsewhere)
        operations += p.plan_up(request, str(uid), state.complete(request))
    # An operation is a tuple, equal to any other of the same fields: its type is part of the key.
    unique = {(type(o), o): o for o in operations if not _is_there(o, state)}
    return tuple(sorted(unique.values(), key=lambda o: _ORDER.index(type(o))))


def is_up(state: State, request: Request, uid: int) -> bool:
    """Is the tap there already, just as requested? InTheWay if its name is taken otherwise."""
    if request.tap not in state.links:
        return False
    tap = state.taps.get(request.tap)
    if tap is None or tap.uid != uid:
        raise InTheWay(f"{request.tap} is not yours", "choose another name for the guest")
    hint = f"take it down first: tapdraft-helper down {request.name}"
    if state.table is None:  # nothing keeps its guest from the host and the other guests
        raise InTheWay(f"{request.tap} is there, but somebody has removed its ruleset", hint)
    if not state.same(tap, request):
        raise InTheWay(f"{request.tap} is there with other words", hint)
    return True


def _is_there(operation: p.Operation, state: State) -> bool:
    match operation:
        case p.EnsureRuleset():
            return state.table is not None
        case p.AddUplink():
            return operation.uplink.name in state.uplinks
        case p.EnableForwarding(was="0" | "1"):
            return read_sysctl(f"ipv4/conf/{operation.interface}/forwarding") == "1"
    return False


def prepare_down(state: State, taps: Sequence[str]) -> p.Plan:
    """One plan to take down these taps, what earlier ones left, and the table with the last."""
    operations: list[p.Operation] = [p.RemoveForward(*f) for f in state.stale_forwards()]
    for tap in taps:
        operations += p.plan_down(tap, state.forwards_of(tap))
    if state.table is not None and not set(state.taps) - set(taps):
        operations += p.plan_last(tuple(p.Uplink(*uplink) for uplink in state.uplinks.items()))
    return tuple(operations)


class Work:
    """One pass over a plan. The kernel is locked, and CAP_NET_ADMIN is raised."""

    def __init__(self, kernel: Kernel, state: State, virtio_header: bool = False) -> None:
        self.kernel = kernel
        self.state = state
        self.virtio_header = virtio_header
        self.descriptors: dict[str, int] = {}  # of the taps made here, by name
        self.networks: list[IPv4Network] = []  # that are about to be guests'
        self.indexes = {name: tap.link.ifindex for name, tap in state.taps.items()}

    def carry_out(self, plan: p.Plan) -> None:
        """All of the plan; at an error, undo what was done of it and raise HelperError."""
        done: list[p.Operation] = []
        self.networks = list(_networks(plan))
        for operations, step in self._steps(plan):
            try:
                # A transaction is done or not; anything else may be half done at an error.
                done += () if isinstance(operations[0], _TRANSACTION) else operations
                step()
                done += operations if isinstance(operations[0], _TRANSACTION) else ()
            except OSError as error:
                left = self.undo(done + operations if isinstance(error, AnswerLost) else done)
                raise HelperError(
                    "; ".join((_failed(operations[0], error), *left)), _hint(error, not left)
                ) from None

    def undo(self, done: Sequence[p.Operation]) -> list[str]:
        """Undo operations of carry_out(); what could not be undone, in words."""
        # Not "if undo": an operation without fields is an empty tuple.
        steps = (p.undo(operation) for operation in reversed(done))
        return self.take_down(tuple(step for step in steps if step is not None), perhaps=True)

    def take_down(self, plan: p.Plan, perhaps: bool = False) -> list[str]:
        """As much of the plan as can be done; what could not be, in words.

        `perhaps` not all of what it undoes was done.
        """
        # Taps go before rules: none may be open for a moment without them. sorted() is stable.
        first = {p.RemoveForward: 0, p.DeleteTap: 1}
        errors = []
        for operations, step in self._steps(sorted(plan, key=lambda o: first.get(type(o), 2))):
            try:
                step()
            except OSError as error:
                if not (perhaps and error.errno == errno.ENOENT):
                    errors.append(_failed(operations[0], error))
        return errors

    def _steps(
        self, plan: Iterable[p.Operation]
    ) -> Iterator[tuple[list[p.Operation], Callable[[], None]]]:
        """The plan in steps: what goes together well is one step."""
        for kind, group in groupby(plan, key=_together):
            operations = list(group)
            if kind == "transaction":
                yield operations, partial(self._commit, operations)
            elif kind == "delete":
                taps = [o.tap for o in operations if isinstance(o, p.DeleteTap)]
                yield operations, partial(self._delete_taps, taps)
            elif kind == p.SetUp.__name__:
                taps = [o.tap for o in operations if isinstance(o, p.SetUp)]
                yield operations, partial(self._set_up, taps)
            else:
                yield from (([o], partial(self._do, o)) for o in operations)

    def _commit(self, operations: Iterable[p.Operation]) -> None:
        self.kernel.commit([message for o in operations for message in _messages(o)])

    def _do(self, operation: p.Operation) -> None:
        match operation:
            case p.CreateTap():
                self._create_tap(operation)
            case p.HardenTap():
                for key, value in operation.settings:
                    if read_sysctl(key) is not None:  # a kernel may be without IPv6
                        write_sysctl(key, value)
            case p.AddAddress(tap, address, prefix):
                self.kernel.add_address(self.indexes[tap], address, prefix)
            case p.AddRoute(tap, guest, host):
                self.kernel.add_route(self.indexes[tap], guest, host)
            case p.EnableForwarding():
                write_sysctl(f"ipv4/conf/{operation.interface}/forwarding", "1")
            case p.RestoreForwarding(interface, was):
                key = f"ipv4/conf/{interface}/forwarding"
                # Where somebody has switched on forwarding for the whole host, they need it.
                if read_sysctl("ipv4/ip_forward") == "0" and read_sysctl(key) is not None:
                    write_sysctl(key, was)
            case p.PersistTap():
                self.kernel.persist_tap(self.descriptors[operation.tap])
            case _:
                self._commit([operation])

    def _set_up(self, taps: Iterable[str]) -> None:
        self.kernel.forget_connections(self.networks)
        for tap in taps:
            self.kernel.set_link(self.indexes[tap], up=True)

    def _create_tap(self, operation: p.CreateTap) -> None:
        flags = IFF_MULTI_QUEUE if operation.multi_queue else 0
        flags |= IFF_VNET_HDR if self.virtio_header else 0
        descriptor, ifindex = self.kernel.create_tap(operation.tap, int(operation.uid), flags)
        self.descriptors[operation.tap], self.indexes[operation.tap] = descriptor, ifindex
        self.kernel.set_link(
            ifindex, mtu=operation.mtu, group=operation.group, alias=operation.alias
        )

    def _delete_taps(self, taps: list[str]) -> None:
        """Cut them off, then delete them together: one by one, each costs a grace period."""
        links = {link.ifindex: link for link in self.kernel.links()}
        indexes = [self.indexes[name] for name in taps if self._still(name, links)]
        strangers = any(link.group == p.DOOMED and not tap_of(link) for link in links.values())
        if len(indexes) > 1 and not strangers:
            for ifindex in indexes:
                self.kernel.set_link(ifindex, up=False, group=p.DOOMED)
            self.kernel.delete_group(p.DOOMED)
        else:
            for ifindex in indexes:
                self.kernel.delete_link(ifindex)
        for name in taps:
            if name in self.descriptors:
                os.close(self.descriptors.pop(name))

    def _still(self, name: str, links: dict[int, Link]) -> bool:
        """Is what has this tap's index still it? What was made here need not be marked yet."""
        link = links.get(self.indexes.get(name, 0))
        return link is not None and (
            name in self.descriptors or tap_of(link) == self.state.taps[name]
        )


def _networks(plan: p.Plan) -> Iterator[IPv4Network]:
    """The networks that a plan gives to guests."""
    for operation in plan:
        match operation:
            case p.AddAddress(_, address, prefix):
                yield IPv4Interface(f"{address}/{prefix}").network
            case p.AddRoute(_, guest, _):
                yield IPv4Network(guest)


def _together(operation: p.Operation) -> str:
    if isinstance(operation, _TRANSACTION):
        return "transaction"
    return "delete" if isinstance(operation, p.DeleteTap) else type(operation).__name__


def _messages(operation: p.Operation) -> Iterable[Message]:
    match operation:
        case p.EnsureRuleset():
            return ruleset()
        case p.AddUplink():
            key = uplink_key(operation.uplink.name)
            return [add_element(UPLINKS, key, b"", operation.comment)]
        case p.ForwardPort(tap, protocol, port, guest, guest_port):
            value = forward_value(guest, guest_port)
            return [add_element(FORWARDS, forward_key(protocol, port), value, tap)]
        case p.RemoveForward(protocol, port):
            return [delete_element(FORWARDS, forward_key(protocol, port))]
        case p.RemoveUplink(name):
            return [delete_element(UPLINKS, uplink_key(name))]
    return [delete_table()]


def _failed(operation: p.Operation, error: OSError) -> str:
    name = "".join(f" {c.lower()}" if c.isupper() else c for c in type(operation).__name__)
    return f"{name.strip()} {' '.join(map(str, operation[:1]))}: {error.strerror}"


def _hint(error: OSError, nothing_left: bool) -> str:
    if error.errno == errno.EMFILE:
        return "each tap needs a descriptor: raise ulimit -n, or ask for fewer at once"
    if error.filename == "/dev/net/tun":
        return "modprobe tun, and see that /dev/net/tun is there with mode 0666"
    return "nothing was changed" if nothing_left else "tapdraft-helper down --all"
