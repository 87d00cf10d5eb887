"""What a guest cannot flood: the log, the answers, and the reading of its packets."""

import time
from collections.abc import Callable

Log = Callable[[str], None]

BURST = 20  # lines at once, and then
SECONDS = 10.0  # one line in so much time


class Bucket:
    """Tokens: `most` at once, and then `rate` in a second."""

    def __init__(self, most: int, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rate, self._clock = most, rate, clock
        self._left, self._at = float(most), clock()

    def wait(self) -> float:
        """How many seconds there is no token; 0 if there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._left) / self._rate)

    def take(self) -> bool:
        """Take a token, if there is one."""
        if self.wait() > 0:
            return False
        self._left -= 1
        return True


class Limited:
    """Hands lines on to `log`; how many it left out is said with the next one it does not."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._out = log, 0
        self._lines = Bucket(BURST, 1 / SECONDS, clock)

    def __call__(self, line: str) -> None:
        if not self._lines.take():
            self._out += 1
            return
        self._log(f"{line} ({self._out} lines before it left out)" if self._out else line)
        self._out = 0
