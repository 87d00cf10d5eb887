"""Running what was rendered: the very files, in the description's folder."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from . import folders, reach
from .description import Guest
from .errors import IN_THE_WAY, TapdraftError
from .requests import up


class Awaited:
    """Waits for a guest's port while the guest runs, and prints how long that took."""

    def __init__(self, guest: Guest, port: int) -> None:
        self.guest = guest
        self.tap = up(guest).tap
        self.port = port
        self.seconds: float | None = None

    def __call__(self, ended: threading.Event) -> None:
        where = f"port {self.port} of {self.guest.name} ({self.guest.address})"
        line = ""
        try:
            self.seconds = reach.until(
                lambda: reach.is_open(self.tap, self.guest.address, self.port), math.inf, ended.wait
            )
        except TapdraftError as error:
            line = f"error: {where} is not awaited: {error.args[0]}"
        if line:
            pass
        elif self.seconds is None:
            line = f"error: {where} was never open while the guest ran"
        else:
            line = f"[#] {where} is open after {self.seconds:.1f} s"
        # The guest's console may have the terminal raw, where a new line is not a line's start.
        end = "\r\n" if sys.stderr.isatty() else "\n"
        print(f"\r{line}" if sys.stderr.isatty() else line, end=end, file=sys.stderr, flush=True)


@contextmanager
def folder(named: str | None) -> Iterator[Path]:
    """The folder for the scripts: the one named, or one that is gone afterwards."""
    if named is not None:
        yield Path(named).absolute()
        return
    with ExitStack() as held:
        try:
            path, lock = held.enter_context(folders.temporary())
        except (OSError, folders.Unsafe) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TapdraftError(
                f"a temporary folder for the scripts cannot be made: {reason}",
                "name a folder with --output=DIR",
            ) from None
        # What outlives this program still needs the scripts: run() hands the lock on to it.
        os.set_inheritable(lock, True)
        yield path


def run(script: Path, files: Path, meanwhile: Callable[[threading.Event], None]) -> int:
    """Run the script where the guest's files are; its exit status.

    `meanwhile` is called in a thread of its own, with what is set when the script has ended.

    Signals are the script's to act on: it hands them on to qemu and takes the tap down. A
    terminal's Ctrl-C reaches it without us.
    """
    try:
        process = subprocess.Popen([script], cwd=files, close_fds=False)
    except OSError as error:
        raise TapdraftError(
            f"{script} cannot be run: {error.strerror}",
            "use --output=DIR with a folder whose file system is not mounted noexec",
            IN_THE_WAY,
        ) from None
    meanings: dict[signal.Signals, Any] = {
        number: lambda received, _: process.send_signal(received)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    meanings[signal.SIGINT] = signal.SIG_IGN
    ended = threading.Event()
    beside = threading.Thread(target=meanwhile, args=(ended,))
    beside.start()
    before = {number: signal.signal(number, meaning) for number, meaning in meanings.items()}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ended.set()
        beside.join()
    return status if status >= 0 else 128 - status
