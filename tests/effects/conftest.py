"""The known games of this folder's tests (`effect_games`, `sampled_games`, imported by name), and a fit that several share."""

import sys
from pathlib import Path

import numpy as np
import pytest

from interplay.effects.dictionary import evaluate
from interplay.effects.sampled import extract_sampled, sample_coalitions

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def game():
    """n = 12, 8 AND + 6 OR of orders 1-3 on 500 coalitions, noise 0.05: coalitions, scores, and the fit."""
    from sampled_games import planted

    masks, is_or, effects = planted(12, 8, 6, 4)
    coalitions = sample_coalitions(12, 500)
    v = 2.0 + evaluate(coalitions, masks, is_or) @ effects + 0.05 * np.random.default_rng(0).standard_normal(500)
    return coalitions, v, extract_sampled(coalitions, v, 12)
