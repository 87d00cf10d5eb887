"""Read-only actions: --dry-run, --explain, --check-policy, --status, --version and --help.

__main__ gives up every capability before it imports this module.
"""

import os
import pwd
import shlex
from collections.abc import Iterable

from . import __version__, policy
from .caller import Caller
from .commands import commands, why
from .errors import REFUSED, BadRequest
from .netlink import Kernel
from .plan import Plan, plan_down, plan_last, plan_up
from .request import Request
from .state import State, read


def show(action: str, requests: Iterable[Request], caller: Caller, usage: str, user: str) -> int:
    """Print what an option asks for; the exit status. With --check-policy `user` can be named."""
    match action:
        case "--check-policy":
            return _check_policy(list(requests), _named(user) if user else caller, bool(user))
        case "--dry-run":
            return _dry_run(requests, caller)
        case "--explain":
            return _explain(requests, caller)
        case "--status":
            print(f"hardening {os.environ.get('TAPDRAFT_HARDENING', 'none')}")
        case "--version":
            print(f"tapdraft-helper {__version__}")
        case _:
            print(usage)
    return 0


def _dry_run(requests: Iterable[Request], caller: Caller) -> int:
    """Print the commands that the requests equal, each below its reason."""
    state = read(Kernel(), nftables=False)
    for request in requests:
        print(f"# {request.line}")
        for operation in _plan(request, caller, state):
            print(f"# {why(operation)}")
            for command in commands(operation):
                end = " <<'END'\n" + command.stdin + "END" if command.stdin else ""
                print(shlex.join(command.argv) + end)
    return 0


def _plan(request: Request, caller: Caller, state: State) -> Plan:
    if request.verb == "up":
        return plan_up(request, str(caller.uid), state.complete(request))
    taps = [request.tap] if request.name else state.of(caller.uid)
    # Which ports are forwarded is for CAP_NET_ADMIN to read: they are left out here.
    down = plan_down(taps, ())
    return down if set(state.taps) - set(taps) else down + plan_last(())


def _explain(requests: Iterable[Request], caller: Caller) -> int:
    """Print which section of the policy permits or refuses each request. 3 if one is refused."""
    return _judge(list(requests), policy.load(), caller)


def _named(user: str) -> Caller:
    """The user of this name as a new session of theirs would be. BadRequest if there is none."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise BadRequest(f"there is no user {user!a}", "getent passwd shows who is") from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return Caller(found.pw_uid, (found.pw_gid, *groups), holder=False)


def _check_policy(requests: list[Request], caller: Caller, named: bool) -> int:
    """Print which sections of the policy there are or count, and what they permit."""
    sections = policy.load()
    print(f"{policy.PATH}: sound, sections: {len(sections)}")
    for section in sections:
        if not section.exists():
            print(
                f"warning: {section.place}: there is no such {section.title.split()[0]}, "
                "so the section names nobody"
            )
        for lacking in section.lacks():
            print(f"warning: {section.place}: it permits no tap, as it has no {lacking}")
    whose = requests or named or caller.uid != 0
    for section in sections:
        if not whose or section.names(caller.uid, caller.gids):
            print(f"{section.place}\n{section.text()}", end="")
    refusal = policy.refusal(sections, caller) if whose else ""
    if refusal:
        print(f"refused: {refusal}")
        return REFUSED
    return _judge(requests, sections, caller) if requests else 0


def _judge(requests: list[Request], sections: policy.Sections, caller: Caller) -> int:
    status = 0
    state = read(Kernel(), nftables=False)
    for request, permitted, reason in policy.decisions(sections, requests, caller, state):
        print(f"{request.line}: {'permitted' if permitted else 'refused'}")
        print(f"    {reason}")
        status = status if permitted else REFUSED
    return status
