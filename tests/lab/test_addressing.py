"""Every guest gets its address, also with its kernel inside the image: real guests, started by an
ordinary user, that reach the outside by name and address."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from labnet import Lab
from labproc import Guest

from tapdraft.generator import addressing
from tapdraft.generator.description.parser import parse

HOME = "/home/alice"
ROOT = Path(__file__).resolve().parents[2]
NETWORK = '[network]\nsubnet = "192.168.7.0/24"\ndns = ["198.51.100.1"]\ndomain = "lab.example"\n'
MAC = "52:54:c0:a8:07:02"  # of 192.168.7.2
BOOT = 400  # seconds: a whole Debian, in emulation, on a machine that does other things too


def describe(lab: Lab, words: str, **keys: str) -> str:
    """A description of the guest `web`: the small test guest, told `words`."""
    files = lab.site.guest()
    extra = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return lab.write(
        f"{HOME}/guests.toml",
        f'{NETWORK}[guest.web]\naccel = "tcg"\nkernel = "{files.kernel}"\n'
        f'initrd = "{files.initrd}"\nappend = "quiet {words}"\n{extra}',
        owner="alice",
    )


ASKS = "tapdraft.dhcp=1 tapdraft.ping=198.51.100.1 tapdraft.get=http://web.example/"


def told_by_dhcp(guest: Guest) -> None:
    """The guest says what it was given, and what it reaches with it."""
    guest.expect(
        r"guest: address 192\.168\.7\.2 netmask 255\.255\.255\.252 gateway 192\.168\.7\.1", 120
    )
    guest.expect(r"guest: hostname web dns 198\.51\.100\.1")
    guest.expect(r"guest: lease \d+ from 192\.168\.7\.1 mtu 1500 domain lab\.example")
    guest.expect("guest: dhcp ok")
    guest.expect(r"guest: ping 198\.51\.100\.1 ok")
    guest.expect("guest: get http://web.example/ ok: hello from outside")


def responders(lab: Lab) -> list[int]:
    """The processes that answer DHCP on the host."""
    found = []
    for pid in lab.host.inhabitants():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--tap=td-web" in words or b"--interface=td-web" in words:
            found.append(pid)
    return found


def gone(pidfd: int) -> bool:
    """Has the process ended? Waits for it."""
    return bool(select.select([pidfd], [], [], 20)[0])


def test_run_answers_the_guests_dhcp_and_tells_when_it_is_there(lab: Lab) -> None:
    lab.serve()
    describe(lab, f"{ASKS} tapdraft.http=80", addressing='"dhcp"')
    before = lab.snapshot()
    runtime = {"XDG_RUNTIME_DIR": "/run/user/61001"}
    guest = lab.guest(["tapdraft", "run", "--wait-for=80", "guests.toml"], cwd=HOME, env=runtime)
    told_by_dhcp(guest)
    guest.expect(r"\[#\] port 80 of web \(192\.168\.7\.2\) is open after \d+\.\d s")
    pinged = lab.run(["tapdraft", "ping", "guests.toml", "web"], user="alice", cwd=HOME).check()
    assert pinged.stdout.startswith("web (192.168.7.2) answers after ")
    (responder,) = responders(lab)
    pidfd = os.pidfd_open(responder)
    assert guest.poweroff() == 0
    assert gone(pidfd)
    os.close(pidfd)
    assert list(lab.site.path("/run/user/61001").iterdir()) == []
    lab.assert_no_residue(before)


def test_run_says_that_what_answers_dhcp_was_killed_and_starts_it_again(lab: Lab) -> None:
    describe(lab, "tapdraft.dhcp=1", addressing='"dhcp"')
    before = lab.snapshot()
    guest = lab.guest(["tapdraft", "run", "guests.toml"], cwd=HOME)
    guest.expect("guest: dhcp ok", 120)
    guest.expect("guest: ready", 60)
    (killed,) = responders(lab)
    lab.run(["kill", "-KILL", str(killed)]).check()
    guest.expect(r"\[#\] what answers the guest's DHCP has ended \(status 137\)")
    guest.type("udhcpc -f -q -n -t 20 -T 1 -i eth0 -s /bin/true")
    guest.expect(r"lease of 192\.168\.7\.2 obtained", 60)
    assert responders(lab) != [killed]
    assert guest.poweroff() == 0
    lab.assert_no_residue(before)


def unpacked(lab: Lab, initrd: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    packed = lab.site.path(initrd).read_bytes()
    subprocess.run(
        ["cpio", "-id", "--quiet"], cwd=folder, input=gzip.decompress(packed), check=True
    )


def without_ip(lab: Lab, initrd: str, folder: Path) -> str:
    """The test guest's initramfs with an init that reads no ip=."""
    unpacked(lab, initrd, folder)
    init = folder / "init"
    text = re.sub(r"ip=\* \| | \| ip=dhcp", "", init.read_text())
    init.write_text(re.sub(r"^.*\bip=.*\n", "", text, flags=re.M))
    names = subprocess.run(["find", "."], cwd=folder, capture_output=True, check=True).stdout
    made = subprocess.run(
        ["cpio", "-o", "--quiet", "-H", "newc"],
        cwd=folder,
        input=names,
        capture_output=True,
        check=True,
    )
    return lab.write(f"{HOME}/initrd", gzip.compress(made.stdout), owner="alice")


def test_a_guest_that_reads_no_ip_is_seen_to_and_gets_its_address_by_dhcp(
    lab: Lab, tmp_path: Path
) -> None:
    """Its kernel is outside the image, and its description names no method."""
    lab.serve()
    files = lab.site.guest()
    initrd = without_ip(lab, files.initrd, tmp_path)
    text = (
        f'{NETWORK}[guest.web]\naccel = "tcg"\nkernel = "{files.kernel}"\n'
        f'initrd = "{initrd}"\nappend = "quiet {ASKS}"\n'
    )
    lab.write(f"{HOME}/guests.toml", text, owner="alice")
    before = lab.snapshot()
    lab.run(["tapdraft", "render", "guests.toml"], user="alice", cwd=HOME).check()
    why = (
        "nothing reads ip=: no script in its initramfs names ip= and the kernel has no driver "
        "for the card before it"
    )
    qemu = lab.site.path(f"{HOME}/out/web/qemu").read_text().replace("\n# ", " ")
    assert f"How it learns its address: dhcp, as {why}." in qemu
    guest = lab.guest(["out/web/run"], cwd=HOME)
    told_by_dhcp(guest)
    guest.expect("guest: ready")
    assert guest.poweroff() == 0
    lab.assert_no_residue(before)
    check = ["tapdraft", "check", "guests.toml"]
    assert "ip=" not in lab.run(check, user="alice", cwd=HOME).stdout
    lab.write(f"{HOME}/guests.toml", f'{text}addressing = "kernel"\n', owner="alice")
    found = lab.run(check, user="alice", cwd=HOME).check(4).stdout
    assert f"error: guest web: {why}\nhint: addressing = " in found


def on_the_tap(guest: Guest) -> None:
    guest.expect(r"guest: address 192\.168\.7\.2 netmask \S+ gateway 192\.168\.7\.1 on eth0")
    guest.expect(r"guest: hostname web dns 198\.51\.100\.1")


def test_a_guest_with_two_cards_gets_an_address_on_each_and_leaves_by_its_tap(lab: Lab) -> None:
    lab.serve()
    describe(
        lab,
        "tapdraft.http=80 tapdraft.get=http://web.example/",
        interface='{ network = "user", forward = ["tcp:2280:80"] }',
    )
    before = lab.snapshot()
    guest = lab.guest(["tapdraft", "run", "guests.toml"], cwd=HOME)
    guest.expect(r"guest: address 10\.0\.2\.15 netmask 255\.255\.255\.0 gateway  on eth1", 120)
    on_the_tap(guest)
    # Through the tap: qemu's own network does not lead to that name server.
    guest.expect("guest: get http://web.example/ ok: hello from outside")
    guest.expect("guest: ready")
    assert "hello from the guest web" in str(lab.get("http://127.0.0.1:2280/"))
    assert lab.get("http://192.168.7.2/") is not None
    assert guest.poweroff() == 0
    lab.assert_no_residue(before)


# What dracut's scripts do besides their own: bring in the drivers, and tell when a card is up.
HOOKS = {
    "pre-udev/00-drivers.sh": (
        "while read -r name; do insmod /modules/$name.ko; done < /modules/order\n"
    ),
    "initqueue/online/99-tell.sh": (
        'card="$1"\n'
        'echo "guest: address $(ip -4 -o address show dev "$card")" > /dev/console\n'
        'echo "guest: way out $(ip route show default)" > /dev/console\n'
    ),
}


def made_by_dracut(lab: Lab, initrd: str, folder: Path) -> str:
    """An initramfs of dracut's, with the drivers of the test guest."""
    unpacked(lab, initrd, folder / "guest")
    root = folder / "root"
    shutil.copytree(folder / "guest/modules", root / "modules")
    for name, text in HOOKS.items():
        hook = root / "usr/lib/dracut/hooks" / name
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(text)
        hook.chmod(0o755)
    modules = "base network network-legacy rootfs-block udev-rules"
    subprocess.run(
        [
            "dracut",
            "--quiet",
            "--no-kernel",
            "--gzip",
            "--kver=0-none",
            "--omit=ifcfg",
            "-m",
            modules,
            "--install=insmod",
            "--include",
            root,
            "/",
            folder / "made",
        ],
        check=True,
        capture_output=True,
    )
    return lab.write(f"{HOME}/initrd", (folder / "made").read_bytes(), owner="alice")


def test_dracut_gives_each_card_its_address_with_what_it_is_told(
    lab: Lab, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """The description says nothing of dracut: that its initramfs is one was seen."""
    requires("dracut", "dhclient", "arping")
    files = lab.site.guest()
    initrd = made_by_dracut(lab, files.initrd, tmp_path)
    text = (
        f'{NETWORK}[guest.web]\naccel = "tcg"\nmemory = "512M"\nkernel = "{files.kernel}"\n'
        f'initrd = "{initrd}"\nappend = "quiet root=/dev/vda"\n'
        'interface = { network = "user" }\n'
    )
    lab.write(f"{HOME}/guests.toml", text, owner="alice")
    before = lab.snapshot()
    guest = lab.guest(["tapdraft", "run", "guests.toml"], cwd=HOME)
    told = [
        guest.expect(r"guest: address \d+: (eth\d) +inet (\S+) ", 120).groups() for _ in range(2)
    ]
    assert sorted(told) == [("eth0", "192.168.7.2/30"), ("eth1", "10.0.2.15/24")]
    guest.expect(r"guest: way out default via 192\.168\.7\.1 dev eth0 *\r?\n")
    assert lab.ping("192.168.7.2")
    guest.signal(signal.SIGTERM)
    guest.wait()
    lab.assert_no_residue(before)


def test_a_further_card_on_a_bridge_is_told_by_the_dhcp_there(
    lab: Lab, requires: Callable[..., None]
) -> None:
    """Root starts it: where nothing is setuid, nobody else may use qemu's bridge helper. The
    bridge's DHCP offers a way out too, which must not become the guest's."""
    requires("dnsmasq")
    lab.serve()
    before = lab.snapshot()
    lab.run(["ip", "link", "add", "br0", "type", "bridge"]).check()
    lab.run(["ip", "address", "add", "10.9.0.1/24", "dev", "br0"]).check()
    lab.run(["ip", "link", "set", "br0", "up"]).check()
    lab.write("/etc/qemu/bridge.conf", "allow br0\n")
    dhcp = lab.start(
        [
            "dnsmasq",
            "--conf-file=/dev/null",
            "--keep-in-foreground",
            "--port=0",
            "--log-facility=-",
            "--interface=br0",
            "--bind-interfaces",
            "--leasefile-ro",
            "--dhcp-range=10.9.0.7,10.9.0.7",
        ]
    )
    dhcp.expect("DHCP, sockets bound exclusively to interface br0")
    describe(
        lab,
        "tapdraft.ping=10.9.0.1 tapdraft.get=http://web.example/",
        interface='{ network = "bridge", bridge = "br0" }',
    )
    render = ["tapdraft", "render", "--dialect=nft", "guests.toml"]
    lab.run(render, user="alice", cwd=HOME).check()
    guest = lab.guest(["out/web/run", "root"], user="root", cwd=HOME)
    guest.expect(r"guest: address 10\.9\.0\.7 netmask \S+ gateway 10\.9\.0\.1 on eth1", 120)
    on_the_tap(guest)
    guest.expect(r"guest: ping 10\.9\.0\.1 ok")
    guest.expect("guest: get http://web.example/ ok: hello from outside")
    guest.expect("guest: ready")
    assert guest.poweroff() == 0
    dhcp.stop()
    lab.run(["ip", "link", "delete", "br0"]).check()
    lab.assert_no_residue(before)


def test_a_killed_run_leaves_no_responder_once_the_tap_is_down(lab: Lab) -> None:
    describe(lab, "", addressing='"dhcp"')
    before = lab.snapshot()
    lab.run(["tapdraft", "render", "guests.toml"], user="alice", cwd=HOME).check()
    guest = lab.guest(["out/web/run"], cwd=HOME)
    guest.expect("guest: ready", 120)
    (responder,) = responders(lab)
    pidfd, qemu = os.pidfd_open(responder), os.pidfd_open(guest.qemu())
    guest.stop()
    assert gone(qemu)
    lab.helper("down", "web").check()
    assert gone(pidfd)
    lab.assert_no_residue(before)


def test_the_dhcp_command_answers_by_the_description_until_the_tap_is_gone(lab: Lab) -> None:
    """For guests that are not started by `run`."""
    describe(lab, "", addressing='"dhcp"')
    command = ["tapdraft", "dhcp", "guests.toml", "web"]
    refused = lab.run(command, user="alice", cwd=HOME).check(4)
    assert "error: there is no tap td-web\n" in refused.stderr
    lab.run(["tapdraft", "up", "guests.toml"], user="alice", cwd=HOME).check()
    responder = lab.start(command, user="alice", cwd=HOME)
    responder.expect("^ready$")
    guest = lab.qemu("td-web", "tapdraft.dhcp=1", extra=["-global", "virtio-net-pci.mac=" + MAC])
    guest.expect("guest: hostname web dns 198.51.100.1", 120)
    responder.expect(r"^dhcp: 192\.168\.7\.2 leased \(selecting\)$")
    guest.poweroff()
    lab.run(["tapdraft", "down", "guests.toml"], user="alice", cwd=HOME).check()
    assert responder.wait() == 0


HOLD = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 10067))
print("held", flush=True)
time.sleep(600)
"""


def test_run_stops_before_the_guest_starts_if_another_user_holds_the_port(lab: Lab) -> None:
    describe(lab, "", addressing='"dhcp"')
    before = lab.snapshot()
    holder = lab.start(["/usr/bin/python3", "-c", HOLD], user="mallory")
    holder.expect("^held$")
    done = lab.run(["tapdraft", "run", "guests.toml"], user="alice", cwd=HOME).check(4)
    assert "error: somebody else holds UDP port 10067 on td-web\nhint: find out who" in done.stderr
    assert "qemu-system" not in done.stderr
    lab.run(["tapdraft", "render", "--dialect=nft", "guests.toml"], user="alice", cwd=HOME).check()
    done = lab.run(["out/web/run", "alice"], cwd=HOME).check(4)
    assert "error: somebody else holds UDP port 10067 on td-web\nhint: find out who" in done.stderr
    assert "qemu-system" not in done.stderr
    holder.stop()
    lab.assert_no_residue(before)


def test_the_scripts_for_root_answer_with_dnsmasq(lab: Lab, requires: Callable[..., None]) -> None:
    requires("dnsmasq")
    lab.serve()
    describe(lab, ASKS, addressing='"dhcp"')
    render = ["tapdraft", "render", "--dialect=nft", "guests.toml"]
    lab.run(render, user="alice", cwd=HOME).check()
    before = lab.snapshot()
    guest = lab.guest(["out/web/run", "alice"], user="root", cwd=HOME)
    told_by_dhcp(guest)
    (responder,) = responders(lab)
    pidfd = os.pidfd_open(responder)
    guest.expect("guest: ready")
    assert guest.poweroff() == 0
    assert gone(pidfd)
    os.close(pidfd)
    assert not lab.site.path("/run/tapdraft-td-web.pid").exists()
    lab.assert_no_residue(before)


@pytest.fixture
def disk(lab: Lab, requires: Callable[..., None]) -> str:
    """The path, inside the lab, of a disk image that has everything it starts from inside."""
    requires("mmdebstrap", "syslinux", "mcopy", "mkfs.vfat", "sfdisk", "mke2fs")
    built = subprocess.run(
        ["sh", ROOT / "tools/guest-disk"], check=False, text=True, stdout=subprocess.PIPE
    )
    assert built.returncode == 0
    path = lab.write("/home/disk.img", "")
    lab.run(["mount", "--bind", built.stdout.strip(), path]).check()
    return path


def describe_disk(lab: Lab, disk: str, keys: str) -> None:
    """A description of the guest `web` that starts from the disk, which stays as it is."""
    text = f'{NETWORK}[guest.web]\naccel = "tcg"\nmemory = "512M"\ndisk = "{disk}"\n{keys}'
    lab.write(f"{HOME}/guests.toml", text, owner="alice")


NETWORK_FILE = """\
[Match]
MACAddress=52:54:c0:a8:07:02
[Network]
Address=192.168.7.2/30
Gateway=192.168.7.1
DNS=198.51.100.1
Domains=lab.example
"""
WORDS = "ip=192.168.7.2::192.168.7.1:255.255.255.252:web:eth0:off:198.51.100.1 net.ifnames=0"


def given_to_qemu(method: str, machine: str = "x86_64") -> list[str]:
    """qemu's arguments for a guest `web` with this method."""
    text = f'{NETWORK}[guest.web]\nmachine = "{machine}"\ndisk = "d"\naddressing = "{method}"\n'
    (guest,) = parse(text.encode()).guests
    return [word for option in addressing.METHODS[method].adds(guest).options for word in option]


def test_a_disk_image_with_its_own_kernel_gets_its_address_by_dhcp(lab: Lab, disk: str) -> None:
    """Its systemd, 252, is too old for what 254 and 256 do with the address in SMBIOS and fw_cfg,
    but knows the strings and files: it takes the credentials in, and the rest is read back."""
    lab.serve()
    fw_cfg, name = given_to_qemu("credential", "aarch64")[:2]
    words = [
        *given_to_qemu("credential"),
        *given_to_qemu("cmdline"),
        fw_cfg,
        name.replace("10-tapdraft", "11-tapdraft"),
    ]
    describe_disk(lab, disk, f"qemu = {json.dumps(['-snapshot', *words])}\n")
    before = lab.snapshot()
    guest = lab.guest(["tapdraft", "run", "guests.toml"], cwd=HOME)
    guest.expect(r"guest: address \w+ UP 192\.168\.7\.2/30", BOOT)
    guest.expect(r"guest: route default via 192\.168\.7\.1 .*proto dhcp")
    guest.expect(r"guest: lease for web$")
    for number in ("10", "11"):
        found = guest.expect(rf"guest: credential network\.network\.{number}-tapdraft (\S+)\n")
        assert base64.b64decode(found[1]).decode() == NETWORK_FILE
    assert guest.expect(r"guest: credential system\.hostname (\S+)\n")[1] == "d2Vi"
    for program in ("stub", "boot"):
        guest.expect(rf"guest: smbios io\.systemd\.{program}\.kernel-cmdline-extra={WORDS}\n")
    guest.expect("guest: get http://web.example/ ok: hello from outside", BOOT)
    guest.signal(signal.SIGTERM)
    guest.wait()
    lab.assert_no_residue(before)


USER_DATA = """#cloud-config
runcmd:
- [sh, -c, "echo guest: runcmd $(hostname) $(cat /home/debian/.ssh/authorized_keys) > /dev/ttyS0"]
"""


def test_cloud_init_takes_address_name_key_and_user_data_from_the_seed(
    lab: Lab, disk: str, requires: Callable[..., None]
) -> None:
    requires("ssh", "ssh-keygen")
    lab.serve()
    key = f"{HOME}/.ssh/id_ed25519"
    lab.run(["mkdir", "-m", "700", f"{HOME}/.ssh"], user="alice").check()
    lab.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], user="alice").check()
    public = lab.site.path(f"{key}.pub").read_text().strip()
    describe_disk(
        lab,
        disk,
        f'qemu = ["-snapshot"]\nssh-key = "{public}"\nuser-data = {json.dumps(USER_DATA)}\n',
    )
    before = lab.snapshot()
    guest = lab.guest(["tapdraft", "run", "--wait-for=22", "guests.toml"], cwd=HOME)
    guest.expect(r"guest: address eth0 UP 192\.168\.7\.2/30", BOOT)
    guest.expect(r"guest: route default via 192\.168\.7\.1 .*proto static")
    guest.expect("guest: hostname web$")
    guest.expect("guest: get http://web.example/ ok: hello from outside", BOOT)
    assert guest.expect("guest: runcmd web (ssh-ed25519 .*)\n", BOOT)[1] == public
    assert re.search(r"\[#\] port 22 of web \(192\.168\.7\.2\) is open after", guest.console)
    ssh = ["tapdraft", "ssh", "guests.toml", "debian@web", "echo", "$(whoami) on $(hostname)"]
    done = lab.run(ssh, user="alice", cwd=HOME, limit=120).check()
    assert done.stdout == "debian on web\n"
    hosts = f"{HOME}/.local/state/tapdraft/known_hosts"
    (known,) = lab.site.path(hosts).iterdir()
    found = ["ssh-keygen", "-F", "web", "-f", f"{hosts}/{known.name}"]
    assert "ssh-ed25519" in lab.run(found, user="alice").check().stdout
    guest.signal(signal.SIGTERM)
    guest.wait()
    lab.assert_no_residue(before)


@pytest.fixture
def newer_disk(lab: Lab, requires: Callable[..., None]) -> str:
    """The same of Debian 13, whose systemd, 257, reads the address; UEFI starts it, too."""
    requires("mmdebstrap", "syslinux", "mcopy", "mkfs.vfat", "sfdisk", "mke2fs")
    built = subprocess.run(
        ["sh", ROOT / "tools/guest-disk", "--suite=trixie"],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert built.returncode == 0
    path = lab.write("/home/disk.img", "")
    lab.run(["mount", "--bind", built.stdout.strip(), path]).check()
    return path


@pytest.mark.parametrize(
    ("method", "firmware"), [("credential", ""), ("cmdline", 'firmware = "uefi"\n')]
)
def test_a_newer_systemd_in_the_image_takes_the_address_that_it_is_handed(
    lab: Lab, newer_disk: str, method: str, firmware: str
) -> None:
    """No process answers DHCP: what the guest knows is from its credentials or command line."""
    lab.serve()
    describe_disk(lab, newer_disk, f'qemu = ["-snapshot"]\naddressing = "{method}"\n{firmware}')
    before = lab.snapshot()
    guest = lab.guest(["tapdraft", "run", "guests.toml"], cwd=HOME)
    guest.expect(r"guest: address \w+ UP 192\.168\.7\.2/30", BOOT)
    guest.expect(r"guest: route default via 192\.168\.7\.1 dev \w+ .*proto static")
    if method == "credential":
        guest.expect("guest: hostname web$")
    assert responders(lab) == []
    guest.expect("guest: get http://web.example/ ok: hello from outside", BOOT)
    guest.signal(signal.SIGTERM)
    guest.wait()
    lab.assert_no_residue(before)
