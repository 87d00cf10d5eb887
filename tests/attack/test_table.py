"""The table of attacks in SECURITY.md tells of the tests that there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import table


def test_the_table_in_security_md_is_current() -> None:
    """python3 tests/attack/table.py writes it anew."""
    script = Path(table.__file__)
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0


def test_every_test_of_the_attack_suite_is_in_the_table() -> None:
    files = {f"attack/{path.name}" for path in Path(table.__file__).parent.glob("test_*.py")}
    assert files - set(table.FILES) == {"attack/test_table.py"}


def test_a_table_that_lacks_an_attack_is_noticed() -> None:
    text = f"# Security\n\n{table.BEGIN}\n{table.END}\n"
    full = table.updated(text)
    assert table.updated(full) == full
    rows = [line for line in full.splitlines() if line.startswith("| a control character")]
    assert len(rows) == 1
    assert table.updated(full.replace(rows[0] + "\n", "")) == full
