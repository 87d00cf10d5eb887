"""Writing what was rendered, so that no reader ever sees half of it."""

import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path

from .errors import TapdraftError

SUMS = "SHA256SUMS"
# What a rendering may have written below a guest's folder.
_OURS = re.compile(r"[a-z]+|seed/[a-z-]+")


def write(files: dict[str, bytes], folder: Path) -> None:
    """Put the files below `folder`. Each replaces an older one in one step, the sums last.

    Nothing else in the folder is touched, but for a script of a former rendering that this one
    does not have, if it is still as it was written then.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        stale = _stale(files, folder)
        for path in sorted(files, key=lambda path: (path == SUMS, path)):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o755 if files[path].startswith(b"#!") else 0o644
            staged.append((_stage(files[path], target, mode), target))
        for temporary, target in staged:
            temporary.replace(target)
        for old in stale:
            old.unlink(missing_ok=True)
    except OSError as error:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        what = f"{error.filename or folder} cannot be written: {error.strerror}"
        raise TapdraftError(what, "name another folder with --output") from None


def _stage(content: bytes, target: Path, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(name).chmod(mode)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _stale(files: dict[str, bytes], folder: Path) -> list[Path]:
    """Scripts of the guests now rendered that an earlier rendering wrote and this one does not."""
    try:
        sums = (folder / SUMS).read_text("ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    found = []
    for line in sums.splitlines():
        digest, _, name = line.partition("  ")
        # The list may have been written by anybody: nothing outside a guest's folder is touched.
        guest, _, script = name.partition("/")
        if name in files or f"{guest}/qemu" not in files or not _OURS.fullmatch(script):
            continue
        path = folder / name
        if path.is_file() and sha256(path.read_bytes()).hexdigest() == digest:
            found.append(path)
    return found
