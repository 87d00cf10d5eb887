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
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from .caller import Caller
from .errors import InTheWay
from .request import MODES, Request
from .state import State

PATH = "/etc/tapdraft/policy.conf"
LARGEST = 65536  # bytes
# What the words of each key's value look like. The kernel takes more names of interfaces than a
# request does.
KEYS = {
    "deny": "no|yes", "host": "closed|open", "taps": "[0-9]{1,5}", "modes": "|".join(MODES),
    "subnets": "[0-9./]+", "forwards": "(tcp|udp):[0-9]{1,5}(-[0-9]{1,5})?",
    "uplinks": r"[^\s=\[\]:/]{1,15}",
}  # fmt: skip
_SINGLE = ("deny", "host", "taps")
_EXPECTED = {
    "deny": "yes or no", "host": "open or closed", "taps": "a number from 0 to 99999",
    "modes": f"one of {', '.join(MODES)}", "subnets": "a subnet such as 192.168.7.0/24",
    "forwards": "a range such as tcp:1024-65535", "uplinks": "an interface's name or *",
}  # fmt: skip


class Section(NamedTuple):
    """One section, with the words of each key's value. A key that is left out permits nothing."""

    title: str  # "group tapdraft", "user mallory"
    line: int  # of the file, from 1
    words: dict[str, tuple[Any, ...]]  # as _read_value() reads them

    def names(self, uid: int, gids: Iterable[int]) -> bool:
        """Does this section name the caller? InTheWay where a denied name cannot be looked up."""
        kind, _, name = self.title.partition(" ")
        try:
            if kind == "user":
                return pwd.getpwnam(name).pw_uid == uid
            group = grp.getgrnam(name)
            if group.gr_gid in gids or not self.denies():
                return group.gr_gid in gids
            # A session keeps its first groups: to be refused, the list of members is enough.
            user = pwd.getpwuid(uid)  # a failure is no way around the deny either
            return user.pw_name in group.gr_mem or user.pw_gid == group.gr_gid
        except KeyError:
            if self.denies():  # the name service may be down: this could be the one to refuse
                raise _broken(self.line, f"there is no {self.title}, who is denied") from None
            return False

    def denies(self) -> bool:
        return "yes" in self.words.get("deny", ())

    def objection(self, request: Request, uplinks: Iterable[str], taps: int) -> str:
        """Why this section does not permit the request, or ''.

        `uplinks` are those of the completed request, `taps` how many the caller would have.
        """
        if self.denies():
            return "denies everything"
        if request.verb == "down":
            return ""  # only ever of one's own taps
        for network in request.networks:
            if not any(network.subnet_of(subnet) for subnet in self.words.get("subnets", ())):
                return f"{network} is in none of its subnets"
        if request.mode not in self.words.get("modes", ()):
            return f"mode {request.mode} is not among its modes"
        if request.host_open and "open" not in self.words.get("host", ()):
            return "host=open is not permitted"
        for protocol, port, inner in request.forwards:
            spans = self.words.get("forwards", ())
            if not any(protocol == own and port in ports for own, ports in spans):
                return f"forward={protocol}:{port}:{inner} is not among its forwards"
        for uplink in uplinks:
            if not {"*", uplink} & set(self.words.get("uplinks", ())):
                return f"uplink={uplink} is not among its uplinks"
        (most,) = self.words.get("taps", (0,))
        return f"its {most} taps are used up" if taps > most else ""


Sections = list[Section] | None  # None for who holds CAP_NET_ADMIN: no policy binds them


def decisions(
    sections: Sections, requests: Iterable[Request], caller: Caller, state: State | None
) -> Iterator[tuple[Request, bool, str]]:
    """Each request, whether it is permitted to the caller, and by or in spite of which section.

    Without a state only what the words say can be judged: not the uplinks that they leave open,
    nor the number of taps.
    """
    if sections is None:
        yield from ((request, True, "the caller holds CAP_NET_ADMIN") for request in requests)
        return
    mine = [section for section in sections if section.names(caller.uid, caller.gids)]
    mine = [section for section in mine if section.denies()] or mine  # one is enough to refuse
    taps = set(state.of(caller.uid)) if state else set()
    for request in requests:
        uplinks: Iterable[str] = request.uplinks
        if state and request.verb == "up":
            taps.add(request.tap)
            uplinks = [uplink.name for uplink in state.complete(request)]
        permitted: list[str] = []
        refused: list[str] = []
        for section in mine:
            objection = section.objection(request, uplinks, len(taps))
            said = f"does not: {objection}" if objection else "permits it"
            said = objection if section.denies() else said
            where = f"{PATH}:{section.line}: [{section.title}]"
            (refused if objection else permitted).append(f"{where} {said}")
        reasons = permitted[:1] or refused or [f"no section of {PATH} names the caller"]
        yield request, bool(permitted), "; ".join(reasons)


def load(path: str = PATH) -> list[Section]:
    """The sections of the policy file, or InTheWay: a doubtful policy permits nothing."""
    sections: list[Section] = []
    for place, line in enumerate(_read(path).split("\n"), 1):
        try:
            _read_line(line.strip(" \t"), place, sections)
        except ValueError as error:
            raise _broken(place, str(error)) from None
    return sections


def _read_line(line: str, place: int, sections: list[Section]) -> None:
    """Take a line to the sections that were found before it. ValueError if it is not right."""
    if not line.replace("\t", " ").isprintable():
        raise ValueError("it has a character that is no text, or not UTF-8")
    if line.startswith("[") and line.endswith("]"):
        title = line[1:-1]
        if not re.fullmatch(r"(user|group) \S(.*\S)?", title):
            raise ValueError(f"{line} is neither [user NAME] nor [group NAME]")
        if any(section.title == title for section in sections):
            raise ValueError(f"{line} is there twice")
        sections.append(Section(title, place, {}))
    elif line and not line.startswith("#"):
        key, equals, value = (part.strip(" \t") for part in line.partition("="))
        if not equals or not sections:
            what = "KEY = VALUE" if sections else "a section: [user NAME] or [group NAME]"
            raise ValueError(f"{line!r} is not {what}")
        if key not in KEYS or key in sections[-1].words:
            twice = f"[{sections[-1].title}] has {key!r} twice"
            unknown = f"unknown key {key!r}; keys: {', '.join(KEYS)}"
            raise ValueError(twice if key in KEYS else unknown)
        sections[-1].words[key] = _read_value(key, value)


def _read_value(key: str, value: str) -> tuple[Any, ...]:
    words = [word.strip(" \t") for word in value.split(",") if word.strip(" \t")]
    words = [value] if key in _SINGLE else words
    wrong = next((word for word in words if not re.fullmatch(KEYS[key], word)), None)
    if wrong is not None:
        if "#" in wrong:
            raise ValueError(f"{key}: {value!r} has a comment, which needs a line of its own")
        if key == "taps" and re.fullmatch("[0-9]{6,}", wrong):
            raise ValueError(f"{key}: {wrong} is too large (0 to 99999)")
        raise ValueError(f"{key}: {wrong!r} is not {_EXPECTED[key]}")
    readers: dict[str, Callable[[str], Any]]
    readers = {"taps": int, "subnets": IPv4Network, "forwards": _ports}
    return tuple(map(readers.get(key, str), words))


def _ports(word: str) -> tuple[str, range]:
    protocol, _, span = word.partition(":")
    low, _, high = span.partition("-")
    ports = range(int(low), int(high or low) + 1)
    if not 1 <= ports.start < ports.stop <= 65536:
        raise ValueError(f"{word!r} is no range of ports")
    return protocol, ports


def _read(path: str) -> str:
    """What is in the file, which nobody but root can have written. InTheWay otherwise."""
    above = path
    try:
        while above != "/":  # who can write a folder above can put another file there
            above = os.path.dirname(above)
            _check(above, os.lstat(above), stat.S_IFDIR)
        # Neither a symbolic link nor a FIFO may hold the helper up or lead it elsewhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            _check(path, os.fstat(descriptor), stat.S_IFREG)
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise InTheWay(f"{path}: {error.strerror}", "an administrator has to write it") from None
    if len(content) > LARGEST:
        raise InTheWay(f"{path}: it is larger than {LARGEST} bytes")
    return content.decode("utf-8", "surrogateescape")  # which is no text for _read_line()


def _check(path: str, status: os.stat_result, kind: int) -> None:
    if stat.S_IFMT(status.st_mode) != kind:
        what = "a folder" if kind == stat.S_IFDIR else "a regular file"
        raise InTheWay(f"{path}: it is not {what}")
    if status.st_uid != 0 or status.st_mode & 0o022:
        hint = f"chown root {path}; chmod go-w {path}"
        raise InTheWay(f"{path}: others than root can change it", hint)


def _broken(line: int, what: str) -> InTheWay:
    return InTheWay(f"{PATH}:{line}: {what}", "an administrator has to mend the policy")
