"""No address is given: the guest has a fixed one of its own, or none."""

from ..model import Guest
from .method import Addition


def adds(guest: Guest) -> Addition:
    return Addition()


def objection(guest: Guest) -> tuple[str, str]:
    return "", ""
