"""A Yocto user's way: a qemuboot.conf is imported and run, as an ordinary user, without runqemu."""

from __future__ import annotations

from labnet import Lab

HOME = "/home/alice"
CONF = """[config_bsp]
deploy_dir_image = .
image_link_name = core-image-minimal-qemux86-64
kernel_imagetype = bzImage
machine = qemux86-64
qb_cpu = -cpu Skylake-Client
qb_default_fstype = cpio.gz
qb_default_kernel = bzImage
qb_machine = -machine q35,i8042=off
qb_mem = -m 256
qb_network_device = -device virtio-net-pci,netdev=net0,mac=@MAC@
qb_setup_cmd = touch /home/alice/ran
qb_system_name = qemu-system-x86_64
serial_consoles = 115200;ttyS0 115200;ttyS1
"""


def imported(lab: Lab) -> str:
    """The folder of a description that was made from a deploy folder."""
    files, deploy = lab.site.guest("amd64"), f"{HOME}/deploy"
    for name, source in (
        ("bzImage", files.kernel),
        ("core-image-minimal-qemux86-64.cpio.gz", files.initrd),
    ):
        lab.write(f"{deploy}/{name}", lab.site.path(source).read_bytes())
    lab.write(f"{deploy}/image.qemuboot.conf", CONF)
    lab.run(["chown", "-R", "alice:", deploy]).check()
    argv = ["tapdraft", "import", "--output=vm.toml", "image.qemuboot.conf"]
    said = lab.run(argv, user="alice", cwd=deploy).check().stderr
    assert "QB_SETUP_CMD is a command for a shell: it is not run" in said
    return deploy


def test_an_imported_image_has_runqemus_address_and_gets_out(lab: Lab) -> None:
    deploy = imported(lab)
    before = lab.snapshot()
    words = "quiet tapdraft.ping=198.51.100.1"
    argv = ["tapdraft", "run", "--accel=tcg", f"--append={words}", "vm.toml"]
    guest = lab.guest(argv, user="alice", cwd=deploy)
    guest.expect("guest: address 192.168.7.2 netmask 255.255.255.0 gateway 192.168.7.1", 120)
    guest.expect("guest: ping 198.51.100.1 ok", 60)
    guest.expect("guest: ready", 60)
    (tap,) = lab.tapdraft().taps
    assert tap.addresses == ("192.168.7.1/32",)
    guest.type("cat /sys/class/net/eth0/address")
    guest.expect("^52:54:00:12:34:02$", 30)
    assert guest.poweroff() == 0
    assert not lab.site.path(f"{HOME}/ran").exists()
    lab.assert_no_residue(before)


def test_without_a_tap_nothing_on_the_host_is_touched(lab: Lab) -> None:
    """qemu's own network: a port of the loopback leads in, the helper is not asked."""
    deploy = imported(lab)
    before = lab.snapshot()
    lab.site.syslog.clear()
    argv = [
        "tapdraft",
        "run",
        "--accel=tcg",
        "--network=user",
        "--forward=tcp:2280:80",
        "--append=quiet tapdraft.http=80",
        "vm.toml",
    ]
    guest = lab.guest(argv, user="alice", cwd=deploy)
    guest.expect("guest: address 10.0.2.15", 120)
    guest.expect("guest: ready", 60)
    assert "hello from the guest" in str(lab.get("http://127.0.0.1:2280/"))
    lab.assert_no_residue(before)
    assert guest.poweroff() == 0
    assert not lab.site.logged("tapdraft")


def test_a_bridge_of_the_host_is_used_through_qemus_own_helper(lab: Lab) -> None:
    """Where the site has it: here root starts it, as nothing is setuid."""
    files = lab.site.guest("amd64")
    lab.run(["ip", "link", "add", "br0", "type", "bridge"]).check()
    lab.run(["ip", "address", "add", "10.9.0.1/24", "dev", "br0"]).check()
    lab.run(["ip", "link", "set", "br0", "up"]).check()
    lab.write("/etc/qemu/bridge.conf", "allow br0\n")
    lab.write(
        "/root-vm/vm.toml",
        '[guest.web]\naccel = "tcg"\nnetwork = "bridge"\nbridge = "br0"\n'
        f'kernel = "{files.kernel}"\ninitrd = "{files.initrd}"\n'
        'append = "quiet ip=10.9.0.2::10.9.0.1:255.255.255.0::eth0:off tapdraft.ping=10.9.0.1"\n',
    )
    guest = lab.guest(["tapdraft", "run", "vm.toml"], user="root", cwd="/root-vm")
    guest.expect("guest: ping 10.9.0.1 ok", 120)
    guest.expect("guest: ready", 60)
    assert guest.poweroff() == 0
