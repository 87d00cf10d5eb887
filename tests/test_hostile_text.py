"""No text of a description or of a qemuboot.conf is ever more than a word of a script.

Descriptions are rendered with canaries in every key that takes free text, and the scripts are run
by each shell. Programs are stand-ins that write down their arguments; each text arrives there as it
was given, and no canary is touched. The keys come from the tables that read descriptions: a new
key is covered as soon as it is there.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tapdraft.generator import qemu
from tapdraft.generator.description import GUEST_KEYS, NETWORK_KEYS, Guest, parse
from tapdraft.generator.errors import TapdraftError
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.qemuboot.convert import convert
from tapdraft.generator.qemuboot.writing import Key, document
from tapdraft.generator.render import scripts
from tapdraft.generator.shell import PATH, quote
from tapdraft.generator.values import Wrong

ROOT = Path(__file__).resolve().parents[1]
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
WAYS = (("helper", "run"), ("helper", "helper"), ("helper", "hooks"), ("nft", "run"))
USUAL = "/usr/sbin:/usr/bin:/sbin:/bin"
# What a shell, printf, awk, sed, a case or qemu could make something of.
PIECES = (
    "$(touch canary)",
    "`touch canary`",
    "${x:=$(touch canary)}",
    "$accel",
    "$cpu",
    "$here",
    "$uid",
    "${IFS}",
    "'",
    '"',
    "\\",
    "\n",
    "\t",
    " ",
    "*",
    "?",
    "[a-z]",
    "~",
    "-",
    "--",
    "%s",
    "%n",
    "!",
    "#",
    "&",
    ";touch canary;",
    "|",
    "<",
    ">",
    "(",
    ")",
    "{a,b}",
    "END\n",
    "\nEND\ntouch canary\n",
    "=",
    ",",
    ":",
    "@",
    "é",
    "x",
    "\\n",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "&#34;",
    "<b>",
)
TEXT = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
# A stand-in writes down how many words it was started with, and each with a NUL after it.
RECORD = """#!/bin/sh
printf '%s\\0' "$(($# + 1))" "${0##*/}" "$@" >> "$WRITTEN"
"""
# Of the same, one that then starts what it was told to start.
SETPRIV = RECORD + 'for last; do :; done\nexec "$last"\n'
ID = "#!/bin/sh\n[ $# -ne 1 ] || { echo 0; exit; }\necho 1\n"
PROGRAMS = (
    "tapdraft-helper",
    "tapdraft",
    "ip",
    "nft",
    "sysctl",
    "ss",
    "flock",
    "dnsmasq",
    "stty",
    "zstd",
    "xz",
)


def takes_free_text(reader: Callable[[Any], Any]) -> bool:
    """Does this key's value hold text of any kind, alone or in a list?"""
    return form_of(reader, "x$(touch canary)") is not None


def form_of(reader: Callable[[Any], Any], sample: str) -> Any:
    """The value with this text in it that the key takes; None if there is none."""
    for form in (sample, [sample], ["file:" + sample], {"network": "user", "nic": sample}):
        try:
            reader(form)
        except (Wrong, ValueError, TypeError, KeyError):
            continue
        return form
    return None


TOGETHER = ("title", "board", "cpu", "nic", "kernel", "append", "qemu", "qmp")
FREE = sorted(key for key, reader in GUEST_KEYS.items() if takes_free_text(reader))


def test_the_keys_that_take_free_text_are_found() -> None:
    assert {
        "title",
        "board",
        "cpu",
        "kernel",
        "append",
        "disk",
        "qemu",
        "user-data",
        "agent",
        "qmp",
        "bios",
        "firmware",
        "dtb",
        "tftp",
        "nic",
        "serial",
        "card",
        "graphics",
        "user-net",
        "ip-tap",
        "ip-user",
        "console",
        "interface",
    } <= set(FREE)
    assert not [key for key, reader in NETWORK_KEYS.items() if takes_free_text(reader)]


def described(texts: dict[str, str], beside: dict[str, Any]) -> str:
    """A description with each text in its key, in the form that the key takes."""
    forms = {key: form_of(GUEST_KEYS[key], text) for key, text in texts.items()}
    # A text that no form of the key takes is refused by the description as a whole.
    keys = {key: texts[key] if form is None else form for key, form in forms.items()}
    guest = [Key(key, value) for key, value in (beside | keys).items()]
    return document(["x"], {"guest.vm": guest})


# What a key needs beside it, or the description is refused.
_PLAIN = {"defaults": "qemu", "nic": "e1000", "kernel": "k", "append": "@IP@ @CONSOLE@"}
BESIDE: dict[str, dict[str, Any]] = {
    **{key: {"kernel": "k"} for key in ("initrd", "append", "dtb")},
    **dict.fromkeys(("card", "console", "graphics", "ip-tap"), _PLAIN),
    "ip-user": {**_PLAIN, "network": "user"},
    "user-net": {"network": "user"},
    "tftp": {"network": "user"},
    "user-data": {"addressing": "cloud-init"},
}


def beside(key: str) -> dict[str, Any]:
    return {**({} if key == "disk" else {"disk": "d.img"}), **BESIDE.get(key, {})}


@pytest.mark.parametrize("key", FREE)
def test_each_key_that_takes_free_text_is_rendered_here(key: str) -> None:
    """Or what follows would say nothing about it."""
    guest = parse(described({key: "someword"}, beside(key)).encode()).guests[0]
    written = "".join(scripts(guest).values())
    assert "someword" in written


class Stage:
    """A folder with stand-ins, and the means to run a guest's scripts in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = folder / "written"
        (folder / "bin").mkdir()
        binaries = {machine.binary for machine in MACHINES.values()}
        for name in (*PROGRAMS, *binaries):
            self.program(name, RECORD)
        self.program("id", ID)
        self.program("setpriv", SETPRIV)

    def program(self, name: str, text: str) -> None:
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def run(self, files: dict[str, str], shell: str) -> list[list[str]]:
        """Run each script; the commands that the stand-ins were started as."""
        self.written.unlink(missing_ok=True)
        programs = quote(f"{self.folder}/bin:{USUAL}")
        named = [name for name in ("ifup", "qemu", "ifdown", "run") if name in files]
        for name in named:
            text = files[name].removeprefix("#!/bin/sh\n")
            assert f"\nPATH={PATH}\n" in text
            text = text.replace(f"\nPATH={PATH}\n", f"\nPATH={programs}\n", 1)
            # The files need not be there, and neither the machine's KVM nor its taps matter.
            text = text.replace('    [ -r "$1" ] || die "no file', '    : || die "no file')
            text = text.replace("[ -r /dev/kvm ]", "[ -r /nonexistent ]")
            text = text.replace("/proc/sys/net/ipv4/tcp_fastopen_key", "/dev/null")
            (self.folder / name).write_text(f"#!/usr/bin/{' '.join(SHELLS[shell])}\n{text}")
            (self.folder / name).chmod(0o755)
        for name in named:
            subprocess.run(
                [self.folder / name, *(["root"] if name in ("ifup", "run") else [])],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                env={"WRITTEN": str(self.written), "TMPDIR": str(self.folder)},
                check=False,
            )
        words = self.written.read_bytes().decode().split("\0")[:-1]
        commands = []
        while words:
            count = int(words.pop(0))
            commands.append(words[:count])
            del words[:count]
        return commands


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("a, 'folder' $(touch canary)"))


TURN = itertools.count()


def check(stage: Stage, guest: Guest) -> None:
    """Each word of the guest's qemu command arrives as it is, in the shell whose turn it is."""
    number = next(TURN)
    dialect, attach = WAYS[number // len(SHELLS) % len(WAYS)]
    shell = list(SHELLS)[number % len(SHELLS)]
    try:
        files = scripts(guest, dialect=dialect, attach=attach)
    except TapdraftError:
        attach = "run"
        files = scripts(guest, dialect=dialect, attach=attach)
    started = stage.run(files, shell)
    machine = MACHINES[guest.machine]
    expected = qemu.argv(
        guest,
        attach if guest.has_tap else "run",
        accel="tcg",
        firmware="",
        vars="",
        here=str(stage.folder).replace(",", ",,"),
        cpu=qemu.cpu_of(guest) or machine.older,
    )
    assert expected in started, (dialect, attach, shell)
    assert not list(stage.folder.rglob("canary")), (dialect, attach, shell)


@pytest.mark.parametrize("key", FREE)
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=TEXT, accel=st.sampled_from(["auto", "tcg", "kvm"]))
def test_each_key_arrives_as_it_was_written(key: str, text: str, accel: str, stage: Stage) -> None:
    try:
        guest = parse(described({key: text}, beside(key) | {"accel": accel}).encode()).guests[0]
    except TapdraftError:
        return  # what is refused is in no script
    check(stage, guest)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(texts=st.fixed_dictionaries(dict.fromkeys(TOGETHER, TEXT)))
def test_all_keys_at_once_arrive_as_they_were_written(texts: dict[str, str], stage: Stage) -> None:
    try:
        guest = parse(described(texts, {"accel": "auto"}).encode()).guests[0]
    except TapdraftError:
        return
    check(stage, guest)


CONF_KEYS = sorted(
    {
        key
        for path in (ROOT / "generator/qemuboot").glob("*.py")
        for key in re.findall(r"\bQB_[A-Z_]+\b", path.read_text())
    }
)
CONF = """[config_bsp]
machine = qemux86-64
qb_system_name = qemu-system-x86_64
qb_mem = -m 64
deploy_dir_image = .
image_name = img
kernel_imagetype = bzImage
qb_default_fstype = ext4
"""
OPTIONS = {
    "QB_MACHINE": "-machine q35,usb=",
    "QB_CPU": "-cpu max,",
    "QB_CPU_KVM": "-cpu host,",
    "QB_OPT_APPEND": "-global ",
    "QB_GRAPHICS": "-device ",
    "QB_MEM": "-m ",
    "QB_SMP": "-smp ",
    "QB_NETWORK_DEVICE": "-device e1000,netdev=net0,mac=@MAC@,romfile=",
    "QB_ROOTFS_OPT": "-drive file=@ROOTFS@,if=virtio,serial=",
    "QB_AUDIO_OPT": "-device ",
}


@pytest.mark.parametrize("key", CONF_KEYS)
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=TEXT)
def test_what_a_qemuboot_conf_says_arrives_as_the_description_has_it(
    key: str, text: str, stage: Stage
) -> None:
    said = OPTIONS.get(key, "") + text.replace("\n", " ").replace("%", "%%")
    lines = [line for line in CONF.splitlines() if not line.startswith(key.lower())]
    conf = stage.folder / "img.qemuboot.conf"
    conf.write_text("\n".join([*lines, f"{key.lower()} = {said}", ""]))
    try:
        guest = parse(convert(str(conf), stage.folder).text.encode()).guests[0]
    except TapdraftError:
        return
    check(stage, guest)
