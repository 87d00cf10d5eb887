"""What another version made: an earlier one's is taken down, a later one's left, and both told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from labnet import Lab

from tapdraft.generator.description.parser import parse
from tapdraft.generator.scripts.render import render

WEB = ("up", "web", "192.168.7.1/30", "192.168.7.2", "forward=tcp:8080:80")
DB = ("up", "db", "192.168.7.5/30", "192.168.7.6", "isolated")
# The rules of mark 1, as they were installed.
FIRST = (Path(__file__).parent / "ruleset-1.nft").read_text()
DESCRIPTION = """
[network]
subnet = "192.168.7.0/24"
[guest.web]
kernel = "vmlinuz"
[guest.db]
kernel = "vmlinuz"
"""


def made_by(lab: Lab, mark: int) -> None:
    """Make of what is there what the version of that mark would have made."""
    rules = lab.run(["nft", "list", "table", "inet", "tapdraft"]).check().stdout
    elements = "".join(
        f"add element inet tapdraft {name} {found}\n"
        for name, found in re.findall(
            r"(?:set|map) (uplinks|opened|forwards) {[^}]*elements = ({[^}]*})", rules
        )
    )
    table = FIRST if mark == 1 else re.sub(r"tapdraft \d+:", f"tapdraft {mark}:", rules)
    added = elements if mark == 1 else ""
    loaded = f"delete table inet tapdraft\n{table}\n{added}"
    lab.run(["nft", "-f", "-"], input=loaded).check()
    for tap in lab.tapdraft().taps:
        alias = re.sub(r"^tapdraft \d+", f"tapdraft {mark}", tap.alias)
        lab.run(["ip", "link", "set", tap.name, "alias", alias]).check()


@pytest.mark.parametrize("words", [["web"], ["--all"]])
def test_what_an_earlier_version_made_is_taken_down(lab: Lab, words: list[str]) -> None:
    before = lab.snapshot()
    lab.helper(*WEB).check()
    made_by(lab, 1)
    for refused, said in ((DB, "an earlier version"), (WEB, "made by an earlier version")):
        done = lab.helper(*refused).check(4)
        assert said in done.stderr
        assert "tapdraft-helper down" in done.stderr
    lab.helper("down", *words).check()
    lab.assert_no_residue(before)


@pytest.mark.parametrize("mark", [3, 99])
def test_what_a_later_version_made_is_left_to_it_and_told(lab: Lab, mark: int) -> None:
    lab.helper(*WEB).check()
    made_by(lab, mark)
    before = lab.snapshot()
    for words in (DB, ("down", "web"), ("down", "--all")):
        done = lab.helper(*words).check(4)
        assert "this version did not make" in done.stderr
        assert "nft delete table inet tapdraft" in done.stderr
    lab.assert_no_residue(before)


def test_the_scripts_take_down_what_an_earlier_version_made(bare_lab: Lab) -> None:
    before = bare_lab.snapshot()
    for path, content in render(parse(DESCRIPTION.encode()), dialect="nft").items():
        bare_lab.write(f"/run/versions/{path}", content, mode=0o755)
    bare_lab.run(["/run/versions/web/ifup", "alice"]).check()
    made_by(bare_lab, 1)
    done = bare_lab.run(["/run/versions/db/ifup", "alice"]).check(4)
    assert "that is not of this version" in done.stderr
    bare_lab.run(["/run/versions/web/ifdown"]).check()
    bare_lab.assert_no_residue(before)
