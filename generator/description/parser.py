"""The description: the user's TOML file, read into what the rest works with.

keys.py reads single values, tables.py notes what is wrong and where, addresses.py gives each guest
its addresses, and rules.py judges each guest as a whole.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..addressing import choose
from ..errors import USAGE, BadDescription, Position, Problem, TapdraftError
from ..machines import MACHINES
from ..model import Description, Guest, Network, mac_address
from . import rules, values
from .addresses import Addresses, Allotment
from .keys import GUEST_KEYS, NETWORK_KEYS
from .tables import Reading

LARGEST = 1 << 20  # bytes of a description
Change = Callable[[dict[str, Any]], dict[str, Any]]


def load(file: str, change: Change = dict, *, look: bool = True) -> Description:
    """Read a description; raises TapdraftError, and BadDescription for what is in it.

    `change` is given the guests' tables as they were read, and gives those that count. `look` at
    the guests' kernels and initramfs, which the addressing of a guest may depend on, nothing else.
    """
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "name the TOML file that describes the guests; tapdraft.toml(5) has examples"
        raise TapdraftError(f"{file} cannot be read: {reason}", hint, USAGE) from None
    if len(content) > LARGEST:
        raise TapdraftError(f"{file} is larger than {LARGEST >> 20} MiB", "", USAGE)
    return parse(content, file, change, Path(file).parent if look else None)


def parse(
    content: bytes, file: str = "description", change: Change = dict, folder: Path | None = None
) -> Description:
    """The description that these bytes are; `file` is its name in error messages.

    The guests' files are looked at if they are named relative to a `folder`.
    """
    try:
        source = content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadDescription(
            file, "", [Problem(Position(line, 1, 1), "this is not UTF-8", "save the file as UTF-8")]
        ) from None
    choose.forget()
    if source.startswith("\ufeff"):
        what = "the file begins with a byte order mark, U+FEFF"
        hint = f"save it as UTF-8 without one: sed -i '1s/^\\xef\\xbb\\xbf//' {shlex.quote(file)}"
        raise BadDescription(file, "", [Problem(Position(1, 1, 1), what, hint)])
    reading = Reading(file, source, folder)
    top = reading.tables(("network", "guest"))
    network = Network(**reading.table(("network",), top.get("network", {}), NETWORK_KEYS))
    guests = _guests(reading, change(top.get("guest", {})), network)
    if not guests and not reading.problems:
        hint = "write [guest.NAME] and its keys below it"
        reading.wrong((), "this description has no guest", hint)
    reading.finish()
    return Description(network=network, guests=tuple(guests))


def _guests(reading: Reading, tables: dict[str, Any], network: Network) -> list[Guest]:
    read: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        if reading.check(("guest", name), values.guest_name, name, at_key=True):
            before = len(reading.problems)
            keys = reading.table(("guest", name), table, GUEST_KEYS)
            if len(reading.problems) == before:  # else the rest would only be consequences
                read[name] = keys
    allotment = Allotment(reading, network.subnet, network.layout)
    for name, keys in read.items():
        allotment.reserve(name, keys)
    guests = []
    for number, (name, keys) in enumerate(read.items()):
        address = allotment.take(name)
        if address is not None:
            told = choose.told(keys, reading.folder)._asdict()
            guests.append(_guest(name, keys | told, network, address, number % 127))
            for problem in rules.problems(guests[-1]):
                reading.report(problem)
    reading.together(guests)
    return guests


def _mac(name: str, given: Mapping[str, Any], address: str, number: int) -> str:
    """runqemu has another row of addresses for guests with qemu's own network."""
    if given["layout"] == "runqemu" and given.get("network") == "user":
        return f"52:54:00:12:35:{2 * number + 2:02x}"
    return mac_address(name, address, given["layout"])


def _guest(
    name: str, keys: dict[str, Any], network: Network, addresses: Addresses, number: int
) -> Guest:
    given = dict(keys)
    # What is called otherwise in the file, where it reads better there.
    given.update(
        name=name,
        address=addresses.guest,
        gateway=addresses.gateway,
        prefix=addresses.prefix,
        host_open=given.pop("host", "closed") == "open",
        disks=given.pop("disk", ()),
        forwards=given.pop("forward", ()),
        uplinks=network.uplinks,
        dns=network.dns,
        domain=network.domain,
        user_data=given.pop("user-data", ""),
        ssh_keys=given.pop("ssh-key", ()),
        layout=network.layout,
        user_net=given.pop("user-net", ()),
        ip_tap=given.pop("ip-tap", ""),
        ip_user=given.pop("ip-user", ""),
        interfaces=given.pop("interface", ()),
    )
    given.setdefault("title", name)
    given.setdefault("mode", network.mode)
    if given.get("defaults") == "qemu":
        given.setdefault("memory", 0)
        given.setdefault("cpus", 0)
    given.setdefault("memory", MACHINES[given.get("machine", "x86_64")].memory)
    given.setdefault("mac", _mac(name, given, addresses.guest, number))
    return Guest(**given)
