"""The name servers that the host itself asks, for guests that are given none."""

from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address

# Where /etc/resolv.conf names a stub on the host's own loopback, the real servers are in the
# file of whoever runs the stub: systemd-resolved, NetworkManager, resolvconf with dnsmasq.
FILES = (
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/dnsmasq/resolv.conf",
)
LARGEST = 65536  # bytes that are read of a file


def host_resolvers(files: Iterable[str] = FILES) -> tuple[IPv4Address, ...]:
    """The servers of the first file that names any that a guest can reach; none if none does."""
    for file in files:
        servers = tuple(dict.fromkeys(_servers(file)))
        if servers:
            return servers
    return ()


def _servers(file: str) -> Iterator[IPv4Address]:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            text = stream.read(LARGEST)
    except OSError:
        return
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                server = IPv4Address(words[1])
            except AddressValueError:  # IPv6, which guests do not have
                continue
            if not _out_of_reach(server):
                yield server


def _out_of_reach(server: IPv4Address) -> bool:
    """The host's own loopback is not the guest's; link-local addresses are never forwarded."""
    return (
        server.is_loopback or server.is_unspecified or server.is_link_local or server.is_multicast
    )
