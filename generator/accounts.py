"""Users and groups of this host: who this user is, and how to get into a file's group."""

import grp
import os
import pwd
from pathlib import Path


def grant(path: str | Path) -> str:
    """The command that lets this user have what the file's group has, or how to get there.

    Root's own group is no group for users, and one without a name cannot be joined.
    """
    gid = os.stat(path).st_gid
    if gid == 0 or not _group_name(gid):
        return f"chgrp GROUP {path} && chmod g+rw {path}, with a GROUP of {user()}"
    if user() in grp.getgrgid(gid).gr_mem:
        return "log in anew: this session is older than your membership"
    return f"usermod -aG {group_of(path)} {user()}"


def in_group_since(path: str | Path) -> bool:
    """Is this user a member of the file's group now, while this session is not?"""
    gid = os.stat(path).st_gid
    if gid in (os.getgid(), *os.getgroups()):
        return False
    return bool(_group_name(gid)) and user() in grp.getgrgid(gid).gr_mem


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def group_of(path: str | Path) -> str:
    """The name of the group that a file belongs to."""
    gid = os.stat(path).st_gid
    return _group_name(gid) or str(gid)


def user() -> str:
    """The name of the one who asks."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
