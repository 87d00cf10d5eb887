"""Checks of the helper: is it there, may it do its work, and may the caller ask for it?"""

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..helper import policy as helper_policy
from ..helper.caller import Caller
from ..helper.errors import HelperError
from . import ask, requests
from .finding import Finding, Place, error, grant, group_of, in_group_since, user, warning
from .listing import snapshot

CAP_NET_ADMIN = 1 << 12
_AT_ALL = "make install as root; or without it, for root to run: tapdraft render --dialect=nft"


def installed(_: Place) -> Iterator[Finding]:
    path = ask.find()
    if path is None:
        yield error("helper", "the helper is not installed", _AT_ALL)
    elif os.getuid() == 0:
        yield warning(
            "helper", "the helper serves ordinary users, not root", "run this as the user"
        )
    elif in_group_since(path):
        yield error(
            "helper",
            f"you are in the group {group_of(path)}, but this session is older",
            "log in anew, or for this terminal: newgrp " + group_of(path),
        )
    elif not os.access(path, os.X_OK):
        yield error(
            "helper",
            f"{path} is for members of the group {group_of(path)}",
            f"{grant(path)}   (as root; then log in anew)",
        )


def capability(_: Place) -> Iterator[Finding]:
    path = ask.find()
    if path is None or ask.is_client(path):  # no capability belongs on a script
        return
    if not _file_capability(path) & CAP_NET_ADMIN:
        yield error(
            "capability", f"{path} has no capability", f"setcap cap_net_admin=p {path}   (as root)"
        )
    if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID):
        yield error("capability", f"{path} is setuid or setgid", f"chmod ug-s {path}   (as root)")
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        mount = _mount(path)
        yield error(
            "nosuid",
            f"{path} is on a nosuid mount, where capabilities of files do not count",
            f"mount -o remount,bind,suid {mount}   (as root), or install it elsewhere",
        )
    status = _status()
    if status.get("NoNewPrivs") == "1":
        yield error(
            "no_new_privs",
            "this process may gain no privileges (no_new_privs)",
            "start from a session without it: grep NoNewPrivs /proc/self/status",
        )
    if not int(status.get("CapBnd", "f" * 16), 16) & CAP_NET_ADMIN:
        yield error(
            "bounding set",
            "CAP_NET_ADMIN is not in this session's bounding set",
            "start from a session that has it: grep CapBnd /proc/self/status; "
            "for a container: --cap-add=NET_ADMIN",
        )


def starts(_: Place) -> Iterator[Finding]:
    """What the helper itself says: it knows best why it cannot work."""
    path = ask.find()
    if path is None or os.getuid() == 0 or not os.access(path, os.X_OK):
        return
    try:
        done = subprocess.run([path, "--status"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as failure:
        yield error("helper", f"{path} cannot be run: {failure}", "install it again, as root")
        return
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        what = said[0].removeprefix("error: ") if said else f"it ended with {done.returncode}"
        fix = said[1].removeprefix("hint: ") if len(said) > 1 else "install it again, as root"
        yield error("helper", f"the helper does not start: {what}", fix)
        return
    for word in done.stdout.decode(errors="replace").split():
        name = word.removesuffix("=none")
        if name != word:
            yield warning(
                "hardening",
                f"the helper runs without {name}, which this kernel lacks",
                f"a kernel with {name}; the helper works without it",
            )


def policy(place: Place) -> Iterator[Finding]:
    if os.getuid() == 0 or ask.find() is None:
        return
    caller = Caller(os.getuid(), (os.getgid(), *os.getgroups()), holder=False)
    try:
        sections = helper_policy.load()
        if not any(section.names(caller.uid, caller.gids) for section in sections):
            groups = (s.title for s in sections if s.title.startswith("group "))
            group = next((title for title in groups if title != "group root"), "")
            fix = f"usermod -aG {group[6:]} {user()}" if group else f"add [user {user()}] to it"
            yield error(
                "policy", f"no section of {helper_policy.PATH} names you", f"{fix}   (as root)"
            )
            return
        lines = [requests.up(guest) for guest in place.tapped]
        state, _ = snapshot()
        for request, permitted, why in helper_policy.decisions(sections, lines, caller, state):
            if not permitted:
                yield error(
                    "policy",
                    f"guest {request.name}: {why}",
                    "see what you may ask for: tapdraft check --policy",
                )
    except HelperError as failure:
        yield error("policy", str(failure), failure.hint or "see tapdraft-policy.conf(5)")


def _file_capability(path: Path) -> int:
    """The permitted capabilities of a file: struct vfs_cap_data of linux/capability.h."""
    try:
        data = os.getxattr(path, "security.capability")
    except OSError:
        return 0
    return int(struct.unpack_from("<II", data)[1]) if len(data) >= 8 else 0


def _status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


def _mount(path: Path) -> str:
    """The mount point that holds a file, also of a bind mount: see mountinfo in proc(5)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        points = {line.split()[4].replace("\\040", " ") for line in file}
    return next((str(folder) for folder in path.parents if str(folder) in points), "/")
