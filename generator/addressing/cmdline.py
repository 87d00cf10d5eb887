"""The address on the command line of a kernel inside the image, for guests that start by UEFI.

systemd-stub (254, in unified kernel images) and systemd-boot (256) add what they find in the
SMBIOS to it, unless Secure Boot is on:
https://www.freedesktop.org/software/systemd/man/latest/smbios-type-11.html
"""

from ..model import Guest
from . import smbios
from .kernel import words
from .method import Addition

STRINGS = ("io.systemd.stub.kernel-cmdline-extra", "io.systemd.boot.kernel-cmdline-extra")


def adds(guest: Guest) -> Addition:
    line = " ".join(words(guest))
    return Addition(
        options=smbios.smbios(*(f"{string}={line}" for string in STRINGS)),
        why="What systemd-stub 254 or systemd-boot 256 adds to the kernel's command line.",
    )


def objection(guest: Guest) -> tuple[str, str]:
    if not smbios.has_smbios(guest, with_uefi=True):
        return f"the machine {guest.machine} has no SMBIOS to hand over words in", 'use "dhcp"'
    if guest.kernel:
        return "the kernel is outside the image", 'use "kernel", or leave addressing out'
    return "", ""
