"""The cheap reading: loss and rank of each prompt's answer, from one forward pass of the prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interplay.errors import InterplayError
from interplay.scoring import precision
from interplay.scoring.forward import score_rows
from interplay.scoring.masking import LEFT_OUT
from interplay.scoring.ranking import Ranking
from interplay.scoring.scores import Prepared
from interplay.scoring.targets import alike


def read_answers(model: Any, prepared: Sequence[Prepared]) -> list[tuple[float, float]]:
    """(loss, rank) of the answer to each prompt, among its labels where it has them. InterplayError where a loss is not finite."""
    groups: dict[Any, list[int]] = {}
    for i, p in enumerate(prepared):  # of one group: the same tokens are fed behind the prompts
        groups.setdefault(("labels", *sorted(p.among)) if p.among else p.target_ids[:-1], []).append(i)
    found: dict[int, tuple[float, float]] = {}
    for group in groups.values():
        closed = prepared[group[0]].among
        each = tuple(sorted(set(closed or [prepared[i].target_ids for i in group])))
        asked = [prepared[i].input_ids for i in group]
        rows = np.full((len(group), max(map(len, asked))), LEFT_OUT, dtype=np.int64)
        for row, ids in zip(rows, asked, strict=True):
            row[: len(ids)] = ids
        with precision.fast_products(model), precision.wide_residual(model):
            shared = alike(asked) if len(group) > 1 else 0
            question: Any = Ranking(each, closed is not None)
            values = score_rows(model, rows, question, shared=shared)
        for i, value in zip(group, values, strict=True):
            loss, rank, _ = value[each.index(prepared[i].target_ids)].tolist()
            if not np.isfinite(loss):
                said = f"the model gives the answer to prompt {prepared[i].sample.id!r} a loss of {loss}"
                raise InterplayError(f"{said}: check its weights for NaN or infinity, and the dtype")
            found[i] = (loss, rank)
    return [found[i] for i in range(len(prepared))]
