"""The table of a run that the terminal shows and `Run.summary()` gives: a row a checkpoint, then the churn floor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interplay.dynamics.sets import TABLE_SETS
from interplay.text import printable, short, told_change

if TYPE_CHECKING:
    import pandas as pd

    from interplay.dynamics import Trajectory


@dataclass(frozen=True, eq=False)
class Summary:
    """Means over the prompts at each checkpoint; `str` of it is the terminal's table.

    rows     one dict per step: `step`, `SET count|strength|rho` for each set, `change`, `eval_loss`, `accuracy`; NaN: not measured
    floor    `SET count|strength` and `change` between the reference step and its rewording; None: not measured
    change   the strongest change of one interaction, in words
    """

    rows: list[dict[str, Any]]
    floor: Mapping[str, float] | None
    change: str = ""

    def lines(self) -> list[str]:
        """The table as lines of at most 80 characters, unless a figure needs more room."""
        heads = ["step", *("count", "nats", "rho") * len(TABLE_SETS), "change", "loss", "acc."]
        body = [_cells(row) for row in self.rows]
        if self.floor is not None:
            body.append(_cells({"step": "floor", **self.floor}))
        widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
        spans = [(1 + 3 * i, 4 + 3 * i) for i in range(len(TABLE_SETS))]
        groups = [" " * widths[0]]
        for (start, stop), name in zip(spans, TABLE_SETS, strict=True):
            groups.append(f" {name} ".center(sum(widths[start:stop]) + stop - start - 1, "─"))
        groups += ["all".rjust(widths[-3]), "eval".rjust(widths[-2]), "".rjust(widths[-1])]
        lines = ["  ".join(groups).rstrip()]
        for line in [heads, *body]:
            cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
            parts = [cells[0], *(" ".join(cells[start:stop]) for start, stop in spans), *cells[-3:]]
            lines.append("  ".join(parts).rstrip())
        return lines

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a frame indexed by step, the floor left out."""
        import pandas as pd

        return pd.DataFrame(self.rows).set_index("step")

    def __str__(self) -> str:
        return "\n".join([*self.lines(), *(["", printable(self.change)] if self.change else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_pandas().to_html(float_format=number, na_rep="–", border=0)


def summarise(track: "Trajectory", task: "pd.DataFrame", change: str = "") -> Summary:
    """The table of a trajectory and its task metrics (columns `step`, `eval_loss`, `accuracy`), with `strongest_change`."""
    curves = {f"{s} {measure}": track.get(measure, s) for s in TABLE_SETS for measure in ("count", "strength", "rho")}
    curves["change"] = track.get("change")
    by_step = task.set_index("step")
    rows: list[dict[str, Any]] = []
    for step in track.steps:
        row = {name: float(curve["value"].get(step, math.nan)) for name, curve in curves.items()}
        metrics = {measure: float(by_step[measure][step]) for measure in ("eval_loss", "accuracy")}
        rows.append({"step": step, **row, **metrics})
    floor = {}
    for name in ("change", *(f"{s} {measure}" for s in TABLE_SETS for measure in ("count", "strength"))):
        null = curves[name]["null"].dropna()
        if len(null):
            floor[name] = float(null.iloc[-1])  # one transition: the same at every step
    return Summary(rows, floor or None, change)


def strongest_change(changes: "pd.DataFrame", reference: int) -> str:
    """The strongest change of `RunReader.changes`, in words; where there are floors, of those above their prompt's.

    >>> import pandas as pd
    >>> row = {"step": 40, "sample": "p3", "kind": "and", "words": ("not", "happy"), "effect_reference": 0.1, "effect": 3.0}
    >>> strongest_change(pd.DataFrame([row | {"change": 2.9, "outcome": "new", "floor": 0.4}]), 0)
    "The strongest change from step 0 to 40, in prompt 'p3': not & happy (AND): +0.10 -> +3.00, a change of +2.90 nats (new). 1 of 1 \
changes exceed all that another wording of their prompt makes."
    """
    if changes.empty:
        return "No interaction has changed."
    certain, known = changes, changes["floor"].notna().any()
    if known:
        certain = changes[changes["change"].abs() > changes["floor"]]
    step, text = changes["step"].iloc[0], ""
    for c in certain.head(1).to_dict("records"):
        told = told_change(*(c[name] for name in ("words", "kind", "effect_reference", "effect", "outcome")))
        text = f"The strongest change from step {reference} to {step}, in prompt {short(c['sample'])}: {told}. "
    if not known:
        return (
            f"{text}No floor was measured, so how much of it another wording of the prompt would change is not known."
        )
    many = len(certain) or "None"
    return f"{text}{many} of {len(changes)} changes exceed{'s' * (not len(certain))} all that another wording of their prompt makes."


def number(value: float | None, digits: int = 2) -> str:
    """
    >>> number(3.14159), number(float("nan")), number(None)
    ('3.14', '–', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [str(row["step"])]
    for name in TABLE_SETS:
        cells += [number(row.get(f"{name} count"), 1), number(row.get(f"{name} strength"), 1)]
        cells.append(number(row.get(f"{name} rho")))
    loss = row.get("eval_loss")
    digits = 3 if loss is None or not loss >= 10 else 2
    return [*cells, number(row.get("change"), 1), number(loss, digits), number(row.get("accuracy"))]
