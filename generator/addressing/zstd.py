"""zstd, by what the machine has for it: Python 3.14's own library, the package zstandard, or the
program zstd.

Only the first tells where what is packed ends, so that is read from the format itself:
https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1
"""

import contextlib
import importlib
import os
import select
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, Protocol

from ..shell import PATH

MAGIC = b"\x28\xb5\x2f\xfd"
MEMORY = 128 << 20  # bytes that may be needed to unpack: the kernel's own build needs that much
_MOST_BLOCKS = 100_000  # each gives 128 KiB at most
_SLICE = 64  # bytes, which have room for 16 blocks


class _Engine(Protocol):
    is_done: bool

    @property
    def is_busy(self) -> bool: ...

    def feed(self, data: bytes, most: int, *, is_last: bool) -> bytes: ...


def maker() -> Callable[[], Any] | None:
    """What makes a decoder as those of bz2 and lzma; None if the machine has nothing for zstd."""
    with contextlib.suppress(ImportError):
        own = importlib.import_module("compression.zstd")
        limit = {own.DecompressionParameter.window_log_max: MEMORY.bit_length() - 1}
        return lambda: _Own(own, limit)
    with contextlib.suppress(ImportError):
        package = importlib.import_module("zstandard")
        return lambda: _Framed(_Package(package))
    program = shutil.which("zstd", path=PATH)
    return (lambda: _Framed(_Program(program))) if program else None


class _Own:
    """That of Python 3.14, whose errors are no others' kind."""

    def __init__(self, library: Any, limit: Any) -> None:
        self._inner = library.ZstdDecompressor(options=limit)
        self._error = library.ZstdError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes:
        try:
            return bytes(self._inner.decompress(data, max_length))
        except self._error as error:
            raise ValueError(str(error)) from None


class _Frame:
    """Finds where a frame ends."""

    def __init__(self) -> None:
        self.has_ended = False
        self._head = bytearray()  # of the frame or of a block, as far as it is there
        self._size = 5  # of that: magic number and descriptor
        self._step: Callable[[], None] = self._descriptor
        self._skipped = 0  # bytes of content still to come
        self._has_checksum = self._is_last = False
        self._blocks = 0

    def take(self, data: bytes | memoryview) -> int:
        """How many of these bytes belong to the frame."""
        at = 0
        while at < len(data) and not self.has_ended:
            if self._skipped:
                step = min(self._skipped, len(data) - at)
                self._skipped -= step
            else:
                step = min(self._size - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                if len(self._head) == self._size:
                    self._step()
                    self._head.clear()
            at += step
            if self._is_last and not self._skipped:
                self.has_ended = True
        return at

    def _descriptor(self) -> None:
        flags = self._head[4]
        is_single = bool(flags & 0x20)
        size = (int(is_single), 2, 4, 8)[flags >> 6] + (0, 1, 2, 4)[flags & 3] + (not is_single)
        self._has_checksum = bool(flags & 4)
        self._skipped = size
        self._size, self._step = 3, self._block

    def _block(self) -> None:
        self._blocks += 1
        if self._blocks > _MOST_BLOCKS:
            raise ValueError("too many blocks")
        head = int.from_bytes(self._head, "little")
        kind, size = head >> 1 & 3, head >> 3
        self._skipped = 1 if kind == 1 else size
        if head & 1:
            self._is_last = True
            self._skipped += 4 * self._has_checksum


class _Framed:
    """A decoder that gives an engine what belongs to one frame."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._frame = _Frame()
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        return self._engine.is_done

    @property
    def needs_input(self) -> bool:
        return not self._frame.has_ended and not self._engine.is_busy

    def decompress(self, data: bytes | memoryview, max_length: int = 1 << 16) -> bytes:
        length = self._frame.take(data)
        if length < len(data):
            self.unused_data += bytes(data[length:])
        own = bytes(data[:length])
        return self._engine.feed(own, max_length, is_last=self._frame.has_ended)


class _Package:
    """The package's decoder has no bound of its own for what it returns: it gets little at once."""

    def __init__(self, package: Any) -> None:
        self._inner = package.ZstdDecompressor(max_window_size=MEMORY).decompressobj()
        self._error = package.ZstdError
        self._data, self._at, self._out = b"", 0, bytearray()
        self.is_done = False

    @property
    def is_busy(self) -> bool:
        return bool(self._out) or self._at < len(self._data)

    def feed(self, data: bytes, most: int, *, is_last: bool) -> bytes:
        self._data, self._at = self._data[self._at :] + data, 0
        while len(self._out) < most and self._at < len(self._data):
            piece = self._data[self._at : self._at + _SLICE]
            self._at += len(piece)
            try:
                self._out += self._inner.decompress(piece)
            except self._error as error:
                raise ValueError(str(error)) from None
        found = bytes(self._out[:most])
        del self._out[:most]
        self.is_done = is_last and not self.is_busy
        return found


class _Program:
    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, "-dcq", f"--memory={MEMORY >> 20}MB", "--no-progress"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": PATH},
            bufsize=0,
        )
        assert self._process.stdin and self._process.stdout  # noqa: S101, PT018  for the types
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        self._pending = memoryview(b"")
        self._is_last = self.is_done = False

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None and process.returncode is None:
            process.kill()
            self._end()

    @property
    def is_busy(self) -> bool:
        return bool(self._pending) or (self._is_last and not self.is_done)

    def feed(self, data: bytes, most: int, *, is_last: bool) -> bytes:
        self._pending = memoryview(bytes(self._pending) + data)
        self._is_last = is_last
        while not self.is_done:
            if is_last and not self._pending:
                self._to.close()
            waits = bool(self._pending) or is_last
            to = [self._to] if self._pending else []
            readable, writable, _ = select.select([self._from], to, [], None if waits else 0)
            if readable:
                found = os.read(self._from.fileno(), most)
                if found:
                    return found
                self._end()
                self.is_done = True
                if self._process.returncode or self._pending or not is_last:
                    raise ValueError("zstd cannot unpack it")
            elif writable:
                self._write()
            elif not waits:
                break
        return b""

    def _write(self) -> None:
        try:
            sent = os.write(self._to.fileno(), self._pending[: select.PIPE_BUF])
        except BlockingIOError:
            return
        except BrokenPipeError:
            sent = len(self._pending)
            self._is_last = False
        self._pending = self._pending[sent:]

    def _end(self) -> None:
        self._to.close()
        self._from.close()
        self._process.wait()
