"""The scripts of a guest, from its request's plan, its qemu command and the templates.

The only module that imports jinja2. It looks at nothing but its arguments, so the same
description gives the same bytes everywhere.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...helper import __version__
from ...helper.explain.commands import line
from ...helper.plan import (
    COMMENT,
    EARLIER,
    GROUP,
    GROUPS,
    MARK,
    Uplink,
    comment_of,
    plan_down,
    plan_last,
    plan_up,
)
from .. import addressing, requests, shell
from ..dhcp.resolvers import FILES as RESOLVERS
from ..errors import USAGE, TapdraftError
from ..machines import MACHINES
from ..model import SHARED, Description, Guest
from ..options import Option
from ..qemu import command as qemu
from ..qemu import disks, firmware
from ..shell import Code, Variable, Word
from . import steps

DIALECTS = ("helper", "nft")
# What a plan has in place of what is known only when a script runs.
UID, UPLINK, WAS = map(steps.stand_in, (Variable.UID, Variable.UPLINK, Variable.WAS))
UPLINKS = (Uplink(UPLINK, WAS),)


def render(
    description: Description,
    guests: tuple[Guest, ...] = (),
    *,
    dialect: str = "helper",
    attach: str = "run",
) -> dict[str, bytes]:
    """All files, by their path below the output folder; without `guests`, those of all."""
    files: dict[str, bytes] = {}
    for guest in guests or description.guests:
        for name, text in scripts(guest, dialect=dialect, attach=attach).items():
            files[f"{guest.name}/{name}"] = text.encode()
    sums = [f"{sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
    return {**files, "SHA256SUMS": "".join(sums).encode()}


def scripts(guest: Guest, *, dialect: str = "helper", attach: str = "run") -> dict[str, str]:
    """The scripts of one guest and what lies beside them, by name.

    Raises TapdraftError for what cannot be combined.
    """
    attach = attach if guest.has_tap else "run"
    _check(guest, dialect, attach)
    added = addressing.METHODS[guest.addressing].adds(guest)
    context = _context(guest, added, dialect, attach)
    templates = {"ifdown": f"{dialect}-ifdown.sh.j2", "qemu": "qemu.sh.j2", "run": "run.sh.j2"}
    if not guest.has_tap:
        templates = {"qemu": "qemu.sh.j2", "run": "alone-run.sh.j2"}
    elif attach != "helper":  # there qemu's own request makes the tap
        templates["ifup"] = f"{dialect}-ifup.sh.j2"
    environment = _environment()
    written = {
        name: environment.get_template(template).render(context)
        for name, template in sorted(templates.items())
    }
    return {**written, **added.files}


def _check(guest: Guest, dialect: str, attach: str) -> None:
    if dialect == "nft" and attach != "run":
        raise TapdraftError(
            f"--attach={attach} needs the helper: qemu does not run as root",
            "leave out --dialect=nft, or --attach",
            USAGE,
        )
    denied = qemu.sandbox_denies(guest)
    if attach != "run" and denied:
        raise TapdraftError(
            f"guest {guest.name} has {denied} in -sandbox, and with --attach={attach} qemu starts "
            "the helper itself",
            f"leave out {denied}, or use --attach=run",
            USAGE,
        )
    if denied and "bridge" in (guest.network, *(one.network for one in guest.interfaces)):
        raise TapdraftError(
            f"guest {guest.name} has {denied} in -sandbox, and a bridge, for which qemu starts "
            "qemu-bridge-helper",
            f"leave out {denied}, or the bridge",
            USAGE,
        )
    if attach == "helper" and guest.queues > 1:
        raise TapdraftError(
            f"guest {guest.name} has {guest.queues} queues: qemu takes one from a helper",
            "leave out queues, or use --attach=run",
            USAGE,
        )
    if attach == "helper" and guest.addressing == "dhcp":
        # Whoever holds the port would only be found out once the guest runs.
        raise TapdraftError(
            f"guest {guest.name} learns its address by DHCP, and its tap is there only with qemu",
            "use --attach=run, or another addressing",
            USAGE,
        )


def _context(guest: Guest, added: addressing.Addition, dialect: str, attach: str) -> dict[str, Any]:
    command = _command(guest, attach)
    start = {
        "version": __version__,
        "path": shell.PATH,
        "helper": shell.HELPER,
        "guest": guest,
        "dialect": dialect,
        "attach": attach,
        "command": command,
        "added": added,
        **_qemu(guest),
        "needs_here": any(
            Variable.HERE in option.value.variables
            for group in command
            for option in group["options"]
            if isinstance(option.value, Word)
        ),
    }
    if not guest.has_tap:
        return start
    request = requests.up(guest)
    uplinks = tuple(Uplink(name, WAS) for name in request.uplinks) or UPLINKS
    forwards = tuple(forward[:2] for forward in request.forwards)
    named = dialect == "helper"
    return {
        **start,
        "table_comment": COMMENT,
        "marks": [str(mark) for mark in (*EARLIER, MARK)],
        "table_comments": [comment_of(mark) for mark in (*EARLIER, MARK)],
        "groups": [str(group) for group in range(GROUP, GROUP + GROUPS)],
        "networks": request.networks,
        "request": request,
        "up_line": line(request),
        "up_words": line(request).split(),
        "down_words": line(requests.down(guest)).split(),
        "plan": steps.steps(plan_up(request, UID, uplinks if named else UPLINKS)),
        "down": steps.steps(plan_down((request.tap,), forwards)),
        "last": steps.steps(plan_last((Uplink(UPLINK, "0"),))),
        "pid_file": addressing.dhcp_lease.pid_file(guest),
        "resolvers": RESOLVERS,
        "uplinks": " ".join(request.uplinks),
        "uplinks_words": "each of the uplinks named below"
        if request.uplinks
        else "each interface that carries a default route at that time",
        "words": _RUN_WORDS[dialect, attach],
    }


def _qemu(guest: Guest) -> dict[str, Any]:
    """What the script that starts qemu looks for before it does."""
    machine = MACHINES[guest.machine]
    found = firmware.places(guest)
    return {
        "binary": machine.binary,
        "needs": qemu.needs(guest),
        "accel": qemu.accel(guest),
        "cpu": qemu.cpu_of(guest),
        "older": qemu.older(guest),
        "proof": qemu.proof(machine),
        "kvm_cpu": guest.cpu or machine.kvm,
        "kvm_machine": machine.kvm_machine,
        "firmware": found,
        "firmware_package": firmware.package(guest) if found else "",
        "packed": disks.packed(guest),
        "has_password": guest.display in SHARED,
    }


def _command(guest: Guest, attach: str) -> list[dict[str, Any]]:
    return [
        {
            "why": group.why,
            "options": group.options,
            "plain": group.plain,
            "is_network": any(option.name == "-netdev" for option in group.options),
        }
        for group in qemu.command(guest, attach)
    ]


_RUN_WORDS = {
    ("helper", "run"): "Runs the guest, as an ordinary user: ifup, then qemu, then ifdown "
    "whatever happens. The exit status is qemu's.",
    ("helper", "helper"): "Runs the guest, as an ordinary user: qemu, which asks the helper for "
    "its tap, then ifdown, which clears what is left. The exit status is qemu's.",
    ("helper", "hooks"): "Runs the guest, as an ordinary user: ifup makes the tap. qemu runs ifup "
    "again, which changes nothing, and ifdown when it ends. This script runs ifdown once more, in "
    "case qemu was killed. The exit status is qemu's.",
    (
        "nft",
        "run",
    ): "Runs the guest. Root starts it as run USER: ifup, then qemu as USER, then ifdown "
    "whatever happens. The exit status is qemu's.",
}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tapdraft.templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # What a template writes is one quoted word, unless a filter below says what else it is.
        autoescape=True,
        finalize=_finalize,
    )
    filters: dict[str, Callable[..., Code]] = {
        "comment": shell.comment,
        "in_comment": shell.in_comment,
        "in_quotes": shell.in_quotes,
        "join_words": shell.join,
        "option_words": _option_words,
        "spaces": _spaces,
    }
    environment.filters.update(filters)
    return environment


def _finalize(value: Any) -> Any:
    if hasattr(value, "__html__"):  # Code, or what a macro wrote
        return value
    return shell.quote(value if isinstance(value, Word) else str(value))


def _option_words(option: Option) -> Code:
    return shell.join(option.words())


def _spaces(count: int) -> Code:
    return Code(" " * count)
