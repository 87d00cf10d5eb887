"""Writing what was rendered, so that no reader ever sees half of it, and nothing else is touched.

Everything is written below descriptors of folders that are the user's own (folders.py): a new
file, which then takes the name of the old one. A link, a FIFO or a folder in the place of a file
is left alone, and an error.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from . import folders, streams
from .errors import TapdraftError

SUMS = "SHA256SUMS"
LARGEST = 4 << 20  # bytes that are read of a file that a former rendering may have written
# What a rendering may have written below a guest's folder.
_OURS = re.compile(r"[a-z]+|seed/[a-z-]+")
_LINE = re.compile(r"([0-9a-f]{64})  ([a-z0-9][a-z0-9-]*)/([a-z/-]+)")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o755  # at most: the umask may take more away
_ELSEWHERE = "name another folder with --output"


class _Sum(NamedTuple):
    digest: str
    guest: str
    script: str

    @property
    def name(self) -> str:
        return f"{self.guest}/{self.script}"


def write(files: dict[str, bytes], folder: Path) -> None:
    """Put the files below `folder`. Each replaces an older one in one step, the sums last.

    Nothing else in the folder is touched, but for a script of a former rendering that this one
    does not have, if it is still as it was written then. The sums keep the other guests' scripts.
    """
    with _told(folder), _Tree(folder) as tree:
        before = tree.sums()
        rendered = {path.partition("/")[0] for path in files if "/" in path}
        stale = [
            one
            for one in before
            if one.guest in rendered and one.name not in files and tree.is_as_written(one)
        ]
        kept = [
            one for one in before if one.guest not in rendered and tree.state(one.name) is not None
        ]
        if SUMS in files:
            own = files[SUMS].decode("ascii").splitlines()
            lines = {line.partition("  ")[2]: line for line in own}
            lines |= {one.name: f"{one.digest}  {one.name}" for one in kept}
            text = "".join(f"{lines[name]}\n" for name in sorted(lines))
            files = {**files, SUMS: text.encode("ascii")}
        for path in sorted(files, key=lambda path: (path == SUMS, path)):
            tree.stage(path, files[path], 0o755 if files[path].startswith(b"#!") else 0o644)
        tree.commit()
        for one in stale:
            tree.remove(one.name)


def write_file(file: Path, content: bytes) -> None:
    """Write one file, in place of a regular one that may be there."""
    if not file.name or file.name == "..":
        raise TapdraftError(f"{file} is not the name of a file", "name another file with --output")
    hint = "name another file with --output"
    with _told(file, hint), _Tree(file.parent, create=None) as tree:
        tree.stage(file.name, content, 0o644)
        tree.commit()


@contextlib.contextmanager
def _told(what: Path, hint: str = _ELSEWHERE) -> Iterator[None]:
    try:
        yield
    except folders.Unsafe as unsafe:
        text = f"{what} cannot be written: {unsafe}"
        raise TapdraftError(text, unsafe.hint or hint) from None
    except (OSError, ValueError) as error:
        named = str(getattr(error, "filename", None) or "")
        name = named if named.startswith(str(what)) else what
        reason = streams.reason(error) if isinstance(error, OSError) else error
        raise TapdraftError(f"{name} cannot be written: {reason}", hint) from None


class _Tree:
    """The output folder and those below it, each by its descriptor."""

    def __init__(self, folder: Path, create: int | None = _FOLDER_MODE) -> None:
        self._folder = folder
        self._create = create
        self._held = ExitStack()
        self._folders: dict[str, int] = {}
        self._staged: list[tuple[int, str, str]] = []  # folder, new name, its name in the end

    def __enter__(self) -> "_Tree":
        self._folders[""] = self._held.enter_context(
            folders.opened(self._folder, create=self._create)
        )
        return self

    def __exit__(self, *_: object) -> None:
        for parent, new, _name in self._staged:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=parent)
        self._held.close()

    def sums(self) -> list[_Sum]:
        """The sums of a former rendering, which may have been written by anybody: what does not
        name a script below a guest's folder does not count."""
        content = self._read(SUMS)
        lines = (content or b"").decode("ascii", "replace").splitlines()
        found = [_Sum(*match.groups()) for match in map(_LINE.fullmatch, lines) if match]
        return [one for one in found if _OURS.fullmatch(one.script)]

    def is_as_written(self, one: _Sum) -> bool:
        content = self._read(one.name)
        return content is not None and sha256(content).hexdigest() == one.digest

    def state(self, path: str) -> os.stat_result | None:
        """Of a regular file; None if there is none."""
        try:
            parent, name = self._place(path, create=None)
            state = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (OSError, folders.Unsafe):
            return None
        return state if stat.S_ISREG(state.st_mode) else None

    def stage(self, path: str, content: bytes, mode: int) -> None:
        """Write a file under a new name beside its own."""
        with self._named(path):
            parent, name = self._place(path, create=self._create)
            self._need_file(parent, name, path)
            new = f".{name}.{secrets.token_hex(8)}"
            descriptor = os.open(new, _NEW, 0o600, dir_fd=parent)
            self._staged.append((parent, new, name))
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(descriptor, mode)

    def commit(self) -> None:
        """Give all staged files their names."""
        while self._staged:
            parent, new, name = self._staged[0]
            with self._named(name):
                os.replace(new, name, src_dir_fd=parent, dst_dir_fd=parent)
            self._staged.pop(0)

    def remove(self, path: str) -> None:
        parent, name = self._place(path, create=None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)

    def _read(self, path: str) -> bytes | None:
        """The content of a regular file that is not too large; None for anything else."""
        try:
            parent, name = self._place(path, create=None)
            descriptor = os.open(name, _READ, dir_fd=parent)
        except (OSError, folders.Unsafe):
            return None
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
                return None
            with open(descriptor, "rb", closefd=False) as stream:
                content = stream.read(LARGEST + 1)
        finally:
            os.close(descriptor)
        return content if len(content) <= LARGEST else None

    def _place(self, path: str, create: int | None) -> tuple[int, str]:
        """The descriptor of the folder that `path` is in, and its name there."""
        *above, name = path.split("/")
        at = ""
        for part in above:
            below = f"{at}/{part}" if at else part
            if below not in self._folders:
                shown = self._folder / below
                self._folders[below] = self._held.enter_context(
                    folders.inside(self._folders[at], part, shown, create=create)
                )
            at = below
        return self._folders[at], name

    def _need_file(self, parent: int, name: str, path: str) -> None:
        try:
            state = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(state.st_mode):
            what = f"{self._folder / path} is {folders.kind(state)}, not a regular file"
            raise folders.Unsafe(what, "remove it, or name another place with --output")

    @contextlib.contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """An error names the file as the user knows it."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._folder / path)
            raise
