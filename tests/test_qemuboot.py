"""tapdraft import: what each variable of a qemuboot.conf becomes.

Whether the command is that of the real runqemu is for tests/field.
"""

from __future__ import annotations

from pathlib import Path

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


def imported(file: Path) -> tuple[Imported, Guest]:
    result = convert(str(file), file.parent)
    return result, parse(result.text.encode()).guests[0]


def test_all_twelve_machines_are_there() -> None:
    assert set(NAMES) == {name for name in MACHINES if name.startswith("qemu")}
    assert len(NAMES) == 12


def conf(tmp_path: Path, text: str, **files: str) -> Path:
    (tmp_path / "deploy").mkdir(exist_ok=True)
    for name in files.values():
        (tmp_path / "deploy" / name).write_text("")
    file = tmp_path / "deploy/x.qemuboot.conf"
    lines = "qb_system_name = qemu-system-x86_64\nmachine = qemux86-64\nimage_link_name = image\n"
    file.write_text(f"[config_bsp]\n{lines}{text}")
    return file


@pytest.mark.parametrize(("said", "hint"), [("ramfs", "cpio.gz"), ("ext4 wic", "ext4")])
def test_what_runqemu_finds_no_image_for_is_refused_with_a_type(
    tmp_path: Path, said: str, hint: str
) -> None:
    """In the file ramfs is no other name of cpio.gz, and a list is no type."""
    file = conf(tmp_path, f"qb_default_fstype = {said}\n", image="image.cpio.gz")
    with pytest.raises(TapdraftError, match="expected one type of image") as refused:
        convert(str(file), file.parent)
    assert refused.value.hint == f"add --type={hint} to the command"
    assert convert(str(file), file.parent, hint).text


def test_shell_commands_are_named_and_never_run(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    file = conf(tmp_path, f"qb_setup_cmd = touch {victim}\nqb_cleanup_cmd = touch {victim}\n")
    result, guest = imported(file)
    named = [line for line in result.warnings if "_CMD is a command for a shell" in line]
    assert [line.split(":")[2] for line in named] == ["5", "6"]
    assert str(victim) not in result.text
    assert not victim.exists()
    assert guest.qemu == ("-drive", "file=@DISK0@,if=virtio,format=raw")


def test_paths_are_found_as_runqemu_finds_them(tmp_path: Path) -> None:
    file = conf(
        tmp_path,
        "deploy_dir_image = ../deploy\nqb_default_kernel = bzImage\nqb_dtb = ../deploy/b.dtb\n"
        "qb_default_bios = none\nqb_default_fstype = ext4\n",
        kernel="bzImage",
        image="image-20260101.ext4",
        dtb="b.dtb",
    )
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
        ("wic", '"if=none,id=hd,file=@DISK0@,format=raw", "-device", "virtio-scsi-pci,id=scsi"'),
        ("wic.vmdk", '"-drive", "file=@DISK0@,if=virtio,format=vmdk"'),
        ("wic.qcow2", '"-drive", "file=@DISK0@,if=virtio,format=qcow2"'),
        ("wic.vhd", '"-drive", "file=@DISK0@,if=virtio,format=vpc"'),
        ("iso", '"-drive", "file=@DISK0@,if=virtio,media=cdrom,format=raw"'),
        ("squashfs", 'disk = { file = "image.squashfs", bus = "qemu" }'),
        ("tar", 'nfs = "{}/image-nfsroot,nfsvers=3,tcp"'),
        ("tar.xz", 'nfs = "{}/image-nfsroot,nfsvers=3,tcp"'),
        ("nfs", 'nfs = "{}/image-nfsroot,nfsvers=3,tcp"'),
        ("hddimg", '"scsi-hd,drive=hd"'),
    ],
)
def test_each_type_of_file_system_becomes_what_qemu_takes(
    tmp_path: Path, fstype: str, line: str
) -> None:
    file = conf(tmp_path, "qb_default_kernel = bzImage\n", kernel="bzImage")
    text = convert(str(file), file.parent, fstype).text
    assert line.replace("{}", str(file.parent)) in text
    inside = fstype.startswith("wic") or fstype in ("hddimg", "iso")
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
    )
    result, guest = imported(file)
    assert guest.card == ("-device", "e1000,netdev=net0,mac=52:54:00:00:00:01")
    assert guest.cpu == "qemu64,+ssse3"
    assert (guest.board, guest.memory, guest.vhost, guest.queues) == ("pc", 1024, True, 2)
    argv = qemu.argv(guest)
    assert "ip=192.168.7.2::192.168.7.1:255.255.255.0::eth1" in argv[argv.index("-append") + 1]
    assert "file=image.ext4,if=mtd,format=raw" in argv
    assert 'user-net = ["hostfwd=tcp:127.0.0.1:5022-:22"]' in result.text
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
        ("qb_mem = -m 99999999G\n", "makes no description"),
    ],
)
def test_values_that_make_no_description_are_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(TapdraftError) as caught:
        imported(conf(tmp_path, text))
    assert what in str(caught.value)


def test_a_machine_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = tmp_path / "x.qemuboot.conf"
    file.write_text("[config_bsp]\nmachine = board\nqb_system_name = qemu-system-aarch46\n")
    with pytest.raises(TapdraftError) as caught:
        convert(str(file), tmp_path)
    assert "hint: write one of these: qemu-system-aarch64, qemu-system-arm, " in str(caught.value)


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


@pytest.mark.parametrize(
    ("binary", "what"),
    [
        ("qemu-system-aarch64-multiarch", "a vendor's own qemu, which tapdraft does not start"),
        ("qemu-system-nios2", "which tapdraft does not know"),
        ("", "QB_SYSTEM_NAME is empty, and machine board is none of Yocto's"),
    ],
)
def test_a_qemu_that_no_distribution_has_is_called_that(
    binary: str, what: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.qemuboot.conf"
    file.write_text(f"[config_bsp]\nmachine = board\nqb_system_name = {binary}\n")
    with pytest.raises(TapdraftError) as caught:
        convert(str(file), tmp_path)
    assert what in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_the_second_guest_is_told_its_own_address(tmp_path: Path) -> None:
    result, first = imported(
        conf(
            tmp_path,
            "qb_default_kernel = bzImage\n"
            "qb_cmdline_ip_tap = "
            "ip=192.168.7.@CLIENT@::192.168.7.@GATEWAY@:255.255.255.0::eth0:off\n",
        )
    )
    table = result.text.partition("[guest.")[2].partition("]")[2]
    second = parse(f"{result.text}\n[guest.second]\n{table}".encode()).guests[1]
    for guest, client, host in ((first, 2, 1), (second, 4, 3)):
        argv = qemu.argv(guest)
        told = f"ip=192.168.7.{client}::192.168.7.{host}:255.255.255.0::eth0:off"
        assert told in argv[argv.index("-append") + 1].split()
    tables = f"{result.text}network = 'user'\n".encode()
    argv = qemu.argv(parse(tables).guests[0])
    assert "ip=dhcp" in argv[argv.index("-append") + 1].split()


def test_the_folder_of_the_file_counts_and_not_the_one_that_it_was_built_in(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "bzImage").write_text("")
    (old / "image.ext4").write_text("")
    file = conf(tmp_path, f"deploy_dir_image = {old}\n", kernel="bzImage", image="image.ext4")
    result, guest = imported(file)
    assert guest.files == ("bzImage", "image.ext4")
    assert str(old) not in result.text


def test_the_short_forms_of_old_name_their_format(tmp_path: Path) -> None:
    _, guest = imported(conf(tmp_path, "qb_rootfs_opt = -hda @ROOTFS@\n"))
    assert guest.qemu[:2] == ("-drive", "file=@DISK0@,index=0,media=disk,format=raw")


def test_an_initrd_may_be_for_the_boards_own_firmware(tmp_path: Path) -> None:
    text = "qb_default_kernel = none\nqb_default_fstype = cpio.gz\n"
    _, guest = imported(conf(tmp_path, text))
    argv = qemu.argv(guest)
    assert argv[argv.index("-initrd") + 1] == "image.cpio.gz"
    assert "-kernel" not in argv


def test_a_tab_between_options_is_a_blank(tmp_path: Path) -> None:
    _, guest = imported(conf(tmp_path, "qb_opt_append = -usb\t-device\tusb-tablet\n"))
    assert guest.qemu[-3:] == ("-usb", "-device", "usb-tablet")


def test_a_window_shows_the_console_and_the_terminal_then_is_none(tmp_path: Path) -> None:
    """runqemu without a word: no console= but the screen."""
    text = "qb_default_kernel = bzImage\nserial_consoles = 115200;ttyS0 115200;ttyS1\n"
    result, guest = imported(conf(tmp_path, text))
    assert "console=ttyS0 console=ttyS1" in " ".join(qemu.argv(guest))
    shown = result.text.replace('serial = ["terminal"', 'display = "gtk"\nserial = ["window"')
    argv = qemu.argv(parse(shown.encode()).guests[0])
    assert "console=" not in " ".join(argv)
    assert argv[argv.index("-display") - 1] == "virtio-vga"
    assert argv[argv.index("-display") + 1] == "gtk,show-cursor=on"


@pytest.mark.parametrize(
    ("given", "serial"),
    [
        ("", ["mon:stdio", "null"]),
        ("-serial null", ["null", "null", "mon:stdio"]),
        ("-serial null -serial mon:stdio", ["null", "mon:stdio"]),
    ],
)
def test_serial_lines_are_filled_up_to_two(given: str, serial: list[str], tmp_path: Path) -> None:
    _, guest = imported(conf(tmp_path, f"qb_opt_append = {given}\n"))
    argv = qemu.argv(guest)
    assert [argv[index + 1] for index, word in enumerate(argv) if word == "-serial"] == serial


# What each variable whose text reaches qemu could have a foreign file do.
REACHING = (
    "-monitor tcp:0.0.0.0:4444,server,nowait",
    "--monitor telnet::4444,server",
    "-qmp unix:/tmp/q",
    "-qmp-pretty tcp::1,server",
    "-gdb tcp::1234",
    "-s",
    "-readconfig /tmp/c",
    "-runas nobody",
    "-chardev socket,id=c,port=1,host=0.0.0.0,server=on",
    "-chardev pipe,id=c,path=/tmp/p",
    "-chardev stdio,id=c,logfile=/tmp/l",
    "-serial tcp::4444,server",
    "-serial file:/tmp/l",
    "-netdev tap,id=n,script=/tmp/s",
    "-netdev user,id=n,guestfwd=tcp:10.0.2.9:1-cmd:id",
    "-net tap,script=/tmp/s",
    "-nic user,smb=/home",
    "-vnc :0",
    "-spice port=1",
    "-display vnc=:0",
    "-drive file=/etc/passwd,format=raw",
    "-drive file=nbd:host:1,format=raw",
    "-hda ../../secret",
    "-drive driver=nbd,host=h",
    "-blockdev driver=file,filename=x,node-name=n",
    "-virtfs local",
    "-fsdev local,id=f,path=/",
    "-object secret,id=s,file=/etc/passwd",
    "-incoming exec:id",
    "-object memory-backend-file,id=m,mem-path=/tmp/m,size=1M",
    "-semihosting",
    "-trace file=/t",
    "-object filter-dump,id=f,netdev=net0,file=/tmp/d",
    "-device loader,file=/etc/passwd",
    "-device vfio-pci,host=01:00.0",
    "-device usb-host,hostbus=1,hostaddr=1",
    "-D /tmp/log",
    '-device {\\"driver\\":\\"usb-host\\"}',
    "-device vhost-vsock-pci,guest-cid=3",
    "-device e1000,romfile=/etc/passwd",
    "-machine virt,dumpdtb=/d",
    "-daemonize",
    "-pidfile /x",
    "-acpitable file=/etc/x",
    "-smbios file=/etc/x",
    "-fw_cfg name=opt/a,file=/etc/passwd",
    "-dtb /etc/x",
    "-nographic /home/u/secret.img",
    "-no-such-option",
    "-plugin /tmp/p.so",
    "-usbdevice disk:/etc/passwd",
    "-audiodev wav,id=a,path=/tmp/w",
    "-tpmdev emulator,id=t",
    "-global e1000.romfile=/etc/passwd",
    "-device driver=usb-host",
)


@pytest.mark.parametrize("option", REACHING)
@pytest.mark.parametrize(
    "variable", ["qb_opt_append", "qb_graphics", "qb_network_device", "qb_machine", "qb_rootfs_opt"]
)
def test_what_a_foreign_file_opens_beside_the_guest_is_told(
    variable: str, option: str, tmp_path: Path
) -> None:
    result, _ = imported(conf(tmp_path, f"{variable} = {option}\n"))
    told = [line for line in result.warnings if f"{variable.upper()} passes on " in line]
    assert len(told) == 1
    shown = option.replace('\\"', '"').removeprefix("-nographic ")
    assert f":5: {variable.upper()} passes on {shown}" in told[0]


def test_what_machine_configurations_usually_have_is_passed_on_without_a_word(
    tmp_path: Path,
) -> None:
    for known in FILES:
        result, _ = imported(known)
        assert not [line for line in result.warnings if "passes on" in line], known
    file = conf(
        tmp_path,
        "qb_opt_append = -device loader,file=@DEPLOY_DIR_IMAGE@/boot.bin,addr=0x1000 -usb "
        "-drive file=@DEPLOY_DIR_IMAGE@/more.img,if=none,id=x -global xlnx,boot.cpu-num=0\n",
    )
    for base in (file.parent, tmp_path):
        result = convert(str(file), base)
        assert not [line for line in result.warnings if "passes on" in line]


@pytest.mark.parametrize(
    "part",
    [
        "guestfwd=tcp:10.0.2.9:1-cmd:id",
        "smb=/home",
        "tftp=/home",
        "bootfile=../x",
        "hostfwd=tcp:192.168.1.5:2222-:22",
        "hostfwd=tcp:[::]:2222-:22",
    ],
)
def test_what_reaches_beyond_qemus_own_network_is_told(part: str, tmp_path: Path) -> None:
    result, _ = imported(conf(tmp_path, f"qb_slirp_opt = -netdev user,id=net0,{part}\n"))
    assert [line for line in result.warnings if f":5: QB_SLIRP_OPT passes on {part}:" in line]
    usual = "hostfwd=tcp::2222-:22,tftp=@DEPLOY_DIR_IMAGE@,net=192.168.9.0/24"
    usual = usual.replace("@DEPLOY_DIR_IMAGE@", str(tmp_path / "deploy"))
    result, _ = imported(conf(tmp_path, f"qb_slirp_opt = -netdev user,id=net0,{usual}\n"))
    assert not [line for line in result.warnings if "passes on" in line]


def test_a_link_that_leads_out_of_the_images_folder_is_told(tmp_path: Path) -> None:
    """A person who reads the description sees only the harmless name."""
    file = conf(tmp_path, "qb_default_kernel = bzImage\n", kernel="bzImage-6.6", image="i-1.ext4")
    (tmp_path / "secret").write_text("")
    (file.parent / "bzImage").symlink_to("bzImage-6.6")
    (file.parent / "image.ext4").symlink_to("i-1.ext4")
    assert not [line for line in imported(file)[0].warnings if "is a link" in line]
    (file.parent / "image.ext4").unlink()
    (file.parent / "image.ext4").symlink_to("../secret")
    told = [line for line in imported(file)[0].warnings if "is a link" in line]
    assert len(told) == 1
    assert f"image.ext4 is a link to {tmp_path}/secret, outside the image's folder" in told[0]


@pytest.mark.parametrize(
    "variable",
    [
        "image_name",
        "image_link_name",
        "kernel_imagetype",
        "qb_default_fstype",
        "qb_default_bios",
        "qb_dtb",
        "qb_default_kernel",
    ],
)
@pytest.mark.parametrize("name", ["**x", "../../**/x", "[", "a" * 5000, "*", "?????"])
def test_a_name_of_a_file_is_no_pattern_and_may_be_any(
    variable: str, name: str, tmp_path: Path
) -> None:
    """Of patterns, one could go through all that the user has, and find what is not meant."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").write_text("")
    file = conf(tmp_path, "")
    (file.parent / "zzzzz").write_text("")
    lines = [line for line in file.read_text().splitlines() if not line.startswith(variable)]
    file.write_text("\n".join([*lines, f"{variable} = {name}", ""]))
    text = imported(file)[0].text
    assert "other/x" not in text
    assert "zzzzz" not in text
