"""The keys about hardware and networks: what they come to, and what is refused with a hint."""

from __future__ import annotations

import pytest
from tapdraft.generator import disks, layout, qemu
from tapdraft.generator.description import Guest, parse
from tapdraft.generator.errors import BadDescription
from tapdraft.generator.machines import MACHINES


def guests(text: str) -> tuple[Guest, ...]:
    return parse(text.encode(), "vm.toml").guests


def argv(text: str, attach: str = "run") -> list[str]:
    (guest,) = guests(f"[guest.web]\n{text}")
    return qemu.argv(guest, attach, accel="tcg", cpu="max", firmware="CODE", vars="VARS")


def values(text: str, option: str, attach: str = "run") -> list[str]:
    words = argv(text, attach)
    return [words[at + 1] for at, word in enumerate(words) if word == option]


# The guest's keys, the line that is complained of, what is said and the hint.
MISTAKES = {
    "bridge without a name": (
        'disk="d"\nnetwork="bridge"',
        "the bridge has no name",
        'bridge = "br0"',
    ),
    "a bridge for a tap": (
        'disk="d"\nbridge="br0"',
        'bridge needs network = "bridge"',
        "leave bridge out",
    ),
    "vhost without a tap": (
        'disk="d"\nnetwork="user"\nvhost=true',
        'vhost needs network = "tap"',
        "leave vhost",
    ),
    "queues without a tap": (
        'disk="d"\nnetwork="none"\nqueues=2',
        'queues needs network = "tap"',
        "leave",
    ),
    "ports on a bridge": (
        'disk="d"\nnetwork="bridge"\nbridge="b"\nforward=["tcp:1:1"]',
        "forward needs",
        "leave",
    ),
    "tftp on a tap": ('disk="d"\ntftp="t"', 'tftp needs network = "user"', "leave tftp"),
    "address without a tap": (
        'disk="d"\nnetwork="user"\naddress="192.168.7.2"',
        'address needs network = "tap"',
        "leave address",
    ),
    "addressing without a tap": (
        'disk="d"\nnetwork="user"\naddressing="dhcp"',
        'addressing needs network = "tap"',
        "leave",
    ),
    "cards on a board": (
        'initrd="i"\nkernel="k"\ndtb="d"\nmachine="microblaze"\ninterface={network="user"}',
        "on its board",
        "leave interface out",
    ),
    "compressed and kept": ('disk="d.zst"', "cannot be kept", "snapshot = true"),
    "six compressed": (
        'snapshot=true\ndisk=["a.gz","b.gz","c.gz","d.gz","e.gz","f.gz"]',
        "at most 4",
        "unpack",
    ),
    "a disk on a board without": (
        'machine="microblaze"\nkernel="k"\ndtb="t"\ndisk="d"',
        "has no disks",
        "initrd",
    ),
    "scsi where there is none": (
        'machine="zynq"\nkernel="k"\ndtb="t"\ndisk={file="d",bus="scsi"}',
        "no scsi",
        '"sd"',
    ),
    "two terminals": ('disk="d"\nserial=["terminal","terminal"]', "listed twice", "remove one"),
    "window without a display": ('disk="d"\nserial=["window"]', "needs a display", "gtk"),
    "gl without a window": ('disk="d"\ngl="on"', "gl needs display", '"gtk" or "sdl"'),
    "no place for sound": ('machine="s390x"\nkernel="k"\naudio="pa"', "sound card", "leave"),
    "no virtio-serial": (
        'machine="sh4"\nkernel="k"\nagent="a"',
        "no virtio-serial",
        "leave agent out",
    ),
    "kvm where there is none": (
        'machine="qemumips"\nkernel="k"\naccel="kvm"',
        "does not run under KVM",
        '"tcg"',
    ),
    "no device tree": ('machine="qemuarmv5"\nkernel="k"', "no way to tell", 'dtb = "board.dtb"'),
    "a device tree alone": ('disk="d"\ndtb="t"', "dtb needs a kernel", "kernel ="),
    "bios and firmware": ('disk="d"\nbios="b"\nfirmware="uefi"', "both given", "leave one"),
    "no such firmware": (
        'machine="s390x"\ndisk="d"\nfirmware="uefi"',
        "has no firmware",
        "of your own",
    ),
    "no secure boot there": (
        'machine="aarch64"\ndisk="d"\nfirmware="secure-boot"',
        "has no firmware",
        "of your own",
    ),
    "nfs without a kernel": ('disk="d"\nnfs="/srv"', "nfs needs a kernel", "kernel ="),
    "nfs of a closed host": ('kernel="k"\nnfs="/srv"', "closed to the guest", 'host = "open"'),
    "nfs from nowhere": (
        'kernel="k"\nnetwork="none"\nnfs="/srv"',
        "names a folder and no server",
        "SERVER",
    ),
    "no nfs": ('kernel="k"\nnfs="srv"', "not an NFS export", '"/srv/root"'),
    "a port that is none": ('disk="d"\nserial=["tcp:70000"]', "not a serial line", "tcp:PORT"),
    "an interface of no kind": (
        'disk="d"\ninterface={mac="52:54:00:00:00:01"}',
        "has no network",
        "user",
    ),
    "an interface without its bridge": (
        'disk="d"\ninterface=[{network="bridge"}]',
        "go together",
        "br0",
    ),
    "ports of a bridge": (
        'disk="d"\ninterface=[{network="bridge",bridge="b",forward=["tcp:1:1"]}]',
        "forward needs",
        "user",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_go_together_is_told_with_a_hint(mistake: str) -> None:
    text, what, hint = MISTAKES[mistake]
    with pytest.raises(BadDescription) as caught:
        guests(f"[guest.web]\n{text}\n")
    said = str(caught.value)
    assert said.startswith("error: vm.toml:")
    assert what in said
    assert hint in said.partition("hint: ")[2]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("d.ext4", "raw"),
        ("d.wic.qcow2", "qcow2"),
        ("d.wic.vmdk", "vmdk"),
        ("d.vhd", "vpc"),
        ("d.vhdx", "vhdx"),
        ("d.vdi", "vdi"),
        ("d.squashfs", "raw"),
        ("d.qcow2.zst", "qcow2"),
        ("d.ext4.gz", "raw"),
        ("qcow2", "raw"),
    ],
)
def test_the_format_is_what_the_name_says_and_named_to_qemu(name: str, kind: str) -> None:
    assert disks.kind(name) == kind
    assert f"format={kind}" in values(f'disk = "{name}"\nsnapshot = true', "-drive")[0]


@pytest.mark.parametrize(
    ("disk", "drive", "devices"),
    [
        ('{ file = "d", bus = "scsi" }', "if=none", ["virtio-scsi-pci", "scsi-hd,drive=disk0"]),
        ('"d.iso"', "readonly=on", ["virtio-scsi-pci", "scsi-cd,drive=disk0"]),
        ('{ file = "d", bus = "ide" }', "if=ide,index=0", []),
        ('{ file = "d", bus = "sd" }', "if=none", ["sdhci-pci", "sd-card,drive=disk0"]),
        ('{ file = "d", bus = "mtd" }', "if=mtd,index=0", []),
    ],
)
def test_each_bus_has_its_devices(disk: str, drive: str, devices: list[str]) -> None:
    text = f"disk = {disk}"
    assert drive in values(text, "-drive")[0]
    found = [v for v in values(text, "-device") if not v.startswith(("virtio-net", "virtio-rng"))]
    assert found == devices


def test_a_board_without_virtio_has_its_own_disks_and_card() -> None:
    text = 'machine = "zynq"\nkernel = "k"\ndtb = "t"\ndisk = "d"'
    assert values(text, "-drive") == ["file=d,if=sd,index=0,id=disk0,format=raw"]
    assert values(text, "-net") == ["nic,netdev=net0,model=cadence_gem,macaddr=52:54:c0:a8:07:02"]
    assert values(text, "-serial") == ["null", "mon:stdio"]
    assert "-cpu" not in argv(text)


def test_ports_of_a_guest_without_a_tap_are_the_loopbacks() -> None:
    (netdev,) = values('disk = "d"\nnetwork = "user"\nforward = ["tcp:2222:22"]', "-netdev")
    assert netdev == "user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22"


def test_a_guest_without_a_tap_takes_no_address() -> None:
    first, second = guests('[guest.a]\ndisk="d"\nnetwork="user"\n[guest.b]\ndisk="d"\n')
    assert (first.address, second.address) == ("", "192.168.7.2")
    assert "ip=dhcp" in values('kernel = "k"\nnetwork = "user"', "-append")[0].split()
    assert "ip=" not in values('kernel = "k"\nnetwork = "none"', "-append")[0]


def test_macs_are_unique_also_where_there_is_no_address() -> None:
    text = "".join(f'[guest.g{n}]\ndisk="d"\nnetwork="bridge"\nbridge="b"\n' for n in range(200))
    assert len({guest.mac for guest in guests(text)}) == 200


def test_vhost_stands_with_every_way_to_the_tap() -> None:
    for attach in ("run", "helper", "hooks"):
        words = argv('kernel = "k"\nvhost = true', "run" if attach == "hooks" else attach)
        assert ",vhost=on" in words[words.index("-netdev") + 1]


def test_further_interfaces_have_cards_of_their_own() -> None:
    text = 'disk="d"\ninterface=[{network="user"},{network="bridge",bridge="b",nic="e1000"}]'
    assert values(text, "-netdev")[1:] == ["user,id=net1", "bridge,id=net2,br=b"]
    cards = [v for v in values(text, "-device") if "netdev=net" in v]
    assert [card.partition(",")[0] for card in cards] == ["virtio-net-pci"] * 2 + ["e1000"]
    assert len({card.partition("mac=")[2] for card in cards}) == 3


def test_runqemus_layout_leaves_out_what_others_name() -> None:
    text = (
        '[network]\nlayout="runqemu"\n[guest.a]\nkernel="k"\naddress="192.168.7.2"\n'
        '[guest.b]\nkernel="k"\n'
    )
    first, second = guests(text)
    assert first.mac == "52:54:00:12:34:02"
    assert (second.address, second.gateway, second.prefix) == ("192.168.7.4", "192.168.7.3", 32)


def test_runqemus_layout_ends_where_runqemus_does() -> None:
    most = 127
    text = '[network]\nlayout="runqemu"\n' + "".join(
        f'[guest.g{n}]\nkernel="k"\n' for n in range(most)
    )
    found = guests(text)
    assert found[-1].address == "192.168.7.254"
    assert len({guest.mac for guest in found}) == most
    with pytest.raises(BadDescription, match=r"no number of 192\.168\.7\.0/24 is left"):
        guests(f'{text}[guest.more]\nkernel="k"\n')
    assert layout.most(parse(text.encode()).network.subnet) == most


def test_a_name_server_of_the_description_stands_in_place_of_runqemus() -> None:
    text = '[network]\nlayout="runqemu"\ndns=["9.9.9.9"]\n[guest.a]\nkernel="k"\n'
    (guest,) = guests(text)
    words = qemu.argv(guest, accel="tcg", cpu="max")
    assert "eth0:off:9.9.9.9 net.ifnames=0" in words[words.index("-append") + 1]


def test_secure_boot_is_kept_by_the_board() -> None:
    text = 'disk = "d"\nfirmware = "secure-boot"'
    assert values(text, "-machine") == ["q35,smm=on,accel=tcg"]
    code, variables = values(text, "-drive")[:2]
    assert code == "if=pflash,unit=0,format=raw,readonly=on,file=CODE"
    assert variables == "if=pflash,unit=1,format=raw,snapshot=on,file=VARS"


def test_memory_is_what_the_machine_needs_unless_named() -> None:
    for name, machine in MACHINES.items():
        text = f'[guest.a]\nmachine="{name}"\nqemu=["-no-reboot"]\n'
        assert guests(text)[0].memory == machine.memory


@pytest.mark.parametrize("address", [".".join("0000"), "192.168.6.2", "255.255.255.255"])
def test_an_address_that_cannot_be_is_refused_in_runqemus_layout_too(address: str) -> None:
    text = f'[network]\nlayout="runqemu"\n[guest.a]\nkernel="k"\naddress="{address}"\n'
    with pytest.raises(BadDescription):
        guests(text)


def test_serial_lines_that_lead_nowhere_may_be_several() -> None:
    text = b'[guest.web]\nkernel = "k"\nserial = ["none", "none", "terminal"]\n'
    assert parse(text).guests[0].serial == ("none", "none", "terminal")
    with pytest.raises(BadDescription, match="listed twice"):
        parse(text.replace(b'"none", ', b'"terminal", '))
