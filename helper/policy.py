"""The policy: who may request what. Nothing is permitted unless a section permits it.

    [group tapdraft]
    subnets = 192.168.7.0/24
    taps = 16
    modes = nat, isolated
    forwards = tcp:1024-65535, udp:1024-65535
    uplinks = *
    host = closed

    [user mallory]
    deny = yes

Each line stands for itself: a section's title, a key with its value, or a comment that begins with
#. All sections that name the caller or one of its groups count. One `deny` refuses; else one single
section must permit the whole request.
"""

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from .caller import Caller
from .errors import InTheWay
from .request import LONGEST_INTERFACE, MODES, PROTOCOLS, Request
from .state import State

PATH = "/etc/tapdraft/policy.conf"
LARGEST = 65536  # bytes


class Section(NamedTuple):
    """One section, its values read. A key that is left out permits nothing."""

    title: str  # "group tapdraft", "user mallory"
    line: int  # of the file, from 1
    deny: bool = False
    subnets: tuple[IPv4Network, ...] = ()
    taps: int = 0
    modes: tuple[str, ...] = ()
    forwards: tuple[tuple[str, int, int], ...] = ()  # protocol, lowest and highest port
    uplinks: tuple[str, ...] = ()  # interface names, or "*"
    host: bool = False  # may guests reach it?

    def names(self, uid: int, gids: Iterable[int]) -> bool:
        """Does this section name the caller? InTheWay where a denied name cannot be looked up."""
        kind, _, name = self.title.partition(" ")
        try:
            if kind == "user":
                return pwd.getpwnam(name).pw_uid == uid
            group = grp.getgrnam(name)
            # A session keeps its first groups: to be refused, the list of members is enough.
            return group.gr_gid in gids or (self.deny and _is_member(uid, group))
        except KeyError:
            if self.deny:  # the name service may be down: this could be the one to refuse
                raise _broken(self.line, f"there is no {self.title}, who is denied") from None
            return False

    def objection(self, request: Request, uplinks: Iterable[str], taps: int) -> str:
        """Why this section does not permit the request, or ''.

        `uplinks` are those of the completed request, `taps` how many the caller would have.
        """
        if request.verb == "down":
            return ""  # only ever of one's own taps
        for network in request.networks:
            if not any(network.subnet_of(subnet) for subnet in self.subnets):
                return f"{network} is in none of its subnets"
        if request.mode not in self.modes:
            return f"mode {request.mode} is not among its modes"
        if request.host_open and not self.host:
            return "host=open is not permitted"
        for forward in request.forwards:
            spans = (span[1:] for span in self.forwards if span[0] == forward.protocol)
            if not any(low <= forward.port <= high for low, high in spans):
                return f"forward={forward.word()} is not among its forwards"
        for uplink in uplinks:
            if not {"*", uplink} & set(self.uplinks):
                return f"uplink={uplink} is not among its uplinks"
        return f"its {self.taps} taps are used up" if taps > self.taps else ""


def _is_member(uid: int, group: grp.struct_group) -> bool:
    user = pwd.getpwuid(uid)  # a failure is no way around the deny either
    return user.pw_name in group.gr_mem or user.pw_gid == group.gr_gid


class Decision(NamedTuple):
    """Whether a request is permitted, and by or in spite of which section."""

    permitted: bool
    reason: str


def decisions(
    sections: list[Section] | None, requests: Iterable[Request], caller: Caller,
    state: State | None,
) -> Iterator[tuple[Request, Decision]]:  # fmt: skip
    """Each request, and whether it is permitted to the caller.

    Without a state only what the words say can be judged: not the uplinks that they leave open,
    nor the number of taps.
    """
    if sections is None:
        held = Decision(True, "the caller holds CAP_NET_ADMIN")
        yield from ((request, held) for request in requests)
        return
    mine = [section for section in sections if section.names(caller.uid, caller.gids)]
    mine.sort(key=lambda section: not section.deny)  # one deny is enough, wherever it stands
    taps = set(state.of(caller.uid)) if state else set()
    for request in requests:
        uplinks: Iterable[str] = request.uplinks
        if state and request.verb == "up":
            taps.add(request.tap)
            uplinks = [uplink.name for uplink in state.complete(request)]
        yield request, _decide(mine, request, uplinks, len(taps))


def _decide(mine: list[Section], request: Request, uplinks: Iterable[str], taps: int) -> Decision:
    objections = []
    for section in mine:
        where = f"{PATH}:{section.line}: [{section.title}]"
        if section.deny:
            return Decision(False, f"{where} denies everything")
        objection = section.objection(request, uplinks, taps)
        if not objection:
            return Decision(True, f"{where} permits it")
        objections.append(f"{where} does not: {objection}")
    return Decision(False, "; ".join(objections) or f"no section of {PATH} names the caller")


def load(path: str = PATH) -> list[Section]:
    """The sections of the policy file, or InTheWay: a doubtful policy permits nothing."""
    try:
        lines = _read(path).split("\n")
    except OSError as error:
        raise InTheWay(f"{path}: {error.strerror}", "an administrator has to write it") from None
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            _read_line(line.strip(" \t"), number, found)
        except ValueError as error:
            raise _broken(number, str(error)) from None
    return [Section(title, **values) for title, values in found.items()]


def _read_line(line: str, number: int, found: dict[str, dict[str, Any]]) -> None:
    """Take a line to the sections that were found before it. ValueError if it is not right."""
    if not line.replace("\t", " ").isprintable():
        raise ValueError("it has a control character")
    if line.startswith("[") and line.endswith("]"):
        kind, _, name = line[1:-1].partition(" ")
        if kind not in ("user", "group") or not name or name != name.strip():
            raise ValueError(f"{line} is neither [user NAME] nor [group NAME]")
        if line[1:-1] in found:
            raise ValueError(f"{line} is there twice")
        found[line[1:-1]] = {"line": number}
    elif line and not line.startswith("#"):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not found:
            raise ValueError(f"{line!r} is neither a section nor KEY = VALUE in one")
        title = list(found)[-1]
        if key in found[title]:
            raise ValueError(f"[{title}] has {key!r} twice")
        found[title][key] = _value(key, value)


def _value(key: str, value: str) -> object:
    words = tuple(word.strip() for word in value.split(",") if word.strip())
    match key:
        case "deny":
            return _one_of(value, "no", "yes") == "yes"
        case "host":
            return _one_of(value, "closed", "open") == "open"
        case "taps":
            return _count(value)
        case "subnets":
            return tuple(map(IPv4Network, words))
        case "modes":
            return tuple(_one_of(word, *MODES) for word in words)
        case "forwards":
            return tuple(map(_ports, words))
        case "uplinks":
            for word in words:
                if len(word) > LONGEST_INTERFACE or set(word) & set(" \t=[]:/"):
                    raise ValueError(f"{word!r} is no interface's name")
            return words
    raise ValueError(f"there is no key {key!r}")


def _one_of(word: str, *words: str) -> str:
    if word not in words:
        raise ValueError(f"{word!r} is none of {', '.join(words)}")
    return word


def _count(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 5):
        raise ValueError(f"{word!r} is not a plain number")
    return int(word)


def _ports(word: str) -> tuple[str, int, int]:
    protocol, _, ports = word.partition(":")
    low, dash, high = ports.partition("-")
    span = (_count(low), _count(high if dash else low))
    if protocol not in PROTOCOLS or not 1 <= span[0] <= span[1] <= 65535:
        raise ValueError(f"{word!r} is no range of ports such as tcp:1024-65535")
    return protocol, *span


def _read(path: str) -> str:
    folder = path
    while folder != "/":  # who can write a folder above can put another file there
        folder = os.path.dirname(folder)
        _check_root_only(folder, os.lstat(folder), stat.S_ISDIR, "a folder")
    # Neither a symbolic link nor a FIFO may hold the helper up or lead it elsewhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        _check_root_only(path, os.fstat(descriptor), stat.S_ISREG, "a regular file")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InTheWay(f"{path}: it is larger than {LARGEST} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InTheWay(f"{path}: it is not UTF-8") from None


def _check_root_only(
    path: str, status: os.stat_result, is_kind: Callable[[int], bool], kind: str
) -> None:
    if not is_kind(status.st_mode):
        raise InTheWay(f"{path}: it is not {kind}")
    if status.st_uid != 0 or status.st_mode & 0o022:
        hint = f"chown root {path}; chmod go-w {path}"
        raise InTheWay(f"{path}: others than root can change it", hint)


def _broken(line: int, what: str) -> InTheWay:
    return InTheWay(f"{PATH}:{line}: {what}", "an administrator has to mend the policy")
