"""tapdraft check: what on this host would keep a guest from working, and what fixes it.

Each of the functions below looks at one thing and gives what it finds. Nothing is changed.
"""

import json
from collections.abc import Callable, Iterator

from ..errors import IN_THE_WAY, plain
from . import (
    firewall_rules,
    guest_addressing,
    guest_files,
    helper_access,
    host_state,
    port_conflicts,
    qemu_parts,
)
from .finding import Finding, Place

CHECKS: tuple[Callable[[Place], Iterator[Finding]], ...] = (
    helper_access.installed,
    helper_access.capability,
    helper_access.starts,
    helper_access.policy,
    host_state.tun,
    host_state.qemu,
    qemu_parts.parts,
    qemu_parts.images,
    qemu_parts.bridges,
    qemu_parts.screens,
    host_state.kvm,
    host_state.files,
    guest_files.kernels,
    guest_files.disks,
    guest_files.vhost,
    guest_files.display,
    host_state.addresses,
    host_state.memory,
    host_state.resolvers,
    guest_addressing.responder,
    guest_addressing.listener,
    host_state.uplinks,
    port_conflicts.forwards,
    port_conflicts.of_guests,
    firewall_rules.forward_chains,
    firewall_rules.ports,
    firewall_rules.unreadable,
)
# What a description whose guests have no tap does not need.
OF_TAPS = (
    helper_access.installed,
    helper_access.capability,
    helper_access.starts,
    helper_access.policy,
    host_state.tun,
    host_state.uplinks,
    port_conflicts.of_guests,
    firewall_rules.forward_chains,
    firewall_rules.ports,
    firewall_rules.unreadable,
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
