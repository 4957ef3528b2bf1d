"""What is measured while a model trains: all prompts at one step, on the one process that holds the answer.

`Measurer` reads the prompt data set, plans under a budget, scores and solves through the same code as `interplay run`, keeps the
run folder and asks the rule. It knows a model that is lent and steps that are counted; of trainers it knows nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interplay.callback import record
from interplay.callback.budget import LEAST_PROMPTS, MOST_PROMPTS, Costs, Meter, Plan, choose
from interplay.callback.live import lent, weights_sha256
from interplay.callback.options import Wanted
from interplay.callback.prompts import Prompts, choose_prompts, read_prompts
from interplay.config.settings import Settings
from interplay.data.prompts import template_hash
from interplay.data.words import WORDS_PER_PROMPT
from interplay.effects import extract
from interplay.errors import InterplayError
from interplay.models.placement import input_device
from interplay.pipeline.measure import Question, measure, refuse_noise, survey
from interplay.recommendation.measurements import Measurements
from interplay.recommendation.stopping import Judgement, judge
from interplay.store.conditions import step_name
from interplay.store.files import sha256_json
from interplay.store.units import Unit

TRAINING_PER_FORWARD = 3.0  # a training step costs about three forward passes of its tokens [ours]
TOKENS_GUESSED = 256  # of a training row, where its length cannot be read [ours]
ROWS_LOOKED_AT = 32
_DTYPES = ("float32", "float64", "bfloat16", "float16")


@dataclass(frozen=True)
class Training:
    """What is known of the training beforehand.

    step, steps   where it stands, and its last step
    batch         rows of a micro-step, and micro-steps of an optimiser step
    every         steps between measurements at most, for the trainer asks for the metric itself; None: it does not
    title, how    for the page
    read          steps that were read, as the trainer's log has it
    """

    step: int
    steps: int
    batch: int
    accumulation: int
    dataset: Any
    every: int | None
    output_dir: str
    title: str
    how: str
    read: tuple[int, ...] = ()


class Measurer:
    """The measurements of one training. Every method may raise; whoever calls decides what that costs."""

    def __init__(
        self,
        wanted: Wanted,
        training: Training,
        model: Any,
        tokenizer: Any,
        folder: Path,
        meter: Meter,
        say: Callable[[str], None],
    ) -> None:
        self.wanted, self.training, self.folder, self.meter, self._say = wanted, training, folder, meter, say
        self.tokenizer = tokenizer
        self.found = read_prompts(wanted.source, wanted.template)
        self.notes: list[str] = []
        with lent(model):
            self._open(model)

    # ---- before the first measurement ------------------------------------------------------------------------------------

    def _open(self, model: Any) -> None:
        wanted, training = self.wanted, self.training
        base = weights_sha256(model, trained=False)
        request = self._request(base)
        kept, note = record.claim(self.folder, training.step, request)
        if note:
            self._note(note)
        if kept is None:
            kept = record.Kept(request, self._plan(model), base)
        elif wanted.max_overhead is None:
            kept.plan = Plan(kept.plan.prompts, kept.plan.n, self._every())
        self.kept, self.plan = kept, kept.plan
        self.prompts: Prompts = self._choose(self.plan.prompts, self.plan.n)
        self.notes += self.prompts.notes
        if len(self.prompts.prepared) < LEAST_PROMPTS:
            few = len(self.prompts.prepared)
            self._note(f"only {few} prompt{'s' if few > 1 else ''} can be used: give a dozen or more held-out rows")
        config = getattr(model, "config", None)
        self.settings: Settings = record.make_settings(
            name=training.title,
            model=getattr(config, "_name_or_path", "") or "a model in memory",
            dtype=_dtype(model),
            found=self.found,
            plan=self.plan,
            seed=wanted.seed,
            output_dir=training.output_dir,
            mask=wanted.mask,
            target_tokens=wanted.target_tokens,
        )
        self.inputs = record.make_inputs(self.found, self.prompts)
        record.open_folder(self.folder, self.settings, self.inputs)
        self.units: dict[int, list[Unit]] = self._found_units()
        if training.read and not self.units and not note:
            self._note(f"the measurements of this training are not in {str(self.folder)!r}: the rule begins anew")
        record.write_kept(self.folder, self.kept)

    def _note(self, line: str) -> None:
        self.notes.append(line[:1].upper() + line[1:] + ".")
        self._say(line)

    def _request(self, base: str) -> str:
        """Hash of the question: another one's measurements cannot be compared with these."""
        rows = [[r.id, [(m.role, m.content) for m in r.messages], r.text_start, r.target] for r in self.found.rows]
        wording = [template_hash(self.tokenizer, self.found.template), self.found.verbatim]
        w = self.wanted
        return sha256_json([base, rows, wording, w.n, w.num_prompts, w.seed, w.target_tokens, w.mask])

    def _every(self) -> int:
        asked = self.training.every
        return self.wanted.every if asked is None else min(self.wanted.every, asked)

    def _choose(self, count: int, n: int) -> Prompts:
        return choose_prompts(
            self.found,
            self.tokenizer,
            count=count,
            n=n,
            seed=self.wanted.seed,
            mask=self.wanted.mask,
            target_tokens=self.wanted.target_tokens,
        )

    def _plan(self, model: Any) -> Plan:
        wanted, training = self.wanted, self.training
        available = min(len(self.found.rows), MOST_PROMPTS if wanted.num_prompts is None else wanted.num_prompts)
        n = WORDS_PER_PROMPT if wanted.n is None else wanted.n
        if wanted.max_overhead is None:
            return Plan(available, n, wanted.every)
        costs = self._costs(model, n)
        plan = choose(
            costs,
            steps=max(1, training.steps - training.step),
            every=self._every(),
            max_overhead=wanted.max_overhead,
            n=wanted.n,
            prompts=wanted.num_prompts,
            available=available,
            fixed_every=training.every is not None,
        )
        self.meter.expect(costs.measurement(plan.prompts, plan.n))
        return plan

    def _costs(self, model: Any, n: int) -> Costs:
        """Seconds of one prompt, of what a measurement costs besides, and, from a forward pass, of a training step."""
        from interplay.scoring.scores import score_prepared

        (prepared,) = self._choose(1, n).prepared
        score_prepared(model, prepared, coalitions=np.array([0, 1]))  # the first passes of a process are slow
        start = time.perf_counter()
        scored = score_prepared(model, prepared)
        extract(scored)
        prompt = time.perf_counter() - start
        start = time.perf_counter()
        weights_sha256(model, trained=True)
        fixed = time.perf_counter() - start
        return Costs(self._step_seconds(model, prepared.input_ids), prompt, len(prepared.spans), fixed)

    def _step_seconds(self, model: Any, ids: Sequence[int]) -> float:
        import torch

        from interplay.scoring.forward import last_logits

        t = self.training
        length = _mean_length(t.dataset)
        device = input_device(model)
        rows = torch.tensor((list(ids) * (length // len(ids) + 1))[:length], device=device).expand(t.batch, -1)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            last_logits(model, rows, 1).sum().item()  # waits for the device
            seconds.append(time.perf_counter() - start)
        return max(1e-9, TRAINING_PER_FORWARD * t.accumulation * sorted(seconds)[1])

    def _found_units(self) -> dict[int, list[Unit]]:
        """Measurements of an earlier process, valid to the last prompt."""
        found = {}
        for step in sorted(self.kept.hashes):
            units = [question.saved(self.folder) for question in self._questions(step)]
            if all(units):
                found[step] = [u for u in units if u is not None]
        if lost := sorted(set(self.kept.hashes) - set(found)):
            self._note(f"the units of steps {lost} are missing or damaged, so the rule goes on without them")
            for step in lost:
                del self.kept.hashes[step]
        return found

    # ---- measurements ----------------------------------------------------------------------------------------------------

    def _questions(self, step: int) -> list[Question]:
        assert self.kept.calibration is not None
        weights, tolerance = (self.kept.base, self.kept.hashes[step]), self.kept.calibration.tolerance
        return [
            Question(step_name(step), i, step, *weights, prepared, tolerance, self.settings)
            for i, prepared in enumerate(self.prompts.prepared)
        ]

    def read(self, model: Any, step: int) -> None:
        """Score and solve every prompt as the model is now, into the folder; the weights are those in memory."""
        with lent(model):
            self.kept.hashes[step] = weights_sha256(model, trained=True)
            try:
                if self.kept.calibration is None:
                    found = survey(model, self.prompts.prepared, self.settings)
                    refuse_noise(found, self.settings, self._note)
                    self.kept.calibration = found
                units = measure(self.folder, model, self._questions(step))
            except BaseException:
                del self.kept.hashes[step]
                raise
        self.units[step] = [u for u in units if u is not None]
        record.write_kept(self.folder, self.kept)

    def judgement(self) -> Judgement:
        """What the rule says of all measurements so far."""
        steps = sorted(self.units)
        measurements = Measurements.of_units(
            steps,
            [[u.scores for u in self.units[step]] for step in steps],
            [[u.effects for u in self.units[step]] for step in steps],
        )
        return judge(measurements, patience=self.wanted.patience, seed=self.wanted.seed)

    def loss(self, judged: Judgement, step: int) -> float:
        """The interaction loss of a measured step."""
        return float(judged.losses[sorted(self.units).index(step)])

    def saved(self, step: int) -> None:
        """The trainer has saved a checkpoint of this step."""
        if step not in self.kept.saved:
            self.kept.saved = sorted([*self.kept.saved, step])
            record.write_kept(self.folder, self.kept)

    # ---- the folder ---------------------------------------------------------------------------------------------------

    def write_tables(self, history: Sequence[Mapping[str, Any]], more: Sequence[str] = (), *, page: bool) -> None:
        """Every table of a run folder from the measurements so far, and its page."""
        from interplay.analysis.results import analyse
        from interplay.callback.logged import task_table

        if not self.units:
            raise InterplayError("no measurement was made, so there is nothing to write a report of")
        settings, plan, steps = self.settings, self.plan, sorted(self.units)
        # What can be kept: saved, measured, and not deleted since by save_total_limit.
        where, later = Path(str(settings.checkpoints.folder)), [s for s in self.kept.saved if s > steps[0]]
        there = tuple(s for s in later if s in self.units and (where / f"checkpoint-{s}").is_dir())
        watched = "watched while it ran; losses and metrics are the trainer's own"
        planned = f"{plan.prompts} prompts of {plan.n} words every {plan.every} steps"
        record.write_record(
            self.folder,
            self.kept,
            steps,
            self.prompts,
            self.inputs,
            self.tokenizer,
            notes=tuple(dict.fromkeys([*self.notes, *more])),
            saved=there or None,
            subtitle=f"{settings.model.name} · {settings.data.prompts} · {self.training.how}",
            method=(("Training", self.training.how, watched), ("Plan", planned, _limit(self.wanted))),
        )
        analyse(self.folder, settings, task_table(history, steps))
        if page:
            record.write_page(self.folder, {"measurements": self.meter.seconds})


def _limit(wanted: Wanted) -> str:
    share = wanted.max_overhead
    return "no limit on their cost" if share is None else f"at most {share:.0%} of the training time"


def _dtype(model: Any) -> str:
    """Of the embeddings, as settings spell it: quantised weights elsewhere say nothing about the scores' precision."""
    name = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    return name if name in _DTYPES else "float32"


def _mean_length(dataset: Any) -> int:
    """Mean number of tokens of some rows spread over the training set; a guess where rows are not tokenised."""
    try:
        size = len(dataset)
        picks = sorted({i * size // ROWS_LOOKED_AT for i in range(ROWS_LOOKED_AT)})
        lengths = [len(dataset[i]["input_ids"]) for i in picks]
    except Exception:  # a streamed data set, one of another shape: any of them may raise what it likes
        return TOKENS_GUESSED
    return max(1, round(sum(lengths) / len(lengths))) if lengths else TOKENS_GUESSED
