"""The helper's Python side with the newest releases of its libraries, beside Debian's."""

from labnet import Lab

WEB = ("up", "web", "192.168.7.1/32", "192.168.7.2", "forward=tcp:8080:80", "mtu=1400")
DEBIANS = "/usr/bin/python3"
# The Python side without the launcher, as root: no file capability is put on a venv.
ALONE = {"PYTHONPATH": "/usr/local/lib/tapdraft", "PYTHONDONTWRITEBYTECODE": "1"}
LARGE = """
import sys, tapdraft.helper.__main__
large = {"asyncio", "ssl", "sqlite3", "http", "unittest", "ctypes", "multiprocessing"}
print(*sorted(large & set(sys.modules)))
"""


def test_both_leave_the_same_state_and_then_nothing(
    make_lab: type[Lab], newest_python: str
) -> None:
    states = []
    for python in (DEBIANS, newest_python):
        lab = make_lab()
        before = lab.snapshot(macs=False)
        lab.run([python, "-P", "-m", "tapdraft.helper", *WEB], env=ALONE).check()
        states.append(lab.snapshot(macs=False))
        lab.run([python, "-P", "-m", "tapdraft.helper", "down", "--all"], env=ALONE).check()
        assert before.diff(lab.snapshot(macs=False)) == ""
    assert states[0].diff(states[1]) == ""


def test_neither_brings_in_what_a_privileged_process_should_not_have(
    lab: Lab, newest_python: str
) -> None:
    for python in (DEBIANS, newest_python):
        assert lab.run([python, "-P", "-c", LARGE], env=ALONE).check().stdout.split() == []
