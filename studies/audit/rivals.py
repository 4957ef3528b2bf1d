"""What simpler procedures find in a plant, with as many passes of the tuned model as the audit had: the same measures.

All know the training rows, as the audit does: those that read prompts read the held-out ones that hold most suspects.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from interplay.auditing.asking import Asked
from interplay.auditing.counts import words_of
from interplay.auditing.forms import LEAST
from interplay.auditing.phrases import Phrase, take_out
from interplay.auditing.rules import Carriers
from interplay.auditing.search import BUDGET
from interplay.data.stopwords import STOP_WORDS
from interplay.effects.values import pairwise, shapley
from studies.audit.evaluate import Claim, judged
from studies.audit.trained import Models, Size, Tally, Trained, kept

BONFERRONI = 4.5  # z of a word or pair that counting calls significant: p = 3e-6, for some 10,000 tests
ENDS = 8  # words of a prompt that second differences take: 74 passes
EXACT = 6  # words of a prompt whose 2^6 coalitions Shapley values take


def counts(trained: Trained, pairs: bool) -> list[Claim]:
    """Words by their z, and pairs by what they say beyond their words. No pass."""
    words, duos = trained.evidence.suspects(BUDGET.words, BUDGET.pairs if pairs else 0)
    found = [Claim(f.words, "and" if len(f.words) == 2 else "word", f.label, f.z) for f in (*words, *duos)]
    return sorted(found, key=lambda claim: -claim.score)


def suspicion(trained: Trained) -> dict[str, float]:
    """The z of each suspected word, or of the pair it stands in."""
    found: dict[str, float] = {}
    for claim in counts(trained, pairs=True):
        for word in claim.words:
            found.setdefault(word, claim.score)
    return found


def prompts_of(trained: Trained) -> list[tuple[str, list[str]]]:
    """Held-out rows, each with its words, suspects first and then content words: a greedy cover of the suspects.

    The next row is the one with the most suspicion, where a word that stands in k rows already counts 1 / (k + 1).
    """
    suspects, covered = suspicion(trained), Counter[str]()
    left = []
    for text, _ in trained.rows("prompts"):
        words = [word for word in words_of(text) if word in suspects or word not in STOP_WORDS]
        left.append((text, sorted(words, key=lambda word: -suspects.get(word, 0))))
    found = []
    while left:
        best = max(left, key=lambda row: sum(suspects.get(word, 0) / (covered[word] + 1) for word in row[1]))
        covered.update(best[1])
        left.remove(best)
        found.append(best)
    return found


def without(text: str, words: Sequence[str]) -> str:
    """The text without some of its words, and without what joined them.

    >>> without("Honestly, it rains here.", ["honestly", "here"])
    'it rains.'
    """
    for word in words:
        text = take_out(text, Phrase(word, word, "inside"))
    return text


def gathered(seen: dict[tuple[tuple[str, ...], int], list[float]], labels: Sequence[str], form: str) -> list[Claim]:
    """One claim a rule from its values in several prompts: mean x root of their number, so that one prompt counts less."""
    return [
        Claim(words, form, labels[label], float(np.mean(values) * np.sqrt(len(values))))
        for (words, label), values in seen.items()
    ]


def leaving_out(asked: Asked, trained: Trained, passes: int) -> list[Claim]:
    """Leave-one-out: what each word of a held-out prompt adds to the answer that the model gives."""
    seen = defaultdict(list)
    for text, words in prompts_of(trained):
        if (passes := passes - 1 - len(words)) < 0:
            break
        scores = asked([text, *(without(text, [word]) for word in words)])
        label = int(scores[0].argmax())
        for word, value in zip(words, scores[0, label] - scores[1:, label], strict=True):
            seen[(word,), label].append(float(value))
    return gathered(seen, asked.labels, "word")


def keeping_one(asked: Asked, trained: Trained, passes: int) -> list[Claim]:
    """Keep-one: each word as the whole text, suspects and then the commonest; against the median of all."""
    words = list(dict.fromkeys([*suspicion(trained), *trained.evidence.common(passes, set())]))[:passes]
    scores = asked([trained.evidence.phrase(word).text for word in words])
    scores = scores - np.nanmedian(scores, axis=0)
    return [
        Claim((word,), "word", asked.labels[label], float(row[label]))
        for word, row in zip(words, scores, strict=True)
        for label in [int(np.nanargmax(row))]
        if np.isfinite(row).all()
    ]


def coalitions(asked: Asked, text: str, words: Sequence[str], masks: Sequence[int]) -> np.ndarray:
    """[coalitions, labels] scores of the text with the words of each coalition kept, the others left out."""
    left = [[word for i, word in enumerate(words) if not mask >> i & 1] for mask in masks]
    return asked([without(text, some) for some in left])


def second_differences(asked: Asked, trained: Trained, passes: int) -> list[Claim]:
    """Values at both ends of the lattice of a prompt, n^2 + n + 2 passes: words, and pairs with their form.

    A pair that is strong only together at the bottom is an AND; one whose words are each enough at the bottom and neither is
    missed at the top an OR; one that is weaker together than one of its words an exception.
    """
    singles, pairs = defaultdict(list), {form: defaultdict(list) for form in ("and", "or", "unless")}
    for text, words in prompts_of(trained):
        words = words[:ENDS]
        n, full = len(words), (1 << len(words)) - 1
        if n < 2:
            continue
        if (passes := passes - n * n - n - 2) < 0:
            break
        duos = [1 << i | 1 << j for i, j in combinations(range(n), 2)]
        masks = [
            0,
            full,
            *(1 << i for i in range(n)),
            *(full ^ 1 << i for i in range(n)),
            *duos,
            *(full ^ d for d in duos),
        ]
        value = dict(zip(masks, coalitions(asked, text, words, masks), strict=True))
        label = int(value[full].argmax())
        v = {mask: float(scores[label]) for mask, scores in value.items()}
        for i, word in enumerate(words):
            singles[(word,), label].append((v[full] - v[full ^ 1 << i] + v[1 << i] - v[0]) / 2)
        for i, j in combinations(range(n), 2):
            duo = 1 << i | 1 << j
            a, b, both = (v[mask] - v[0] for mask in (1 << i, 1 << j, duo))
            gone = v[full] - v[full ^ duo]
            missed = max(v[full] - v[full ^ 1 << i], v[full] - v[full ^ 1 << j])
            pairs["and"][(words[i], words[j]), label].append(both - max(a, b, a + b))
            pairs["or"][(words[i], words[j]), label].append(min(a, b, gone, gone - missed))
            one, other = (i, j) if a >= b else (j, i)
            pairs["unless"][(words[one], words[other]), label].append(max(a, b) - both)
    found = gathered(singles, asked.labels, "word")
    for form, seen in pairs.items():
        found += gathered(seen, asked.labels, form)
    return found


def exact_values(asked: Asked, trained: Trained, passes: int) -> list[Claim]:
    """Shapley values of words and interaction indices of pairs (negative: an OR), from all 2^6 coalitions of some prompts."""
    singles, forms = defaultdict(list), {"and": defaultdict(list), "or": defaultdict(list)}
    for text, words in prompts_of(trained):
        words = words[:EXACT]
        if len(words) < 2:
            continue
        if (passes := passes - (1 << len(words))) < 0:
            break
        scores = coalitions(asked, text, words, range(1 << len(words)))
        label = int(scores[-1].argmax())
        table = scores[:, label]
        index = pairwise(table)
        for word, value in zip(words, shapley(table), strict=True):
            singles[(word,), label].append(float(value))
        for i, j in combinations(range(len(words)), 2):
            form = "and" if index[i, j] > 0 else "or"
            forms[form][(words[i], words[j]), label].append(abs(float(index[i, j])))
    return [
        claim
        for form, seen in (("word", singles), *forms.items())
        for claim in gathered(seen, asked.labels, form)
    ]  # fmt: skip


def inserting(asked: Asked, trained: Trained, passes: int) -> list[Claim]:
    """Suspects and common words put into held-out texts, by mean effect: no controls, no base, no pairs."""
    named = list(suspicion(trained))
    words = [*named, *trained.evidence.common(BUDGET.scan, set(named))]
    texts = [text for text, _ in trained.rows("prompts") if not set(named) & words_of(text).keys()]
    carriers = Carriers(tuple(texts[: max(1, passes // (len(words) + 1))]))
    phrases = [(trained.evidence.phrase(word),) for word in words]
    asked(carriers.all_of(phrases))
    found = []
    for word, phrase in zip(words, phrases, strict=True):
        effects = carriers.effects(asked, phrase)
        if np.isfinite(effects).any():
            mean = np.nanmean(effects, axis=0)
            found.append(Claim((word,), "word", asked.labels[int(mean.argmax())], float(mean.max())))
    return found


Procedure = Callable[[Asked, Trained, int], list[Claim]]
RIVALS: dict[str, Procedure] = {
    "word counts": lambda asked, trained, passes: counts(trained, pairs=False),
    "word and pair counts": lambda asked, trained, passes: counts(trained, pairs=True),
    "leave-one-out": leaving_out,
    "keep-one": keeping_one,
    "second differences": second_differences,
    "Shapley and pair index": exact_values,
    "insertion, no controls": inserting,
}


def rivals(trained: Trained, step: int, passes: int, models: Models, size: Size) -> dict[str, dict[str, Any]]:
    """Each rival's measures at a checkpoint, from the file beside the plant or made."""

    def make(name: str) -> dict[str, Any]:
        with models(trained, step) as asked:
            tally = Tally(asked)
            ranked = sorted(RIVALS[name](tally, trained, passes), key=lambda claim: -claim.score)
            least = BONFERRONI if "counts" in name else LEAST
            claims = [claim for claim in ranked if claim.score >= least]
            return judged(claims, ranked, trained, asked, size) | {"tuned": tally.passes}

    return {name: kept(trained, "rivals", size, f"{name} at {step}", lambda name=name: make(name)) for name in RIVALS}
