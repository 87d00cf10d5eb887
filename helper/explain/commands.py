"""What a person would type: a request, and the commands for each operation of a plan.

The generator's scripts and the helper's --dry-run are written with it. It never runs while a
capability is held: see preview.py.
"""

import os
from typing import NamedTuple

from .. import plan as p
from ..plan import FORWARDS, OPENED, TABLE, UPLINKS
from ..request import Request


class Command(NamedTuple):
    """What a person would type."""

    argv: tuple[str, ...]
    stdin: str = ""
    when: tuple[str, ...] = ()  # a test: where it fails, there is nothing to do
    unless: tuple[str, ...] = ()  # a test: where it succeeds, there is nothing to do


# How each operation of an `up` is undone.
UNDONE: dict[type, str] = {
    p.CreateTap: "deleting the tap",
    p.HardenTap: "goes with the tap",
    p.AddAddress: "goes with the tap",
    p.EnsureRuleset: "removing the table with the last tap",
    p.AddUplink: "goes with the table",
    p.EnableForwarding: "restoring the earlier value with the last tap; a tap's goes with it",
    p.ForwardPort: "removing the element",
    p.SetUp: "goes with the tap",
    p.AddRoute: "goes with the tap",
    p.PersistTap: "deleting the tap",
}
_TABLE_IS_THERE = ("nft", "list", "table", *TABLE)
_SYSCTL = ("sysctl", "-q", "-w")


def line(request: Request) -> str:
    """A request's line in its one canonical form; what is at its default is left out."""
    if request.verb == "down":
        return f"down {request.name or '--all'}"
    words = ["up", request.name, f"{request.host}/{request.prefix}", request.guest, request.mode]
    words += ["host=open"] if request.host_open else []
    words += [f"uplink={name}" for name in request.uplinks]
    words += [f"forward={':'.join(map(str, forward))}" for forward in request.forwards]
    words += [f"mtu={request.mtu}"] if request.mtu != 1500 else []
    words += [f"queues={request.queues}"] if request.queues != 1 else []
    return " ".join(words)


def why(operation: p.Operation) -> str:
    """The reason for an operation, as a reader of a script is given it."""
    return operation.__doc__ or ""


def commands(operation: p.Operation) -> tuple[Command, ...]:
    """The commands that have the effect of an operation, in order."""
    match operation:
        case p.CreateTap():
            return _create_tap(operation)
        case p.HardenTap():
            return _harden_tap(operation)
        case p.AddAddress(tap, address, prefix):
            return _one("ip", "address", "add", f"{address}/{prefix}", "dev", tap)
        case p.EnsureRuleset():
            return (Command(("nft", "-f", "-"), stdin=ruleset(), unless=_TABLE_IS_THERE),)
        case p.AddUplink(interface, was):
            element = f'{{ "{interface}" }}'
            there = ("nft", "get", "element", *TABLE, UPLINKS, element)
            add = Command(("nft", "add", "element", *TABLE, UPLINKS, element), unless=there)
            # Opened first: where the uplink is there, it is not for this tap to open.
            opened = _opened("add", element, was, ("test", was, "=", "0"))
            return (*(command._replace(unless=there) for command in opened), add)
        case p.EnableForwarding(interface):
            return _one(*_SYSCTL, f"net/ipv4/conf/{interface}/forwarding=1")
        case p.ForwardPort(tap, protocol, port, guest, guest_port):
            element = f'{{ {protocol} . {port} comment "{tap}" : {guest} . {guest_port} }}'
            return _one("nft", "create", "element", *TABLE, FORWARDS, element)
        case p.SetUp(tap):
            return _one("ip", "link", "set", "dev", tap, "up")
        case p.AddRoute(tap, guest, host):
            way = ("dev", tap, "scope", "link", "src", host)
            return _one("ip", "route", "add", f"{guest}/32", *way)
        case p.PersistTap():
            return ()  # `ip tuntap add` makes every tap persistent
        case p.RemoveForward(protocol, port):
            element = f"{{ {protocol} . {port} }}"
            get = ("nft", "get", "element", *TABLE, FORWARDS, element)
            return (Command(("nft", "delete", "element", *TABLE, FORWARDS, element), when=get),)
        case p.DeleteTap(tap):
            exists = ("test", "-e", f"/sys/class/net/{tap}")
            return (Command(("ip", "link", "delete", "dev", tap), when=exists),)
        case p.RestoreForwarding(interface, was):
            # Where somebody has switched on forwarding for the whole host meanwhile, they need it.
            alone = ("grep", "-qx", "0", "/proc/sys/net/ipv4/ip_forward")
            value = f"net/ipv4/conf/{interface}/forwarding={was}"
            return (Command(("sysctl", "-q", "-e", "-w", value), when=alone),)  # -e: it may be gone
        case p.RemoveUplink(interface, was):
            element = f'{{ "{interface}" }}'
            there = ("nft", "get", "element", *TABLE, OPENED, element)
            delete = _one("nft", "delete", "element", *TABLE, UPLINKS, element)
            # Opened last: as long as it is an uplink, that says what to restore.
            return (*delete, *_opened("delete", element, was, there))
        case p.RemoveRuleset():
            return (Command(("nft", "delete", "table", *TABLE), when=_TABLE_IS_THERE),)


def ruleset() -> str:
    """The whole table as `nft -f` reads it, each rule below its reason."""
    with open(os.path.join(os.path.dirname(p.__file__), "ruleset.nft"), encoding="ascii") as file:
        return file.read()


def undo(operation: p.Operation) -> p.Operation | None:
    """What undoes an operation of a failed `up`; None where that goes with the tap."""
    match operation:
        case p.CreateTap(tap):
            return p.DeleteTap(tap)
        case p.EnsureRuleset():
            return p.RemoveRuleset()
        case p.AddUplink():
            return p.RemoveUplink(*operation)
        case p.EnableForwarding(interface, was) if was:
            return p.RestoreForwarding(interface, was)
        case p.ForwardPort(_, protocol, port):
            return p.RemoveForward(protocol, port)
    return None


def _opened(verb: str, element: str, was: str, test: tuple[str, ...]) -> tuple[Command, ...]:
    """Where forwarding was on already, nothing was opened. In a script a variable has it."""
    argv = ("nft", verb, "element", *TABLE, OPENED, element)
    return {"0": (Command(argv),), "1": ()}.get(was, (Command(argv, when=test),))


def _one(*argv: str) -> tuple[Command, ...]:
    return (Command(argv),)


def _create_tap(operation: p.CreateTap) -> tuple[Command, ...]:
    add = ("ip", "tuntap", "add", "dev", operation.tap, "mode", "tap", "user", operation.uid)
    marks = ("group", str(operation.group), "alias", operation.alias)
    return (
        Command(add + (("multi_queue",) if operation.multi_queue else ())),
        Command(("ip", "link", "set", "dev", operation.tap, "mtu", str(operation.mtu), *marks)),
    )


def _harden_tap(operation: p.HardenTap) -> tuple[Command, ...]:
    four, six = (
        tuple(f"net/{key}={value}" for key, value in operation.settings if key[3] == version)
        for version in "46"
    )
    has_six = ("test", "-e", f"/proc/sys/net/ipv6/conf/{operation.tap}")
    return (Command((*_SYSCTL, *six), when=has_six), Command((*_SYSCTL, *four)))
