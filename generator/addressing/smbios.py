"""What the machine's firmware can hand to the guest: strings of the SMBIOS, files of fw_cfg."""

from ..machines import MACHINES
from ..model import Guest
from ..options import doubled

Options = tuple[tuple[str, str], ...]

# By qemu's machine. On "virt" only UEFI firmware makes SMBIOS tables.
_SMBIOS = ("q35", "pc")
_SMBIOS_WITH_UEFI = ("virt",)
_FW_CFG = ("virt",)


def has_smbios(guest: Guest, *, with_uefi: bool = False) -> bool:
    kind = _kind(guest)
    return kind in _SMBIOS or (with_uefi and kind in _SMBIOS_WITH_UEFI)


def has_fw_cfg(guest: Guest) -> bool:
    return _kind(guest) in _FW_CFG


def smbios(*strings: str) -> Options:
    """Type 11, "OEM strings": /sys/firmware/dmi/entries/11-*/raw in the guest."""
    return tuple(("-smbios", f"type=11,value={doubled(string)}") for string in strings)


def fw_cfg(name: str, content: str) -> Options:
    """A file: /sys/firmware/qemu_fw_cfg/by_name/NAME/raw in the guest."""
    return (("-fw_cfg", f"name={name},string={doubled(content)}"),)


def _kind(guest: Guest) -> str:
    return MACHINES[guest.machine].machine.partition(",")[0]
