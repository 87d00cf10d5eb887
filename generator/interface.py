"""One interface, asked of the kernel by its name, as any user may."""

import errno
import socket
from ipaddress import IPv4Interface, IPv4Network
from typing import NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..helper.netlink import IFF_UP, Link


class Interface(NamedTuple):
    """What the helper looks at of it, and the networks of its IPv4 addresses."""

    link: Link
    networks: set[IPv4Network]


def look(name: str) -> Interface | None:
    """The interface of that name; None if there is none. OSError if the kernel does not tell."""
    try:
        with IPRoute() as kernel:
            (found,) = kernel.link("get", ifname=name)
            addresses = kernel.get_addr(family=socket.AF_INET, index=found["index"])
            pairs = [(there.get_attr("IFA_ADDRESS"), there["prefixlen"]) for there in addresses]
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise OSError(error.code, str(error)) from None
    link = Link(
        found["index"],
        name,
        found.get_attr("IFLA_IFALIAS") or "",
        found.get_attr("IFLA_GROUP"),
        found.get_attr("IFLA_MTU"),
        bool(found["flags"] & IFF_UP),
        found.get_attr("IFLA_NUM_TX_QUEUES") > 1,
    )
    return Interface(link, {IPv4Interface(pair).network for pair in pairs})
