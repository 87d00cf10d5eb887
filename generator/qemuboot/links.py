"""The variables about the network, the serial lines, screen and sound."""

import re

from ..options import doubled
from . import words
from .keys import Keys
from .writing import Key

_IP_TAP = "ip=192.168.7.@CLIENT@::192.168.7.@GATEWAY@:255.255.255.0::eth0:off:8.8.8.8 net.ifnames=0"
_MARKED = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+)\.@(CLIENT|GATEWAY)@")
_HOSTFWD = "hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:2323-:23"


def network(keys: Keys) -> None:
    keys.used |= {
        "QB_CMDLINE_IP_TAP",
        "QB_CMDLINE_IP_SLIRP",
        "QB_SLIRP_OPT",
        "QB_TAP_OPT",
        "QB_NETWORK_DEVICE",
    }
    if keys.value("QB_NET") == "none":
        keys.add("network", "none")
        return
    _card(keys)
    _tap(keys)
    _slirp(keys)
    if any(key.name == "append" for key in keys.guest):
        _address(keys)


def _address(keys: Keys) -> None:
    told = keys.value("QB_CMDLINE_IP_TAP", _IP_TAP)
    match = _MARKED.search(told)
    if match and match[1] != "192.168.7":
        keys.network.append(Key("subnet", f"{match[1]}.0/24"))
    # Whole addresses, so that they go with the description's subnet.
    told = _MARKED.sub(r"@\2@", told)
    keys.add("ip-tap", told, 'what @IP@ in append stands for; ip-user with network = "user"')
    keys.add("ip-user", keys.value("QB_CMDLINE_IP_SLIRP", "ip=dhcp"))


def _card(keys: Keys) -> None:
    card = keys.options("QB_NETWORK_DEVICE", "-device e1000,netdev=net0,mac=@MAC@")
    # tapdraft's network is called net0, whatever this one is called.
    for option in ("QB_TAP_OPT", "QB_SLIRP_OPT"):
        for name, value in words.pairs(keys.options(option)):
            own = words.properties(value)[1].get("id", "net0") if name == "-netdev" else "net0"
            card = [re.sub(rf"\bnetdev={re.escape(own)}\b", "netdev=net0", word) for word in card]
    for index, word in enumerate(card):
        # Of old: it counted as connected to the one -net tap.
        if card[index - 1] == "-net" and not any("netdev=" in other for other in card):
            card[index] = f"{word},netdev=net0"
    keys.card = card
    keys.add("card", card)


def _tap(keys: Keys) -> None:
    tap = next(
        (
            value
            for name, value in words.pairs(keys.options("QB_TAP_OPT"))
            if name in ("-netdev", "-net", "-nic")
        ),
        "",
    )
    _, rest = words.properties(tap)
    for name in ("", "id", "ifname", "script", "downscript"):
        rest.pop(name, None)
    if rest.pop("vhost", "off") == "on":
        keys.add("vhost", True)
    if rest.get("queues", "").isdigit():
        keys.add("queues", int(rest.pop("queues")))
    if rest:
        keys.warn("QB_TAP_OPT", f"has {', '.join(rest)}, which a tap of tapdraft's has not")


def _slirp(keys: Keys) -> None:
    """What qemu's own network has, for who runs the guest with that instead of a tap."""
    default = f"-netdev user,id=net0,{_HOSTFWD},tftp={doubled(keys.path(keys.files.deploy))}"
    said: list[str] = []
    for name, value in words.pairs(keys.options("QB_SLIRP_OPT", default)):
        if name not in ("-netdev", "-net", "-nic"):
            keys.warn("QB_SLIRP_OPT", f"has {name}, which is not about qemu's own network")
            continue
        said += [part for part in words.parts(value)[1:] if not part.startswith("id=")]
    # To the outside the ports would be open without any policy's say.
    said = [re.sub(r"^hostfwd=(tcp|udp)?:(0\.0\.0\.0)?:", _loopback, part) for part in said]
    for part in said:
        if not keys.beyond.is_own_network(part):
            keys.passes_on("QB_SLIRP_OPT", part)
    if said:
        keys.add("user-net", said, 'slirp: only with network = "user"')
    keys.off("network", "user", "slirp")


def _loopback(match: re.Match[str]) -> str:
    return f"hostfwd={match[1] or 'tcp'}:127.0.0.1:"


def console(keys: Keys) -> None:
    """Two serial lines, the terminal and one that leads nowhere, unless the options have some."""
    own = [*keys.card, *keys.qemu].count("-serial")
    serial = {0: ["terminal", "none"], 1: ["none", "terminal"]}.get(own, [])
    keys.add("serial", serial)
    keys.off("serial", ["window", "none"], "with a window: in place of the other serial")
    more = keys.options("QB_SERIAL_OPT")
    if more:
        keys.off("qemu", more, "serial, with a window: these, added to qemu")
    tcp = keys.value("QB_TCPSERIAL_OPT")
    if tcp:
        flat = keys.split("QB_TCPSERIAL_OPT", words.replaced(tcp, PORT="4444"))
        keys.off("qemu", flat, "tcpserial=4444: these, added to qemu")
    else:
        keys.off("serial", ["tcp:4444", "none", "terminal"], "tcpserial=4444")


def extras(keys: Keys) -> None:
    graphics = keys.options("QB_GRAPHICS")
    if graphics:
        keys.add("graphics", graphics)
    keys.off("display", "gtk", "gtk: a window; else the terminal is all there is (nographic)")
    driver = keys.value("QB_AUDIO_DRV").split(" ")[0]
    sound = keys.options("QB_AUDIO_OPT")
    if driver:
        what = f"audio; the configuration has {' '.join(sound)}" if sound else "audio"
        keys.off("audio", driver, what)
