"""Standard input, output and errors that are closed, or that cannot be written."""

import contextlib
import errno
import io
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

NAMES = ("standard input", "standard output", "standard error")


class _Closed(io.TextIOBase):
    """In place of a closed standard output: only who has something to say is told."""

    def write(self, text: str) -> int:
        if text:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), NAMES[1])
        return 0


class _Wrapped:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Named(_Wrapped):
    """Standard output, whose errors name it."""

    def write(self, text: str) -> int:
        with _named():
            return int(self._inner.write(text))

    def flush(self) -> None:
        with _named():
            self._inner.flush()


class _Lenient(_Wrapped):
    """Standard error: where it cannot be written nobody can be told, and the work goes on."""

    def write(self, text: str) -> int:
        with _to_nowhere(2):
            self._inner.write(text)
        return len(text)

    def flush(self) -> None:
        with _to_nowhere(2):
            self._inner.flush()


def prepare() -> tuple[int, ...]:
    """Make the three descriptors usable, and say which of them were closed: another file must not
    get one of their numbers, and be taken for the terminal by us or a program that we start."""
    closed = []
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(opened, True)
            closed.append(number)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  as long as we run
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character is no error
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is sys.__stdout__:
        sys.stdout = _Named(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _Lenient(sys.stderr)
    return tuple(closed)


def settle() -> bool:
    """Write what is left of standard output; False if that cannot be done, and then Python does
    not try it once more at its own end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            _replace(sys.stdout.fileno())
        return False
    return True


def reason(error: OSError) -> str:
    """What went wrong, with the limit where one was met."""
    text = error.strerror or str(error)
    if error.errno == errno.EMFILE:
        text += f": the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}, by ulimit -n"
    return text


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = NAMES[1]
        raise


@contextlib.contextmanager
def _to_nowhere(number: int) -> Iterator[None]:
    try:
        yield
    except OSError:
        _replace(number)


def _replace(number: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
