"""The responder without a description, for scripts: tapdraft dhcp --tap=TAP.

Writes `ready` to standard output when it listens; with --background it then goes on as another
process, whose number it writes instead. Ends with the tap, or by SIGTERM or SIGINT.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address

from ..errors import USAGE, TapdraftError
from .answer import HALF_A_DAY, Lease
from .resolvers import host_resolvers
from .serve import serve, tell_ready


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tapdraft dhcp", allow_abbrev=False)
    add = parser.add_argument
    add("--tap", required=True, help="the interface, td-GUEST")
    add("--mac", required=True, help="of the guest")
    add("--address", required=True, type=IPv4Address, help="of the guest")
    add("--prefix", required=True, type=int, help="length of the network's prefix on the tap")
    add("--router", required=True, type=IPv4Address, help="the host's address on the tap")
    add(
        "--server",
        type=IPv4Address,
        help="the host's address on the tap, if the router is another machine",
    )
    add(
        "--dns",
        type=IPv4Address,
        action="append",
        help="name server, may be repeated; the host's own if none is given",
    )
    add("--host-name", default="", help="of the guest")
    add("--domain", default="")
    add("--mtu", type=int, default=1500)
    add("--lease", type=int, default=HALF_A_DAY, metavar="SECONDS")
    add("--quiet", action="store_true", help="log only what is not usual")
    add("--background", action="store_true", help="write the process id, and go on without us")
    return parser


def go_on_alone() -> None:
    """Be another process, in a session of its own: a key pressed for the guest does not end it.

    Whoever started us goes on when it has the number, and then every packet is answered.
    """
    child = os.fork()
    if child:
        os.write(1, f"{child}\n".encode())
        os._exit(0)
    os.setsid()
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for standard in (0, 1):
            os.dup2(nothing.fileno(), standard)


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback before serve() has its own
    given = _parser().parse_args(argv)
    try:
        lease = Lease(
            mac=given.mac,
            address=given.address,
            prefix=given.prefix,
            router=given.router,
            server=given.server or given.router,
            dns=tuple(given.dns or host_resolvers()),
            host_name=given.host_name,
            domain=given.domain,
            mtu=given.mtu,
            seconds=given.lease,
        )
        ready = go_on_alone if given.background else tell_ready
        serve(lease, given.tap, quiet=given.quiet, ready=ready)
    except ValueError as error:
        print(TapdraftError(str(error)), file=sys.stderr)
        return USAGE
    except TapdraftError as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
