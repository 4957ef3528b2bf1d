"""Recommend a checkpoint by the log that a training left (`trainer_state.json`). Imports neither NumPy nor a model.

The log has one number a step, so nothing can be tested: equal figures are a tie, and any other lead counts as one.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from interplay.models.layouts import SHOWN, find_layout, furthest_state, numbered
from interplay.recommendation.result import Evidence, Recommendation

RULE = (
    "the metric by which the trainer kept its best, else highest eval accuracy, else lowest eval loss, as its log has them; of equal "
    "ones the lowest eval loss, then the earliest, the base model included; without eval values the last"
)
LOSS, METRIC = "eval_prompts_loss", "eval_interaction_loss"  # what the callback adds to the log; these do not decide
_RIVALS = {"eval_accuracy": "accuracy", "eval_loss": "eval_loss", LOSS: "prompt_loss"}
_NAMES = {"eval_accuracy": "eval accuracy", "eval_loss": "eval loss", LOSS: "the loss of the callback's prompts"}
# What decides, the first that was logged; a mean over tokens is not the accuracy of rows.
_ORDER = ("eval_accuracy", "eval_(?!.*token).*_accuracy", "eval_loss", "eval_.*_loss", "eval_.*")
_COST = re.compile(r".*(runtime|_per_second|_time|_tokens|_entropy)")
_LOWER = re.compile(r".*(loss|perplexity|ppl|error|_wer|_cer|_mse|_rmse|_mae)")


class LoggedTraining(NamedTuple):
    """What the log and the folders of a training say. `paths`: step -> folder of each trained checkpoint on disk."""

    recommendation: Recommendation
    paths: Mapping[int, Path]


def read_logged(folder: Path) -> LoggedTraining | None:
    """The recommendation by the log in the output folder of a training; None where no log can be read.

    Raises InterplayError if there is no checkpoint with weights.
    """
    state, notes = furthest_state(folder)
    if not state.global_step:
        return None
    found = numbered(folder, notes) or {c.step: c for c in find_layout(folder).checkpoints}
    paths = {step: c.path for step, c in sorted(found.items()) if c.path is not None}
    if beyond := [step for step in paths if step > state.global_step]:
        notes.append(f"the log ends at step {state.global_step}, before {_steps(beyond)} on disk")
    said, chosen = _choose(state.log_history, state.best_metric, [*paths])
    sentence = " ".join([*said, *(f"{note[:1].upper()}{note[1:]}." for note in notes)])
    return LoggedTraining(Recommendation(rule=RULE, sentence=sentence, **chosen), paths)


def _choose(history: list[dict[str, Any]], best: float | None, on_disk: list[int]) -> tuple[list[str], dict[str, Any]]:
    """Why, in sentences, and the other fields. `best`: the best value by the trainer's metric, whose name no state keeps.

    >>> log = [{"step": 10, "eval_loss": 2.0}, {"step": 20, "eval_loss": 1.5}, {"step": 30, "eval_loss": 2.0}]
    >>> _choose(log, None, [10, 30])[0][0]
    'Keep step 10: eval loss 2, the lowest of 2 evaluated checkpoints on disk, as at step 30; the earliest is kept.'
    """
    logged, odd = _columns(history)
    order = sorted(logged, key=lambda key: next(i for i, kind in enumerate(_ORDER) if re.fullmatch(kind, key)))
    trained = {key: [x for step, x in logged[key].items() if step] or [math.nan] for key in order}
    own = [key for key in order if best in (min(trained[key]), max(trained[key]))]
    main = next((key for key in [*own, *order] if key not in (LOSS, METRIC)), "eval_loss")
    sign = {key: -1 if _LOWER.fullmatch(key) else 1 for key in [*logged, main]}
    if main in own and min(trained[main]) < max(trained[main]):
        sign[main] = 1 if best == max(trained[main]) else -1
    end, values, name = {1: "highest", -1: "lowest"}, logged.get(main, {}), _NAMES.get(main, main)
    kept = {step: values[step] for step in (0, *on_disk) if step in values}
    step, tied, basis = on_disk[-1], [], "last"
    if len(kept) > 1:
        top = max(kept.values(), key=lambda x: sign[main] * x)
        tied, losses, why = [at for at in kept if kept[at] == top], logged.get("eval_loss", {}), "the earliest is kept"
        step, *others = tied
        if others and main != "eval_loss" and losses.keys() >= {*tied}:
            step, why = min(tied, key=losses.__getitem__), "of these it has the lowest eval loss"
            others, tied = [at for at in tied if at != step], [at for at in tied if losses[at] == losses[step]]
        basis = {"eval_accuracy": "accuracy", "eval_loss": "eval-loss"}.get(main, "metric") if step else "base"
        nothing = f"No checkpoint on disk {'is shown to beat' if others else 'beats'} the base model"
        count = len(kept) - (0 in kept)
        among = "the base model and " * (0 in kept) + f"{count} evaluated checkpoint{'s' * (count > 1)} on disk"
        also = f", as at {_steps(others)}; {why}" if others else ""
        head = f"Keep step {step}" if step else nothing
        said = [f"{head}: {name} {top:.4g}, the {end[sign[main]]} of {among}{also}."]
    elif len(on_disk) == 1:
        basis, said = "only", [f"Only one checkpoint, step {step}, is on disk: nothing was compared."]
    else:
        found = _steps(kept) if kept else "none"
        why = f"of the steps with {name} {found} is on disk" if values else "the log has no eval value"
        said = [f"No evidence to choose: {why}, so step {step} is simply the last checkpoint."]
        said.append("Training loss is no ground: it falls on rows that are learnt by heart, too.")
    lost = max((at for at in values if at), key=lambda at: sign[main] * values[at], default=None)
    if (
        lost is not None
        and lost not in kept
        and (step not in values or sign[main] * values[lost] > sign[main] * values[step])
    ):
        why = "is not on disk: never saved, or deleted by save_total_limit"
        said.append(f"Better was step {lost} ({values[lost]:.4g}), which {why}.")
    rivals = {"last": on_disk[-1]}
    for key in (key for key in _RIVALS if key in logged):
        if at := [step for step in on_disk if step in logged[key]]:
            rivals[_RIVALS[key]] = found = max(at, key=lambda at, key=key: sign[key] * logged[key][at])
            if key != main and found != step:
                said.append(f"{_NAMES[key].capitalize()} is {end[sign[key]]} at step {found}.")
    for key, what in ((main, name.capitalize()), ("loss", "Training loss")):
        said += [f"{what} is not a number at {_steps(odd[key])}."] if key in odd else []
    if values and (rest := [at for at in on_disk if at not in values]):
        said.append(f"Not evaluated: {_steps(rest)}.")
    if tied:
        said += [] if 0 in kept else [f"The base model's {name} is not known, so whether training helped is not."]
        said.append("No lead can be tested: the log has one number a step, no answers to single rows.")
    evidence = tuple(Evidence(_RIVALS.get(main, main), at, x, math.nan, math.nan) for at, x in kept.items())
    return said, {"step": step, "basis": basis, "evidence": evidence, "rivals": rivals, "tied": (*tied,)}


def _columns(history: list[dict[str, Any]]) -> tuple[dict[str, dict[int, float]], dict[str, list[int]]]:
    """What was evaluated, by name and step; and the steps at which it, or the training loss, is not a number."""
    logged: dict[str, dict[int, float]] = {}
    odd: dict[str, list[int]] = {}
    for entry in (entry for entry in history if type(entry.get("step")) is int):
        for key, x in entry.items():
            evaluated = key.startswith("eval_") and not _COST.fullmatch(key)
            if type(x) not in (int, float) or not (evaluated or key == "loss"):
                continue
            if not math.isfinite(x):
                odd.setdefault(key, []).append(entry["step"])
            elif evaluated:
                logged.setdefault(key, {})[entry["step"]] = float(x)
    return logged, odd


def _steps(steps: Iterable[int]) -> str:
    first, *more = steps
    return f"step{'s' * bool(more)} {', '.join(map(str, [first, *more[: SHOWN - 1]]))}{', ...' * (len(more) >= SHOWN)}"
