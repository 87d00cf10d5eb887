"""Does anything read ip= on the kernel's command line? What the guest's own files tell.

The kernel reads it if it has IP_PNP and the driver of the card, says its configuration: the file
beside it that distributions put there, or the one inside; else its words show it. It does not if
its initramfs brings that driver as a module: when ip= is read, there is no card yet.

An initramfs reads it if it has the driver of the card, or the kernel has, and in it are

- the hook of dracut that parses ip=, for its own network scripts or for NetworkManager,
- systemd-network-generator, enabled, and systemd-networkd,
- of initramfs-tools a script that is run and calls configure_networking, which its own do for an
  NFS root alone,
- the net hook of mkinitcpio,
- any other script that names both ip= and /proc/cmdline.

It does not if it was read to its end and is one of these three makers' without such a thing, has
no init, or has a script as init and no script that names ip=. Else it cannot be told: the file is
not there, is compressed with what nothing here unpacks, or its init is a program.
"""

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...model import IpReader
from . import archive, image
from .initramfs import NO_INIT, Seen
from .reader import LOOKED, Start
from .unpacking import DAMAGED, Packed, Unreadable

GONE = "not there to be looked at"
_CONFIG = 4 << 20  # bytes
_NONE = IpReader(False, "there is no initramfs")
MOST_FILES = 32  # that are looked at for one description


def reader(start: Start, folder: Path | None) -> IpReader:
    """Who reads ip= of what starts so, its files named relative to `folder`; without one they are
    not looked at."""
    initramfs, drivers = _NONE, _Drivers()
    if start.initrd:
        initramfs, drivers = _initramfs(start, folder)
        if initramfs.reads:
            return _if_there_is_a_card(initramfs, drivers, start, folder)
    driver = drivers.own and start.is_virtio
    is_alone = initramfs in (_NONE, NO_INIT)
    kernel = _kernel(start, folder, driver=driver, is_alone=is_alone)
    if kernel.reads:
        return kernel
    if initramfs.reads is False and kernel.reads is False:
        return IpReader(False, f"nothing reads ip=: {initramfs.why} and {kernel.why}")
    why = kernel.why if initramfs is _NONE else f"{initramfs.why} and {kernel.why}"
    if initramfs.why.endswith(GONE) and kernel.why.endswith(GONE):
        why = f"its files are {GONE}"
    # Distributions pack so, and theirs read ip= for a root on the network.
    is_unlikely = kernel.reads is False and initramfs.is_packed
    why = f"it could not be told whether anything reads ip=: {why}"
    return IpReader(None, why, is_unlikely=is_unlikely)


class _Drivers(NamedTuple):
    """What an initramfs tells of the driver of a virtio card."""

    own: bool = False  # it brings it
    others: bool = False  # it brings others
    built_in: bool | None = None  # the kernel has it, says a list in the initramfs


def _initramfs(start: Start, folder: Path | None) -> tuple[IpReader, _Drivers]:
    try:
        found, drivers = _look(_seen, folder, start.initrd, start.init, start.boot)
    except Unreadable as problem:
        is_packed = isinstance(problem, Packed)
        return IpReader(None, f"its initramfs {problem}", is_packed=is_packed), _Drivers()
    return found, drivers


def _if_there_is_a_card(
    initramfs: IpReader, drivers: _Drivers, start: Start, folder: Path | None
) -> IpReader:
    """Who reads ip= before there is a card waits for it in vain, mostly for minutes."""
    if not start.is_virtio or drivers.own or drivers.built_in:
        return initramfs
    built_in: bool | None = drivers.built_in
    if built_in is None:
        built_in = _built_in(start, folder)
    # An initramfs without any driver belongs to a kernel that has all it needs, unless the
    # kernel itself tells otherwise.
    if built_in or (built_in is None and not drivers.others):
        return initramfs
    why = "its initramfs would read ip=, but has no virtio_net, the card's driver"
    why += ", nor has the kernel" if built_in is False else "; the kernel could not be looked at"
    return IpReader(False, why, lacks_driver=True)


def _built_in(start: Start, folder: Path | None) -> bool | None:
    """Has the kernel the driver of a virtio card? None if it cannot be told."""
    beside = _beside(start.kernel)
    config = ""
    if beside:
        with suppress(Unreadable):
            config = _look(_text, folder, beside)
    has_driver: bool | None = None
    if not config:
        with suppress(Unreadable):
            build = _look(_build, folder, start.kernel)
            config, has_driver = build.config, build.has_driver
    if config:
        return "CONFIG_VIRTIO_NET=y" in config.splitlines()
    return has_driver


def _kernel(start: Start, folder: Path | None, *, driver: bool, is_alone: bool) -> IpReader:
    if driver and not is_alone:
        return IpReader(False, "the kernel has no driver for the card before it")
    found, has_initramfs = _told(start, folder)
    if found.reads is False and has_initramfs and is_alone:
        return IpReader(None, "the kernel brings an initramfs of its own")
    return found


def _told(start: Start, folder: Path | None) -> tuple[IpReader, bool]:
    """And does the kernel bring an initramfs of its own?"""
    beside = _beside(start.kernel)
    if beside:
        try:
            config = _look(_text, folder, beside)
            return _configured(config, start, f"{Path(beside).name} beside it")
        except Unreadable:
            pass  # mostly there is none
    try:
        build = _look(_build, folder, start.kernel)
    except Unreadable as problem:
        return IpReader(None, f"the kernel {problem}"), False
    if build.config:
        return _configured(build.config, start, "the configuration inside it")
    if build.has_ip_pnp:
        return IpReader(True, "the kernel reads ip= itself: its words show IP_PNP"), False
    why = "the kernel was built without IP_PNP, as its words show"
    return IpReader(False, why), build.has_initramfs


def _configured(config: str, start: Start, where: str) -> tuple[IpReader, bool]:
    lines = set(config.splitlines())
    sources = [line for line in lines if line.startswith("CONFIG_INITRAMFS_SOURCE=")]
    has_initramfs = any(line != 'CONFIG_INITRAMFS_SOURCE=""' for line in sources)
    if "CONFIG_IP_PNP=y" not in lines:
        found = IpReader(False, f"the kernel was built without CONFIG_IP_PNP, says {where}")
    elif start.is_virtio and "CONFIG_VIRTIO_NET=m" in lines:
        found = IpReader(False, f"the kernel has the card's driver as a module, says {where}")
    else:
        found = IpReader(True, f"the kernel reads ip= itself: {where} has CONFIG_IP_PNP")
    return found, has_initramfs


def _beside(kernel: str) -> str:
    """Of vmlinuz-6.1.0-1: config-6.1.0-1."""
    _, dash, version = Path(kernel).name.partition("-")
    return str(Path(kernel).parent / f"config-{version}") if dash else ""


def _look(how: Callable[..., Any], folder: Path | None, name: str, *more: str) -> Any:
    """`how` of the file, which many guests may have: not more than once as long as it stays."""
    if folder is None:
        raise Unreadable(f"is {GONE}")
    path = folder / name
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        raise Unreadable(f"is {GONE}") from None
    if not stat.S_ISREG(state.st_mode):  # a device may do something when it is opened
        raise Unreadable("is no regular file")
    identity = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    key = (how, identity, more)  # whatever its name is
    if key not in LOOKED:
        if len(LOOKED) >= MOST_FILES:
            raise Unreadable(f"is not looked at, as {MOST_FILES} other files were")
        LOOKED[key] = _looked(how, path, *more)
    found = LOOKED[key]
    if isinstance(found, Unreadable):
        raise type(found)(*found.args)
    return found


def _looked(how: Callable[..., Any], path: Path, *more: str) -> Any:
    try:
        return how(path, *more)
    except Unreadable as problem:
        # Its traceback would keep what was unpacked.
        return type(problem)(*problem.args)
    except DAMAGED:  # also what the user may not read
        return Unreadable(f"is {GONE}")


def _seen(path: Path, init: str, boot: str) -> tuple[IpReader, _Drivers]:
    """What the initramfs tells: no further than to a file that shows a reader, and the driver."""
    seen = Seen(init, boot)
    found: IpReader | None = None
    with path.open("rb") as stream:
        try:
            for member in archive.members(stream):
                if found is None:
                    found = seen.add(member)
                else:
                    seen.note_drivers(member)
                if found is not None and seen.driver:
                    break
        except Unreadable:
            if found is None:
                raise
            return found, _Drivers()  # the driver may be in the rest
    drivers = _Drivers(seen.driver, seen.modules, seen.is_built_in)
    return found or seen.verdict(), drivers


def _build(path: Path) -> image.Build:
    with path.open("rb") as stream:
        return image.build(stream)


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        text = stream.read(_CONFIG).decode("ascii", "replace")
    if not re.search(r"^(# )?CONFIG_", text, re.MULTILINE):
        raise Unreadable("is no configuration")
    return text
