"""Kernels and initramfs are files of strangers, mostly compressed: they are unpacked with what
Python's own library or the machine has, a piece at a time and within a bound, so that a small file
cannot become a large one here, nor take long.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from . import zstd

BLOCK = 1 << 16
MEMORY = 256 << 20  # bytes that a decoder may use; the kernel's own xz files need 33 MiB
Buffer = bytes | memoryview
Content = bytes | bytearray
DAMAGED = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


class Unreadable(Exception):
    """Why a file could not be looked at: the end of a sentence that begins with its name."""


class Packed(Unreadable):
    """It is compressed with what Python's library does not have."""


class Work:
    """How many bytes of one file may still be read and unpacked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.done = 0

    def spend(self, size: int) -> None:
        self.done += size
        if self.done > self.most:
            raise Unreadable(f"is larger than {self.most >> 20} MiB")


class Decoder(Protocol):
    """As those of bz2 and lzma."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: Buffer, max_length: int = ...) -> bytes: ...


class _Gzip:
    """zlib's, which is called otherwise."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: Buffer, max_length: int = 0) -> bytes:
        tail = self._inner.unconsumed_tail
        return self._inner.decompress(tail + data if tail else data, max_length)


def _lzma() -> Decoder:
    return lzma.LZMADecompressor(memlimit=MEMORY)


# As what they unpack begins. lzma has no magic: these are its usual properties.
DECODERS: dict[bytes, Callable[[], Decoder]] = {
    b"\x1f\x8b\x08": _Gzip,
    b"\xfd7zXZ\0": _lzma,
    b"BZh": bz2.BZ2Decompressor,
    b"\x5d\0\0": _lzma,
}
OTHERS = {
    b"\x02\x21\x4c\x18": "lz4",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x89LZO": "lzo",
}


def decoder(start: bytes) -> Decoder | None:
    """What unpacks a file that starts so; Unreadable if nothing here does, None if it is not
    compressed."""
    if start.startswith(zstd.MAGIC):
        make = zstd.maker()
        if make is None:
            raise Packed("is compressed with zstd, which is not installed")
        found: Decoder = make()
        return found
    for magic, name in OTHERS.items():
        if start.startswith(magic):
            raise Packed(f"is compressed with {name}, which is not read here")
    return next((make() for magic, make in DECODERS.items() if start.startswith(magic)), None)


def unpacked(data: Content, start: int, most: int, work: Work) -> Content:
    """What begins at `start`, up to `most` bytes of it; nothing of what is damaged."""
    unpack = decoder(bytes(data[start : start + 6]))
    view, out = memoryview(data), bytearray()
    try:
        while unpack and not unpack.eof and len(out) < most:
            piece = view[start : start + BLOCK] if unpack.needs_input else b""
            start += len(piece)
            work.spend(len(piece))
            found = unpack.decompress(piece, min(BLOCK, most - len(out)))
            work.spend(len(found))
            if not (found or piece or unpack.eof):
                break
            out += found
    except DAMAGED:
        return b""
    return out  # not copied: it may be large
