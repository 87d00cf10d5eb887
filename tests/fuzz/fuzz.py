"""Fuzz one target with atheris, as long as wanted:

    python tests/fuzz/fuzz.py TARGET [CORPUS-FOLDER] [-max_total_time=SECONDS]

TARGET is request, policy, description or netlink. Further arguments are libFuzzer's. See README.md
beside this.
"""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
package = types.ModuleType("tapdraft")
package.__path__ = [str(ROOT)]
sys.modules["tapdraft"] = package
sys.path[:0] = [str(Path(__file__).resolve().parent)]

with atheris.instrument_imports(include=["tapdraft", "targets", "tomllib", "configparser"]):
    import targets


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        sys.exit(__doc__)
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(prefix="tapdraft-fuzz-") as seeds:
        for number, seed in enumerate(targets.corpus(name)):
            Path(seeds, str(number)).write_bytes(seed)
        # A file is a finding, to be looked at again; else there is a corpus to begin with.
        single = any(Path(word).is_file() for word in sys.argv[1:])
        atheris.Setup([*sys.argv, *([] if single else [seeds])], targets.TARGETS[name])
        atheris.Fuzz()


main()
