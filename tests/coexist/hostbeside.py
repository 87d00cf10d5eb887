"""A host with other software on it, and a guest that asks it for an address."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from labnet import Lab
from labproc import Guest, Process

HOME = "/home/alice"
TEXT = """
[network]
subnet = "192.168.7.0/24"
dns = ["198.51.100.1"]
[guest.web]
machine = "x86_64"
memory = "256M"
accel = "tcg"
addressing = "dhcp"
kernel = "{kernel}"
initrd = "{initrd}"
append = "quiet tapdraft.dhcp=1 tapdraft.get=http://web.example/ tapdraft.http=80"
forward = ["tcp:8080:80"]
"""


class Beside:
    """A lab's host whose folders of other software are the test's own, with one guest."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        files = lab.site.guest()
        lab.write(f"{HOME}/vm.toml", TEXT.format(kernel=files.kernel, initrd=files.initrd), "alice")
        lab.serve()

    def own(self, *folders: str) -> None:
        """Give the test a copy of these folders."""
        for folder in folders:
            self.sh(
                f"mkdir -p {folder}; cp -a {folder} /tmp/own.$$; mount -t tmpfs tmpfs {folder};"
                f" cp -a /tmp/own.$$/. {folder}; rm -r /tmp/own.$$"
            )

    def sh(self, command: str) -> str:
        return str(self.lab.run(["sh", "-ec", command]).check().stdout)

    def put(self, path: str, text: str) -> None:
        """Write a file, also in a folder of the test's own."""
        self.lab.run(["tee", path], input=text).check()

    def dbus(self) -> None:
        """Start the system's bus, in a folder of the test's own."""
        self.own("/run/dbus")
        bus = self.lab.start(
            ["dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address=1"]
        )
        bus.expect("unix:path")

    def until(self, command: str) -> None:
        """Wait until a command of root's succeeds."""
        self.lab.run(["sh", "-c", f"until {command}; do sleep 0.1; done"], limit=60).check()

    def start(self) -> Guest:
        return self.lab.guest(["tapdraft", "run", "vm.toml"], user="alice", cwd=HOME)

    def works(self) -> None:
        """A new guest gets its address, reaches the outside, and is reached by its port."""
        guest = self.start()
        guest.expect("guest: get http://web.example/ ok: hello from outside", 120)
        guest.expect("guest: ready", 60)
        self.reached()
        assert guest.poweroff() == 0

    def reached(self) -> None:
        page = self.lab.get("http://203.0.113.2:8080/", netns="outside")
        assert "hello from the guest web" in str(page)
        assert "hello from the guest web" in str(self.lab.get("http://192.168.7.2/"))

    def findings(self, *checks: str) -> list[dict[str, Any]]:
        done = self.lab.run(["tapdraft", "check", "--json", f"{HOME}/vm.toml"])
        assert done.stderr == ""
        return [f for f in json.loads(done.stdout) if f["check"] in (checks or ("firewall",))]

    def mend(self) -> None:
        """Do what check prints, to the letter; then it is content."""
        found = self.findings()
        assert found
        for finding in found:
            command, mark, _ = finding["fix"].partition("   (as root)")
            assert mark
            self.sh(command)
        assert self.findings() == []

    def daemon(self, *argv: str) -> Process:
        return self.lab.start(list(argv))


@pytest.fixture
def beside(lab: Lab) -> Beside:
    return Beside(lab)


@pytest.fixture
def stop() -> Callable[[Process], None]:
    """End a daemon as its init system does."""

    def end(process: Process) -> None:
        process.popen.terminate()
        process.wait()

    return end
