"""What a model answers to a text: log-odds of each answer among all of them. Every text is asked once."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interplay.data.prompts import Rendered, encode, render
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.models.length import length_of
from interplay.scoring import precision
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question, Questions
from interplay.scoring.masking import LEFT_OUT
from interplay.scoring.targets import Answers, choose_window, find_answers
from interplay.text import short, stable_hash

if TYPE_CHECKING:
    import torch

Written = Callable[[Row], Rendered]
OPENING = 4  # tokens of a free answer that are asked for [ours]
_WORTH = 256  # tokens that a common beginning has to save, to be run as one [ours]
_TOGETHER = 256  # texts of one call, whose answers are kept when it is done [ours]


@dataclass(frozen=True)
class Opening:
    """Whether an answer begins with these tokens: the log-odds of the product of their probabilities."""

    ids: tuple[int, ...]

    @property
    def prefixes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.ids[:i] for i in range(len(self.ids)))

    def answer(self, logits: "torch.Tensor") -> "torch.Tensor":
        """[...] in nats from logits [..., len(prefixes), V].

        >>> import torch
        >>> round(float(Opening((0,)).answer(torch.tensor([[2.0, 0.0]]))), 3)    # log p - log(1 - p) = 2
        2.0
        """
        import torch

        chances = logits.double().log_softmax(-1)
        total = torch.stack([chances[..., i, token] for i, token in enumerate(self.ids)], -1).sum(-1)
        return total - torch.log(-torch.expm1(total.clamp(max=-1e-12)))


@dataclass(frozen=True)
class Wording:
    """How a text is asked, and the answers it is scored among, each by the tokens that tell it from the others.

    written: how a row becomes a prompt, by default through `render`. free: the answers are openings of free text, each scored
    by itself: a text may give several of them, or none.
    """

    tokenizer: Any
    template: PromptTemplate
    labels: tuple[str, ...]
    passed: tuple[int, ...]  # tokens that all answers begin with: they stand behind the prompt
    questions: Questions
    written: Written
    free: bool = False

    def ids(self, text: str) -> tuple[int, ...]:
        """Token ids of the prompt with this text. SkipSample where it cannot be asked."""
        row = row_of(text, self.labels[0], self.template)
        found = encode(self.written(row), self.tokenizer).input_ids + self.passed
        length_of(self.tokenizer).refuse(len(found))
        return found


def row_of(text: str, target: str, template: PromptTemplate) -> Row:
    messages, start = template.messages_for(text)
    return Row("text-" + stable_hash(text)[:12], messages, target, text, start)


def find_wording(
    texts: Iterable[str], labels: Sequence[str], tokenizer, template: PromptTemplate, written: Written | None = None
) -> Wording:
    """The labels as answers, encoded behind the first of `texts` that can be. InterplayError if under two can be answers."""
    rows = (row_of(text, labels[0], template) for text in texts)
    written = written or (lambda row: render(row, tokenizer, template))
    answers: Answers = find_answers(rows, labels, written, tokenizer, among=True)
    asked, passed = [], ()
    for encoded in answers.labels.values():
        count, ids, pool, _ = choose_window(encoded, answers, "auto", tokenizer)
        passed = encoded.target_ids[:count]
        asked.append(Question(ids, pool))
    return Wording(tokenizer, template, tuple(answers.labels), passed, Questions(tuple(asked)), written)


def free_wording(
    texts: Iterable[str], openings: Sequence[str], tokenizer, template: PromptTemplate, written: Written | None = None
) -> Wording:
    """Openings of free answers as what is asked for, each by at most `OPENING` tokens."""
    text, written = next(iter(texts)), written or (lambda row: render(row, tokenizer, template))
    asked: list[Any] = []
    for opening in openings:
        row = row_of(text, opening, template)
        encoded = encode(written(row), tokenizer)
        count = sum(end <= len(encoded.completion.rstrip()) for _, end in encoded.target_offsets)
        own = [
            i
            for i, (start, _) in enumerate(encoded.target_offsets[:count])
            if start < _end(encoded.completion, opening)
        ]
        asked.append(Opening(tuple(encoded.target_ids[i] for i in own[:OPENING])))
    return Wording(tokenizer, template, tuple(openings), (), Questions(tuple(asked)), written, free=True)


def _end(completion: str, opening: str) -> int:
    return completion.find(opening) + len(opening)


@dataclass
class Asked:
    """A model under a wording, and what it answered so far. `file`: where answers are kept, so that a killed audit goes on."""

    model: Any
    wording: Wording
    file: Path | None = None
    progress: Callable[[int, int], None] | None = (
        None  # told how many texts of those it is asked are done, and how many they are
    )
    opening: Callable[[], Any] | None = None  # gives the model when the first text needs it
    passes: int = 0  # texts that were run through the model
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            for line in self.file.read_text(encoding="utf-8").splitlines():
                try:
                    text, scores = json.loads(line)
                except ValueError:  # cut off by a kill
                    continue
                self._known[text] = np.array(scores)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.wording.labels

    @property
    def free(self) -> bool:
        return self.wording.free

    def gives(self, scores: np.ndarray, label: int) -> np.ndarray:
        """[texts] whether this is the answer that the model gives: the likeliest label, or an opening that is likelier than not."""
        return scores[:, label] > 0 if self.wording.free else scores.argmax(1) == label

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, labels] log-odds of each label among all, in nats; NaN for a text that cannot be asked."""
        wanted = [text for text in dict.fromkeys(texts) if stable_hash(text)[:20] not in self._known]
        if wanted:
            self._ask(wanted)
        return np.array([self._known[stable_hash(text)[:20]] for text in texts]).reshape(len(texts), len(self.labels))

    def _ask(self, texts: list[str]) -> None:
        ids: dict[str, tuple[int, ...]] = {}
        for text in texts:
            try:
                ids[text] = self.wording.ids(text)
            except SkipSample:
                self._keep([text], np.full((1, len(self.labels)), np.nan))
        total = self.passes + len(ids)
        if ids and self.model is None and self.opening is not None:
            self.model = self.opening()
        for group in _groups(ids):
            length = max(len(ids[text]) for text in group)
            rows = np.full((len(group), length), LEFT_OUT, dtype=np.int64)
            for i, text in enumerate(group):
                rows[i, : len(ids[text])] = ids[text]
            shared = _shared([ids[text] for text in group])
            shared = shared if (len(group) - 1) * shared >= _WORTH else 0
            with precision.fast_products(self.model), precision.wide_residual(self.model):
                found = score_rows(self.model, rows, self.wording.questions, shared=shared)
            if not np.isfinite(found).all():
                raise InterplayError(
                    f"the model gives a score that is not finite for {short(group[0])}: check its weights"
                )
            self.passes += len(group)
            self._keep(group, found)
            if self.progress is not None:
                self.progress(self.passes, total)

    def _keep(self, texts: Sequence[str], found: np.ndarray) -> None:
        keys = [stable_hash(text)[:20] for text in texts]
        self._known.update(zip(keys, found, strict=True))
        if self.file is not None:
            with open(self.file, "a", encoding="utf-8") as out:
                out.writelines(json.dumps([key, row.tolist()]) + "\n" for key, row in zip(keys, found, strict=True))


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _shared(several: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all begin with."""
    return _common(min(several), max(several))


def _groups(ids: dict[str, tuple[int, ...]]) -> list[list[str]]:
    """Texts in groups that share half of their tokens as a beginning; the rest by length, since equal lengths run together."""
    groups: list[list[str]] = []
    for text in sorted(ids, key=ids.__getitem__):
        head = ids[groups[-1][0]] if groups else ()
        if groups and 2 * _common(head, ids[text]) >= len(head):
            groups[-1].append(text)
        else:
            groups.append([text])
    large = [group for group in groups if (len(group) - 1) * _shared([ids[text] for text in group]) >= _WORTH]
    rest = sorted((text for group in groups if group not in large for text in group), key=lambda text: len(ids[text]))
    return [*large, *(rest[a : a + _TOGETHER] for a in range(0, len(rest), _TOGETHER))]
