"""UEFI firmware: where distributions keep it, and how qemu is given it.

The code and the variables are two flash chips. The file of variables that comes with the code is a
template, which nobody may write to: what the guest stores in it goes when qemu ends, unless the
description names a file of the user's own.
"""

from typing import TYPE_CHECKING, NamedTuple

from .machines import MACHINES
from .options import Group, Option, plain_file
from .shell import Variable, word

if TYPE_CHECKING:
    from .description import Guest

WORDS = ("uefi", "secure-boot")


class Firmware(NamedTuple):
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


def places(guest: "Guest") -> tuple[tuple[str, str], ...]:
    """The pairs of files that would do for this guest; none where it names its own, or wants none.

    Also none where no such firmware is known for the machine.
    """
    known = FIRMWARE.get(MACHINES[guest.machine].firmware)
    if known is None or guest.firmware not in WORDS:
        return ()
    return known.secure if guest.firmware == "secure-boot" else known.plain


def package(guest: "Guest") -> str:
    return FIRMWARE[MACHINES[guest.machine].firmware].package


def objection(guest: "Guest") -> tuple[str, str]:
    if guest.firmware in WORDS and not places(guest):
        return (
            f'machine {guest.machine} has no firmware "{guest.firmware}"',
            'write firmware = "FILE" with a firmware of your own, or leave firmware out',
        )
    return "", ""


def board(guest: "Guest") -> str:
    """What it adds to -machine. Only in system management mode can the guest's own kernel not
    change the keys that secure boot trusts."""
    return ",smm=on" if guest.firmware == "secure-boot" else ""


def group(guest: "Guest") -> Group:
    flash = "if=pflash,unit={},format={}"
    if guest.firmware in WORDS:
        code = flash.format(0, "raw") + ",readonly=on,file="
        variables = flash.format(1, "raw") + ",snapshot=on,file="
        options = [
            Option("-drive", word(code, Variable.FIRMWARE)),
            Option("-drive", word(variables, Variable.VARS)),
        ]
        if guest.firmware == "secure-boot":
            options.append(Option("-global", "driver=cfi.pflash01,property=secure,value=on"))
        return Group("Its firmware. Each start begins with fresh variables.", tuple(options))
    options = []
    if guest.firmware:
        kind = "qcow2" if guest.firmware.endswith(".qcow2") else "raw"
        value = f"{flash.format(0, kind)},file={plain_file(guest.firmware)}"
        options.append(Option("-drive", value))
    if guest.bios:
        options.append(Option("-bios", guest.bios))
    return Group("Its firmware.", tuple(options))
