"""Models scored in 16 bits: every task measure is finite and near what float32 says."""

import numpy as np
import pytest

from interplay.task.drift import BaseDistributions, retention_windows, score_windows
from interplay.task.generation import greedy
from interplay.task.labels import score_eval


@pytest.mark.matrix(1)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_figures_in_16_bits_are_near_those_in_32(loaded, data, tiny_tokenizer, dtype):
    found = {}
    for kind in ("float32", dtype):
        one, other = loaded("llama", kind), loaded("qwen2", kind)
        base = BaseDistributions(len(data.encoded))
        score_eval(one, data, seen=base.collect)
        compared = base.against()
        scores = score_eval(other, data, seen=compared.seen)
        windows = retention_windows("we had to laugh at all the food " * 9, one, tiny_tokenizer, 60)
        assert all(len(answer) == 4 for answer in greedy(other, [e.input_ids for e in data.encoded[:3]], tokens=4))
        found[kind] = (
            scores.nll.sum() / scores.tokens.sum(),
            compared.found.forward.mean(),
            compared.found.reverse.mean(),
            score_windows(one, windows).nll.mean(),
        )
    np.testing.assert_allclose(found[dtype], found["float32"], rtol=0.05)
