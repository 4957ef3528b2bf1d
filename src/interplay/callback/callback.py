"""`InteractionCallback`: reads prompts at the events of a training, and turns readings into a metric, a best checkpoint, a stop."""

import atexit
import contextlib
import json
import math
import sys
import warnings
import weakref
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from interplay.analysis.summary import strongest_change
from interplay.callback.budget import Meter
from interplay.callback.following import RefusedAuditError
from interplay.callback.measuring import LOSS, METRIC, CallbackRecord, Measurer
from interplay.callback.model import random_states_restored, sharded_by
from interplay.callback.options import LOWS, CallbackOptions, check_options
from interplay.callback.prompts import copy_tokenizer
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.secrets import redact
from interplay.text import ascii_safe

SENT = 16_384  # bytes of a broadcast, room for ten names of 100 characters of six bytes
TABLE_SECONDS = 1.0  # about what writing the tables takes on a slow processor [ours]


class Measurement(NamedTuple):
    """One measurement as all processes know it: numbers, so that it can be broadcast as JSON."""

    measured: float = 0.0  # whether this step was read
    full: float = 0.0  # whether its interactions were
    losses: Mapping[str, float] = {}  # finite losses of this step by metric
    stop: float = 0.0  # whether the rule recommends to stop
    errors: float = 0.0  # number of readings that have failed so far
    overhead: float = 0.0  # seconds of readings over seconds of training
    seconds: float = 0.0  # seconds spent in total
    every: float = 0.0  # planned steps between readings
    raised: float = 0.0  # whether the measuring process is about to raise (strict)
    scalars: Mapping[str, float] = {}  # what else trackers get, by its name there


class InteractionCallback(TrainerCallback):
    """Reads the answers to a few held-out prompts while a model trains, and at a few steps their interactions.

    Works in transformers' Trainer and TRL's SFTTrainer. Training with it is bit-equal to training without it.
    It adds `eval_prompts_loss`, the mean loss of the answers, to the metrics of an evaluation, and `eval_interaction_loss` where it
    reads in full; lower is better, for `metric_for_best_model`. See docs/how-to/callback.md.

    Args:
        prompts: held-out rows with their answers: a datasets.Dataset, a list of dicts or a file; text and label, prompt and
            completion, or messages.
        every: optimiser steps between readings. The last step, and steps that are saved or whose evaluation needs the
            metric, are read too.
        full: which readings have interactions: a number n for the first, the last and at most n new lows of the loss between,
            each in another part of the training; saved for those and every step that is saved; every for all. All are, where
            `metric_for_best_model` names the interaction loss.
        patience: readings in a row without a new low after which `stop=True` stops.
        max_overhead: fraction of the training time that all readings may take. From timings at the start it sets
            num_prompts, n and every; later it leaves out readings that would exceed it, except those of the first and the last step
            and those that `metric_for_best_model` needs. None: no limit and no timing, so two trainings read the same.
        n: words per prompt, 2 to 16, which take 2^n evaluations; None: 8, or fewer to stay under the limit.
        num_prompts: number of prompts; None: 16, or fewer to stay under the limit.
        stop: stop training, by the loss of the answers or by `metric_for_best_model`, and keep the best checkpoint where there is
            no eval set. docs/evidence/stopping.md says what stopping cost. False leaves both to the trainer, unless
            `metric_for_best_model` names one of the metrics.
        strict: raise errors instead of warning and training on.
        folder: run folder for `interplay report`; default `interplay` in the trainer's output folder.
        template: wording of bare texts, such as "Sentence: {text}"; conversations use the trainer's chat template.
        chat_template_kwargs: variables of the chat template; None: those in the rows' column of that name, if there is one.
        seed: for the choice of prompts and words.
        target_tokens: which tokens of the answer are scored: first (the paper's), word, a number of them, or auto.
        among_labels: score an answer among the labels (auto: where rows have two), not against the whole vocabulary (the paper's).
        mask: what absent words become, as in `interplay.score`; a swap takes words of the prompt data.
        audit: rules whose words are put into prompts at each reading, to see when they come: an `interplay.Audit`, its
            `audit.json`, or True for the words and pairs that the training rows point to.
        train: training rows for `audit=True`, as `prompts`; None: those of the trainer.

    >>> InteractionCallback([{"text": "It rains again", "label": "joy"}], audit=True).options.audit
    True

    Raises InterplayError at construction for arguments that cannot be used, and when training begins for an audit of other
    labels or training rows that cannot be read.
    """

    def __init__(
        self,
        prompts: Any,
        *,
        every: int = 50,
        full: int | str = LOWS,
        patience: int = 3,
        max_overhead: float | None = 0.05,
        n: int | None = None,
        num_prompts: int | None = None,
        stop: bool = False,
        strict: bool = False,
        folder: str | Path | None = None,
        template: PromptTemplate | str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        seed: int = 0,
        target_tokens: int | str = "auto",
        among_labels: bool | str = "auto",
        mask: str | int = "auto",
        audit: Any = None,
        train: Any = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in CallbackOptions.model_fields}
        self.options = check_options(**given)
        self.stop, self.strict = bool(stop), bool(strict)
        self.folder = None if folder is None else Path(folder)
        self._attached: Callable[[], Any] = lambda: None
        self._active = False

    def attach(self, trainer: Any) -> "InteractionCallback":
        """Add the callback to an existing trainer."""
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        self._attached = weakref.ref(trainer)
        return self

    def on_train_begin(self, args, state, control, model=None, processing_class=None, train_dataloader=None, **kwargs):
        trainer = self._attached() or _calling_trainer()
        self._trainer: Callable[[], Any] = (lambda: None) if trainer is None else weakref.ref(trainer)
        self._is_first = not _several_processes() or dist.get_rank() == 0
        self._device, self._meter = args.device, Meter()
        self._measurer: Measurer | None = None
        self._active, self._began, self._errors = True, False, 0
        self._measurements: dict[int, Measurement] = {}
        self._asked = -1  # step at which a full reading was last asked for
        self._state, self._start, full = state, state.global_step, self.options.full
        self._unlogged: dict[str, float] = {}
        self._warned: set[str] = set()
        named = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
        self._is_metric = named in (LOSS, METRIC)
        self._metric = named if self._is_metric else LOSS
        self._all_full = full == "every" or named == METRIC
        self._evaluates = args.eval_strategy.value != "no"
        none = args.metric_for_best_model is None
        self._keeps_best = not self._evaluates if self._is_metric else none and self.stop
        self._check_arguments(args, trainer)

        def open_measurer() -> Measurement:
            if by := sharded_by(model):
                raise InterplayError(f"the weights are sharded by {by}, so no process can read them all")
            every = None
            if self._is_metric and self._evaluates:
                by_epoch = -(-state.max_steps // max(1, state.num_train_epochs))
                every = int(state.eval_steps) if args.eval_strategy.value == "steps" else by_epoch
            with self._meter.spending():
                self._measurer = Measurer(
                    self.options,
                    args,
                    state,
                    model,
                    copy_tokenizer(processing_class, getattr(trainer, "chat_template", None)),
                    dataset=getattr(trainer, "train_dataset", getattr(train_dataloader, "dataset", None)),
                    every=every,
                    full=None if self._all_full else LOWS if isinstance(full, str) else full,
                    how=_describe(trainer, args, state, model),
                    folder=self.folder or Path(args.output_dir) / "interplay",
                    meter=self._meter,
                    warn=self._warn,
                )
            if self._measurer.units:
                self._write_tables(self._measurer)
            _say(self._measurer.opening())
            return Measurement(every=self._measurer.plan.every)

        opened = self._on_first_process(open_measurer, "the prompts cannot be read")
        self._every = int(opened.every) or self.options.every
        self._remember(state.global_step, opened)
        self._measure(state, model, lambda measurer: not measurer.units, full=True)
        atexit.register(self._finish)  # after an error or an interrupt no event comes

    def on_epoch_begin(self, args, state, control, **kwargs):
        if self._active:
            self._log(args, state, control)  # the first measurement, now that every callback has begun

    def on_step_begin(self, args, state, control, **kwargs):
        if self._active and not self._began:
            self._began = True
            self._meter.begin()

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if not self._active:  # added in the middle of a training
            return control
        step, needed = state.global_step, control.should_evaluate and self._is_metric
        last = step >= state.max_steps
        if step % self._every == 0 or last or control.should_save or needed:
            # Never skip the last one: else an early checkpoint would count as the best.
            full = last or (control.should_save and self.options.full == "saved")
            self._measure_and_log(args, state, control, model, must=needed or last, full=full)
            if self._stop_if_recommended(state, control):  # save and evaluate, as the trainer does at its own last step
                control.should_save |= args.save_strategy.value == "steps"
                control.should_evaluate |= args.eval_strategy.value == "steps"
            self._keep_best(args, state, control)
        return control

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        needed = control.should_evaluate and self._active and self._is_metric
        last = control.should_training_stop  # stopped early, at an evaluation after `on_step_end`
        if self._active and (control.should_save or needed or last):
            full = last or (control.should_save and self.options.full == "saved")
            self._measure_and_log(args, state, control, model, must=needed or last, full=full)
            self._stop_if_recommended(state, control)
            self._keep_best(args, state, control)
        return control

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        if not self._active or metrics is None or not self._is_first_eval_set(metrics):
            return control
        if self._is_metric:
            self._measure_and_log(args, state, control, model, must=True)
        read = self._measurements.get(state.global_step, Measurement()).losses
        # The trainer raises KeyError without its metric. With infinity a checkpoint that was not read is never the best.
        metrics |= ({self._metric: math.inf} if self._is_metric else {}) | dict(read)
        self._stop_if_recommended(state, control)
        return control

    def on_save(self, args, state, control, **kwargs):
        if self._active and self._measurer is not None:
            try:
                self._measurer.checkpoint_saved(state.global_step)
            except Exception as error:  # raised on one process alone it would leave the others waiting
                self._warn_of(error, "the run folder cannot be written")

    def on_train_end(self, args, state, control, **kwargs):
        if self._active:
            self._on_first_process(self._finish, "the report cannot be written")
            self._active = False

    def _finish(self) -> Measurement:
        """The last tables and the page, however the training ends."""
        atexit.unregister(self._finish)
        measurer, self._measurer = self._measurer, None
        if measurer is not None and CallbackRecord.read(measurer.folder) != measurer.record:
            self._warn(f"another training has taken {str(measurer.folder)!r}: this one has no page")
        elif measurer is not None and measurer.units:
            failed = [f"{self._errors} measurements failed."] if self._errors else []
            done, of = self._state.global_step, self._state.max_steps
            failed += [f"The training ended at step {done} of {of}."] if done < of else []
            measurer.write_tables(failed, last=True)
            change = f"{strongest_change(measurer.changes(), min(measurer.units))} " if len(measurer.units) > 1 else ""
            _say(f"{change}Page: {measurer.folder / 'report.html'}")
        return Measurement()

    def _measure_and_log(
        self, args: Any, state: Any, control: Any, model: Any, *, must: bool, full: bool = False
    ) -> None:
        """Read this step once, unless it would cost too much and is not a must; in full where it was not."""
        step, before = state.global_step, self._measurements.get(state.global_step)
        if before is None or (full and before.measured and not before.full and self._asked != step):
            self._asked = step if full else self._asked  # what failed is not tried again
            ahead = self._meter.next["light"]
            self._measure(state, model, lambda _: must or full or self._affords(ahead, light=True), full=full)
            self._log(args, state, control)
            self._show_changes(state)

    def _progress(self) -> float:
        """The fraction of this training's steps that are done."""
        return (self._state.global_step - self._start) / max(1, self._state.max_steps - self._start)

    def _affords(self, seconds: float, *, light: bool = False) -> bool:
        return self._meter.allows(self.options.max_overhead, self._progress(), seconds, light=light)

    def _measure(self, state: Any, model: Any, wanted: Callable[[Measurer], bool], *, full: bool) -> None:
        """The answers, unless they are known, and where it is due the interactions. What was read of one stands if the other fails."""
        measurer, step = self._measurer, state.global_step

        def read() -> Measurement:
            if measurer is None or not wanted(measurer):
                return Measurement()
            with self._meter.spending("light"):
                measurer.read(model, step)
                rules: dict[str, float] = {}
                with self._warn_unless_strict("the rules of audit= could not be followed"):
                    rules = measurer.follow(model, step)
            return self._reading(measurer, step, rules)

        def measure() -> Measurement:
            if measurer is None or not (full or self._all_full or self._is_new_low(measurer, step)):
                return Measurement()
            with self._meter.spending("full"):
                measurer.measure(model, step)
            count = len(measurer.units)
            if count & (count - 1) == 0 and self._affords(TABLE_SECONDS):
                self._write_tables(measurer)  # at 1, 2, 4, 8, ... of them: together about as expensive as the last
            return self._reading(measurer, step, {})

        if step not in self._measurements:
            self._remember(step, self._on_first_process(read, "the answers could not be read"))
        if self._measurements.get(step, Measurement()).measured:
            self._remember(step, self._on_first_process(measure, "a measurement failed"))

    def _is_new_low(self, measurer: Measurer, step: int) -> bool:
        left = -(-(self._state.max_steps - step) // self._every)  # readings to come
        seconds = 2 * self._meter.next["full"] + left * self._meter.next["light"]
        return measurer.is_new_low(step) and self._affords(seconds)

    def _reading(self, measurer: Measurer, step: int, rules: dict[str, float]) -> Measurement:
        full = step in measurer.units
        losses = {name: measurer.losses(name)[step] for name in (LOSS, METRIC)[: 1 + full]}
        losses = {name: loss for name, loss in losses.items() if math.isfinite(loss)}
        stop = self.stop and measurer.stops(self._metric)
        return Measurement(1.0, float(full), losses, float(stop), scalars=rules | measurer.numbers(step))

    def _write_tables(self, measurer: Measurer) -> None:
        """The tables so far, so that a training that is killed has a report."""
        with self._warn_unless_strict("the tables of the run folder cannot be written"), self._meter.spending():
            measurer.write_tables(last=False)

    def _on_first_process(self, work: Callable[[], Measurement], what: str) -> Measurement:
        """Run `work` on the first process and broadcast its result. An error is counted there, and raised if strict or a refusal.

        Processes that disagree about stopping would deadlock, so everything that steers training goes through here.
        """
        failed: Exception | None = None
        result = Measurement()
        if self._is_first:
            errors = self._errors
            try:
                with random_states_restored():
                    result = work()
            except Exception as error:
                failed, errors = error, errors + 1
                raised = self.strict or isinstance(error, RefusedAuditError)
                result = Measurement(raised=float(raised))
                if not raised:
                    self._warn_of(error, what)
            spent = self._meter.overhead(self._progress())
            result = result._replace(errors=errors, overhead=spent, seconds=self._meter.seconds)
        result = _broadcast(result, self._device)
        if result.raised:
            raise failed or InterplayError(f"{what}: see the error of the first process")
        return result

    def _remember(self, step: int, measurement: Measurement) -> None:
        """Keep a measurement or a failed one for this step and for the log."""
        failed, self._errors = measurement.errors > self._errors, int(measurement.errors)
        if not measurement.measured and not failed:
            return
        if measurement.measured or step not in self._measurements:
            self._measurements[step] = measurement
        numbers = {**measurement.losses, **measurement.scalars}
        numbers["interaction_overhead"] = round(measurement.overhead, 6) if math.isfinite(measurement.overhead) else 0.0
        numbers["interaction_seconds"] = round(measurement.seconds, 3)
        if self._errors:
            numbers["interaction_errors"] = self._errors
        self._unlogged |= numbers

    def _log(self, args: Any, state: Any, control: Any) -> None:
        """Append the numbers to the log history, and hand them to every callback's `on_log`.

        Not by `Trainer.log`, which in SFTTrainer resets averages, nor by `callback_handler.on_log`, which clears `should_log`.
        """
        trainer = self._trainer()
        numbers, self._unlogged = self._unlogged, {}
        if numbers:
            logs = numbers if state.epoch is None else {**numbers, "epoch": state.epoch}
            state.log_history.append({**logs, "step": state.global_step})
            if trainer is not None:
                with self._warn_unless_strict("a tracker refused the numbers"):
                    trainer.callback_handler.call_event("on_log", args, state, control, logs=logs)

    def _show_changes(self, state: Any) -> None:
        """The strongest changes as a table in W&B and trackio, as text in TensorBoard. As a last step ends: trackers close before us."""
        measurer, trainer = self._measurer, self._trainer()
        if measurer is None or trainer is None or state.global_step not in list(measurer.units)[1:]:
            return
        with self._warn_unless_strict("a tracker refused the table of changes"):
            table = measurer.changes().drop(columns="floor")
            table["words"] = [" ".join(words) for words in table["words"]]
            for other in trainer.callback_handler.callbacks:
                if module := getattr(other, "_wandb", None) or getattr(other, "_trackio", None):
                    found = {"interplay/changes": module.Table(dataframe=table), "train/global_step": state.global_step}
                    module.log(found)
                elif writer := getattr(other, "tb_writer", None):
                    lines = [[*table], ["---"] * len(table.columns), *table.round(3).to_numpy().tolist()]
                    text = "\n".join(" | ".join(str(cell).replace("|", "/") for cell in line) for line in lines)
                    writer.add_text("interplay/changes", text, state.global_step)

    def _loss(self, step: int) -> float | None:
        return self._measurements.get(step, Measurement()).losses.get(self._metric)

    def _stop_if_recommended(self, state: Any, control: Any) -> bool:
        stop = bool(self._measurements.get(state.global_step, Measurement()).stop)
        control.should_training_stop |= stop
        return stop

    def _keep_best(self, args: Any, state: Any, control: Any) -> None:
        """Where the trainer does not: name this step the best so far, which saves it and protects it from rotation."""
        step, loss, strategy = state.global_step, self._loss(state.global_step), args.save_strategy.value
        if not self._keeps_best or step == 0 or loss is None or strategy == "no":
            return
        if strategy != "best" and not control.should_save:
            return
        # The best of a resumed state may be of another metric.
        losses = {entry["step"]: entry[self._metric] for entry in state.log_history if self._metric in entry}
        best = state.best_metric if losses.get(state.best_global_step) == state.best_metric else None
        if best is None or loss < best:
            state.best_metric, state.best_global_step = loss, step
            control.should_save = True

    def _is_first_eval_set(self, metrics: dict[str, float]) -> bool:
        """False in all but the first of several eval sets: early stopping would count one evaluation several times."""
        eval_sets = getattr(self._trainer(), "eval_dataset", None)
        others = list(eval_sets)[1:] if isinstance(eval_sets, dict) else []
        return not any(f"eval_{name}_runtime" in metrics for name in others)

    def _check_arguments(self, args: Any, trainer: Any) -> None:
        if not self._is_metric or not self._is_first:
            return
        if args.greater_is_better:
            self._warn(
                f"lower {self._metric} is better, but greater_is_better=True keeps the worst checkpoint: set it to False"
            )
        callbacks = [] if trainer is None else trainer.callback_handler.callbacks
        before = callbacks[: callbacks.index(self)] if self in callbacks else []
        if self._evaluates and any(isinstance(other, EarlyStoppingCallback) for other in before):
            self._warn(
                f"EarlyStoppingCallback comes before InteractionCallback, so it does not see {self._metric} and will not stop: "
                "put it after InteractionCallback in callbacks=[...]"
            )

    @contextlib.contextmanager
    def _warn_unless_strict(self, what: str) -> Generator[None]:
        try:
            yield
        except Exception as error:
            if self.strict:
                raise
            self._warn_of(error, what)

    def _warn_of(self, error: Exception, what: str) -> None:
        """Warn of an error, once per kind."""
        kind = type(error).__name__
        if kind == "OutOfMemoryError":
            torch.cuda.empty_cache()
        if f"{kind} {what}" in self._warned:
            return
        self._warned.add(f"{kind} {what}")
        line = (str(error).strip().splitlines() or ["no reason given"])[0][:300]
        name = "" if isinstance(error, InterplayError) else f"{kind}: "
        self._warn(f"{what} ({name}{line}); training goes on, this kind is not reported again")

    def _warn(self, line: str) -> None:
        # A line may quote a row, a path or what a hub said.
        warnings.warn(f"interplay: {ascii_safe(redact(line))}", UserWarning, stacklevel=3)


def _say(line: str) -> None:
    """One line on stderr, where the trainer's progress is."""
    print(f"interplay: {ascii_safe(redact(line))}", file=sys.stderr)


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _broadcast(measurement: Measurement, device: Any) -> Measurement:
    """The measurement of the first process, in all of them."""
    if not _several_processes():
        return measurement
    # gloo takes CPU tensors, NCCL those of the device only.
    text = json.dumps(measurement).ljust(SENT).encode()  # NaN and infinities come back as they are
    sent = torch.tensor(list(text), dtype=torch.uint8, device="cpu" if "gloo" in dist.get_backend() else device)
    dist.broadcast(sent, src=0)
    return Measurement(*json.loads(bytes(sent.cpu().tolist())))


def _describe(trainer: Any, args: Any, state: Any, model: Any) -> str:
    name = "Trainer" if trainer is None else type(trainer).__name__
    adapters = [str(getattr(c.peft_type, "value", c.peft_type)) for c in getattr(model, "peft_config", {}).values()]
    return f"{name}, {(adapters or ['full'])[0]}, learning rate {args.learning_rate:g}, {state.max_steps} steps"


def _calling_trainer() -> Any | None:
    """The Trainer on the call stack, which it does not hand to its callbacks; `attach(trainer)` makes this unnecessary."""
    frame = sys._getframe(1)
    while frame is not None:
        if isinstance(trainer := frame.f_locals.get("self"), Trainer):
            return trainer
        frame = frame.f_back
    return None
