"""What every test may ask for. The lab itself is in tests/lab/."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))
sys.path.insert(0, str(ROOT / "tests/field"))

# The folders are importable as tapdraft.helper and so on without an installation, exactly as
# setup.cfg's package_dir has them.
_package = types.ModuleType("tapdraft")
_package.__path__ = [str(ROOT)]
sys.modules["tapdraft"] = _package

# Where workers run the tests, the process that tells the results reads no other conftest.
from fieldsummary import pytest_terminal_summary  # noqa: E402, F401  a hook
from labnet import Lab  # noqa: E402  found by the path above
from labsite import Site  # noqa: E402

NO_SKIP = os.environ.get("TAPDRAFT_NO_SKIP") == "1"

# A shell's background job ignores the one, nohup the other, and what a test starts would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """Where nothing may be skipped, a skip is a failure."""
    report = pytest.TestReport.from_item_and_call(item, call)
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """The same for a module that skips itself as a whole."""
    if NO_SKIP and report.skipped:
        pytest.exit(f"skipped where nothing may be skipped: {report.longrepr}", returncode=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs root and namespaces, so that the rest can be chosen: -m "not lab"."""
    for item in items:
        if "bare_site" in getattr(item, "fixturenames", ()):
            item.add_marker("lab")


@pytest.fixture(scope="session")
def newest_python() -> str:
    """A Python that has the newest releases of the libraries (see tools/check)."""
    python = os.environ.get("TAPDRAFT_NEWEST", "")
    if not python:
        pytest.skip("TAPDRAFT_NEWEST names no Python")
    return python


@pytest.fixture(scope="session")
def requires() -> Callable[..., None]:
    """`requires("shellcheck", "dash")` skips the test where a tool is missing."""

    def check(*tools: str) -> None:
        missing = [tool for tool in tools if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"missing: {', '.join(missing)}")

    return check


@pytest.fixture(scope="session")
def bare_site(requires: Callable[..., None]) -> Iterator[Site]:
    """The site without tapdraft in it: users, devices, a syslog."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    requires("unshare", "nsenter", "setpriv", "ip", "nft")
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="session")
def installed_site(bare_site: Site) -> Site:
    """The site with tapdraft installed by `make install`."""
    bare_site.install()
    return bare_site


@pytest.fixture
def site(installed_site: Site) -> Site:
    """The site with the default policy and an empty log."""
    installed_site.policy()
    installed_site.syslog.clear()
    return installed_site


def _labs(site: Site) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []

    def make(**options: Any) -> Lab:
        made.append(Lab(site, **options))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


@pytest.fixture
def make_lab(site: Site) -> Iterator[Callable[..., Lab]]:
    """`make_lab(uplinks=("eth0", "eth1"))` makes a lab; call it again for another."""
    yield from _labs(site)


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """A fresh host with one uplink and an outside host, tapdraft installed."""
    return make_lab()


@pytest.fixture
def bare_lab(bare_site: Site) -> Iterator[Lab]:
    """The same without tapdraft, for testing the lab itself."""
    for make in _labs(bare_site):
        yield make()
