"""What must hold of a guest whose single keys are right: which keys go together, on which machine.

Each function gives the problems of one subject; `where` is the path of the key in the file.
"""

from collections.abc import Iterator

from ...helper.errors import HelperError
from ...helper.explain.commands import line
from ...helper.explain.diagnosis import check
from .. import addressing
from ..errors import KeyPath, Problem
from ..formats import UNPACKED_AT_MOST, is_packed
from ..machines import FIRMWARE, MACHINES
from ..model import CONSOLE, FIRMWARE_WORDS, IP, Guest, disk_mark
from ..requests import up
from . import values


def problems(guest: Guest) -> Iterator[Problem[KeyPath]]:
    """All problems of one guest, with their paths from the top of the description."""
    path = ("guest", guest.name)
    for subject in (
        _start,
        _cloud_init,
        _bare,
        _board,
        _firmware,
        _disks,
        _devices,
        _network,
        _nfs,
    ):
        for problem in subject(guest):
            yield problem._replace(where=(*path, *problem.where))
    if not guest.has_tap:
        if guest.addressing != "none":
            what = f'addressing needs network = "tap", not "{guest.network}"'
            yield Problem((*path, "addressing"), what, "leave addressing out")
        return
    what, hint = addressing.METHODS[guest.addressing].objection(guest)
    if what:
        yield Problem((*path, "addressing"), what, hint)
    try:
        check(line(up(guest)))
    except HelperError as error:
        yield Problem(path, str(error), error.hint, at_key=True)


def _start(guest: Guest) -> Iterator[Problem[KeyPath]]:
    for key in ("initrd", "append"):
        # A board's own firmware may look for an initrd that qemu loads.
        is_its_own = key == "initrd" and guest.defaults == "qemu"
        if getattr(guest, key) and not guest.kernel and not is_its_own:
            yield Problem((key,), f"{key} needs a kernel", 'write kernel = "vmlinuz" as well')
    if not (guest.kernel or guest.disks or guest.qemu or guest.defaults == "qemu"):
        what = f"guest {guest.name} has neither a kernel nor a disk"
        hint = f'write kernel = "vmlinuz" or disk = "disk.img" below [guest.{guest.name}]'
        yield Problem((), what, hint, at_key=True)


def _cloud_init(guest: Guest) -> Iterator[Problem[KeyPath]]:
    for key, given in (("user-data", guest.user_data), ("ssh-key", guest.ssh_keys)):
        if given and guest.addressing != "cloud-init":
            what = f'{key} needs addressing = "cloud-init", not "{guest.addressing}"'
            yield Problem((key,), what, 'write addressing = "cloud-init"')


def _bare(guest: Guest) -> Iterator[Problem[KeyPath]]:
    """What goes with defaults = "qemu", and with nothing else."""
    if guest.defaults == "qemu":
        if not (guest.card or guest.nic or guest.network == "none"):
            hint = 'write nic = "virtio-net-pci"'
            yield Problem(("defaults",), "no network card is named", hint)
        words = guest.append.split()
        for mark in (IP, CONSOLE):
            if words.count(mark) > values.MOST_MARKS:
                what = f"append has {mark} more than {values.MOST_MARKS} times"
                yield Problem(("append",), what, f"write {mark} once")
        return
    for field in ("console", "graphics", "ip_tap", "ip_user"):
        if getattr(guest, field):
            key = field.replace("_", "-")
            what = f'{key} without defaults = "qemu"'
            yield Problem((key,), what, 'write defaults = "qemu", or leave it out')


def _board(guest: Guest) -> Iterator[Problem[KeyPath]]:
    machine = MACHINES[guest.machine]
    is_bare = guest.defaults == "qemu"
    if guest.accel == "kvm" and not is_bare and not (machine.kvm or guest.cpu):
        what = f"machine {guest.machine} does not run under KVM"
        yield Problem(("accel",), what, 'write accel = "tcg"')
    if guest.kernel and machine.dtb and not guest.dtb and not is_bare:
        what = f"machine {guest.machine} has no way to tell the kernel what it is"
        yield Problem(("kernel",), what, 'name the device tree: dtb = "board.dtb"')
    if guest.dtb and not guest.kernel:
        yield Problem(("dtb",), "dtb needs a kernel", 'write kernel = "Image" as well')


def _firmware(guest: Guest) -> Iterator[Problem[KeyPath]]:
    if guest.firmware and guest.bios:
        yield Problem(("bios",), "bios and firmware are both given", "leave one of them out")
    known = FIRMWARE.get(MACHINES[guest.machine].firmware)
    is_there = known and (known.secure if guest.firmware == "secure-boot" else known.plain)
    if guest.firmware in FIRMWARE_WORDS and not is_there:
        what = f'machine {guest.machine} has no firmware "{guest.firmware}"'
        hint = 'write firmware = "FILE" with a firmware of your own, or leave firmware out'
        yield Problem(("firmware",), what, hint)


def _disks(guest: Guest) -> Iterator[Problem[KeyPath]]:
    """The first problem of the disks: what follows could be a consequence."""
    for what, hint in _wrong_disks(guest):
        yield Problem(("disk",), what, hint)
        return


def _wrong_disks(guest: Guest) -> Iterator[tuple[str, str]]:
    machine = MACHINES[guest.machine]
    files = [disk.file for disk in guest.disks if is_packed(disk.file)]
    if files and not guest.snapshot:
        yield (
            f"{files[0]} is compressed: the guest's writes cannot be kept",
            "write snapshot = true to discard them, or unpack the disk",
        )
    if len(files) > UNPACKED_AT_MOST:
        yield f"at most {UNPACKED_AT_MOST} disks can be compressed", "unpack some"
    said = [index for index, disk in enumerate(guest.disks) if disk.bus == "qemu"]
    for number, index in enumerate(said):
        if not any(disk_mark(number) in word for word in guest.qemu):
            what = f"nothing in qemu attaches {guest.disks[index].file}"
            yield what, f'write "-drive", "file={disk_mark(number)},..." there, or another bus'
    if said and sum(word.count("@DISK") for word in guest.qemu) > values.MOST_MARKS:
        yield f"qemu has more than {values.MOST_MARKS} marks of disks", "write each @DISK0@ once"
    for disk in guest.disks:
        if disk.bus == "qemu" or (guest.defaults == "qemu" and not disk.bus):
            continue
        bus = disk.bus or machine.disk
        if not bus:
            yield f"machine {guest.machine} has no disks", "start it from an initrd"
        if bus in ("virtio", "scsi") and not machine.bus:
            yield f"machine {guest.machine} has no {bus}", f'write bus = "{machine.disk}"'


def _devices(guest: Guest) -> Iterator[Problem[KeyPath]]:
    machine = MACHINES[guest.machine]
    if guest.serial.count("terminal") > 1:
        what = "two serial lines lead to the terminal"
        yield Problem(("serial",), what, 'write "terminal" once')
    if guest.display == "none" and "window" in guest.serial:
        what = 'a serial line in a "window" needs a display'
        yield Problem(("serial",), what, 'write display = "gtk"')
    if guest.gl != "off" and guest.display not in ("gtk", "sdl"):
        what = f'gl needs display = "gtk" or "sdl", not "{guest.display}"'
        yield Problem(("gl",), what, 'write display = "gtk" or "sdl", or leave gl out')
    if guest.audio not in ("", "none") and not machine.pci and guest.defaults != "qemu":
        what = f"machine {guest.machine} has no bus for a sound card"
        yield Problem(("audio",), what, "leave audio out")
    if guest.agent and not machine.bus and guest.defaults != "qemu":
        what = f"machine {guest.machine} has no virtio-serial"
        yield Problem(("agent",), what, "leave agent out")


def _network(guest: Guest) -> Iterator[Problem[KeyPath]]:
    kind = guest.network
    if guest.bridge and kind != "bridge":
        what = f'bridge needs network = "bridge", not "{kind}"'
        yield Problem(("bridge",), what, 'write network = "bridge", or leave bridge out')
    if kind == "bridge" and not guest.bridge:
        yield Problem(("network",), "the bridge has no name", 'write bridge = "br0" as well')
    for key, given in (("vhost", guest.vhost), ("queues", guest.queues > 1)):
        if given and kind != "tap":
            what = f'{key} needs network = "tap", not "{kind}"'
            yield Problem((key,), what, f"leave {key} out")
    if guest.forwards and kind not in ("tap", "user"):
        what = f'forward needs network = "tap" or "user", not "{kind}"'
        yield Problem(("forward",), what, "leave forward out")
    if guest.tftp and kind != "user":
        what = f'tftp needs network = "user", not "{kind}"'
        yield Problem(("tftp",), what, "leave tftp out")
    if guest.interfaces and (guest.nic or MACHINES[guest.machine].nic).startswith("on board "):
        what = f"machine {guest.machine} has one network interface, on its board"
        yield Problem(("interface",), what, "leave interface out")


def _nfs(guest: Guest) -> Iterator[Problem[KeyPath]]:
    if not guest.nfs:
        return
    if not guest.kernel:
        yield Problem(("nfs",), "nfs needs a kernel", 'write kernel = "vmlinuz" as well')
    elif guest.nfs.startswith("/") and guest.has_tap and not guest.host_open:
        what = "the host's NFS server is closed to the guest"
        yield Problem(("nfs",), what, 'write host = "open"')
    elif guest.nfs.startswith("/") and guest.network not in ("tap", "user"):
        yield Problem(("nfs",), "nfs names a folder and no server", 'write "SERVER:/folder"')
