"""A whole run small enough for a test: rows, settings, and ways to start it (in this process, as a command, forked to be killed).

Run as a script it is a fork server for the kill tests: it imports everything once, then makes each run in a fork of its own,
killed with SIGKILL at the k-th thing it does to a file of the run.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

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
PROBES = [
    ("The terrible service ruined our whole dinner", "anger"),
    ("Children played happily near the quiet river", "joy"),
    ("Our faithful old dog died last winter", "sadness"),
    ("A stranger returned my lost wallet yesterday", "surprise"),
]
TEMPLATE = "Sentence: {text}\nEmotion:"


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(rows: list[tuple[str, str]]) -> list[dict]:
    return [{"text": text, "label": label} for text, label in rows]


def settings(folder: Path, model: Path, baseline: Path | None = None, **sections) -> dict:
    """Settings of a LoRA run of 4 steps with 3 probes of 3 words; its data are written into `folder`."""
    if not (folder / "train.jsonl").exists():
        write_rows(folder / "train.jsonl", labelled(TRAIN))
        write_rows(folder / "probes.jsonl", labelled(PROBES))
    wanted = {
        "name": "tiny",
        "model": {"name": str(model), "device": "cpu"},
        "data": {
            "train": str(folder / "train.jsonl"),
            "eval": str(folder / "probes.jsonl"),
            "probes": str(folder / "probes.jsonl"),
        },
        "prompt": {
            "chat": False,
            "template": TEMPLATE,
            "rephrased": {"template": "Text: {text}\nEmotion:"},
        },
        "probes": {"count": 3, "n": 3},
        "training": {"steps": 4, "batch_size": 2, "rank": 2, "learning_rate": 0.01, "bf16": False},
        "checkpoints": {"steps": [0, 1, 2, 4]},
        "dynamics": {"draws": 20, "resamples": 50},
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
    from interplay.runs.loading import load_settings
    from interplay.runs.pipeline import run
    from interplay.runs.progress import Progress

    return run(load_settings(wanted, overrides), out, Progress(quiet=True))


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more


def command(*arguments: object, cwd: Path, **more: str) -> subprocess.CompletedProcess:
    """`interplay ARGUMENTS` as a process of its own."""
    parts = [sys.executable, "-m", "interplay", *map(str, arguments)]
    return subprocess.run(
        parts, cwd=cwd, env=environment(**more), capture_output=True, text=True, encoding="utf-8", check=False
    )


def contents(folder: Path, leave_out: tuple[str, ...] = ("times.json", "environment.json")) -> dict[str, bytes]:
    """Every file of a run folder but those that may differ."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in leave_out
    }


class ForkServer:
    """Runs in forks of a process that has everything imported; `make` gives the signal it died of (0: none) and its file events."""

    def __init__(self, **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(**more),
            text=True,
        )

    def make(self, wanted: dict, out: Path, kill_at: int = -1) -> tuple[int, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([wanted, str(out), kill_at]) + "\n")
        self.process.stdin.flush()
        died_of, events = json.loads(self.process.stdout.readline())
        return died_of, events

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


_COUNTED = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


def _run_and_die(wanted: dict, out: str, kill_at: int, report: int) -> None:
    """In the fork: make the run; SIGKILL at the kill_at-th file event below `out`; else report how many there were."""
    events = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal events
        if event == "open":
            path, mode, flags = arguments
            counted = bool(set(mode or "") & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
        elif event in _COUNTED:
            path, counted = arguments[0], True
        else:
            return
        if counted and isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(out):
            if events == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            events += 1

    sys.addaudithook(hook)
    run_here(wanted, Path(out))
    os.write(report, json.dumps(events).encode())


def _serve() -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import trl  # noqa: F401

    import interplay.runs.pipeline  # noqa: F401

    for line in sys.stdin:
        wanted, out, kill_at = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(reading)
                sys.stdout = sys.stderr
                _run_and_die(wanted, out, kill_at, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        died_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
        print(json.dumps([died_of, int(said or -1)]), flush=True)


if __name__ == "__main__":
    _serve()
