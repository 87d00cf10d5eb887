"""What a guest needs of the helper, in the helper's own words."""

from ..helper.request import Request
from .model import Guest


def up(guest: Guest) -> Request:
    """The request that sets up the guest's tap."""
    return Request(
        "up",
        name=guest.name,
        host=guest.gateway,
        prefix=guest.prefix,
        guest=guest.address,
        mode=guest.mode,
        host_open=guest.host_open,
        uplinks=guest.uplinks,
        forwards=guest.forwards,
        mtu=guest.mtu,
        queues=guest.queues,
    )


def down(guest: Guest) -> Request:
    """The request that takes it down again."""
    return Request("down", name=guest.name)
