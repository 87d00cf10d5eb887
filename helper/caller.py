"""The caller, and the log of what the helper answers.

The log is a connection of our own to /dev/log, made before anything else and kept: whoever starts
the helper can lower its limits at any moment, and an open connection needs no further descriptor.
"""

import os
import socket
import struct
import syslog
import time
from contextlib import suppress
from errno import EPROTOTYPE
from typing import NamedTuple

from .errors import HelperError

LOG = "/dev/log"
SECONDS = 5  # for the log to take a line: who waits for it may hold the lock
LONGEST_LINE = 8192  # bytes; rsyslog takes no more
_HINT = "what cannot be logged is not done: start the log's daemon"


class Log:
    """The system's log. Where it is there and cannot be used, need() and write() say so."""

    def __init__(self) -> None:
        self._connection, self._error = None, None
        try:
            self._connection = _connect()
        except HelperError as error:  # it is no hindrance to what is only told, such as --help
            self._error = error

    def need(self) -> None:
        """HelperError if what will be done cannot be logged."""
        if self._error is not None:
            raise self._error

    def write(self, level: int, text: str) -> None:
        """One line, as syslog(3) writes it; nothing where this system has no log."""
        self.need()
        if self._connection is None:
            return
        when = time.strftime("%b %e %H:%M:%S")
        line = f"<{syslog.LOG_AUTHPRIV | level}>{when} tapdraft-helper[{os.getpid()}]: {text}"
        data = line.encode()[: LONGEST_LINE - 1] + b"\0"
        try:
            try:
                sent = self._connection.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                raise
            except OSError:  # the log's daemon was started anew
                connection = _connect()
                if connection is None:
                    raise HelperError(f"the log is gone: {LOG}", _HINT) from None
                self._connection = connection
                sent = connection.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._connection.setblocking(False)  # the next lines need not wait
            raise HelperError(f"the log takes nothing: {LOG}", _HINT)


def _connect() -> socket.socket | None:
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            connection = socket.socket(socket.AF_UNIX, kind)
            wait = struct.pack("ll", SECONDS, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
            try:
                connection.connect(LOG)
            except OSError as error:
                if error.errno == EPROTOTYPE and kind == socket.SOCK_DGRAM:
                    continue
                raise
            return connection
    except FileNotFoundError:
        pass  # a system without a log, as a container may be
    except OSError as error:
        what = f"the log cannot be opened: {LOG}: {error.strerror}"
        raise HelperError(what, _HINT) from None
    return None


class Caller(NamedTuple):
    """Who asks. Who holds CAP_NET_ADMIN already gains nothing here: no policy binds them."""

    uid: int
    gids: tuple[int, ...]  # the process's own group first
    holder: bool
    writer: Log | None = None  # None where nothing is done and nothing logged

    def need_log(self) -> None:
        """HelperError if there is a log and what will be done cannot be written to it."""
        if self.writer is not None:
            self.writer.need()

    def log(self, what: str, request: str, reason: str) -> None:
        """One line to the log that administrators read; tapdraft-helper(8) has the format.

        `request` is of the request's own few characters; `reason` may hold words of the policy's.
        OSError or HelperError if what is about to be done cannot be logged.
        """
        if self.writer is None:
            return
        quoted = "".join(c for c in reason if c.isprintable()).replace('"', "'")
        alarming = what in ("decision=refuse", "hardening=missing")
        level = syslog.LOG_WARNING if alarming else syslog.LOG_NOTICE
        who = f"uid={self.uid} gid={self.gids[0]}"
        line = f'{what} {who} request="{request}" reason="{quoted}"'
        if what == "decision=allow":
            self.writer.write(level, line)
            return
        with suppress(HelperError, OSError):  # nothing follows from it any more
            self.writer.write(level, line)


def this_caller(holder: bool) -> Caller:
    """The one who started this process, with the log."""
    caller = Caller(os.getuid(), (os.getgid(), *os.getgroups()), holder, Log())
    hardening = os.environ.get("TAPDRAFT_HARDENING", "")  # from the launcher
    if "none" in hardening:
        caller.log("hardening=missing", "", hardening)
    return caller
