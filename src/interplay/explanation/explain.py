"""`interplay.explain`: one prompt under one model, or under two side by side.

Up to 16 words every coalition is scored and the split is exact. Beyond, or where fewer coalitions are asked for, a sparse split
is fitted to sampled ones (docs/design/sampled.md). Bad arguments are refused before a model is loaded.
"""

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interplay import effects
from interplay.data.prompts import render, template_notes, uses_chat
from interplay.data.rows import Row, Sample
from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.data.words import check_n
from interplay.effects.dictionary import MAX_COLUMNS, column_count
from interplay.effects.sampled import MAX_COALITIONS
from interplay.errors import InterplayError
from interplay.explanation.answers import UNSAID, Standing, own_answer, stands
from interplay.explanation.explanation import Change, Explanation
from interplay.explanation.names import ReadyModel, Wording, find_model, load, put_on, wording_of
from interplay.explanation.preview import ends, pair_picture, pairs, word_picture
from interplay.limits import EXACT_WORDS, SAMPLED_WORDS
from interplay.models.checkpoints import model_at
from interplay.models.length import SFT, context_length
from interplay.models.loading import load_tokenizer
from interplay.models.vocabulary import adopt_template
from interplay.pipeline.progress import SOON, Progress
from interplay.pipeline.stages import quiet_libraries
from interplay.scoring import scores
from interplay.scoring.absence import Mask, absence_notes, choose_masking
from interplay.scoring.precision import noise_warning
from interplay.scoring.targets import TargetTokens, find_answers, likelihood, target_notes, weak_targets
from interplay.text import short

if TYPE_CHECKING:
    from interplay.models.loading import LoadedModel

    Model = str | os.PathLike[str] | LoadedModel | tuple[Any, Any]

COALITIONS, ORDER = 2000, 3  # where words are sampled and the user says nothing
HELD_OUT = 0.2  # fraction of the sampled coalitions that is never fitted, and measures R2


def explain(
    model: "Model | Sequence[Model]",
    prompt: str,
    target: str | None = None,
    *,
    words: Sequence[str] | None = None,
    n: int = 8,
    coalitions: int | None = None,
    order: int | None = None,
    adapter: str | os.PathLike[str] | None = None,
    base: str | None = None,
    system: str | None = None,
    template: str | None = None,
    chat: bool | str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    rephrased: str | None = None,
    target_tokens: TargetTokens | None = None,
    mask: Mask | None = None,
    labels: Sequence[str] | None = None,
    dtype: str = "float32",
    device: str = "auto",
    top: int = 20,
    seed: int = 0,
    progress: bool = False,
) -> Explanation | Change:
    """Explain one prompt under one model: its AND-OR interactions. `interplay explain` is this function, printed.

    Args:
        model: a hub name, a folder, a GGUF file, a folder with an adapter, RUN@STEP (a checkpoint of a run folder), a
            `LoadedModel`, or a pair (model, tokenizer) of transformers. A list of two of these compares them.
        prompt: the user's text; words are chosen from it.
        target: the response that is explained. None: the model's own, of two models B's: the likeliest label, else its greedy answer.
        words: these words, named in any order; else `n` are drawn with `seed`, 1 to 64.
        coalitions, order: score at most so many, sampled where there are more (default: all up to 16 words, 2000 beyond), and
            fit interactions of at most `order` words to the sample (default 3).
        adapter: a folder with an adapter (LoRA, DoRA, IA3) to put on the model.
        base: what an adapter's folder, or RUN@STEP, is put on instead of the base it names.
        system, template, chat: the wording around the prompt; `{text}` in the template stands for it. Default: the run's where a
            model is RUN@STEP, else the text alone, through the chat template where there is one.
        chat_template_kwargs: variables of the chat template: {"enable_thinking": False}.
        rephrased: of two models, score A in this wording too: the floor that changes stand on.
        target_tokens: which tokens of the target are scored: `first`, `word`, a number of tokens, or `auto`: those that tell it from
            the labels of a run, else its first word. White space and a thought in front are passed over. Default: the run's, or auto.
        mask: what absent words become: a token by its text or id, once for each of their tokens; `auto`, a neutral one such as "_";
            `mean`, the mean embedding; `swap`, other words of the same place in the run's rows, else in English sentences about
            emotions; `drop`, nothing; `paper`, unk, pad or a reserved token. Default: the run's, or auto.
        labels: score the target among these answers. Default: as the run of RUN@STEP does, else against the whole vocabulary.
        dtype, device: of models that are loaded here.
        top: interactions that `print` draws.
        progress: show progress on stderr where it takes long.

    Returns:
        `Explanation`, or `Change` for two models. Effects are in nats of log-odds, an exact split has the tolerance of
        `interplay.effects.interactions.default_tolerance`. Of two models, B is split fused with A (`extract`, reference), and so is
        A in another wording. Warnings of the scoring are given as Python warnings and kept in `.notes`.

    Raises:
        InterplayError: for anything wrong in the arguments, and for models that cannot be loaded.

    >>> found = explain("Qwen/Qwen2.5-0.5B", "I was not happy with it", "sadness")  # doctest: +SKIP
    >>> print(found)                                                                # doctest: +SKIP
    """
    given = dict(locals())
    del given["prompt"], given["target"]
    return Explainer(**given)(prompt, target)


class Explainer:
    """`explain` for prompt after prompt: models are loaded once, when the first prompt is found good. The arguments are its own.

    show: is given pictures of the first coalitions, as text, where scoring them all takes longer.
    """

    def __init__(
        self,
        model: "Model | Sequence[Model]",
        *,
        words: Sequence[str] | None,
        n: int,
        coalitions: int | None,
        order: int | None,
        adapter: str | os.PathLike[str] | None,
        base: str | None,
        rephrased: str | None,
        target_tokens: TargetTokens | None,
        mask: Mask | None,
        labels: Sequence[str] | None,
        dtype: str,
        device: str,
        top: int,
        seed: int,
        progress: bool,
        show: Callable[[str], None] | None = None,
        **given: Any,
    ) -> None:
        models = model if isinstance(model, list) else [model]
        if not models:
            raise InterplayError(
                "no model is named: give one (hub name, folder, GGUF file, RUN@STEP), or two to compare"
            )
        if len(models) > 2:
            raise InterplayError(f"{len(models)} models are named: give one, or two to compare")
        if len(models) == 2 and adapter is not None:
            raise InterplayError("adapter is for one model: of two, give the adapter's folder itself as A or B")
        if len(models) == 1 and rephrased is not None:
            raise InterplayError("rephrased measures the floor of a comparison: name two models")
        check_n(n, SAMPLED_WORDS)
        states = [find_model(m, base) for m in models]
        if adapter is not None:
            states = [put_on(states[0], adapter)]
        if base is not None and not any(base in (state.weights, state.tokenizer) for state in states):
            names = " and ".join(state.name for state in states)
            raise InterplayError(f"base {base!r} is for adapters and steps of a run: {names} need none")
        wordings = [wording_of(state, states, **given) for state in states]
        options: dict[str, Any] = {"target_tokens": target_tokens, "mask": mask}
        chosen = {name: value for name, value in options.items() if value is not None}
        wordings = [wording._replace(**chosen) for wording in wordings]
        if labels is not None:
            wordings = [wording._replace(labels=tuple(labels), among="auto") for wording in wordings]
        self.asked = list(enumerate(wordings))  # (model, wording) of each scoring
        if rephrased is not None:
            other = wordings[0]._replace(template=replace(wordings[0].template, template=rephrased))
            if other == wordings[0]:
                raise InterplayError(f"rephrased {rephrased!r} is the wording A is asked in already: give another one")
            self.asked.append((0, other))
        self.notes = [line for state in states for line in state.notes]
        if wordings[0].template == PromptTemplate():
            self.notes += [state.hint for state in states if state.hint]
        self.notes += [
            f"{name} holds a backslash and an n, not a line break: shells write one as $'...\\n...'"
            for name, text in (("template", given["template"]), ("rephrased", rephrased))
            if text is not None and "\\n" in text
        ]
        self.states, self.wordings, self.labels, self.rephrased = states, wordings, labels, rephrased
        self.words, self.n, self.coalitions, self.order, self.seed = words, n, coalitions, order, seed
        self.dtype, self.device, self.top, self.show = dtype, device, top, show
        self.watched = Progress(quiet=not progress, after=SOON)

    @property
    def two(self) -> bool:
        """Whether two models are compared."""
        return len(self.states) == 2

    @functools.cached_property
    def tokenizers(self) -> list[Any]:
        """One of each model; what is noted on them goes to `notes`."""
        load_once = functools.cache(load_tokenizer)
        with self.watched.phase("finding the model"):
            found = [
                s.given.tokenizer if s.given else load_once(s.tokenizer, revision=s.revision, trained=s.adapter)
                for s in self.states
            ]
        for state, tokenizer in zip(self.states, found, strict=True):
            if state.adapter is None or state.given:
                continue
            if str(tokenizer.name_or_path) in (str(state.adapter), str(state.adapter.parent)):
                self.notes.append(f"{state.name}: training added tokens, so the tokenizer beside it is used")
            if said := adopt_template(tokenizer, [state.adapter]):
                self.notes.append(f"{state.name}: {said}")
        return found

    @functools.cached_property
    def loaded(self) -> list[ReadyModel]:
        """The models; what is noted on them goes to `notes`."""
        with self.watched.phase("loading the weights"):
            found = load(self.states, self.tokenizers, dtype=self.dtype, device=self.device)
        self.notes += [ready.note for ready in found if ready.note]
        return found

    def __call__(self, prompt: str, target: str | None = None) -> Explanation | Change:
        """Explain one prompt."""
        labels, needed = self.labels, [] if target is None else [target]
        if isinstance(labels, str) or (labels is not None and (len({*labels}) < 2 or {*needed} - {*labels})):
            there = f", with {short(target)}" if needed else ""
            raise InterplayError(f"labels are {short(labels)}; expected a list of two or more{there}")
        with quiet_libraries(self.watched), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)  # a note, whatever the caller wants to see and has seen
            # The choice of words depends on the text and the seed, not on the wording around it or the tokenizer.
            with _named_errors():
                drawn: dict[str, Any] = {"words": self.words, "n": self.n, "seed": self.seed}
                samples = [
                    make_sample(prompt, UNSAID if target is None else target, template=w.template, **drawn)
                    for _, w in self.asked
                ]
            count = samples[0].n
            plan = plan_sampling(count, self.coalitions, self.order)
            if plan is not None and self.two:
                asked_for = "" if self.coalitions is None else f", coalitions {self.coalitions}"
                raise InterplayError(
                    f"two models are compared on all coalitions of up to {EXACT_WORDS} words, not on sampled ones ({count} "
                    f"words{asked_for}): take fewer words"
                )
            notes: list[str] = []
            prepared = self._prepare(samples, target, notes)
            loaded = self.loaded
            for ready, one in zip(loaded, prepared, strict=False):
                cut = SFT if ready.checkpoint.path else (None, "")  # a base was not trained by SFTTrainer
                notes += context_length(ready.base.model.config).notes("prompts", [one.positions], cut)
            if self.two:
                notes += _differences(self.wordings, loaded, prepared)
            if self.words is None and count < self.n:
                notes.append(f"only {count} content words in the prompt, not {self.n}: all of them are used")
            if plan is None and (self.coalitions is not None or self.order is not None):
                notes.append(
                    f"all {2**count:,} coalitions are scored and split exactly: coalitions and order do nothing"
                )
            masks = None if plan is None else effects.sample_coalitions(count, plan[0], self.seed, order=plan[1])
            standing, scored, chances = self._score(prepared, masks)
            moved = max(abs(unit.values[-1] - unit.values[0]) for unit in scored[: len(self.states)])
            told = [line for p in prepared for line in target_notes([(p.passed, p.target, p.whole)])]
            where = " in the whole vocabulary" if prepared[0].among else ""
            told += weak_targets([(scored[0].target, max(chances[: len(self.states)]), moved)], among=where)
            if plan is None:
                # Fused with the first: what differs between two models, or two wordings of one, is what must differ.
                splits, first = [], None
                with self.watched.phase("splitting the scores", len(scored)) as advance:
                    for unit in scored:
                        # Solved again it would differ within the duality gap.
                        same = first is not None and np.array_equal(unit.values, scored[0].values)
                        splits.append(first if same else effects.extract(unit, reference=first, certain=True))
                        first = splits[0]
                        advance()
            else:
                # Cross-validation chooses the penalty, not the tolerance of an exact split: above the highest order a language
                # model does far more than its noise or 2 % of v(N) - v(empty), and effects fitted to that predict nothing [ours].
                fit: dict[str, Any] = {"order": plan[1], "tolerance": None, "holdout": HELD_OUT, "seed": self.seed}
                with self.watched.phase("fitting interactions"):
                    splits = [effects.extract_sampled(masks, unit.values, count, **fit) for unit in scored]
        notes = list(dict.fromkeys([*self.notes, *notes]))
        for line in dict.fromkeys(told):
            warnings.warn(line, UserWarning, stacklevel=3)
            notes.append(line)
        for warning in caught:
            warnings.warn(warning.message, warning.category, stacklevel=3)
            notes.append(" ".join(str(warning.message).split()))
        explained = []
        for (side, _), one, unit, split, placed in zip(self.asked, prepared, scored, splits, standing, strict=True):
            shown_as = unit.absent, unit, split, placed, target is None, tuple(notes), self.top, len(one.among or ())
            explained.append(Explanation(prompt, one.sample.row.target, self.states[side].name, *shown_as))
        if not self.two:
            return explained[0]
        reworded = explained[2] if self.rephrased is not None else None
        return Change(explained[0], explained[1], self.rephrased, reworded, tuple(notes), self.top)

    def _prepare(self, samples: Sequence[Sample], target: str | None, notes: list[str]) -> list[scores.Prepared]:
        """Each sample for its model and wording, with what is noted on it. Without a target the last model is loaded and asked."""
        prepared, options = [], []
        for (side, wording), sample in zip(self.asked, samples, strict=True):
            tokenizer = self.tokenizers[side]
            with self._errors_of(side):
                mask: dict[str, Any] = {"rows": _fillers(wording, notes), "draws": wording.draws}
                how: dict[str, Any] = {"target_tokens": wording.target_tokens}
                how["mask"] = choose_masking(tokenizer, wording.mask, wording.template, **mask)
                rendered = functools.partial(render, tokenizer=tokenizer, template=wording.template)
                known = wording.labels, rendered, tokenizer, wording.opening, wording.among
                how["answers"] = find_answers([sample.row], *known)
                if self.labels is not None and how["answers"].left_out:
                    raise InterplayError(how["answers"].left_out[0])
            options.append(how)
        answer, last = None, len(self.states) - 1
        if target is None:
            ready, asked = self.loaded[last], (self.tokenizers[last], self.wordings[last].template)
            with self._errors_of(last), model_at(ready.checkpoint, ready.base) as model:
                answer = own_answer(model, samples[last], *asked, options[last])
            whose = "B" if self.two else "the model"
            notes.append(f"no target is given: {whose}'s {answer.said}, {short(answer.target)}, is explained")
        for (side, wording), sample, how in zip(self.asked, samples, options, strict=True):
            with self._errors_of(side):
                asked = self.tokenizers[side], wording.template
                told, how["rendered"] = answer.put_into(sample, *asked) if answer else (sample, None)
                prepared.append(scores.prepare(told, *asked, **how))
            answers, said = how["answers"], told.row.target
            if answers.among and said not in answers.labels:
                notes.append(f"{short(said)} is none of the {len(answers.labels)} labels: it is scored beside them")
            notes += template_notes(told.row, *asked)
            notes += absence_notes([prepared[-1].absence])
        return prepared

    def _score(
        self, prepared: Sequence[scores.Prepared], masks: np.ndarray | None
    ) -> tuple[list[Standing], list[scores.UnitScores], list[float]]:
        """Where each target stands, its scores, and its probability in the whole vocabulary.

        The first pictures, where they are wanted, are of all models before any is scored in full.
        """
        count = prepared[0].sample.n
        each = 2**count if masks is None else len(masks)
        early = self.show if 4 * len(ends(count)) <= each else None
        standing, first = [], []
        for i, (side, _) in enumerate(self.asked):
            with model_at(self.loaded[side].checkpoint, self.loaded[side].base) as model:
                standing.append(stands(model, prepared[i], self.tokenizers[side]))
                if early and i < len(self.states):
                    first.append(scores.score_prepared(model, prepared[i], coalitions=ends(count), noise_coalitions=0))
        if early:
            early(word_picture(first, standing, each))
            if not self.two and count <= EXACT_WORDS:
                with model_at(self.loaded[0].checkpoint, self.loaded[0].base) as model:
                    unit = scores.score_prepared(model, prepared[0], coalitions=pairs(count), noise_coalitions=0)
                early(pair_picture(first[0], unit))
        scored, chances = [], []
        with self.watched.phase("scoring coalitions", len(self.asked) * each) as advance:
            for i, (side, _) in enumerate(self.asked):
                with model_at(self.loaded[side].checkpoint, self.loaded[side].base) as model:
                    unit = scores.score_prepared(
                        model,
                        prepared[i],
                        coalitions=masks,
                        noise_coalitions=scores.NOISE_COALITIONS,
                        progress=lambda done, _, i=i: advance(i * each + done),
                    )
                    whole, free = unit, replace(prepared[i], among=None)
                    if prepared[i].among:  # the model may answer none of them
                        whole = scores.score_prepared(model, free, coalitions=[2**count - 1], noise_coalitions=0)
                    chances.append(likelihood(whole.values[-1], len(whole.target_ids)))
                if (noisy := noise_warning(unit.noise_sigma, float(unit.values.std()), unit.dtype)) is not None:
                    warnings.warn(noisy, RuntimeWarning, stacklevel=2)
                scored.append(unit)
        return standing, scored, chances

    def _errors_of(self, side: int) -> contextlib.AbstractContextManager[None]:
        return _named_errors(self.states[side].name if self.two else None)


def _fillers(wording: Wording, notes: list[str]) -> tuple[Row, ...] | None:
    """The rows of the run whose words a swap takes; None, with a note, where they cannot be read any more."""
    if wording.mask != "swap" or wording.fillers is None:
        return None
    try:
        return wording.fillers()
    except InterplayError as error:
        notes.append(f"the rows of the run cannot be read: {error}")
        return None


def plan_sampling(n: int, coalitions: int | None, order: int | None) -> tuple[int, int] | None:
    """How many coalitions of n words are sampled, and the highest order that is fitted; None where all 2^n are scored.

    Raises InterplayError for what could not be fitted once it was scored.

    >>> plan_sampling(8, None, None), plan_sampling(24, None, None), plan_sampling(16, 1000, 2)
    (None, (2000, 3), (1000, 2))
    """
    given = COALITIONS if coalitions is None else coalitions
    if not 1 <= given <= MAX_COALITIONS:
        raise InterplayError(f"coalitions is {given}; expected 1..{MAX_COALITIONS:,}, such as {COALITIONS}")
    if n <= EXACT_WORDS and (coalitions is None or given >= 2**n):
        return None
    count, highest = min(given, 2**n), min(ORDER if order is None else order, n)
    least = next(m for m in range(n + 2, 2 * n + 6) if m - round(HELD_OUT * m) >= n + 2)
    if count < least:
        needed = f"{n} words need {min(least, 2**n)} or more to be fitted at all"
        raise InterplayError(f"coalitions is {given}; {needed}, and some {COALITIONS} to be fitted well")
    columns = column_count(n, highest)
    if columns > MAX_COLUMNS:
        fits = max(d for d in range(1, highest) if column_count(n, d) <= MAX_COLUMNS)
        hint = f"take order {fits} or fewer words"
        raise InterplayError(f"order {highest} of {n} words makes {columns:,} columns, over {MAX_COLUMNS:,}: {hint}")
    return count, highest


def _differences(
    wordings: Sequence[Wording], loaded: Sequence[ReadyModel], prepared: Sequence[scores.Prepared]
) -> list[str]:
    """What the reader should know about A and B: identical weights, different wordings or tokens."""
    lines = []
    if loaded[0].sha256 == loaded[1].sha256:
        lines.append("A and B have identical weights: no difference between them was learnt")
    if wordings[0].template != wordings[1].template:
        lines.append(
            "A and B are asked in different wordings, each as its run does: give template, system or chat for both"
        )
    elif len({uses_chat(ready.base.tokenizer, w.template) for ready, w in zip(loaded, wordings, strict=True)}) > 1:
        lines.append("one of A and B is asked through a chat template, the other has none: set chat to false for both")
    absent = [one.absence.said for one in prepared]
    if absent[0] != absent[1]:
        lines.append(
            f"A and B are measured with different absent words, {absent[0]} and {absent[1]}: give mask for both"
        )
    if prepared[0].target.strip() != prepared[1].target.strip():
        a, b = prepared[0].target, prepared[1].target
        lines.append(
            f"A and B are scored on different tokens of the target, as their tokenizers cut it: {a!r} and {b!r}"
        )
    a, b = (w.labels if p.among else () for w, p in zip(wordings, prepared, strict=False))
    if {*a} != {*b}:
        lines.append("A and B are scored among other labels, or one against the whole vocabulary: give labels for both")
    return lines


@contextlib.contextmanager
def _named_errors(model: str | None = None) -> Generator[None]:
    """Errors without the id that we gave the prompt, and with the model where there are two: another tokenizer may serve."""
    try:
        yield
    except InterplayError as error:
        reason = re.sub(r"^(row|sample) 'text-[0-9a-f]+': ", "", str(error))
        raise InterplayError(reason if model is None else f"{model}: {reason}") from error
