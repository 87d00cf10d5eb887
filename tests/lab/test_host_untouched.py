"""The host's own traffic passes our table as if it were not there."""

from __future__ import annotations

import pytest
from labdhcp import PYTHON
from labnet import Lab

WEB = ("up", "web", "192.168.7.1/30", "192.168.7.2")
# From a second address of the uplink and a reserved port, both of which masquerading would change.
ASK = """
import socket, sys
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("203.0.113.77", 777))
    s.connect((sys.argv[1], 80))
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(s.makefile().read())
"""


@pytest.mark.parametrize("mode", ["nat", "routed", "isolated"])
def test_the_host_keeps_its_own_source_address_and_port(lab: Lab, mode: str) -> None:
    lab.run(["ip", "address", "add", "203.0.113.77/24", "dev", "eth0"]).check()
    outside = lab.serve()
    lab.helper(*WEB, mode).check()
    page = lab.run([PYTHON, "-c", ASK, lab.web]).check().stdout
    assert "you are 203.0.113.77\n" in page
    outside.expect(r"^http 203\.0\.113\.77 777 ", 10)


@pytest.mark.parametrize("mode", ["nat", "routed", "isolated"])
def test_the_host_is_reached_by_ipv6_as_before(lab: Lab, mode: str) -> None:
    """A guest has none and the rules drop it; but they look at nothing that others send."""
    for netns, address in (("host", "fd00::2/64"), ("outside", "fd00::1/64")):
        add = ["ip", "address", "add", address, "dev", "eth0", "nodad"]
        lab.run(add, netns=netns).check()
    lab.helper(*WEB, mode).check()
    assert lab.ping("fd00::2", netns="outside")
