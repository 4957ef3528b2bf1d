"""Lets the tests of this folder import `studies`, which is no part of the package, and `tiny_job`."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]
