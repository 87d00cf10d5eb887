"""How a guest learns its address: one module a method, all with one interface.

A method is a module with `adds(guest)`, which gives what it adds to the guest's start, and
`objection(guest)`, which says why it cannot serve this guest, or nothing. Read auto.py for which
of them a guest gets that names none.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..shell import Word

if TYPE_CHECKING:
    from ..description import Guest

AUTO = "auto"
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Addition(NamedTuple):
    """What a method adds to a guest's start."""

    append: tuple[str, ...] = ()  # words for the kernel's command line
    options: tuple[tuple[str, str | Word], ...] = ()  # for qemu
    why: str = ""  # of the options
    note: str = ""  # what is to be known of the method for this guest; goes on after its reason
    plain: tuple[str, ...] = ()  # lines: what an encoded option says, for whoever reads it
    files: Mapping[str, str] = _NOTHING  # beside the scripts: path and content
    beside: tuple[str, ...] = ()  # started beside qemu, as the user; ends with the tap
    as_root: tuple[str, ...] = ()  # the same where root sets up the tap, without tapdraft


class Method(Protocol):
    def adds(self, guest: "Guest") -> Addition: ...

    def objection(self, guest: "Guest") -> tuple[str, str]: ...


from . import cloud_init, cmdline, credential, dhcp, kernel, none  # noqa: E402  they need the above

METHODS: dict[str, Method] = {
    "kernel": kernel,
    "dhcp": dhcp,
    "cloud-init": cloud_init,
    "credential": credential,
    "cmdline": cmdline,
    "none": none,
}
WORDS = (AUTO, *METHODS)
