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
    beside.mend_and_take_back("firewalld")
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
    beside.sh("ufw default deny routed; ufw default deny incoming; ufw --force enable; ufw reload")
    beside.mend_and_take_back("ufw", "ufw, guests that use DHCP")
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


IPTABLES = (
    "{0} -A INPUT -i lo -j ACCEPT; {0} -A INPUT -j REJECT --reject-with icmp-host-prohibited;"
    " {0} -A FORWARD -j REJECT --reject-with icmp-host-prohibited"
)
NFT = (
    "nft add table inet filter;"
    " nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }';"
    " nft 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }'"
)


def every(firewall: str) -> list[str]:
    return [firewall, f"{firewall}, answers to the host", f"{firewall}, guests that use DHCP"]


def test_what_check_says_about_iptables_can_be_taken_back(beside: Beside) -> None:
    beside.sh(IPTABLES.format("iptables"))
    beside.mend_and_take_back(*every("iptables"))


def test_what_check_says_about_the_older_iptables_can_be_taken_back(beside: Beside) -> None:
    beside.sh(IPTABLES.format("iptables-legacy"))
    beside.mend_and_take_back(*every("iptables-legacy"))


def test_what_check_says_about_nftables_can_be_taken_back(beside: Beside) -> None:
    beside.sh(NFT)
    beside.mend_and_take_back(*every("nftables"))
