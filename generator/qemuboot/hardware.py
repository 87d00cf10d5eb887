"""The variables about the machine, what it starts, and its disk, each as runqemu reads it."""

import re
import shlex
from pathlib import Path

from .. import disks
from . import words
from .files import WIC
from .keys import Keys
from .writing import Key

# Kernels of these would take mem= for something else, so runqemu leaves it out.
_NO_MEM = ("qemumips", "qemux86", "qemuloongarch64")
# qemu(1): what each of these is short for.
_SHORT = {
    "-hda": "index=0,media=disk",
    "-hdb": "index=1,media=disk",
    "-hdc": "index=2,media=disk",
    "-hdd": "index=3,media=disk",
    "-cdrom": "index=2,media=cdrom",
    "-sd": "if=sd",
    "-mtdblock": "if=mtd",
    "-pflash": "if=pflash",
}
_MEMORY = re.compile("([1-9][0-9]{0,7})([MmGg]?)")


def hardware(keys: Keys) -> None:
    """Board, CPU and memory: keys where it is one plain option, else arguments as they are."""
    keys.add("machine", keys.name)
    keys.add("defaults", "qemu", "what the configuration does not say is as qemu has it")
    said: words.Pairs = []
    for name in ("QB_MACHINE", "QB_CPU", "QB_SMP"):
        said += words.pairs(keys.options(name))
    said += words.pairs(keys.split("QB_MEM", _memory(keys)))
    said = [("-machine" if name == "-M" else name, value) for name, value in said]
    for option, key in (("-machine", "board"), ("-cpu", "cpu"), ("-smp", "cpus"), ("-m", "memory")):
        values = [value for name, value in said if name == option]
        value = _plain(option, values[0]) if len(values) == 1 else None
        if value:
            keys.add(key, value)
            said = [pair for pair in said if pair[0] != option]
    keys.qemu += words.flat(said)
    _kvm(keys)


def _memory(keys: Keys) -> str:
    """QB_MEM as an option, without the M of its end."""
    memory = keys.value("QB_MEM", "-m 256")
    memory = memory[:-1] if memory[-1] in "Mm" else memory
    return memory if memory.startswith("-m") else f"-m {memory}"


def _plain(option: str, value: str) -> str | int | None:
    if option == "-smp":
        return int(value) if re.fullmatch("[1-9][0-9]{0,2}", value) else None
    if option == "-m":
        match = _MEMORY.fullmatch(value)
        return int(match[1]) * (1024 if match[2] in ("G", "g") else 1) if match else None
    return value


def _kvm(keys: Keys) -> None:
    said = words.pairs(keys.options("QB_CPU_KVM"))
    keys.off("accel", "kvm", "kvm: without it qemu emulates")
    for option, value in said:
        if option == "-cpu":
            keys.off("cpu", value, "kvm: in place of the other cpu")
        elif option in ("-machine", "-M"):
            own = next((str(key.value) for key in keys.guest if key.name == "board"), "")
            keys.off("board", f"{own},{value}".strip(","), "kvm: in place of the other board")


def start(keys: Keys) -> None:
    """Kernel, device tree and BIOS, and the kernel's command line."""
    kernel, bios = keys.files.kernel(), keys.files.bios()
    dtb = keys.files.dtb() if kernel else None
    for name, file in (("kernel", kernel), ("dtb", dtb), ("bios", bios)):
        if file is not None:
            keys.add(name, keys.path(file))
    if kernel is None:
        if keys.value("QB_KERNEL_CMDLINE_APPEND").strip():
            keys.warn("QB_KERNEL_CMDLINE_APPEND", "reaches no kernel: it is inside the image")
        keys.used |= {"QB_KERNEL_ROOT", "QB_KERNEL_CMDLINE", "SERIAL_CONSOLES"}
    elif keys.value("QB_KERNEL_CMDLINE") == "none":
        keys.used |= {"QB_KERNEL_ROOT", "QB_KERNEL_CMDLINE_APPEND", "SERIAL_CONSOLES"}
        if keys.value("QB_NET") != "none":
            keys.add("addressing", "none", "the configuration wants no words for the kernel")
    else:
        _append(keys)


def _append(keys: Keys) -> None:
    line = [_root(keys)]
    has_mem = not keys.files.value("MACHINE").startswith(_NO_MEM)
    if has_mem and not keys.files.value("QB_DTB"):
        line.append(f"mem={_memory(keys).replace('-m', '').strip()}M")
    if keys.value("QB_NET") != "none":
        line.append("@IP@")
    # 115200;ttyS0
    consoles = [
        entry.split(";")[1] for entry in keys.value("SERIAL_CONSOLES").split() if ";" in entry
    ]
    if consoles:
        line.append("@CONSOLE@")
        keys.add("console", consoles)
    line.append(_unquoted(keys.value("QB_KERNEL_CMDLINE_APPEND")))
    words_of_it = " ".join(line).split()
    if words_of_it:
        keys.add("append", " ".join(words_of_it))


def _unquoted(text: str) -> str:
    """runqemu writes the command line between single quotes and splits all as a shell would."""
    try:
        found = shlex.split(f"'{text}'")
    except ValueError:
        return text
    return found[0] if len(found) == 1 else text


def _root(keys: Keys) -> str:
    root = keys.value("QB_KERNEL_ROOT", "" if "QB_KERNEL_ROOT" in keys.variables else "/dev/vda")
    if keys.files.value("QB_ROOTFS") == "none":
        return ""
    if keys.files.fstype in ("cpio.gz", "cpio"):
        return "root=/dev/ram0 rw debugshell"
    if keys.files.fstype == "nfs":
        return ""  # the key nfs has it
    return f"root={root}" if {"ro", "rw"} & set(root.split()) else f"root={root} rw"


def disk(keys: Keys) -> None:
    image = keys.files.rootfs()
    options = keys.value("QB_ROOTFS_OPT")
    keys.used |= {"QB_ROOTFS", "QB_DRIVE_TYPE", "QB_NFSROOTFS_EXTRA_OPT", "QB_ROOTFS_EXTRA_OPT"}
    if image is None:
        return
    if keys.files.fstype == "nfs":
        more = keys.value("QB_NFSROOTFS_EXTRA_OPT")
        keys.add(
            "nfs",
            f"{image},nfsvers=3,tcp{',' + more.lstrip(',') if more else ''}",
            "export it first: see tapdraft-runqemu(7)",
        )
        keys.add("host", "open", "so that the guest reaches the host's NFS server")
        return
    if keys.files.fstype in ("cpio.gz", "cpio"):
        keys.add("initrd", keys.path(image))
        return
    unpacked = image.with_name(image.name.removesuffix(".zst"))
    if unpacked != image and unpacked.is_file():
        image = unpacked
    if disks.is_packed(image.name):
        keys.add("snapshot", True, "compressed: what the guest writes goes when qemu ends")
    found = _as_drives(keys.split("QB_ROOTFS_OPT", _drive(keys, options, image)))
    if any("@ROOTFS@" in word for word in found):
        keys.guest.append(Key("disk", {"file": keys.path(image), "bus": "qemu"}, "@DISK0@ in qemu"))
    keys.qemu += [_with_format(word, image).replace("@ROOTFS@", "@DISK0@") for word in found]


def _as_drives(said: list[str]) -> list[str]:
    """The same with -drive in place of qemu's short forms, which have no format."""
    found = list(said)
    for index, word in enumerate(said):
        if word in _SHORT and said[index + 1 : index + 2] == ["@ROOTFS@"]:
            found[index : index + 2] = ["-drive", f"file=@ROOTFS@,{_SHORT[word]}"]
    return found


def _with_format(word: str, image: Path) -> str:
    """Never left to qemu: a guest could write another format's header into a raw disk."""
    if "file=@ROOTFS@" in word and "format=" not in word:
        return f"{word},format={disks.kind(image.name)}"
    return word


def _drive(keys: Keys, options: str, image: Path) -> str:
    """The options of the disk; what boots by itself is attached as QB_DRIVE_TYPE says."""
    kind = keys.files.fstype.removesuffix(".zst")
    form = disks.kind(image.name)
    if not keys.files.kernel_inside or (kind in WIC and kind != "wic"):
        return options or f"-drive file=@ROOTFS@,if=virtio,format={form}"
    if kind == "iso":
        return f"-drive file=@ROOTFS@,if=virtio,media=cdrom,format={form}"
    extra = keys.value("QB_ROOTFS_EXTRA_OPT")
    extra = f",{extra.lstrip(',')}" if extra else ""
    drive = keys.value("QB_DRIVE_TYPE", "/dev/sd")
    if drive.startswith("/dev/sd"):
        return (
            f"-drive if=none,id=hd,file=@ROOTFS@,format={form} "
            f"-device virtio-scsi-pci,id=scsi -device scsi-hd,drive=hd{extra}"
        )
    if drive.startswith("/dev/hd"):
        return f"-drive file=@ROOTFS@,format={form}"
    if drive.startswith("/dev/mmcblk"):
        return (
            f"-drive id=sdcard0,if=none,file=@ROOTFS@,format={form} "
            "-device sdhci-pci -device sd-card,drive=sdcard0"
        )
    if drive.startswith("/dev/vdb"):
        return (
            f"-drive id=disk0,file=@ROOTFS@,if=none,format={form} "
            f"-device virtio-blk-device,drive=disk0{extra}"
        )
    return f"-drive if=virtio,file=@ROOTFS@,format={form}"
