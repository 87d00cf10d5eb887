"""How a guest learns its address: one module a method, all with one interface.

A method is a module with `adds(guest)`, which gives what it adds to the guest's start, and
`objection(guest)`, which says why it cannot serve this guest, or nothing. Read choose.py for which
of them a guest gets that names none.
"""

from . import cloud_init, cmdline, credential, dhcp_lease, kernel, none
from .choose import AUTO
from .method import Addition, Method

__all__ = ["AUTO", "METHODS", "WORDS", "Addition", "Method"]

METHODS: dict[str, Method] = {
    "kernel": kernel,
    "dhcp": dhcp_lease,
    "cloud-init": cloud_init,
    "credential": credential,
    "cmdline": cmdline,
    "none": none,
}
WORDS = (AUTO, *METHODS)
