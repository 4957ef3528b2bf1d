"""The soak's own targets are what is fuzzed here; this only makes them importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
