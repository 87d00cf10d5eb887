"""What a person or a program uses to talk to a guest: screen, serial lines, sound, sockets."""

import re
from collections.abc import Iterator

from ..machines import MACHINES
from ..model import SHARED, Guest
from ..options import Group, Option, doubled

WORD_FILE = "/dev/fd/4"  # where the script has the password of such a screen

_PORT = re.compile(r"(tcp|listen):([1-9][0-9]{0,4})")
_TERMINAL = "This terminal is its console. Ctrl-a x ends qemu, Ctrl-a h lists more keys."


def group(guest: Guest) -> Group:
    options = (*_screen(guest), *_serial(guest), *_sound(guest), *_sockets(guest))
    if guest.defaults == "qemu":
        options = (*_sound(guest), *_sockets(guest), *_serial(guest), *_bare_screen(guest))
    why = _TERMINAL if "terminal" in guest.serial else "Its screen and its serial lines."
    return Group(why, options)


def screen(guest: Guest) -> tuple[str, ...]:
    """The devices of a guest with a screen."""
    if guest.display == "none":
        return ()
    accelerated = guest.gl != "off" or guest.display == "egl-headless"
    better = {"virtio-vga": "virtio-vga-gl", "virtio-gpu-pci": "virtio-gpu-gl-pci"}
    devices = MACHINES[guest.machine].display
    return tuple(better.get(name, name) if accelerated else name for name in devices)


def served(guest: Guest) -> Iterator[Option]:
    """-display, and the password of a screen that others can reach."""
    # Each further guest gets the next free display number. The password is not an argument:
    # those of a program can be read by everybody.
    if guest.display in SHARED:
        yield Option("-object", f"secret,id=password0,file={WORD_FILE}")
    more = "to=99,password-secret=password0"
    servers = {"vnc": f"vnc=127.0.0.1:0,{more}", "public-vnc": f"vnc=:0,{more}"}
    gl = f",gl={guest.gl}" if guest.gl != "off" else ""
    yield Option("-display", servers.get(guest.display, guest.display) + gl)


def _screen(guest: Guest) -> Iterator[Option]:
    yield from served(guest)
    for device in screen(guest):
        yield Option("-device", device)


def _serial(guest: Guest) -> Iterator[Option]:
    before = () if guest.defaults == "qemu" else MACHINES[guest.machine].before
    for line in (*before, *guest.serial):
        yield Option("-serial", _line(line, guest.display))


def _line(line: str, display: str) -> str:
    match = _PORT.fullmatch(line)
    if match:
        more = ",server=on,wait=off" if match[1] == "listen" else ",nodelay=on"
        return f"tcp:127.0.0.1:{match[2]}{more}"
    # The monitor runs commands as the user: it is where only the user is.
    window = "vc" if display in SHARED else "mon:vc"
    return {"terminal": "mon:stdio", "window": window, "none": "null"}.get(line, line)


def _sound(guest: Guest) -> Iterator[Option]:
    if guest.audio:
        yield Option("-audiodev", f"{guest.audio},id=snd0")
        if guest.audio != "none":
            yield Option("-device", "AC97,audiodev=snd0")


def _sockets(guest: Guest) -> Iterator[Option]:
    if guest.agent:
        serial = f"virtio-serial-{MACHINES[guest.machine].bus}"
        # qemu's name for whichever its board has.
        serial = "virtio-serial" if guest.defaults == "qemu" else serial
        yield Option("-chardev", f"socket,id=agent0,path={doubled(guest.agent)},server=on,wait=off")
        yield Option("-device", serial)
        yield Option("-device", "virtserialport,chardev=agent0,name=org.qemu.guest_agent.0")
    if guest.qmp:
        yield Option("-chardev", f"socket,id=qmp0,path={doubled(guest.qmp)},server=on,wait=off")
        yield Option("-mon", "chardev=qmp0,mode=control")


def _bare_screen(guest: Guest) -> Iterator[Option]:
    """What runqemu adds for a screen; the board's own is there besides."""
    if guest.display == "none":
        # More than -display none: the board and its firmware are told that nobody looks.
        yield Option("-nographic")
        return
    is_accelerated = guest.gl != "off" or guest.display == "egl-headless"
    is_pc = MACHINES[guest.machine].binary.endswith(("i386", "x86_64"))
    if guest.display in SHARED:
        # Without -nodefaults qemu shows its monitor on this screen, which others can reach.
        yield from served(guest)
        yield Option("-monitor", "none")
        return
    if is_pc:
        yield Option("-device", "virtio-vga-gl" if is_accelerated else "virtio-vga")
    gl = f",gl={guest.gl}" if guest.gl != "off" else ""
    yield Option("-display", guest.display + gl + ",show-cursor=on")
