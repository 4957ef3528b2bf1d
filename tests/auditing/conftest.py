"""Lets the tests of this folder import `planted` and `tiny_job`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
