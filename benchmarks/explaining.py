"""`interplay explain` of one prompt, from the shell: until it can score, until its first picture, until its end; and two threads that wait.

Every run is a process of its own. Its CPU seconds count from its start, interpreter and imports included.

    python -m benchmarks.explaining N STARTED FILE      (a child: writes one JSON object to FILE)
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scoring_rows import SMOLLM2, child_paths, tell
from benchmarks.section import Section

PROMPT = (
    "Suddenly my brother arrived with a silver letter from the quiet garden, and our whole family celebrated the bright winter "
    "morning with laughter and old promises"
)
BUSY = [sys.executable, "-c", "while True: pass"]


def arguments(model: str, n: int) -> list[str]:
    """Of `interplay` on the command line."""
    return ["explain", "--model", model, "--prompt", PROMPT, "--target", "joy", "--n", str(n)]


def child(model: str, n: int, started: float) -> dict[str, float]:
    """In the child: CPU seconds and wall seconds since `started`, and tokens run, at three moments of the command."""
    import torch

    torch.set_num_threads(1)
    from unittest.mock import patch

    from interplay.cli import main
    from interplay.explanation import explain

    found: dict[str, float] = {}
    tokens = 0

    def mark(name: str) -> None:
        for key, value in (("CPU s", time.process_time()), ("wall s", time.time() - started), ("tokens", tokens)):
            found.setdefault(f"{name}, {key}", value)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            if "PRELIMINARY" in text:
                mark("picture")
            return super().write(text)

    def count(module: Any, given: Any) -> None:
        nonlocal tokens
        tokens += given[0].numel()

    load = explain.load

    def watched(*given: Any, **more: Any) -> Any:
        ready = load(*given, **more)
        for one in ready:
            one.base.model.get_input_embeddings().register_forward_pre_hook(count)
        mark("start-up")
        return ready

    streams = patch.object(sys, "stderr", Terminal()), patch.object(sys, "stdout", io.StringIO())
    with streams[0], streams[1], patch.object(explain, "load", watched):
        sys.argv[1:] = arguments(model, n)
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(sys.stderr.getvalue()) from None  # ty: ignore[unresolved-attribute]
    mark("end")
    return found


LIBRARIES = [sys.executable, "-c", "from transformers import AutoTokenizer, LlamaForCausalLM"]


def explain_rows(quick: bool, model: str = SMOLLM2) -> Section:
    """One row: what stands when."""
    n = 7 if quick else 10
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        asked = [sys.executable, "-m", "benchmarks.explaining", model, str(n), str(time.time()), str(file)]
        subprocess.run(asked, env=os.environ | child_paths(), check=True)
        found = json.loads(file.read_text(encoding="utf-8"))
    row = {
        "model": "SmolLM2-135M" if model == SMOLLM2 else model,
        "n": n,
        "libraries alone, CPU s": spent(LIBRARIES, {})[0],
        "start-up, CPU s": found["start-up, CPU s"],
        "scoring the first picture, CPU s": found["picture, CPU s"] - found["start-up, CPU s"],
        "first picture, CPU s": found["picture, CPU s"],
        "first picture, wall s": found["picture, wall s"],
        "end, CPU s": found["end, CPU s"],
        "end, wall s": found["end, wall s"],
        "tokens of the first picture, %": 100 * found["picture, tokens"] / found["end, tokens"],
    }
    tell(f"explain: first picture after {row['first picture, CPU s']:.1f} CPU s")
    notes = [
        "One prompt on the command line with a terminal, one thread, interpreter and imports included. Start-up ends when the model is "
        "loaded and nothing is scored; libraries alone: importing PyTorch and transformers' Llama, no line of ours. Tokens: of all that "
        "go through the model, plain passes of the guard included."
    ]
    return Section("explain: one prompt, until the first picture and to the end", [row], notes)


def spent(command: list[str], settings: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of a command with these environment variables."""
    start = time.perf_counter()
    given = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    process = subprocess.Popen(
        command, env=given | child_paths() | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {process.returncode}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - start


WAYS: dict[str, dict[str, str]] = {
    "default": {},
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
}


def waiting_rows(quick: bool, model: str = SMOLLM2) -> Section:
    """The command with two threads, alone and beside one busy core, by how its threads wait."""
    n, load = 6 if quick else 8, os.getloadavg()[0]
    command = [sys.executable, "-m", "interplay", *arguments(model, n)]
    rows = []
    for beside in ("nothing", "one busy core"):
        busy = subprocess.Popen(BUSY) if beside != "nothing" else None
        try:
            for name, settings in WAYS.items():
                cpu, wall = spent(command, {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"} | settings)
                rows.append({"threads wait": name, "beside": beside, "n": n, "CPU s": cpu, "wall s": wall})
                tell(f"two threads, {name}, beside {beside}: {cpu:.1f} CPU s, {wall:.1f} s")
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
    notes = [
        f"`interplay explain`, two threads; {os.cpu_count()} cores, load {load:.1f} at the start. Default: the command lets threads "
        "spin some microseconds before they sleep, where the user has set nothing."
    ]
    return Section("Threads that wait", rows, notes)


if __name__ == "__main__":
    model_, n_, started_, file_ = sys.argv[1:]
    found_ = child(model_, int(n_), float(started_))
    Path(file_).write_text(json.dumps(found_), encoding="utf-8")
