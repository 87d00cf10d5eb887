"""A launcher that is built for a wrapper, which has to make the capability ambient (NixOS).

setpriv stands in for that wrapper: it leaves net_admin permitted, effective, inheritable and
ambient, and AT_SECURE unset.
"""

from __future__ import annotations

import pytest
from labnet import Lab
from labrun import Result
from labsite import Site

BUILT = "/usr/local/libexec/tapdraft/tapdraft-helper-wrapped"
WEB = ["up", "web", "192.168.7.1/30", "192.168.7.2"]


@pytest.fixture(scope="module")
def built(installed_site: Site) -> str:
    """The launcher built with WRAPPED=1, open to all as in a store, and without a capability."""
    installed_site.run(
        [
            "sh",
            "-ec",
            f"make -s -C {Site.source} BUILD=/tmp/wrapped WRAPPED=1 all; "
            f"install -m 755 /tmp/wrapped/tapdraft-helper {BUILT}",
        ],
        limit=180,
    ).check()
    return BUILT


def started(lab: Lab, program: str, *words: str, capabilities: str = "+net_admin") -> Result:
    return lab.run(
        [
            "setpriv",
            "--reuid=alice",
            "--regid=alice",
            "--init-groups",
            f"--inh-caps={capabilities}",
            f"--ambient-caps={capabilities}",
            "--",
            program,
            *words,
        ]
    )


def test_it_works_for_who_starts_the_wrapper(lab: Lab, built: str) -> None:
    before = lab.snapshot()
    started(lab, built, *WEB).check()
    (tap,) = lab.tapdraft().taps
    assert (tap.name, tap.owner) == ("td-web", "alice")
    assert tap.alias == f"tapdraft 2 uid={Site.users['alice']} guest=web"
    started(lab, built, "down", "web").check()
    lab.assert_no_residue(before)


def test_the_policy_binds_who_starts_the_wrapper(lab: Lab, built: str) -> None:
    refused = started(lab, built, "up", "web", "10.0.0.1/30", "10.0.0.2").check(3)
    assert "is in none of its subnets" in refused.stderr


def test_more_than_one_capability_is_refused(lab: Lab, built: str) -> None:
    refused = started(lab, built, *WEB, capabilities="+net_admin,+net_raw").check(4)
    assert "more than net_admin" in refused.stderr


def test_without_the_wrapper_it_has_nothing(lab: Lab, built: str) -> None:
    refused = lab.run([built, *WEB], user="alice").check(4)
    assert refused.stderr.startswith("error: no capability: ")


def test_any_other_launcher_takes_an_ambient_capability_for_the_callers(lab: Lab) -> None:
    refused = started(lab, Site.helper, *WEB)
    assert refused.status == 4, refused
    assert not lab.tapdraft().taps
