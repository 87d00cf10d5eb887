"""Every machine: its row, and that qemu itself takes each command line that comes of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tapdraft.generator import check_qemu, firmware, qemu
from tapdraft.generator.description import Guest, parse
from tapdraft.generator.finding import Place
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.options import Option

HERE = Path(__file__).parent
# What qemu says of a machine that it emulates in part; none of it is about our arguments.
HARMLESS = re.compile(
    r"warning: TCG doesn't support requested feature|warning: nic cadence_gem.1 has no peer"
    r"|audiodev default parameter is deprecated"
)


def one(text: str) -> Guest:
    return parse(f"[guest.vm]\n{text}".encode()).guests[0]


def accepted(
    guest: Guest, tmp_path: Path, python: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Start the guest's qemu, stopped, and let it quit: nothing but its way out is changed."""
    machine = MACHINES[guest.machine]
    for disk in guest.disks:
        with (tmp_path / disk.file).open("ab") as stream:
            stream.truncate(1 << 20)
    words = {"accel": "tcg", "cpu": machine.older or machine.cpu, **variables}
    argv = qemu.argv(guest, **words)
    for index, word in enumerate(argv):
        if argv[index - 1] == "-netdev":
            # Taps and bridges are not here; a guest with several queues needs a backend like that.
            kind, _, rest = word.partition(",")
            number = rest.partition(",")[0]
            argv[index] = word if kind == "user" else f"user,{number},restrict=on"
        if argv[index - 1] == "-display":
            argv[index] = "none"
        if argv[index - 1] == "-audiodev":
            argv[index] = re.sub("^[a-z]+", "none", word)
        if argv[index - 1] == "-serial" and word in ("mon:stdio", "mon:vc", "vc"):
            argv[index] = "null"
    script = HERE / "qmp_quit.py"
    return subprocess.run(
        [python, script, tmp_path / "qmp", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = [line for line in done.stderr.splitlines() if not HARMLESS.search(line)]
    assert "prelaunch" in done.stdout or done.returncode, done
    return lines if done.returncode == 0 else [*lines, f"exit status {done.returncode}"]


def described(name: str) -> str:
    """A guest of this machine with all that it can have."""
    machine = MACHINES[name]
    lines = [f'machine = "{name}"', 'display = "gtk"']
    # Of this one Debian has no firmware; Yocto's images bring their own.
    lines += ['bios = "first.img"'] if name == "qemuriscv32" else []
    disks = ['"first.img"'] if machine.disk else []
    if machine.bus:
        disks += ['{ file = "second.img", bus = "scsi" }', '"third.iso"']
        lines += ['agent = "agent"', "queues = 2", "mtu = 1400", 'interface = { network = "user" }']
    lines += [f"disk = [{', '.join(disks)}]"] if disks else ['qemu = ["-no-reboot"]']
    lines += ['audio = "alsa"'] if machine.pci else []
    return "\n".join(lines)


@pytest.mark.parametrize("name", MACHINES)
def test_qemu_accepts_the_machine_with_all_that_it_can_have(
    name: str, tmp_path: Path, requires: Callable[..., None], newest_python: str
) -> None:
    requires(MACHINES[name].binary)
    assert complaints(accepted(one(described(name)), tmp_path, newest_python)) == []


@pytest.mark.parametrize("kind", firmware.WORDS)
def test_qemu_accepts_the_firmware(
    kind: str, tmp_path: Path, requires: Callable[..., None], newest_python: str
) -> None:
    requires("qemu-system-x86_64")
    guest = one(f'disk = "disk.img"\nfirmware = "{kind}"')
    there = [pair for pair in firmware.places(guest) if all(Path(file).exists() for file in pair)]
    if not there:
        pytest.skip("missing: ovmf")
    code, variables = there[0]
    done = accepted(guest, tmp_path, newest_python, firmware=code, vars=variables)
    assert complaints(done) == []


@pytest.mark.parametrize(
    "text",
    [
        'disk = { file = "disk.img", bus = "ide" }',
        'disk = { file = "disk.img", bus = "sd" }',
        'disk = "disk.img"\nserial = ["listen:0", "file:log", "none"]'.replace(":0", ":47113"),
        'disk = "disk.img"\nsnapshot = true\nqmp = "socket"',
        'disk = "disk.img"\nboard = "pc"\ncpu = "qemu64,+ssse3"\nnic = "e1000"',
        'disk = "disk.img"\nnetwork = "none"',
        'disk = "disk.img"\nnetwork = "user"\nforward = ["udp:47114:53"]\ntftp = "/tmp"',
    ],
)
def test_qemu_accepts_what_a_description_can_add(
    text: str, tmp_path: Path, requires: Callable[..., None], newest_python: str
) -> None:
    requires("qemu-system-x86_64")
    done = accepted(one(text), tmp_path, newest_python, cpu=one(text).cpu or "max")
    assert complaints(done) == []


def test_a_row_names_devices_of_one_kind() -> None:
    for name, machine in MACHINES.items():
        if machine.bus:
            assert machine.nic == f"virtio-net-{machine.bus}", name


def test_yocto_users_find_their_machines_by_name() -> None:
    """Those of openembedded-core, each with the binary that runqemu would start."""
    binaries = {
        "qemux86": "i386",
        "qemux86-64": "x86_64",
        "qemuarm": "arm",
        "qemuarmv5": "arm",
        "qemuarm64": "aarch64",
        "qemumips": "mips",
        "qemumips64": "mips64",
        "qemuppc": "ppc",
        "qemuppc64": "ppc64",
        "qemuriscv32": "riscv32",
        "qemuriscv64": "riscv64",
        "qemuloongarch64": "loongarch64",
    }
    for name, binary in binaries.items():
        assert MACHINES[name].binary == f"qemu-system-{binary}"


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_guest_needs_of_its_qemu_is_all_that_its_command_names(name: str) -> None:
    guest = one(described(name))
    needed = qemu.needs(guest)
    named = [
        option.value.partition(",")[0]
        for group in qemu.command(guest)
        for option in group.options
        if option.name == "-device"
    ]
    assert set(needed.get("device", ())) == set(named)
    assert needed["machine"] == (MACHINES[name].machine.partition(",")[0],)


@pytest.mark.parametrize("name", [name for name in MACHINES if not MACHINES[name].proof])
def test_kvm_is_not_tried_where_nothing_would_prove_it(name: str) -> None:
    assert ",accel=tcg" in str(next(o.value for o in _options(name) if o.name == "-machine"))


def _options(name: str) -> list[Option]:
    return [option for group in qemu.command(one(described(name))) for option in group.options]


def test_what_is_missing_is_told_with_the_nearest_that_exists(tmp_path: Path) -> None:
    qemu_system = tmp_path / "qemu-system-x"
    qemu_system.write_text(
        '#!/bin/sh\ncase $1 in -device) echo \'name "virtio-net-pci", bus PCI, alias "net"\' ;;\n'
        "-cpu) echo 'x86 Skylake-Client (alias)'; echo 'la464-loongarch-cpu' ;; esac\n"
    )
    qemu_system.chmod(0o755)
    binary = str(qemu_system)
    wanted = ("virtio-net-pci", "net", "virtio-net-pcie")
    found = list(check_qemu.lacking(binary, "device", wanted))
    assert found == [("virtio-net-pcie", "virtio-net-pci")]
    found = list(check_qemu.lacking(binary, "cpu", ("Skylake-Clint", "la464")))
    assert found == [("Skylake-Clint", "skylake-client")]
    # One that cannot be asked is not accused of anything.
    assert list(check_qemu.lacking(binary, "machine", ("q35",))) == []
    assert list(check_qemu.lacking("/nonexistent", "cpu", ("max",))) == []


def test_a_guest_without_a_tap_needs_no_helper_nor_a_way_out(
    tmp_path: Path, requires: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    requires("qemu-system-x86_64")
    (tmp_path / "disk.img").touch()
    check = pytest.importorskip("tapdraft.generator.check")
    guest = one('network = "user"\ndisk = "disk.img"\naccel = "tcg"')
    assert check.check(Place((guest,), tmp_path), as_json=False) == 0, capsys.readouterr().out
    bridged = one('network = "bridge"\nbridge = "no-such"\ndisk = "disk.img"')
    assert check.check(Place((bridged,), tmp_path), as_json=False) == 4
    assert "there is no bridge no-such, for guest vm" in capsys.readouterr().out


@pytest.mark.parametrize("name", MACHINES)
def test_this_hosts_qemu_lacks_nothing_of_a_machine(
    name: str, requires: Callable[..., None]
) -> None:
    requires(MACHINES[name].binary)
    for kind, words in qemu.needs(one(described(name))).items():
        assert list(check_qemu.lacking(MACHINES[name].binary, kind, words)) == []


def test_a_compressed_disk_is_unpacked_into_a_file_without_a_name(
    tmp_path: Path, requires: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    requires("zstd", "qemu-system-x86_64")
    render = pytest.importorskip("tapdraft.generator.render")
    text = (
        '[guest.vm]\naccel = "tcg"\nnetwork = "none"\ndisk = "disk.img.zst"\nsnapshot = true\n'
        'serial = ["none"]\nqemu = ["-S", "-monitor", "stdio"]\n'
    )
    script = tmp_path / "qemu"
    script.write_text(render.scripts(parse(text.encode()).guests[0])["qemu"])
    (tmp_path / "disk.img").write_bytes(b"a-disk".ljust(1 << 20, b"\0"))
    subprocess.run(["zstd", "-q", "--rm", "disk.img"], cwd=tmp_path, check=True)
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    monkeypatch.setenv("TMPDIR", str(rooms))
    done = subprocess.run(
        ["sh", script],
        input='qemu-io disk0 "read -v 0 512"\nquit\n',
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "61 2d 64 69 73 6b" in done.stdout  # a-disk
    assert list(rooms.iterdir()) == []
    (tmp_path / "disk.img.zst").write_bytes(b"no zstd")
    failed = subprocess.run(["sh", script], cwd=tmp_path, capture_output=True, check=False)
    assert failed.returncode != 0
    assert list(rooms.iterdir()) == []
