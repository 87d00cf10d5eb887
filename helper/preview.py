"""Read-only actions: --dry-run, --explain, --status, --version and --help.

__main__ gives up every capability before it imports this module.
"""

import os
import shlex
from collections.abc import Iterable

from . import __version__, policy
from .caller import Caller
from .commands import commands, why
from .netlink import Kernel
from .plan import Plan, plan_down, plan_last, plan_up
from .request import Request
from .state import State, read


def show(action: str, requests: Iterable[Request], caller: Caller, usage: str) -> int:
    """Print what an option asks for; the exit status."""
    match action:
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
    status = 0
    decisions = policy.decisions(policy.load(), requests, caller, read(Kernel(), nftables=False))
    for request, permitted, reason in decisions:
        print(f"{request.line}: {'permitted' if permitted else 'refused'}")
        print(f"    {reason}")
        status = status if permitted else 3
    return status
