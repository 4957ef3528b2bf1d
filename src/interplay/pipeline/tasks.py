"""The stage that asks every checkpoint the task, what it knew before, and how far it has moved; kept row by row.

One file a checkpoint (`task/step-000040.json`), and one with the answers it wrote (`task/answers-000040.json`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interplay.config.settings import Settings
from interplay.data.rows import Row
from interplay.data.sources import read_rows
from interplay.data.tables import read_text
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.layouts import Checkpoint
from interplay.pipeline.inputs import Inputs, row_parts, seeded_choice
from interplay.pipeline.shards import work_off
from interplay.pipeline.stages import Context, States, note
from interplay.store.conditions import Omitted, step_name
from interplay.store.files import cache_json, cached_json, sha256_json
from interplay.task.drift import BaseDistributions, Divergence, retention_windows, score_windows
from interplay.task.generation import decoded, exact_match, greedy, rouge_l, stop_ids
from interplay.task.labels import EvalSet, RowScores, prepare_eval, score_eval
from interplay.text import short

FREE_ROWS = 32  # rows answered freely where the data has no labels and nothing else is asked for [ours]
KEPT_PROMPT, KEPT_ANSWER = 200, 2000  # characters of a prompt's end and of an answer that are kept

_NOTHING = EvalSet((), None, None, ())


@dataclass(frozen=True)
class TaskData:
    """What is measured besides the eval rows: out-of-domain rows with labels of their own, and a text."""

    ood: tuple[Row, ...]
    ood_labels: tuple[str, ...] | None
    retention: str | None
    omitted: tuple[Omitted, ...]

    def hashes(self) -> dict[str, str]:
        """What is there, by the setting that names it."""
        found = {}
        if self.ood:
            found["task.ood"] = sha256_json([row_parts(row) for row in self.ood])
        if self.retention is not None:
            found["task.retention"] = sha256_json(self.retention)
        return found


def read_task_data(settings: Settings, template: PromptTemplate) -> TaskData:
    """Read task.ood and task.retention. InterplayError where either cannot be: call it before anything is trained."""
    wanted, omitted = settings.task, []
    rows: tuple[Row, ...] = ()
    labels, text = None, None
    if wanted.ood is not None:
        found = read_rows(wanted.ood, wanted.ood_form, template=template)
        rows, labels = seeded_choice(found.rows, wanted.ood_rows, settings.seed, "ood"), found.labels
        omitted += [Omitted("ood", s.id, s.reason) for s in found.skipped]
    if wanted.retention is not None:
        path = Path(wanted.retention)
        if not path.is_file():
            raise InterplayError(f"task.retention {short(wanted.retention)} is no file: name a plain text file")
        text = read_text(path)
    return TaskData(rows, labels, text, tuple(omitted))


@dataclass(frozen=True, eq=False)
class _Questions:
    """What every checkpoint is asked, tokenised, and the hash of it."""

    eval: EvalSet
    ood: EvalSet
    windows: tuple[tuple[int, ...], ...]
    generated: int  # the first so many eval rows are answered
    tokens: int
    stop: tuple[int, ...]
    kl: bool
    key: str
    answers_key: str

    @property
    def size(self) -> int:
        return len(self.eval.encoded) + len(self.ood.encoded) + len(self.windows) + self.generated

    @property
    def any_rows(self) -> bool:
        return bool(self.eval.encoded or self.ood.encoded or self.windows)


def measure_tasks(context: Context, states: States, inputs: Inputs) -> tuple[dict[str, Any], int]:
    """Ask every checkpoint what is not cached of it. Gives what a run's `Record` says of the task: which files there are and
    the rows' labels; and how many checkpoints are other shards' and not done.

    A checkpoint of which everything is cached is not opened.

    The base's distributions for KL are collected in its own pass over the eval rows. Where that is kept but a later
    checkpoint's answer is not, they are collected anew; during one run they take 512 MB at most.
    """
    asked = _questions(context, states, inputs, read_task_data(context.settings, inputs.template))
    stage = _Stage(context, states, asked)
    if not asked.size:
        return {}, 0
    jobs = [_Job(f"task-{step_name(c.step)}", c) for c in states.checkpoints]
    with context.progress.phase("task metrics", len(jobs) * asked.size) as advance:
        done = 0

        def finished(job: _Job, before: bool) -> None:
            nonlocal done
            done += asked.size
            advance(done, note=f"step {job.checkpoint.step}")

        def do(chosen: Iterator[_Job]) -> Iterator[tuple[_Job, bool]]:
            for job in chosen:
                yield job, stage.measure(job.checkpoint, lambda part, c: advance(done + part, note=f"step {c.step}"))

        found = work_off(
            jobs, context.shard, saved=lambda job: stage.cached(job.checkpoint) or None, do=do, advance=finished
        )
    files = ("step",) * asked.any_rows + ("answers",) * bool(asked.generated)
    return {"task": files, "gold": asked.eval.gold, "ood_gold": asked.ood.gold}, len(jobs) - len(found)


def answered_rows(settings: Settings, inputs: Inputs) -> int:
    """How many eval rows each checkpoint answers freely, at most."""
    free = FREE_ROWS if inputs.labels is None else 0
    wanted = free if settings.task.generate_rows is None else settings.task.generate_rows
    return min(len(inputs.eval), wanted)


class _Job(NamedTuple):
    """One checkpoint: each is opened once."""

    name: str
    checkpoint: Checkpoint


def _questions(context: Context, states: States, inputs: Inputs, extra: TaskData) -> _Questions:
    settings, tokenizer, model = context.settings, states.base.tokenizer, states.base.model
    data = prepare_eval(inputs.eval, inputs.labels, tokenizer, inputs.template) if inputs.eval else _NOTHING
    ood = prepare_eval(extra.ood, extra.ood_labels, tokenizer, inputs.template) if extra.ood else _NOTHING
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
    trained = {row.text.strip() for row in inputs.train}
    if seen := sum(row.text.strip() in trained for row in ood.rows):
        note(
            context, f"{seen} of {len(ood.rows)} rows of task.ood have a training text, so they are not out of domain."
        )
    task = settings.task
    windows = ()
    if extra.retention is not None:
        windows = retention_windows(extra.retention, model, tokenizer, task.retention_tokens)
    generated = min(len(data.encoded), answered_rows(settings, inputs))
    stop = stop_ids(model, tokenizer, [e.target_ids for e in data.encoded]) if generated else ()
    kl = task.kl and bool(data.encoded)
    return _Questions(
        data,
        ood,
        windows,
        generated,
        task.generate_tokens,
        stop,
        kl,
        key=sha256_json([_asked(data), _asked(ood), windows, kl]),
        answers_key=sha256_json(
            [[(e.input_ids, row.target) for e, row in _first(data, generated)], task.generate_tokens, stop]
        ),
    )


def _asked(data: EvalSet) -> list[Any]:
    return [[(e.input_ids, e.target_ids) for e in data.encoded], data.gold, data.label_ids]


def _first(data: EvalSet, count: int) -> list[tuple[Any, Row]]:
    return list(zip(data.encoded[:count], data.rows[:count], strict=True))


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
    """What one checkpoint says, cached or asked now; holds the base's distributions once they are needed."""

    def __init__(self, context: Context, states: States, asked: _Questions) -> None:
        self.context, self.states, self.asked = context, states, asked
        self.base = states.checkpoints[0]  # step 0
        self.distributions: BaseDistributions | None = None

    def _found(self, c: Checkpoint) -> tuple[_TaskFile, _TaskFile]:
        """Its rows and its answers as they are cached; no value: it must be asked."""
        folder, dtype = self.context.folder.path / "task", self.context.settings.model.dtype
        weights = [self.states.base.sha256, self.states.hashes[c.step], dtype]
        key = sha256_json([*weights, self.states.hashes[self.base.step], self.asked.key])
        answers_key = sha256_json([*weights, self.asked.answers_key])
        files = folder / f"{step_name(c.step)}.json", folder / f"answers-{c.step:06d}.json"
        said = cached_json(files[0], key) if self.asked.any_rows else {}
        answers = cached_json(files[1], answers_key) if self.asked.generated else {}
        return _TaskFile(files[0], key, said), _TaskFile(files[1], answers_key, answers)

    def cached(self, c: Checkpoint) -> bool:
        """Whether all that a checkpoint is asked is cached."""
        return all(file.value is not None for file in self._found(c))

    def measure(self, c: Checkpoint, progress: Callable[[int, Checkpoint], None]) -> bool:
        """Ask a checkpoint what is not cached of it, and cache it; False where another process cached all of it meanwhile.

        `progress` is told how much of `asked.size` is done of it.
        """
        rows, written = self._found(c)
        said, answers = rows.value, written.value
        models, new = self.context.models, False
        if said is None and self.asked.kl and c is not self.base and self.distributions is None:
            with models.at(self.states.at(self.base)) as model:
                self._labels(model, lambda done, total: None, base=True)

        def behind(already: int) -> Callable[[int, int], None]:
            return lambda done, total: progress(already + done, c)

        with models.at(self.states.at(c)) as model:
            if said is None:
                said = {"step": c.step, **self._rows(model, c is self.base, behind)}
                new |= rows.write(said)
            if answers is None:
                answers = self._answers(model, behind(self.asked.size - self.asked.generated))
                new |= written.write(answers)
        return new

    def _labels(self, model, progress: Callable[[int, int], None], base: bool) -> tuple[RowScores, Divergence | None]:
        """The eval rows in one pass; of the base, its distributions are collected, any other is compared with them."""
        data, limit = self.asked.eval, self.context.settings.scoring.batch_tokens
        rows = len(data.encoded)
        if not self.asked.kl:
            return score_eval(model, data, batch_tokens=limit, progress=progress), None
        if base:
            self.distributions = BaseDistributions(rows)
            scores = score_eval(model, data, batch_tokens=limit, progress=progress, seen=self.distributions.collect)
            return scores, Divergence(np.zeros(rows), np.zeros(rows))  # of itself, by definition
        assert self.distributions is not None
        compared = self.distributions.against()
        scores = score_eval(model, data, batch_tokens=limit, progress=progress, seen=compared.seen)
        return scores, compared.found

    def _rows(self, model, base: bool, progress: Callable[[int], Callable[[int, int], None]]) -> dict[str, Any]:
        asked, limit = self.asked, self.context.settings.scoring.batch_tokens
        said: dict[str, Any] = {}
        if asked.eval.encoded:
            scores, kl = self._labels(model, progress(0), base)
            said["eval"] = _scores(scores)
            if kl is not None:
                said["kl"] = {"forward": _listed(kl.forward), "reverse": _listed(kl.reverse)}
        at = len(asked.eval.encoded)
        if asked.ood.encoded:
            said["ood"] = _scores(score_eval(model, asked.ood, batch_tokens=limit, progress=progress(at)))
        at += len(asked.ood.encoded)
        if asked.windows:
            windows = score_windows(model, asked.windows, batch_tokens=limit, progress=progress(at))
            said["retention"] = {"nll": _listed(windows.nll), "tokens": _listed(windows.tokens)}
        return said

    def _answers(self, model, progress: Callable[[int, int], None]) -> dict[str, Any]:
        asked, tokenizer = self.asked, self.states.base.tokenizer
        pairs = _first(asked.eval, asked.generated)
        written = greedy(
            model,
            [e.input_ids for e, _ in pairs],
            tokens=asked.tokens,
            stop=asked.stop,
            batch_tokens=self.context.settings.scoring.batch_tokens,
            progress=progress,
        )
        answers = []
        for (e, row), ids in zip(pairs, written, strict=True):
            answer = decoded(tokenizer, ids)
            answers.append(
                {
                    "id": row.id,
                    "prompt": e.text[-KEPT_PROMPT:],
                    "gold": row.target[:KEPT_ANSWER],
                    "answer": answer[:KEPT_ANSWER],
                    "exact": exact_match(answer, row.target),
                    "rouge_l": rouge_l(answer, row.target),
                }
            )
        return {"answers": answers}


def _listed(x: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in x.tolist()]


def _scores(scores: RowScores) -> dict[str, Any]:
    predicted = None if scores.predicted is None else scores.predicted.tolist()
    return {"nll": _listed(scores.nll), "tokens": scores.tokens.tolist(), "predicted": predicted}
