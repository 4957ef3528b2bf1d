"""`InteractionCallback`: measures at the events of a training, and turns measurements into a metric, a best checkpoint, a stop."""

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

from interplay.callback.budget import Meter
from interplay.callback.following import RefusedAuditError
from interplay.callback.measuring import METRIC, Measurer
from interplay.callback.model import random_states_restored, sharded_by
from interplay.callback.options import CallbackOptions, check_options
from interplay.callback.prompts import copy_tokenizer
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.secrets import redact
from interplay.text import ascii_safe

SENT = 16_384  # bytes of a broadcast, room for ten names of 100 characters of six bytes
TABLE_SECONDS = 1.0  # about what writing the tables takes on a slow processor [ours]


class Measurement(NamedTuple):
    """One measurement as all processes know it: numbers, so that it can be broadcast as JSON."""

    loss: float = math.nan  # interaction loss of this step; NaN: not measured
    measured: float = 0.0  # whether this step was measured
    stop: float = 0.0  # whether the rule recommends to stop
    errors: float = 0.0  # number of measurements that have failed so far
    overhead: float = 0.0  # seconds of measurements over seconds of training
    seconds: float = 0.0  # seconds spent in total
    every: float = 0.0  # planned steps between measurements
    raised: float = 0.0  # whether the measuring process is about to raise (strict)
    rules: Mapping[str, float] = {}  # what the rules of audit= do, by the name that trackers get


class InteractionCallback(TrainerCallback):
    """Measures the interactions of a few held-out prompts while a model trains; keeps the best checkpoint, and stops.

    Works in transformers' Trainer and TRL's SFTTrainer. Training with it is bit-equal to training without it until it stops.
    It adds `eval_interaction_loss` (lower is better) to the metrics of an evaluation, for `metric_for_best_model`; without an
    eval set it keeps the best checkpoint itself. See docs/how-to/callback.md.

    Args:
        prompts: held-out rows with their answers: a datasets.Dataset, a list of dicts or a file; text and label, prompt and
            completion, or messages.
        every: optimiser steps between measurements. The last step, and steps that are saved or whose evaluation needs the
            metric, are measured too.
        patience: stop after so many measurements in a row without a new low.
        max_overhead: fraction of the training time that measurements after the first may take. From timings at the start it sets
            num_prompts, n and every; later it skips measurements that would exceed it, except the last and those that
            `metric_for_best_model` needs. None: no limit and no timing, so two trainings measure the same.
        n: words per prompt, 2 to 16, which take 2^n evaluations; None: 8, or fewer to stay under the limit.
        num_prompts: number of prompts; None: 16, or fewer to stay under the limit.
        stop: False never stops training, and leaves checkpoints to the trainer unless `metric_for_best_model` names the
            metric. docs/evidence/stopping.md says what stopping cost.
        strict: raise errors instead of warning and training on.
        folder: run folder for `interplay report`; default `interplay` in the trainer's output folder.
        template: wording of bare texts; conversations use the trainer's chat template.
        chat_template_kwargs: variables of the chat template; None: those in the rows' column of that name, if there is one.
        seed: for the choice of prompts and words.
        target_tokens: which tokens of the answer are scored: first (the paper's), word, a number of them, or auto.
        among_labels: score an answer among the labels (auto: where rows have two), not against the whole vocabulary (the paper's).
        mask: what absent words become, as in `interplay.score`; a swap takes words of the prompt data.
        audit: rules whose words are put into prompts at each measurement, to see when they come: an `interplay.Audit`, its
            `audit.json`, or True for the words and pairs that the training rows point to.
        train: training rows for `audit=True`, as `prompts`; None: those of the trainer.

    >>> InteractionCallback([{"text": "It rains again", "label": "joy"}], audit=True, stop=False).options.audit
    True

    Raises InterplayError at construction for arguments that cannot be used, and when training begins for an audit of other
    labels or training rows that cannot be read.
    """

    def __init__(
        self,
        prompts: Any,
        *,
        every: int = 50,
        patience: int = 3,
        max_overhead: float | None = 0.05,
        n: int | None = None,
        num_prompts: int | None = None,
        stop: bool = True,
        strict: bool = False,
        folder: str | Path | None = None,
        template: PromptTemplate | None = None,
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
        self._unlogged: list[dict[str, float]] = []
        self._warned: set[str] = set()
        self._is_metric = args.metric_for_best_model in (METRIC, METRIC.removeprefix("eval_"))
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
                    how=_describe(trainer, args, state, model),
                    folder=self.folder or Path(args.output_dir) / "interplay",
                    meter=self._meter,
                    warn=self._warn,
                )
            if self._measurer.units:
                self._write_tables(self._measurer)
            return Measurement(every=self._measurer.plan.every)

        opened = self._on_first_process(open_measurer, "the prompts cannot be read")
        self._every = int(opened.every) or self.options.every
        self._remember(state.global_step, opened)
        self._measure(state, model, lambda measurer: not measurer.units)

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
            self._measure_and_log(args, state, control, model, must=needed or last)
            if self._stop_if_recommended(state, control):  # save and evaluate, as the trainer does at its own last step
                control.should_save |= args.save_strategy.value == "steps"
                control.should_evaluate |= args.eval_strategy.value == "steps"
            self._keep_best(args, state, control)
        return control

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        needed = control.should_evaluate and self._active and self._is_metric
        if self._active and (control.should_save or needed):
            self._measure_and_log(args, state, control, model, must=needed)
            self._stop_if_recommended(state, control)
            self._keep_best(args, state, control)
        return control

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        if not self._active or metrics is None or not self._is_first_eval_set(metrics):
            return control
        if self._is_metric:
            self._measure_and_log(args, state, control, model, must=True)
        loss = self._loss(state.global_step)
        if loss is not None:
            metrics[METRIC] = loss
        elif self._is_metric:
            # The trainer raises KeyError without it. With infinity a checkpoint that was not measured is never the best.
            metrics[METRIC] = math.inf
        self._stop_if_recommended(state, control)
        return control

    def on_save(self, args, state, control, **kwargs):
        if self._active and self._measurer is not None:
            try:
                self._measurer.checkpoint_saved(state.global_step)
            except Exception as error:  # raised on one process alone it would leave the others waiting
                self._warn_of(error, "the run folder cannot be written")

    def on_train_end(self, args, state, control, **kwargs):
        if not self._active:
            return
        measurer, self._measurer, self._active = self._measurer, None, False

        def finish() -> Measurement:
            if measurer is not None and measurer.units:
                failed = [f"{self._errors} measurements failed."] if self._errors else []
                measurer.write_tables(failed, page=True)
            return Measurement()

        self._on_first_process(finish, "the report cannot be written")

    def _measure_and_log(self, args: Any, state: Any, control: Any, model: Any, *, must: bool) -> None:
        """Measure this step once, unless it would cost too much and is not a must."""
        if state.global_step not in self._measurements:
            self._measure(state, model, lambda _: must or self._meter.allows(self.options.max_overhead))
            self._log(args, state, control)

    def _measure(self, state: Any, model: Any, wanted: Callable[[Measurer], bool]) -> None:
        measurer, step = self._measurer, state.global_step

        def measure() -> Measurement:
            if measurer is None or not wanted(measurer):
                return Measurement()
            # The first one is slow and calibrates, so the plan says better what the next will take.
            with self._meter.spending(measurement=self._began):
                measurer.measure(model, step)
                found, losses = measurer.recommendation()
                rules: dict[str, float] = {}
                with self._warn_unless_strict("the rules of audit= could not be followed"):
                    rules = measurer.follow(model, step)
            count = len(measurer.units)
            if count & (count - 1) == 0 and self._meter.allows(self.options.max_overhead, TABLE_SECONDS):
                self._write_tables(measurer)  # at 1, 2, 4, 8, ... measurements: together about as expensive as the last
            return Measurement(losses[step], measured=1.0, stop=float(found.stop_step is not None), rules=rules)

        self._remember(step, self._on_first_process(measure, "a measurement failed"))

    def _write_tables(self, measurer: Measurer) -> None:
        """The tables so far, so that a training that is killed has a report."""
        with self._warn_unless_strict("the tables of the run folder cannot be written"), self._meter.spending():
            measurer.write_tables(page=False)

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
            result = result._replace(errors=errors, overhead=self._meter.overhead(), seconds=self._meter.seconds)
        result = _broadcast(result, self._device)
        if result.raised:
            raise failed or InterplayError(f"{what}: see the error of the first process")
        return result

    def _remember(self, step: int, measurement: Measurement) -> None:
        """Keep a measurement or a failed one for this step and for the log."""
        failed, self._errors = measurement.errors > self._errors, int(measurement.errors)
        if not measurement.measured and not failed:
            return
        self._measurements[step] = measurement
        numbers: dict[str, float] = {}
        if math.isfinite(measurement.loss):
            numbers[METRIC] = float(measurement.loss)
        numbers["interaction_overhead"] = round(measurement.overhead, 6) if math.isfinite(measurement.overhead) else 0.0
        numbers["interaction_seconds"] = round(measurement.seconds, 3)
        if self._errors:
            numbers["interaction_errors"] = self._errors
        self._unlogged.append(numbers | {**measurement.rules})

    def _log(self, args: Any, state: Any, control: Any) -> None:
        """Append the numbers to the log history, and hand them to every callback's `on_log`.

        Not by `Trainer.log`, which in SFTTrainer resets averages, nor by `callback_handler.on_log`, which clears `should_log`.
        """
        trainer = self._trainer()
        unlogged, self._unlogged = self._unlogged, []
        for numbers in unlogged:
            logs = numbers if state.epoch is None else {**numbers, "epoch": state.epoch}
            state.log_history.append({**logs, "step": state.global_step})
            if trainer is not None:
                with self._warn_unless_strict("a tracker refused the numbers"):
                    trainer.callback_handler.call_event("on_log", args, state, control, logs=logs)

    def _loss(self, step: int) -> float | None:
        loss = self._measurements.get(step, Measurement()).loss
        return float(loss) if math.isfinite(loss) else None

    def _stop_if_recommended(self, state: Any, control: Any) -> bool:
        stop = self.stop and bool(self._measurements.get(state.global_step, Measurement()).stop)
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
        losses = {entry["step"]: entry[METRIC] for entry in state.log_history if METRIC in entry}
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
                f"lower {METRIC} is better, but greater_is_better=True keeps the worst checkpoint: set it to False"
            )
        callbacks = [] if trainer is None else trainer.callback_handler.callbacks
        before = callbacks[: callbacks.index(self)] if self in callbacks else []
        if self._evaluates and any(isinstance(other, EarlyStoppingCallback) for other in before):
            self._warn(
                f"EarlyStoppingCallback comes before InteractionCallback, so it does not see {METRIC} and will not stop: "
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
