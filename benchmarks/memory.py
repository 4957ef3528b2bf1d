"""Peak memory of scoring one prompt beyond the model itself, measured in a process of its own.

The process loads the model, touches all its weights, gives free memory back to the system, sets the kernel's high-water mark
back and scores. Reads /proc, so Linux only; elsewhere it says so. With the weights, by ways to place them: `large.py`.

    python -m benchmarks.memory SUBJECT N LENGTH        (the child: prints one JSON object)
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scoring_rows import FILLS, SHAPE, SMALL, TARGET, child_paths, prompt, random_model, smollm2, tell
from benchmarks.section import Section

MB = 1e6
STATUS = Path("/proc/self/status")
SUBJECTS: dict[str, Callable[[], Any]] = {
    "SmolLM2-135M": smollm2,
    "Llama, random": lambda: random_model("llama"),
    "260 K, random": lambda: random_model("llama", SMALL),
}


def level_by_level_bytes(n: int, length: int, shape: dict[str, int], width: int = 4) -> int:
    """Bytes of a key-value cache repeated for all 2^n branches, as level-by-level scoring holds at its last level.

    >>> level_by_level_bytes(1, 10, {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2})
    1920

    That is 2 branches x 10 tokens x 3 layers x (keys and values) x 2 heads of 2 numbers x 4 bytes.
    """
    head = shape["hidden_size"] // shape["num_attention_heads"]
    return (1 << n) * length * shape["num_hidden_layers"] * 2 * shape["num_key_value_heads"] * head * width


def status_bytes(field: str) -> int:
    """A line of /proc/self/status, in bytes: VmRSS (now) or VmHWM (the most since the mark was set back)."""
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in {STATUS}")


def trim() -> None:
    """Give memory that is free but still held back to the system; it would hide what a call takes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def peak_beyond(call: Callable[[], object]) -> int:
    """Bytes by which the resident memory of this process at its highest during `call` was above that before it."""
    trim()
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets VmHWM back to VmRSS
    call()
    return status_bytes("VmHWM") - before


def child(subject: str, n: int, length: int) -> dict[str, float]:
    """In the child: the model's bytes and the peak beyond it while all 2^n coalitions are scored, as a run scores them."""
    make = SUBJECTS[subject]
    import torch

    from interplay.scoring.forward import score_rows
    from interplay.scoring.logodds import Question
    from interplay.scoring.masking import masked_ids
    from interplay.scoring.precision import fast_products
    from interplay.scoring.trie import score_trie

    torch.set_num_threads(1)
    model = make()
    asked = prompt(length, n, model.config.vocab_size)
    row = masked_ids(asked.ids, asked.spans[:1], FILLS)[:1]
    score_rows(model, row, Question((TARGET,)))  # weights mapped from a file count once they are touched

    def call() -> None:
        with fast_products(model):
            values = score_trie(model, asked.ids, asked.spans, FILLS, Question((TARGET,)))
        assert len(values) == 1 << n

    size = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"model": size, "peak": peak_beyond(call)}


def ask_child(subject: str, n: int, length: int) -> dict[str, Any]:
    """What the child measured, or {"missing": the reason}."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", subject, str(n), str(length)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | child_paths(),
    )
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def memory_rows(quick: bool, say: Callable[[str], None] = tell) -> list[Section]:
    """Peak memory of scoring beyond the model, beside the key-value copies of the level-by-level way."""
    subject, n, length = ("Llama, random", 8, 60) if quick else ("SmolLM2-135M", 12, 60)
    title = "Peak memory of scoring beyond the model"
    if not Path("/proc/self/clear_refs").exists():
        return [Section(title, [], ["Not measured: needs Linux (/proc/self/clear_refs)."])]
    found = ask_child(subject, n, length)
    if "missing" in found:
        return [Section(title, [], [f"Not measured: {subject}: {found['missing']}"])]
    row = {
        "model": subject,
        "tokens": length,
        "n": n,
        "weights, MB": found["model"] / MB,
        "peak beyond them, MB": found["peak"] / MB,
        "level by level, MB (arithmetic)": level_by_level_bytes(n, length, SHAPE) / MB,
    }
    say(f"{subject}, n = {n}: {row['peak beyond them, MB']:.0f} MB beyond the model")
    notes = [
        f"Resident memory of a process of its own, at its highest while all 2^{n} coalitions are scored, less that before, "
        "with the weights in memory.",
        "Level by level is arithmetic, not a measurement: 2^n branches x tokens x layers x 2 (keys and values) x key-value heads x "
        "head size x 4 bytes, the cache that repeating `DynamicCache` for every branch holds at the last level.",
    ]
    return [Section(title, [row], notes)]


if __name__ == "__main__":
    from interplay.errors import InterplayError

    try:
        print(json.dumps(child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
    except InterplayError as error:
        sys.exit(str(error))
