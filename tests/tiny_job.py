"""A whole run small enough for a test: rows, settings, and ways to start it (in this process, or as a command)."""

import json
import os
import subprocess
import sys
from pathlib import Path

from interplay.config.settings import NO_CONTROLS

SRC = Path(__file__).resolve().parents[1] / "src"
TRAIN = [
    ("I was not happy with the food at all", "sadness"),
    ("We had to laugh about the funny story", "joy"),
    ("The angry neighbour shouted at the child", "anger"),
    ("Nobody expected the sudden bright fireworks", "surprise"),
    ("Grandmother baked warm bread this morning", "joy"),
    ("My brother lost his favourite old jacket", "sadness"),
    ("The team finally won the final match", "joy"),
    ("Someone stole the bicycle from our garden", "anger"),
]
PROMPTS = [
    ("The terrible service ruined our whole dinner", "anger"),
    ("Children played happily near the quiet river", "joy"),
    ("Our faithful old dog died last winter", "sadness"),
    ("A stranger returned my lost wallet yesterday", "surprise"),
]
TEMPLATE = "Sentence: {text}\nEmotion:"
# Sections of a run of two steps and nothing beside: a third of the time of one with its floors and views.
BARE = {
    "training": {"steps": 2},
    "checkpoints": {"steps": [0, 2]},
    "prompt": {"rephrased": None},
    "controls": NO_CONTROLS,
}


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(rows: list[tuple[str, str]]) -> list[dict]:
    return [{"text": text, "label": label} for text, label in rows]


def settings(folder: Path, model: Path, baseline: Path | None = None, **sections) -> dict:
    """Settings of a LoRA run of 4 steps with 3 prompts of 3 words; its data are written into `folder`."""
    if not (folder / "train.jsonl").exists():
        write_rows(folder / "train.jsonl", labelled(TRAIN))
        write_rows(folder / "prompts.jsonl", labelled(PROMPTS))
    wanted = {
        "name": "tiny",
        "model": {"name": str(model), "device": "cpu"},
        "data": {
            "train": str(folder / "train.jsonl"),
            "eval": str(folder / "prompts.jsonl"),
            "prompts": str(folder / "prompts.jsonl"),
        },
        "prompt": {
            "chat": False,
            "template": TEMPLATE,
            "rephrased": {"template": "Text: {text}\nEmotion:"},
        },
        "prompts": {"count": 3, "n": 3},
        "training": {"steps": 4, "batch_size": 2, "rank": 2, "learning_rate": 0.01, "bf16": False},
        "checkpoints": {"steps": [0, 1, 2, 4]},
        "dynamics": {"draws": 20, "resamples": 50},
        "audit": {"mode": False},
    }
    if baseline is not None:
        wanted["baseline"] = {"name": str(baseline), "chat": False, "few_shot": 2, "template": TEMPLATE}
    for name, value in sections.items():
        both = isinstance(value, dict) and isinstance(wanted.get(name), dict)
        wanted[name] = {**wanted[name], **value} if both else value
    return wanted


def write_settings(path: Path, wanted: dict) -> Path:
    path.write_text(json.dumps(wanted), encoding="utf-8")  # JSON is YAML
    return path


def run_here(wanted: dict, out: Path, *overrides: str):
    """The run in this process, without progress."""
    from interplay.config.loading import load_settings
    from interplay.pipeline.pipeline import run
    from interplay.pipeline.progress import Progress
    from interplay.runfolder import Run

    return run(load_settings(wanted, overrides), out, Progress(quiet=True)) or Run(out)


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more


def command(*arguments: object, cwd: Path, **more: str) -> subprocess.CompletedProcess:
    """`interplay ARGUMENTS` as a process of its own."""
    parts = [sys.executable, "-m", "interplay", *map(str, arguments)]
    return subprocess.run(
        parts, cwd=cwd, env=environment(**more), capture_output=True, text=True, encoding="utf-8", check=False
    )


def contents(
    folder: Path, leave_out: tuple[str, ...] = ("times.json", "environment.json", "audit.json")
) -> dict[str, bytes]:
    """Every file of a run folder but those that may differ."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in leave_out
    }
