"""The stage that measures the task at every checkpoint, what it knew before, and how far it has moved, row by row.

One file a checkpoint (`task/step-000040.json`), and one with the answers it wrote (`task/answers-000040.json`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interplay.config.settings import Settings
from interplay.data.prompts import Encoded
from interplay.data.rows import Row
from interplay.data.sources import read_rows
from interplay.data.tables import read_text
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.models.layouts import Checkpoint
from interplay.models.length import length_of
from interplay.pipeline.inputs import Inputs, row_parts, seeded_choice
from interplay.pipeline.shards import work_off
from interplay.pipeline.stages import Context, States, note
from interplay.store.conditions import Omitted, step_name
from interplay.store.files import cache_json, cached_json, sha256_json
from interplay.task.drift import BaseDistributions, Divergence, retention_windows, score_windows
from interplay.task.generation import decoded, exact_match, greedy, rouge_l, stop_ids
from interplay.task.labels import EvalSet, RowScores, prepare_eval, score_eval
from interplay.text import short, spelt_alike

FREE_ROWS = 32  # rows answered freely where the data has no labels and nothing else is asked for [ours]
KEPT_PROMPT, KEPT_ANSWER = 200, 2000  # characters of a prompt's end and of an answer that are kept

_NOTHING = EvalSet((), None, None, ())


@dataclass(frozen=True)
class TaskData:
    """What is measured besides the eval rows: out-of-domain rows with labels of their own, and a text."""

    ood: tuple[Row, ...] = ()
    ood_labels: tuple[str, ...] | None = None
    omitted: tuple[Omitted, ...] = ()
    retention: str | None = None
    notes: tuple[str, ...] = ()

    def hashes(self) -> dict[str, str]:
        """What is there, by the setting that names it."""
        ood = {"task.ood": sha256_json([row_parts(row) for row in self.ood])} if self.ood else {}
        text = {} if self.retention is None else {"task.retention": sha256_json(self.retention)}
        return ood | text


def read_task_data(settings: Settings, template: PromptTemplate) -> TaskData:
    """Read task.ood and task.retention. InterplayError where either cannot be: call it before anything is trained."""
    wanted, data = settings.task, TaskData()
    if wanted.ood is not None:
        found = read_rows(wanted.ood, wanted.ood_form, template=template, part="prompts")
        rows = seeded_choice(found.rows, wanted.ood_rows, settings.seed, "ood")
        omitted = tuple(Omitted("ood", s.id, s.reason) for s in found.skipped)
        data = TaskData(rows, found.labels, omitted, notes=found.notes)
    if wanted.retention is not None:
        path = Path(wanted.retention)
        if not path.is_file():
            raise InterplayError(f"task.retention {short(wanted.retention)} is not a file: name a plain text file")
        data = replace(data, retention=read_text(path))
    return data


def measure_tasks(context: Context, states: States, inputs: Inputs) -> tuple[dict[str, Any], int]:
    """Ask every checkpoint what is not cached of it; a checkpoint of which everything is cached is not opened.

    Returns what a run's `Record` says of the task, and how many checkpoints are other shards' and not done. The base's
    distributions for KL are collected in its own pass over the eval rows, or once more where that is cached; 512 MB at most.
    """
    stage = _Stage(context, states, inputs, read_task_data(context.settings, inputs.template))
    if not stage.size:
        return {}, 0
    jobs = [_Job(f"task-{step_name(c.step)}", c) for c in states.checkpoints]
    with context.progress.phase("task metrics", len(jobs) * stage.size) as advance:
        done = 0

        def finished(job: _Job, before: bool) -> None:
            nonlocal done
            done += stage.size
            advance(done, note=f"step {job.checkpoint.step}")

        def do(chosen: Iterator[_Job]) -> Iterator[tuple[_Job, bool]]:
            for job in chosen:
                yield job, stage.measure(job.checkpoint, lambda part, c: advance(done + part, note=f"step {c.step}"))

        found = work_off(
            jobs, context.shard, saved=lambda job: stage.cached(job.checkpoint) or None, do=do, advance=finished
        )
    files = ("step",) * stage.any_rows + ("answers",) * bool(stage.generated)
    return {"task": files, "gold": stage.eval.gold, "ood_gold": stage.ood.gold}, len(jobs) - len(found)


def answered_rows(settings: Settings, inputs: Inputs) -> int:
    """How many eval rows each checkpoint answers freely, at most."""
    free = FREE_ROWS if inputs.labels is None else 0
    wanted = free if settings.task.generate_rows is None else settings.task.generate_rows
    return min(len(inputs.eval), wanted)


class _Job(NamedTuple):
    """One checkpoint: each is opened once."""

    name: str
    checkpoint: Checkpoint


def _asked(data: EvalSet) -> list[Any]:
    return [[(e.input_ids, e.target_ids) for e in data.encoded], data.gold, data.label_ids]


class _TaskFile(NamedTuple):
    path: Path
    key: str
    value: dict[str, Any] | None

    def write(self, value: dict[str, Any]) -> bool:
        """Cache what was measured, unless another process has; whether it had not."""
        if cached_json(self.path, self.key) is not None:
            return False
        cache_json(self.path, self.key, value, folders=1)
        return True


class _Stage:
    """What every checkpoint is asked, tokenised, and its answers, cached or asked now.

    `generated`: so many of the first eval rows are answered; `size`: rows, windows and answers of one checkpoint.
    """

    def __init__(self, context: Context, states: States, inputs: Inputs, extra: TaskData) -> None:
        self.context, self.states = context, states
        self.base = states.checkpoints[0]  # step 0
        self.distributions: BaseDistributions | None = None
        tokenizer, model, task = states.base.tokenizer, states.base.model, context.settings.task
        data = prepare_eval(inputs.eval, inputs.labels, tokenizer, inputs.template) if inputs.eval else _NOTHING
        ood = prepare_eval(extra.ood, extra.ood_labels, tokenizer, inputs.template) if extra.ood else _NOTHING
        self.eval, self.ood = data, ood
        context.omitted += [*(Omitted("eval", *pair) for pair in data.skipped), *extra.omitted]
        context.omitted += [Omitted("ood", *pair) for pair in ood.skipped]
        if not inputs.eval:
            context.notes.append("No eval rows were given (data.eval), so eval loss and accuracy were not measured.")
        elif not data.encoded:
            context.notes.append("No eval row could be used, so eval loss and accuracy were not measured.")
        elif data.label_ids is None:
            context.notes.append("The eval rows have no labels, so accuracy was not measured.")
        if extra.ood and not ood.encoded:
            note(context, "No row of task.ood could be used, so nothing out of the task's domain was measured.")
        for kind, rows in (("eval rows", data), ("rows of task.ood", ood)):
            for line in length_of(tokenizer).notes(
                kind, [len(e.input_ids) + len(e.target_ids) for e in rows.encoded], (None, "")
            ):
                note(context, f"{line}.")
        trained = {spelt_alike(row.text) for row in inputs.train}
        if seen := sum(spelt_alike(row.text) in trained for row in ood.rows):
            rows = f"{seen} of {len(ood.rows)} rows of task.ood"
            note(context, f"{rows} have a training text, so they are not out of domain.")
        self.windows = ()
        if extra.retention is not None:
            self.windows = retention_windows(extra.retention, model, tokenizer, task.retention_tokens)
        self.answered: list[tuple[Encoded, Row]] = []
        for e, row in list(zip(data.encoded, data.rows, strict=True))[: answered_rows(context.settings, inputs)]:
            try:
                length_of(tokenizer).refuse(len(e.input_ids) + task.generate_tokens - 1, "it with task.generate_tokens")
                self.answered.append((e, row))
            except SkipSample as reason:
                context.omitted.append(Omitted("answers", row.id, str(reason)))
        self.generated = len(self.answered)
        self.stop = stop_ids(model, tokenizer, [e.target_ids for e in data.encoded]) if self.generated else ()
        self.kl = task.kl and bool(data.encoded)
        self.key = sha256_json([_asked(data), _asked(ood), self.windows, self.kl])
        answered = [(e.input_ids, row.target) for e, row in self.answered]
        self.answers_key = sha256_json([answered, task.generate_tokens, self.stop])
        self.any_rows = bool(data.encoded or ood.encoded or self.windows)
        self.size = len(data.encoded) + len(ood.encoded) + len(self.windows) + self.generated

    def _found(self, c: Checkpoint) -> tuple[_TaskFile, _TaskFile]:
        """Its rows and its answers as they are cached; no value: it must be asked."""
        folder, dtype = self.context.folder.path / "task", self.context.settings.model.dtype
        weights = [self.states.base.sha256, self.states.hashes[c.step], dtype]
        key = sha256_json([*weights, self.states.hashes[self.base.step], self.key])
        answers_key = sha256_json([*weights, self.answers_key])
        files = folder / f"{step_name(c.step)}.json", folder / f"answers-{c.step:06d}.json"
        said = cached_json(files[0], key) if self.any_rows else {}
        answers = cached_json(files[1], answers_key) if self.generated else {}
        return _TaskFile(files[0], key, said), _TaskFile(files[1], answers_key, answers)

    def cached(self, c: Checkpoint) -> bool:
        """Whether all that a checkpoint is asked is cached."""
        return all(file.value is not None for file in self._found(c))

    def measure(self, c: Checkpoint, progress: Callable[[int, Checkpoint], None]) -> bool:
        """Ask a checkpoint what is not cached of it, and cache it; False where another process cached all of it meanwhile."""
        rows, written = self._found(c)
        models, new = self.context.models, False
        if rows.value is None and self.kl and c is not self.base and self.distributions is None:
            with models.at(self.states.at(self.base)) as model:
                self._labels(model, lambda done, total: None, base=True)

        def behind(already: int) -> Callable[[int, int], None]:
            return lambda done, total: progress(already + done, c)

        with models.at(self.states.at(c)) as model:
            if rows.value is None:
                new |= rows.write({"step": c.step, **self._rows(model, c is self.base, behind)})
            if written.value is None:
                new |= written.write(self._answers(model, behind(self.size - self.generated)))
        return new

    def _labels(self, model, progress: Callable[[int, int], None], base: bool) -> tuple[RowScores, Divergence | None]:
        """The eval rows in one pass; of the base, its distributions are collected, any other is compared with them."""
        limit = self.context.settings.scoring.batch_tokens
        score = partial(score_eval, model, self.eval, batch_tokens=limit, progress=progress)
        if not self.kl:
            return score(), None
        if base:
            rows = len(self.eval.encoded)
            self.distributions = BaseDistributions(rows)
            scores = score(seen=self.distributions.collect)
            return scores, Divergence(np.zeros(rows), np.zeros(rows))  # of itself, by definition
        assert self.distributions is not None
        compared = self.distributions.against()
        return score(seen=compared.seen), compared.found

    def _rows(self, model, base: bool, progress: Callable[[int], Callable[[int, int], None]]) -> dict[str, Any]:
        limit = self.context.settings.scoring.batch_tokens
        said: dict[str, Any] = {}
        if self.eval.encoded:
            scores, kl = self._labels(model, progress(0), base)
            said["eval"] = _scores(scores)
            if kl is not None:
                said["kl"] = {"forward": _listed(kl.forward), "reverse": _listed(kl.reverse)}
        at = len(self.eval.encoded)
        if self.ood.encoded:
            said["ood"] = _scores(score_eval(model, self.ood, batch_tokens=limit, progress=progress(at)))
        at += len(self.ood.encoded)
        if self.windows:
            windows = score_windows(model, self.windows, batch_tokens=limit, progress=progress(at))
            said["retention"] = {"nll": _listed(windows.nll), "tokens": _listed(windows.tokens)}
        return said

    def _answers(self, model, progress: Callable[[int, int], None]) -> dict[str, Any]:
        settings = self.context.settings
        written = greedy(
            model,
            [e.input_ids for e, _ in self.answered],
            tokens=settings.task.generate_tokens,
            stop=self.stop,
            batch_tokens=settings.scoring.batch_tokens,
            progress=progress,
        )
        texts = [decoded(self.states.base.tokenizer, ids) for ids in written]
        answers = [
            {
                "id": row.id,
                "prompt": e.text[-KEPT_PROMPT:],
                "gold": row.target[:KEPT_ANSWER],
                "answer": answer[:KEPT_ANSWER],
                "exact": exact_match(answer, row.target),
                "rouge_l": rouge_l(answer, row.target),
            }
            for (e, row), answer in zip(self.answered, texts, strict=True)
        ]
        return {"answers": answers}


def _listed(x: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in x.tolist()]


def _scores(scores: RowScores) -> dict[str, Any]:
    predicted = None if scores.predicted is None else scores.predicted.tolist()
    return {"nll": _listed(scores.nll), "tokens": scores.tokens.tolist(), "predicted": predicted}
