"""What a model answers by itself, and where a target stands beside that: one forward pass over the whole prompt."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from interplay.data.prompts import Rendered, encode, render
from interplay.data.rows import Sample
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.scoring import scores
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question, Questions
from interplay.scoring.ranking import Ranking
from interplay.scoring.targets import LONGEST, Answers, without_thought
from interplay.task.generation import decoded, greedy, stop_ids
from interplay.task.passes import vocabulary

UNSAID = "a"  # stands where an answer will, until the model has given it


class Standing(NamedTuple):
    """Where a target stands with all words: its rank (1: likeliest) of how many labels or, by its first token, tokens; the first."""

    rank: int
    of: int
    likeliest: str

    @property
    def said(self) -> str:
        """In words, with what is likelier."""
        return f"rank {self.rank:,} of {self.of:,}" + (f", {self.likeliest!r} is first" if self.rank > 1 else "")


class OwnAnswer(NamedTuple):
    """A model's own answer, and how it follows the prompt: None for a label, which is worded as in training."""

    target: str
    completion: str | None = None

    @property
    def said(self) -> str:
        """What kind of answer it is."""
        return "likeliest label" if self.completion is None else "greedy answer"

    def put_into(self, sample: Sample, tokenizer, template: PromptTemplate) -> tuple[Sample, Rendered | None]:
        """The sample with this target, and its row as one string where that is not as `render` makes it."""
        row, rendered = replace(sample.row, target=self.target), None
        if self.completion is not None:
            rendered = replace(render(sample.row, tokenizer, template), completion=self.completion)
        return replace(sample, row=row), rendered


def stands(model, prepared: scores.Prepared, tokenizer) -> Standing:
    """The place of a target among its labels, else among all tokens."""
    pool = prepared.among or (prepared.target_ids,)
    asked: Any = Ranking(pool, prepared.among is not None)
    found = score_rows(model, np.array([prepared.input_ids]), asked)[0]
    rank, first = (int(value) for value in found[pool.index(prepared.target_ids)][1:])
    said = tokenizer.decode(list(pool[first]) if prepared.among else [first])
    return Standing(rank, len(pool) if prepared.among else vocabulary(model), said)


def own_answer(model, sample: Sample, tokenizer, template: PromptTemplate, how: dict[str, Any]) -> OwnAnswer:
    """What the model answers: the likeliest of the labels that it would be scored among, else what it writes, its first line.

    how: the options of `scores.prepare`. InterplayError where it answers nothing, or with a thought.
    """
    answers: Answers = how["answers"]
    if answers.among:
        tried = {
            label: scores.prepare(replace(sample, row=replace(sample.row, target=label)), tokenizer, template, **how)
            for label in answers.labels
        }
        pool = next(iter(tried.values())).among or ()
        asked = Questions(tuple(Question(one.target_ids, pool) for one in tried.values()))
        values = score_rows(model, np.array([next(iter(tried.values())).input_ids]), asked)[0]
        return OwnAnswer([*tried][int(np.argmax(values))])
    rendered, wanted = render(sample.row, tokenizer, template), how["target_tokens"]
    tokens = max(LONGEST, wanted if isinstance(wanted, int) else 0)
    [ids] = greedy(model, [encode(rendered, tokenizer).input_ids], tokens=tokens, stop=stop_ids(model, tokenizer))
    text = decoded(tokenizer, ids).split("\ufffd")[0]  # which stands for bytes that are no character
    body = text.strip().split("\n")[0].strip()
    if not without_thought(body):
        found = f"begins with a thought ({body[:20]})" if body else "has no text"
        raise InterplayError(f"the model's own answer {found}: give a target")
    return OwnAnswer(body, text[: len(text) - len(text.lstrip())] + body)
