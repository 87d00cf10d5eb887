"""tapdraft-helper: set up and take down taps and NAT for qemu guests, and nothing else.

    tapdraft-helper [--dry-run | --explain] up NAME HOST/PREFIX GUEST [WORD]...
    tapdraft-helper [--dry-run | --explain] down NAME | --all
    tapdraft-helper [--dry-run | --explain] -      requests on standard input, one a line
    tapdraft-helper --check-policy [--user NAME] [REQUEST]
    tapdraft-helper --status | --version | --help

--dry-run prints the commands that the requests equal, --explain which section of the policy
permits or refuses them; neither changes anything or needs any privilege. --check-policy tells
whether the policy is sound and what it permits, to root as well. --fd=N sends the tap's descriptor
over socket N, as qemu's -netdev tap,helper= asks (with --use-vnet and --br=NAME).
See tapdraft-helper(8).
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from . import PROGRAM, caps, policy
from .apply import Work
from .caller import Caller, this_caller
from .errors import BadRequest, HelperError, InTheWay, Refused
from .netlink import Kernel
from .request import Request, parse
from .state import State, read

LOCK_SECONDS = 10.0
MOST_REQUESTS, MOST_BYTES = 4096, 1 << 20
_JUDGED = {"--dry-run", "--explain", "--check-policy"}  # what requests can be said of
_TOLD = {*_JUDGED, "--status", "--version", "--help"}  # and not done


def main(argv: Sequence[str]) -> int:
    """The exit status, for who started this process."""
    return answer(
        lambda: this_caller(caps.held_by_caller()), lambda _: argv[1:], sys.stdin.buffer.read
    )


def answer(
    find_caller: Callable[[], Caller],
    arguments_of: Callable[[Caller], Sequence[str]],
    read_input: Callable[[int], bytes],
) -> int:
    """The exit status. What was done, or is wrong, is told without any capability."""
    caller, requests = None, []
    try:
        caller = find_caller()  # with the log: before anything is read or done
        caps.settle()
        action, words, channel, header = _options(arguments_of(caller))
        if action:
            user = words.pop(0)[7:] if words[:1] and words[0].startswith("--user=") else ""
            judges = action in _JUDGED and (words or action != "--check-policy")
            told = _requests(words, read_input) if judges else []
            caps.drop()
            from . import preview  # noqa: PLC0415  only ever without any capability

            return preview.show(action, told, caller, str(__doc__), user)
        requests = _requests(words, read_input)
        said = _apply(requests, caller, channel, header)
        caps.drop()
        say(1, *said)
        return 0
    except Exception as error:  # nobody can do anything with a traceback here
        with suppress(HelperError, OSError):
            caps.drop()
        found = _explained(error)
        if caller is not None:
            _log_failure(found, requests, caller)
        say(2, *_told(found))
        return found.status


def _options(arguments: Sequence[str]) -> tuple[str, list[str], int | None, bool]:
    """What to tell, or "" to do it; the words of the request; what qemu adds: --fd, --use-vnet.

    With --check-policy, --user=NAME comes before the words.
    """
    users: list[str] = []
    if "--check-policy" in arguments:
        joined = "\n".join(arguments).replace("--user\n", "--user=").split("\n")
        users = [word for word in joined if word.startswith("--user=")]
        arguments = [word for word in joined if word not in users]
    words = [word for word in arguments if word == "--all" or not word.startswith("--")]
    flags = set(arguments) - set(words)
    descriptors = [int(flag[5:]) for flag in flags if re.fullmatch("--fd=[0-9]{1,4}", flag)]
    # The bridge that qemu would like is not asked for: a tap of ours is on none.
    known = {"--use-vnet", *_TOLD, *(flag for flag in flags if flag.startswith("--br="))}
    actions = flags & _TOLD
    if "--user" in flags or "--user=" in users:
        raise BadRequest("--user needs a name", "tapdraft-helper --check-policy --user alice")
    if len(flags - known) > len(descriptors) or len(actions) > 1 or len(descriptors) > 1:
        what = "unknown option, or options that exclude each other"
        raise BadRequest(what, "tapdraft-helper --help")
    if len(users) > 1:
        raise BadRequest("--user is given twice", "tapdraft-helper --help")
    if words and actions and not actions & _JUDGED:
        raise BadRequest(f"{min(actions)} stands alone", "tapdraft-helper --help")
    channel = descriptors[0] if descriptors else None
    return "".join(actions), users + words, channel, "--use-vnet" in flags


def _requests(words: Sequence[str], read_input: Callable[[int], bytes]) -> list[Request]:
    lines = [" ".join(words)]
    if lines == ["-"]:
        data = read_input(MOST_BYTES + 1)
        lines = data.decode("ascii", "replace").removesuffix("\n").split("\n")
        if len(data) > MOST_BYTES or len(lines) > MOST_REQUESTS:
            raise BadRequest(f"more than {MOST_REQUESTS} requests, or {MOST_BYTES} bytes, at once")
    try:
        requests = [parse(line) for line in lines]
    except BadRequest:
        caps.drop()
        from .diagnosis import first_error  # noqa: PLC0415  only ever without any capability

        raise first_error(lines, numbered=words == ["-"]) from None
    if len({request.verb for request in requests}) > 1:
        raise BadRequest("up and down cannot be mixed in one call")
    if len(requests) > 1 and any(not request.name for request in requests):
        raise BadRequest("down --all stands alone")
    return requests


def _apply(requests: list[Request], caller: Caller, channel: int | None, header: bool) -> list[str]:
    """Carry the requests out; what became of each, in words."""
    caller.need_log()
    up = requests[0].verb == "up"
    if channel is not None and (len(requests), up, requests[0].queues) != (1, True, 1):
        raise BadRequest("--fd goes with one up of one queue")
    # Who may not ask at all learns nothing of what is here, and never holds the lock.
    _decide(_sections(caller), requests, caller, None)
    if up and len({request.name for request in requests}) < len(requests):
        raise InTheWay("a guest is requested twice", "give each a name of its own")
    with caps.raised():  # the kernel asks what the opener of a netlink socket could do, too
        kernel = Kernel()
    try:
        kernel.lock(LOCK_SECONDS)
        # Anew: its caller can have stopped this process here until the policy was another one.
        sections = _sections(caller)
        _decide(sections, requests, caller, None)
        with caps.raised():
            state = read(kernel, networks=up)
        _decide(sections, requests, caller, state)
        work = Work(kernel, state, caller.uid, channel, header)
        said = _up(requests, work) if up else _down(requests, work, caller.holder)
    finally:
        kernel.close()  # whoever does not read the last line cannot hold the lock with that
    for request, words in zip(requests, said, strict=True):
        caller.log("result=done", request.line, words)
    return said


def _sections(caller: Caller) -> policy.Sections:
    return None if caller.holder else policy.load()


def _decide(
    sections: policy.Sections, requests: list[Request], caller: Caller, state: State | None
) -> None:
    """Log the policy's decision on each request; raise Refused at the first that it refuses."""
    for request, permitted, reason in policy.decisions(sections, requests, caller, state):
        if not permitted:
            caller.log("decision=refuse", request.line, reason)
            hint = f"tapdraft-helper --explain {request.line}"
            raise Refused(f"{request.line}: {reason}", hint)
        if state:
            caller.log("decision=allow", request.line, reason)


def _up(requests: list[Request], work: Work) -> list[str]:
    plan = work.plan_up(requests)
    if len(requests) > 64:  # each tap is an open descriptor until all of them are kept
        from resource import RLIMIT_NOFILE, getrlimit, setrlimit  # noqa: PLC0415  seldom needed

        setrlimit(RLIMIT_NOFILE, (getrlimit(RLIMIT_NOFILE)[1],) * 2)
    with caps.raised():
        work.carry_out(plan)
    new = {request.tap for request in work.wanted}
    return [f"{r.tap} is up{'' if r.tap in new else ' already'}" for r in requests]


def _down(requests: list[Request], work: Work, anybodys: bool) -> list[str]:
    # Somebody else's tap and none at all are answered alike. An administrator names anybody's.
    mine = set(work.state.of(work.uid))
    named = {request.tap for request in requests if request.name}
    mine = named & (set(work.state.taps) if anybodys else mine) if named else mine
    with caps.raised():
        errors = work.take_down(work.plan_down(sorted(mine)))
    if errors:
        raise HelperError("; ".join(errors), "what could be taken down is down; try again")
    if not requests[0].name:
        return ["1 tap is down" if len(mine) == 1 else f"{len(mine)} taps are down"]
    return [f"{r.tap} {'is down' if r.tap in mine else 'was not up'}" for r in requests]


def _explained(error: Exception) -> HelperError:
    """What is wrong, as a person is told it."""
    match error:
        case HelperError():
            return error
        case OSError():
            return HelperError(f"{error.filename or 'the kernel'}: {error.strerror}")
    return HelperError(f"internal error: {type(error).__name__}: {error}")


def _told(error: HelperError) -> list[str]:
    """The lines that the caller reads."""
    # The helper is on nobody's PATH: a hint has to work when it is pasted.
    hint = re.sub(r"(?<![\w/-])tapdraft-helper(?= )", PROGRAM, error.hint)
    return [f"error: {error}", *([f"hint: {hint}"] if hint else [])]


def _log_failure(error: HelperError, requests: Sequence[Request], caller: Caller) -> None:
    """Log why nothing was done, unless that is logged already as a refusal by the policy."""
    if isinstance(error, BadRequest):
        caller.log("decision=refuse", "", f"malformed: {error}")
    elif not isinstance(error, Refused):
        for line in [request.line for request in requests] or [""]:
            caller.log("result=failed", line, str(error))


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
