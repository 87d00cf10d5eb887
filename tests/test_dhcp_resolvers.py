"""Which name servers a guest is told, when its description names none."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from labpackets import NOWHERE

from tapdraft.generator.dhcp import host_resolvers

STUB = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lab.example\n"


def found(folder: Path, *texts: str) -> list[str]:
    """What is found in files with these texts, of which the first is /etc/resolv.conf."""
    files = [folder / str(number) for number in range(len(texts) + 1)]  # the last is not there
    for file, text in zip(files, texts, strict=False):
        file.write_text(text)
    return [str(server) for server in host_resolvers(map(str, files))]


def test_the_hosts_own_servers_in_their_order(tmp_path: Path) -> None:
    text = "# nameserver 1.1.1.1\nnameserver 203.0.113.53\n  nameserver\t198.51.100.1 # x\n"
    assert found(tmp_path, text) == ["203.0.113.53", "198.51.100.1"]


def test_behind_a_stub_the_servers_that_the_stub_asks(tmp_path: Path) -> None:
    assert found(tmp_path, STUB, "nameserver 203.0.113.53\n") == ["203.0.113.53"]
    assert found(tmp_path, STUB, STUB, "nameserver 203.0.113.53\n") == ["203.0.113.53"]


@pytest.mark.parametrize(
    "server",
    [
        "127.0.0.1",
        "127.0.1.1",
        NOWHERE,
        "169.254.169.254",
        "224.0.0.251",
        "::1",
        "2001:db8::1",
        "fe80::1%eth0",
        "name.example",
        "203.0.113.530",
        "",
    ],
)
def test_a_server_that_no_guest_can_reach_is_left_out(tmp_path: Path, server: str) -> None:
    assert found(tmp_path, f"nameserver {server}\nnameserver 203.0.113.53\n") == ["203.0.113.53"]
    assert found(tmp_path, f"nameserver {server}\n") == []


def test_a_server_that_is_named_twice_is_told_once(tmp_path: Path) -> None:
    assert found(tmp_path, "nameserver 203.0.113.53\n" * 3) == ["203.0.113.53"]


def test_no_file_no_servers(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path, "") == []


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"\xff\xfe\0\nnameserver 203.0.113.53\n" + os.urandom(300_000))
    assert host_resolvers([str(file)]) == (IPv4Address("203.0.113.53"),)
    assert host_resolvers([str(tmp_path)]) == ()


def test_the_responder_imports_no_more_than_it_needs() -> None:
    root = Path(__file__).resolve().parents[1]
    code = (
        "import sys, types; package = types.ModuleType('tapdraft');"
        f"package.__path__ = [{str(root)!r}]; sys.modules['tapdraft'] = package;"
        "import tapdraft.generator.dhcp.__main__; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {
        "pyroute2",
        "asyncio",
        "ssl",
        "json",
        "subprocess",
        "jinja2",
        "docopt",
        "tomllib",
        "email",
        "http",
        "unittest",
        "logging",
        "pathlib",
    }
    assert not heavy & set(loaded)
