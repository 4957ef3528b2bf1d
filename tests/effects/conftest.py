"""Lets the tests of this folder import `effect_games`, its known games and slow definitions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
