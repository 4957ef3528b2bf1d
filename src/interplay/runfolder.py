"""`Run`: a run folder in Python. What was measured as tables, the recommendation, and the page, export and card made from it."""

import html
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from interplay.analysis.measured import read_task
from interplay.analysis.results import recommend_of
from interplay.analysis.summary import Summary, strongest_change, summarise
from interplay.dynamics.sets import MAIN_DEFINITION
from interplay.errors import InterplayError
from interplay.models.layouts import find_layout
from interplay.recommendation.result import Recommendation
from interplay.store.conditions import MEASURED, Record
from interplay.store.folder import RunFolder
from interplay.store.reader import RunReader

if TYPE_CHECKING:
    from interplay import Audit  # of a room below, by its public name
    from interplay.exports.export import ExportResult


@dataclass(frozen=True)
class SavedCheckpoints:
    """The trained checkpoints that a run measured, without step 0, and where their weights are.

    where    the folder the training left them in
    hashes   measured step -> SHA-256 of its weights, ascending; None where the run kept none
    paths    step -> folder of each one whose weights can still be opened
    problem  why none can be found at all
    """

    where: Path
    hashes: Mapping[int, str | None]
    paths: Mapping[int, Path]
    problem: str | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """The measured steps after 0, ascending."""
        return tuple(self.hashes)

    @property
    def gone(self) -> tuple[int, ...]:
        """Measured steps whose weights are not there any more."""
        return tuple(step for step in self.hashes if step not in self.paths)


class Run(RunReader):
    """A run folder, as `interplay run`, `track` or the callback wrote it. Everything is read when first asked for.

    >>> run = Run("runs/demo")
    >>> run.path.name
    'demo'

    `str(run.summary())` is the table that the command printed; `run.recommendation.step` the checkpoint to keep;
    `run.trajectory.get("strength", "emerged")` one curve; `run.interactions(prompt=3, step=40)` one prompt at one step;
    `run.changes()` what changed in all prompts, strongest first;
    `run.table("task")` any table by its name; `run.settings.dynamics.ratio` a setting.

    Reading raises InterplayError for a folder that is not a run, a run that has not come that far, and a damaged file.
    """

    def summary(self) -> Summary:
        """The table that `interplay run` prints: printable, with `.rows`, `.floor`, `.change` and `.to_pandas()`."""
        with self.intact():
            return summarise(self.trajectory, self.task, strongest_change(self.changes(), self.trajectory.reference))

    @cached_property
    def recommendation(self) -> Recommendation:
        """Which checkpoint to keep, and why, among those still on disk (InterplayError if none is); `str` is the sentence.
        Step 0 with the basis "base": no checkpoint beats the base model."""
        self._catch_up()
        name, saved = str(self.path), self.checkpoints
        if not saved.hashes:
            raise InterplayError(
                f"{name!r} measured the base model only, so there is no checkpoint to keep: measure saved checkpoints too"
            )
        if not saved.paths:
            reason = f"is there to keep: {saved.problem}"
            if saved.problem is None:
                reason = f"is whole in {str(saved.where)!r} any more: copy one back"
            raise InterplayError(f"none of the checkpoints that {name!r} measured ({_listed(saved.steps)}) {reason}")
        with self.intact():
            recorded = Recommendation.from_dict(self.recorded)
            if not saved.gone and (recorded.step in (None, *saved.paths) or recorded.basis == "base"):
                return recorded
            rows = read_task(self.path, Record.read(self.path))
            again = recommend_of(self.settings, self.trajectory, self.task, rows, tuple(saved.paths))
        if again.step not in saved.paths and again.basis != "base":
            raise InterplayError(
                f"of what {name!r} measured only {_listed(saved.paths)} is on disk, which leaves no trained checkpoint to "
                f"name: copy the others back into {str(saved.where)!r}"
            )
        return again

    @cached_property
    def checkpoints(self) -> SavedCheckpoints:
        """The trained checkpoints: `.steps`, `.paths` of those on disk, `.gone`, and `.hashes` of their weights."""
        where = Path(self.settings.checkpoints.folder or RunFolder(self.path).checkpoints)
        if self.has("weights.json"):
            measured = {int(step): sha for step, sha in self.json("weights.json")["checkpoints"].items()}
        else:
            with self.intact():
                measured = dict.fromkeys(self.trajectory.steps)
        hashes = {step: sha for step, sha in sorted(measured.items()) if step > 0}
        try:
            found = {c.step: c.path for c in find_layout(where).checkpoints if c.path is not None}
        except InterplayError as error:
            return SavedCheckpoints(where, hashes, {}, str(error))
        return SavedCheckpoints(where, hashes, {step: path for step in hashes if (path := found.get(step)) is not None})

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """The held-out prompts, one row each: id, text, target, label, and the chosen words as a tuple."""
        with self.intact():
            columns = ["id", "text", "target", "label", "words"]
            prompts = pd.DataFrame(list(self.inputs["prompts"])).reindex(columns=columns)
            return prompts.assign(words=[tuple(word["text"] for word in words) for words in prompts["words"]])

    @property
    def audit(self) -> "Audit":
        """Which word rules of its rows the model learnt, as `interplay.audit` wrote it; InterplayError if it was not audited."""
        from interplay import Audit

        _ = self.settings
        if not self.has("audit.json"):
            raise InterplayError(f"{str(self.path)!r} has no audit: interplay audit {self.path} makes one")
        return Audit.load(self.path / "audit.json")

    @property
    def notes(self) -> list[str]:
        """What a reader of the run must know: its warnings, and how many rows were left out and why."""
        return list(self.json("report.json")["notes"])

    def interactions(self, prompt: int | str, step: int, definition: str = MAIN_DEFINITION) -> pd.DataFrame:
        """The interactions of one prompt that are in any set at one step, or changed, strongest change first.

        Args:
            prompt: position in `prompts`, or the prompt's id.
            step: a measured step.
            definition: definition of the sets: common, paper or signed.

        Returns one row each: kind (and, or), words (a tuple), effect at the reference and at this step, their change (log-odds),
        outcome (new, gone, flipped, stronger, weaker, kept), certain (the fraction of other splits, as sparse, in which it changes
        alike), exchangeable_with ((kind, words) of what changes in its place in the others), mask, order, tau, and one boolean for
        each of all, preserved, emerged, removed, kept, reentered. InterplayError if it was not measured.
        """
        if not isinstance(prompt, str):
            if not 0 <= prompt < len(self.prompts):
                raise InterplayError(f"prompt {prompt} is not there: the run has prompts 0 to {len(self.prompts) - 1}")
            prompt = self.prompts["id"][prompt]
        with self.intact():
            found = self.listed(prompt, step, definition)
            first = ["kind", "words", "effect_reference", "effect", "change", "outcome", "certain", "exchangeable_with"]
            return found[[*first, *(c for c in found if c not in (*first, "definition", "step", "sample", "instead"))]]

    def report(
        self,
        path: str | Path | None = None,
        settings: Mapping[str, Any] | Iterable[str] | str = (),
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Write the page of the run again, and with `settings` its tables and recommendation too; returns where the page is.

        Args:
            path: where to write the page; None: `report.html` in the run folder.
            settings: other settings of the analysis, as `{"dynamics.ratio": 0.1}` or `["dynamics.ratio=0.1"]`: name, effects,
                dynamics, controls, baseline and prompt.rephrased. The run folder then holds the new analysis.
            progress: called with (prompts on the page, in all).

        Raises InterplayError where the settings ask for another measurement, or for units that were not measured.
        """
        from interplay.analysis.measured import read_measured
        from interplay.analysis.payload import build_payload
        from interplay.analysis.results import analyse
        from interplay.config.loading import assignments, difference, load_settings
        from interplay.report import write

        self._catch_up()
        folder, inside = RunFolder(self.path), self.path / "report.html"
        if overrides := assignments(settings):
            self.require_finished()
            old = self.settings
            wanted = load_settings(old.model_dump(mode="json"), overrides)
            if changes := difference(old.measurement(), wanted.measurement()):
                raise InterplayError(
                    f"report only analyses again, and this asks for another measurement ({'; '.join(changes[:6])}): "
                    "use interplay run or track with another --out"
                )
            measured = read_measured(self.path, wanted, Record.read(self.path))  # refuses before anything is changed
            with folder.opened(wanted, measures=False) as lock, lock.held():
                analyse(self.path, wanted, measured=measured)
            self._forget()
        pages = [inside] if overrides or path is None else []
        pages += [] if path is None else [Path(path)]
        with self.intact():
            done, of = itertools.count(1), len(pages) * len(self.inputs["prompts"])
            for page in pages:
                write(
                    build_payload(folder), page, advance=None if progress is None else lambda: progress(next(done), of)
                )
        if inside in pages and (overrides or folder.manifest.exists()):
            folder.write_manifest()  # a newer Interplay draws another page
        return pages[-1]

    def _catch_up(self) -> None:
        """Analyse what a training that was killed had measured since its last tables."""
        from interplay.analysis.results import analyse

        last, record = self.path / "report.json", self.path / MEASURED
        if self.finished or not self.has("callback.json") or not record.exists():
            return
        if not last.exists() or last.stat().st_mtime_ns < record.stat().st_mtime_ns:
            analyse(self.path, self.settings)
            self._forget()

    def _forget(self) -> None:
        """What was read before."""
        for name in set(vars(self)) - {"path"}:
            del self.__dict__[name]

    def export(
        self,
        out: str | PathLike[str],
        *,
        format: str | Sequence[str] = ("svg", "pdf"),
        tables: str | Sequence[str] = ("csv", "parquet"),
        progress: Callable[[int, int], None] | None = None,
    ) -> "ExportResult":
        """Write every figure and table of the run into a folder, with a README that explains every column.

        Args:
            out: a folder outside the run folder; files of the same names in it are replaced.
            format: formats of the figures: svg, pdf, png; "none" for no figures. Figures need `interplay[figures]`.
            tables: formats of the tables: csv, parquet; "none" for no tables.
            progress: called with (tables and figures done, in all).
        """
        from interplay.exports.export import export_run

        return export_run(self, Path(out), format, tables, progress)

    def card(self, *, out: str | PathLike[str] | None = None, append: str | PathLike[str] | None = None) -> str:
        """The run as a "Training dynamics" section of a model card, in Markdown.

        `out`: a file for the section alone. `append`: a card; the section replaces an earlier one in it, or goes to the end.
        """
        from interplay.exports.card import append_section, section, write_section

        if out is not None and append is not None:
            raise InterplayError("--out and --append exclude each other: give one of them")
        text = section(self)
        if out is not None:
            write_section(Path(out), text)
        if append is not None:
            append_section(Path(append), text)
        return text

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """Its name, its table and the recommendation, for a notebook."""
        if not self.finished:
            return f"<p>{html.escape(repr(self))}: not finished</p>"
        name, sentence = html.escape(self.settings.name), html.escape(str(self.recorded["sentence"]))
        return f"<p><b>{name}</b></p>{self.summary()._repr_html_()}<p>{sentence}</p>"


def _listed(steps: Iterable[int]) -> str:
    named = ", ".join(map(str, steps))
    return f"step{'s' if ',' in named else ''} {named}"
