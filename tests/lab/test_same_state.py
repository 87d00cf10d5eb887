"""What was reviewed is what the helper does: both leave the kernel in the same state."""

import pytest
from labnet import Lab

from tapdraft.generator.description.parser import parse
from tapdraft.generator.scripts.render import render

# Together they need every operation there is.
DESCRIPTIONS = {
    "a nat guest with port forwards": """
        [network]
        subnet = "192.168.7.0/24"
        [guest.web]
        kernel = "vmlinuz"
        forward = ["tcp:8080:80", "udp:5353:53"]
        """,
    "an isolated and a routed guest": """
        [network]
        subnet = "192.168.7.0/24"
        mode = "isolated"
        [guest.db]
        kernel = "vmlinuz"
        [guest.app]
        kernel = "vmlinuz"
        mode = "routed"
        host = "open"
        """,
    "a guest outside the host's prefix, of another mtu and several queues": """
        [network]
        subnet = "192.168.7.0/24"
        [guest.far]
        kernel = "vmlinuz"
        address = "192.168.7.100"
        gateway = "192.168.7.65/32"
        mtu = 1400
        queues = 4
        """,
    "two uplinks, named": """
        [network]
        subnet = "192.168.7.0/24"
        uplinks = ["eth1", "eth0"]
        [guest.web]
        kernel = "vmlinuz"
        """,
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_script_and_the_helper_leave_the_same_state(make_lab: type[Lab], name: str) -> None:
    by_script, by_helper = (make_lab(uplinks=("eth0", "eth1")) for _ in range(2))
    before = by_script.snapshot(macs=False)
    description = parse(DESCRIPTIONS[name].encode())
    for lab, dialect in ((by_script, "nft"), (by_helper, "helper")):
        for path, content in render(description, dialect=dialect).items():
            lab.write(f"/run/out-{dialect}/{path}", content, mode=0o755)
    for guest in description.guests:
        by_script.run([f"/run/out-nft/{guest.name}/ifup", "alice"]).check()
        by_helper.run([f"/run/out-helper/{guest.name}/ifup"], user="alice").check()
    difference = by_script.snapshot(macs=False).diff(by_helper.snapshot(macs=False))
    assert difference == "", difference
    # And each can take down what the other one set up.
    for guest in description.guests:
        by_helper.run([f"/run/out-nft/{guest.name}/ifdown"]).check()
        by_script.run([f"/run/out-helper/{guest.name}/ifdown"], user="alice").check()
    for lab in (by_script, by_helper):
        assert before.diff(lab.snapshot(macs=False)) == ""
