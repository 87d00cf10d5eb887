"""What the checks work with and what they give."""

from pathlib import Path
from typing import NamedTuple

from .description import Guest


class Place(NamedTuple):
    """What is to run here: the description's guests, none without one, and their files' folder."""

    guests: tuple[Guest, ...]
    folder: Path


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
