"""Payloads put where data stand: into every string of a page's payload, and into every file of a run folder."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from hostile import SETTABLE
from synthetic_runs import synthetic_run

from interplay.dynamics import Trajectory

# Strings by which the page finds its way; a folder that has others in their place is refused or draws nothing.
OURS = frozenset({"type", "state", "set", "measure", "basis", "kind", "axis", "order"})
# Names that tie rows of several tables together: each keeps a name of its own.
TIES = frozenset(
    {"definition", "view", "floor", "baseline", "name", "run", "group", "first", "second", "id", "prompt", "span"}
)


def poisoned(value: Any, texts: Sequence[str]) -> Any:
    """A copy with one of `texts`, in turn, for every string that is not ours; names of mappings come from data too.

    Names that tie tables together become a text and a number: the same one everywhere, different ones different.
    """
    turn, names = itertools.cycle(texts), {}

    def copy(value: Any, key: str) -> Any:
        if isinstance(value, str):
            if key in OURS:
                return value
            if key in TIES:
                if value not in names:
                    names[value] = f"{next(turn)}{len(names) or ''}"
                return names[value]
            return next(turn)
        if isinstance(value, Mapping):
            if key == "rivals":
                return {f"{next(turn)}{i or ''}": item for i, item in enumerate(value.values())}
            return {name: copy(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [copy(item, key) for item in value]
        return value

    return copy(value, "")


def small_payload(generator: Any) -> dict[str, Any]:
    """A page's payload with every part in it, and little of each: one prompt, two steps, one curve of a second definition."""
    payload = generator.make_controlled()
    steps = payload["steps"][:1] + payload["steps"][-1:]
    payload["steps"], payload["reference"] = steps, steps[0]
    payload["recommendation"]["step"] = steps[-1]
    payload["recommendation"]["rivals"] = dict.fromkeys(payload["recommendation"]["rivals"], steps[1])
    payload["prompts"] = payload["prompts"][:1]
    kept = payload["prompts"][0]["id"]
    for part in ("summary", "task", "views", "baselines", "floors", "multiples"):
        rows = payload[part]
        payload[part] = [
            row | ({"reference": steps[0]} if "reference" in row else {})
            for row in rows
            if row.get("step", steps[0]) in steps
            and row.get("reference", steps[0]) == steps[0]
            and (
                row.get("definition", "common") == "common"
                or (row["definition"], row["measure"]) == ("signed", "strength")
            )
        ]
    for view in payload["controls"]["views"]:
        view["recommended"] = steps[1]
    for part in ("rows", "curves", "matching"):
        payload["fidelity"][part] = [
            row for row in payload["fidelity"][part] if row["step"] in steps and row.get("prompt", kept) == kept
        ]
    payload["prompts"][0]["steps"] = [step for step in payload["prompts"][0]["steps"] if step["step"] in steps]
    for step in payload["prompts"][0]["steps"]:
        step["interactions"] = step["interactions"][:12]
    return payload


def poisoned_page(payload: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """A page's payload with `texts` everywhere, the prompt and its words with offsets that fit."""
    out = poisoned(payload, texts)
    turn = itertools.cycle(texts)
    for prompt in out["prompts"]:
        said, words = "", []
        for _ in range(prompt["n"]):
            said += f" and {next(turn)} then "
            word = next(turn)
            words.append({"text": word, "start": len(said), "end": len(said) + len(word)})
            said += word
        prompt["text"], prompt["words"] = said, words
    return out


# ---- a run folder ----------------------------------------------------------------------------------------------------

TEXTS = tuple(p.text for p in SETTABLE if len(p.text) < 1000)


def hostile_run(folder: Path, texts: tuple[str, ...] = TEXTS, **more: Any) -> Path:
    """A finished run of one prompt for three payloads, its words: one of them is its id, one its label, one its target.

    Notes, baseline LLMs, evidence, rivals, labels, rows of the method and rows left out are all of them.
    """
    padded = (*texts, *texts[:2])
    threes = [padded[i : i + 3] for i in range(0, len(texts), 3)]
    synthetic_run(folder, prompts=len(threes), words=("alpha", "beta", "delta"), controls=True, **more)
    names = {f"p{i}": three[0] for i, three in enumerate(threes)}
    track = Trajectory.load(folder)
    renamed = replace(
        track,
        sample_ids=tuple(sorted(names.values())),
        per_sample=track.per_sample.assign(sample=track.per_sample["sample"].map(names)),
        sets={names[sample]: sets for sample, sets in track.sets.items()},
    )
    renamed.save(folder)
    _rewrite(folder / "views_samples.parquet", lambda frame: frame.assign(sample=frame["sample"].map(names)))
    _rewrite(folder / "units.parquet", lambda frame: _units(frame, threes))
    _rewrite(folder / "baselines.parquet", lambda frame: _baselines(frame, texts))
    prompts = [_prompt(three) for three in threes]
    inputs = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    omitted = [{"stage": text, "id": text, "reason": text} for text in texts]
    _json(folder / "inputs.json", inputs | {"prompts": prompts, "labels": list(texts), "omitted": omitted})
    verdict = json.loads((folder / "recommendation.json").read_text(encoding="utf-8"))
    verdict |= {"rivals": dict.fromkeys(texts, 4), "sentence": " ".join(texts), "rule": texts[0]}
    verdict["evidence"] = [{"name": text, "step": 2, "value": -0.5, "lo": -1.0, "hi": None} for text in texts]
    _json(folder / "recommendation.json", verdict)
    about = {"title": texts[0], "subtitle": texts[1], "version": texts[2], "score": texts[1], "notes": list(texts)}
    about["method"] = [{"name": text, "value": text, "note": text} for text in texts]
    about["skipped"] = [{"id": text, "reason": text} for text in texts]
    _json(folder / "report.json", about)
    view = {"name": "reference-2", "title": texts[0], "note": texts[1]}
    family = [{"name": text, "family": text, "same_family": False} for text in texts]
    floors = [{"name": "rephrased", "title": texts[0], "note": texts[1]}]
    _json(folder / "controls.json", {"views": [view], "baselines": family, "floors": floors, "notes": list(texts)})
    return folder


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _rewrite(path: Path, change: Any) -> None:
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def _units(frame: pd.DataFrame, threes: Sequence[Sequence[str]]) -> pd.DataFrame:
    own = [threes[int(sample[1:])] for sample in frame["sample_id"]]
    figures = {"score_full": -0.5, "score_empty": -1.0, "residual": 0.01, "noise_sigma": 1e-6}
    ids, targets = [three[0] for three in own], [three[2] for three in own]
    return frame.assign(sample_id=ids, target=targets, words=[list(three) for three in own], **figures)


def _baselines(frame: pd.DataFrame, texts: tuple[str, ...]) -> pd.DataFrame:
    """A block for every payload of what one baseline LLM has, as few rows as a curve needs."""
    one = frame[(frame["baseline"] == "other") & (frame["set"] == "emerged") & (frame["order"] == 0)]
    return pd.concat([one.assign(baseline=text) for text in texts], ignore_index=True)


def _prompt(three: Sequence[str]) -> dict[str, Any]:
    said, words = "", []
    for i, text in enumerate(three):
        said += f" {i} "
        words.append({"text": text, "start": len(said), "end": len(said) + len(text)})
        said += text
    return {"id": three[0], "label": three[1], "target": three[2], "text": said, "words": words}
