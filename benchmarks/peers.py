"""captum's LLMAttribution on the same model, prompt and words: coalitions a CPU-second, and its values against ours.

Measured only where captum is installed. The package is used as it comes; what is put in place of a tokenizer only hands it
our random token ids, so that both sides mask the same tokens by the same one.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.scoring_rows import MASK, TARGET, VOCABULARY, Prompt, made, prompt, subjects, tell, time_ours, timed
from benchmarks.section import Section


class Peer(NamedTuple):
    """What captum was seen to do: seconds, the coalitions it ran, and the log-odds it found for them."""

    seconds: float
    coalitions: np.ndarray
    values: np.ndarray
    setting: str


class Ids:
    """Just enough of a tokenizer: every text is the prompt's token ids."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids

    def __call__(self, text: str, **options: Any) -> dict[str, list]:
        return {"input_ids": [TARGET], "offset_mapping": [(0, 1)]}

    def encode(self, text: str, **options: Any) -> Any:
        import torch

        return torch.tensor([self.ids])

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [str(i) for i in ids]

    def decode(self, ids: Any) -> str:
        return "t"


def attribute(model: Any, asked: Prompt, permutations: int, *, in_tokens: bool) -> Peer:
    """Shapley value sampling by captum over the prompt's words, 1 + permutations x words forward passes."""
    import torch
    from captum.attr import LLMAttribution, ShapleyValueSampling, TextTokenInput  # ty: ignore[import-not-found]

    words = [span[0] for span in asked.spans]
    seen: list[tuple[int, float]] = []

    class Watched(LLMAttribution):
        """Notes which coalition each forward pass was, and what came out."""

        def _forward_func(self, perturbed_tensor: Any, *arguments: Any, **options: Any) -> Any:
            out = super()._forward_func(perturbed_tensor, *arguments, **options)
            kept = (perturbed_tensor[0] == 1).tolist()
            seen.append((sum(1 << i for i, here in enumerate(kept) if here), float(out.reshape(-1)[0])))
            return out

    tokenizer = Ids(asked.ids)
    text = TextTokenInput(
        "", tokenizer, baselines=MASK, skip_tokens=sorted(set(asked.ids) - {asked.ids[w] for w in words})
    )
    if text.n_itp_features != len(words):
        raise ValueError(
            f"the prompt repeats the token of a word: {text.n_itp_features} features for {len(words)} words"
        )
    explainer = Watched(ShapleyValueSampling(model), tokenizer)

    def call() -> None:
        seen.clear()
        torch.manual_seed(0)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer.attribute(
                text,
                target=torch.tensor([TARGET]),
                n_samples=permutations,
                use_cached_outputs=False,
                forward_in_tokens=in_tokens,
            )

    seconds, _ = timed(call)
    log_p = np.array([value for _, value in seen], dtype=np.float64)
    setting = "token by token" if in_tokens else "sequence at once"
    return Peer(seconds, np.array([c for c, _ in seen]), log_p - np.log1p(-np.exp(log_p)), setting)


def compare(name: str, model: Any, length: int, n: int, permutations: int) -> dict[str, Any]:
    """Coalitions a CPU-second of captum, the better of its two ways, and of ours; the largest difference of the scores."""
    asked = prompt(length, n, min(VOCABULARY, model.config.vocab_size))
    attribute(model, Prompt(asked.ids, asked.spans[:1]), 1, in_tokens=True)  # imports and first passes
    ways = [attribute(model, asked, permutations, in_tokens=way) for way in (True, False)]
    best = max(ways, key=lambda way: len(way.coalitions) / way.seconds)
    alone, fast, values = time_ours(name, model, length, n)
    theirs, ours = len(best.coalitions) / best.seconds, len(values) / (alone if np.isnan(fast) else fast)
    return {
        "captum, coalitions a CPU-s": theirs,
        "ours": ours,
        "ours / captum": ours / theirs,
        "forward passes timed": len(best.coalitions),
        "way": best.setting,
        "max difference, nats": max(float(np.abs(values[way.coalitions] - way.values).max()) for way in ways),
    }


def captum_rows(quick: bool, say: Callable[[str], None] = tell) -> list[Section]:
    """captum beside ours, per model and prompt length; without captum a note and no rows."""
    title = "captum's LLMAttribution on the same words"
    if importlib.util.find_spec("captum") is None:
        return [Section(title, [], ["Not measured: captum is not installed (pip install captum)."])]
    rows: list[dict] = []
    notes: list[str] = []
    n = 8 if quick else 10
    for subject, model in made(subjects(quick), notes):
        for length, permutations in ((60, 1),) if quick else ((60, 4), (200, 1)):
            found = compare(subject.name, model, length, n, permutations)
            rows.append({"model": subject.name, "tokens": length, "n": n, **found})
            say(f"{subject.name}, {length} tokens: {found['ours / captum']:.1f} times captum's coalitions a CPU-second")
    notes.append(
        "ShapleyValueSampling inside LLMAttribution, one thread, float32; the better of its two ways to run the target, "
        "timed on the forward passes given. It runs one masked prompt at a time. Ours: all 2^n coalitions."
    )
    return [Section(title, rows, notes)]
