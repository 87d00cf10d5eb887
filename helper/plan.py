"""The plan: the ordered operations that a request means. Pure: it looks at nothing else.

The helper carries a plan out through netlink (apply.py), the generator writes the same plan as
a shell script (commands.py has what a person would type). An operation's docstring says why it
is there. Whoever reviewed a script has reviewed the helper's work.

Operations are NamedTuples, not dataclasses: as unchangeable, and importing dataclasses takes
longer than all of the helper's own modules.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .request import PREFIX, Request

# The nftables table, as ruleset.nft makes it, and its sets.
TABLE = ("inet", "tapdraft")
UPLINKS, OPENED, FORWARDS = "uplinks", "opened", "forwards"
# The mark by which table and taps are known as ours. The number goes up when the rules change, or
# what a tap's group or the sets mean; a test holds it to them.
MARK = 2
# Earlier marks that mean the same by groups, sets and their elements: such can be taken down.
EARLIER = (1,)
# Device groups 29696 (0x7400) to 29703 are tapdraft's; the three low bits say what a tap may do.
GROUP, GROUPS = 0x7400, 8
LEAVES, MASQUERADED, REACHES_HOST = 1, 2, 4
# What no request asks for: masqueraded without leaving. Taps wait here, cut off, to be deleted.
DOOMED = GROUP + MASQUERADED


def comment_of(mark: int) -> str:
    """The comment of a table with that mark."""
    return f"tapdraft {mark}: removed with the last tap"


COMMENT = comment_of(MARK)


class Uplink(NamedTuple):
    """An interface towards the outside, and its `forwarding` before tapdraft touched it."""

    name: str
    was: str  # "0" or "1"


class CreateTap(NamedTuple):
    """Make the tap for the guest. Only this user's qemu may open it."""

    tap: str
    uid: str
    group: int
    mtu: int
    multi_queue: bool

    @property
    def alias(self) -> str:
        return f"tapdraft {MARK} uid={self.uid} guest={self.tap.removeprefix(PREFIX)}"


class HardenTap(NamedTuple):
    """Switch IPv6 off on the tap. What the guest sends cannot change or reveal the host's setup."""

    tap: str

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
            (f"{four}/arp_ignore", "1"),  # or ARP tells the guest the host's other addresses
            # Nor does ARP with false senders fill the host's one table of neighbours.
            (f"{four}/rp_filter", "1"),
            (f"{four}/arp_filter", "1"),
            (f"{four}/arp_accept", "0"),
            # What every new interface may have been given is not for guests.
            (f"{four}/proxy_arp", "0"),
            (f"{four}/route_localnet", "0"),
        )


class AddAddress(NamedTuple):
    """Give the host its address on the tap. It is the guest's gateway."""

    tap: str
    address: str
    prefix: int


class EnsureRuleset(NamedTuple):
    """Load the firewall and NAT table, unless another tap has loaded it already."""


class AddUplink(NamedTuple):
    """Let guests out through this interface, and nobody else if it did not forward before."""

    interface: str
    was: str


class EnableForwarding(NamedTuple):
    """Let the kernel forward packets that come in here; net.ipv4.ip_forward stays as it is."""

    interface: str
    was: str  # "" for a tap, whose setting goes with it


class ForwardPort(NamedTuple):
    """Forward this port of the uplinks to the guest."""

    tap: str
    protocol: str
    port: int
    guest: str
    guest_port: int


class SetUp(NamedTuple):
    """Switch the tap on, now that all its rules are in place."""

    tap: str


class AddRoute(NamedTuple):
    """Route the guest's address to the tap, as the host's prefix does not cover it."""

    tap: str
    guest: str
    host: str


class PersistTap(NamedTuple):
    """Keep the tap for qemu. Until this step it disappears with the process that makes it."""

    tap: str


class RemoveForward(NamedTuple):
    """Remove the port forward."""

    protocol: str
    port: int


class DeleteTap(NamedTuple):
    """Delete the tap; its addresses, routes and settings go with it."""

    tap: str


class RestoreForwarding(NamedTuple):
    """Set forwarding back to what it was before the first tap."""

    interface: str
    was: str


class RemoveUplink(NamedTuple):
    """Stop letting guests out through this interface."""

    interface: str
    was: str


class RemoveRuleset(NamedTuple):
    """Remove the table, as no tap is left."""


# In the order in which those of many requests are carried out: taps are deleted before the rules
# that guard them, and guarded before they are switched on.
Operation = (
    RemoveForward
    | DeleteTap
    | CreateTap
    | HardenTap
    | AddAddress
    | EnsureRuleset
    | AddUplink
    | ForwardPort
    | EnableForwarding
    | SetUp
    | AddRoute
    | PersistTap
    | RestoreForwarding
    | RemoveUplink
    | RemoveRuleset
)
Plan = tuple[Operation, ...]


def group_of(request: Request) -> int:
    """The device group that tells the ruleset what this tap may do."""
    mode = {"nat": LEAVES | MASQUERADED, "routed": LEAVES, "isolated": 0}[request.mode]
    return GROUP | mode | (REACHES_HOST if request.host_open else 0)


def plan_up(request: Request, uid: str, uplinks: Iterable[Uplink]) -> Plan:
    """What a completed `up` means: `uplinks` are the request's, or those of the default routes.

    `uid` is the owner's, in decimal. A script passes shell variables for both.
    """
    tap = request.tap
    operations: list[Operation] = [
        CreateTap(tap, uid, group_of(request), request.mtu, request.queues > 1),
        HardenTap(tap),
        AddAddress(tap, request.host, request.prefix),
        EnsureRuleset(),
    ]
    if request.leaves:
        for uplink in uplinks:
            operations += [AddUplink(*uplink), EnableForwarding(*uplink)]
        operations.append(EnableForwarding(tap, ""))
    for protocol, port, guest_port in request.forwards:
        operations.append(ForwardPort(tap, protocol, port, request.guest, guest_port))
    operations.append(SetUp(tap))
    if request.networks[1:]:  # after SetUp: the kernel takes no route over a link that is down
        operations.append(AddRoute(tap, request.guest, request.host))
    return (*operations, PersistTap(tap))


def plan_down(taps: Iterable[str], forwards: Iterable[tuple[str, int]]) -> Plan:
    """What `down` means for taps; `forwards` are the protocols and ports of their guests."""
    return (*(RemoveForward(*forward) for forward in forwards), *map(DeleteTap, taps))


def plan_last(uplinks: Iterable[Uplink]) -> Plan:
    """What `down` means once no tap is left at all."""
    # Where forwarding was on, nothing was changed: if it is off now, that is somebody's wish.
    changed = (uplink for uplink in uplinks if uplink.was != "1")
    return (*(RestoreForwarding(*uplink) for uplink in changed), RemoveRuleset())
