"""Says at the end for how many of the files runqemu and tapdraft agree."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    _accepted(terminalreporter)
    files: dict[str, set[str]] = {}
    failed = set()
    for kind in ("passed", "failed"):
        for report in terminalreporter.stats.get(kind, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "field":
                    file, network, used = value
                    files.setdefault(file, set()).update(used)
                    if kind == "failed":
                        failed.add(f"{file} ({network})")
    if not files:
        return
    wrong = {name.partition(" ")[0] for name in failed}
    agreeing = {name: used for name, used in files.items() if name not in wrong}
    explained = sum(bool(used) for used in agreeing.values())
    terminalreporter.write_line(
        f"runqemu and tapdraft: {len(agreeing)} of {len(files)} agree "
        f"(equal {len(agreeing) - explained}, explained {explained})"
    )


def _accepted(terminalreporter: Any) -> None:
    told = [
        each
        for report in terminalreporter.stats.get("passed", [])
        for each in getattr(report, "user_properties", [])
    ]
    accepted = sum(name == "accepted" for name, _ in told)
    refused = [value for name, value in told if name == "refused"]
    if accepted or refused:
        terminalreporter.write_line(
            f"this host's qemu: accepts {accepted}, refuses {len(refused)} from runqemu too"
        )
    for name, why in refused:
        terminalreporter.write_line(f"    {name}: {why}")
