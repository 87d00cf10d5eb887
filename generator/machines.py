"""The machines that tapdraft knows: one row each, so that a new one is a new row."""

from typing import NamedTuple


class Machine(NamedTuple):
    """What qemu is told for a kind of machine."""

    binary: str
    package: str  # Debian's, which has the binary
    machine: str  # -machine
    cpu: str  # -cpu under TCG; under KVM it is the host's own
    console: str  # the kernel's name for the first serial line
    bus: str  # how virtio devices are attached: virtio-net-BUS
    display: tuple[str, ...]  # -device, for a guest with a window
    # What qemu runs under KVM to prove that KVM works: something that ends by itself.
    proof: tuple[tuple[str, str], ...]


# SeaBIOS finds nothing to boot from and, told so, resets; -no-reboot makes that the end of qemu.
_FIRMWARE_RESETS = (("-boot", "reboot-timeout=1"), ("-no-reboot", ""))
# mov w0, #0x84000008 (PSCI SYSTEM_OFF); hvc #0. ARM DEN 0022, 5.1.9.
# The first MiB of RAM is the device tree's.
_PSCI_OFF = (
    ("-device", "loader,addr=0x40200000,data=0x7280010052b08000,data-len=8"),
    ("-device", "loader,addr=0x40200008,data=0xd4000002,data-len=4"),
    ("-device", "loader,addr=0x40200000,cpu-num=0"),
)

MACHINES = {
    "x86_64": Machine(
        "qemu-system-x86_64", "qemu-system-x86", "q35", "max", "ttyS0", "pci",
        ("virtio-vga",),
        _FIRMWARE_RESETS,
    ),
    "aarch64": Machine(
        "qemu-system-aarch64", "qemu-system-arm", "virt,gic-version=max", "cortex-a57",
        "ttyAMA0", "pci",
        ("virtio-gpu-pci", "qemu-xhci", "usb-kbd", "usb-tablet"),
        _PSCI_OFF,
    ),
}  # fmt: skip
