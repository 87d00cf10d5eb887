"""No address is given: the guest has a fixed one of its own, or none."""

from typing import TYPE_CHECKING

from . import Addition

if TYPE_CHECKING:
    from ..description import Guest


def adds(guest: "Guest") -> Addition:
    return Addition()


def objection(guest: "Guest") -> tuple[str, str]:
    return "", ""
