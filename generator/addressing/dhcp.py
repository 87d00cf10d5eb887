"""The address by DHCP, answered on the guest's tap alone: for any guest, whatever it runs.

An ordinary user's scripts start tapdraft's own responder. Those for root, on a machine that may
not have tapdraft, start dnsmasq. Both listen on the port that the ruleset makes of the guest's 67.
"""

from typing import TYPE_CHECKING

from ..dhcp.serve import CLIENT_PORT, PORT
from ..requests import up
from . import Addition
from .kernel import network

if TYPE_CHECKING:
    from ..description import Guest


def adds(guest: "Guest") -> Addition:
    return Addition(beside=("tapdraft", "dhcp", *responder(guest)), as_root=dnsmasq(guest))


def objection(_: "Guest") -> tuple[str, str]:
    return "", ""


def responder(guest: "Guest") -> tuple[str, ...]:
    """The responder's arguments: everything that it will say, but for the name servers of the
    host where the description names none."""
    return (
        f"--tap={up(guest).tap}",
        f"--mac={guest.mac}",
        f"--address={guest.address}",
        f"--prefix={network(guest).network.prefixlen}",
        f"--router={guest.gateway}",
        *(f"--dns={server}" for server in guest.dns),
        f"--host-name={guest.name}",
        *([f"--domain={guest.domain}"] if guest.domain else []),
        f"--mtu={guest.mtu}",
        "--quiet",
    )


def pid_file(guest: "Guest") -> str:
    return f"/run/tapdraft-{up(guest).tap}.pid"


def dnsmasq(guest: "Guest") -> tuple[str, ...]:
    """The same as dnsmasq's command: no configuration of the host's, no DNS, no leases kept."""
    prefix = network(guest).network
    return (
        "dnsmasq",
        "--conf-file=/dev/null",
        f"--pid-file={pid_file(guest)}",
        "--user=nobody",
        "--port=0",
        f"--interface={up(guest).tap}",
        "--except-interface=lo",
        "--bind-interfaces",
        f"--dhcp-alternate-port={PORT},{CLIENT_PORT}",
        f"--dhcp-range={guest.address},{guest.address},{prefix.netmask},12h",
        f"--dhcp-host={guest.mac},{guest.address},{guest.name}",
        "--dhcp-ignore=tag:!known",
        "--dhcp-authoritative",
        "--leasefile-ro",
        "--no-ping",
        f"--dhcp-option=option:router,{guest.gateway}",
        f"--dhcp-option=option:mtu,{guest.mtu}",
        *([f"--domain={guest.domain}"] if guest.domain else []),
        *([f"--dhcp-option=option:dns-server,{','.join(guest.dns)}"] if guest.dns else []),
    )
