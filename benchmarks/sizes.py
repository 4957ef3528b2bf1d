"""Presets of the paper at the true shape of their models, with random weights: seconds and peak memory beside what `needs.py` says.

A model folder is written with the true config, a tokenizer padded to the true vocabulary, and 16-bit weights as on a hub. A process of
its own trains two steps and measures two checkpoints of it, or scores one prompt. Not run where memory or disk is short; Linux only.

    python -m benchmarks.bench --only sizes
    python -m benchmarks.sizes [NAME ...]                (these sizes only)
    python -m benchmarks.sizes --child NAME FOLDER       (a child: prints one JSON object)
"""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.memory import status_bytes
from benchmarks.needs import SHAPES, WIDTHS, Shape, parameters, pass_bytes, training_bytes
from benchmarks.scoring_rows import SMOLLM2, child_paths, tell
from benchmarks.section import Section
from interplay.errors import InterplayError
from interplay.pipeline.progress import Progress

GB = 1e9
TITLE = "Presets at their true size, random weights"
SHARD = 2 << 30  # bytes of one file of weights
POOL = (1 << 25) + 39  # random weights that are drawn; odd, so that no two rows of a matrix are alike
SPARE = 1.5 * GB  # of memory that other processes keep
TRAINING, SCORING, ALONE = "fine-tuning", "extracting interactions", "scoring one prompt"
TOKENS = {TRAINING: 16, SCORING: 2048, ALONE: 2048}  # of the longest row; of the largest pass on a CPU
NOTE = (
    "Random weights in the true shape, tokens of a padded vocabulary; made on this machine. The preset's recipe with rows of at most 16 "
    "tokens, one a step, and no controls or baseline LLM. Peak: resident memory (VmHWM) of a process of its own while the phase "
    "lasts, libraries and mapped files included. Predicted: `benchmarks/needs.py` and the libraries; a full pass of 2,048 tokens."
)


class Size(NamedTuple):
    """A preset whose model is made at its true size. `dtype`: of scoring; `trained`: whether two steps are trained before."""

    preset: str
    model: str
    kind: str
    more: dict[str, Any]
    dtype: str = "float32"
    trained: bool = True

    @property
    def shape(self) -> Shape:
        """Without what text does not use."""
        return SHAPES[self.model]._replace(other=0)


QWEN = {"rope_theta": 1e6, "rms_norm_eps": 1e-6, "max_position_embeddings": 32_768}
GEMMA = {"sliding_window": 1024, "query_pre_attn_scalar": 256, "max_position_embeddings": 131_072}
LLAMA3 = {"rope_theta": 5e5, "max_position_embeddings": 8192}
SIZES = {
    "Qwen2.5-3B": Size("qwen2.5-3b-goemotions", "Qwen/Qwen2.5-3B-Instruct", "Qwen2Config", QWEN),
    "Gemma-3-4B": Size("gemma-3-4b-dolly", "google/gemma-3-4b-it", "Gemma3TextConfig", GEMMA),
    "Llama-3-8B": Size(
        "llama-3-8b-goemotions", "meta-llama/Meta-Llama-3-8B-Instruct", "LlamaConfig", LLAMA3, "bfloat16", trained=False
    ),
}
# What size and slow processors demand, short wordings too; all else is the preset's own.
SMALL = (
    "model.device=cpu",
    "baseline=null",
    "data.eval_rows=2",
    "prompt={chat: false, template: '{text}:', rephrased: null}",
    "prompts.count=2",
    "prompts.n=6",
    "training.steps=2",
    "training.batch_size=1",
    "training.accumulation=1",
    "checkpoints.steps=[0, 2]",
    "task.generate_rows=0",
    "controls={precision: null, mask: null, reference: null, draws: 1, both_scores: false, tolerance: false}",
    "dynamics.draws=4",
    "dynamics.resamples=10",
    "audit.mode=false",
)
TEXTS = (
    ("Brave firefighters rescued frightened kittens yesterday evening", "gratitude"),
    ("Rude drivers blocked narrow village streets again", "anger"),
    ("Grandmother baked warm bread every winter morning", "joy"),
    ("Nobody expected sudden bright fireworks behind churches", "surprise"),
    ("Clumsy movers smashed precious family porcelain today", "sadness"),
    ("Friendly neighbours brought fresh strawberry cake upstairs", "joy"),
)


# ---- made ------------------------------------------------------------------------------------------------------------


def write_model(size: Size, folder: Path) -> None:
    """A model folder of the size: config, tokenizer, shards of 16-bit random weights of which one is in memory at a time."""
    import torch
    import transformers
    from safetensors.torch import save_file

    tokenizer, config = padded_tokenizer(size.shape.vocabulary), config_of(size)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    config.architectures = [type(model).__name__]
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tied = {"lm_head.weight"} if size.shape.tied else set()
    pool = torch.empty(POOL).normal_(0, 0.02, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    placed: dict[str, str] = {}
    for number, names in enumerate(_shards({n: p for n, p in model.state_dict().items() if n not in tied})):
        file = f"model-{number:05d}.safetensors"
        save_file(
            {n: _weights(size, n, tuple(p.shape), pool, len(placed) + i) for i, (n, p) in enumerate(names.items())},
            folder / file,
            metadata={"format": "pt"},
        )
        placed |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": placed}), encoding="utf-8"
    )


def config_of(size: Size) -> Any:
    """The config of transformers for a size."""
    import transformers

    shape = size.shape
    return getattr(transformers, size.kind)(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        tie_word_embeddings=shape.tied,
        dtype="bfloat16",
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **size.more,
    )


def _shards(tensors: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tensors in groups of about `SHARD` bytes."""
    group: dict[str, Any] = {}
    for name, tensor in tensors.items():
        group[name] = tensor
        if sum(2 * one.numel() for one in group.values()) >= SHARD:
            yield group
            group = {}
    if group:
        yield group


def _weights(size: Size, named: str, shape: tuple[int, ...], pool: Any, seed: int) -> Any:
    """Random weights of a matrix, from the pool; a norm's are those that change nothing, a bias's 0."""
    import torch

    if len(shape) == 1:
        return torch.full(
            shape, float(named.endswith("norm.weight") and size.kind != "Gemma3TextConfig"), dtype=pool.dtype
        )
    made = torch.empty(torch.Size(shape).numel(), dtype=pool.dtype)
    done, start = 0, seed * 7_654_321 % len(pool)
    while done < len(made):
        part = pool[start : start + len(made) - done]
        made[done : done + len(part)] = part
        done, start = done + len(part), 0
    return made.reshape(shape)


def padded_tokenizer(vocabulary: int) -> Any:
    """SmolLM2's tokenizer, filled up with pieces that no text has."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from interplay.models.loading import load_tokenizer

    own = load_tokenizer(SMOLLM2)
    described = json.loads(own.backend_tokenizer.to_str())
    pieces = described["model"]["vocab"]
    pieces |= {f"<unused{i}>": i for i in range(len(pieces), vocabulary)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = own.chat_template
    return tokenizer


def write_data(size: Size, folder: Path) -> Path:
    """A folder of three splits in the schema that the preset reads, two rows each, as `--data` takes it."""
    from interplay.data.forms import GOEMOTIONS

    dolly = size.preset.endswith("dolly")
    (folder / "emotions.txt").write_text("\n".join(GOEMOTIONS) + "\n", encoding="utf-8")
    for part, texts in {"train": TEXTS[:2], "dev": TEXTS[2:4], "test": TEXTS[4:]}.items():
        if dolly:
            rows = [{"instruction": t, "context": "", "response": r, "category": "open_qa"} for t, r in texts]
            lines = [json.dumps(row) + "\n" for row in rows]
        else:
            lines = [f"{text}\t{GOEMOTIONS.index(label)}\t{part}{i}\n" for i, (text, label) in enumerate(texts)]
        (folder / f"{part}.{'jsonl' if dolly else 'tsv'}").write_text("".join(lines), encoding="utf-8")
    return folder


# ---- measured --------------------------------------------------------------------------------------------------------


class Watched(Progress):
    """Keeps CPU seconds and the highest resident bytes of every phase."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, float]] = {}
        self._open: list[str] = []

    @contextlib.contextmanager
    def phase(self, name: str, *args: Any, **more: Any) -> Generator[Any]:
        self._mark()
        self._open.append(name)
        start, now = time.process_time(), time.monotonic()
        try:
            with super().phase(name, *args, **more) as advance:
                yield advance
        finally:
            self._mark()
            self._open.remove(name)
            own = self.found.setdefault(name, {"peak": 0.0})
            own["cpu"] = own.get("cpu", 0.0) + time.process_time() - start
            own["wall"] = own.get("wall", 0.0) + time.monotonic() - now
            tell(f"{name}: {own['cpu']:.0f} CPU s, at most {own['peak'] / GB:.2f} GB")

    def _mark(self) -> None:
        """Count the most since the last mark for all phases that are open."""
        peak = status_bytes("VmHWM")
        for name in self._open:
            own = self.found.setdefault(name, {"peak": 0.0})
            own["peak"] = max(own["peak"], peak)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def child(name: str, folder: Path) -> dict[str, Any]:
    """In the child: what the size asks for on the model in `folder`, by phases."""
    from interplay import explain
    from interplay.config.loading import load_settings
    from interplay.models.loading import load_model
    from interplay.pipeline.pipeline import run
    from interplay.pipeline.stages import quiet_libraries
    from interplay.presets import preset_path
    from interplay.verbs import copies

    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # before any other process of the machine
    size, progress = SIZES[name], Watched()
    with quiet_libraries(progress):
        import peft  # noqa: F401
        import trl  # noqa: F401
    libraries = status_bytes("VmRSS")
    if size.trained:
        data = copies(str(folder), str(write_data(size, folder.parent)))
        run(load_settings(preset_path(size.preset), [*data, *SMALL]), folder.parent / "run", progress)
    else:
        with progress.phase("loading the model"):
            model = load_model(folder, dtype=size.dtype, device="cpu")
        with progress.phase(ALONE):
            explain(model, *TEXTS[0], n=6)
    return {"libraries": libraries, "phases": progress.found}


def expected(size: Size, phase: str) -> float:
    """Bytes that the formulas of `needs.py` say a phase holds, which is one of `TOKENS`.

    A model in 16 bits: as in docs/evidence/scale.md, with one weight widened at a time, the head last.

    >>> round(expected(SIZES["Qwen2.5-3B"], TRAINING) / GB, 1)
    12.7
    """
    shape, tokens = size.shape, TOKENS[phase]
    if phase == TRAINING:
        return training_bytes(shape, tokens, rank=8)
    beyond = pass_bytes(shape, tokens)
    if size.dtype != "float32":
        beyond = max(beyond, 4.0 * shape.vocabulary * shape.hidden)
    return WIDTHS[size.dtype] * parameters(shape) + beyond


def available() -> float:
    """Bytes of memory that a new process can take."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def shortage(size: Size, folder: Path) -> str | None:
    """Why a size cannot be run at the moment, or None."""
    most = expected(size, SCORING) + SPARE
    files = 2.0 * parameters(size.shape) + GB
    for what, needed, there in (
        ("memory", most, available()),
        ("disk", files, float(shutil.disk_usage(folder).free)),
    ):
        if needed > there:
            return f"{needed / GB:.0f} GB of {what} are needed and {there / GB:.0f} GB are free"
    return None


def ask(name: str, folder: Path) -> dict[str, Any]:
    """What the child of a size measured, or {"missing": the reason}; it is stopped before memory runs out."""
    command = [sys.executable, "-m", "benchmarks.sizes", "--child", name, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | child_paths()) as process:
        while process.poll() is None:
            if available() < SPARE / 2:
                process.kill()
                return {"missing": "other processes left too little memory while it ran"}
            time.sleep(0.5)
        found = [line for line in (process.stdout or []) if line.startswith("{")]
    return json.loads(found[-1]) if found else {"missing": f"it failed with status {process.returncode}"}


def size_rows(quick: bool, names: tuple[str, ...] = tuple(SIZES), say: Callable[[str], None] = tell) -> list[Section]:
    """Seconds and peak memory by phases of every size."""
    if quick:
        return [Section(TITLE, [], ["Not run: left out of a quick run."])]
    if not Path("/proc/self/clear_refs").exists():
        return [Section(TITLE, [], ["Not run: needs Linux (/proc/self/clear_refs)."])]
    rows, notes = [], []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="interplay-sizes-") as place:
            folder, size = Path(place) / "model", SIZES[name]
            if (short := shortage(size, folder.parent)) is None:
                say(f"{name}: writing {2 * parameters(size.shape) / GB:.0f} GB of random weights")
                try:
                    write_model(size, folder)
                    found = ask(name, folder)
                except InterplayError as error:  # the tokenizer that is padded is not installed
                    found = {"missing": str(error)}
            else:
                found = {"missing": short}
        if "missing" in found:
            notes.append(f"Not run: {name} ({size.dtype}): {found['missing']}.")
            continue
        for phase, own in found["phases"].items():
            predicted = (expected(size, phase) + found["libraries"]) / GB if phase in TOKENS else math.nan
            row = {"model": name, "dtype": size.dtype, "phase": phase, "CPU s": own["cpu"]}
            row |= {"peak, GB": own["peak"] / GB, "predicted, GB": predicted}
            rows.append(row)
    notes.append(NOTE)
    return [Section(TITLE, rows, notes)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], Path(sys.argv[3]))))
    else:
        from benchmarks.bench import lines_of

        for section in size_rows(False, tuple(sys.argv[1:]) or tuple(SIZES)):
            print("\n".join(lines_of(section)))
