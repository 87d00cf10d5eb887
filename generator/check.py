"""tapdraft check: what on this host would keep a guest from working, and what fixes it.

Each of the functions below looks at one thing and gives what it finds. Nothing is changed.
"""

import json
from collections.abc import Callable, Iterator

from . import (
    check_address,
    check_files,
    check_firewall,
    check_helper,
    check_host,
    check_ports,
    check_qemu,
)
from .errors import IN_THE_WAY, plain
from .finding import Finding, Place

CHECKS: tuple[Callable[[Place], Iterator[Finding]], ...] = (
    check_helper.installed,
    check_helper.capability,
    check_helper.starts,
    check_helper.policy,
    check_host.tun,
    check_host.qemu,
    check_qemu.parts,
    check_qemu.images,
    check_qemu.bridges,
    check_qemu.screens,
    check_host.kvm,
    check_host.files,
    check_files.kernels,
    check_files.disks,
    check_files.vhost,
    check_files.display,
    check_host.addresses,
    check_host.memory,
    check_host.resolvers,
    check_address.responder,
    check_address.listener,
    check_host.uplinks,
    check_ports.forwards,
    check_ports.of_guests,
    check_firewall.forward_chains,
    check_firewall.ports,
    check_firewall.unreadable,
)
# What a description whose guests have no tap does not need.
OF_TAPS = (
    check_helper.installed,
    check_helper.capability,
    check_helper.starts,
    check_helper.policy,
    check_host.tun,
    check_host.uplinks,
    check_ports.of_guests,
    check_firewall.forward_chains,
    check_firewall.ports,
    check_firewall.unreadable,
)


def check(place: Place, *, as_json: bool) -> int:
    """Print what was found; IN_THE_WAY if any of it keeps a guest from working."""
    needless = OF_TAPS if place.guests and not place.tapped else ()
    looks = [look for look in CHECKS if look not in needless]
    findings = [finding for look in looks for finding in look(place)]
    blocking = any(finding.level == "error" for finding in findings)
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.level}: {plain(finding.what)}\nhint: {plain(finding.fix)}")
        warnings = sum(finding.level == "warning" for finding in findings)
        errors = len(findings) - warnings
        print(_summary(errors, warnings) if findings else "nothing is in the way")
    return IN_THE_WAY if blocking else 0


def _summary(errors: int, warnings: int) -> str:
    """As a compiler says it: "no errors, 1 warning"."""
    said = [
        f"{number or 'no'} {word}{'s' * (number != 1)}"
        for number, word in ((errors, "error"), (warnings, "warning"))
    ]
    return ", ".join(said if warnings else said[:1])
