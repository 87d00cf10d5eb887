"""tapdraft-helper: set up and take down taps and NAT for qemu guests, and nothing else.

    tapdraft-helper [--dry-run | --explain] up NAME HOST/PREFIX GUEST [WORD]...
    tapdraft-helper [--dry-run | --explain] down NAME | --all
    tapdraft-helper [--dry-run | --explain] -      requests on standard input, one a line
    tapdraft-helper --status | --version | --help

--dry-run prints the commands that the requests equal, --explain which section of the policy
permits or refuses them; neither changes anything or needs any privilege. --fd=N sends the tap's
descriptor over socket N, as qemu's -netdev tap,helper= asks (with --use-vnet and --br=NAME).
See tapdraft-helper(8).
"""

import os
import shlex
import socket
import sys
import syslog
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import __version__, caps, policy
from .apply import Work, is_up, prepare_down, prepare_up
from .errors import BadRequest, HelperError, Refused
from .netlink import Kernel
from .plan import PersistTap, Plan, plan_down, plan_last, plan_up, why
from .request import Request, parse
from .state import State, read

LOCK_SECONDS = 10.0
MOST_REQUESTS = 4096
_ACTIONS = ("--dry-run", "--explain", "--status", "--version", "--help")


class Options(NamedTuple):
    """The command line: what to do, the words of the request, and what qemu adds."""

    action: str  # "" to carry the requests out, or one of _ACTIONS
    words: tuple[str, ...]
    socket: int | None  # to send the tap's descriptor over
    virtio_header: bool


class Caller(NamedTuple):
    """Who asks. A holder of CAP_NET_ADMIN gains nothing here: no policy binds it."""

    uid: int
    gids: tuple[int, ...]
    holder: bool

    def log(self, what: str, request: str, reason: str) -> None:
        """One line to the log that only administrators read; tapdraft-helper(8) has the format."""
        quoted = reason.replace("\\", "").replace('"', "'")
        level = syslog.LOG_WARNING if what == "decision=refuse" else syslog.LOG_NOTICE
        who = f"uid={self.uid} gid={self.gids[0]}"
        syslog.syslog(level, f'{what} {who} request="{request}" reason="{quoted}"')


def main(argv: Sequence[str]) -> int:
    """The exit status. What is wrong is said on standard error; no traceback leaves this."""
    syslog.openlog("tapdraft-helper", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    caller = Caller(os.getuid(), (os.getgid(), *os.getgroups()), caps.held_by_caller())
    try:
        caps.settle()
        return _act(_options(argv[1:]), caller)
    except BadRequest as error:
        caller.log("decision=refuse", "", f"malformed: {error}")
        return _complain(error)
    except HelperError as error:
        return _complain(error)
    except (OSError, RecursionError, MemoryError) as error:
        return _complain(HelperError(f"{type(error).__name__}: {error}"))


def _act(options: Options, caller: Caller) -> int:
    if options.action in ("--version", "--help"):
        print(f"tapdraft-helper {__version__}" if options.action == "--version" else __doc__)
        return 0
    if options.action == "--status":
        print(f"hardening {os.environ.get('TAPDRAFT_HARDENING', 'none')}")
        return 0
    requests = _requests(options)
    if options.action == "--dry-run":
        return _dry_run(requests, caller)
    if options.action == "--explain":
        return _explain(requests, caller)
    return _apply(requests, options, caller)


def _options(arguments: Sequence[str]) -> Options:
    action, words, descriptor, virtio_header = "", [], None, False
    for word in arguments:
        name, _, value = word.partition("=")
        if not word.startswith("--") or word == "--all":
            words.append(word)
        elif word in _ACTIONS and not action:
            action = word
        elif word == "--use-vnet":
            virtio_header = True
        elif name == "--fd" and value.isascii() and value.isdigit() and len(value) < 5:
            descriptor = int(value)
        elif name != "--br":  # the bridge that qemu would like: a tap of ours is on none
            raise BadRequest(f"'{name[:40]}' is no option", "tapdraft-helper --help")
    return Options(action, tuple(words), descriptor, virtio_header)


def _requests(options: Options) -> list[Request]:
    if options.words != ("-",):
        requests = [parse(" ".join(options.words))]
    else:
        data = sys.stdin.buffer.read(MOST_REQUESTS * 256 + 1)
        lines = data.decode("ascii", "replace").removesuffix("\n").split("\n")
        if len(data) > MOST_REQUESTS * 256 or len(lines) > MOST_REQUESTS:
            raise BadRequest(f"at most {MOST_REQUESTS} requests can be made at once")
        requests = [_numbered(number, line) for number, line in enumerate(lines, 1)]
    if len({request.verb for request in requests}) > 1:
        raise BadRequest("up and down cannot be mixed in one call")
    if len(requests) > 1 and any(not request.name for request in requests):
        raise BadRequest("down --all stands alone")
    if options.socket is not None and not (
        len(requests) == 1 and requests[0].verb == "up" and requests[0].queues == 1
    ):
        raise BadRequest("--fd goes with one up of one queue")
    return requests


def _numbered(number: int, line: str) -> Request:
    try:
        return parse(line)
    except BadRequest as error:
        raise BadRequest(f"request {number}: {error}", error.hint) from None


def _apply(requests: list[Request], options: Options, caller: Caller) -> int:
    sections = None if caller.holder else policy.load()
    # Who may not ask at all learns nothing of what is here, and never holds the lock.
    _decide(sections, requests, caller, None)
    with caps.raised():  # the kernel asks what the opener of a netlink socket could do, too
        kernel = Kernel()
    kernel.lock(LOCK_SECONDS)
    with caps.raised():
        state = read(kernel, networks=requests[0].verb == "up")
    _decide(sections, requests, caller, state)
    try:
        said = _carry_out(requests, options, caller, kernel, state)
    except HelperError as error:
        for request in requests:
            caller.log("result=failed", request.line(), str(error))
        raise
    for request, words in zip(requests, said, strict=True):
        caller.log("result=done", request.line(), words)
    caps.drop()
    print("\n".join(said))
    return 0


def _carry_out(
    requests: list[Request], options: Options, caller: Caller, kernel: Kernel, state: State
) -> list[str]:
    work = Work(kernel, state, options.virtio_header)
    if requests[0].verb == "down":
        return _take_down(requests, caller, work)
    plan = prepare_up(state, requests, caller.uid)
    there = [is_up(state, request, caller.uid) for request in requests]
    if options.socket is not None:
        if there[0]:
            raise HelperError(f"{requests[0].tap} is there already", "take it down first")
        plan = tuple(operation for operation in plan if not isinstance(operation, PersistTap))
    with caps.raised():
        work.carry_out(plan)
        if options.socket is not None:
            _send(options.socket, work, requests[0], plan)
    return [
        f"{request.tap} is up{' already' if before else ''}"
        for request, before in zip(requests, there, strict=True)
    ]


def _send(descriptor: int, work: Work, request: Request, plan: Plan) -> None:
    try:
        # Python asks the kernel what it is: anything but a Unix stream socket is an error.
        with socket.socket(fileno=descriptor) as channel:
            if (channel.family, channel.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
                raise HelperError(f"descriptor {descriptor} is not a Unix stream socket")
            socket.send_fds(channel, [b"\0"], [work.descriptors[request.tap]])
    except (OSError, HelperError) as error:
        work.undo(plan)
        raise HelperError(f"the tap could not be handed over: {error}") from None


def _take_down(requests: list[Request], caller: Caller, work: Work) -> list[str]:
    mine = [tap.link.name for tap in work.state.of(caller.uid)]
    # Somebody else's tap and none at all are answered alike.
    named = [request.tap for request in requests] if requests[0].name else mine
    going = [tap for tap in dict.fromkeys(named) if tap in mine]
    with caps.raised():
        errors = work.take_down(prepare_down(work.state, going))
    if errors:
        raise HelperError("; ".join(errors), "what could be taken down is down; try again")
    if not requests[0].name:
        return [f"{len(going)} taps are down"]
    return [f"{tap} {'is down' if tap in mine else 'was not up'}" for tap in named]


def _decide(
    sections: list[policy.Section] | None, requests: Iterable[Request], caller: Caller,
    state: State | None,
) -> None:  # fmt: skip
    """Log the policy's decision on each request; raise Refused at the first that it refuses."""
    for request, decision in _decisions(sections, requests, caller, state):
        if not decision.permitted:
            caller.log("decision=refuse", request.line(), decision.reason)
            raise Refused(f"{request.line()}: {decision.reason}", "tapdraft-helper --explain")
        if state:
            caller.log("decision=allow", request.line(), decision.reason)


def _decisions(
    sections: list[policy.Section] | None, requests: Iterable[Request], caller: Caller,
    state: State | None,
) -> Iterable[tuple[Request, policy.Decision]]:  # fmt: skip
    if sections is None:
        held = policy.Decision(True, "the caller holds CAP_NET_ADMIN")
        yield from ((request, held) for request in requests)
        return
    taps = {tap.link.name for tap in state.of(caller.uid)} if state else set()
    for request in requests:
        taps |= {request.tap} if request.verb == "up" else set()
        uplinks: Iterable[str] = request.uplinks
        if state and request.verb == "up":
            uplinks = [uplink.name for uplink in state.complete(request)]
        yield request, policy.decide(
            sections, request, uplinks, len(taps), caller.uid, caller.gids
        )


def _dry_run(requests: Iterable[Request], caller: Caller) -> int:
    state = read(Kernel(), nftables=False)
    for request in requests:
        if request.verb == "up":
            plan = plan_up(request, str(caller.uid), state.complete(request))
        else:
            taps = [request.tap] if request.name else [t.link.name for t in state.of(caller.uid)]
            plan = tuple(o for tap in taps for o in plan_down(tap, ())) + plan_last(())
        print(f"# {request.line()}")
        for operation in plan:
            print(f"# {why(operation)}")
            for command in operation.commands():
                end = " <<'END'\n" + command.stdin + "END" if command.stdin else ""
                print(shlex.join(command.argv) + end)
    return 0


def _explain(requests: list[Request], caller: Caller) -> int:
    status = 0
    state = read(Kernel(), nftables=False)
    for request, decision in _decisions(policy.load(), requests, caller, state):
        print(f"{request.line()}: {'permitted' if decision.permitted else 'refused'}")
        print(f"    {decision.reason}")
        status = status if decision.permitted else Refused.status
    return status


def _complain(error: HelperError) -> int:
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.status


if __name__ == "__main__":
    sys.exit(main(sys.argv))
