"""What the checks work with and what they give."""

from pathlib import Path
from typing import NamedTuple

from ..model import Guest


class Place(NamedTuple):
    """What is to run here: the description's guests, none without one, and their files' folder."""

    guests: tuple[Guest, ...]
    folder: Path

    @property
    def tapped(self) -> tuple[Guest, ...]:
        """The guests that have a tap."""
        return tuple(guest for guest in self.guests if guest.has_tap)


class Finding(NamedTuple):
    """`level` is "error" for what keeps a guest from working, "warning" for what may."""

    level: str
    check: str
    what: str
    fix: str  # the command that puts it right, or what to write where


def error(check: str, what: str, fix: str) -> Finding:
    return Finding("error", check, what, fix)


def warning(check: str, what: str, fix: str) -> Finding:
    return Finding("warning", check, what, fix)
