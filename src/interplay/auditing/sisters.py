"""Words like a word: the nearest in the model's own input embedding, where both are one token."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from interplay.data.stopwords import STOP_WORDS
from interplay.data.words import plain


def embedding_sisters(model: Any, tokenizer: Any) -> Callable[[str, int], Sequence[str]]:
    """A function that gives up to so many words nearest to a word by cosine; none for a word of several tokens.

    The words are those of one token that begins with a space, written in lower case or with a capital as in the vocabulary.
    """
    import torch

    words: dict[str, int] = {}
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]):
        text = tokenizer.convert_tokens_to_string([token])
        if token[:1] in ("Ġ", "▁") and len(name := text.strip()) > 2 and name.isalpha():
            words.setdefault(plain(name), index)
    names = [name for name in words if name not in STOP_WORDS]
    if not names:
        return lambda word, most: ()
    table: torch.Tensor = model.get_input_embeddings().weight.detach()

    def sisters(word: str, most: int) -> Sequence[str]:
        if plain(word) not in words:
            return ()
        rows = table[[words[name] for name in names]].float()
        own = table[words[plain(word)]].float()
        near = torch.nn.functional.cosine_similarity(rows, own[None]).cpu().numpy()
        stem = plain(word)[:4]  # inflections are the same word, not a sister [ours]
        ranked = (names[i] for i in np.argsort(-near)[: 10 * most])
        return [name for name in ranked if name != plain(word) and name[:4] != stem][:most]

    return sisters
