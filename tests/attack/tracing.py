"""Hold the helper at a system call of one's choice: root's ptrace, which keeps file capabilities.

A program is stopped before each system call and after it, so what a test does in between happens
exactly there. `release()` lets go of it again, running or stopped, for those who must find it
untraced.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from attacker import UP
from labnet import Lab
from labproc import Process
from labsite import HELPER

# linux/ptrace.h
_CONT, _DETACH, _SYSCALL, _SEIZE, _SYSCALL_INFO = 7, 17, 24, 0x4206, 0x420E
_SYSGOOD, _EXITKILL = 1, 0x100000
_ENTRY = 1
_WALL = 0x40000000  # linux/wait.h: also who is not a child
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_seccomp = ctypes.CDLL("libseccomp.so.2")


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info, as far as an entry has it."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


class Call(NamedTuple):
    """A system call, about to be made (`entry`) or made."""

    entry: bool
    name: str
    args: tuple[int, ...]


@cache
def _number(name: str) -> int:
    return int(_seccomp.seccomp_syscall_resolve_name(name.encode()))


@cache
def _name(number: int) -> str:
    _seccomp.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    found = _seccomp.seccomp_syscall_resolve_num_arch(0, number)
    return str(found.decode()) if found else str(number)


class Traced:
    """A program under root's ptrace, `process` being its output and end."""

    def __init__(
        self,
        lab: Lab,
        argv: Sequence[str] = (HELPER, *UP),
        user: str = "alice",
    ) -> None:
        # What is started stops itself, so that nothing of the helper is missed.
        stopped = ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *argv]
        self.process: Process = lab.start(stopped, user=user)
        self.pid = self.process.pid
        self.call: Call | None = None
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        self._ptrace(_SEIZE, _SYSGOOD | _EXITKILL)
        os.kill(self.pid, signal.SIGCONT)
        # The shell's own calls, up to the one by which it becomes the helper.
        self.run_to(lambda call: call.name == "execve")
        self.step(2)

    def step(self, number: int = 1) -> Call | None:
        """On to the next entry or exit; None if the program has ended."""
        for _ in range(number):
            self.call = self._next()
            if self.call is None:
                return None
        return self.call

    def run_to(self, wanted: Callable[[Call], bool], times: int = 1) -> Call:
        """Stop before the nth system call that is wanted; fails if the program ends first."""
        call = self.find(wanted, times)
        assert call is not None, f"it ended before that\n{self.process.console}"
        return call

    def find(self, wanted: Callable[[Call], bool], times: int = 1) -> Call | None:
        """The same; None if the program ends first."""
        while (call := self.step()) is not None:
            if call.entry and wanted(call):
                times -= 1
                if not times:
                    break
        return call

    def text(self, address: int) -> str:
        """A string of its memory, such as a path."""
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(address)
            return memory.read(256).split(b"\0")[0].decode(errors="replace")

    def data(self, address: int, length: int) -> bytes:
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(address)
            return memory.read(length)

    def status(self) -> dict[str, str]:
        """/proc/PID/status."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def kill(self) -> None:
        """SIGKILL: before a system call, that one is not made any more."""
        os.kill(self.pid, signal.SIGKILL)
        while not self._ended(os.waitpid(self.pid, _WALL)[1]):
            pass

    def end(self) -> int:
        """Let it run on, traced, to its end; its exit status."""
        while self.step() is not None:
            pass
        return self.process.popen.returncode

    def release(self, stopped: bool = False) -> None:
        """Let go of it; if `stopped`, it stays where it is, until SIGCONT, traced by nobody."""
        self._ptrace(_DETACH, signal.SIGSTOP if stopped else 0)
        if stopped:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def _next(self) -> Call | None:
        deliver = 0
        while True:
            self._ptrace(_SYSCALL, deliver)
            _, status = os.waitpid(self.pid, _WALL)
            if self._ended(status):
                return None
            deliver = os.WSTOPSIG(status)
            if deliver == signal.SIGTRAP | 0x80:
                return self._describe()
            if status >> 16 or deliver == signal.SIGTRAP:  # a group stop, an exec
                deliver = 0

    def _ended(self, status: int) -> bool:
        if os.WIFSTOPPED(status):
            return False
        # This took what Popen would have waited for.
        self.process.popen.returncode = os.waitstatus_to_exitcode(status)
        self.process.wait()
        return True

    def _describe(self) -> Call:
        if self.call and self.call.entry:  # what follows an entry is its exit
            return self.call._replace(entry=False)
        info = _Info()
        self._ptrace(_SYSCALL_INFO, ctypes.addressof(info), ctypes.sizeof(info))
        return Call(info.op == _ENTRY, _name(info.nr), tuple(info.args))

    def _ptrace(self, request: int, data: int, address: int = 0) -> None:
        if _libc.ptrace(request, self.pid, address, data) == -1:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


def opens_netlink(call: Call) -> bool:
    """The first thing that needs the capability: nothing can have been changed before."""
    return call.name == "socket" and call.args[0] == 16


def writes_last_line(call: Call) -> bool:
    return call.name == "write" and call.args[0] in (1, 2)


TUNSETIFF, TUNSETOWNER, TUNSETPERSIST = 0x400454CA, 0x400454CC, 0x400454CB


def makes_ioctl(number: int) -> Callable[[Call], bool]:
    return lambda call: call.name == "ioctl" and call.args[1] == number


def sends(call: Call) -> bool:
    """A netlink request. The log is written with a flag of its own."""
    return call.name == "sendto" and not call.args[3]
