"""The files in an initramfs: cpio archives one after the other, each of them compressed or not.

The format is in Documentation/driver-api/early-userspace/buffer-format.rst of the kernel's.
"""

import stat
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .unpacking import DAMAGED, Budget, Decoder, Unreadable, decoder

BLOCK = 1 << 18
MOST = 512 << 20  # bytes, read and unpacked
MOST_MEMBERS = 100_000
MOST_ARCHIVES = 100  # each may be compressed by itself
LARGEST = 1 << 18  # of a file whose content is wanted: a script, not a program
_LONGEST = 4096  # of a name, with its end
_MAGICS = (b"070701", b"070702")
_HEADER = 110
_NONE = "is no archive of an initramfs"


class Member(NamedTuple):
    name: str  # without the slash before it
    mode: int
    content: bytes  # of a symbolic link, and of a file of at most LARGEST bytes


def members(stream: BinaryIO) -> Iterator[Member]:
    """All files, in their order. Unreadable where they cannot be read to the end."""
    source = _Source(stream)
    count = archives = 0
    while source.next_archive():
        archives += 1
        if archives > MOST_ARCHIVES:
            raise Unreadable(f"has more than {MOST_ARCHIVES} archives")
        while source.peek(6) in _MAGICS:
            member = _member(source)
            if member.name == "TRAILER!!!":
                break
            count += 1
            if count > MOST_MEMBERS:
                raise Unreadable(f"has more than {MOST_MEMBERS} files")
            yield member


def _member(source: "_Source") -> Member:
    header = source.take(_HEADER)
    try:
        fields = struct.unpack(">13I", bytes.fromhex(header[6:].decode("ascii")))
    except (ValueError, struct.error):
        raise Unreadable(_NONE) from None
    mode, size, length = fields[1], fields[6], fields[11]
    if length > _LONGEST:
        raise Unreadable(_NONE)
    name = source.take(length + -(_HEADER + length) % 4).partition(b"\0")[0]
    is_wanted = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
    content = b""
    if is_wanted and size <= LARGEST:
        content = source.take(size)
    else:
        source.skip(size)
    source.skip(min(-size % 4, source.left(3)))
    return Member(name.decode("ascii", "replace").removeprefix("./").strip("/"), mode, content)


class _Source:
    """The archives' bytes, unpacked where they are compressed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder: Decoder | None = None
        self._raw = b""  # read, but not yet unpacked
        self._out = bytearray()
        self._work = Budget(MOST)
        self._packed = 0  # streams that were unpacked

    def peek(self, size: int) -> bytes:
        self._fill(size)
        return bytes(self._out[:size])

    def left(self, most: int) -> int:
        """How many bytes there still are, at most `most`."""
        return len(self.peek(most))

    def take(self, size: int) -> bytes:
        found = self.peek(size)
        if len(found) < size:
            raise Unreadable("ends in the middle")
        del self._out[:size]
        return found

    def skip(self, size: int) -> None:
        while size:
            step = min(size, max(1, len(self._out)))
            self.take(step)
            size -= step

    def next_archive(self) -> bool:
        """Go over the padding to where an archive begins. False at the end of all."""
        while True:
            self._skip_padding()
            if self._out:
                if self.peek(6) in _MAGICS:
                    return True
                if self._decoder is not None or not self._unpack():
                    raise Unreadable(_NONE)
            elif self._decoder is None:
                return False
            else:
                self._raw, self._decoder = self._decoder.unused_data, None

    def _skip_padding(self) -> None:
        while self.peek(1):
            self._out = self._out.lstrip(b"\0")
            if self._out:
                return

    def _unpack(self) -> bool:
        """From here on it is compressed, if it is."""
        self._packed += 1
        if self._packed > MOST_ARCHIVES:  # there may be nothing in them
            raise Unreadable(f"has more than {MOST_ARCHIVES} archives")
        self._decoder = decoder(self.peek(6))
        if self._decoder is None:
            return False
        self._raw, self._out = bytes(self._out), bytearray()
        return True

    def _fill(self, size: int) -> None:
        while len(self._out) < size:
            piece = self._read() if self._decoder is None else self._unpacked(self._decoder)
            if not piece:
                return
            self._work.spend(len(piece))
            self._out += piece

    def _read(self) -> bytes:
        found, self._raw = self._raw or self._stream.read(BLOCK), b""
        return found

    def _unpacked(self, unpack: Decoder) -> bytes:
        while not unpack.eof:
            block = self._read() if unpack.needs_input else b""
            self._work.spend(len(block))
            try:
                piece = unpack.decompress(block, BLOCK)
            except DAMAGED:
                raise Unreadable("is damaged") from None
            if piece:
                return piece
            if not block and not unpack.eof:
                raise Unreadable("ends in the middle")
        return b""
