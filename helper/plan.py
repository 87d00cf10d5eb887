"""The plan: the ordered operations that a request means. Pure: it looks at nothing else.

The helper carries a plan out through netlink (apply.py), the generator writes the same plan as
a shell script: `commands()` is what a person would type for an operation. Both call `plan_up()`
and `plan_down()`, so whoever reviewed a script has reviewed the helper's work.

Operations are NamedTuples, not dataclasses: as unchangeable, and importing dataclasses takes
longer than all of the helper's own modules.
"""

from typing import NamedTuple, Union

from .request import Request
from .ruleset import FORWARDS, TABLE, UPLINKS, ruleset_text

# Device groups 29696 (0x7400) to 29703 are tapdraft's; the three low bits say what a tap may do.
GROUP = 0x7400
GROUP_LENGTH = 29  # as in "iifgroup 29696/29"
LEAVES, MASQUERADED, REACHES_HOST = 1, 2, 4
# What no request asks for: masqueraded without leaving. Taps wait here, cut off, to be deleted.
DOOMED = GROUP + MASQUERADED


class Command(NamedTuple):
    """What a person would type."""

    argv: tuple[str, ...]
    stdin: str = ""
    unless: tuple[str, ...] = ()  # a test: where it succeeds, there is nothing to do
    when: tuple[str, ...] = ()  # a test: where it fails, there is nothing to do


class Uplink(NamedTuple):
    """An interface towards the outside, and its `forwarding` before tapdraft touched it."""

    name: str
    was: str  # "0" or "1"


class CreateTap(NamedTuple):
    """The tap, owned by the user, with the two marks that its owner cannot change."""

    tap: str
    guest: str
    uid: str
    group: int
    mtu: int
    multi_queue: bool

    why = "Make the tap for the guest: the user's qemu may open it, nobody else's."
    undone = "deleting the tap"

    @property
    def alias(self) -> str:
        return f"tapdraft 1 uid={self.uid} guest={self.guest}"

    def commands(self) -> tuple[Command, ...]:
        add = ("ip", "tuntap", "add", "dev", self.tap, "mode", "tap", "user", self.uid)
        marks = ("mtu", str(self.mtu), "group", str(self.group), "alias", self.alias)
        return (
            Command(add + (("multi_queue",) if self.multi_queue else ())),
            Command(("ip", "link", "set", "dev", self.tap, *marks)),
        )

    def undo(self) -> "Operation | None":
        return DeleteTap(self.tap)


class HardenTap(NamedTuple):
    """Nothing that a guest sends may configure the host."""

    tap: str

    why = "No IPv6 on the tap, and nothing the guest sends may change the host's routes."
    undone = "goes with the tap"

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """Keys below /proc/sys/net, and their values."""
        four, six = f"ipv4/conf/{self.tap}", f"ipv6/conf/{self.tap}"
        return (
            (f"{six}/disable_ipv6", "1"),
            (f"{six}/accept_ra", "0"),
            (f"{four}/accept_redirects", "0"),
            (f"{four}/send_redirects", "0"),
            (f"{four}/accept_source_route", "0"),
            # Or the guest could ask for the host's other addresses by ARP.
            (f"{four}/arp_ignore", "1"),
        )

    def commands(self) -> tuple[Command, ...]:
        four = tuple(f"net/{key}={value}" for key, value in self.settings if key[3] == "4")
        six = tuple(f"net/{key}={value}" for key, value in self.settings if key[3] == "6")
        has_six = ("test", "-e", f"/proc/sys/net/ipv6/conf/{self.tap}")
        return (
            Command(("sysctl", "-q", "-w", *six), when=has_six),
            Command(("sysctl", "-q", "-w", *four)),
        )

    def undo(self) -> "Operation | None":
        return None


class AddAddress(NamedTuple):
    """The host's own address on the tap."""

    tap: str
    address: str
    prefix: int

    why = "Give the host its address on the tap; it is the guest's gateway."
    undone = "goes with the tap"

    def commands(self) -> tuple[Command, ...]:
        address = f"{self.address}/{self.prefix}"
        return (Command(("ip", "address", "add", address, "dev", self.tap)),)

    def undo(self) -> "Operation | None":
        return None


class SetUp(NamedTuple):
    """The tap goes up only when all that guards it is in place."""

    tap: str

    why = "Switch the tap on, now that all that guards it is in place."
    undone = "goes with the tap"

    def commands(self) -> tuple[Command, ...]:
        return (Command(("ip", "link", "set", "dev", self.tap, "up")),)

    def undo(self) -> "Operation | None":
        return None


class AddRoute(NamedTuple):
    """The way to a guest that the host's prefix does not cover."""

    tap: str
    guest: str
    host: str

    why = "Show the host the way to the guest, which its own prefix does not cover."
    undone = "goes with the tap"

    def commands(self) -> tuple[Command, ...]:
        way = ("dev", self.tap, "scope", "link", "src", self.host)
        return (Command(("ip", "route", "add", f"{self.guest}/32", *way)),)

    def undo(self) -> "Operation | None":
        return None


class EnsureRuleset(NamedTuple):
    """The one table, the same for one tap and for ten thousand."""

    why = "Load the firewall and NAT table, unless a tap has brought it already."
    undone = "removing the table with the last tap"

    def commands(self) -> tuple[Command, ...]:
        there = ("nft", "list", "table", *TABLE)
        return (Command(("nft", "-f", "-"), stdin=ruleset_text(), unless=there),)

    def undo(self) -> "Operation | None":
        return RemoveRuleset()


class AddUplink(NamedTuple):
    """A way out for guests. The element's comment says what to restore."""

    uplink: Uplink

    why = "Let guests out through this interface, and note what it was like before."
    undone = "restoring forwarding with the last tap, which takes the table away"

    @property
    def comment(self) -> str:
        return f"forwarding was {self.uplink.was}"

    def commands(self) -> tuple[Command, ...]:
        element = f'{{ "{self.uplink.name}" comment "{self.comment}" }}'
        there = ("nft", "get", "element", *TABLE, UPLINKS, f'{{ "{self.uplink.name}" }}')
        return (Command(("nft", "add", "element", *TABLE, UPLINKS, element), unless=there),)

    def undo(self) -> "Operation | None":
        return RemoveUplink(self.uplink.name)


class EnableForwarding(NamedTuple):
    """Forwarding for one interface; the host's own net.ipv4.ip_forward stays as it is."""

    interface: str
    was: str  # "" for a tap: it goes, and its setting with it

    why = "Let the kernel hand on packets that come in here, and only here."
    undone = "restoring the earlier value with the last tap; a tap's goes with it"

    def commands(self) -> tuple[Command, ...]:
        return (Command(("sysctl", "-q", "-w", f"net/ipv4/conf/{self.interface}/forwarding=1")),)

    def undo(self) -> "Operation | None":
        return RestoreForwarding(self.interface, self.was) if self.was else None


class ForwardPort(NamedTuple):
    """A port of the uplinks, handed on to the guest. The comment says which tap's it is."""

    tap: str
    protocol: str
    port: int
    guest: str
    guest_port: int

    why = "Hand this port of the uplinks on to the guest."
    undone = "removing the element"

    def commands(self) -> tuple[Command, ...]:
        key = f'{self.protocol} . {self.port} comment "{self.tap}"'
        element = f"{{ {key} : {self.guest} . {self.guest_port} }}"
        return (Command(("nft", "create", "element", *TABLE, FORWARDS, element)),)

    def undo(self) -> "Operation | None":
        return RemoveForward(self.protocol, self.port)


class PersistTap(NamedTuple):
    """Until here the tap goes with the process that made it: a killed helper leaves none."""

    tap: str

    why = "Keep the tap when this is done: qemu opens it later."
    undone = "deleting the tap"

    def commands(self) -> tuple[Command, ...]:
        return ()  # `ip tuntap add` makes every tap persistent

    def undo(self) -> "Operation | None":
        return DeleteTap(self.tap)


class RemoveForward(NamedTuple):
    """The undoing of ForwardPort."""

    protocol: str
    port: int

    why = "Take the port forward back."
    undone = "the next up"

    def commands(self) -> tuple[Command, ...]:
        element = (*TABLE, FORWARDS, f"{{ {self.protocol} . {self.port} }}")
        there = ("nft", "get", "element", *element)
        return (Command(("nft", "delete", "element", *element), when=there),)

    def undo(self) -> "Operation | None":
        return None


class DeleteTap(NamedTuple):
    """The undoing of CreateTap; addresses, routes and settings of the tap go with it."""

    tap: str

    why = "Delete the tap; its addresses, routes and settings go with it."
    undone = "the next up"

    def commands(self) -> tuple[Command, ...]:
        there = ("test", "-e", f"/sys/class/net/{self.tap}")
        return (Command(("ip", "link", "delete", "dev", self.tap), when=there),)

    def undo(self) -> "Operation | None":
        return None


class RestoreForwarding(NamedTuple):
    """The undoing of EnableForwarding on an uplink."""

    interface: str
    was: str

    why = "Put forwarding back to what it was before the first tap."
    undone = "the next up"

    def commands(self) -> tuple[Command, ...]:
        key = f"net/ipv4/conf/{self.interface}/forwarding"
        there = ("test", "-e", f"/proc/sys/{key}")
        return (Command(("sysctl", "-q", "-w", f"{key}={self.was}"), when=there),)

    def undo(self) -> "Operation | None":
        return None


class RemoveUplink(NamedTuple):
    """The undoing of AddUplink, for an `up` that failed halfway."""

    name: str

    why = "Close this way out again."
    undone = "the next up"

    def commands(self) -> tuple[Command, ...]:
        element = f'{{ "{self.name}" }}'
        return (Command(("nft", "delete", "element", *TABLE, UPLINKS, element)),)

    def undo(self) -> "Operation | None":
        return None


class RemoveRuleset(NamedTuple):
    """The undoing of EnsureRuleset, with the last tap."""

    why = "No tap is left: remove the table."
    undone = "the next up"

    def commands(self) -> tuple[Command, ...]:
        there = ("nft", "list", "table", *TABLE)
        return (Command(("nft", "delete", "table", *TABLE), when=there),)

    def undo(self) -> "Operation | None":
        return None


Operation = Union[
    CreateTap, HardenTap, AddAddress, AddRoute, EnsureRuleset, AddUplink, EnableForwarding,
    ForwardPort, SetUp, PersistTap, RemoveForward, DeleteTap, RestoreForwarding, RemoveUplink,
    RemoveRuleset,
]  # fmt: skip
Plan = tuple[Operation, ...]


def group_of(request: Request) -> int:
    """The device group that tells the ruleset what this tap may do."""
    mode = {"nat": LEAVES | MASQUERADED, "routed": LEAVES, "isolated": 0}[request.mode]
    return GROUP | mode | (REACHES_HOST if request.host_open else 0)


def plan_up(request: Request, uid: str, uplinks: tuple[Uplink, ...]) -> Plan:
    """What a completed `up` means: `uplinks` are the request's, or those of the default routes.

    `uid` is the owner's, in decimal. A script passes shell variables for both.
    """
    tap = request.tap
    operations: list[Operation] = [
        CreateTap(tap, request.name, uid, group_of(request), request.mtu, request.queues > 1),
        HardenTap(tap),
        AddAddress(tap, request.host, request.prefix),
        EnsureRuleset(),
    ]
    if request.leaves:
        for uplink in uplinks:
            operations += [AddUplink(uplink), EnableForwarding(uplink.name, uplink.was)]
        operations.append(EnableForwarding(tap, ""))
    for forward in request.forwards:
        operations.append(ForwardPort(tap, *forward[:2], request.guest, forward.guest_port))
    operations.append(SetUp(tap))
    if request.routed_to:
        # After SetUp: the kernel takes no route over a link that is down.
        operations.append(AddRoute(tap, request.routed_to, request.host))
    return (*operations, PersistTap(tap))


def plan_down(
    tap: str, forwards: tuple[tuple[str, int], ...], last: bool, uplinks: tuple[Uplink, ...]
) -> Plan:
    """What `down` means for one tap.

    `forwards` are the protocols and ports handed on to its guest; `last` says that no other tap
    will be left, and `uplinks` are then those to restore.
    """
    operations: list[Operation] = [RemoveForward(*forward) for forward in forwards]
    operations.append(DeleteTap(tap))
    if last:
        operations += [RestoreForwarding(uplink.name, uplink.was) for uplink in uplinks]
        operations.append(RemoveRuleset())
    return tuple(operations)
