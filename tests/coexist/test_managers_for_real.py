"""Beside real network managers: they leave a guest's tap alone, whoever was there first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hostbeside import Beside
from labproc import Process

EVERYTHING = "[Match]\nName=*\n[Network]\nDHCP=yes\nKeepConfiguration=yes\n"


def test_networkd_that_is_to_configure_everything_leaves_taps_alone(
    beside: Beside, stop: Callable[[Process], None]
) -> None:
    beside.own("/etc/systemd/network", "/run/systemd")
    beside.dbus()
    beside.sh("mount -o remount,ro,bind /sys")  # as in containers, which have no udev
    beside.put("/etc/systemd/network/50-all.network", EVERYTHING)
    beside.sh(
        "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp;"
        " chown -R systemd-network: /run/systemd/netif"
    )
    for _ in range(2):
        daemon = beside.daemon("/lib/systemd/systemd-networkd")
        beside.until("networkctl --no-pager list | grep -q eth0")
        guest = beside.start()
        guest.expect("guest: ready", 120)
        beside.until("networkctl --no-pager list | grep 'td-web.*unmanaged'")
        beside.reached()
        stop(daemon)
        daemon = beside.daemon("/lib/systemd/systemd-networkd")  # the guest was there first
        beside.until("networkctl --no-pager list | grep 'td-web.*unmanaged'")
        beside.reached()
        assert beside.findings("tap") == []
        assert guest.poweroff() == 0
        stop(daemon)


def test_networkmanager_leaves_taps_alone_when_networking_goes_off_and_on(
    beside: Beside, stop: Callable[[Process], None]
) -> None:
    beside.own("/etc/NetworkManager", "/var/lib/NetworkManager", "/run/NetworkManager")
    beside.dbus()
    beside.sh("mount -o remount,ro,bind /sys")
    daemon = beside.daemon("NetworkManager", "--no-daemon")
    beside.until("nmcli general status")
    beside.sh(
        "nmcli connection add type ethernet ifname eth0 con-name up ipv4.method manual"
        " ipv4.addresses 203.0.113.2/24 ipv4.gateway 203.0.113.1 ipv6.method ignore;"
        " nmcli connection up up"
    )
    guest = beside.start()
    guest.expect("guest: ready", 120)
    beside.until("nmcli -t device | grep td-web:tun:unmanaged")
    beside.sh("nmcli networking off")
    beside.until("nmcli networking connectivity | grep none")
    beside.sh("nmcli networking on")
    beside.until("ip route | grep 'default via 203.0.113.1'")
    beside.until("nmcli -t device | grep td-web:tun:unmanaged")
    beside.reached()
    stop(daemon)
    beside.daemon("NetworkManager", "--no-daemon")  # the guest was there first
    beside.until("nmcli -t device | grep td-web:tun:unmanaged")
    beside.reached()
    assert beside.findings("tap") == []
    assert guest.poweroff() == 0


DOCKER = "unix:///var/run/docker.sock"


def docker(beside: Beside) -> Process:
    process = beside.daemon("dockerd", "--storage-driver=vfs")
    beside.until(f"docker -H {DOCKER} info")
    return process


def test_beside_docker_guests_work_after_what_check_says(
    beside: Beside, stop: Callable[[Process], None]
) -> None:
    beside.sh(
        "mkdir -p /sys/fs/cgroup /var/lib/docker /var/lib/containerd;"
        " mount -t tmpfs cg /sys/fs/cgroup; mkdir /sys/fs/cgroup/unified;"
        " mount -t cgroup2 none /sys/fs/cgroup/unified;"
        " mount -t tmpfs t /var/lib/docker;"
        " mount -t tmpfs t /var/lib/containerd"
    )
    beside.own("/run")
    first = docker(beside)
    beside.mend()
    beside.works()
    stop(first)
    guest = beside.start()
    guest.expect("guest: ready", 120)
    docker(beside)  # the guest was there first
    assert beside.findings() == []
    beside.reached()
    assert guest.poweroff() == 0


@pytest.mark.parametrize("first", ["the guest", "libvirt"])
def test_beside_libvirts_network_guests_work(beside: Beside, first: str) -> None:
    beside.own("/run", "/var/lib/libvirt", "/etc/libvirt")
    beside.dbus()
    beside.sh("mkdir -p /run/libvirt /dev/shm")

    def libvirt() -> None:
        beside.daemon("libvirtd")
        beside.until("virsh -c qemu:///system net-start default")

    if first == "libvirt":
        libvirt()
        beside.works()
    else:
        guest = beside.start()
        guest.expect("guest: ready", 120)
        libvirt()
        beside.reached()
        assert guest.poweroff() == 0
    assert beside.findings() == []


NETAVARK = """{"container_id": "c1", "container_name": "c1",
"port_mappings": [{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1,
"protocol": "tcp"}],
"networks": {"podman": {"static_ips": ["10.88.0.2"], "interface_name": "eth0"}},
"network_info": {"podman": {"name": "podman", "id": "2f259bab93aaaaa2542ba43ef33eb990",
"driver": "bridge", "network_interface": "podman0", "subnets": [{"subnet": "10.88.0.0/16",
"gateway": "10.88.0.1"}], "ipv6_enabled": false, "internal": false, "dns_enabled": false,
"ipam_options": {"driver": "host-local"}}}}"""


def test_beside_podmans_netavark_guests_work_and_its_port_is_not_taken(beside: Beside) -> None:
    pid = beside.lab.start(["unshare", "--net", "sh", "-c", "echo made; exec sleep infinity"])
    pid.expect("made")
    beside.own("/run/containers")
    beside.lab.write("/run/netavark.json", NETAVARK)
    beside.sh(
        f"/usr/lib/podman/netavark --config /run/containers setup /proc/{pid.pid}/ns/net"
        " < /run/netavark.json"
    )
    assert beside.findings() == []
    (finding,) = beside.findings("port")
    assert "tcp port 8080 goes to 10.88.0.2:80 already" in finding["what"]
    beside.sh("sed -i s/8080:80/8081:80/ /home/alice/vm.toml; rm /run/netavark.json")
    assert beside.findings("port") == []
    guest = beside.start()
    guest.expect("guest: get http://web.example/ ok: hello from outside", 120)
    guest.expect("guest: ready", 60)
    assert "guest web" in str(beside.lab.get("http://203.0.113.2:8081/", netns="outside"))
    assert guest.poweroff() == 0
