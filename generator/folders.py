"""Folders that nobody else can change: where files are written, and what is trusted to be ours.

A folder is opened step by step from the root, each step by the descriptor of the one before. Every
folder on the way has to belong to the user or to root, and nobody else may be able to write to it;
only one with the sticky bit, as /tmp, may be open to others, as they cannot rename what is ours.
A symbolic link on the way is followed if the user or root made it; the last part is never one.
"""

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import re
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import IN_THE_WAY, TapdraftError

# To go through a folder needs no right to list it.
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = _PLACE | os.O_DIRECTORY
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_LINKS = 40  # as the kernel's own limit
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)
_RUN = re.compile(r"tapdraft-run-[0-9a-f]{16}")
_LOCK_ABOVE = 10  # a shell's redirections have descriptors of one digit


class Unsafe(Exception):
    """Why a folder or a file in it is not used: a sentence that names it, and what to do."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


@contextmanager
def opened(folder: Path, *, create: int | None = None) -> Iterator[int]:
    """The descriptor of a folder of the user's own; Unsafe or OSError if there is no such.

    With `create`, a mode, it and the folders above it are made if they are missing.
    """
    descriptor = _walk(folder, create)
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid():
            raise Unsafe(f"{folder} belongs to {_user(state.st_uid)}, not to you")
        if _others_write(descriptor, state):
            raise Unsafe(f"others can write to {folder}", f"chmod go-w {_shell(folder)}")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def inside(parent: int, name: str, shown: Path, *, create: int | None = None) -> Iterator[int]:
    """The same for a folder directly below one that `opened` gave; `shown` is its name."""
    if create is not None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, create, dir_fd=parent)
    state = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(state.st_mode):
        raise Unsafe(f"{shown} is {kind(state)}, not a folder")
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid():
            raise Unsafe(f"{shown} belongs to {_user(state.st_uid)}, not to you")
        if _others_write(descriptor, state):
            raise Unsafe(f"others can write to {shown}", f"chmod go-w {_shell(shown)}")
        yield descriptor
    finally:
        os.close(descriptor)


def own(folder: str | Path | None) -> bool:
    """Is this the absolute name of a folder of the user's own, which nobody else can change?"""
    if not folder or not Path(folder).is_absolute():
        return False
    try:
        with opened(Path(folder)):
            return True
    except (OSError, ValueError, Unsafe):
        return False


def home(variable: str, default: str, below: Path) -> Path:
    """The folder `below` what an XDG variable names, or `default` in the home: made if it is
    missing, and the user's own; TapdraftError if there is no such.

    Root that was given a user's environment gets root's own, and never follows that user's files.
    """
    named = os.environ.get(variable)
    homes = (os.environ.get("HOME"), _password_home())
    candidates = [Path(named)] if named else []
    candidates += [Path(folder, default) for folder in homes if folder]
    problem = Unsafe("you have no home folder")
    for candidate in candidates:
        try:
            if not candidate.is_absolute():
                raise Unsafe(f"{variable}={candidate} is not an absolute name")
            with opened(candidate, create=0o700), opened(candidate / below, create=0o700):
                return candidate / below
        except OSError as error:
            problem = Unsafe(f"{candidate} cannot be used: {error.strerror}")
        except Unsafe as unsafe:
            problem = unsafe
    hint = problem.hint or f"set {variable} to a folder of your own"
    raise TapdraftError(str(problem), hint, IN_THE_WAY)


@contextmanager
def temporary() -> Iterator[tuple[Path, int]]:
    """A new folder, gone afterwards, and a descriptor that has to stay open in whoever uses it.

    The descriptor locks the folder: what a killed program left has no lock, and goes now.
    """
    with ExitStack() as held:
        base, parent = held.enter_context(_base())
        _sweep(base, parent)
        name, lock = _locked(parent)
        try:
            yield base / name, lock
        finally:
            os.close(lock)
            shutil.rmtree(base / name, ignore_errors=True)


def kind(state: os.stat_result) -> str:
    """What a name stands for, for a person."""
    return next((name for is_kind, name in _KINDS if is_kind(state.st_mode)), "a device")


def _walk(folder: Path, create: int | None) -> int:
    absolute = folder if folder.is_absolute() else Path(os.getcwd(), folder)
    parts = list(absolute.parts[1:])
    at, descriptor, links = Path("/"), os.open("/", DIRECTORY), 0
    try:
        _trusted(descriptor, at, is_last=not parts)
        while parts:
            name = parts.pop(0)
            if create is not None:
                _made(descriptor, name, create)
            step = os.open(name, _PLACE, dir_fd=descriptor)
            try:
                state = os.fstat(step)
                if stat.S_ISLNK(state.st_mode):
                    links += 1
                    target = Path(os.readlink("", dir_fd=step))
                    _followed(at / name, target, state, links, is_last=not parts)
                    parts[:0] = target.parts[1:] if target.is_absolute() else target.parts
                    if target.is_absolute():
                        descriptor, at = _moved(descriptor, os.open("/", DIRECTORY)), Path("/")
                    continue
                if not stat.S_ISDIR(state.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(at / name))
            finally:
                os.close(step)
            descriptor = _moved(descriptor, os.open(name, DIRECTORY, dir_fd=descriptor))
            at = at.parent if name == ".." else at / name
            _trusted(descriptor, at, is_last=not parts)
    except OSError as error:
        os.close(descriptor)
        error.filename = str(folder) if error.filename is None else error.filename
        raise
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _made(parent: int, name: str, mode: int) -> None:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent)


def _moved(before: int, after: int) -> int:
    os.close(before)
    return after


def _followed(
    link: Path, target: Path, state: os.stat_result, links: int, *, is_last: bool
) -> None:
    if is_last:
        leads = Path(os.path.realpath(link.parent / target))
        raise Unsafe(f"{link} is a symbolic link", f"name the folder itself: {leads}")
    if state.st_uid not in _trusted_users():
        raise Unsafe(f"the symbolic link {link} belongs to {_user(state.st_uid)}, not to you")
    if links > MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(link))


def _trusted(descriptor: int, path: Path, *, is_last: bool) -> None:
    """Nobody else can put another folder in the place of what is below this one."""
    if is_last:
        return  # whoever asked has stricter rules for it
    state = os.fstat(descriptor)
    if state.st_uid not in _trusted_users():
        raise Unsafe(f"the folder {path} belongs to {_user(state.st_uid)}, not to you or root")
    if not state.st_mode & stat.S_ISVTX and _others_write(descriptor, state):
        raise Unsafe(f"others can write to the folder {path}", f"chmod go-w {_shell(path)}")


def _trusted_users() -> tuple[int, ...]:
    """Whoever owns / can do anything: root, or in a user namespace what root is there."""
    return os.geteuid(), 0, os.stat("/").st_uid


def _others_write(descriptor: int, state: os.stat_result) -> bool:
    if state.st_mode & stat.S_IWOTH:
        return True
    # Many distributions give each user a group of that name, and folders that it may write to.
    return bool(state.st_mode & stat.S_IWGRP) and not _is_private(descriptor, state.st_gid)


def _is_private(descriptor: int, gid: int) -> bool:
    """Is the group the user's alone? An access list would hide behind the group's mode."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    if user.pw_gid != gid or group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
        return False
    try:
        os.getxattr(f"/proc/self/fd/{descriptor}", "system.posix_acl_access")
    except OSError as error:
        return error.errno in (errno.ENODATA, errno.ENOTSUP)
    return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def _password_home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


def _shell(path: Path) -> str:
    return shlex.quote(str(path))


@contextmanager
def _base() -> Iterator[tuple[Path, int]]:
    """Where temporary folders are made: one of the user's own, or a sticky one such as /tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for named in (runtime, os.environ.get("TMPDIR"), "/tmp", "/var/tmp"):  # noqa: S108  judged
        if not named or not Path(named).is_absolute():
            continue
        try:
            descriptor = _walk(Path(named), None)
        except (OSError, ValueError, Unsafe):
            continue
        try:
            if _may_hold_ours(descriptor, needs_own=named is runtime):
                yield Path(named), descriptor
                return
        finally:
            os.close(descriptor)
    raise Unsafe("there is no folder for temporary files that is yours or has the sticky bit")


def _may_hold_ours(descriptor: int, *, needs_own: bool) -> bool:
    state = os.fstat(descriptor)
    is_own = state.st_uid == os.geteuid() and not _others_write(descriptor, state)
    is_sticky = state.st_uid in _trusted_users() and bool(state.st_mode & stat.S_ISVTX)
    is_ours = is_own or (is_sticky and not needs_own)
    return is_ours and os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor, effective_ids=True)


def _locked(parent: int) -> tuple[str, int]:
    while True:
        name = f"tapdraft-run-{secrets.token_hex(8)}"
        os.mkdir(name, 0o700, dir_fd=parent)
        descriptor = os.open(name, _LIST, dir_fd=parent)
        try:
            lock = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOCK_ABOVE)
        finally:
            os.close(descriptor)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Somebody may have swept it before it was locked.
        if os.fstat(lock).st_nlink and _is_same(parent, name, lock):
            return name, lock
        os.close(lock)


def _is_same(parent: int, name: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(
            os.stat(name, dir_fd=parent, follow_symlinks=False), os.fstat(descriptor)
        )
    except OSError:
        return False


def _sweep(base: Path, parent: int) -> None:
    """Remove what killed programs of this user left."""
    try:
        found = sorted(name for name in os.listdir(base) if _RUN.fullmatch(name))
    except OSError:  # one may write there, and not list it
        return
    for name in found:
        with contextlib.suppress(OSError), ExitStack() as held:
            descriptor = os.open(name, _LIST, dir_fd=parent)
            held.callback(os.close, descriptor)
            state = os.fstat(descriptor)
            if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) != 0o700:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(parent, name, descriptor):
                shutil.rmtree(base / name)
