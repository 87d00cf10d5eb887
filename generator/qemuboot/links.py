"""The variables about the network, the serial lines, screen and sound."""

import re

from . import words
from .keys import Keys
from .writing import Key

_IP_TAP = re.compile(
    r"ip=192\.168\.7\.@CLIENT@::192\.168\.7\.@GATEWAY@:255\.255\.255\.0::eth0:off:"
    r"([0-9.]+) net\.ifnames=0"
)
_SERIAL = {"mon:stdio": "terminal", "stdio": "terminal", "mon:vc": "window", "null": "none"}


def network(keys: Keys) -> None:
    if keys.value("QB_NET") == "none":
        keys.add("network", "none")
        return
    _card(keys)
    _tap(keys)
    told = keys.value("QB_CMDLINE_IP_TAP") or (
        "ip=192.168.7.@CLIENT@::192.168.7.@GATEWAY@:255.255.255.0::eth0:off:8.8.8.8 "
        "net.ifnames=0"
    )
    match = _IP_TAP.fullmatch(told)
    if match and match[1] != "8.8.8.8":
        keys.network.append(Key("dns", [match[1]]))
    elif not match and keys.files.kernel() is not None:
        keys.add("addressing", "none", "append has the address, as the configuration wants it")
        keys.append += words.replaced(told, CLIENT="2", GATEWAY="1").split()
    slirp = words.first(keys.options("QB_SLIRP_OPT"), "-netdev")
    ports = re.findall(r"hostfwd=(tcp|udp):[^-,]*:(\d+)-[^:,]*:(\d+)", slirp)
    ports = ports or [("tcp", "2222", "22"), ("tcp", "2323", "23")]
    keys.off("network", "user", "slirp: these two instead of a tap")
    keys.off("forward", [":".join(port) for port in ports], "")
    wanted = keys.value("QB_CMDLINE_IP_SLIRP", "ip=dhcp")
    if wanted != "ip=dhcp":
        keys.off("append", wanted, "slirp: and these words, added to append")


def _card(keys: Keys) -> None:
    options = keys.options("QB_NETWORK_DEVICE", "-device e1000,netdev=net0,mac=@MAC@")
    cards, others = words.split(options, lambda _, value: "netdev=net0" in value)
    keys.qemu += others
    for _, value in cards[:1]:
        model, rest = words.properties(value)
        mac = rest.pop("mac", "@MAC@")
        rest.pop("netdev")
        nic = ",".join([model, *(f"{name}={item}" for name, item in rest.items())])
        if nic != keys.machine.nic:
            keys.add("nic", nic)
        if mac != "@MAC@":
            keys.add("mac", mac, "the same for each guest made from this file")


def _tap(keys: Keys) -> None:
    tap = words.first(keys.options("QB_TAP_OPT"), "-netdev")
    _, rest = words.properties(tap)
    for name in ("id", "ifname", "script", "downscript"):
        rest.pop(name, None)
    if rest.pop("vhost", "off") == "on":
        keys.add("vhost", True)
    if rest.get("queues", "").isdigit():
        keys.add("queues", int(rest.pop("queues")))
    if rest:
        keys.warn("QB_TAP_OPT", f"has {', '.join(rest)}, which a tap of tapdraft's has not")


def console(keys: Keys) -> None:
    options = keys.options("QB_SERIAL_OPT", "-serial mon:stdio -serial null")
    lines, others = words.split(options, lambda name, _: name == "-serial")
    # The machine's own come before the one that is the terminal, also without this.
    wanted = [_SERIAL.get(value, value) for _, value in lines]
    serial = wanted[len(keys.machine.before) :]
    known = [line for line in serial if line in _SERIAL.values()]
    if known and known != ["terminal"]:
        keys.add("serial", known)
    keys.qemu += others
    keys.qemu += [("-serial", line) for line in serial if line not in known]
    consoles = [entry.partition(";")[2] for entry in keys.value("SERIAL_CONSOLES").split()]
    if consoles and consoles[0] != keys.machine.console and keys.files.kernel() is not None:
        keys.append.append(f"console={consoles[0]}")
    tcp = keys.options("QB_TCPSERIAL_OPT")
    if tcp:
        flat = [words.replaced(word, PORT="4444") for word in words.flat(tcp)]
        keys.off("qemu", flat, "tcpserial=4444: these, added to qemu")
    else:
        keys.off("serial", ["tcp:4444", "terminal"], "tcpserial=4444")


def extras(keys: Keys) -> None:
    # tapdraft gives every guest with virtio one of its own.
    keys.used.add("QB_RNG")
    if "rng-random" not in keys.value("QB_RNG", "rng-random"):
        keys.warn("QB_RNG", "is not used: the guest has virtio-rng with /dev/urandom")
    append = keys.options("QB_OPT_APPEND")
    # qemu has them no more; without a window they had no meaning before.
    keys.qemu += [option for option in append if option[0] != "-show-cursor"]
    graphics = words.flat(keys.options("QB_GRAPHICS"))
    keys.off("display", "gtk", "gtk: a window; else the terminal is all there is (nographic)")
    if graphics:
        keys.off("qemu", graphics, "with a window: the machine's own graphics, added to qemu")
    driver = keys.value("QB_AUDIO_DRV").split(" ")[0]
    if driver:
        sound = words.flat(keys.options("QB_AUDIO_OPT"))
        what = f"audio; the configuration has {' '.join(sound)}" if sound else "audio"
        keys.off("audio", driver, what)
