"""DHCP for one guest, without privilege: one address, on one tap, and no leases to keep.

    answer(lease, packet)   what to say to a packet: a pure function
    serve(lease, tap)       say it, until the tap is gone or a signal comes
    host_resolvers()        the name servers that the host itself asks

Read it in this order: message, answer, serve, resolvers, __main__.
"""

from .answer import Answer, Lease, answer
from .resolvers import host_resolvers
from .serve import PORT, serve

__all__ = ["PORT", "Answer", "Lease", "answer", "host_resolvers", "serve"]
