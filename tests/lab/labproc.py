"""A started program whose output is read all the time, and waited for by pattern."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|c)|\r")


class Process:
    """A program in a session of its own. `pid` is the program's. Its standard input is empty."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._text = ""
        self._seen = 0
        self._ended = False
        self._news = threading.Condition()
        self._master, theirs, stdin = self._open()
        self.popen = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={"PATH": PATH},
        )
        os.close(theirs)
        self.pid = self.popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _open(self) -> tuple[int, int, int]:
        """Our end, the program's end, and what its standard input is."""
        ours, theirs = os.pipe()
        return ours, theirs, subprocess.DEVNULL

    def _read(self) -> None:
        # Always reading: a full pipe or terminal would stop the program.
        while not self._ended:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: nobody has the terminal's other end any more
                data = b""
            with self._news:
                self._text += data.decode(errors="replace")
                self._ended = not data
                self._news.notify_all()

    @property
    def console(self) -> str:
        """All that was written so far, both streams together, without a terminal's escapes."""
        return _ESCAPES.sub("", self._text)

    def expect(self, pattern: str, limit: float = 60) -> re.Match[str]:
        """Wait until the regular expression is found behind what was found before. `limit` is in
        seconds; when it has passed, or the output ended, the test fails and shows the output."""
        deadline = time.monotonic() + limit
        with self._news:
            while True:
                text = self.console
                match = re.compile(pattern, re.MULTILINE).search(text, self._seen)
                if match:
                    self._seen = match.end()
                    return match
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "the output ended" if self._ended else f"{limit} s passed"
                    self._fail(f"{pattern!r} was not seen: {why}")
                self._news.wait(left)

    def _fail(self, message: str) -> NoReturn:
        pytest.fail(f"{message}\n--- console of {self.popen.args!r}\n{self.console}\n---")

    def running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to what was started, not to what it started."""
        self.popen.send_signal(number)

    def wait(self, limit: float = 30) -> int:
        """Its exit status; the test fails if it has not ended after `limit` seconds."""
        try:
            status = self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            self._fail(f"still running after {limit} s")
        self._reader.join(limit)
        return status

    def stop(self) -> None:
        """End everything in its session and reap it. What left the session may still hold the
        output, so its end is not waited for long."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.popen.kill()
        self.popen.wait()
        self._reader.join(1)
        if not self._reader.is_alive() and self._master >= 0:
            os.close(self._master)
            self._master = -1


class Guest(Process):
    """Whatever was started to run a guest, qemu itself or a `run` script, on a terminal."""

    def _open(self) -> tuple[int, int, int]:
        ours, theirs = pty.openpty()
        return ours, theirs, theirs

    def type(self, line: str) -> None:
        """Type a line on the console."""
        os.write(self._master, line.encode() + b"\n")

    def qemu(self) -> int:
        """The process id of qemu, which may be a grandchild of what was started."""
        todo = [self.pid]
        while todo:
            pid = todo.pop()
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system"):
                    return pid
                todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue
        self._fail("no qemu runs")

    def poweroff(self, limit: float = 30) -> int:
        """Switch off from the console's shell; the exit status of what was started."""
        self.type("poweroff -f")
        return self.wait(limit)
