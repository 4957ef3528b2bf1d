"""Names of conditions, and what measuring leaves for the analysis besides units and task metrics."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interplay.data.rows import Sample
from interplay.errors import InterplayError
from interplay.store.files import read_json, write_json
from interplay.store.units import Unit
from interplay.task.measured import TaskMeasured

Units = dict[str, list[Unit | None]]
Words = list[list[tuple[int, int]] | None]  # (start, end) of each word in its prompt's text; None: no such draw
MEASURED = "measured.json"


@dataclass(frozen=True)
class BaselineLLM:
    """A baseline LLM: its name, its architecture by its config (`family`), and its weights' hash."""

    name: str
    family: str
    same_family: bool
    sha256: str


@dataclass(frozen=True)
class Omitted:
    """A row that was not used, where, and why."""

    stage: str
    id: str
    reason: str


@dataclass(frozen=True)
class Calibration:
    """Tolerance delta and what it comes from, in nats: means over the prompts at one model state."""

    tolerance: float
    mean_total_effect: float  # |v(N) - v(empty)|
    noise_sigma: float  # root mean square numerical noise of v
    spread: float  # standard deviation of v over coalitions
    absence_sigma: float = 0.0  # root mean square noise of v from draws of other words


@dataclass(frozen=True)
class Record:
    """`measured.json`: what was measured and with what, written before the tables are made from it.

    weights      SHA-256 of the weights at each measured step, ascending; base_sha256 of the base
    conditions   name -> the prompts that have a unit under it
    controls     the settings that `conditions` of controls were measured under
    words        draw of words -> where they stand; the first draw is 1
    mask         what absent words become
    among        how many labels v is scored among; 0: against the whole vocabulary
    chat         whether prompts go through the chat template; template_hash tells wordings apart
    losses       of a trainer's log, at each step (None where not known): `train_loss`, the mean since the step before, and
                 `eval_<name>_loss` of named eval sets
    gold         label of each eval row, by its index; None: no labels. ood_gold: of the out-of-domain rows
    task         which task files there are: "step", "answers"; "logged": the trainer's own metrics, in `task.parquet`
    saved        steps whose weights can be kept, where that is not all of them
    pending      what is still to be measured, in words
    subtitle, method   what the page says of a training that was watched by the callback
    """

    base_sha256: str
    weights: dict[int, str]
    conditions: dict[str, tuple[int, ...]]
    words: dict[int, Words]
    mask: str
    chat: bool
    template_hash: str
    among: int = 0
    controls: dict[str, Any] = field(default_factory=dict)
    baselines: tuple[BaselineLLM, ...] = ()
    losses: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    gold: tuple[int, ...] | None = None
    ood_gold: tuple[int, ...] | None = None
    task: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    saved: tuple[int, ...] | None = None
    subtitle: str | None = None
    pending: tuple[str, ...] = ()
    method: tuple[tuple[str, str | None, str | None], ...] = ()

    @property
    def steps(self) -> tuple[int, ...]:
        """The measured steps, ascending."""
        return tuple(self.weights)

    def write(self, folder: Path) -> None:
        write_json(folder / MEASURED, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record of a run folder; InterplayError where it is missing or damaged."""
        value = read_json(folder / MEASURED)
        try:
            found = TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            raise InterplayError(
                f"{str(folder / MEASURED)!r} does not hold what a run writes: run the same command again"
            ) from error
        return replace(found, weights=dict(sorted(found.weights.items())))


@dataclass(frozen=True)
class Measured:
    """What the tables are made from: units by condition (None where a prompt has none), task metrics, the draws of words."""

    steps: tuple[int, ...]
    reference: int
    units: Units
    task: TaskMeasured
    calibration: Calibration
    second_reference: int | None = None
    baselines: tuple[BaselineLLM, ...] = ()
    words: dict[int, Words] = field(default_factory=dict)  # by draw, the first is 1
    solved_again: dict[Path, Unit] = field(default_factory=dict)  # units whose effects on disk are under other settings


def offsets(samples: Sequence[Sample | None]) -> Words:
    """Where the words of each sample stand in its text, (start, end) each."""
    return [None if s is None else [(w.start, w.end) for w in s.words] for s in samples]


def step_name(step: int, question: str = "") -> str:
    """Condition name of a checkpoint, and of another question put to it: `step-000040`, `step-000040-rephrased`."""
    return f"step-{step:06d}-{question}".removesuffix("-")


def rephrased_name(index: int) -> str:
    """Name of the index-th other wording, behind the step in that of a condition: `rephrased`, `rephrased-2`, ..."""
    return "rephrased" if index == 0 else f"rephrased-{index + 1}"


def other_score(among: int) -> str:
    """What the other score of rows with labels is called in names of conditions, v being `among` so many of them."""
    return "vocabulary" if among else "labels"


def baseline_condition(index: int) -> str:
    """Condition name of the index-th baseline LLM: `baseline`, `baseline-2`, ..."""
    return "baseline" if index == 0 else f"baseline-{index + 1}"


def calibrated_by(condition: str, first: str) -> str:
    """The condition whose units say how exact those of a condition are: of baseline LLMs its own, else that of the `first` step.

    >>> [calibrated_by(c, "step-000000") for c in ("step-000002-words-2", "step-000002-labels", "baseline-vocabulary")]
    ['step-000000', 'step-000000-labels', 'baseline-vocabulary']
    """
    score = condition.rpartition("-")[2]
    if condition.startswith("baseline"):
        return condition
    return f"{first}-{score}" if score in ("labels", "vocabulary") else first
