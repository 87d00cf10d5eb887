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
    assert done.stdout.endswith("nothing is in the way\n")


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
        ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "--bounding-set=-net_admin",
         "env", "-C", "/home/alice", "tapdraft", "check", "--json"]
    )  # fmt: skip
    assert "bounding set" in {finding["check"] for finding in json.loads(done.stdout)}


POLICIES: dict[str, tuple[str, str]] = {
    "names others": (
        "[group daemon]\nsubnets = 192.168.7.0/24\n", "names you | usermod -aG daemon alice"),
    "names nobody": ("", "names you | add [user alice] to it"),
    "permits less": (
        "[group tapdraft]\nsubnets = 10.0.0.0/8\ntaps = 1\nmodes = nat\nuplinks = *\n",
        "guest web: /etc/tapdraft/policy.conf:1: [group tapdraft] does not: 192.168.7.0/30"),
    "denies": ("[user alice]\ndeny = yes\n", "[user alice] denies everything"),
    "is broken": ("[group tapdraft]\nsubnet = 1\n", "unknown key 'subnet'"),
}  # fmt: skip


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
