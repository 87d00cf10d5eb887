"""Fault injection uses the attack suite's fixtures and its tracer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "attack"))

from labnet import Lab
from labsite import Site


@pytest.fixture
def target(site: Site) -> Iterator[Lab]:
    """One host for the many runs of one test."""
    lab = Lab(site, uplinks=("eth0", "eth1"))
    before = lab.snapshot()
    yield lab
    try:
        lab.assert_no_residue(before)
    finally:
        lab.close()
