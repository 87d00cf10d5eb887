"""The fixtures of hostbeside.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hostbeside import beside, stop  # noqa: F401  found by the path above
