"""How a guest learns its address: one module a method, all with one interface.

A method is a module with `adds(guest)`, which gives what it adds to the guest's start, and
`objection(guest)`, which says why it cannot serve this guest, or nothing.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ..description import Guest


class Addition(NamedTuple):
    """What a method adds: words for the kernel, arguments for qemu."""

    append: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()


class Method(Protocol):
    def adds(self, guest: "Guest") -> Addition: ...

    def objection(self, guest: "Guest") -> tuple[str, str]: ...


from . import kernel, none  # noqa: E402  (they need what is above)

METHODS: dict[str, Method] = {"kernel": kernel, "none": none}


def default(has_kernel: bool) -> str:
    """The method of a guest that names none."""
    return "kernel" if has_kernel else "none"
