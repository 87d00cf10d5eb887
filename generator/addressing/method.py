"""What every method of addressing gives and is asked."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ..model import Guest
from ..shell import Word

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
    def adds(self, guest: Guest) -> Addition: ...

    def objection(self, guest: Guest) -> tuple[str, str]: ...
