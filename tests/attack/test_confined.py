"""Process: hostile code inside the helper itself"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from attacker import UP, program
from hostile import ATTEMPTS
from labnet import Lab
from labsite import Site

PREFIX = "/usr/planted"
PLANTED = f"{PREFIX}/lib/tapdraft/tapdraft/helper"
HELPER = f"{PREFIX}/libexec/tapdraft/tapdraft-helper"
# Behind the policy's decision, where the capability is raised for the first time.
POINT = "        kernel = Kernel()\n"
X32 = 0x40000000


@pytest.fixture(scope="module")
def planted(installed_site: Site) -> Site:
    """A second installation, root's alone as the first, with a module that nobody should have."""
    installed_site.run(
        [
            "make",
            "-C",
            installed_site.source,
            "install-helper",
            f"PREFIX={PREFIX}",
            "SYSCONFDIR=/etc",
            "BUILD=/usr/planted-build",
            "PYTHON=/usr/bin/python3",
        ],
        limit=180,
    ).check()
    plant(installed_site, (Path(__file__).parent / "hostile.py").read_text())
    return installed_site


def plant(site: Site, code: str) -> None:
    main = site.path(f"{PLANTED}/__main__.py")
    text = re.sub(r"( *from \. import hostile\n *hostile\.main\(\)\n)*", "", main.read_text())
    assert text.count(POINT) == 1
    hook = "        from . import hostile\n        hostile.main()\n"
    site.write(f"{PLANTED}/__main__.py", text.replace(POINT, hook + POINT))
    site.write(f"{PLANTED}/hostile.py", code)
    site.run(["rm", "-rf", f"{PLANTED}/__pycache__"]).check()


@pytest.fixture(scope="module")
def results(planted: Site) -> dict[str, str]:
    """What the kernel answered to each attempt of hostile.py."""
    lab = Lab(planted)
    planted.policy()
    planted.write("/home/alice/own", "the user's", owner="alice")
    server = lab.start(
        program("""if True:
        server = socket.socket(socket.AF_UNIX)
        server.bind("\\0tapdraft-attack")
        server.listen()
        print("listening", flush=True)
        signal.pause()"""),
        user="alice",
    )
    server.expect("listening", 20)
    before = lab.snapshot()
    done = lab.run([HELPER, *UP], user="alice").check()
    lab.assert_no_residue(before)
    lab.close()
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("attempt", [name for name in ATTEMPTS if not name.startswith("needed: ")])
def test_hostile_code_in_the_helper_cannot(results: dict[str, str], attempt: str) -> None:
    """Landlock and seccomp, with a module planted at the point after the policy."""
    assert results[attempt] in ("EPERM", "EACCES"), f"{attempt}: {results[attempt]}"


@pytest.mark.parametrize("attempt", [name for name in ATTEMPTS if name.startswith("needed: ")])
def test_hostile_code_can_do_what_the_helper_needs(results: dict[str, str], attempt: str) -> None:
    """Or the other attempts would have failed for another reason than the confinement."""
    assert results[attempt] == "OK"


@pytest.mark.parametrize("number", [59, 57, 41, 0])
def test_system_calls_of_another_architecture_end_the_process(
    target: Lab, planted: Site, number: int
) -> None:
    """x32's numbers stand beside x86_64's, and would go around a filter that forgot them."""
    code = (Path(__file__).parent / "hostile.py").read_text()
    plant(planted, code + f"\n\ndef main() -> None:\n    call({X32 | number}, 0, 0, 0)\n")
    done = target.run([HELPER, *UP], user="alice")
    assert done.status == -signal.SIGSYS, str(done)
