"""The qemu command: what a person who knows qemu would write, and what qemu accepts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from tapdraft.generator import qemu
from tapdraft.generator.description import Guest, parse
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.shell import Variable


def guest(text: str) -> Guest:
    return parse(f"[guest.web]\n{text}".encode()).guests[0]


def options(text: str, attach: str = "run") -> dict[str, list[str]]:
    """The values by option."""
    found: dict[str, list[str]] = {}
    for group in qemu.command(guest(text), attach):
        for option in group.options:
            names = {variable.value: f"${variable.value}" for variable in Variable}
            found.setdefault(option.name, []).append("".join(option.argv(names)[1:]))
    return found


def test_every_group_of_options_says_why_it_is_there() -> None:
    for group in qemu.command(guest('kernel = "k"\ndisk = "d"\nqemu = ["-snapshot"]')):
        assert group.why.endswith(".")
        assert group.options


def test_nothing_is_left_to_qemus_own_configuration() -> None:
    found = options('kernel = "k"')
    assert "-nodefaults" in found
    assert "-no-user-config" in found


def test_qemu_runs_no_script_on_a_tap_that_is_there() -> None:
    (netdev,) = options('kernel = "k"')["-netdev"]
    assert netdev == "tap,id=net0,ifname=td-web,script=no,downscript=no"


def test_qemu_asks_the_helper_in_the_helpers_words() -> None:
    found = options('kernel = "k"\nforward = ["tcp:8080:80"]', "helper")
    assert found["-netdev"] == [
        "tap,id=net0,helper=tapdraft-helper up web 192.168.7.1/30 192.168.7.2 nat "
        "forward=tcp:8080:80"
    ]


def test_qemu_runs_both_scripts_as_hooks() -> None:
    (netdev,) = options('kernel = "k"', "hooks")["-netdev"]
    assert netdev == "tap,id=net0,ifname=td-web,script=$here/ifup,downscript=$here/ifdown"


def test_the_address_is_fully_formed_on_the_kernels_command_line() -> None:
    text = '[network]\ndns = ["9.9.9.9", "1.1.1.1"]\n[guest.web]\nkernel = "k"\nappend = "quiet"'
    command = qemu.argv(parse(text.encode()).guests[0], accel="tcg", cpu="max")
    assert command[command.index("-append") + 1] == (
        "console=ttyS0 ip=192.168.7.2::192.168.7.1:255.255.255.252:web:eth0:off:9.9.9.9:1.1.1.1"
        " net.ifnames=0 quiet"
    )


@pytest.mark.parametrize(
    ("address", "gateway", "mask"),
    [
        ("192.168.7.2", "192.168.7.1", "255.255.255.252"),
        ("192.168.7.2", "192.168.7.1/32", "255.255.255.252"),
        ("192.168.7.100", "192.168.7.65/32", "255.255.255.192"),
        ("192.168.7.10", "192.168.7.1/28", "255.255.255.240"),
    ],
)
def test_the_gateway_is_within_the_guests_own_network(
    address: str, gateway: str, mask: str
) -> None:
    """Linux refuses another ("Gateway not on directly connected network")."""
    text = f'kernel = "k"\naddress = "{address}"\ngateway = "{gateway}"'
    assert f":{mask}:web:" in options(text)["-append"][0]


def test_a_console_that_the_description_names_is_the_only_one() -> None:
    assert "console=ttyS0" not in options('kernel = "k"\nappend = "console=tty0"')["-append"][0]


def test_addressing_none_adds_nothing() -> None:
    assert options('kernel = "k"\naddressing = "none"')["-append"] == ["console=ttyS0"]


def test_a_guest_that_boots_from_its_disk_is_told_nothing() -> None:
    found = options('disk = "d.img"')
    assert "-append" not in found
    assert "-kernel" not in found


@pytest.mark.parametrize(
    ("disk", "drive"),
    [
        ('"d.img"', "file=d.img,if=none,id=disk0,format=raw"),
        ('"d.qcow2"', "file=d.qcow2,if=none,id=disk0,format=qcow2"),
        ('{ file = "d.qcow2", format = "raw" }', "file=d.qcow2,if=none,id=disk0,format=raw"),
        ('{ file = "d", readonly = true }', "file=d,if=none,id=disk0,format=raw,readonly=on"),
        ('"a,b"', "file=a,,b,if=none,id=disk0,format=raw"),
        ('"nbd:x"', "file=./nbd:x,if=none,id=disk0,format=raw"),
    ],
)
def test_a_disks_format_is_named_and_its_file_is_a_file(disk: str, drive: str) -> None:
    assert options(f"disk = {disk}")["-drive"] == [drive]


def test_queues_and_mtu_reach_tap_and_card() -> None:
    found = options('kernel = "k"\nqueues = 4\nmtu = 9000')
    assert found["-netdev"][0].endswith(",queues=4")
    assert "mq=on,vectors=10,host_mtu=9000" in found["-device"][-1]


def test_the_mac_holds_the_whole_address_and_is_locally_administered() -> None:
    (device,) = [d for d in options('kernel = "k"')["-device"] if "net0" in d]
    assert "mac=52:54:c0:a8:07:02" in device
    assert 0x52 & 3 == 2


def test_kvm_is_only_used_where_it_is_proved() -> None:
    assert "accel=$accel" in options('kernel = "k"')["-machine"][0]
    assert options('kernel = "k"\naccel = "tcg"')["-machine"] == ["q35,accel=tcg"]
    assert options('kernel = "k"\naccel = "kvm"')["-cpu"] == ["host"]


def test_further_arguments_come_last_and_unchanged() -> None:
    words = ["-device", "x", "-snapshot", "", "--", "a b", "-q", "$x"]
    listed = ", ".join(f'"{word}"' for word in words)
    found = qemu.argv(guest(f'kernel = "k"\nqemu = [{listed}]'), accel="tcg", cpu="max")
    assert found[-len(words) :] == words


@pytest.mark.parametrize("name", [name for name in MACHINES if MACHINES[name].proof])
def test_what_proves_kvm_ends_by_itself(name: str, requires: Callable[..., None]) -> None:
    """Under TCG, which every machine has; under KVM it is the same command."""
    machine = MACHINES[name]
    requires(machine.binary)
    words = [word for option in qemu.proof(machine) for word in option.words()]
    argv = [word.replace("accel=kvm", "accel=tcg") for word in words]
    argv[argv.index("host")] = machine.cpu
    subprocess.run([machine.binary, *argv], stdin=subprocess.DEVNULL, timeout=60, check=True)
