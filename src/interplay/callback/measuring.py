"""The readings of one training: the answers to all prompts at one step, at a few steps their interactions, and their run folder.

The folder is a run folder as of `interplay track` at the steps that were read in full, plus `callback.json`, by which a resumed
training finds its earlier readings.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from timeit import repeat, timeit
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from interplay.analysis.about import weak_notes
from interplay.analysis.measured import calibration_of
from interplay.analysis.payload import build_payload
from interplay.analysis.results import analyse, write_frame
from interplay.atomic import write_text
from interplay.callback.answers import read_answers
from interplay.callback.budget import MAX_PROMPTS, MIN_PROMPTS, MIN_WORDS, Costs, Meter, Plan, choose_plan
from interplay.callback.following import Follower, RefusedAuditError, training_rows
from interplay.callback.model import borrowed, weights_sha256
from interplay.callback.options import CallbackOptions
from interplay.callback.prompts import (
    choose_prompts,
    context_note,
    read_prompts,
    some_rows,
    template_kwargs,
)  # fmt: skip
from interplay.config.loading import dump_settings
from interplay.config.settings import NO_CONTROLS, Settings
from interplay.data.prompts import template_hash, uses_chat
from interplay.data.template import TODAY, PromptTemplate
from interplay.data.words import WORDS_PER_PROMPT
from interplay.dynamics.contrast import contrast
from interplay.dynamics.measures import loss_of, rho, scale
from interplay.dynamics.sets import TABLE_SETS, partition
from interplay.effects import extract
from interplay.effects.interactions import chosen_names
from interplay.errors import InterplayError
from interplay.models.length import context_length
from interplay.models.loading import DTYPES
from interplay.models.placement import input_device
from interplay.pipeline.inputs import Inputs
from interplay.pipeline.measure import Question, measure, refuse_noise
from interplay.recommendation.logged import LOSS, METRIC
from interplay.recommendation.stopping import interaction_loss, stop_step
from interplay.report import write
from interplay.scoring.forward import last_logits
from interplay.scoring.precision import is_rounded
from interplay.scoring.scores import Guard, score_prepared
from interplay.store.conditions import Calibration, Omitted, Record, offsets, step_name
from interplay.store.files import sha256_json, sweep, write_json
from interplay.store.folder import RunFolder, check_format, environment, refuse_links, write_format
from interplay.store.units import Unit, with_effects
from interplay.task.metrics import COLUMNS, METRICS, eval_set

STRONGEST = 20  # changes in the table of trackers [ours]
FORWARDS_PER_STEP = 3.0  # a training step costs about three forward passes of its tokens [ours]
DEFAULT_LENGTH = 256  # tokens of a training row, if its length cannot be read [ours]
ROWS_SAMPLED = 32  # training rows whose length is read
_RECORD = "callback.json"
_SPEED = ["eval_runtime", "eval_samples_per_second"]  # in a Trainer's log; their product is how many rows it evaluates
_RESULTS = (
    "*.parquet", "report.*", "recommendation.json", "controls.json", "measured.json", "manifest.json", "times.json",
)  # fmt: skip


@dataclass
class CallbackRecord:
    """The content of `callback.json`."""

    request: str  # hash of prompts, words, template and base weights: only measurements of one request are comparable
    plan: Plan
    base: str  # hash of the parameters that training does not change
    calibration: Calibration | None = None
    hashes: dict[int, str] = field(default_factory=dict)  # step -> hash of the other parameters at each full reading
    # step -> (loss, rank) of each prompt's answer
    answers: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)  # steps of which the trainer saved a checkpoint
    today: date = TODAY  # when the training began, for chat templates that write the date

    @classmethod
    def read(cls, folder: Path) -> "CallbackRecord | None":
        """The record of an earlier process; None if missing or damaged."""
        try:
            return TypeAdapter(cls).validate_json((folder / _RECORD).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, folder: Path) -> None:
        """Write `callback.json`, and `weights.json` with the saved checkpoints."""
        write_json(folder / _RECORD, TypeAdapter(CallbackRecord).dump_python(self, mode="json"))
        checkpoints = {str(step): self.hashes.get(step) for step in self.saved}  # None: read without interactions
        write_json(folder / "weights.json", {"base": self.base, "checkpoints": checkpoints})


def take_folder(folder: Path, step: int, request: str) -> tuple[CallbackRecord | None, str | None]:
    """Prepare the folder for a training at `step`; returns its record up to there, and a note if that was lost.

    Removes later measurements. Raises InterplayError for a folder that the callback did not write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [p.name for p in folder.iterdir() if not p.name.endswith(".tmp")]
    except OSError as error:
        raise InterplayError(f"cannot write {str(folder)!r}: {error.strerror}; give another folder=") from error
    if names and _RECORD not in names:
        raise InterplayError(f"{str(folder)!r} is not empty and was not written by this callback: give another folder=")
    refuse_links(folder)
    if "settings.yaml" in names:
        check_format(folder)
    sweep(folder)
    record, note = CallbackRecord.read(folder), None
    if record is None or record.request != request or step == 0:
        why = f"{_RECORD} is damaged" if record is None else "earlier measurements are of other prompts or words"
        record, note = None, f"{why}: the rule starts over at step {step}" if step and names else None
    if record is None:
        (folder / "audit.json").unlink(missing_ok=True)
    for path in (path for pattern in _RESULTS for path in folder.glob(pattern)):
        path.unlink()
    for path in (folder / "units").glob("step-*"):
        found = re.fullmatch(r"step-(\d{6,})", path.name)
        if found and (record is None or int(found[1]) > step) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
    if record is not None:
        record.hashes = {s: sha for s, sha in record.hashes.items() if s <= step}
        record.answers = {s: found for s, found in sorted(record.answers.items()) if s <= step}
        record.saved = [s for s in record.saved if s <= step]
    return record, note


class Measurer:
    """The readings of one training. Every method may raise; the caller decides what an error costs.

    `dataset`: the training rows, to time a training step. `every`: steps between evaluations that need the metric, if any do.
    `full`: how many new lows are read in full at most; None: every reading. `how`: description of the training for the page.
    """

    def __init__(
        self,
        options: CallbackOptions,
        args: Any,
        state: Any,
        model: Any,
        tokenizer: Any,
        *,
        dataset: Any,
        every: int | None,
        full: int | None,
        how: str,
        folder: Path,
        meter: Meter,
        warn: Callable[[str], None],
    ) -> None:
        self.options, self.args, self.state, self.tokenizer = options, args, state, tokenizer
        self.how, self.folder, self.meter, self._warn, self.full = how, folder, meter, warn, full
        given, differ = options.chat_template_kwargs, None
        if given is None:  # an argument of some trainers; SFTTrainer reads a column of the rows
            given = getattr(args, "chat_template_kwargs", None)
        if given is None:
            given, differ = template_kwargs(options.prompts, dataset)
        self.rows, self.expected = read_prompts(options.prompts, options.template, given), ""
        self.notes: list[str] = []
        for line in filter(None, [*self.rows.notes, differ]):
            self._note(line)
        with borrowed(model):
            self._open(model, dataset, every, given)

    def _open(self, model: Any, dataset: Any, every: int | None, given: Mapping[str, Any] | None) -> None:
        options = self.options
        self.tokenizer.context_length = length = context_length(model.config)
        self.follower = None
        if options.audit is not None:  # before anything of an earlier training is removed: it may be refused
            try:
                train = training_rows(options, dataset, given) if options.audit is True else None
                self.follower = Follower(options, self.rows, train, self.tokenizer, self._note)
            except InterplayError as error:
                raise RefusedAuditError(f"audit: {error}") from None
        base = weights_sha256(model, trained=False)
        request = self._request(base)
        record, note = take_folder(self.folder, self.state.global_step, request)
        if note:
            self._note(note)
        # As training rows were rendered; the request must not change with the day.
        today = date.today() if record is None else record.today
        self.rows = replace(self.rows, template=replace(self.rows.template, today=today))
        if self.follower is not None:
            self.follower.write(self.rows)
            if record is not None:
                self.follower.resume(self.folder / "audit.json", self.state.global_step)
        if record is None:
            record = CallbackRecord(request, self._plan(model, dataset, every), base, today=today)
        elif options.max_overhead is None:
            record.plan = replace(record.plan, every=options.every)
        self.record, self.plan = record, record.plan
        self.prompts, self.prepared = choose_prompts(self.rows, self.tokenizer, options, self.plan.prompts, self.plan.n)
        cut = getattr(self.args, "max_length", None), "the trainer's max_length"
        said = [*self.prompts.notes, *length.notes("prompts", [p.positions for p in self.prepared], cut)]
        if (few := len(self.prepared)) < MIN_PROMPTS:
            said.append(f"only {few} prompt{'s' if few > 1 else ''} can be used: give a dozen or more held-out rows")
        for line in filter(None, [*said, context_note(self.prepared, dataset, self.tokenizer)]):
            self._note(line)
        self.among = max(len(p.among or ()) for p in self.prepared)
        self.settings = self._settings(model)
        self.inputs = Inputs(  # of a run whose training rows are not known
            train=(),
            eval=(),
            labels=self.rows.labels,
            prompts=self.prompts.samples,
            template=PromptTemplate(chat=False) if self.rows.verbatim else self.rows.template,
            omitted=tuple(Omitted("prompts", s.id, s.reason) for s in self.prompts.skipped),
            notes=self.prompts.notes,
        )
        write_format(self.folder)
        write_text(self.folder / "settings.yaml", dump_settings(self.settings))
        write_json(self.folder / "environment.json", environment())
        write_json(self.folder / "inputs.json", {"fingerprint": self.inputs.fingerprint(), **self.inputs.describe()})
        self.units = self._earlier_units()
        self.begin = min(record.answers, default=self.state.global_step)
        if not self.units and not note and any(METRIC in entry for entry in self.state.log_history):
            self._note(f"the measurements of this training are not in {str(self.folder)!r}: the rule starts over")
        record.write(self.folder)

    def _note(self, line: str) -> None:
        self.notes.append(line[:1].upper() + line[1:] + ".")
        self._warn(line)

    def _request(self, base: str) -> str:
        rows = [[r.id, [(m.role, m.content) for m in r.messages], r.text_start, r.target] for r in self.rows.rows]
        wording = [template_hash(self.tokenizer, self.rows.template), self.rows.verbatim]
        o = self.options
        return sha256_json([base, rows, wording, o.n, o.num_prompts, o.seed, o.target_tokens, o.among_labels, o.mask])

    def _plan(self, model: Any, dataset: Any, every: int | None) -> Plan:
        options = self.options
        available = min(len(self.rows.rows), MAX_PROMPTS if options.num_prompts is None else options.num_prompts)
        n = WORDS_PER_PROMPT if options.n is None else options.n
        if options.max_overhead is None:
            return Plan(available, n, options.every)
        costs = self._costs(model, dataset)
        plan = choose_plan(
            costs,
            steps=max(1, self.state.max_steps - self.state.global_step),
            every=options.every if every is None else min(options.every, every),
            max_overhead=options.max_overhead,
            full=None if self.full is None else self.full + 2,
            n=options.n,
            prompts=options.num_prompts,
            available=available,
            fixed_every=every is not None,
            spent=self.meter.seconds,
        )
        self.meter.next = {"light": costs.light(plan.prompts), "full": costs.full(plan.prompts, plan.n)}
        fulls = 1 + len(range(0, self.state.max_steps, plan.every)) if self.full is None else self.full + 2
        seconds = fulls * self.meter.next["full"] + self.state.max_steps / plan.every * self.meter.next["light"]
        self.expected = f", about {seconds / max(1, self.state.max_steps) / costs.step:.1%} of the training time"
        return plan

    def _costs(self, model: Any, dataset: Any) -> Costs:
        """Measure the seconds of answers, of interactions, of hashing the weights, and of a forward pass of a training batch."""
        import torch

        n, answer, times = self.options.n, 0.0, {}
        guard: dict[str, Any] = {"noise_coalitions": 0, "guard": Guard(agreed=True)}
        for words in sorted({min(w, n or w) for w in (MIN_WORDS, MIN_WORDS + 2)}):
            _, several = choose_prompts(self.rows, self.tokenizer, self.options, MIN_PROMPTS, words)
            one = several[0]
            score_prepared(model, one, coalitions=np.array([0, 1]))  # the first passes of a process are slow
            times[2 ** len(one.spans)] = timeit(lambda p=one: extract(score_prepared(model, p, **guard)), number=1)
            answer = timeit(lambda p=several: read_answers(model, p), number=1) / len(several)
        (few, least), (many, most) = min(times.items()), max(times.items())
        coalition = max(0.0, (most - least) / (many - few)) if many > few else least / few
        fixed = 0.0 if (follower := self.follower) is None else timeit(lambda: follower.ask(model), number=1)
        hashing = timeit(lambda: weights_sha256(model, trained=True), number=1)
        ids, length = list(several[0].input_ids), _mean_length(dataset)
        row = torch.tensor((ids * (length // len(ids) + 1))[:length], device=input_device(model))
        rows = row.expand(self.args.per_device_train_batch_size, -1)
        forward = sorted(repeat(lambda: last_logits(model, rows, 1).sum().item(), repeat=3, number=1))[1]
        step = max(1e-9, FORWARDS_PER_STEP * self.args.gradient_accumulation_steps * forward)
        return Costs(step, answer, max(0.0, least - coalition * few), coalition, fixed, hashing)

    def _settings(self, model: Any) -> Settings:
        """The settings of `interplay track` on the checkpoints of this training."""
        options, template, output = self.options, self.rows.template, str(self.args.output_dir)
        # Of the embeddings: quantised weights elsewhere say nothing about the precision of the scores.
        dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
        name = getattr(model.config, "_name_or_path", "") or "a model in memory"
        wording = {key: getattr(template, key) for key in ("system", "template", "chat_template_kwargs", "today")}
        found = {
            "name": Path(output).name or "training",
            "seed": options.seed,
            "model": {"name": name, "dtype": dtype if dtype in DTYPES else "float32"},
            "data": {"prompts": self.rows.source},
            "prompt": {**wording, "chat": False if self.rows.verbatim else template.chat, "rephrased": None},
            "prompts": {"count": self.plan.prompts, "n": max(2, self.plan.n)},
            "checkpoints": {"folder": output, "steps": None},
            "scoring": {key: getattr(options, key) for key in ("mask", "target_tokens", "among_labels")},
            "task": {"kl": False},
            "controls": NO_CONTROLS,
        }
        return Settings.model_validate(found)

    def _earlier_units(self) -> dict[int, list[Unit]]:
        """Complete measurements of an earlier process, by step."""
        found = {}
        for step in sorted(self.record.hashes):
            units = [u for question in self._questions(step) if (u := question.saved(self.folder)) is not None]
            if len(units) == len(self.prepared):
                found[step] = self._split(units, found)
        if lost := sorted(self.record.hashes.keys() - found.keys()):
            self._note(f"the units of steps {lost} are missing or damaged, so the rule goes on without them")
            self.record.hashes = {step: self.record.hashes[step] for step in found}
        return found

    def _questions(self, step: int) -> list[Question]:
        weights = (self.record.base, self.record.hashes[step])
        return [Question(step_name(step), i, step, *weights, p, self.settings) for i, p in enumerate(self.prepared)]

    def _split(self, units: Sequence[Unit], earlier: Mapping[int, list[Unit]]) -> list[Unit]:
        """The units of a step with their effects, fused with those of the step before."""
        assert self.record.calibration is not None
        before = earlier[max(earlier)] if earlier else [None] * len(units)
        how = self.record.calibration.tolerance, self.settings.effects.duality_gap
        return [with_effects(unit, *how, b) for unit, b in zip(units, before, strict=True)]

    def read(self, model: Any, step: int) -> None:
        """Loss and rank of the answers under the weights in memory."""
        with borrowed(model):
            self.record.answers[step] = read_answers(model, self.prepared)
        self.record.write(self.folder)

    def is_new_low(self, step: int) -> bool:
        """Whether these answers have to be read in full: the first new low in a later part of the training than the last full
        reading, of as many parts as `full` and one [ours]. A loss that falls all the time is read in full as often."""
        losses, last = self.losses(LOSS), max(self.units, default=-1)
        before = [loss for s, loss in losses.items() if s < step]
        parts, steps = (self.full or 0) + 1, max(1, self.state.max_steps - self.begin)
        new = (step - self.begin) * parts // steps > (last - self.begin) * parts // steps
        return new and losses[step] < min(before, default=np.inf)

    def measure(self, model: Any, step: int) -> None:
        """Score and solve every prompt under the weights in memory, and write the units."""
        with borrowed(model):
            self.record.hashes[step] = weights_sha256(model, trained=True)
            try:
                first = self.record.calibration is None
                # The noise of 16 bits sets the tolerance; that of the others is rounding, and one prompt shows whether it is.
                guard = None if first and is_rounded(model) else Guard()
                units = [u for u in measure(self.folder, model, self._questions(step), guard) if u is not None]
                if first:
                    found = calibration_of(units, self.settings.effects)
                    refuse_noise(found, self.settings, self._note)
                    self.record.calibration = found
            except BaseException:
                del self.record.hashes[step]
                raise
        self.units[step] = self._split(units, self.units)
        self.write_record()

    def follow(self, model: Any, step: int) -> dict[str, float]:
        """Put the rules of `audit=` into prompts, write audit.json; what trackers get of it."""
        if self.follower is None or not self.follower.rules:
            return {}
        with borrowed(model):
            self.follower.measure(model, step)
        found = self.follower.audit(self.settings.name, self.settings.model.name, len(self.rows.rows))
        write_text(self.folder / "audit.json", found.to_json())
        return self.follower.numbers()

    def losses(self, metric: str) -> dict[int, float]:
        """The mean loss of the answers, or the interaction loss where it was read, by step."""
        if metric == LOSS:
            return {step: float(np.mean([loss for loss, _ in each])) for step, each in self.record.answers.items()}
        loss = np.array([[loss_of(u.scores[-1]) for u in units] for units in self.units.values()])
        strength = np.array([[scale(u.effects, u.scores)["l1_per_sd"] for u in units] for units in self.units.values()])
        return dict(zip(self.units, interaction_loss(loss, strength).tolist(), strict=True)) if self.units else {}

    def stops(self, metric: str) -> bool:
        """Whether the rule recommends to stop by this metric."""
        losses = self.losses(metric)
        return stop_step([*losses], [*losses.values()], self.options.patience) is not None

    def numbers(self, step: int) -> dict[str, float]:
        """What trackers get of a reading besides losses: means over the prompts, the rank a median."""
        loss, rank = np.array(self.record.answers[step]).T
        found = {"probability": np.exp(-loss).mean(), "rank": np.median(rank)}
        if step in self.units:
            prompts = [[u.effects for u in units] for units in zip(*self.units.values(), strict=True)]
            sets = [partition(np.stack(effects), 0) for effects in prompts]
            found |= {name: np.mean([getattr(each, name)[-1].sum() for each in sets]) for name in TABLE_SETS}
            found["rho"] = np.mean([rho(now[-1], each.all[-1]) for now, each in zip(prompts, sets, strict=True)])
            full_empty = np.mean([u.scores[[-1, 0]] for u in self.units[step]], axis=0)
            found |= dict(zip(("score_full", "score_empty"), full_empty, strict=True))
        return {f"interplay/{name}": float(x) for name, x in found.items() if np.isfinite(x)}

    def changes(self) -> pd.DataFrame:
        """The strongest changes from the first full reading to the last, as of `RunReader.changes`."""
        (first, *_, last), step, rows = self.units.values(), max(self.units), []
        for a, b in zip(first, last, strict=True):
            for c in contrast(a.effects, b.effects).changes:
                said = step, a.header.sample_id, chosen_names(a.header.words, c.mask), c.type, c.before, c.after
                rows.append((*said, c.change, c.outcome, np.nan))
        names = ["step", "sample", "words", "kind", "effect_reference", "effect", "change", "outcome", "floor"]
        found = pd.DataFrame(rows, columns=names)
        return found.sort_values("change", key=abs, ascending=False, kind="stable", ignore_index=True)[:STRONGEST]

    def checkpoint_saved(self, step: int) -> None:
        """The trainer has saved a checkpoint of this step."""
        self.record.saved = sorted({*self.record.saved, step})
        self.write_record()

    def write_tables(self, notes: Sequence[str] = (), *, last: bool) -> None:
        """Write every table of a run folder from the readings so far, and its page; at the last, what there is to warn of."""
        self.write_record(notes)
        recommended, run = analyse(self.folder, self.settings), RunFolder(self.folder)
        if last:
            losses = self.losses(LOSS)
            trained = [loss for step, loss in losses.items() if step and np.isfinite(loss)]
            if recommended.basis == "base":
                self._warn(recommended.sentence[:-1])
            if trained and losses.get(0, np.inf) <= min(trained):
                self._warn(f"no reading has a lower {LOSS} than the base model ({losses[0]:.3g})")
            if self.follower is not None and (line := self.follower.grown()):
                self._warn(line)
            for line in weak_notes({step_name(s): u for s, u in self.units.items()}, sorted(self.units), self.among):
                self._warn(line)
            run.manifest.unlink(missing_ok=True)
        write(build_payload(run), self.folder / "report.html", folders=0)
        if last:
            run.finish({"measurements": self.meter.seconds})

    def opening(self) -> str:
        """What is read, how often, and what it costs."""
        plan, lows = self.plan, f"at most {self.full} new low{'s' * (self.full != 1)}"
        when = "at every reading" if self.full is None else f"at the first, the last and {lows}"
        said = f"the answers to {plan.prompts} prompts every {plan.every} steps, the interactions of their {plan.n} words {when}"
        return f"reading {said}{self.expected}; run folder {str(self.folder)!r}"

    def write_record(self, notes: Sequence[str] = ()) -> None:
        """What the tables are made from, in milliseconds: `interplay.Run` makes them where the training is killed before."""
        self.record.write(self.folder)
        if not self.units:
            return
        settings, plan, prompts = self.settings, self.plan, range(len(self.prepared))
        steps = tuple(sorted(self.units))
        limit = self.options.max_overhead
        allowed = "no limit on their cost" if limit is None else f"at most {limit:.0%} of the training time"
        also = f", and {len(self.follower.texts)} passes for {len(self.follower.rules)} rules," if self.follower else ""
        losses = self.losses(LOSS)
        lowest = min(losses, key=losses.__getitem__)
        read = f"loss of the answers: lowest {losses[lowest]:.3g} nats at step {lowest}"
        # Checkpoints that can be kept: saved, and not deleted since by save_total_limit.
        output = Path(self.args.output_dir)
        existing = tuple(s for s in self.record.saved if s and (output / f"checkpoint-{s}").is_dir())
        write_frame(
            self.folder / "task.parquet", task_table(self.state.log_history, sorted({*steps, *losses, *existing}))
        )
        Record(
            base_sha256=self.record.base,
            weights={step: self.record.hashes[step] for step in steps},
            conditions={step_name(step): tuple(prompts) for step in steps},
            words={1: offsets(self.inputs.prompts)},
            mask=self.prepared[0].absence.said,
            chat=uses_chat(self.tokenizer, self.inputs.template),
            template_hash=template_hash(self.tokenizer, self.inputs.template),
            among=self.among,
            task=("logged",),
            notes=tuple(dict.fromkeys([*self.notes, *notes])),
            omitted=self.inputs.omitted,
            saved=existing or None,
            subtitle=f"{settings.model.name} · {settings.data.prompts} · {self.how}",
            method=(
                ("Training", self.how, "watched while it ran; losses and metrics are the trainer's own"),
                ("Plan", f"{plan.prompts} prompts of {plan.n} words{also} every {plan.every} steps", allowed),
                ("Readings", f"{len(losses)}, {len(steps)} of them in full", read),
            ),
        ).write(self.folder)


def task_table(history: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> pd.DataFrame:
    """The trainer's log as a task table: per step the mean train loss since the step before, and the eval metrics.

    >>> log = [{"step": 5, "loss": 3.0}, {"step": 10, "loss": 1.0}, {"step": 10, "eval_loss": 2.5, "eval_code_loss": 1.5}]
    >>> task_table(log, [0, 10])[["step", "train_loss", "eval_loss", "eval_code_loss"]].values.tolist()
    [[0.0, nan, nan, nan], [10.0, 2.0, 2.5, 1.5]]
    """
    named = sorted({key for entry in history for key in entry if eval_set(key)} - {METRIC})
    logged = {metric.key: metric.logged for metric in METRICS.values() if metric.logged} | {key: key for key in named}
    log = pd.DataFrame(list(history)).reindex(columns=["step", "loss", *_SPEED, *logged.values()])
    log = log.apply(pd.to_numeric, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)
    table = pd.DataFrame({"step": np.array(steps, dtype=np.int64)}).reindex(columns=list(COLUMNS))
    for key, name in logged.items():
        table[key] = log.dropna(subset=name).groupby("step")[name].last().reindex(steps).to_numpy()
    table["rows"] = log[_SPEED].prod(axis=1, min_count=2).groupby(log["step"]).last().reindex(steps).round().to_numpy()
    since = (log["step"].between(a, b, inclusive="right") for a, b in zip([0, *steps], steps, strict=False))
    table["train_loss"] = [log["loss"][rows].mean() for rows in since]
    return table.astype(dict.fromkeys(COLUMNS[1:], "float64"))


def _mean_length(dataset: Any) -> int:
    """Mean number of tokens of some training rows; a default if they are not tokenised."""
    lengths = [len(row["input_ids"]) for row in some_rows(dataset, ROWS_SAMPLED) if row.get("input_ids") is not None]
    return max(1, round(sum(lengths) / len(lengths))) if lengths else DEFAULT_LENGTH
