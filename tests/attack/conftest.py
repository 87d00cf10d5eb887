"""Fixtures of the attack suite. Each attack finds the host as it was, or the test fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from labnet import Lab
from labsite import Site
from labstate import Snapshot


class Ground:
    """A lab for the attacks of one module, made anew after one that left something behind."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.prepare()

    def prepare(self) -> None:
        self.lab = Lab(self._site, uplinks=("eth0", "eth1"))
        self.before: Snapshot = self.lab.snapshot()

    def check(self) -> None:
        try:
            self.lab.assert_no_residue(self.before)
        except pytest.fail.Exception:
            self.lab.close()
            self.prepare()
            raise


@pytest.fixture(scope="module")
def _ground(installed_site: Site) -> Iterator[Ground]:
    ground = Ground(installed_site)
    yield ground
    ground.lab.close()


@pytest.fixture
def target(_ground: Ground, site: Site) -> Iterator[Lab]:
    """A host with two uplinks, of this module's own, which the attack must leave as it was."""
    yield _ground.lab
    _ground.check()


@pytest.fixture
def fresh(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """The same, of the test's own: for what is watched on the wire."""
    lab = make_lab(uplinks=("eth0", "eth1"))
    before = lab.snapshot()
    yield lab
    lab.assert_no_residue(before)
