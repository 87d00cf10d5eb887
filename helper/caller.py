"""Who asks, and the log of what they were answered."""

import os
import syslog
from typing import NamedTuple


class Caller(NamedTuple):
    """Who asks. Who holds CAP_NET_ADMIN already gains nothing here: no policy binds them."""

    uid: int
    gids: tuple[int, ...]  # the real group first
    holder: bool

    def log(self, what: str, request: str, reason: str) -> None:
        """One line to the log that administrators read; tapdraft-helper(8) has the format.

        `request` is of the request's own few characters; `reason` may hold words of the policy's.
        """
        quoted = "".join(c for c in reason if c.isprintable()).replace('"', "'")
        alarming = what in ("decision=refuse", "hardening=missing")
        level = syslog.LOG_WARNING if alarming else syslog.LOG_NOTICE
        who = f"uid={self.uid} gid={self.gids[0]}"
        syslog.syslog(level, f'{what} {who} request="{request}" reason="{quoted}"')


def this_caller(holder: bool) -> Caller:
    """The one who started this process, who knows its socket to the log as well."""
    syslog.openlog("tapdraft-helper", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    caller = Caller(os.getuid(), (os.getgid(), *os.getgroups()), holder)
    hardening = os.environ.get("TAPDRAFT_HARDENING", "")  # from the launcher
    if "none" in hardening:
        caller.log("hardening=missing", "", hardening)
    return caller
