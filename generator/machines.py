"""The machines that tapdraft knows: one row each, so that a new one is a new row.

The qemu* are those of Yocto's runqemu, by the names that Yocto has for them. x86_64 and aarch64
are for any image: the newest that qemu offers.
"""

from typing import NamedTuple

Options = tuple[tuple[str, str], ...]


class Machine(NamedTuple):
    """What qemu is told for a kind of machine."""

    binary: str
    package: str  # Debian's, which has the binary
    machine: str  # -machine
    cpu: str  # -cpu under TCG; "" where the machine has only its own
    kvm: str  # -cpu under KVM; "" where no host runs it under KVM
    nic: str  # the network card: a -device, or after "on board " what the board has
    disk: str  # how disks are attached: a -device, an interface of the board, or "" for none
    console: str  # the kernel's name for the serial line that is the terminal
    image: str  # what the kernel's file is called by those who build it
    firmware: str = ""  # which of firmware.FIRMWARE
    display: tuple[str, ...] = ()  # -device, for a guest with a window
    older: str = ""  # -cpu for a qemu that does not know `cpu` yet
    kvm_machine: str = ""  # added to -machine under KVM
    before: tuple[str, ...] = ()  # serial lines before the one that is the terminal
    memory: int = 256  # MiB, unless the description says otherwise
    dtb: bool = False  # is there no start without a device tree?
    # What qemu runs under KVM to prove that KVM works: something that ends by itself. Without
    # one, "auto" is TCG.
    proof: Options = ()
    extra: Options = ()  # what this board needs besides

    @property
    def bus(self) -> str:
        """How virtio devices are attached, virtio-net-BUS; "" where there are none."""
        return self.disk.removeprefix("virtio-blk-") if self.disk.startswith("virtio-") else ""

    @property
    def pci(self) -> bool:
        return self.nic.endswith("-pci") or self.nic in ("rtl8139", "pcnet")


# SeaBIOS finds nothing to boot from and, told so, resets; -no-reboot makes that the end of qemu.
_RESETS: Options = (("-boot", "reboot-timeout=1"), ("-no-reboot", ""))
# mov w0, #0x84000008 (PSCI SYSTEM_OFF); hvc #0. ARM DEN 0022, 5.1.9.
# The first MiB of RAM is the device tree's.
_PSCI_OFF: Options = (
    ("-device", "loader,addr=0x40200000,data=0x7280010052b08000,data-len=8"),
    ("-device", "loader,addr=0x40200008,data=0xd4000002,data-len=4"),
    ("-device", "loader,addr=0x40200000,cpu-num=0"),
)
_USB = ("qemu-xhci", "usb-kbd", "usb-tablet")
_X86, _ARM, _MISC = "qemu-system-x86", "qemu-system-arm", "qemu-system-misc"
_MIPS, _PPC = "qemu-system-mips", "qemu-system-ppc"
_NET, _BLK = "virtio-net-pci", "virtio-blk-pci"
_NET_MMIO, _BLK_MMIO = "virtio-net-device", "virtio-blk-device"

# ruff: noqa: E501  a row is a line, so that they can be compared
# fmt: off
MACHINES = {
    "x86_64": Machine(
        "qemu-system-x86_64", _X86, "q35", "max", "host", _NET, _BLK, "ttyS0", "bzImage",
        "ovmf", ("virtio-vga",), proof=_RESETS),
    "aarch64": Machine(
        "qemu-system-aarch64", _ARM, "virt,gic-version=max", "cortex-a57", "host", _NET, _BLK, "ttyAMA0", "Image",
        "aavmf", ("virtio-gpu-pci", *_USB), proof=_PSCI_OFF),

    # Yocto's
    "qemux86": Machine(
        "qemu-system-i386", _X86, "q35,i8042=off", "IvyBridge", "host", _NET, _BLK, "ttyS0", "bzImage",
        "ovmf32", ("virtio-vga", *_USB), proof=_RESETS),
    "qemux86-64": Machine(
        "qemu-system-x86_64", _X86, "q35,i8042=off", "Skylake-Client", "host", _NET, _BLK, "ttyS0", "bzImage",
        "ovmf", ("virtio-vga", *_USB), proof=_RESETS),
    "qemuarm": Machine(
        "qemu-system-arm", _ARM, "virt,highmem=off", "cortex-a15", "", _NET_MMIO, _BLK_MMIO, "ttyAMA0", "zImage",
        "aavmf32", ("virtio-gpu-pci", *_USB)),
    "qemuarmv5": Machine(
        "qemu-system-arm", _ARM, "versatilepb", "arm926", "", _NET, _BLK, "ttyAMA0", "zImage",
        dtb=True, extra=(("-audiodev", "none,id=quiet"), ("-global", "pl041.audiodev=quiet"))),
    "qemuarm64": Machine(
        "qemu-system-aarch64", _ARM, "virt", "cortex-a57", "host", _NET, _BLK, "ttyAMA0", "Image",
        "aavmf", ("virtio-gpu-pci", *_USB), kvm_machine=",gic-version=3", proof=_PSCI_OFF),
    "qemumips": Machine(
        "qemu-system-mips", _MIPS, "malta", "34Kf", "", _NET, _BLK, "ttyS0", "vmlinux",
        display=("VGA",)),
    "qemumips64": Machine(
        "qemu-system-mips64", _MIPS, "malta", "MIPS64R2-generic", "", _NET, _BLK, "ttyS0", "vmlinux",
        display=("VGA",)),
    "qemuppc": Machine(
        "qemu-system-ppc", _PPC, "mac99", "G4", "", _NET, _BLK, "ttyS0", "vmlinux",
        display=("VGA",)),
    "qemuppc64": Machine(
        "qemu-system-ppc64", _PPC, "pseries", "POWER9", "host", _NET, _BLK, "hvc0", "vmlinux",
        display=("VGA", *_USB)),
    "qemuriscv32": Machine(
        "qemu-system-riscv32", _MISC, "virt", "rv32", "", _NET_MMIO, _BLK_MMIO, "ttyS0", "Image",
        display=("virtio-gpu-pci", *_USB)),
    "qemuriscv64": Machine(
        "qemu-system-riscv64", _MISC, "virt", "rva23s64", "host", _NET_MMIO, _BLK_MMIO, "ttyS0", "Image",
        display=("virtio-gpu-pci", *_USB), older="rv64"),
    "qemuloongarch64": Machine(
        "qemu-system-loongarch64", _MISC, "virt", "la464", "host", _NET, _BLK, "ttyS0", "vmlinuz",
        display=("virtio-gpu-pci", *_USB), memory=1024),

    # Beside them
    "microvm": Machine(
        "qemu-system-x86_64", _X86, "microvm", "max", "host", _NET_MMIO, _BLK_MMIO, "ttyS0", "bzImage",
        proof=(("-machine", "q35"), *_RESETS)),
    "mipsel": Machine(
        "qemu-system-mipsel", _MIPS, "malta", "34Kf", "", _NET, _BLK, "ttyS0", "vmlinux",
        display=("VGA",)),
    "mips64el": Machine(
        "qemu-system-mips64el", _MIPS, "malta", "MIPS64R2-generic", "", _NET, _BLK, "ttyS0", "vmlinux",
        display=("VGA",)),
    "s390x": Machine(
        "qemu-system-s390x", "qemu-system-s390x", "s390-ccw-virtio", "max", "host", "virtio-net-ccw", "virtio-blk-ccw", "ttysclp0", "bzImage",
        display=("virtio-gpu-ccw", "virtio-keyboard-ccw", "virtio-tablet-ccw")),

    # As Yocto had them in 2015
    "sh4": Machine(
        "qemu-system-sh4", _MISC, "r2d", "", "", "rtl8139", "ide", "ttySC1", "zImage",
        before=("null",)),
    "microblaze": Machine(
        "qemu-system-microblazeel", _MISC, "petalogix-ml605", "", "", "on board xlnx.axi-ethernet", "", "ttyS0", "linux.bin",
        dtb=True),
    "zynq": Machine(
        "qemu-system-arm", _ARM, "xilinx-zynq-a9", "", "", "on board cadence_gem", "sd", "ttyPS0", "zImage",
        before=("null",), dtb=True),
}
# fmt: on


class Firmware(NamedTuple):
    """UEFI firmware, where distributions keep it."""

    package: str  # Debian's
    plain: tuple[tuple[str, str], ...]  # code and variables, the first pair that is there counts
    secure: tuple[tuple[str, str], ...] = ()  # the same, with Microsoft's keys in the variables


_OVMF, _EDK2, _QEMU = "/usr/share/OVMF", "/usr/share/edk2", "/usr/share/qemu"
# Debian and Ubuntu, Fedora, Arch, SUSE, and what qemu brings along itself.
FIRMWARE = {
    "ovmf": Firmware(
        "ovmf",
        (
            (f"{_OVMF}/OVMF_CODE_4M.fd", f"{_OVMF}/OVMF_VARS_4M.fd"),
            (f"{_EDK2}/ovmf/OVMF_CODE.fd", f"{_EDK2}/ovmf/OVMF_VARS.fd"),
            (f"{_EDK2}/x64/OVMF_CODE.4m.fd", f"{_EDK2}/x64/OVMF_VARS.4m.fd"),
            (f"{_QEMU}/ovmf-x86_64-code.bin", f"{_QEMU}/ovmf-x86_64-vars.bin"),
            (f"{_QEMU}/edk2-x86_64-code.fd", f"{_QEMU}/edk2-i386-vars.fd"),
        ),
        (
            (f"{_OVMF}/OVMF_CODE_4M.ms.fd", f"{_OVMF}/OVMF_VARS_4M.ms.fd"),
            (f"{_EDK2}/ovmf/OVMF_CODE.secboot.fd", f"{_EDK2}/ovmf/OVMF_VARS.secboot.fd"),
            (f"{_QEMU}/ovmf-x86_64-smm-ms-code.bin", f"{_QEMU}/ovmf-x86_64-smm-ms-vars.bin"),
        ),
    ),
    "ovmf32": Firmware(
        "ovmf-ia32",
        (
            (f"{_OVMF}/OVMF32_CODE_4M.secboot.fd", f"{_OVMF}/OVMF32_VARS_4M.fd"),
            (f"{_EDK2}/ovmf-ia32/OVMF_CODE.fd", f"{_EDK2}/ovmf-ia32/OVMF_VARS.fd"),
            (f"{_QEMU}/edk2-i386-code.fd", f"{_QEMU}/edk2-i386-vars.fd"),
        ),
    ),
    "aavmf": Firmware(
        "qemu-efi-aarch64",
        (
            ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            (f"{_EDK2}/aarch64/QEMU_EFI-pflash.raw", f"{_EDK2}/aarch64/vars-template-pflash.raw"),
            (f"{_QEMU}/edk2-aarch64-code.fd", f"{_QEMU}/edk2-arm-vars.fd"),
        ),
    ),
    "aavmf32": Firmware(
        "qemu-efi-arm",
        (
            ("/usr/share/AAVMF/AAVMF32_CODE.fd", "/usr/share/AAVMF/AAVMF32_VARS.fd"),
            (f"{_QEMU}/edk2-arm-code.fd", f"{_QEMU}/edk2-arm-vars.fd"),
        ),
    ),
}
