"""Names of conditions, and what the measuring stages leave behind for the tables. Data only."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from interplay.data.rows import Sample
from interplay.store.units import Unit
from interplay.task.measured import TaskMeasured

Units = dict[str, list[Unit | None]]
Words = list[list[tuple[int, int]] | None]


@dataclass(frozen=True)
class BaselineLLM:
    """One baseline LLM as it was used: its name, what its config calls its architecture, and its weights' hash."""

    name: str
    family: str
    same_family: bool
    sha256: str


@dataclass(frozen=True)
class Measured:
    """Units by condition (None where a prompt has none), task metrics, and where each draw's words stand in the texts."""

    steps: tuple[int, ...]
    reference: int
    units: Units
    task: TaskMeasured
    second_reference: int | None = None
    baselines: tuple[BaselineLLM, ...] = ()
    words: dict[int, Words] = field(default_factory=dict)  # by draw, the first is 1


def offsets(samples: Sequence[Sample | None]) -> Words:
    """Where the words of each sample stand in its text, (start, end) each."""
    return [None if s is None else [(w.start, w.end) for w in s.words] for s in samples]


def step_name(step: int) -> str:
    """Condition name of a checkpoint.

    >>> step_name(40)
    'step-000040'
    """
    return f"step-{step:06d}"


def rephrased_name(step: int) -> str:
    """Condition name of a checkpoint under the rephrased template."""
    return f"{step_name(step)}-rephrased"


def baseline_condition(index: int) -> str:
    """Condition name of the index-th baseline LLM.

    >>> baseline_condition(0), baseline_condition(1)
    ('baseline', 'baseline-2')
    """
    return "baseline" if index == 0 else f"baseline-{index + 1}"
