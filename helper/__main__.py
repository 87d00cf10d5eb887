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
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from . import caps, policy
from .apply import Work
from .caller import Caller, this_caller
from .errors import BadRequest, HelperError, InTheWay, Refused
from .netlink import Kernel
from .plan import PersistTap
from .request import Request, parse
from .state import State, read

LOCK_SECONDS = 10.0
MOST_REQUESTS, MOST_BYTES = 4096, 1 << 20
_ACTIONS = ("--dry-run", "--explain", "--status", "--version", "--help")


class Options(NamedTuple):
    """The command line: what to do, the words of the request, and what qemu adds."""

    action: str  # "" to carry the requests out, or one of _ACTIONS
    words: tuple[str, ...]
    socket: int | None  # to send the tap's descriptor over
    virtio_header: bool


def main(argv: Sequence[str]) -> int:
    """The exit status, for who started this process."""
    return answer(argv[1:], this_caller(caps.held_by_caller()))


def answer(arguments: Sequence[str], caller: Caller) -> int:
    """The exit status. What is wrong is said on standard error; no traceback leaves this."""
    try:
        caps.settle()
        return _act(_options(arguments), caller)
    except BadRequest as error:
        caller.log("decision=refuse", "", f"malformed: {error}")
        return _complain(error)
    except HelperError as error:
        return _complain(error)
    except OSError as error:
        return _complain(HelperError(f"{error.filename or 'the kernel'}: {error.strerror}"))
    except Exception as error:  # nobody can do anything with a traceback here
        return _complain(HelperError(f"internal error: {type(error).__name__}: {error}"))


def _act(options: Options, caller: Caller) -> int:
    if not options.action:
        return _apply(_requests(options), options, caller)
    requests = _requests(options) if options.action in ("--dry-run", "--explain") else []
    caps.drop()
    from . import preview  # noqa: PLC0415  only ever without any capability

    return preview.show(options.action, requests, caller, str(__doc__))


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
            raise BadRequest("there is an unknown option", "tapdraft-helper --help")
    return Options(action, tuple(words), descriptor, virtio_header)


def _requests(options: Options) -> list[Request]:
    if options.words != ("-",):
        requests = [parse(" ".join(options.words))]
    else:
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
        lines = data.decode("ascii", "replace").removesuffix("\n").split("\n")
        if len(data) > MOST_BYTES or len(lines) > MOST_REQUESTS:
            raise BadRequest(f"more than {MOST_REQUESTS} requests, or {MOST_BYTES} bytes, at once")
        requests = []
        for number, line in enumerate(lines, 1):
            try:
                requests.append(parse(line))
            except BadRequest as error:
                raise BadRequest(f"request {number}: {error}", error.hint) from None
    if len({request.verb for request in requests}) > 1:
        raise BadRequest("up and down cannot be mixed in one call")
    if len(requests) > 1 and any(not request.name for request in requests):
        raise BadRequest("down --all stands alone")
    first = requests[0]
    if options.socket is not None and (len(requests), first.verb, first.queues) != (1, "up", 1):
        raise BadRequest("--fd goes with one up of one queue")
    return requests


def _apply(requests: list[Request], options: Options, caller: Caller) -> int:
    sections = None if caller.holder else policy.load()
    # Who may not ask at all learns nothing of what is here, and never holds the lock.
    _decide(sections, requests, caller, None)
    with caps.raised():  # the kernel asks what the opener of a netlink socket could do, too
        kernel = Kernel()
    kernel.lock(LOCK_SECONDS)
    try:
        with caps.raised():
            state = read(kernel, networks=requests[0].verb == "up")
        _decide(sections, requests, caller, state)
        work = Work(kernel, state, caller.uid, options.virtio_header)
        up = requests[0].verb == "up"
        said = _up(requests, options.socket, work) if up else _down(requests, work)
    except (HelperError, OSError) as error:
        for request in requests:
            caller.log("result=failed", request.line(), str(error))
        raise
    finally:
        kernel.close()  # whoever does not read the last line cannot hold the lock with that
    for request, words in zip(requests, said, strict=True):
        caller.log("result=done", request.line(), words)
    caps.drop()
    say(1, *said)
    return 0


def _decide(
    sections: list[policy.Section] | None, requests: Iterable[Request], caller: Caller,
    state: State | None,
) -> None:  # fmt: skip
    """Log the policy's decision on each request; raise Refused at the first that it refuses."""
    for request, decision in policy.decisions(sections, requests, caller, state):
        if not decision.permitted:
            caller.log("decision=refuse", request.line(), decision.reason)
            raise Refused(f"{request.line()}: {decision.reason}", "tapdraft-helper --explain")
        if state:
            caller.log("decision=allow", request.line(), decision.reason)


def _up(requests: list[Request], channel: int | None, work: Work) -> list[str]:
    plan = work.plan_up(requests)
    before = ["" if request in work.wanted else " already" for request in requests]
    if channel is not None:
        if not work.wanted:
            raise InTheWay(f"{requests[0].tap} is there already", "take it down first")
        plan = tuple(operation for operation in plan if not isinstance(operation, PersistTap))
    if len(requests) > 64:  # each tap is an open descriptor until all of them are kept
        from resource import RLIMIT_NOFILE, getrlimit, setrlimit  # noqa: PLC0415  seldom needed

        setrlimit(RLIMIT_NOFILE, (getrlimit(RLIMIT_NOFILE)[1],) * 2)
    with caps.raised():
        work.carry_out(plan)
        if channel is not None:
            try:
                _send(channel, work.descriptors[requests[0].tap])
            except OSError as error:
                work.undo()
                raise HelperError(f"the tap could not be handed over: {error}") from None
    return [f"{request.tap} is up{word}" for request, word in zip(requests, before, strict=True)]


def _send(channel: int, tap: int) -> None:
    # Python asks the kernel what it is; OSError where it is no socket at all.
    qemu = socket.socket(fileno=channel)
    if (qemu.family, qemu.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        raise OSError(f"descriptor {channel} is not a Unix stream socket")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", tap))
    # Who does not receive, or is gone, must neither hold the lock nor end this before it is undone.
    qemu.sendmsg([b"\0"], [rights], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _down(requests: list[Request], work: Work) -> list[str]:
    mine = dict.fromkeys(work.state.of(work.uid))
    # Somebody else's tap and none at all are answered alike; one that is named twice goes once.
    named = dict.fromkeys(request.tap for request in requests) if requests[0].name else mine
    with caps.raised():
        errors = work.take_down(work.plan_down([tap for tap in named if tap in mine]))
    if errors:
        raise HelperError("; ".join(errors), "what could be taken down is down; try again")
    if not requests[0].name:
        return [f"{len(mine)} taps are down"]
    taps = (request.tap for request in requests)
    return [f"{tap} {'is down' if tap in mine else 'was not up'}" for tap in taps]


def _complain(error: HelperError) -> int:
    with suppress(HelperError, OSError):
        caps.drop()
    say(2, f"error: {error}", *([f"hint: {error.hint}"] if error.hint else []))
    return error.status


def say(descriptor: int, *lines: str) -> None:
    """Write the last lines, if they can be: some of what a caller can leave open takes nothing."""
    data = "".join(f"{line}\n" for line in lines).encode()
    with suppress(OSError):
        while data and (written := os.write(descriptor, data)):
            data = data[written:]


def run() -> None:
    """All of the process. Taking the interpreter apart would take longer than making a tap."""
    status = main(sys.argv)
    with suppress(OSError):  # nobody reads it any more; what was asked for is done all the same
        sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
