"""UEFI firmware: where distributions keep it, and how qemu is given it.

The code and the variables are two flash chips. The file of variables that comes with the code is a
template, which nobody may write to: what the guest stores in it goes when qemu ends, unless the
description names a file of the user's own.
"""

from ..machines import FIRMWARE, MACHINES
from ..model import FIRMWARE_WORDS, Guest
from ..options import Group, Option, plain_file
from ..shell import Variable, word


def places(guest: Guest) -> tuple[tuple[str, str], ...]:
    """The pairs of files that would do for this guest; none where it names its own, or wants none.

    Also none where no such firmware is known for the machine.
    """
    known = FIRMWARE.get(MACHINES[guest.machine].firmware)
    if known is None or guest.firmware not in FIRMWARE_WORDS:
        return ()
    return known.secure if guest.firmware == "secure-boot" else known.plain


def package(guest: Guest) -> str:
    return FIRMWARE[MACHINES[guest.machine].firmware].package


def board(guest: Guest) -> str:
    """What it adds to -machine. Only in system management mode can the guest's own kernel not
    change the keys that secure boot trusts."""
    return ",smm=on" if guest.firmware == "secure-boot" else ""


def group(guest: Guest) -> Group:
    flash = "if=pflash,unit={},format={}"
    if guest.firmware in FIRMWARE_WORDS:
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
