"""Answers that a model generates greedily, and how near they come to the gold ones: exact match and ROUGE-L."""

import contextlib
import re
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from functools import cache
from typing import Any

from interplay.extras import require
from interplay.models.placement import input_device, unwrapped
from interplay.scoring.forward import Done, evaluating, tokens_per_pass
from interplay.scoring.precision import fast_products
from interplay.task.passes import batches, padded

# Han (with extensions), kana: written without spaces, so a character is what a word is elsewhere.
_SCRIPTS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_WORDS = re.compile(rf"[{_SCRIPTS}]|[^\W_{_SCRIPTS}]+")


def stop_ids(model, tokenizer, targets: Iterable[Sequence[int]] = ()) -> tuple[int, ...]:
    """Tokens that end an answer: EOS of tokenizer and generation config, and special tokens that end the gold `targets`."""
    found: set[int] = set()
    for eos in (tokenizer.eos_token_id, unwrapped(model).generation_config.eos_token_id):
        found.update([eos] if isinstance(eos, int) else (eos or ()))
    special = set(tokenizer.all_special_ids)
    special.update(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    found.update(ids[-1] for ids in targets if ids and ids[-1] in special)
    return tuple(sorted(int(i) for i in found))


def greedy(
    model,
    prompts: Sequence[Sequence[int]],
    *,
    tokens: int,
    stop: Sequence[int] = (),
    batch_tokens: int | None = None,
    progress: Done = None,
) -> list[tuple[int, ...]]:
    """The likeliest continuation, token by token, of each prompt: at most `tokens` token ids, cut before the first of `stop`.

    A batch has at most `batch_tokens` tokens, answers included. Model, tokenizer and random state stay as they are.
    """
    import torch

    core = unwrapped(model)
    device = input_device(core)
    pad = stop[0] if stop else 0
    answers: list[tuple[int, ...]] = [()] * len(prompts)
    limit, done = tokens_per_pass(device, batch_tokens), 0
    for batch in batches([(prompt, (0,) * tokens) for prompt in prompts], limit, 1 << 62):
        ids, mask = padded([prompts[i] for i in batch], pad)
        with evaluating(core), fast_products(core), _plain(core, tokens, stop, pad):
            out: torch.Tensor = core.generate(
                input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=core.generation_config
            )
        for i, row in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
            end = next((at for at, token in enumerate(row) if token in stop), len(row))
            answers[i] = tuple(row[:end])
        done += len(batch)
        if progress is not None:
            progress(done, len(prompts))
    return answers


@contextlib.contextmanager
def _plain(core, tokens: int, stop: Sequence[int], pad: int) -> Generator[None]:
    """Plain greedy decoding: `generate` fills what its argument leaves open from the model's own generation config."""
    from transformers import GenerationConfig

    how: dict[str, Any] = {"do_sample": False, "num_beams": 1, "use_cache": True, "disable_compile": True}
    ends: dict[str, Any] = {"max_new_tokens": tokens, "eos_token_id": list(stop) or None, "pad_token_id": pad}
    with contextlib.ExitStack() as restored:
        restored.callback(setattr, core, "generation_config", core.generation_config)
        core.generation_config = GenerationConfig(**how, **ends)
        yield


def decoded(tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def exact_match(answer: str, gold: str) -> bool:
    """Whether two texts are equal but for case, Unicode compatibility forms and white space. Punctuation counts.

    >>> exact_match("  Paris,\\n France", "paris, france"), exact_match("Paris.", "Paris")
    (True, False)
    """
    one, other = (unicodedata.normalize("NFKC", text).casefold().split() for text in (answer, gold))
    return one == other


class _Words:
    """Lower-cased words and numbers; each Han or kana character is a word."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(unicodedata.normalize("NFKC", text).lower())


def rouge_l(answer: str, gold: str) -> float:
    """F1 of the longest common subsequence of words, by the library rouge-score, without stemming; 0 where either has none.

    >>> round(rouge_l("the cat sat down", "the cat lay down"), 3)  # "the cat down": 3 of 4 words on both sides
    0.75
    >>> round(rouge_l("盗窃罪成立", "构成盗窃罪"), 3)  # 3 of 5 characters on both sides
    0.6
    """
    return float(_scorer().score(gold, answer)["rougeL"].fmeasure)


def require_rouge() -> None:
    require("rouge_score", what="ROUGE-L of free answers", otherwise="set task.generate_rows to 0")


@cache
def _scorer() -> Any:
    require_rouge()
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())
