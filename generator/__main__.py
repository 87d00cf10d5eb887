"""python3 -m tapdraft.generator: the same as tapdraft."""

import sys

from .cli import main

sys.exit(main())
