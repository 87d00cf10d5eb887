"""Running what was rendered: the very files, in the description's folder."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import IN_THE_WAY, TapdraftError


@contextmanager
def folder(named: str | None) -> Iterator[Path]:
    """The folder for the scripts: the one named, or one that is gone afterwards."""
    if named is not None:
        yield Path(named).absolute()
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    try:
        path = tempfile.mkdtemp(prefix="tapdraft-", dir=runtime or None)
    except OSError as error:
        raise TapdraftError(
            f"no folder for the scripts: {error.strerror}", "name one with --output"
        ) from None
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(script: Path, files: Path) -> int:
    """Run the script where the guest's files are; its exit status.

    Signals are the script's to act on: it hands them on to qemu and takes the tap down. A
    terminal's Ctrl-C reaches it without us.
    """
    try:
        process = subprocess.Popen([script], cwd=files)
    except OSError as error:
        raise TapdraftError(
            f"{script} cannot be run: {error.strerror}",
            "name a folder where programs may be run with --output", IN_THE_WAY,
        ) from None  # fmt: skip
    meanings: dict[signal.Signals, Any] = {
        number: lambda received, _: process.send_signal(received)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    meanings[signal.SIGINT] = signal.SIG_IGN
    before = {number: signal.signal(number, meaning) for number, meaning in meanings.items()}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
