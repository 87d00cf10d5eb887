"""The lock of the scripts for root: one at a time, and nobody but root can hold them up."""

from __future__ import annotations

import re

from labnet import Lab

from tapdraft.generator.description.parser import parse
from tapdraft.generator.scripts.render import render

DESCRIPTION = b"""
[network]
subnet = "192.168.7.0/24"
mode = "isolated"
[guest.web]
kernel = "vmlinuz"
"""


def scripts(lab: Lab) -> str:
    """Write the scripts; the file that they lock, the same for both."""
    files = render(parse(DESCRIPTION), dialect="nft")
    for path, content in files.items():
        lab.write(f"/run/out/{path}", content, mode=0o755)
    lock = re.compile(rb"^exec 9< (\S+)\nflock -w 10 9 ", re.MULTILINE)
    locked = {found for name in ("ifup", "ifdown") for found in lock.findall(files[f"web/{name}"])}
    (file,) = locked
    return str(file, "ascii")


def test_an_ordinary_user_cannot_hold_up_the_scripts(lab: Lab) -> None:
    """Neither by the file they lock, nor by the device that is open to all users."""
    before = lab.snapshot()
    file = scripts(lab)
    held = [
        lab.start(
            ["sh", "-c", f"exec 9< {name} && flock 9 && echo held && exec sleep 600"], user="alice"
        )
        for name in (file, "/dev/net/tun")
    ]
    assert held[0].wait(10) != 0, "a user holds the scripts' lock"
    held[1].expect("held")
    lab.run(["/run/out/web/ifup", "alice"]).check()
    lab.run(["/run/out/web/ifdown"]).check()
    held[1].stop()
    lab.assert_no_residue(before)


def test_a_second_script_waits_and_is_refused_before_it_changes_anything(lab: Lab) -> None:
    file = scripts(lab)
    before = lab.snapshot()
    holder = lab.start(["sh", "-c", f"exec 9< {file} && flock 9 && echo held && exec sleep 600"])
    holder.expect("held")
    refused = lab.run(["/run/out/web/ifup", "alice"]).check(4)
    assert "another tapdraft script has been busy for ten seconds" in refused.stderr
    lab.assert_no_residue(before)
    holder.stop()
    lab.run(["/run/out/web/ifup", "alice"]).check()
    lab.run(["/run/out/web/ifdown"]).check()


def test_each_network_namespace_has_a_lock_of_its_own(make_lab: type[Lab]) -> None:
    first, second = make_lab(), make_lab()
    file = scripts(first)
    holder = first.start(["sh", "-c", f"exec 9< {file} && flock 9 && echo held && exec sleep 600"])
    holder.expect("held")
    second.run(["/run/out/web/ifup", "alice"]).check()
    second.run(["/run/out/web/ifdown"]).check()
    holder.stop()
