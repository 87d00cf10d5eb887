"""Real guests, started by an ordinary user, from a description to a page fetched through NAT."""

import signal

import pytest
from labnet import Lab

HOME = "/home/alice"
MACHINES = {"amd64": ("x86_64", "ttyS0"), "arm64": ("aarch64", "ttyAMA0")}


def describe(lab: Lab, *, arch: str = "amd64", words: str = "", **keys: str) -> str:
    """Write a description of a guest `web` that boots the test guest; the path of it."""
    files = lab.site.guest(arch)
    machine = MACHINES[arch][0]
    extra = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return lab.write(
        f"{HOME}/guests.toml",
        '[network]\nsubnet = "192.168.7.0/24"\ndns = ["198.51.100.1"]\n'
        f'[guest.web]\nmachine = "{machine}"\nmemory = "256M"\naccel = "tcg"\n'
        f'kernel = "{files.kernel}"\ninitrd = "{files.initrd}"\nappend = "quiet {words}"\n{extra}',
        owner="alice",
    )


def render(lab: Lab, *options: str) -> str:
    lab.run(["tapdraft", "render", *options, "guests.toml"], user="alice", cwd=HOME).check()
    return f"{HOME}/out/web"


@pytest.mark.parametrize("arch", MACHINES)
def test_a_guest_gets_out_through_nat_and_a_port_reaches_it(lab: Lab, arch: str) -> None:
    outside = lab.serve()
    words = "tapdraft.ping=198.51.100.1 tapdraft.get=http://web.example/ tapdraft.http=80"
    describe(lab, arch=arch, words=words, forward='["tcp:8080:80"]')
    before = lab.snapshot()
    guest = lab.guest([f"{render(lab)}/run"], user="alice", cwd=HOME)
    guest.expect("guest: ping 198.51.100.1 ok", 120)
    guest.expect("guest: get http://web.example/ ok: hello from outside", 60)
    outside.expect("http 203.0.113.2")
    guest.expect("guest: ready", 60)
    assert "hello from the guest web" in str(lab.get("http://203.0.113.2:8080/", netns="outside"))
    assert "hello from the guest web" in str(lab.get("http://192.168.7.2/"))
    assert not lab.ping("192.168.7.2", netns="outside")
    assert guest.poweroff() == 0
    lab.assert_no_residue(before)


def test_the_guests_qemu_has_no_capability_and_no_file_is_setuid(lab: Lab) -> None:
    describe(lab)
    guest = lab.guest([f"{render(lab)}/run"], user="alice", cwd=HOME)
    guest.expect("guest: ready", 120)
    status = lab.run(["cat", f"/proc/{guest.qemu()}/status"]).stdout
    held = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    assert {held[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    ours = ["/usr/local", "/etc/tapdraft", lab.site.source]
    assert lab.run(["find", *ours, "-perm", "/6000", "-type", "f"]).check().stdout == ""
    installed = ["/usr/local/bin", "/usr/local/lib", "/usr/local/libexec"]
    found = lab.run(["getcap", "-r", *installed]).check().stdout
    assert found.split() == [lab.site.helper, "cap_net_admin=p"]
    assert guest.poweroff() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_run_takes_down_what_it_set_up_when_it_is_ended(lab: Lab, number: signal.Signals) -> None:
    describe(lab)
    script = render(lab)
    before = lab.snapshot()
    guest = lab.guest([f"{script}/run"], user="alice", cwd=HOME)
    guest.expect("guest: ready", 120)
    guest.signal(number)
    guest.wait()
    lab.assert_no_residue(before)


def test_qemu_may_ask_the_helper_for_the_tap_itself(lab: Lab) -> None:
    lab.serve()
    describe(
        lab, words="tapdraft.get=http://198.51.100.1/ tapdraft.http=80", forward='["tcp:8080:80"]'
    )
    script = render(lab, "--attach=helper")
    before = lab.snapshot()
    guest = lab.guest([f"{script}/run"], user="alice", cwd=HOME)
    guest.expect("guest: get http://198.51.100.1/ ok", 120)
    guest.expect("guest: ready", 60)
    assert "hello from the guest web" in str(lab.get("http://203.0.113.2:8080/", netns="outside"))
    assert guest.poweroff() == 0
    lab.assert_no_residue(before)


def test_a_tap_that_qemu_asked_for_goes_with_a_killed_qemu(lab: Lab) -> None:
    describe(lab, forward='["tcp:8080:80"]')
    script = render(lab, "--attach=helper")
    before = lab.snapshot()
    guest = lab.guest([f"{script}/qemu"], user="alice", cwd=HOME)
    guest.expect("guest: ready", 120)
    assert [tap.name for tap in lab.tapdraft().taps] == ["td-web"]
    lab.run(["kill", "-KILL", str(guest.qemu())]).check()
    guest.wait()
    assert not lab.tapdraft().taps
    lab.helper("down", "web", user="alice").check()
    lab.assert_no_residue(before)


def test_a_port_forward_of_a_killed_guest_is_not_inherited(lab: Lab) -> None:
    describe(lab, forward='["tcp:8080:80"]')
    guest = lab.guest([f"{render(lab, '--attach=helper')}/qemu"], user="alice", cwd=HOME)
    guest.expect("guest: ready", 120)
    lab.run(["kill", "-KILL", str(guest.qemu())]).check()
    guest.wait()
    lab.helper("up", "web", "192.168.7.1/30", "192.168.7.2", user="bob").check()
    assert "8080" not in lab.tapdraft().table


def test_qemu_may_run_ifup_and_ifdown_itself(lab: Lab) -> None:
    lab.serve()
    describe(lab, words="tapdraft.get=http://198.51.100.1/")
    script = render(lab, "--attach=hooks")
    before = lab.snapshot()
    guest = lab.guest([f"{script}/run"], user="alice", cwd=HOME)
    guest.expect("guest: get http://198.51.100.1/ ok", 120)
    guest.expect("guest: ready", 60)
    assert guest.poweroff() == 0
    lab.assert_no_residue(before)


def test_run_runs_the_very_files_that_render_writes(lab: Lab) -> None:
    describe(lab)
    render(lab)
    kept = ["tapdraft", "run", "--output=kept", "guests.toml", "web"]
    guest = lab.guest(kept, user="alice", cwd=HOME)
    guest.expect("guest: ready", 120)
    assert guest.poweroff() == 0
    lab.run(["diff", "-r", "out", "kept"], cwd=HOME).check()


def test_the_tap_of_another_user_cannot_be_opened(lab: Lab) -> None:
    lab.helper("up", "web", "192.168.7.1/30", "192.168.7.2", user="alice").check()
    open_it = (
        "import fcntl,os,struct\n"
        "f=os.open('/dev/net/tun',os.O_RDWR)\n"
        "fcntl.ioctl(f,0x400454CA,struct.pack('16sH22x',b'td-web',0x1002))\n"
    )
    lab.run(["/usr/bin/python3", "-c", open_it], user="alice").check()
    refused = lab.run(["/usr/bin/python3", "-c", open_it], user="bob").check(1)
    assert "Operation not permitted" in refused.stderr
