"""What runqemu would run for a qemuboot.conf with `nographic`, on its first tap.

A model of its documented behaviour, for comparison: variables in, qemu's arguments out.
"""

import shlex
from collections.abc import Mapping

_IP = "ip=192.168.7.@CLIENT@::192.168.7.@GATEWAY@:255.255.255.0::eth0:off:8.8.8.8"
_TAP = "-netdev tap,id=net0,ifname=@TAP@,script=no,downscript=no"
_NO_MEM = ("qemumips", "qemux86", "qemuloongarch64")


def argv(variables: Mapping[str, str]) -> list[str]:
    get = variables.get

    def words(name: str, default: str = "", **marks: str) -> list[str]:
        text = get(name) or default
        for mark, value in {"DEPLOY_DIR_IMAGE": ".", **marks}.items():
            text = text.replace(f"@{mark}@", value)
        return shlex.split(text)

    image = f"{get('IMAGE_LINK_NAME')}.{get('QB_DEFAULT_FSTYPE')}"
    serial = words("QB_SERIAL_OPT", "-serial mon:stdio -serial null")
    return [
        *words("QB_SYSTEM_NAME"),
        *words("QB_NETWORK_DEVICE", "-device e1000,netdev=net0,mac=@MAC@", MAC="52:54:00:12:34:02"),
        *words("QB_TAP_OPT", _TAP, TAP="tap0"),
        *words("QB_RNG"),
        *words("QB_ROOTFS_OPT", "-drive file=@ROOTFS@,if=virtio,format=raw", ROOTFS=image),
        *words("QB_OPT_APPEND"),
        *words("QB_MACHINE"), *words("QB_CPU"), *words("QB_SMP"), *words("QB_MEM", "-m 256"),
        "-nographic", *([] if "-serial" in serial else ["-serial", "mon:stdio"]), *serial,
        "-kernel", str(get("QB_DEFAULT_KERNEL")), "-append", append(variables),
        *(["-dtb", *words("QB_DTB")] if get("QB_DTB") else []),
        *(["-bios", *words("QB_DEFAULT_BIOS")] if get("QB_DEFAULT_BIOS") else []),
    ]  # fmt: skip


def append(variables: Mapping[str, str]) -> str:
    """The kernel's command line."""
    memory = variables.get("QB_MEM", "-m 256").split()[-1]
    root = variables.get("QB_KERNEL_ROOT", "/dev/vda")
    ip = variables.get("QB_CMDLINE_IP_TAP", _IP).replace("@CLIENT@", "2").replace("@GATEWAY@", "1")
    consoles = variables.get("SERIAL_CONSOLES", "").split()
    return " ".join([
        f"root={root} rw",
        *([] if variables["MACHINE"].startswith(_NO_MEM) else [f"mem={memory}M"]),
        ip, *(f"console={entry.partition(';')[2]}" for entry in consoles),
        variables.get("QB_KERNEL_CMDLINE_APPEND", ""),
    ])  # fmt: skip
