"""Real DHCP clients, each from Debian, against the responder, behind the real ruleset."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from labdhcp import GUEST, HOST, Wired
from labnet import Lab
from labpackets import ACK, DISCOVER, REQUEST
from labproc import Process

TOLD = ("--dns=198.51.100.1", "--host-name=web", "--domain=lab.example", "--mtu=1400")
# The shortest lease that all of them take as it is; they renew at half of it.
SHORT = "--lease=6"
# REQUESTs as labwire.py tells them: of who has an address to the server alone, of the same to
# everybody, and of who has none.
RENEWING = rf"^{REQUEST} {HOST} \w+ {GUEST} [\d ]+$"
REBINDING = rf"^{REQUEST} 255\.255\.255\.255 (\w+) {GUEST} ([\d ]+)$"
REBOOTING = rf"^{REQUEST} 255\.255\.255\.255 \w+ 0\.0\.0\.0 ([\d ]+)$"
REQUESTED_ADDRESS, SERVER = "50", "54"
UDHCPC_SCRIPT = """\
#!/bin/busybox sh
[ -z "$ip" ] || {
    ifconfig "$interface" "$ip" netmask "$subnet"
    ip route replace default via "$router" dev "$interface" onlink
}
echo "$dns $hostname $domain $mtu $staticroutes" > /run/told
echo "script: $1"
"""
DHCPCD_CONFIG = """\
option subnet_mask, classless_static_routes, routers, domain_name_servers, host_name, domain_name
option interface_mtu
require dhcp_server_identifier
"""
# By itself it asks again after ten seconds, which is longer than a short lease.
DHCLIENT_IMPATIENT = """\
include "/etc/dhcp/dhclient.conf";
initial-interval 2;
backoff-cutoff 2;
supersede dhcp-renewal-time 1;
supersede dhcp-rebinding-time 2;
"""
NETWORK = """\
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
UseMTU=yes
"""


@dataclass(frozen=True)
class Client:
    """How a client is started, what it writes when it is done and when everybody was asked and
    somebody answered, what it remembers of what it was told, how it comes back after a reboot, how
    it is asked to renew, and how it is started to ask everybody before a short lease is over."""

    start: Callable[[Wired], Process]
    done: str
    rebound: str
    told: list[str]
    reboot: str
    renew: signal.Signals | None = None  # None: with the lease's own T1
    impatient: Callable[[Wired], Process] | None = None  # None: as ever


def _udhcpc(wired: Wired) -> Process:
    script = wired.write("/run/script", UDHCPC_SCRIPT, 0o755)
    # It has no memory of its own: who starts it keeps the address for -r.
    last = ["-r", GUEST] if (wired.space.root / "run/told").exists() else []
    return wired.start(
        [
            "busybox",
            "udhcpc",
            "-f",
            "-i",
            "eth0",
            "-s",
            script,
            *last,
            "-O",
            "mtu",
            "-O",
            "staticroutes",
        ]
    )


def _dhclient(wired: Wired, config: str = "/etc/dhcp/dhclient.conf") -> Process:
    return wired.start(
        [
            "dhclient",
            "-d",
            "-v",
            "-4",
            "-cf",
            config,
            "-pf",
            "/run/dhclient.pid",
            "-lf",
            "/var/lib/dhclient.leases",
            "eth0",
        ]
    )


def _dhclient_impatient(wired: Wired) -> Process:
    return _dhclient(wired, wired.write("/run/dhclient.conf", DHCLIENT_IMPATIENT))


def _dhcpcd(wired: Wired) -> Process:
    config = wired.write("/run/dhcpcd.conf", DHCPCD_CONFIG)
    wired.run(["rm", "-rf", "/run/dhcpcd"])
    return wired.start(["dhcpcd", "-B", "-d", "-4", "-A", "-f", config, "eth0"])


def _networkd(wired: Wired) -> Process:
    wired.write("/run/systemd/network/eth0.network", NETWORK)
    return wired.start(
        ["/lib/systemd/systemd-networkd"], SYSTEMD_LOG_LEVEL="debug", SYSTEMD_LOG_TARGET="console"
    )


CLIENTS = {
    "udhcpc": Client(
        _udhcpc,
        "script: bound",
        f"lease of {GUEST} obtained.*\nscript: renew$",
        ["cat", "/run/told"],
        "selecting",
        signal.SIGUSR1,
    ),
    "dhclient": Client(
        _dhclient,
        f"^bound to {GUEST}",
        f"^DHCPACK.*\nbound to {GUEST}",
        ["cat", "/var/lib/dhclient.leases"],
        "rebooting",
        impatient=_dhclient_impatient,
    ),
    "dhcpcd": Client(
        _dhcpcd,
        "run-hooks (BOUND|REBOOT)$",
        r"leased [\s\S]*?run-hooks REBIND$",
        ["dhcpcd", "-4", "-U", "eth0"],
        "rebooting",
    ),
    # It asks anew when its interface has lost its address.
    "systemd-networkd": Client(
        _networkd,
        "DHCPv4 address and routes set",
        r"REQUEST \(rebinding\)[\s\S]*?: ACK$[\s\S]*?DHCPv4 address and routes set",
        ["sh", "-c", "cat /run/systemd/netif/leases/*"],
        "selecting",
    ),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, requires: Callable[..., None]) -> Client:
    name = request.param
    requires(
        {"udhcpc": "busybox", "systemd-networkd": "/lib/systemd/systemd-networkd"}.get(name, name)
    )
    return CLIENTS[name]


@pytest.fixture
def wired(bare_lab: Lab) -> Iterator[Wired]:
    wired = Wired(bare_lab)
    yield wired
    wired.close()


@pytest.fixture
def wired_apart(bare_lab: Lab) -> Iterator[Wired]:
    """The same with host and guest in no common network, as runqemu has it."""
    wired = Wired(bare_lab, "192.168.7.1/32", GUEST)
    yield wired
    wired.close()


def test_a_client_gets_all_that_it_asks_for(client: Client, wired: Wired) -> None:
    responder = wired.respond(*TOLD)
    client.start(wired).expect(client.done)
    assert responder.expect(r"leased \((\w+)\)$")[1] == "selecting"
    assert wired.address() == f"{GUEST}/30"
    told = wired.run(client.told).check().stdout
    for word in ("198.51.100.1", "web", "lab.example", "1400"):
        assert word in told
    assert wired.reaches_outside()


def test_a_client_renews(client: Client, wired: Wired) -> None:
    responder = wired.respond(SHORT)
    process = client.start(wired)
    process.expect(client.done)
    if client.renew:
        process.signal(client.renew)
    responder.expect(r"leased \(renewing\)$")
    assert "refused" not in responder.console
    assert wired.address() == f"{GUEST}/30"


def test_a_client_that_nobody_answers_asks_everybody_and_keeps_its_address(
    client: Client, wired: Wired
) -> None:
    responder = wired.respond("--lease=12")  # a second and a half is left when it asks everybody
    wired.lose_unicast()
    wire = wired.listen()
    process = (client.impatient or client.start)(wired)
    process.expect(client.done)
    alone = wire.expect(RENEWING)
    asked = wire.expect(REBINDING)
    assert not {REQUESTED_ADDRESS, SERVER} & set(asked[2].split())
    wire.expect(rf"^{ACK} {GUEST} {asked[1]} {GUEST} ")
    process.expect(client.rebound)
    assert responder.expect(r"leased \((?!selecting)(\w+)\)$")[1] == "rebinding"
    assert wired.address() == f"{GUEST}/30"
    began_anew = re.compile(f"^{DISCOVER} ", re.MULTILINE)
    assert not began_anew.search(wire.console, alone.end())


def test_a_client_comes_back_after_a_reboot(client: Client, wired: Wired) -> None:
    responder = wired.respond()
    first = client.start(wired)
    first.expect(client.done)
    responder.expect(r"leased \(selecting\)$")
    wired.lose_power(first)
    assert wired.address() == ""
    wire = wired.listen()
    client.start(wired).expect(client.done)
    assert responder.expect(r"leased \((\w+)\)$")[1] == client.reboot
    sent = set(wire.expect(REBOOTING)[1].split())
    assert REQUESTED_ADDRESS in sent
    assert (SERVER in sent) == (client.reboot == "selecting")
    assert wired.address() == f"{GUEST}/30"
    assert wired.reaches_outside()


@pytest.mark.parametrize("client", ["dhcpcd", "systemd-networkd"], indirect=True)
def test_a_client_whose_cable_was_out_asks_for_the_address_that_it_had(
    client: Client, wired: Wired
) -> None:
    responder = wired.respond()
    process = client.start(wired)
    process.expect(client.done)
    wired.run(["ip", "link", "set", "eth0", "carrier", "off"]).check()
    process.expect("Lost carrier|carrier lost")
    wire = wired.listen()
    wired.run(["ip", "link", "set", "eth0", "carrier", "on"]).check()
    sent = set(wire.expect(REBOOTING)[1].split())
    assert (REQUESTED_ADDRESS in sent, SERVER in sent) == (True, False)
    process.expect(client.done)
    responder.expect(r"leased \(rebooting\)$")
    assert wired.address() == f"{GUEST}/30"


def test_a_client_finds_a_router_outside_its_network(client: Client, wired_apart: Wired) -> None:
    responder = wired_apart.respond("--prefix=32")
    client.start(wired_apart).expect(client.done)
    responder.expect(r"leased \(selecting\)$")
    assert wired_apart.address() == f"{GUEST}/32"
    assert wired_apart.reaches_outside()


def test_a_lease_from_another_network_is_refused_and_the_right_address_taken(
    wired: Wired, requires: Callable[..., None]
) -> None:
    requires("dhclient")
    responder = wired.respond()
    first = _dhclient(wired)
    first.expect(CLIENTS["dhclient"].done)
    wired.lose_power(first)
    leases = wired.space.root / "var/lib/dhclient.leases"
    leases.write_text(leases.read_text().replace(GUEST, "10.11.12.13"))
    again = _dhclient(wired)
    responder.expect(r"10\.11\.12\.13 refused \(rebooting\)")
    again.expect("DHCPNAK")
    again.expect(CLIENTS["dhclient"].done)
    assert wired.address() == f"{GUEST}/30"


def test_a_real_guest_leases_and_renews_through_its_network_card(wired: Wired) -> None:
    """Its kernel leaves the checksum of what udhcpc renews with to the card, half done."""
    wired.pump.signal(signal.SIGKILL)
    wired.pump.wait()
    responder = wired.respond("--mac=52:54:00:12:34:56", *TOLD)
    guest = wired.lab.qemu("td-web", "tapdraft.dhcp=1", user="root")
    guest.expect(r"guest: address 192\.168\.7\.2 netmask 255\.255\.255\.252 gateway 192\.168\.7\.1")
    guest.expect("guest: hostname web dns 198.51.100.1")
    guest.expect("guest: lease 43200 from 192.168.7.1 mtu 1400 domain lab.example")
    guest.expect("guest: dhcp ok")
    responder.expect(r"leased \(selecting\)$")
    guest.expect("guest: ready")
    guest.type("udhcpc -i eth0 -s /bin/lease -f &")
    guest.expect("guest: address")
    guest.type("kill -USR1 $!")
    responder.expect(r"leased \(renewing\)$")
    guest.poweroff()
