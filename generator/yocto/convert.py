"""tapdraft import: from a qemuboot.conf to the text of a description."""

import re
import shlex
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from ..description import parser
from ..errors import FAILED, BadDescription, TapdraftError, plain
from ..scripts.output import write_file
from . import hardware, links, words
from .document_keys import Keys
from .image_files import Files
from .variables import read
from .writing import Key, document


class Imported(NamedTuple):
    text: str  # the description
    warnings: tuple[str, ...]  # a line each, with file and line


def importing(conf: str, output: str | None, fstype: str | None) -> int:
    """The command: the description to standard output or the file `output`, and the warnings."""
    base = Path(output).parent if output else Path()
    imported = convert(conf, base, fstype or "")
    for warning in imported.warnings:
        print(warning, file=sys.stderr)
    if output:
        _keep_edits(Path(output), imported.text)
        write_file(Path(output), imported.text.encode())
    else:
        print(imported.text, end="")
    return 0


def _keep_edits(file: Path, text: str) -> None:
    """Refuse to replace a file that says something else: somebody may have edited it."""
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            return  # writing it will say what is wrong
        with file.open("rb") as stream:
            same = stream.read(parser.LARGEST + 1) == text.encode()
    except OSError:  # there is none, or writing it will say what is wrong
        return
    if not same:
        what = f"{file} exists and differs from what import would write"
        raise TapdraftError(what, shlex.join(["mv", str(file), f"{file}.old"]), FAILED)


def convert(conf: str, base: Path, fstype: str = "") -> Imported:
    """The description for `conf`, to be kept in the folder `base`.

    Raises TapdraftError: for a file that cannot be read or is malformed, a machine that is not
    known, or values that make no description.
    """
    variables = read(conf)
    files = Files(conf, variables, fstype)
    try:
        keys = Keys(variables, files, base.absolute())
        _fill(keys)
    except BadDescription:
        raise
    except TapdraftError as error:
        raise TapdraftError(f"{conf}: {error.args[0]}", error.hint, error.status) from None
    image = files.value("IMAGE_LINK_NAME") or files.value("IMAGE_NAME")
    guest = [*([Key("title", image)] if image else []), *sorted(keys.guest, key=_order)]
    text = document(_head(conf, keys), {"network": keys.network, f"guest.{_name(keys)}": guest})
    _prove(text, conf)
    warnings = [f"warning: {plain(conf)}:{line}: {plain(what)}" for line, what in keys.warnings]
    missing = dict.fromkeys(str(file) for file in files.missing)
    warnings += [f"warning: there is no {plain(file)}" for file in missing]
    return Imported(text, tuple(warnings))


def _fill(keys: Keys) -> None:
    """All keys, in the order of a description, and qemu's arguments in that of runqemu."""
    hardware.hardware(keys)
    machine, keys.qemu = keys.qemu, []
    hardware.start(keys)
    keys.qemu += keys.options("QB_RNG")
    hardware.disk(keys)
    # Of all variables this one alone has the folder.
    folder = keys.path(keys.files.deploy)
    text = keys.value("QB_OPT_APPEND")
    text = text.replace("@DEPLOY_DIR_IMAGE@/", "") if folder == "." else text
    text = words.replaced(text, DEPLOY_DIR_IMAGE=folder)
    keys.qemu += keys.split("QB_OPT_APPEND", text)
    keys.qemu += machine
    links.network(keys)
    links.console(keys)
    links.extras(keys)
    if keys.qemu:
        keys.add("qemu", keys.qemu, "as the machine's configuration has them")
    keys.rest()


def _order(key: Key) -> bool:
    """What is switched off comes last, as it is read last."""
    return key.off


def _head(conf: str, keys: Keys) -> list[str]:
    return [
        f"From {plain(Path(conf).name)}, by tapdraft import.",
        "Files are named relative to this file's folder, where they are below it. A comment below",
        "[guest] is what one of runqemu's words would change: see tapdraft-runqemu(7).",
    ]


def _name(keys: Keys) -> str:
    """A guest's name is short: the machine's, if need be without what all of them begin with."""
    name = re.sub("[^a-z0-9-]", "-", keys.files.value("MACHINE").lower()) or keys.name
    name = name if len(name) <= 12 else name.removeprefix("qemu")
    return name[:12].strip("-") or "guest"


def _prove(text: str, conf: str) -> None:
    """It has to be a description that render takes."""
    try:
        parser.parse(text.encode(), f"what {conf} comes to")
    except BadDescription as bad:
        raise TapdraftError(
            f"{conf} makes no description:\n{bad}", "its variables contradict each other", 2
        ) from None
