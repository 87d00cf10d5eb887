"""tapdraft check, with tapdraft installed for real: each thing that is in the way is found.

Where it can be, what check says fixes it is done, and check is content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from labnet import Lab

DESCRIPTION = '[guest.web]\nkernel = "vmlinuz"\naccel = "tcg"\n'
HELPER = "/usr/local/libexec/tapdraft/tapdraft-helper"


def check(lab: Lab, *prefix: str, user: str = "alice") -> dict[str, str]:
    """What is in the way, by the check that found it; what fixes it is in `fixes`."""
    done = lab.run([*prefix, "tapdraft", "check", "--json", "vm.toml"], user=user)
    assert done.stderr == ""
    assert done.status == (4 if '"error"' in done.stdout else 0), done
    found = {}
    for finding in json.loads(done.stdout):
        if finding["level"] == "error":
            found[finding["check"]] = f"{finding['what']} | {finding['fix']}"
    return found


@pytest.fixture
def ready(lab: Lab) -> Iterator[Lab]:
    for name, text in (("vm.toml", DESCRIPTION), ("vmlinuz", "")):
        for user in ("alice", "mallory"):
            lab.write(f"/home/{user}/{name}", text, owner=user)
    yield lab
    # The site is the whole session's.
    group = lab.run(["stat", "-c", "%G", HELPER]).check().stdout.strip()
    lab.run(["chown", f"root:{group}", HELPER]).check()
    lab.run(["chmod", "0750", HELPER]).check()
    lab.run(["setcap", "cap_net_admin=p", HELPER]).check()


def repaired(lab: Lab, said: str) -> None:
    command = said.partition(" | ")[2].split("   ")[0]
    lab.run(["sh", "-ec", command]).check()
    assert check(lab) == {}


def test_nothing_is_in_the_way_of_a_member_of_the_group(ready: Lab) -> None:
    assert check(ready) == {}
    done = ready.run(["tapdraft", "check", "vm.toml"], user="alice").check()
    # No KVM here, and a kernel that is an empty file: neither is an error.
    assert done.stdout.endswith("\nno errors, 2 warnings\n")


def test_nothing_is_in_the_way_of_a_guest_that_is_up(ready: Lab) -> None:
    ready.run(["tapdraft", "up", "vm.toml"], user="alice").check()
    try:
        assert check(ready) == {}
    finally:
        ready.run(["tapdraft", "down", "vm.toml"], user="alice").check()


def test_who_is_not_in_the_group_is_told_which(ready: Lab) -> None:
    said = check(ready, user="mallory")["helper"]
    assert "is for members of the group tapdraft | usermod -aG tapdraft mallory" in said


def test_a_helper_without_its_capability_is_found_and_mended(ready: Lab) -> None:
    ready.run(["setcap", "-r", HELPER]).check()
    found = check(ready)
    assert "has no capability" in found["capability"]
    assert "the helper does not start: no capability" in found["helper"]
    repaired(ready, found["capability"])


def test_a_nosuid_mount_is_found_and_mended(ready: Lab) -> None:
    folder = HELPER.rpartition("/")[0]
    ready.run(["mount", "--bind", folder, folder]).check()
    ready.run(["mount", "-o", "remount,bind,nosuid", folder]).check()
    said = check(ready)["nosuid"]
    assert f"{folder}" in said
    repaired(ready, said)
    ready.run(["umount", folder]).check()


def test_no_new_privileges_and_a_bounding_set_are_found(ready: Lab) -> None:
    assert "no_new_privs" in check(ready, "setpriv", "--no-new-privs")
    done = ready.run(
        [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--init-groups",
            "--bounding-set=-net_admin",
            "env",
            "-C",
            "/home/alice",
            "tapdraft",
            "check",
            "--json",
        ]
    )
    assert "bounding set" in {finding["check"] for finding in json.loads(done.stdout)}


POLICIES: dict[str, tuple[str, str]] = {
    "names others": (
        "[group daemon]\nsubnets = 192.168.7.0/24\n",
        "names you | usermod -aG daemon alice",
    ),
    "names nobody": ("", "names you | add [user alice] to it"),
    "permits less": (
        "[group tapdraft]\nsubnets = 10.0.0.0/8\ntaps = 1\nmodes = nat\nuplinks = *\n",
        "guest web: /etc/tapdraft/policy.conf:1: [group tapdraft] refuses it: 192.168.7.0/30",
    ),
    "denies": ("[user alice]\ndeny = yes\n", "[user alice] denies everything"),
    "is broken": ("[group tapdraft]\nsubnet = 1\n", "unknown key 'subnet'"),
}


@pytest.mark.parametrize("which", POLICIES)
def test_a_policy_that_does_not_permit_the_guest_is_found(which: str, ready: Lab) -> None:
    policy, said = POLICIES[which]
    ready.site.policy(policy)
    assert said in check(ready)["policy"]


def test_a_machine_without_qemu_is_found(ready: Lab) -> None:
    """Scripts find programs in the system's folders alone, so those are made to lack it."""
    ready.run(["mount", "--bind", "/dev/null", "/usr/bin/qemu-system-x86_64"]).check()
    said = check(ready)["qemu"]
    assert said.startswith("qemu-system-x86_64 is not installed | apt install qemu-system-x86")


def test_a_file_that_is_closed_is_found_and_mended(ready: Lab) -> None:
    ready.run(["chmod", "0", "/home/alice/vmlinuz"]).check()
    said = check(ready)["files"]
    assert "of guest web, is closed to you" in said
    ready.run(["chmod", "+r", "/home/alice/vmlinuz"]).check()
    assert check(ready) == {}


def test_root_is_told_that_the_helper_is_for_others(ready: Lab) -> None:
    done = ready.run(["tapdraft", "check"])
    assert "warning: the helper serves ordinary users, not root" in done.stdout


def test_nothing_is_changed_by_looking(ready: Lab) -> None:
    before = ready.snapshot()
    check(ready)
    ready.run(["tapdraft", "check"])
    ready.assert_no_residue(before)


def findings(lab: Lab, text: str, user: str = "alice") -> list[tuple[str, str]]:
    """The levels and words of what check says of a description."""
    lab.write(f"/home/{user}/vm.toml", text, owner=user)
    done = lab.run(["tapdraft", "check", "--json", "vm.toml"], user=user)
    assert done.stderr == ""
    return [(f["level"], f"{f['what']} | {f['fix']}") for f in json.loads(done.stdout)]


def said(lab: Lab, text: str, words: str, user: str = "alice") -> str:
    """The level of the finding that says `words`; '' where none does."""
    levels = [level for level, what in findings(lab, text, user) if words in what]
    return levels[0] if levels else ""


def test_a_subnet_is_proposed_that_the_policy_permits(ready: Lab) -> None:
    ready.site.policy(
        "[group tapdraft]\nsubnets = 192.168.7.0/24 10.77.0.0/16\ntaps = 9\n"
        "modes = nat\nuplinks = *\n".replace("24 10", "24, 10")
    )
    ready.run(["ip", "address", "add", "192.168.7.77/24", "dev", "eth0"]).check()
    assert said(ready, DESCRIPTION, 'subnet = "10.77.0.0/24"') == "error"


def test_the_tap_of_another_user_is_in_the_way(ready: Lab) -> None:
    ready.helper("up", "web", "192.168.7.1/30", "192.168.7.2", user="bob").check()
    assert said(ready, DESCRIPTION, "td-web is the tap of another user") == "error"


BROKEN = {
    "no address": "ip address flush dev td-web",
    "is down": "ip link set td-web down",
    "leads elsewhere": "ip route add 192.168.7.2/32 dev eth0",
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_tap_of_ones_own_that_is_broken_is_named(words: str, ready: Lab) -> None:
    ready.run(["tapdraft", "up", "vm.toml"], user="alice").check()
    assert check(ready) == {}
    ready.run(["sh", "-ec", BROKEN[words]]).check()
    assert words in check(ready)["tap"]


def test_an_address_that_a_guest_gave_to_the_host_is_told(ready: Lab) -> None:
    ready.run(["tapdraft", "up", "vm.toml"], user="alice").check()
    ready.run(["ip", "address", "add", "172.31.0.10/24", "dev", "td-web"]).check()
    ready.run(["ip", "route", "add", "10.1.0.0/16", "dev", "td-web"]).check()
    assert said(ready, DESCRIPTION, "td-web has the address 172.31.0.0/24") == "warning"
    assert said(ready, DESCRIPTION, "a route to 10.1.0.0/16 leads to td-web") == "warning"


def test_a_name_server_that_guests_cannot_reach_is_told(ready: Lab) -> None:
    for server in ("127.0.0.53", "169.254.169.254", "203.0.113.2"):
        ready.write("/run/resolv.conf", f"nameserver {server}\n")
        ready.run(["mount", "--bind", "/run/resolv.conf", "/etc/resolv.conf"]).check()
        assert said(ready, DESCRIPTION, "name server") == "warning", server
        ready.run(["umount", "/etc/resolv.conf"]).check()
    assert said(ready, DESCRIPTION + '[network]\ndns = ["9.9.9.9"]\n', "name server") == ""


FILES: dict[str, tuple[bytes, str, str]] = {
    "a text": (b"#!/bin/sh\necho hello\n", "", "is a text"),
    "another machine's": (b"\0" * 56 + b"ARMd" + b"\0" * 9, "", "is a kernel for aarch64"),
    "qcow2 as raw": (b"QFI\xfb" + b"\0" * 600, "raw", "is qcow2"),
    "raw as qcow2": (b"\0" * 600, "qcow2", "is not qcow2"),
}


@pytest.mark.parametrize("which", FILES)
def test_a_file_that_is_something_else_is_told(which: str, ready: Lab) -> None:
    content, disk, words = FILES[which]
    ready.write("/home/alice/thing", content, owner="alice")
    text = (
        DESCRIPTION + f'disk = [{{ file = "thing", format = "{disk}" }}]\n'
        if disk
        else DESCRIPTION.replace("vmlinuz", "thing")
    )
    assert said(ready, text, words) == "error"


def test_a_folder_as_kernel_and_too_much_memory_and_no_display_are_told(ready: Lab) -> None:
    ready.run(["mkdir", "-p", "/home/alice/folder"], user="alice").check()
    assert said(ready, DESCRIPTION.replace("vmlinuz", "folder"), "is a folder") == "error"
    assert said(ready, DESCRIPTION + 'memory = "4000G"\n', "of memory, and this host") == "error"
    assert said(ready, DESCRIPTION + 'display = "gtk"\n', "no display") == "error"
    assert said(ready, DESCRIPTION + "vhost = true\n", "/dev/vhost-net is missing") == "error"


def test_a_port_that_somebody_listens_on_is_told(ready: Lab) -> None:
    server = ready.start(["/usr/bin/python3", "-u", "-m", "http.server", "8080"])
    server.expect("Serving")
    assert said(ready, DESCRIPTION + 'forward = ["tcp:8080:80"]\n', "is in use") == "error"
    assert said(ready, DESCRIPTION + 'forward = ["tcp:8081:80"]\n', "is in use") == ""


def test_a_session_older_than_the_membership_is_told_to_log_in_anew(ready: Lab) -> None:
    done = ready.run(
        [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--clear-groups",
            "env",
            "-C",
            "/home/alice",
            "tapdraft",
            "check",
        ]
    )
    assert "you are in the group tapdraft, but this session is older\nhint: log in" in done.stdout


def test_nobody_is_told_to_join_roots_group(ready: Lab) -> None:
    ready.run(["mknod", "-m", "600", "/run/kvm", "c", "10", "232"]).check()
    ready.run(
        [
            "sh",
            "-ec",
            "mount -t tmpfs t /mnt; cp -a /dev/. /mnt/; cp -a /run/kvm /mnt/kvm;"
            " mount --move /mnt /dev",
        ]
    ).check()
    done = ready.run(["tapdraft", "check", "vm.toml"], user="alice")
    assert "/dev/kvm is closed to you" in done.stdout
    assert "root " not in done.stdout.replace("as root", "")
