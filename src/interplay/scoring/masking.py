"""Which token ids change when a word is masked, and to what.

Each token of a masked word becomes the mask token; length, positions and attention mask stay [lineage].
Words are mapped to tokens by the character offsets of one tokenisation of the whole prompt.
"""

import re

import numpy as np

from interplay.data.prompts import Encoded
from interplay.data.rows import Sample
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.plan import kept_words


def mask_token(tokenizer, wanted: str | int | None = None) -> int:
    """The id of the mask token: `wanted` if given, else `<unk>`, else `<pad>`, else a reserved special token [lineage], else EOS [ours].

    An `<unk>` or `<pad>` that is the EOS stands last, as the EOS does.
    Known values: Llama-2 0 (`<unk>`), Llama-3 128255 (last reserved token), Qwen2.5 151643 (`<|endoftext|>`, its pad).
    """
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if not 0 <= wanted < len(tokenizer):
            raise InterplayError(f"mask token id {wanted} is outside the vocabulary: give one below {len(tokenizer)}")
        return wanted
    if wanted is not None:
        found = tokenizer.convert_tokens_to_ids(wanted) if isinstance(wanted, str) else None
        if found is None or (found == tokenizer.unk_token_id and wanted != tokenizer.unk_token):
            raise InterplayError(f"mask token {wanted!r} is not in the vocabulary: name a token of it, or its id")
        return int(found)
    reserved = [i for t, i in tokenizer.get_added_vocab().items() if re.search(r"reserved|unused|extra_id|fim_pad", t)]
    eos = tokenizer.eos_token_id
    own = [i for i in (tokenizer.unk_token_id, tokenizer.pad_token_id) if i != eos]
    for candidate in (*own, max(reserved, default=None), eos):
        if candidate is not None:
            return int(candidate)
    raise InterplayError("the tokenizer has no unk, pad, reserved or eos token: name one as the mask token")


def mask_notes(tokenizer, mask_id: int, wanted: str | int | None = None) -> list[str]:
    """A note where masked words become the token that ends a turn, and nobody `wanted` it."""
    if wanted is not None or mask_id != tokenizer.eos_token_id:
        return []
    name = tokenizer.convert_ids_to_tokens(mask_id)
    return [f"Masked words become {name!r}, the token that ends a turn: name another one of the vocabulary (mask)."]


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


def refuse_mask_in_words(input_ids: tuple[int, ...], spans: tuple[tuple[int, ...], ...], mask_id: int) -> None:
    """Raise SkipSample where a word holds the mask token, so that masking would not change it."""
    for i, span in enumerate(spans):
        if any(input_ids[p] == mask_id for p in span):
            raise SkipSample(f"word {i} already holds the mask token (id {mask_id}): masking would not change it")


def masked_ids(
    input_ids: tuple[int, ...], spans: tuple[tuple[int, ...], ...], mask_id: int, coalitions: np.ndarray | None = None
) -> np.ndarray:
    """Masked versions of one prompt, [coalitions, L] int64; word i is kept where bit i of the coalition is set.

    `coalitions` None: all 2^n, in the order of their numbers. Raises SkipSample as in `refuse_mask_in_words`.

    >>> masked_ids((5, 6, 7), ((0,), (2,)), mask_id=0)
    array([[0, 6, 0],
           [5, 6, 0],
           [0, 6, 7],
           [5, 6, 7]])
    """
    refuse_mask_in_words(input_ids, spans, mask_id)
    n = len(spans)
    kept = kept_words(np.arange(1 << n) if coalitions is None else coalitions, n)
    ids = np.tile(np.asarray(input_ids, dtype=np.int64), (len(kept), 1))
    for i, span in enumerate(spans):
        ids[np.ix_(~kept[:, i], np.asarray(span))] = mask_id
    return ids
