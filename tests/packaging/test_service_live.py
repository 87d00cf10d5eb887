"""The installed service, a process for each connection, as its unit starts it.

A small listener stands in for systemd: it gives the process CAP_NET_ADMIN and the connection.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from labnet import PYTHON, Lab
from labproc import Process
from labrun import Result
from labsite import DEFAULT_POLICY, HELPER, Site

SERVICE = "/usr/local/lib/tapdraft/tapdraft-service"
CLIENT = "/usr/local/lib/tapdraft/tapdraft-helper"
UP = ("up", "web", "192.168.7.1/30", "192.168.7.2")
LISTENER = f"""
import os, socket, subprocess
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/tapdraft.socket")
os.chmod("/run/tapdraft.socket", 0o666)
listener.listen(600)
print("listening", flush=True)
while True:
    peer, _ = listener.accept()
    subprocess.Popen(
        ["setpriv", "--reuid=61990", "--regid=61990", "--clear-groups", "--no-new-privs",
         "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin",
         "--bounding-set=-all,+net_admin", "--", {SERVICE!r}],
        stdin=peer, stdout=peer, stderr=peer)
    peer.close()
"""


@pytest.fixture(scope="module")
def service_site(installed_site: Site) -> Site:
    installed_site.run(
        [
            "make",
            "-s",
            "-C",
            Site.source,
            "install-service",
            "PREFIX=/usr/local",
            "SYSCONFDIR=/etc",
            "PYTHON=/usr/bin/python3",
        ],
        limit=180,
    ).check()
    return installed_site


@pytest.fixture
def served(service_site: Site, lab: Lab) -> Iterator[Lab]:
    lab.run(["rm", "-f", "/run/tapdraft.socket"]).check()
    listener: Process = lab.start([PYTHON, "-I", "-c", LISTENER])
    listener.expect("listening", 20)
    before = lab.snapshot()
    yield lab
    lab.assert_no_residue(before)


def ask(lab: Lab, *words: str, user: str = "alice") -> Result:
    return lab.run([CLIENT, *words], user=user)


def connect(site: Site) -> socket.socket:
    """A connection of root's, whom the policy does not name."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(site.path("/run/tapdraft.socket")))
    peer.settimeout(60)
    return peer


def answer(peer: socket.socket) -> bytes:
    return b"".join(iter(lambda: peer.recv(65536), b""))


def test_a_request_is_the_callers(served: Lab) -> None:
    ask(served, *UP).check()
    (tap,) = served.tapdraft().taps
    assert (tap.name, tap.owner) == ("td-web", "alice")
    assert ask(served, "down", "web", user="bob").check().stdout == "td-web was not up\n"
    assert ask(served, "down", "web").check().stdout == "td-web is down\n"


def test_requests_on_standard_input_come_along(served: Lab) -> None:
    done = served.run([CLIENT, "-"], user="alice", input=" ".join(UP) + "\n").check()
    assert done.stdout == "td-web is up\n"
    ask(served, "down", "--all").check()


def test_who_may_not_ask_is_answered_before_a_byte_is_read(served: Lab) -> None:
    """So that whoever connects and waits keeps nobody from being served."""
    said = answer(connect(served.site))
    assert b"error: no section of /etc/tapdraft/policy.conf names the caller" in said
    assert said.endswith(b"\x003\n")
    served.site.policy("[user alice]\ndeny = yes\n" + DEFAULT_POLICY)
    done = ask(served, *UP).check(3)
    assert "denies everything" in done.stderr
    assert served.site.logged("decision=refuse uid=61001 .*denies everything")
    served.site.policy()


def test_a_subordinate_uid_is_nobody_here_as_well(served: Lab) -> None:
    own = ["setpriv", "--reuid=200001", "--regid=61001", "--groups=61000", "--inh-caps=-all"]
    done = served.run([*own, CLIENT, *UP]).check(3)
    assert "the name service knows no uid 200001" in done.stderr


@pytest.mark.parametrize("data", [b"", b"\0\0", struct.pack("!I", 5000), b"\0\0\0\x05up"])
def test_what_is_no_request_is_an_error_and_no_traceback(served: Lab, data: bytes) -> None:
    served.site.policy(DEFAULT_POLICY + "[user root]\nsubnets = 192.168.7.0/24\n")
    peer = connect(served.site)
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
    said = answer(peer)
    assert said.startswith(b"error: ")
    assert said.endswith(b"\x002\n")
    assert b"Traceback" not in said
    served.site.policy()


def test_the_unit_checks_what_is_imported_as_the_launcher_does(service_site: Site) -> None:
    unit = service_site.path("/usr/local/lib/systemd/system/tapdraft@.service").read_text()
    assert f"\nExecStartPre=+{HELPER} --check-files\n" in unit
    service_site.run([HELPER, "--check-files"]).check()
    folder = "/usr/lib/python3.11/json/__pycache__"
    service_site.run(["chmod", "o+w", folder]).check()
    done = service_site.run([HELPER, "--check-files"])
    service_site.run(["chmod", "o-w", folder]).check()
    assert done.status == 4
    assert folder in done.stderr


def test_no_limit_of_systemds_closes_the_socket() -> None:
    unit = Path(__file__).resolve().parents[2] / "packaging/systemd/tapdraft.socket"
    assert "\nTriggerLimitIntervalSec=0\n" in unit.read_text()
