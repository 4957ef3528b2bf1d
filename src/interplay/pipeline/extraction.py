"""Get every unit of a run: the checkpoints, the controls at the references, the baseline LLMs."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from interplay.analysis.about import kinship
from interplay.analysis.measured import calibration_of, second_mask, second_precision, second_reference
from interplay.config.settings import Settings
from interplay.data.prompts import render
from interplay.data.rows import Row, Sample
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.models.layouts import Checkpoint
from interplay.models.length import SFT, length_of
from interplay.models.loading import resolve
from interplay.pipeline.identity import check_parts, config_hash
from interplay.pipeline.inputs import Inputs, Variant
from interplay.pipeline.jobs import Asked, Engine, jobs_of, units_of
from interplay.pipeline.measure import Question, refuse_noise
from interplay.pipeline.stages import Context, States, note
from interplay.pipeline.states import ModelState, Source
from interplay.scoring.absence import Mask, absence_notes, choose_masking
from interplay.scoring.scores import Prepared, prepare
from interplay.scoring.targets import NO_ANSWERS, Among, Answers, find_answers, target_notes
from interplay.store.conditions import (
    BaselineLLM,
    Omitted,
    Units,
    other_score,
    step_name,
)
from interplay.store.files import sha256_json
from interplay.text import short


def preparing(
    settings: Settings,
    tokenizer,
    template: PromptTemplate,
    answers: Answers = NO_ANSWERS,
    fillers: Sequence[Row] = (),
    mask: Mask | None = None,
) -> Callable[[Sample], Prepared]:
    """What tokenises prompts under the run's scoring settings, or another `mask`; it raises SkipSample where that is impossible.

    fillers: rows whose words a swap takes; none where only the use of a prompt is tested.
    """
    scoring = settings.scoring
    wanted = scoring.mask if mask is None else mask
    masking = choose_masking(tokenizer, wanted, template, rows=fillers, draws=scoring.swap_draws)
    how: dict[str, Any] = {"mask": masking, "target_tokens": scoring.target_tokens, "answers": answers}
    return lambda sample: prepare(sample, tokenizer, template, **how)


def answers_of(
    inputs: Inputs, samples: Sequence[Sample | None], tokenizer, template: PromptTemplate, among: Among
) -> Answers:
    """The answers that a prompt's own is told from, or scored `among`, in the wording of `samples`."""
    rows = [sample.row for sample in samples if sample is not None]
    how = functools.partial(render, tokenizer=tokenizer, template=template)
    return find_answers(rows, inputs.labels, how, tokenizer, inputs.opening, among)


Prompts = tuple[Prepared | None, ...]  # as a model's tokenizer reads them; None: it cannot serve the prompt


class Extraction:
    """The conditions of one run, in the order that later ones need: `checkpoints`, then `controls`.

    After them: `units` by condition, what words become when `absent`, how many labels v is `among`, `baselines`, and how many
    jobs of other shards are `missing`.
    """

    def __init__(self, context: Context, states: States, inputs: Inputs, engine: Engine) -> None:
        self.context, self.states, self.inputs, self.engine = context, states, inputs, engine
        self.settings = context.settings
        self.units: Units = {}
        self.baselines: tuple[BaselineLLM, ...] = ()
        self.missing, self.absent, self.among = 0, "", 0
        self._ready: dict[str, Prompts] = {}
        self._main: Prompts = ()

    def checkpoints(self) -> None:
        """Get the units of every checkpoint: a page can be made of them."""
        checkpoints, inputs = self.states.checkpoints, self.inputs
        main = Variant("", inputs.prompts, inputs.template)
        self._main = prompts = self._prepared(main, among=self.settings.scoring.among_labels)
        self._refuse_none(self.states.base.name, prompts)
        self.absent = next(p.absence.said for p in prompts if p is not None)
        self.among = max(len(p.among or ()) for p in prompts if p is not None)
        other, name = self._other_score(main, prompts), other_score(self.among)
        asked = []
        for c in checkpoints:
            together = self._asked(step_name(c.step), c, prompts)
            if other is not None:  # from the same forward passes, so at hardly any cost
                together |= self._asked(step_name(c.step, name), c, other)
            asked.append(together)
        self._measure("extracting interactions", asked)
        self._refuse_noise(step_name(checkpoints[0].step))

    def controls(self) -> None:
        """Get every further unit that the settings ask for."""
        checkpoints, inputs = self.states.checkpoints, self.inputs
        self._measure("controls", self._controls(self._main))
        # Where it is depends on every checkpoint's units, so it is not known while other shards lack some of them. A process
        # that knows it does all that depends on it, whatever its shard.
        second = None
        if not self.missing:
            steps = [c.step for c in checkpoints]
            second = second_reference(self.settings, self.units, steps, self.states.reference.step, self.among)
        if second is not None:
            self._measure("second reference", self._twins(second, inputs.rephrased[:1], None), everything=True)
        self.context.models.drop_others()
        self.baselines = tuple(self._baseline(i) for i in range(len(self.settings.baseline)))

    def _twins(self, step: int, rephrased: Sequence[Variant], mask: Mask | None) -> list[Asked]:
        """The prompts in other wordings, and with other words absent, at a reference step."""
        [c] = [c for c in self.states.checkpoints if c.step == step]
        wanted: list[tuple[Variant, Mask | None]] = [(variant, None) for variant in rephrased]
        if mask is not None:
            wanted.append((Variant("mask", self.inputs.prompts, self.inputs.template), mask))
        for variant, other in wanted:  # once, since a prompt that cannot be served is to be named once
            if variant.name not in self._ready:
                self._ready[variant.name] = self._prepared(variant, mask=other)
        return [self._asked(f"{step_name(step)}-{variant.name}", c, self._ready[variant.name]) for variant, _ in wanted]

    def _controls(self, prompts: Prompts) -> list[Asked]:
        """What is asked besides the checkpoints' own conditions; settings differ where the precision does."""
        inputs, settings = self.inputs, self.settings
        checkpoints, reference = self.states.checkpoints, self.states.reference
        planned = self._twins(reference.step, inputs.rephrased, second_mask(settings))
        if (dtype := second_precision(settings)) is not None:
            other = settings.model_copy(update={"model": settings.model.model_copy(update={"dtype": dtype})})
            asked = self._asked(f"{step_name(reference.step)}-{dtype}", reference, prompts)
            state = self.states.at(reference, dtype)
            planned.append({n: [q and replace(q, settings=other, state=state) for q in qs] for n, qs in asked.items()})
        where = checkpoints if settings.controls.draw_steps == "all" else (reference,)
        variants = [(draw, where) for draw in inputs.draws if any(draw.samples)]
        variants += [(variant, checkpoints[:1]) for variant in (inputs.few_shot, inputs.format) if variant is not None]
        for variant, places in variants:
            ready = self._prepared(variant)
            planned += [self._asked(f"{step_name(c.step)}-{variant.name}", c, ready) for c in places]
        return planned

    def _other_score(self, variant: Variant, prompts: Prompts, tokenizer: Any = None) -> Prompts | None:
        """`prompts` with the other score of rows with labels, where that costs hardly anything; None where it is left out."""
        if not self.settings.controls.both_scores:
            return None
        if self.among:  # its tokens are those of one of the labels
            return tuple(p and replace(p, among=None) for p in prompts)
        if not self.inputs.labels or self.settings.scoring.target_tokens not in ("auto", "first", 1):
            return None  # few tokens tell labels apart
        try:
            return self._prepared(replace(variant, name="labels"), tokenizer, among=True)
        except InterplayError as error:
            self.context.notes.append(f"Scores among the labels were left out: {error}")
            return None

    def _prepared(
        self, variant: Variant, tokenizer: Any = None, *, among: Among | None = None, mask: Mask | None = None
    ) -> Prompts:
        """The prompts of a variant, None with the reason noted where one cannot be served.

        tokenizer, among, mask: by default the model's own, as the main prompts, and scoring.mask.
        """
        tokenizer = self.states.base.tokenizer if tokenizer is None else tokenizer
        among = self.among > 0 if among is None else among
        answers = answers_of(self.inputs, variant.samples, tokenizer, variant.template, among)
        ready = preparing(self.settings, tokenizer, variant.template, answers, self.inputs.fillers, mask)
        prepared: list[Prepared | None] = [None] * len(variant.samples)
        for i, sample in enumerate(variant.samples):
            if sample is None:
                continue
            try:
                prepared[i] = ready(sample)
            except SkipSample as reason:
                self.context.omitted.append(Omitted(variant.name or "prompts", sample.id, str(reason)))
        for line in absence_notes([p.absence for p in prepared if p]) if mask is not None else ():
            note(self.context, f"Floor of other absent words: {line}.")
        if not variant.name:
            found = target_notes([(p.passed, p.target, p.whole) for p in prepared if p])
            for line in (*answers.left_out, *found):
                note(self.context, f"{line[:1].upper()}{line[1:]}.")
        if variant.name in ("", "few-shot", *(v.name for v in self.inputs.baselines)):
            training = self.settings.training
            cut = SFT if training is None else (training.max_length, "training.max_length")
            lengths = [p.positions for p in prepared if p is not None]
            for line in length_of(tokenizer).notes(f"{variant.name} prompts".strip(), lengths, cut):
                note(self.context, f"{line}.")
        return tuple(prepared)

    def _asked(self, name: str, c: Checkpoint, prompts: Prompts) -> Asked:
        """A condition: these prompts at a checkpoint."""
        weights = (self.states.base.sha256, self.states.hashes[c.step])
        return self._questions(name, c.step, weights, prompts, self.states.at(c))

    def _questions(self, name: str, step: int, weights: tuple[str, str], prompts: Prompts, state: ModelState) -> Asked:
        how = self.settings, state
        asked = [None if p is None else Question(name, i, step, *weights, p, *how) for i, p in enumerate(prompts)]
        return {name: asked}

    def _refuse_none(self, name: str, prompts: Prompts) -> None:
        if not any(prompts):
            raise InterplayError(f"{name!r} can serve none of the prompts (first: {self.context.omitted[-1].reason})")

    def _refuse_noise(self, condition: str, begins: str = "") -> None:
        """What a warning begins with; other shards may lack units, and the last one says it."""
        if not self.missing:
            found = calibration_of(self.units[condition], self.settings.effects)
            refuse_noise(found, self.settings, lambda line: note(self.context, f"{begins}{line}"))

    def _measure(self, phase: str, asked: Sequence[Asked], *, everything: bool = False) -> None:
        """`everything`: whatever shard of the run is this process's."""
        if not asked:
            return
        shard = replace(self.context.shard, helps=True) if everything else self.context.shard
        with self.context.progress.phase(phase, len(jobs_of(asked)), "{} of {} units".format) as advance:
            units, missing = units_of(self.context.folder.path, asked, self.engine, shard, advance)
        self.units |= units
        self.missing += missing

    def _baseline(self, index: int) -> BaselineLLM:
        """Units of one baseline LLM v' on the same words, with a tolerance from its own scores."""
        wanted, settings = self.settings.baseline[index], self.settings
        state = ModelState(Source(wanted.name, wanted.revision, settings.model.dtype))
        with self.context.progress.phase("loading the baseline LLM"):
            other = self.context.models.base(state.base)
        wordings = self._asked_of_baseline(index, other.tokenizer)
        parts = {
            "its weights": other.sha256,
            "its config": config_hash(resolve(wanted.name, wanted.revision)[0], wanted.revision),
            "its tokens": sha256_json([p and [p.input_ids, p.target_ids] for p in wordings[0][0][1]]),
        }
        check_parts(self.context.folder.path, f"baseline-{index}", parts, f"restore the baseline {short(wanted.name)}")
        for together in wordings:
            asked: Asked = {}
            for name, ready in together:
                self._refuse_none(wanted.name, ready)
                asked |= self._questions(name, 0, (other.sha256, other.sha256), ready, state)
            self._measure("baseline LLM", [asked])
            for name in asked:
                self._refuse_noise(name, f"baseline {wanted.name}: ")
        family, own = other.model.config.model_type, self.states.base.model.config.model_type
        if family == own:
            self.context.progress.say(f"warning: {kinship(wanted.name, family)}")
        return BaselineLLM(wanted.name, family, family == own, other.sha256)

    def _asked_of_baseline(self, index: int, tokenizer) -> list[list[tuple[str, Prompts]]]:
        """(condition, prompts), those of one prompt together: the main question; of the first LLM also those of the views."""
        variant = self.inputs.baselines[index]
        prompts = self._prepared(variant, tokenizer)
        asked = [[(variant.name, prompts)]]
        if index:
            return asked
        if (other := self._other_score(variant, prompts, tokenizer)) is not None:
            asked[0].append((f"{variant.name}-{other_score(self.among)}", other))
        for draw in self.inputs.draws if self.settings.controls.draw_steps == "all" else ():
            if any(draw.samples):
                # A word is known by its offsets in the text, so the draw's words stand in any wording of it.
                pairs = zip(variant.samples, draw.samples, strict=True)
                name = f"{variant.name}-{draw.name}"
                drawn = Variant(name, tuple(a and b and replace(a, words=b.words) for a, b in pairs), variant.template)
                asked.append([(name, self._prepared(drawn, tokenizer))])
        return asked
