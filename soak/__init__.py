"""Long tests of what `docs/evidence/reliability.md` promises: random deaths, disk errors, hostile inputs. `python -m soak`, `make soak`.

Not part of the package, and not of `make test`, which holds a handful of each.
"""

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path += [str(_TESTS), str(_TESTS / "faults")]  # tiny_job and the fault shim are theirs: one harness for both
