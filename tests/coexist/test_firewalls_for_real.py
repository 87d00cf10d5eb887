"""Beside real firewalls: what check prints lets guests through, and it lasts."""

from __future__ import annotations

from collections.abc import Callable

from hostbeside import Beside
from labproc import Process


def firewalld(beside: Beside) -> Process:
    process = beside.daemon("firewalld", "--nofork", "--nopid")
    beside.until("firewall-cmd --state")
    return process


def test_beside_firewalld_guests_work_after_what_check_says(
    beside: Beside, stop: Callable[[Process], None]
) -> None:
    beside.own("/etc/firewalld")
    beside.dbus()
    first = firewalld(beside)
    beside.mend()
    beside.works()
    beside.sh("firewall-cmd --reload")
    assert beside.findings() == []
    stop(first)
    guest = beside.start()
    guest.expect("guest: ready", 120)
    firewalld(beside)  # the guest was there first
    assert beside.findings() == []
    beside.reached()
    assert guest.poweroff() == 0


def test_beside_ufw_guests_work_after_what_check_says(beside: Beside) -> None:
    beside.own("/etc/ufw", "/etc/default", "/var/lib/ufw", "/lib/ufw")
    beside.sh("ufw default deny routed; ufw default deny incoming; ufw --force enable")
    beside.mend()
    beside.works()
    beside.sh("ufw reload")
    assert beside.findings() == []
    beside.sh("ufw disable")
    guest = beside.start()
    guest.expect("guest: ready", 120)
    beside.sh("ufw --force enable")
    assert beside.findings() == []
    beside.reached()
    assert guest.poweroff() == 0


def test_beside_the_rules_of_cloud_images_guests_work_after_what_check_says(
    beside: Beside,
) -> None:
    beside.sh(
        "iptables-legacy -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT;"
        " iptables-legacy -A INPUT -p icmp -j ACCEPT; iptables-legacy -A INPUT -i lo -j ACCEPT;"
        " iptables-legacy -A INPUT -j REJECT --reject-with icmp-host-prohibited;"
        " iptables-legacy -A FORWARD -j REJECT --reject-with icmp-host-prohibited"
    )
    beside.mend()
    beside.works()
