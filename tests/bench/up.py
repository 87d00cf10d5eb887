"""How long an `up` takes, beside what a user would do instead. Not part of the test suite.

    /usr/bin/python3 -m pytest -qs tests/bench/up.py     (needs pytest: tools/check installs it)

Ratios count, not milliseconds: both sides of a ratio are measured in turn, in the same run.
"""

import json
import statistics

from labnet import Lab
from labsite import DEFAULT_POLICY

ROUNDS = 25
WEB = ("up", "web", "192.168.7.1/30", "192.168.7.2", "nat", "forward=tcp:8080:80")
FORBIDDEN = ("asyncio", "ssl", "sqlite3", "http", "unittest")
# Runs inside the lab, so that entering it is not measured.
TIMER = """
import json, subprocess, sys, time
jobs, rounds = json.load(sys.stdin)
for _ in range(rounds):
    for name, argv, user, groups, text in jobs:
        who = {"user": user, "group": user, "extra_groups": groups} if user else {}
        start = time.perf_counter()
        subprocess.run(argv, input=text, text=True, check=True, stdout=subprocess.DEVNULL, **who)
        print(json.dumps([name, time.perf_counter() - start]))
"""
MODULES = """
import sys, _socket
sys.modules["socket"] = _socket  # as the launcher does
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + json_paths
import tapdraft.helper.__main__
print(len(sys.modules), " ".join(sorted(sys.modules)))
"""


def measure(lab: Lab, jobs: list[tuple[str, list[str], int, str]], rounds: int) -> dict[str, float]:
    """Medians in seconds, by the name of the job."""
    work = [(name, argv, user, [61000] if user else [], text) for name, argv, user, text in jobs]
    said = lab.run(["/usr/bin/python3", "-c", TIMER], input=json.dumps([work, rounds]), limit=600)
    times: dict[str, list[float]] = {}
    for line in said.check().stdout.splitlines():
        name, seconds = json.loads(line)
        times.setdefault(name, []).append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def test_one_tap(lab: Lab) -> None:
    """One `up`, as a whole process, beside the same operations as ip and nft commands."""
    script = lab.helper("--dry-run", *WEB, user="alice").check().stdout
    down = "set -e\nnft delete table inet tapdraft\nip link delete dev td-web\n"
    down += "sysctl -q -w net/ipv4/conf/eth0/forwarding=0\n"
    helper = str(lab.site.helper)
    medians = measure(
        lab,
        [
            ("helper up", [helper, *WEB], 61001, ""),
            ("helper down", [helper, "down", "web"], 61001, ""),
            ("script up", ["sh", "-e", "-c", script], 0, ""),
            ("script down", ["sh", "-e", "-c", down], 0, ""),
        ],
        ROUNDS,
    )
    print("\n\n| one tap, as a whole process | helper | ip and nft in a script | ratio |")
    print("|---|---|---|---|")
    for verb in ("up", "down"):
        ours, theirs = medians[f"helper {verb}"] * 1000, medians[f"script {verb}"] * 1000
        print(f"| {verb} | {ours:.0f} ms | {theirs:.0f} ms | {ours / theirs:.1f} |")


def test_a_thousand_taps(lab: Lab) -> None:
    """A thousand taps in one call."""
    policy = DEFAULT_POLICY.replace("= 16", "= 1000").replace("192.168.7.0/24", "10.0.0.0/8")
    lab.site.policy(policy)
    lines = "".join(
        f"up g{n} 10.1.{n // 64}.{n % 64 * 4 + 1}/30 10.1.{n // 64}.{n % 64 * 4 + 2}\n"
        for n in range(1000)
    )
    helper = str(lab.site.helper)
    medians = measure(
        lab,
        [("up", [helper, "-"], 61001, lines), ("down", [helper, "down", "--all"], 61001, "")],
        5,
    )
    print("\n\n| 1,000 taps in one call | seconds |\n|---|---|")
    for verb, seconds in medians.items():
        print(f"| {verb} | {seconds:.2f} |")


def test_modules(lab: Lab) -> None:
    """How many modules the helper's process imports, and that the large ones are not among them."""
    paths = ["/usr/local/lib/tapdraft", "/usr/lib/python3/dist-packages"]
    program = MODULES.replace("json_paths", json.dumps(paths))
    count, *names = lab.run(["/usr/bin/python3", "-I", "-S", "-c", program]).check().stdout.split()
    large = [name for name in names if name.split(".")[0] in FORBIDDEN]
    unwanted = f"of {', '.join(FORBIDDEN)}: {large or 'none'}"
    print(f"\n\nmodules imported by the helper: {count}, {unwanted}")
    assert not large
