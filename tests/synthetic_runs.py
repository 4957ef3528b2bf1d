"""Finished run folders out of random effects: every file a reader of runs needs, without a model. Milliseconds a run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

import interplay
from interplay.config.loading import dump_settings, load_settings
from interplay.dynamics import Trajectory, trajectory
from interplay.dynamics.fidelity import Fitted, fidelity
from interplay.effects.moebius import reconstruct
from interplay.store.conditions import Record, rephrased_name, step_name
from interplay.store.files import write_json
from interplay.store.folder import write_format

STEPS = (0, 1, 2, 4)
WORDS = ("=cmd|'/C calc'!A0", "@hot", "joy")
PROMPTS = 8
NASTY = "<img src=x onerror=window.__pwned=1></script>{{7*7}}\u202e"


def synthetic_run(
    folder: Path,
    *,
    method: str = "lora",
    seed: int | None = None,
    grow: float = 1.0,
    noise: int = 0,
    prompts: int = PROMPTS,
    words: tuple[str, ...] = WORDS,
    name: str = "made up",
    controls: bool = False,
    rows: int | None = 40,
    basis: str = "accuracy",
) -> Path:
    """Write a run. `grow` scales the effects of trained steps, `noise` seeds what differs between two runs."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {
        "name": name,
        "model": {"name": "tiny"},
        "data": {"train": "t", "prompts": "p"},
        "training": {"method": method, "seed": seed, "steps": STEPS[-1], "batch_size": 2},
        "checkpoints": {"steps": list(STEPS)},
        "prompts": {"n": len(words), "count": prompts},
    }
    write_format(folder)
    (folder / "settings.yaml").write_text(dump_settings(load_settings(raw)), encoding="utf-8")
    n = len(words)
    ids = [f"p{i}" for i in range(prompts)]
    effects, scores = zip(*(_effects(i, n, grow, noise) for i in range(prompts)), strict=True)
    other, floor = zip(*(_effects(i + 100, n, 1.0, 0) for i in range(prompts)), strict=True)
    track = trajectory(
        STEPS,
        list(effects),
        list(scores),
        ids,
        rephrased=[e[:1] for e in other],
        baseline=[e[1] for e in other],
        draws=10,
    )
    track.save(folder)
    units = [
        _unit(ids[i], step_name(s), s, words, effects[i][t], scores[i][t])
        for i in range(prompts)
        for t, s in enumerate(STEPS)
    ]
    units += [
        _unit(ids[i], step_name(0, rephrased_name(0)), 0, words, other[i][0], floor[i][0]) for i in range(prompts)
    ]
    pd.DataFrame(units).to_parquet(folder / "units.parquet", index=False)
    fitted = {
        step: [
            Fitted(e[t], v[t], track.membership(i, step, "paper").all)
            for i, e, v in zip(ids, effects, scores, strict=True)
        ]
        for t, step in enumerate(STEPS)
    }
    fidelity(fitted).to_parquet(folder / "fidelity.parquet", index=False)
    k = np.arange(len(STEPS))
    task = pd.DataFrame(
        {"step": STEPS, "eval_loss": 2.0 - 0.4 * k + 0.01 * noise, "train_loss": [np.nan, 1.5, 1.2, 1.0]}
    )
    task = task.assign(accuracy=0.2 + 0.1 * k, accuracy_lo=0.1 + 0.1 * k, accuracy_hi=0.3 + 0.1 * k, rows=20.0)
    task.to_parquet(folder / "task.parquet", index=False)
    text = " ".join(words)
    listed = [{"text": w, "start": text.index(w), "end": text.index(w) + len(w)} for w in words]
    inputs = {
        "fingerprint": "f",
        "labels": ["joy"],
        "omitted": [],
        "prompts": [{"id": i, "label": "joy", "target": "joy", "text": text, "words": listed} for i in ids],
        "rows": {"train": rows, "eval": 20, "prompts": prompts},
    }
    write_json(folder / "inputs.json", inputs)
    verdict = {
        "step": 2,
        "basis": basis,
        "rule": "r",
        "sentence": "Keep step 2.",
        "evidence": [{"name": "cancelled_per_sd", "step": 2, "value": 1.0, "lo": 0.5, "hi": 1.5}],
        "rivals": {"last": 4},
        "denoised": None,
        "stop_step": None,
        "tied": [2],
        "detectable": None,
    }
    Record("b", dict.fromkeys(STEPS, "w"), {}, {}, '"_" (one per token)', False, "t").write(folder)
    write_json(folder / "recommendation.json", verdict)
    absent = {"name": "Absent words", "value": '"_" (one per token)', "note": None}
    said = {"version": interplay.__version__, "score": "against the whole vocabulary", "method": [absent]}
    said |= {"title": name, "subtitle": "made up", "notes": [], "skipped": []}
    write_json(folder / "report.json", said)
    _controls(folder, track.summary, controls)
    write_json(folder / "manifest.json", {"files": {}})
    return folder


def _effects(prompt: int, n: int, grow: float, noise: int) -> tuple[np.ndarray, np.ndarray]:
    """Effects `[T, 2, 2^n]` and their scores; step 0 is the same whatever `noise` is, since the base model is."""
    size = (len(STEPS), 2, 1 << n)
    base = np.random.default_rng(prompt).normal(size=size)
    moved = np.random.default_rng([prompt, noise]).normal(0.0, 0.05, size=size)
    found = base[:1] + np.concatenate([np.zeros((1, *size[1:])), 0.3 * base[1:] + moved[1:]])
    found[1:] *= grow
    found[..., 0] = 0.0
    orders = np.bitwise_count(np.arange(1 << n, dtype=np.uint64))
    found[:, 1, orders < 2] = 0.0
    return found, reconstruct(found[:, 0], found[:, 1], np.full(len(STEPS), -1.0))


def _unit(
    sample: str, condition: str, step: int, words: tuple[str, ...], effects: np.ndarray, scores: np.ndarray
) -> dict:
    size = np.abs(effects)
    tau = 0.05 * float(size.max())
    return {
        "key": "k",
        "condition": condition,
        "step": step,
        "sample_id": sample,
        "words": list(words),
        "target": " joy",
        "target_ids": [7],
        "duality_gap": 0.0,
        "residual": 0.0,
        "noise_sigma": 0.0,
        "score_full": scores[-1],
        "score_empty": scores[0],
        "n": len(words),
        "tau": tau,
        "salient": int((size > tau).sum()),
        "scores": scores,
        "and_effects": effects[0],
        "or_effects": effects[1],
        "alternatives": np.empty(0),
    }


def _controls(folder: Path, summary: pd.DataFrame, measured: bool) -> None:
    """The tables of controls, empty where they were not measured."""

    def put(name: str, table: pd.DataFrame) -> None:
        (table if measured else table.head(0)).to_parquet(folder / f"{name}.parquet", index=False)

    view = summary.assign(view="reference-2")
    put("views", view[["view", *summary.columns]])
    samples = Trajectory.load(folder).per_sample
    put("views_samples", samples.assign(view="reference-2")[["view", *samples.columns]])
    gamma = summary[(summary["measure"] == "gamma") & (summary["definition"] == "common")]
    both = pd.concat([gamma.assign(baseline="_hidden $x"), gamma.assign(baseline="other")])
    put("baselines", both[["baseline", *summary.columns]])
    key = {"reference": 0, "floor": "rephrased", "definition": "common"}
    pairs = [(s, m) for s in ("removed", "emerged") for m in ("count", "strength")]
    floors = [{**key, "set": s, "measure": m, "value": 2.0, "lo": 1.5, "hi": 2.5, "samples": PROMPTS} for s, m in pairs]
    put("floors", pd.DataFrame(floors))
    times = [
        {
            **key,
            "set": s,
            "measure": m,
            "step": step,
            "ratio": 0.5 * i,
            "lo": 0.4 * i,
            "hi": 0.6 * i,
            "samples": PROMPTS,
        }
        for s, m in pairs
        for i, step in enumerate(STEPS)
    ]
    put("multiples", pd.DataFrame(times))
    spearman = {
        "interaction": "l1_per_sd",
        "task": "eval_loss",
        "spearman": -0.8,
        "lo": -1.0,
        "hi": 0.1,
        "checkpoints": 4,
        "span": "all",
    }
    put("correlations", pd.DataFrame([spearman]))
    about = {
        "views": [{"name": "reference-2", "title": f"sets relative to step 2 {NASTY}"}] if measured else [],
        "baselines": [],
        "floors": [],
        "notes": [],
    }
    (folder / "controls.json").write_text(json.dumps(about), encoding="utf-8")
