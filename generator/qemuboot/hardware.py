"""The variables about the machine, what it starts, and its disk."""

import re
from pathlib import Path

from . import words
from .keys import Keys
from .writing import Key

_BUSES = {"/dev/sd": "scsi", "/dev/hd": "ide", "/dev/mmcblk": "sd", "/dev/vd": "virtio"}
# Kernels of these would take mem= for something else, so runqemu leaves it out.
_NO_MEM = ("qemumips", "qemux86", "qemuloongarch64")


def hardware(keys: Keys) -> None:
    keys.add("machine", keys.name)
    both = keys.options("QB_MACHINE") + keys.options("QB_CPU")
    board, cpu = words.first(both, "-machine"), words.first(both, "-cpu")
    if board and board != keys.machine.machine:
        keys.add("board", board)
    if cpu and cpu != keys.machine.cpu:
        keys.add("cpu", cpu)
    keys.qemu += [option for option in both if option[0] not in ("-machine", "-cpu")]
    kvm = words.first(keys.options("QB_CPU_KVM"), "-cpu")
    if kvm and kvm not in (keys.machine.kvm, cpu):
        keys.warn("QB_CPU_KVM", f"({kvm}) is not used: under KVM a guest has the host's CPU")
    memory = words.first(keys.options("QB_MEM", "-m 256"), "-m") or keys.value("QB_MEM", "256")
    keys.add("memory", int(re.sub(r"\D", "", memory) or 256) * (1024 if "G" in memory else 1))
    smp = words.first(keys.options("QB_SMP"), "-smp")
    if smp.isdigit():
        keys.add("cpus", int(smp))
    elif smp:
        keys.qemu.append(("-smp", smp))


def start(keys: Keys) -> None:
    kernel = keys.files.kernel()
    for name, file in (
        ("kernel", kernel), ("dtb", keys.files.one("QB_DTB") if kernel else None),
        ("bios", keys.files.one("QB_DEFAULT_BIOS")),
    ):  # fmt: skip
        if file is not None:
            keys.add(name, keys.path(file))
    keys.used |= {"QB_DTB", "QB_DEFAULT_BIOS"}
    if keys.value("QB_KERNEL_CMDLINE") == "none":
        keys.warn("QB_KERNEL_CMDLINE", "is none: console= and the address are given all the same")
    root = keys.value("QB_KERNEL_ROOT") or "/dev/vda"
    if kernel is None:
        keys.warn("QB_KERNEL_CMDLINE_APPEND", "reaches no kernel that is inside the image")
        keys.used.add("QB_KERNEL_CMDLINE_APPEND")
        return
    if keys.files.fstype.startswith("cpio"):
        keys.append += ["root=/dev/ram0", "rw", "debugshell"]
    elif keys.files.fstype != "nfs":
        flags = {"ro", "rw"} & set(root.split())
        keys.append.append(f"root={root}{'' if flags else ' rw'}")
    if not keys.name.startswith(_NO_MEM):
        memory = next(key.value for key in keys.guest if key.name == "memory")
        keys.append.append(f"mem={memory}M")
    keys.append += keys.value("QB_KERNEL_CMDLINE_APPEND").split()


def disk(keys: Keys) -> None:
    image = keys.files.rootfs()
    keys.used |= {"QB_ROOTFS", "QB_DRIVE_TYPE", "QB_NFSROOTFS_EXTRA_OPT"}
    if image is None:
        return
    if keys.files.fstype == "nfs":
        more = keys.value("QB_NFSROOTFS_EXTRA_OPT")
        keys.add("nfs", f"{image},nfsvers=3,tcp{',' + more.lstrip(',') if more else ''}",
                 "export it first: see tapdraft-runqemu(7)")  # fmt: skip
        keys.add("host", "open", "so that the guest reaches the host's NFS server")
        return
    if keys.files.fstype.startswith("cpio"):
        keys.add("initrd", keys.path(image))
        return
    if image.suffix in (".zst", ".gz", ".xz"):
        keys.add("snapshot", True, "compressed: what the guest writes goes when qemu ends")
    _drive(keys, image)


def _drive(keys: Keys, image: Path) -> None:
    # An image that boots by itself is attached as QB_DRIVE_TYPE says, whatever this says.
    own = [] if keys.files.kernel_inside else keys.options("QB_ROOTFS_OPT")
    device = next((words.properties(value)[0] for name, value in own if name == "-device"), "")
    usual = device in ("", keys.machine.disk, "virtio-blk-pci", "virtio-blk-device")
    bus = ""
    if own and not usual:
        for name, value in own:
            keys.qemu.append((name, words.replaced(value, ROOTFS=keys.path(image))))
        return
    kind = keys.value("QB_DRIVE_TYPE", "/dev/sd")
    if keys.files.kernel_inside:
        bus = next((bus for begin, bus in _BUSES.items() if kind.startswith(begin)), "virtio")
    extra = keys.value("QB_ROOTFS_EXTRA_OPT").strip(",").split(",")
    readonly = bool({"readonly", "readonly=on"} & set(extra))
    if set(extra) - {"", "readonly", "readonly=on"}:
        keys.warn("QB_ROOTFS_EXTRA_OPT", "is for one of several disks: there is one")
    if readonly or bus not in ("", "virtio"):
        table: dict[str, str | bool] = {"file": keys.path(image)}
        table |= {"bus": bus} if bus not in ("", "virtio") else {}
        table |= {"readonly": True} if readonly else {}
        keys.guest.append(Key("disk", table))
    else:
        keys.add("disk", keys.path(image))
