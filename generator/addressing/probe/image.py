"""What an image of Linux tells about its build, where Python's own library can unpack it.

With CONFIG_IKCONFIG the configuration is in it: kernel/configs.c of the kernel's. Without it the
words of the command line that it knows are, among them one that only IP_PNP has.
"""

import re
from contextlib import suppress
from itertools import islice
from typing import BinaryIO, NamedTuple

from .unpacking import Budget, Content, Packed, Unreadable, unpacked

LARGEST = 128 << 20  # bytes that are read of a file
MOST = 256 << 20  # bytes that are unpacked of it in all tries, with what they read
_CONFIG = 4 << 20
_TRIES = 32  # places where a compressed kernel might begin
_BANNER = b"Linux version "  # init/version.c
_IP_PNP = b"nfsaddrs=\0"  # the other name of ip=: net/ipv4/ipconfig.c
_DRIVER = b"virtio_net.csum\0"  # a parameter of it, as one that is built in has it
# As a file that one of the decoders takes begins; lzma with the sizes that Linux's build gives.
_PACKED = re.compile(
    rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\xfd7zXZ\0|BZh[1-9]1AY|\x5d\0\0[\0-\xff]{2}\xff{8}"
)
_CPIO = b"070701"
# Where an image says what it is: arch/arm64/include/asm/image.h, arch/riscv/include/asm/image.h.
_HEADERS = (b"ARM\x64", b"RSC\x05")


class Build(NamedTuple):
    config: str  # "" if it is not in the image
    has_ip_pnp: bool
    has_initramfs: bool
    has_driver: bool  # of a virtio card


def build(stream: BinaryIO) -> Build:
    """Unreadable if no kernel is found in the file."""
    data = stream.read(LARGEST)
    kernel: Content = data if _is_plain(data) else _inner(data)
    del data
    return Build(_config(kernel), _IP_PNP in kernel, _has_initramfs(kernel), _DRIVER in kernel)


def _is_plain(data: bytes) -> bool:
    """Is this a kernel as it lies in memory? In one that is compressed with lz4 there are words
    too, but not all of them. Those that unpack themselves have no symbols for modules."""
    has_header = data[56:60] in _HEADERS or (data[:4] == b"\x7fELF" and b"__ksymtab" in data)
    return has_header and _BANNER in data


def _inner(data: bytes) -> Content:
    """The kernel in an image that unpacks itself, or that is packed as a whole."""
    work = Budget(MOST)
    packed: Packed | None = None
    found: Content = b""
    for place in islice(_PACKED.finditer(data), _TRIES):
        found = b""  # what was found before is not kept beside it
        try:
            found = unpacked(data, place.start(), LARGEST, work)
        except Packed as problem:
            packed = problem
            continue
        if _BANNER in found:
            return found
    raise packed or Unreadable("is compressed in a way that is not read here, or is no Linux")


def _has_initramfs(kernel: Content) -> bool:
    """One of its own. There always is one, with three names in it where nobody made another."""
    if kernel.count(_CPIO) > 8:
        return True
    work = Budget(MOST)
    with suppress(Unreadable):
        for place in islice(_PACKED.finditer(kernel), _TRIES):
            if unpacked(kernel, place.start(), 1 << 16, work).count(_CPIO) > 8:
                return True
    return False


def _config(kernel: Content) -> str:
    start = kernel.find(b"IKCFG_ST\x1f\x8b")
    if start < 0:
        return ""
    return unpacked(kernel, start + 8, _CONFIG, Budget(MOST)).decode("ascii", "replace")
