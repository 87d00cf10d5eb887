"""tapdraft import: the twelve machines' files, point by point against what runqemu would run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapdraft.generator import qemu
from tapdraft.generator.description import Guest, parse
from tapdraft.generator.errors import BadDescription, TapdraftError
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.qemuboot import reading
from tapdraft.generator.qemuboot.convert import Imported, convert

HERE = Path(__file__).parent
FILES = sorted((HERE / "qemuboot").glob("*.qemuboot.conf"))
NAMES = [file.name.partition(".")[0] for file in FILES]
MMIO = {"qemuarm", "qemuriscv32", "qemuriscv64"}
TWO_CONSOLES = set(NAMES) - {"qemuppc64", "qemuloongarch64"}

# Each point in which the command differs from runqemu's, why, and for which machines.
DIFFERENCES = {
    "name": ("qemu and its window have the image's name", set(NAMES)),
    "defaults": ("no device and no setting that nobody wrote down", set(NAMES)),
    "accelerator": ("is said; qemu would choose by itself what runqemu leaves out", set(NAMES)),
    "tap": ("td-GUEST, which the helper makes, in place of tap0", set(NAMES)),
    "boot ROM": ("no network boot, so its file need not be there",
                 {name for name in NAMES if MACHINES[name].nic.endswith("-pci")}),
    "disk": ("the device that if=virtio stands for is named",
             {"qemux86", "qemux86-64", "qemuarmv5", "qemumips", "qemumips64", "qemuppc",
              "qemuppc64", "qemuloongarch64"}),
    "smp": ("is said: 1, as qemu has it", set(NAMES) - {"qemux86", "qemux86-64", "qemuarm",
                                                        "qemuarm64", "qemuriscv64"}),
    "memory": ("with its unit", set(NAMES)),
    "cpu": ("is said: rv32, as qemu has it", {"qemuriscv32"}),
    "random": ("on the bus that the machine's other devices are on", MMIO),
    "screen": ("-nographic in its parts: no display, and the terminal as serial line", set(NAMES)),
    "consoles": ("the first alone: the kernel makes the last one /dev/console, and the second "
                 "line leads nowhere", TWO_CONSOLES),
    "cursor": ("no qemu has -show-cursor any more", {"qemumips64"}),
    "sound": ("the board's own sound chip is given none of the host's", {"qemuarmv5"}),
}  # fmt: skip


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def variables(file: Path) -> dict[str, str]:
    return {name: found.value for name, found in reading.read(str(file)).items()}


def imported(file: Path) -> tuple[Imported, Guest]:
    result = convert(str(file), file.parent)
    return result, parse(result.text.encode()).guests[0]


def pairs(argv: list[str]) -> list[tuple[str, str]]:
    rest, found = argv[1:], []
    while rest:
        name = rest.pop(0)
        value = rest.pop(0) if rest and not rest[0].startswith("-") else ""
        found.append((name, value))
    return found


def points(argv: list[str]) -> dict[str, object]:
    """What a command comes to, by the points that can be compared."""
    options = pairs(argv)
    last = dict(options)
    devices = [value for name, value in options if name == "-device"]
    nic = next(value for value in devices if "netdev=net0" in value)
    disk = [value for value in devices if "drive=disk0" in value]
    random = [value for value in devices if value.startswith("virtio-rng")]
    drive = dict(part.partition("=")[::2] for part in last["-drive"].split(","))
    net = dict(part.partition("=")[::2] for part in last["-netdev"].split(","))
    words = last["-append"].split()
    consoles = [word for word in words if word.startswith("console=")]
    known = {"-device", "-machine", "-cpu", "-smp", "-m", "-kernel", "-append", "-dtb", "-bios",
             "-drive", "-netdev", "-serial", "-nographic", "-display", "-name", "-nodefaults",
             "-no-user-config", "-object", "-show-cursor", "-audiodev"}  # fmt: skip
    board, _, accel = last["-machine"].partition(",accel=")
    return {
        "binary": argv[0], "machine": board, "accelerator": accel, "cpu": last.get("-cpu"),
        "smp": last.get("-smp"), "memory": last["-m"], "memory in MiB": last["-m"].rstrip("M"),
        "kernel": last["-kernel"], "dtb": last.get("-dtb"), "bios": last.get("-bios"),
        "words": sorted(set(words) - set(consoles)), "consoles": consoles,
        "first console": consoles[0], "name": last.get("-name"),
        "defaults": "-nodefaults" in last or "-no-user-config" in last,
        "network card": nic.replace(",romfile=", ""), "boot ROM": "romfile=" in nic,
        "tap": net.pop("ifname"), "network": net,
        "image": (drive["file"], drive["format"]), "disk": (drive["if"], disk),
        "random": random, "random source": last["-object"].split(",")[0],
        "screen": ("-nographic" in last, last.get("-display")),
        "serial": [value for name, value in options if name == "-serial"],
        "cursor": "-show-cursor" in last, "sound": last.get("-audiodev"),
        "devices": sorted(set(devices) - {nic, *disk, *random}),
        "rest": sorted(option for option in options if option[0] not in known),
    }  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_the_command_is_runqemus_but_for_what_is_explained(file: Path) -> None:
    name = file.name.partition(".")[0]
    _, guest = imported(file)
    ours = points(qemu.argv(guest, accel="tcg", cpu=MACHINES[name].cpu))
    theirs = points(module("runqemu").argv(variables(file)))
    differing = {point for point in theirs if theirs[point] != ours[point]}
    assert differing == {p for p, (_, where) in DIFFERENCES.items() if name in where}, {
        point: (theirs[point], ours[point]) for point in differing
    }


def test_each_difference_is_explained_in_the_manual() -> None:
    text = " ".join((HERE.parent / "man/text/tapdraft-runqemu.7.txt").read_text("utf-8").split())
    for point, (why, where) in DIFFERENCES.items():
        assert where, point
        assert why in text, point


def test_all_twelve_machines_are_there() -> None:
    assert set(NAMES) == {name for name in MACHINES if name.startswith("qemu")}
    assert len(NAMES) == 12


def test_the_address_is_byte_for_byte_what_runqemu_says() -> None:
    file = HERE / "qemuboot/qemux86-64.qemuboot.conf"
    _, guest = imported(file)
    theirs = re.search(r"ip=\S+ net\.ifnames=0", module("runqemu").append(variables(file)))
    argv = qemu.argv(guest, accel="tcg", cpu="max")
    assert theirs is not None
    assert theirs[0] in argv[argv.index("-append") + 1]
    assert (guest.mac, guest.address) == ("52:54:00:12:34:02", "192.168.7.2")
    assert (guest.gateway, guest.prefix) == ("192.168.7.1", 32)


def conf(tmp_path: Path, text: str, **files: str) -> Path:
    (tmp_path / "deploy").mkdir(exist_ok=True)
    for name in files.values():
        (tmp_path / "deploy" / name).write_text("")
    file = tmp_path / "deploy/x.qemuboot.conf"
    lines = "qb_system_name = qemu-system-x86_64\nmachine = qemux86-64\nimage_link_name = image\n"
    file.write_text(f"[config_bsp]\n{lines}{text}")
    return file


def test_shell_commands_are_named_and_never_run(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    file = conf(tmp_path, f"qb_setup_cmd = touch {victim}\nqb_cleanup_cmd = touch {victim}\n")
    result, guest = imported(file)
    named = [line for line in result.warnings if "_CMD is a command for a shell" in line]
    assert [line.split(":")[2] for line in named] == ["5", "6"]
    assert str(victim) not in result.text
    assert not victim.exists()
    assert not guest.qemu


def test_paths_are_found_as_runqemu_finds_them(tmp_path: Path) -> None:
    file = conf(
        tmp_path,
        "deploy_dir_image = ../deploy\nqb_default_kernel = bzImage\nqb_dtb = ../deploy/b.dtb\n"
        "qb_default_bios = none\nqb_default_fstype = ext4\n",
        kernel="bzImage", image="image-20260101.ext4", dtb="b.dtb",
    )  # fmt: skip
    result, guest = imported(file)
    assert guest.files == ("bzImage", "b.dtb", "image-20260101.ext4")
    assert not result.warnings
    other = convert(str(file), tmp_path / "elsewhere")
    assert f'kernel = "{tmp_path}/deploy/bzImage"' in other.text


@pytest.mark.parametrize(
    ("fstype", "line"),
    [
        ("ext4.zst", "snapshot = true"),
        ("cpio.gz", 'initrd = "image.cpio.gz"'),
        ("ramfs", "root=/dev/ram0 rw debugshell"),
        ("wic", 'disk = { file = "image.wic", bus = "scsi" }'),
        ("wic.vmdk", 'disk = { file = "image.wic.vmdk", bus = "scsi" }'),
        ("squashfs", 'disk = "image.squashfs"'),
        ("nfs", 'nfs = "{}/image-nfsroot,nfsvers=3,tcp"'),
        ("hddimg", 'bus = "scsi"'),
    ],
)
def test_each_type_of_file_system_becomes_what_qemu_takes(
    tmp_path: Path, fstype: str, line: str
) -> None:
    file = conf(tmp_path, "qb_default_kernel = bzImage\n", kernel="bzImage")
    text = convert(str(file), file.parent, fstype).text
    assert line.replace("{}", str(file.parent)) in text
    inside = fstype.startswith("wic") or fstype == "hddimg"
    assert ('kernel = "bzImage"' in text) is not inside


def test_an_image_without_its_kernel_is_told_apart_by_the_configuration(tmp_path: Path) -> None:
    file = conf(tmp_path, "qb_fsinfo = wic:no-kernel-in-fs\nqb_default_kernel = bzImage\n")
    assert 'kernel = "bzImage"' in convert(str(file), file.parent, "wic").text


def test_every_variable_has_a_meaning_or_is_named(tmp_path: Path) -> None:
    file = conf(tmp_path, "qb_new_thing = 1\n")
    result, _ = imported(file)
    assert any(":5: QB_NEW_THING has no meaning here" in line for line in result.warnings)
    for known in FILES:
        result, _ = imported(known)
        assert not [line for line in result.warnings if "no meaning" in line]


def test_what_is_not_usual_is_kept(tmp_path: Path) -> None:
    file = conf(
        tmp_path,
        "qb_default_kernel = bzImage\n"
        "qb_network_device = -device e1000,netdev=net0,mac=52:54:00:00:00:01\n"
        "qb_cpu = -cpu qemu64,+ssse3\nqb_machine = -machine pc\nqb_mem = -m 1G\n"
        "qb_tap_opt = -netdev tap,id=net0,ifname=@TAP@,vhost=on,queues=2,sndbuf=0\n"
        "qb_cmdline_ip_tap = ip=192.168.7.@CLIENT@::192.168.7.@GATEWAY@:255.255.255.0::eth1\n"
        "qb_slirp_opt = -netdev user,id=net0,hostfwd=tcp::5022-:22\n"
        "qb_rootfs_opt = -drive file=@ROOTFS@,if=mtd,format=raw -device other,drive=x\n",
    )  # fmt: skip
    result, guest = imported(file)
    assert (guest.nic, guest.mac, guest.cpu) == ("e1000", "52:54:00:00:00:01", "qemu64,+ssse3")
    assert (guest.board, guest.memory, guest.vhost, guest.queues) == ("pc", 1024, True, 2)
    assert "ip=192.168.7.2::192.168.7.1:255.255.255.0::eth1" in guest.append
    assert "file=image.ext4,if=mtd,format=raw" in guest.qemu
    assert '# forward = ["tcp:5022:22"]' in result.text
    assert any("sndbuf" in line for line in result.warnings)


def test_the_first_guest_of_runqemu_is_not_the_only_one(tmp_path: Path) -> None:
    """A second table in the description gets what runqemu's second call would get."""
    result, _ = imported(conf(tmp_path, "qb_default_kernel = bzImage\n"))
    table = result.text.partition("[guest.")[2]
    both = parse(f"{result.text}\n[guest.second]\n{table.partition(']')[2]}".encode()).guests
    assert [g.address for g in both] == ["192.168.7.2", "192.168.7.4"]
    assert both[1].mac == "52:54:00:12:34:04"


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("", 1, "no variable in a section"),
        ("qb_mem = 1\n", 1, "before any section"),
        ("[config_bsp]\n\nqb_mem\n", 3, "this is no variable"),
        ("[config_bsp]\nqb_mem = 1\nQB_MEM = 2\n", 3, "is there already, in line 2"),
        ("[config_bsp]\nqb_mem = \x1b[2J\n", 2, "U+001B could not be seen"),
        ("[other]\nqb_mem = 1\n", 1, "no variable in a section"),
    ],
)
def test_a_malformed_file_is_told_with_its_line_and_a_hint(
    tmp_path: Path, content: str, line: int, what: str
) -> None:
    file = tmp_path / "x.qemuboot.conf"
    file.write_text(content)
    with pytest.raises(BadDescription) as caught:
        convert(str(file), tmp_path)
    said = str(caught.value)
    assert said.startswith(f"error: {file}:{line}: ")
    assert what in said
    assert "\nhint: " in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("qb_opt_append = 'x\n", "line 5: QB_OPT_APPEND: No closing quotation"),
        ("qb_mem = -m 99999999999G\n", "makes no description"),
    ],
)
def test_values_that_make_no_description_are_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(TapdraftError) as caught:
        imported(conf(tmp_path, text))
    assert what in str(caught.value)


def test_a_machine_that_is_not_known_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "x.qemuboot.conf"
    file.write_text("[config_bsp]\nmachine = qemuarm46\nqb_system_name = qemu-system-x\n")
    with pytest.raises(TapdraftError) as caught:
        convert(str(file), tmp_path)
    assert "hint: did you mean qemuarm64?" in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        reading.parse(b"[config_bsp]\n" + content)
    except BadDescription as bad:
        assert str(bad).startswith("error: qemuboot.conf:")


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_what_is_imported_is_written_as_scripts(file: Path) -> None:
    render = pytest.importorskip("tapdraft.generator.render")
    result, guest = imported(file)
    files = render.render(parse(result.text.encode()))
    assert {f"{guest.name}/{script}" for script in ("ifup", "ifdown", "qemu", "run")} < set(files)
