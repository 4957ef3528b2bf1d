"""Which token ids change when words are absent, and where words stand in the tokens.

The tokens of an absent word become other ids (`absence.py`); length, positions and attention mask stay [lineage].
Words are mapped to tokens by the character offsets of one tokenisation of the whole prompt.
"""

from collections.abc import Sequence

import numpy as np

from interplay.data.prompts import Encoded
from interplay.data.rows import Sample
from interplay.errors import SkipSample
from interplay.scoring.plan import kept_words

Fills = Sequence[Sequence[int]]  # of each word the ids in its place, as many as it has tokens
MEAN, LEFT_OUT = -1, -2  # ids that are no token: the mean of the embeddings, and nothing


def word_tokens(sample: Sample, encoded: Encoded) -> tuple[tuple[int, ...], ...]:
    """Token positions of each word in the prompt; white space and punctuation glued to a word may go with it.

    Raises SkipSample where a token also covers a neighbouring word or template text.
    """
    spans = []
    taken: dict[int, str] = {}
    text = encoded.text
    low, high = encoded.text_start, encoded.text_start + len(sample.row.text)
    for word in sample.words:
        start, end = low + word.start, low + word.end
        tokens = tuple(i for i, (a, b) in enumerate(encoded.offsets) if a < end and b > start)
        if not tokens:
            raise SkipSample(f"word {word.text!r} has no token in this tokenizer")
        for i in tokens:
            a, b = encoded.offsets[i]
            outside = text[a : min(b, start)] + text[max(a, end) : b]
            if i in taken:
                raise SkipSample(f"words {taken[i]!r} and {word.text!r} share a token: choose other words")
            if any(c.isalnum() for c in outside):
                raise SkipSample(f"word {word.text!r} shares a token with text outside it ({text[a:b]!r})")
            if (a < low and text[a:low].strip()) or (b > high and text[high:b].strip()):
                raise SkipSample(f"word {word.text!r} shares a token with the template ({text[a:b]!r})")
            taken[i] = word.text
        spans.append(tokens)
    return tuple(spans)


def masked_ids(
    input_ids: Sequence[int], spans: Sequence[Sequence[int]], fills: Fills, coalitions: np.ndarray | None = None
) -> np.ndarray:
    """Versions of one prompt with words absent, [coalitions, L] int64; word i is kept where bit i of the coalition is set.

    `fills`: of each word the ids that stand in its place. `coalitions` None: all 2^n, in the order of their numbers.

    >>> masked_ids((5, 6, 7), ((0,), (2,)), ((0,), (9,)))
    array([[0, 6, 9],
           [5, 6, 9],
           [0, 6, 7],
           [5, 6, 7]])
    """
    n = len(spans)
    kept = kept_words(np.arange(1 << n) if coalitions is None else coalitions, n)
    ids = np.tile(np.asarray(input_ids, dtype=np.int64), (len(kept), 1))
    for i, span in enumerate(spans):
        ids[np.ix_(~kept[:, i], np.asarray(span))] = fills[i]
    return ids
