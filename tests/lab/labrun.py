"""Running programs inside namespaces, as a chosen user, with nothing inherited."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from labproc import PATH, Guest, Process


@dataclass(frozen=True)
class Result:
    """What a program did: its exit status (negative: the signal) and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def check(self, status: int = 0) -> Result:
        """Fail the test unless the program ended with `status`."""
        if self.status != status:
            pytest.fail(f"expected exit status {status}\n{self}", pytrace=True)
        return self

    def __str__(self) -> str:
        words = " ".join(self.argv)
        return f"$ {words}\nstatus {self.status}\nstdout:\n{self.stdout}stderr:\n{self.stderr}"


class Namespace:
    """A mount and a network namespace, held by a process that ends with this one."""

    def __init__(self, enter: Sequence[str], setup: str, *args: str) -> None:
        """`enter` makes the namespaces (an unshare command), `setup` is shell run in them."""
        # The death signal goes with whichever thread started it: fixtures run in the main one.
        script = f"set -eu\n{setup}\necho ready\nexec setpriv --pdeathsig KILL -- sleep infinity"
        self._holder = subprocess.Popen(
            [*enter, "--", "sh", "-c", script, "lab", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            errors = self._holder.communicate()[1]
            raise RuntimeError(f"the namespace could not be made:\n{errors}")
        self.pid = self._holder.pid

    @property
    def root(self) -> Path:
        """Its root folder, as seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def argv(
        self,
        argv: Sequence[str],
        user: str = "root",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The command line that runs `argv` in here as `user`; each step executes the next."""
        ns = f"/proc/{self.pid}/ns"
        home = "/root" if user == "root" else f"/home/{user}"
        settings = {
            "PATH": PATH,
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            # `python3 -m` would import from the current folder, whatever lies there.
            "PYTHONSAFEPATH": "1",
            **(env or {}),
        }
        become = (
            []
            if user == "root"
            else [
                "setpriv",
                f"--reuid={user}",
                f"--regid={user}",
                "--init-groups",
                "--inh-caps=-all",
                "--",
            ]
        )
        return [
            "nsenter",
            f"--mount={ns}/mnt",
            f"--net={ns}/net",
            "--",
            *become,
            "env",
            "-i",
            "-C",
            cwd or home,
            *(f"{k}={v}" for k, v in settings.items()),
            *argv,
        ]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        user: str = "root",
        input: str = "",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        limit: float = 60,
    ) -> Result:
        """Run `argv` to its end. The test fails if that takes more than `limit` seconds."""
        words = [str(word) for word in argv]
        popen = subprocess.Popen(
            self.argv(words, user, cwd, env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": PATH},
            encoding="utf-8",
            errors="surrogateescape",
        )
        try:
            out, err = popen.communicate(input, timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            out, err = popen.communicate()
            pytest.fail(f"{words} took longer than {limit} s\n{out}{err}")
        return Result(tuple(words), popen.returncode, out, err)

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        user: str = "root",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start `argv` and return at once. See Process.expect for its output."""
        return Process(self.argv([str(word) for word in argv], user, cwd, env))

    def guest(
        self,
        argv: Sequence[str | Path],
        *,
        user: str = "alice",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Guest:
        """Start something that runs a guest, with its console on a terminal."""
        return Guest(self.argv([str(word) for word in argv], user, cwd, env))

    def inhabitants(self) -> list[int]:
        """The processes in its network namespace, without its holder."""
        here = os.stat(f"/proc/{self.pid}/ns/net").st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.pid:
                try:
                    if (entry / "ns/net").stat().st_ino == here:
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def close(self) -> None:
        """End everything that runs in here, also what left its session; then the namespace."""
        for pid in self.inhabitants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._holder.kill()
        self._holder.communicate()
