"""The page of a large study: its bytes, its nodes in Chromium, and the memory that tables and page take to build.

Scores and effects are made up, without a model: a few interactions a prompt that grow, fall and turn over the checkpoints.
Tables and page are built in processes of their own, whose highest resident memory is read from /proc (Linux).

    python -m benchmarks.page [PROMPTS STEPS WORDS]     (by default 200 20 8)
    python -m benchmarks.page --part PART FOLDER        (a child: prints one JSON object)
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd

from benchmarks.memory import MB, status_bytes
from benchmarks.scoring_rows import child_paths
from benchmarks.section import Section

TERMS, OTHERS = 24, 3  # interactions of a prompt; other splits of each unit, as many as a run keeps
WORDS = [
    "suddenly",
    "bright",
    "morning",
    "letter",
    "arrived",
    "promise",
    "garden",
    "quiet",
    "brother",
    "journey",
    "winter",
    "answer",
    "silver",
    "window",
    "evening",
    "laughter",
]
LABELS = ("joy", "love", "pride", "surprise")
CHROMIUM = "/usr/bin/chromium"


def terms(prompt: int, steps: int, n: int, draw: int = 0) -> np.ndarray:
    """Effects [T, 2, 2^n] of one prompt, nats: some are there from the start, some come, some go, one turns.

    >>> made = terms(0, 5, 4)
    >>> made.shape, bool((made == terms(0, 5, 4)).all()), bool((made[..., 0] == 0).all())
    ((5, 2, 16), True, True)
    """
    rng, at = np.random.default_rng([prompt, draw]), np.linspace(0.0, 1.0, steps)
    found = np.zeros((steps, 2, 1 << n))
    start, end = rng.normal(0.0, 1.0, (2, TERMS)) * rng.integers(0, 2, (2, TERMS))
    where = rng.integers(1, 1 << n, TERMS)
    kinds = rng.integers(0, 2, TERMS) * (np.bitwise_count(where) > 1)
    courses = start + (3.0 * end - start) * at[:, None] ** rng.uniform(0.3, 3.0, TERMS)
    np.add.at(found, (slice(None), kinds, where), courses + rng.normal(0.0, 0.05, courses.shape))
    return found


def write_study(folder: Path, prompts: int, steps: int, n: int) -> None:
    """A run folder as measuring leaves it, split units included, that `analyse` makes tables from."""
    from interplay.config.loading import dump_settings, load_settings
    from interplay.effects.moebius import reconstruct
    from interplay.store.conditions import Record, rephrased_name, step_name
    from interplay.store.files import write_json
    from interplay.store.folder import write_format
    from interplay.store.units import UnitHeader, save_unit, unit_path, unsplit, with_effects
    from interplay.task.metrics import COLUMNS

    at = [10 * k for k in range(steps)]
    raw = {"name": "made up", "model": {"name": "tiny"}, "data": {"train": "train.jsonl", "prompts": "test.jsonl"}}
    delta = 3e-5
    raw |= {
        "effects": {"tolerance": delta},
        "training": {"method": "lora", "steps": at[-1]},
        "checkpoints": {"steps": at},
    }
    raw |= {"controls": {"draws": 1, "precision": None, "mask": None, "both_scores": False, "tolerance": False}}
    raw |= {"prompt": {"rephrased": [{"template": "Say it: {text}"}]}, "prompts": {"n": n, "count": prompts}}
    settings = load_settings(raw)
    folder.mkdir(parents=True, exist_ok=True)
    write_format(folder)
    (folder / "settings.yaml").write_text(dump_settings(settings), encoding="utf-8")
    names = [step_name(s) for s in at]
    twin = step_name(0, rephrased_name(0))
    every = tuple(range(prompts))
    record = Record(
        "b", dict.fromkeys(at, "w"), dict.fromkeys([*names, twin], every), {1: [None] * prompts}, "_", False, "t", 4
    )
    replace(record, task=("logged",)).write(folder)
    listed = []
    for i in every:
        words = np.random.default_rng(i).permutation(WORDS)[:n].tolist()
        text, label = f"It was that {' and the '.join(words)} of number {i}.", LABELS[i % len(LABELS)]
        spans = [{"text": w, "start": text.index(w), "end": text.index(w) + len(w)} for w in words]
        listed.append({"id": f"test-{i}", "label": label, "target": label, "text": text, "words": spans})
        first = before = None
        for name, step, effects in zip(
            [*names, twin], [*at, 0], [*terms(i, steps, n), terms(i, 1, n, 1)[0]], strict=True
        ):
            scores = reconstruct(effects[0], effects[1], -2.0)
            header = UnitHeader(
                name, name, step, f"test-{i}", tuple(words), label, (7,), "_", "float32", 1e-5, 0.0, "w", "p"
            )
            noise = np.random.default_rng([i, step]).normal(0.0, 0.02, (OTHERS, *effects.shape)) * (effects != 0)
            found = {"tolerance": delta, "objective": abs(effects).sum(), "duality_gap": 1e-4, "residual": 1e-5}
            found |= {"iterations": 9, "converged": True, "effects": effects, "alternatives": effects + noise}
            with mock.patch("interplay.store.units.extract", lambda *_, found=found, **__: SimpleNamespace(**found)):
                unit = with_effects(
                    unsplit(header, scores), delta, settings.effects.duality_gap, first if name == twin else before
                )
            save_unit(unit_path(folder, name, i), unit)
            first, before = first or unit, unit
    write_json(
        folder / "inputs.json",
        {"prompts": listed, "labels": LABELS, "rows": {"train": 900, "eval": 200, "prompts": prompts}},
    )
    loss = 0.4 + np.exp(-np.linspace(0.0, 2.0, steps))
    right = 0.9 - 0.5 * np.exp(-np.linspace(0.0, 3.0, steps))
    task = pd.DataFrame({"step": at, "eval_loss": loss, "train_loss": loss - 0.1, "accuracy": right, "rows": 200.0})
    task.reindex(columns=list(COLUMNS)).to_parquet(folder / "task.parquet", index=False)


def child(part: str, folder: Path) -> dict[str, float]:
    """In the child: the highest resident memory of building the tables or the page, libraries included, and the CPU seconds."""
    import time

    from interplay.analysis.payload import build_payload
    from interplay.analysis.results import analyse
    from interplay.report import write
    from interplay.store.folder import RunFolder

    run, start = RunFolder(folder), status_bytes("VmRSS")
    if part == "tables":
        analyse(folder, run.settings())
    else:
        write(build_payload(run), folder / "report.html", folders=0)
    return {"peak": status_bytes("VmHWM"), "libraries": start, "seconds": time.process_time()}


def nodes(page: Path) -> dict[str, float]:
    """What Chromium makes of a page before anything is opened: elements, drawings, scroll heights; NaN where it is missing."""
    if not Path(CHROMIUM).exists():
        return {"nodes": float("nan"), "drawings": float("nan"), "screens": float("nan")}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(page.as_uri())
        tab.wait_for_timeout(500)
        counts = [f"document.querySelectorAll('{query}').length" for query in ("*", "svg.chart, svg.spark")]
        found = [tab.evaluate(js) for js in (*counts, "document.documentElement.scrollHeight / innerHeight")]
        browser.close()
    return dict(zip(("nodes", "drawings", "screens"), found, strict=True))


def ask(part: str, folder: Path) -> dict[str, float]:
    """What a child process measured."""
    asked = [sys.executable, "-m", "benchmarks.page", "--part", part, str(folder)]
    paths = os.environ | child_paths()
    return json.loads(subprocess.run(asked, env=paths, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def page_rows(prompts: int = 200, steps: int = 20, n: int = 8) -> Section:
    """One study, from its units to its page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        write_study(folder, prompts, steps, n)
        tables, page = ask("tables", folder), ask("page", folder)
        found, size = nodes(folder / "report.html"), (folder / "report.html").stat().st_size
    row = {
        "prompts": prompts,
        "checkpoints": steps,
        "n": n,
        "tables, peak MB": tables["peak"] / MB,
        "tables, CPU s": tables["seconds"],
        "page, peak MB": page["peak"] / MB,
        "page, CPU s": page["seconds"],
        "libraries alone, MB": page["libraries"] / MB,
        "page, MB": size / MB,
        "nodes before anything is opened": found["nodes"],
        "drawings": found["drawings"],
        "screens of 800 px": found["screens"],
    }
    notes = [
        "Made-up effects, tables and page each in a process of its own; nodes and drawings are Chromium's, before anything is opened."
    ]
    return Section("The page of a large study", [row], notes)


def study_rows(quick: bool) -> Section:
    """The part of `make bench`: 200 prompts at 20 checkpoints; quick: 20 at 5."""
    return page_rows(20, 5, 6) if quick else page_rows()


if __name__ == "__main__":
    from benchmarks.bench import lines_of

    if sys.argv[1:2] == ["--part"]:
        print(json.dumps(child(sys.argv[2], Path(sys.argv[3]))))
    else:
        print("\n".join(lines_of(page_rows(*map(int, sys.argv[1:])))))
