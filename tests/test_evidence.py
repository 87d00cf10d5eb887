"""Who reads ip= on the kernel's command line, as the guest's own files tell it, and what becomes
of the guest's address with that."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapdraft.generator import cli
from tapdraft.generator.addressing.probe import archive, evidence, reader, unpacking
from tapdraft.generator.addressing.probe import image as images
from tapdraft.generator.addressing.probe import zstd as unpack_zstd
from tapdraft.generator.addressing.probe.reader import Start
from tapdraft.generator.checks import guest_addressing
from tapdraft.generator.checks.finding import Place
from tapdraft.generator.commands import helper_client
from tapdraft.generator.commands import overrides as given_on_the_command_line
from tapdraft.generator.description.parser import load, parse
from tapdraft.generator.model import Guest, IpReader
from tapdraft.generator.scripts.render import render

FILE, LINK = stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777
OURS = b"#!/bin/sh\nread -r words < /proc/cmdline\ncase $words in *ip=*) net ;; esac\n"
DEAF = b"#!/bin/sh\nmount -t proc proc /proc\nskip=1 exec /sbin/init\n"
TOOLS = b"#!/bin/sh\n. /scripts/functions\nfor x in $(cat /proc/cmdline); do case $x in ip=*)\n"
Files = dict[str, "bytes | str"]  # a string is where a symbolic link leads


def member(name: str, content: bytes | str = b"") -> bytes:
    mode = LINK if isinstance(content, str) else FILE
    data = content.encode() if isinstance(content, str) else content
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return b"".join(part + bytes(-len(part) % 4) for part in (header + path, data))


def cpio(files: Mapping[str, bytes | str]) -> bytes:
    written = b"".join(member(name, content) for name, content in files.items())
    return written + member("TRAILER!!!") + bytes(64)


def told(folder: Path, initrd: bytes, kernel: bytes = b"", **start: str) -> IpReader:
    """Who reads ip= of these files."""
    reader.LOOKED.clear()
    (folder / "i").write_bytes(initrd)
    (folder / "k").write_bytes(kernel)
    return evidence.reader(Start("k", "i", **start), folder)  # type: ignore[arg-type]  # all strings


DRACUT: Files = {"init": "usr/lib/systemd/systemd", "usr/lib/dracut-lib.sh": b"getarg ip="}
SYSTEMD: Files = {"init": "lib/systemd/systemd", "usr/lib/systemd/systemd-networkd": b"\x7fELF\0"}
ENABLED = "etc/systemd/system/sysinit.target.wants/systemd-network-generator.service"
MKINITRAMFS: Files = {
    "init": TOOLS,
    "scripts/functions": b"configure_networking() { ipconfig $IP; }",
    "scripts/nfs": b"configure_networking\n",
    "scripts/local": b"mount",
}
MKINITCPIO: Files = {
    "init": b"#!/bin/ash\n. /init_functions\n",
    "init_functions": b"ip= /proc/cmdline",
}
# The files, and whether they read ip=.
INITRAMFS: dict[str, tuple[Files, bool | None]] = {
    "an init that reads it": ({"bin/sh": b"\x7fELF\0", "init": OURS}, True),
    "a script of its init's": ({"init": DEAF, "etc/rc": OURS}, True),
    "an init that does not": ({"init": DEAF}, False),
    "a script that may": ({"init": DEAF, "etc/net": b"ip=$1"}, None),
    "a program": ({"init": b"\x7fELF\0"}, None),
    "Alpine's": ({"init": b"#!/bin/sh\n$(cat /proc/cmdline)\n[ $KOPT_ip ]"}, True),
    "dracut, its scripts": ({"usr/lib/dracut/hooks/cmdline/98-parse-ip-opts.sh": b""}, True),
    "dracut, NetworkManager": ({"usr/lib/dracut/hooks/cmdline/99-nm-config.sh": b""}, True),
    "dracut, another network": ({**DRACUT, "usr/lib/net-lib.sh": b""}, None),
    "dracut, no network": (DRACUT, False),
    "systemd": ({**SYSTEMD, ENABLED: "/usr/lib/systemd/system/x"}, True),
    "systemd, not enabled": ({**SYSTEMD, "lib/systemd/systemd-network-generator": b"\0"}, None),
    "initramfs-tools": (MKINITRAMFS, False),
    "initramfs-tools, a script": (
        {**MKINITRAMFS, "scripts/init-premount/ssh": b"configure_networking &"},
        True,
    ),
    "initramfs-tools, a script for NFS": (
        {**MKINITRAMFS, "scripts/nfs-premount/x": b"configure_networking"},
        False,
    ),
    "initramfs-tools, another's init": (
        {**MKINITRAMFS, "init": TOOLS + b"configure_networking"},
        True,
    ),
    "initramfs-tools, its own way": ({**MKINITRAMFS, "scripts/init-top/x": b"ipconfig eth0"}, None),
    "mkinitcpio": (MKINITCPIO, False),
    "mkinitcpio, net": ({**MKINITCPIO, "hooks/net": b"ipconfig ip=$ip"}, True),
    "mkinitcpio, another": ({**MKINITCPIO, "hooks/netconf": b'ipconfig "ip=$ip"'}, None),
}


@pytest.mark.parametrize("what", INITRAMFS)
def test_an_initramfs_reads_it_does_not_or_cannot_be_told(what: str, tmp_path: Path) -> None:
    files, reads = INITRAMFS[what]
    driver = {"lib/modules/6.1/virtio_net.ko.xz": b"\0"}  # so the kernel reads it in no case
    found = told(tmp_path, cpio({**files, **driver}))
    assert found.reads is reads, found.why


def test_a_script_counts_where_it_is_run(tmp_path: Path) -> None:
    """With another root file system initramfs-tools runs others, with rdinit= another init."""
    tools = cpio({**MKINITRAMFS, "virtio_net.ko": b"\0"})
    assert told(tmp_path, tools, boot="nfs").reads is True
    assert told(tmp_path, tools, boot="live").reads is None
    two = cpio({"init": OURS, "other": DEAF, "virtio_net.ko": b"\0"})
    assert told(tmp_path, two, init="other").reads is False


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, Start("k")),
        ({"append": "root=/dev/nfs ro"}, Start("k", boot="nfs")),
        ({"nfs": "/srv/root"}, Start("k", boot="nfs")),
        ({"append": "boot=live root=/dev/nfs"}, Start("k", boot="live")),
        ({"append": "rdinit=/bin/other a=b=c"}, Start("k", init="bin/other")),
        ({"nic": "e1000"}, Start("k", is_virtio=False)),
        ({"machine": "qemuarm", "nic": "virtio-net-device,mq=on"}, Start("k")),
        ({"machine": "sh4", "initrd": "i"}, Start("k", "i", is_virtio=False)),
    ],
)
def test_what_matters_of_a_description(keys: dict[str, str], expected: Start) -> None:
    assert reader.start({"kernel": "k", **keys}) == expected


def zstd(data: bytes, *options: str) -> bytes:
    argv = ["zstd", "-qc", *options]
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "not": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "two after each other": lambda data: gzip.compress(cpio({"a": b"x"})) + gzip.compress(data),
    "microcode first": lambda data: cpio({"kernel/x": b"\0"}) + bytes(512) + lzma.compress(data),
    "behind a packed one": lambda data: lzma.compress(cpio({"a": b"x"})) + bytes(508) + data,
    "zstd": zstd,
    "zstd without sums": lambda data: zstd(data, "--no-check", "--no-content-size", "-1"),
    "zstd after microcode": lambda data: cpio({"kernel/x": b"\0"}) + bytes(512) + zstd(data),
    "zstd before another": lambda data: zstd(cpio({"a": b"x"})) + bytes(508) + zstd(data),
    "a file larger than a block": lambda data: gzip.compress(member("x", b"y" * 700_001) + data),
}


@pytest.mark.parametrize("how", PACKED)
def test_an_initramfs_is_read_however_it_is_packed(how: str, tmp_path: Path) -> None:
    pack = PACKED[how]
    assert told(tmp_path, pack(cpio({"init": OURS}))).reads is True
    deaf = cpio({"init": DEAF, "virtio_net.ko": b"\0" * 300_000})
    assert told(tmp_path, pack(deaf)).reads is False
    # The end might have told something else.
    assert told(tmp_path, pack(deaf)[:-600]).reads is None


ENGINES = {
    "the package": lambda: unpack_zstd._Framed(
        unpack_zstd._Package(pytest.importorskip("zstandard"))
    ),
    "the program": lambda: unpack_zstd._Framed(unpack_zstd._Program("/usr/bin/zstd")),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("step", [1, 7, 4096])
def test_zstd_is_unpacked_by_whatever_there_is_to_its_end_and_no_further(
    engine: str, step: int
) -> None:
    data = os.urandom(5000) + bytes(300_000)
    packed, found = zstd(data) + b"rest", bytearray()
    decoder = ENGINES[engine]()
    while not decoder.eof:
        piece, packed = (packed[:step], packed[step:]) if decoder.needs_input else (b"", packed)
        found += decoder.decompress(piece, 1000)
    assert bytes(found) == data
    assert decoder.unused_data + packed == b"rest"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bomb_of_zstd_gives_no_more_than_is_asked_for(engine: str) -> None:
    decoder = ENGINES[engine]()
    packed = zstd(bytes(64 << 20))
    assert len(packed) < 10_000
    assert len(decoder.decompress(packed, 1000)) <= 1000


def test_without_anything_for_zstd_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_zstd, "maker", lambda: None)
    packed = zstd(cpio({"init": OURS}))
    found = told(tmp_path, packed, zstd(inside(DEAF_CONFIG)))
    assert found.reads is None
    assert "its initramfs is compressed with zstd, which is not installed" in found.why
    assert "the kernel is compressed with zstd" in found.why


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_a_small_kernel_is_not_unpacked_for_long(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MOST", 1 << 20)
    monkeypatch.setattr(images, "LARGEST", 1 << 19)
    done: list[int] = []
    spend = unpacking.Budget.spend
    monkeypatch.setattr(
        unpacking.Budget, "spend", lambda self, size: (done.append(size), spend(self, size))[1]
    )
    bomb = bytes(4096) + PACKED[kind](bytes(8 << 20)) * 16
    assert len(bomb) < 200_000
    assert "the kernel is larger than 1 MiB" in told(tmp_path, b"", bomb).why
    assert sum(done) < 3 << 20
    assert all(
        found.__traceback__ is None
        for found in reader.LOOKED.values()
        if isinstance(found, Exception)
    )  # it would keep what was unpacked


@pytest.mark.parametrize("what", ["empty streams", "empty archives"])
def test_an_initramfs_of_very_many_parts_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bytes] = []
    decoder = archive.decoder
    monkeypatch.setattr(archive, "decoder", lambda start: (tried.append(start), decoder(start))[1])
    part = gzip.compress(b"") if what == "empty streams" else member("TRAILER!!!")
    assert "has more than 100 archives" in told(tmp_path, part * 20_000).why
    assert len(tried) <= 101


def test_no_more_files_are_looked_at_than_a_bound(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"i{number}").write_bytes(cpio({"init": OURS}))
    text = "".join(f'[guest.g{n}]\nkernel = "k"\ninitrd = "i{n}"\n' for n in range(40))
    for _ in range(2):  # for each description anew
        guests = parse(text.encode(), folder=tmp_path).guests
        reads = [guest.reader.reads for guest in guests]
        assert reads == [True] * evidence.MOST_FILES + [None] * (40 - evidence.MOST_FILES)


UNKNOWN = {
    "zstd": (b"\x28\xb5\x2f\xfd", "middle"),
    "lz4": (b"\x02\x21\x4c\x18", "lz4"),
    "lzo": (b"\x89LZO\0", "lzo"),
    "another archive": (b"070707", "no archive"),
    "no gzip": (b"\x1f\x8b\x08\xff" + b"?" * 99, "damaged"),
    "a header of none": (b"070701" + b"-0000001" * 13, "no archive"),
    "a name that never ends": (b"070701" + b"FFFFFFFF" * 13, "no archive"),
    "gzip in gzip": (gzip.compress(gzip.compress(cpio({"init": DEAF}))), "no archive"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_cannot_be_read_is_said(what: str, tmp_path: Path) -> None:
    content, why = UNKNOWN[what]
    found = told(tmp_path, content)
    assert found.reads is None
    assert why in found.why


def test_a_small_file_is_not_unpacked_into_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST", 1 << 20)
    bomb = gzip.compress(member("x", bytes(1 << 22)) + cpio({"init": DEAF}))
    assert len(bomb) < 10_000
    assert "is larger than 1 MiB" in told(tmp_path, bomb).why
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    many = cpio({f"f{number}": b"" for number in range(4)})
    assert "has more than 3 files" in told(tmp_path, many).why


def test_what_is_no_file_is_not_opened_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, why in (
        ("pipe", "is no regular file"),
        ("folder", "is no regular file"),
        ("/dev/zero", "is no regular file"),
        ("gone", evidence.GONE),
        ("x/\0", evidence.GONE),
        ("n" * 5000, evidence.GONE),
    ):
        for start in (Start(name), Start("gone", name)):
            found = evidence.reader(start, tmp_path)
            assert found.reads is None
            assert why in found.why
    assert evidence.reader(Start("gone"), None) == evidence.reader(Start("gone"), tmp_path)


CONFIG = b"CONFIG_IP_PNP=y\nCONFIG_VIRTIO_NET=y\n"
DEAF_CONFIG = b"# CONFIG_IP_PNP is not set\n"
BANNER = b"Linux version 6.1\0"


def image(*parts: bytes) -> bytes:
    """As one for arm64 begins."""
    return bytes(56) + b"ARM\x64" + bytes(64) + BANNER + b"\0".join(parts) + bytes(64)


def inside(config: bytes) -> bytes:
    return image(b"IKCFG_ST" + gzip.compress(config) + b"IKCFG_ED")


OWN = cpio({f"file{number}": b"x" * 99 for number in range(20)})
KERNELS: dict[str, tuple[bytes, bool | None]] = {
    "its configuration": (inside(CONFIG), True),
    "its configuration, packed": (b"MZ" + bytes(999) + lzma.compress(inside(CONFIG)), True),
    "its configuration, without": (gzip.compress(inside(DEAF_CONFIG)), False),
    "the card a module": (inside(CONFIG.replace(b"NET=y", b"NET=m")), False),
    "its words": (b"HdrS" + bz2.compress(image(b"ip=", b"nfsaddrs=", b"root=")), True),
    "its words, without": (lzma.compress(image(b"root="), lzma.FORMAT_ALONE), False),
    "in ELF": (b"\x7fELF" + image(b"nfsaddrs=", b"__ksymtab"), True),
    "its own initramfs": (image(b"root=", gzip.compress(OWN)), None),
    "its own initramfs, says it": (inside(b'CONFIG_INITRAMFS_SOURCE="x"\n'), None),
    "lz4": (b"\x7fELF\x02\x21\x4c\x18" + BANNER + b"nfs\xf0addrs=", None),
    "no Linux": (gzip.compress(b"hello" * 99), None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize("what", KERNELS)
def test_a_kernel_reads_it_does_not_or_cannot_be_told(what: str, tmp_path: Path) -> None:
    content, reads = KERNELS[what]
    (tmp_path / "k").write_bytes(content)
    found = evidence.reader(Start("k"), tmp_path)
    assert found.reads is reads, found.why
    assert not found.takes_each


def test_the_configuration_beside_the_kernel_counts_first(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-6.1").write_bytes(inside(CONFIG))
    beside = tmp_path / "config-6.1"

    def found(card: bool = True) -> IpReader:
        return evidence.reader(Start("vmlinuz-6.1", is_virtio=card), tmp_path)

    assert found().reads is True
    beside.write_bytes(DEAF_CONFIG)
    assert found().reads is False
    assert found().why.endswith("without CONFIG_IP_PNP, says config-6.1 beside it")
    beside.write_bytes(CONFIG.replace(b"NET=y", b"NET=m"))
    assert (found().reads, found(card=False).reads) == (False, True)
    beside.write_bytes(b"of something else")
    assert found().reads is True


def test_an_initramfs_without_init_is_none(tmp_path: Path) -> None:
    """One that the kernel itself brings is started in its place."""
    microcode = cpio({"kernel/x86/microcode/GenuineIntel.bin": b"\0"})
    assert told(tmp_path, microcode, inside(DEAF_CONFIG)).reads is False
    assert told(tmp_path, microcode, KERNELS["its own initramfs"][0]).reads is None
    assert told(tmp_path, cpio({"init": DEAF}), KERNELS["its own initramfs"][0]).reads is False


BUILT_IN = b"kernel/drivers/block/loop.ko\nkernel/drivers/net/virtio_net.ko\n"
# An initramfs that reads ip=; more of it, the kernel, and whether there is a card by then.
CARDS: dict[str, tuple[Files, bytes, bool]] = {
    "the initramfs brings it": ({"lib/modules/6/virtio_net.ko.zst": b"\0"}, b"", True),
    "a list says that the kernel has it": (
        {"usr/lib/modules/6/modules.builtin": BUILT_IN, "lib/ext4.ko": b"\0"},
        b"",
        True,
    ),
    "a list says that it has others": (
        {"usr/lib/modules/6/modules.builtin": BUILT_IN[:29]},
        b"",
        False,
    ),
    "the kernel's configuration has it": ({"lib/ext4.ko": b"\0"}, inside(CONFIG), True),
    "the kernel's configuration has it not": ({}, inside(DEAF_CONFIG), False),
    "the kernel's words have it": ({}, image(b"virtio_net.csum"), True),
    "the kernel's words have it not": ({}, image(b"virtio_blk.x"), False),
    "nothing tells, and there are others": ({"lib/ext4.ko.xz": b"\0"}, b"", False),
    "nothing tells, and there are none": ({}, b"", True),
}


@pytest.mark.parametrize("what", CARDS)
def test_who_reads_it_needs_the_cards_driver(what: str, tmp_path: Path) -> None:
    more, kernel, has_card = CARDS[what]
    for files in ({"init": OURS, **more}, {**more, "init": OURS}):
        found = told(tmp_path, cpio(files), kernel)
        assert found.reads is has_card, found.why
        assert found.lacks_driver is not has_card
        assert told(tmp_path, cpio(files), kernel, is_virtio="").reads is True


def test_without_the_cards_driver_the_guest_asks_by_dhcp_and_the_user_is_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The initramfs would wait three minutes for a card that does not come."""
    told(tmp_path, cpio({"init": OURS, "lib/ext4.ko": b"\0"}))
    monkeypatch.chdir(tmp_path)
    for method, more in (("dhcp", ""), ("kernel", 'addressing = "kernel"\n')):
        text = f'[guest.web]\nkernel = "k"\ninitrd = "i"\n{more}'
        (tmp_path / "vm.toml").write_text(text)
        assert load("vm.toml").guests[0].addressing == method
        assert cli.main(["render", "vm.toml"]) == 0
        warned = capsys.readouterr().err
        assert warned.startswith("warning: guest web: its initramfs would read ip=, but has no ")
        assert warned.count("\n") == 1


def test_a_kernel_whose_card_comes_with_the_initramfs_cannot_read_it(tmp_path: Path) -> None:
    """Nothing can tell it by then: the driver comes when the initramfs is started."""
    assert told(tmp_path, cpio({"init": DEAF}), inside(CONFIG)).reads is True
    brought = cpio({"init": DEAF, "lib/virtio_net.ko.zst": b"\0"})
    assert told(tmp_path, brought, inside(CONFIG)).reads is False
    assert told(tmp_path, brought, inside(CONFIG), is_virtio="").reads is True


WHOLE = [pack(cpio({"init": DEAF, "scripts/x": OURS, "a": "b"})) for pack in PACKED.values()]
WHOLE += [content for content, _ in KERNELS.values()]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=9))),
    st.integers(0, 1 << 12),
    st.binary(max_size=64),
)
def test_no_file_makes_it_fail(
    tmp_path: Path, whole: bytes, changes: list[tuple[int, bytes]], cut: int, more: bytes
) -> None:
    content = bytearray(whole)
    for place, part in changes:
        start = place % (len(content) + 1)
        content[start : start + len(part)] = part
    content = content[: len(content) - cut % (len(content) + 1)] + more
    assert told(tmp_path, bytes(content), bytes(content)).why


def test_a_file_that_many_guests_have_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    members = archive.members

    def counted(stream: BinaryIO) -> Iterator[archive.Member]:
        read.append(stream)
        return members(stream)

    monkeypatch.setattr(archive, "members", counted)
    for content in (cpio({"init": OURS}), cpio({"init": OURS, "a": b"b"})):
        read.clear()
        assert told(tmp_path, content).reads is True
        assert evidence.reader(Start("k", "i"), tmp_path).reads is True
        (tmp_path / "other").unlink(missing_ok=True)
        (tmp_path / "other").symlink_to("i")
        assert evidence.reader(Start("k", "other"), tmp_path).reads is True
        assert len(read) == 1


def test_only_what_needs_the_method_looks_at_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting up and taking down taps is not to wait for the unpacking of a kernel."""
    told(tmp_path, cpio({"init": OURS}))
    file = tmp_path / "d.toml"
    file.write_text('[guest.web]\nkernel = "k"\ninitrd = "i"\n')
    monkeypatch.setattr(helper_client, "ask", lambda lines: len(list(lines)))
    for argv in (["up", str(file)], ["down", str(file)]):
        assert cli.main(argv) == 1
    assert given_on_the_command_line.tapped(str(file), "web").address == "192.168.7.2"
    assert not reader.LOOKED
    assert load(str(file)).guests[0].reader.reads is True


def guest(folder: Path | None, keys: str) -> Guest:
    return parse(f"[guest.web]\nkernel = 'k'\n{keys}".encode(), folder=folder).guests[0]


def script(folder: Path | None, keys: str) -> str:
    described = parse(f"[guest.web]\nkernel = 'k'\n{keys}".encode(), folder=folder)
    text = render(described)["web/qemu"].decode()
    return re.sub(r"\n# (?=[a-z])", " ", text)


def test_the_guest_gets_another_method_only_where_nothing_can_read_it(tmp_path: Path) -> None:
    keys = 'initrd = "i"\n'
    unseen = script(None, keys)
    assert unseen == script(tmp_path, keys)  # where the files are not
    assert "kernel, as the kernel is outside the image; it could not be told whether" in unseen
    for files, method, why in (
        ({"init": OURS}, "kernel", "the kernel is outside the image; its initramfs reads ip=: "),
        ({"init": DEAF, "virtio_net.ko": b"\0"}, "dhcp", "nothing reads ip=: no script in its"),
    ):
        told(tmp_path, cpio(files))
        text = script(tmp_path, keys)
        assert f"# How it learns its address: {method}, as {why}" in text
        assert (" ip=192" in text) is (method == "kernel")
        assert str(tmp_path) not in text
        assert guest(tmp_path, f"{keys}addressing = 'kernel'").addressing == "kernel"


def test_a_guest_as_distributions_pack_it_asks_by_dhcp(tmp_path: Path) -> None:
    """Its initramfs cannot be looked at, but its kernel reads nothing: that would be unusual."""
    keys = 'kernel = "vmlinuz-6"\ninitrd = "i"\n'
    early = cpio({"kernel/x86/microcode": b"x"})
    (tmp_path / "i").write_bytes(early + b"\x02\x21\x4c\x18" + b"x" * 99)
    (tmp_path / "vmlinuz-6").write_bytes(b"MZ")
    for ip_pnp, method in (("# CONFIG_IP_PNP is not set", "dhcp"), ("CONFIG_IP_PNP=y", "kernel")):
        (tmp_path / "config-6").write_text(f"{ip_pnp}\nCONFIG_VIRTIO_NET=y\n")
        described = parse(f"[guest.web]\n{keys}".encode(), folder=tmp_path).guests[0]
        assert described.addressing == method
        if method == "dhcp":
            assert "compressed with lz4" in described.addressing_why
    (tmp_path / "config-6").unlink()  # nor can the kernel be told to read nothing
    described = parse(f"[guest.web]\n{keys}".encode(), folder=tmp_path).guests[0]
    assert described.addressing == "kernel"


def test_check_says_what_the_script_says(tmp_path: Path) -> None:
    keys = 'initrd = "i"\naddressing = "kernel"\n'

    def look() -> list[tuple[str, str]]:
        place = Place((guest(tmp_path, keys),), tmp_path)
        return [(found.level, found.what) for found in guest_addressing.listener(place)]

    assert look() == []
    told(tmp_path, cpio({"init": OURS}))
    assert look() == []
    why = told(tmp_path, cpio({"init": DEAF, "virtio_net.ko": b"\0"})).why
    assert look() == [("error", f"guest web: {why}")]
    why = told(tmp_path, b"\x28\xb5\x2f\xfd").why
    assert look() == [("warning", f"guest web: {why}")]


TWO = """interface = [{ network = "user" }, { network = "bridge", bridge = "br0" },
    { network = "user", forward = ["tcp:2222:22"] }]
"""
FURTHER = [
    "ip=10.0.2.15:::255.255.255.0::eth1:off",
    "ip=:::::eth2:dhcp",
    "ip=10.0.3.15:::255.255.255.0::eth3:off",
]
TAP = "ip=192.168.7.2::192.168.7.1:255.255.255.252:web:eth0:off"


def words(folder: Path | None, keys: str = TWO) -> list[str]:
    """What the kernel is told."""
    (line,) = re.findall(r'-append "?([^"\n]*)', script(folder, f'initrd = "i"\n{keys}'))
    return [word for word in line.strip("' ").split() if not word.startswith("console=")]


def test_who_reads_several_is_told_of_every_card_and_of_the_taps_last(tmp_path: Path) -> None:
    told(tmp_path, cpio({"init": OURS}))
    assert words(tmp_path) == [*FURTHER, TAP, "net.ifnames=0"]
    assert "net=10.0.3.0/24" in script(tmp_path, TWO)
    assert "only one ip=" not in script(tmp_path, f'initrd = "i"\n{TWO}')
    as_runqemu = script(tmp_path, f'initrd = "i"\n{TWO}[network]\nlayout = "runqemu"\n')
    assert as_runqemu.count(" ip=192") == 1
    assert "only one ip= is sure" in as_runqemu
    told(tmp_path, cpio({"usr/lib/dracut/hooks/cmdline/98-parse-ip-opts.sh": b""}))
    assert words(tmp_path) == [*FURTHER, TAP, "net.ifnames=0", "rd.neednet=1", "bootdev=eth0"]
    assert words(tmp_path, "") == [TAP, "net.ifnames=0", "rd.neednet=1"]


def test_who_reads_one_is_told_of_the_tap_and_the_script_says_so(tmp_path: Path) -> None:
    said = "; only one ip= is sure to be read, so eth1 and eth2 and eth3 have to ask by DHCP."
    for kernel, initrd in (
        (inside(CONFIG), cpio({"init": DEAF})),
        (b"", cpio({**MKINITCPIO, "hooks/net": b""})),
        (b"", b""),
    ):
        told(tmp_path, initrd, kernel)
        assert words(tmp_path) == [TAP, "net.ifnames=0"]
        assert said in script(tmp_path, f'initrd = "i"\n{TWO}')


def test_systemds_generator_understands_the_words(tmp_path: Path) -> None:
    program = Path("/lib/systemd/systemd-network-generator")
    told(tmp_path, cpio({"init": OURS}))
    root = tmp_path / "root"
    subprocess.run([program, f"--root={root}", "--", *words(tmp_path)], check=True, timeout=60)
    # The number in front is 90 in systemd 252 and 70 in 257.
    files = {
        path.name.partition("-")[2]: path.read_text()
        for path in (root / "run/systemd/network").iterdir()
    }
    assert "Address=10.0.2.15/24" in files["eth1.network"]
    assert "DHCP=ipv4" in files["eth2.network"]
    assert "Address=192.168.7.2/30" in files["eth0.network"]
    assert [name for name, text in files.items() if "Gateway=" in text] == ["eth0.network"]


# Where mounting changes nothing of the machine's.
APART = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
# dracut's own parser, told the words in place of the machine's.
PARSED = """
mount -t tmpfs none /tmp && mount -t tmpfs none /etc && mkdir /etc/cmdline.d
echo "$*" > /tmp/words && mount --bind /tmp/words /proc/cmdline
modules=/usr/lib/dracut/modules.d PATH=$PATH:/tmp
for name in getarg getargs; do ln -s /usr/lib/dracut/dracut-util /tmp/dracut-$name; done
. $modules/99base/dracut-lib.sh 2> /dev/null
. $modules/4?net*/net-lib.sh
die() { echo "die $*"; exit 1; }
. $modules/35network-legacy/parse-ip-opts.sh 2> /dev/null
cat /tmp/net.bootdev /tmp/net.ifaces
"""


def test_dracut_understands_the_words(tmp_path: Path, requires: Callable[..., None]) -> None:
    requires("dracut")
    told(tmp_path, cpio({"usr/lib/dracut/hooks/cmdline/98-parse-ip-opts.sh": b""}))
    argv = [*APART, "bash", "-c", PARSED, "sh", *words(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["eth0", "eth0", "eth1", "eth2", "eth3"], done.stderr


def made(tmp_path: Path, *argv: str) -> IpReader:
    """Of a real initramfs that this command makes."""
    config = "mount -t tmpfs none /boot && echo CONFIG_RD_GZIP=y > /boot/config-0-none && exec "
    subprocess.run(
        [*APART, "sh", "-c", config + '"$@"', "sh", *argv, tmp_path / "i"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return evidence.reader(Start("k", "i"), tmp_path)


def test_debians_own_initramfs_reads_it_as_its_init_does(
    tmp_path: Path, requires: Callable[..., None]
) -> None:
    """Up to Debian 12 for an NFS root alone; since 13 its init does so for any ip=."""
    requires("mkinitramfs")
    (tmp_path / "k").write_bytes(inside(DEAF_CONFIG + b"CONFIG_VIRTIO_NET=y\n"))
    found = made(tmp_path, "env", "COMPRESS=gzip", "sh", "-c", 'mkinitramfs -o "$0" 0-none')
    # What is installed here says which of the two is true.
    init = Path("/usr/share/initramfs-tools/init").read_text()
    reads_any = re.search(r"^\s*configure_networking$", init, re.MULTILINE) is not None
    assert found.reads is reads_any
    why = "reads ip= for a script there" if reads_any else "made its initramfs, without a network"
    assert f"initramfs-tools {'in its initramfs ' if reads_any else ''}{why}" in found.why
    assert evidence.reader(Start("k", "i", boot="nfs"), tmp_path).reads is True


DRACUTS = {"base": False, "base network-legacy": True, "base systemd-networkd": True}


@pytest.mark.parametrize("modules", DRACUTS)
def test_dracuts_initramfs_reads_it_with_a_module_for_the_network(
    modules: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("dracut", "dhclient", "arping", "dbus-daemon")
    (tmp_path / "k").write_bytes(inside(DEAF_CONFIG + b"CONFIG_VIRTIO_NET=y\n"))
    argv = ["dracut", "--no-kernel", "--gzip", "--kver=0-none", "--omit", "ifcfg", "-m", modules]
    found = made(tmp_path, *argv)
    assert found.reads is DRACUTS[modules], found.why
    assert found.takes_each is bool(found.reads)
