"""`InteractionCallback`: the events of a training, and what follows from a measurement: a metric, the best checkpoint, a stop.

What is measured is `measurer.py`'s and what it means is `verdict.stopping`'s; here are only the trainer's events, and the care
that training goes on as it would have without them.
"""

import math
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback

from interplay.callback import budget, trackers
from interplay.callback.live import sharded, undrawn
from interplay.callback.measuring import Measurer, Training
from interplay.callback.options import Wanted
from interplay.callback.prompts import own_tokenizer
from interplay.callback.ranks import Ranks, Said
from interplay.data.template import PromptTemplate
from interplay.data.words import ascii_safe
from interplay.errors import InterplayError
from interplay.secrets import redact

METRIC = "eval_interaction_loss"
TABLE_SECONDS = 1.0  # of writing the tables, about, on a slow processor [ours]
_NAMES = (METRIC, METRIC.removeprefix("eval_"))


class InteractionCallback(TrainerCallback):
    """Reads the interactions of a few held-out prompts while a model trains; keeps the best checkpoint, and stops.

    Works in transformers' Trainer and TRL's SFTTrainer. Training with it is bit-equal to training without it until it stops.
    It puts `eval_interaction_loss` (lower is better) among the metrics of an evaluation, for `metric_for_best_model`; without
    an eval set it keeps the best checkpoint itself. Docs: docs/how-to/callback.md.

    Args:
        prompts: held-out rows, each with its answer: a datasets.Dataset, a list of dicts or a file; text and label,
            prompt and completion, or messages.
        every: optimiser steps between measurements. Steps that the trainer saves at, and those at which it asks for the metric,
            are read as well; so is the last.
        patience: stop after so many measurements in a row without a new low.
        max_overhead: share of the training time that all measurements after the first may take: num_prompts, n and every are chosen
            once, from timings at the start, to stay under it, and a measurement that would exceed it is left out (never the last, nor
            one that `metric_for_best_model` asks for). What was spent stands in the logs as `interaction_overhead`, and in seconds,
            first measurement and preparations included, as `interaction_seconds`. None: no limit and no timing; num_prompts, n and
            every are as given, and two trainings measure the same.
        n: words a prompt, 2 to 16, at 2^n prompts each; None: 8, fewer where the limit asks for it.
        num_prompts: how many; None: 16, fewer where the limit asks for it.
        stop: False only watches (docs/evidence/stopping.md says what stopping by it cost): training is never stopped, and checkpoints
            are kept by the metric only if it is asked for.
        strict: raise what goes wrong with the prompts instead of warning and going on without the measurement.
        folder: run folder for `interplay report`; default `interplay` in the trainer's output folder.
        template: wording of rows that are bare texts; conversations use the trainer's chat template.
        seed: of the choice of prompts and words.
        target_tokens: tokens of the answer that are scored, 1 in the paper.
        mask: token that masked words become; None: unk, pad or a reserved one.

    Raises InterplayError at construction for arguments that cannot be used.
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
        seed: int = 0,
        target_tokens: int = 1,
        mask: str | int | None = None,
    ) -> None:
        self.wanted = Wanted(
            prompts, every, patience, max_overhead, n, num_prompts, template, seed, target_tokens, mask
        )
        self.stop, self.strict = bool(stop), bool(strict)
        self.folder = None if folder is None else Path(folder)
        self._attached: weakref.ref | None = None
        self._active = False

    def attach(self, trainer: Any) -> "InteractionCallback":
        """Add the callback to a trainer that exists, and remember it, so that it need not be looked for."""
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        self._attached = weakref.ref(trainer)
        return self

    # ---- events --------------------------------------------------------------------------------------------------------

    def on_train_begin(self, args, state, control, model=None, processing_class=None, train_dataloader=None, **kwargs):
        trainer = self._attached() if self._attached is not None else None
        trainer = trainer or trackers.calling_trainer()
        self._trainer = None if trainer is None else weakref.ref(trainer)
        self._ranks, self._meter = Ranks(args.device), budget.Meter()
        self._measurer: Measurer | None = None
        self._active, self._began, self._errors, self._every = True, False, 0, self.wanted.every
        self._noted = 0.0
        self._said: dict[int, Said] = {}
        self._pending: list[dict[str, float]] = []
        self._warned: set[str] = set()
        self._ours = args.metric_for_best_model in _NAMES
        self._evaluates = str(args.eval_strategy.value) != "no"
        self._keeps = (self._ours and not self._evaluates) or (args.metric_for_best_model is None and self.stop)
        self._check_arguments(args)

        def begin() -> Said:
            by = sharded(model)
            if by is not None:
                raise InterplayError(
                    f"the weights are sharded by {by}: no process can read them whole, so nothing is read"
                )
            tokenizer = own_tokenizer(processing_class, getattr(trainer, "chat_template", None))
            training = self._training(args, state, model, train_dataloader)
            folder = self.folder or Path(args.output_dir) / "interplay"
            with self._meter.spending():
                self._measurer = Measurer(self.wanted, training, model, tokenizer, folder, self._meter, self._warn)
            if self._measurer.units:
                self._tables(self._measurer)
            return self._blank()._replace(every=self._measurer.plan.every)

        def first() -> Said:
            measurer = self._measurer
            if measurer is None or measurer.units:
                return self._blank()
            return self._measurement(measurer, model, state.global_step)

        said = self._told(begin, "the prompts cannot be read")
        self._every = int(said.every) or self.wanted.every
        self._note(state.global_step, said)
        self._note(state.global_step, self._told(first, "a measurement failed"))

    def on_epoch_begin(self, args, state, control, **kwargs):
        if self._active:
            self._flush(args, state, control)  # of the first measurement: not before every callback has begun

    def on_step_begin(self, args, state, control, **kwargs):
        if self._active and not self._began:
            self._began = True
            self._meter.begin()

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if not self._active:  # added in the middle of a training
            return control
        step, asked = state.global_step, control.should_evaluate and self._ours
        last = step >= state.max_steps
        if step % self._every == 0 or last or control.should_save or asked:
            # The last is never left out: an early checkpoint would pass for the best, unrivalled.
            self._read(args, state, control, model, must=asked or last)
            said = self._said.get(step)
            if said is not None and said.stop and self.stop:
                control.should_training_stop = True
                # As the trainer does at its own last step.
                control.should_save |= args.save_strategy.value == "steps"
                control.should_evaluate |= args.eval_strategy.value == "steps"
            self._keep_best(args, state, control)
        return control

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if not self._active:
            return control
        asked = control.should_evaluate and self._ours
        if control.should_save or asked:
            self._read(args, state, control, model, must=asked)
            self._stop_if_said(state, control)
            self._keep_best(args, state, control)
        return control

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        if not self._active or metrics is None or not self._asked_here(metrics):
            return control
        if self._ours:
            self._read(args, state, control, model, must=True)
        said = self._said.get(state.global_step)
        if said is not None and math.isfinite(said.loss):
            metrics[METRIC] = float(said.loss)
        elif self._ours:
            # The trainer raises KeyError without it. Infinity is below nothing, so a checkpoint nobody measured is never best.
            metrics[METRIC] = math.inf
        self._stop_if_said(state, control)
        return control

    def on_save(self, args, state, control, **kwargs):
        if self._active and self._measurer is not None:
            try:
                self._measurer.saved(state.global_step)
            except Exception as error:  # raised on one process alone it would leave the others waiting
                self._complain(error, "the run folder cannot be written")

    def on_train_end(self, args, state, control, **kwargs):
        if not self._active:
            return
        measurer, self._active = self._measurer, False

        def finish() -> Said:
            if measurer is not None and measurer.units:
                failed = [f"{self._errors} measurements failed."] if self._errors else []
                measurer.write_tables(state.log_history, failed, page=True)
            return self._blank()

        self._told(finish, "the report cannot be written")
        self._measurer = None

    # ---- measurements ------------------------------------------------------------------------------------------------------

    def _read(self, args: Any, state: Any, control: Any, model: Any, *, must: bool) -> None:
        """One measurement of this step, unless there is one, or it would cost too much and need not be."""
        step = state.global_step
        if not self._active or step in self._said:
            return
        measurer = self._measurer

        def read() -> Said:
            if measurer is None or not (must or self._meter.allows(self.wanted.max_overhead)):
                return self._blank()
            return self._measurement(measurer, model, step)

        self._note(step, self._told(read, "a measurement failed"))
        self._flush(args, state, control)

    def _measurement(self, measurer: Measurer, model: Any, step: int) -> Said:
        # The first one is cold and calibrates, so what the next will take is better known from the plan.
        with self._meter.spending(measurement=self._began):
            measurer.read(model, step)
            judged = measurer.judgement()
        count = len(measurer.units)
        if count & (count - 1) == 0 and self._meter.allows(self.wanted.max_overhead, TABLE_SECONDS):
            self._tables(measurer)  # at 1, 2, 4, 8 measurements: all of them together cost about what the last does
        return self._blank()._replace(loss=measurer.loss(judged, step), measured=1.0, stop=float(judged.stop))

    def _tables(self, measurer: Measurer) -> None:
        """The tables so far, so that a training that is killed has a report. A measurement is none the worse for an error here."""
        try:
            with self._meter.spending():
                measurer.write_tables(self._history(), page=False)
        except Exception as error:
            if self.strict:
                raise
            self._complain(error, "the tables of the run folder cannot be written")

    def _history(self) -> list[dict[str, float]]:
        trainer = self._trainer() if self._trainer is not None else None
        return [] if trainer is None else trainer.state.log_history

    def _blank(self) -> Said:
        return Said(errors=float(self._errors))

    def _told(self, work: Callable[[], Said], what: str) -> Said:
        """What `work` says on the first process, in all of them. An error there is counted and told, and raised if strict."""
        failed: Exception | None = None
        said = self._blank()
        if self._ranks.first:
            try:
                with undrawn():
                    said = work()
            except Exception as error:
                failed = error
                self._errors += 1
                said = self._blank()._replace(raised=float(self.strict))
                if not self.strict:
                    self._complain(error, what)
            said = said._replace(share=self._meter.share(), seconds=self._meter.seconds)
        said = self._ranks.told(said)
        if said.raised:
            raise failed or InterplayError(f"{what}: see the first process's error")
        return said

    def _note(self, step: int, said: Said) -> None:
        """Remember a measurement, and what the logs say of it."""
        failed, self._errors = said.errors > self._noted, int(said.errors)
        self._noted = said.errors
        if not said.measured and not failed:
            return
        self._said[step] = said
        numbers: dict[str, float] = {}
        if math.isfinite(said.loss):
            numbers[METRIC] = float(said.loss)
        numbers["interaction_overhead"] = round(said.share, 6) if math.isfinite(said.share) else 0.0
        numbers["interaction_seconds"] = round(said.seconds, 3)
        if said.errors:
            numbers["interaction_errors"] = int(said.errors)
        self._pending.append(numbers)

    def _flush(self, args: Any, state: Any, control: Any) -> None:
        trainer = self._trainer() if self._trainer is not None else None
        pending, self._pending = self._pending, []
        for numbers in pending:
            try:
                trackers.send(trainer, args, state, control, numbers)
            except Exception as error:
                if self.strict:
                    raise
                self._complain(error, "a tracker refused the numbers")

    # ---- what follows from a measurement -----------------------------------------------------------------------------------

    def _stop_if_said(self, state: Any, control: Any) -> None:
        said = self._said.get(state.global_step)
        if said is not None and said.stop and self.stop:
            control.should_training_stop = True

    def _keep_best(self, args: Any, state: Any, control: Any) -> None:
        """Name this step the best so far, where the trainer does not: it saves it, or protects it from being rotated out."""
        step, said = state.global_step, self._said.get(state.global_step)
        if not self._keeps or step == 0 or said is None or not math.isfinite(said.loss):
            return
        strategy = args.save_strategy.value
        if strategy == "no" or (strategy != "best" and not control.should_save):
            return
        # Only a best of ours counts: another metric's may stand in a state that was resumed.
        ours = {entry["step"]: entry[METRIC] for entry in state.log_history if METRIC in entry}
        best = state.best_metric if ours.get(state.best_global_step) == state.best_metric else None
        if best is None or said.loss < best:
            state.best_metric, state.best_global_step = float(said.loss), step
            control.should_save = True

    def _asked_here(self, metrics: dict[str, float]) -> bool:
        """False in all but the first of several eval sets: early stopping would count one evaluation several times."""
        trainer = self._trainer() if self._trainer is not None else None
        several = getattr(trainer, "eval_dataset", None)
        if not isinstance(several, dict) or not several:
            return True
        first, *others = several
        mine = f"eval_{first}_runtime" in metrics
        return mine or not any(f"eval_{name}_runtime" in metrics for name in others)

    # ---- arguments and warnings ----------------------------------------------------------------------------------------

    def _check_arguments(self, args: Any) -> None:
        if not self._ours or not self._ranks.first:
            return
        if args.greater_is_better:
            self._warn(
                f"{METRIC} is better when lower, but greater_is_better is True: the worst checkpoint would be kept"
            )
        trainer = self._trainer() if self._trainer is not None else None
        if self._evaluates and trackers.callbacks_before(trainer, self, EarlyStoppingCallback):
            self._warn(
                f"EarlyStoppingCallback stands before InteractionCallback, so it never sees {METRIC} and will not stop: "
                "put it behind in callbacks=[...]"
            )

    def _training(self, args: Any, state: Any, model: Any, dataloader: Any) -> Training:
        asked = None
        if self._ours and self._evaluates:
            epochs = max(1, state.num_train_epochs)
            asked = int(state.eval_steps) if args.eval_strategy.value == "steps" else -(-state.max_steps // epochs)
        adapters = [str(getattr(c.peft_type, "value", c.peft_type)) for c in getattr(model, "peft_config", {}).values()]
        trainer = self._trainer() if self._trainer is not None else None
        how = (
            f"{type(trainer).__name__ if trainer is not None else 'Trainer'}, {adapters[0] if adapters else 'full'}, "
            f"learning rate {args.learning_rate:g}, {state.max_steps} steps"
        )
        return Training(
            state.global_step,
            state.max_steps,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            getattr(dataloader, "dataset", None),
            asked,
            str(args.output_dir),
            Path(args.output_dir).name,
            how,
            tuple(sorted(entry["step"] for entry in state.log_history if METRIC in entry)),
        )

    def _complain(self, error: Exception, what: str) -> None:
        """Warn of an error, once a kind."""
        kind = type(error).__name__
        if kind == "OutOfMemoryError":
            import torch

            torch.cuda.empty_cache()
        if f"{kind} {what}" in self._warned:
            return
        self._warned.add(f"{kind} {what}")
        said = str(error).strip().splitlines()
        line = said[0][:300] if said else "no reason given"
        name = "" if isinstance(error, InterplayError) else f"{kind}: "
        self._warn(f"{what} ({name}{line}); training goes on, this kind is not told again")

    def _warn(self, line: str) -> None:
        # A warning is printed as it is, and a line may quote a row, a path or what a hub said.
        warnings.warn(f"interplay: {ascii_safe(redact(line))}", UserWarning, stacklevel=3)
