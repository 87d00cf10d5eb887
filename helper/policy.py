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
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from .caller import Caller
from .errors import InTheWay
from .request import MODES, Request
from .state import State

PATH = "/etc/tapdraft/policy.conf"
LARGEST = 65536  # bytes
NOBODY = 65534  # the kernel's overflowuid
# What the words of each key's value look like. The kernel takes more names of interfaces than a
# request does.
KEYS = {
    "deny": "no|yes",
    "host": "closed|open",
    "taps": "[0-9]{1,5}",
    "modes": "|".join(MODES),
    "subnets": "[0-9./]+",
    "forwards": "(tcp|udp):[0-9]{1,5}(-[0-9]{1,5})?",
    "uplinks": r"\*|[^\s=\[\]:/*?]{1,15}",
}
# And how a person is told so.
_EXPECTED = {
    "deny": "yes or no",
    "host": "open or closed",
    "taps": "a number from 0 to 99999",
    "modes": f"some of {', '.join(MODES)}",
    "subnets": "networks like 192.168.7.0/24",
    "forwards": "protocols with ports, like tcp:1024-65535 or udp:53",
    "uplinks": "names of interfaces (no patterns), or * alone for all",
}
_SINGLE = ("deny", "host", "taps")


class Section(NamedTuple):
    """One section, with the words of each key's value. A key that is left out permits nothing."""

    title: str  # "group tapdraft", "user mallory"
    line: int  # of the file, from 1
    words: dict[str, tuple[Any, ...]]  # as _read_value() reads them

    def names(self, uid: int, gids: Collection[int]) -> bool:
        """Does this section name the user with this uid, whose process has these groups?

        A group permits its members only: who is one by the name service and by the process. Alone,
        the process's groups are no proof, as any member can make a setgid file for others; nor is
        the name service, as a session keeps the groups that it began with. To be denied, either is
        enough. A section whose name nobody has names nobody.
        """
        kind, _, name = self.title.partition(" ")
        user = _user(uid)
        if user is None:
            return False  # refusal() has refused them
        if kind == "user":
            named = _found(pwd.getpwnam, name)
            return user.pw_name == name or (named is not None and named.pw_uid == uid)
        group = _found(grp.getgrnam, name)
        if group is None:
            # While the name service is down, a group of the caller's without a name may be the one.
            return self.denies() and any(_found(grp.getgrgid, gid) is None for gid in gids)
        joined = group.gr_gid in gids
        known = {user.pw_gid, *os.getgrouplist(user.pw_name, user.pw_gid)}
        member = user.pw_name in group.gr_mem or group.gr_gid in known
        return joined or member if self.denies() else joined and member

    @property
    def place(self) -> str:
        return f"{PATH}:{self.line}: [{self.title}]"

    def exists(self) -> bool:
        """Does anybody have the name that the section has?"""
        kind, _, name = self.title.partition(" ")
        return _found(pwd.getpwnam if kind == "user" else grp.getgrnam, name) is not None

    def text(self) -> str:
        """Its keys and values, a line each, as the helper reads them."""
        lines = []
        for key, values in self.words.items():
            said: Iterable[str] = map(str, values)
            if key == "forwards":
                said = (f"{protocol}:{ports[0]}-{ports[-1]}" for protocol, ports in values)
            lines.append(f"    {key} = {', '.join(said)}\n")
        return "".join(lines)

    def lacks(self) -> list[str]:
        """The keys without which the section permits no tap at all."""
        needed = ("subnets", "taps", "modes")
        return [] if self.denies() else [key for key in needed if not self.words.get(key)]

    def denies(self) -> bool:
        return "yes" in self.words.get("deny", ())

    def objection(self, request: Request, uplinks: Iterable[str], taps: int) -> str:
        """Why this section does not permit the request, or ''.

        `uplinks` are those of the completed request, `taps` how many the caller would have.
        """
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
    refused_all = refusal(sections, caller)
    if refused_all:
        yield from ((request, False, refused_all) for request in requests)
        return
    mine = [section for section in sections if section.names(caller.uid, caller.gids)]
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
            said = f"refuses it: {objection}" if objection else "permits it"
            (refused if objection else permitted).append(f"{section.place} {said}")
        yield request, bool(permitted), "; ".join(permitted[:1] or refused)


def refusal(sections: list[Section], caller: Caller) -> str:
    """Why a caller is refused whatever the request is, or ''."""
    if _user(caller.uid) is None:
        # By a subordinate uid, a user would get around a deny and have a quota of its own.
        return f"the name service knows no uid {caller.uid}, and the policy is about names"
    mine = [section for section in sections if section.names(caller.uid, caller.gids)]
    for section in mine:
        if section.denies():
            return f"{section.place} denies everything"
    return "" if mine else f"no section of {PATH} names the caller"


def _user(uid: int) -> pwd.struct_passwd | None:
    """The user with this uid; None for nobody, which the kernel shows for uids that it cannot."""
    return None if uid == NOBODY else _found(pwd.getpwuid, uid)


def _found(look_up: Callable[[Any], Any], name: str | int) -> Any:
    """What the name service says; None where it knows no such name or number."""
    try:
        return look_up(name)
    except KeyError:
        return None


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
        raise ValueError(f"{key}: expected {_EXPECTED[key]}, not {wrong!r}")
    readers: dict[str, Callable[[str], Any]]
    readers = {"taps": int, "subnets": IPv4Network, "forwards": _ports}
    try:
        return tuple(map(readers.get(key, str), words))
    except ValueError as error:
        near = [w for w in words if key == "subnets" and "has host bits set" in str(error)]
        meant = ", ".join(_network(word) for word in near)
        meant = f"; did you mean {meant}?" if meant else ""
        raise ValueError(f"{key}: {error}{meant}") from None


def _network(word: str) -> str:
    """The network that an address with a prefix is in; the word itself if it is neither."""
    try:
        return str(IPv4Network(word, strict=False))
    except ValueError:
        return word


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
        hint = f"write {path} as root; tapdraft-policy.conf(5) has an example"
        if isinstance(error, PermissionError):
            hint = f"chmod 644 {path}   (as root)"
        raise InTheWay(f"{path}: {error.strerror}", hint) from None
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
    hint = "correct this line as root, then: tapdraft-helper --check-policy"
    return InTheWay(f"{PATH}:{line}: {what}", hint)
