"""A log that a guest cannot flood."""

import time
from collections.abc import Callable

Log = Callable[[str], None]

BURST = 20  # lines at once, and then
SECONDS = 10.0  # one line in so much time


class Limited:
    """Hands lines on to `log`; how many it left out is said with the next one it does not."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._left, self._at, self._out = float(BURST), clock(), 0

    def __call__(self, line: str) -> None:
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._at) / SECONDS)
        self._at = now
        if self._left < 1:
            self._out += 1
            return
        self._left -= 1
        self._log(f"{line} ({self._out} lines before it left out)" if self._out else line)
        self._out = 0
