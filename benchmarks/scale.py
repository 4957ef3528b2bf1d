"""docs/evidence/scale.md: what a 70B model costs per sample and checkpoint, by arithmetic, beside what was measured here.

Tokens are counted with the package's own planner, speed is measured on SmolLM2; operations, bytes and hours of larger models
follow from their shapes (`benchmarks.operations`, `benchmarks.needs`). No figure of the page is typed in.

    python -m benchmarks.scale [--write docs/evidence/scale.md]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import large
from benchmarks.bench import lines_of, processor
from benchmarks.needs import (
    PASS_TOKENS,
    Shape,
    adapter_parameters,
    linear_weights,
    parameters,
    pass_bytes,
    training_bytes,
)
from benchmarks.operations import (
    H100,
    SMOLLM2,
    UTILISATION,
    benchmark_sizes,
    plain_tokens,
    scoring_operations,
    training_operations,
    trie_tokens,
)
from benchmarks.scoring_rows import Prompt, made, prompt, subjects, tell, time_trie
from benchmarks.section import Section
from interplay.scoring.plan import branch_order, kept_words, level_bounds, plan_tokens

LLAMA_70B = Shape(8192, 28672, 80, 64, 8, 128, 128_256)  # Llama-3.1-70B
LENGTHS = (60, 200)
WORDS = 10
GPUS = (1, 2, 4, 8)
RUN = {"prompts": 32, "steps": 12, "wordings and precisions": 3, "training steps": 4000, "tokens a step": 8 * 140}
GB = 1e9

HEAD = """# Scale: what a large model costs

Written by `python -m benchmarks.scale --write docs/evidence/scale.md`, which computes every table. Tokens are counted with the planner that
scoring uses. Speed is measured on a 135M model on one CPU thread. Everything about a 70B model and about H100s is
**arithmetic, not measurement**: operations over the data sheet's dense peak ({bf16:.0f} TFLOP/s in bfloat16, {fp32:.0f} in float32)
times an assumed utilisation of {use:.0%}. No figure here comes from a GPU.
"""

TAIL = """## How a run is cut up

- **By checkpoint.** A checkpoint of LoRA is an adapter of {adapter:.1f} GB (float32) on one base of {base:.0f} GB, which is loaded once
  and stays: `interplay track` puts one adapter after the other on it. Checkpoints share nothing else.
- **By sample.** A unit (one prompt under one condition) is a file of its own with a key, written when it is done. A killed run
  loses one unit, and the same command goes on. Units share nothing but the tolerance, which step 0 settles first.
- **Within a sample.** A trie that is larger than a pass ({tokens} tokens on a GPU, `scoring.batch_tokens`) is cut into runs of leaves
  by halving, that is by fixing the first words. The prompt's beginning is computed once per unit and its keys and values are
  handed to every run.
- **Keys and values** of one pass are what scoring holds beyond the weights: {kv:.1f} GB of {tokens} tokens for 70B in float32, which grow
  with the pass and not with 2^n. A smaller pass takes less and costs the branches that are begun twice.
- **Solving** needs no accelerator and {n} words take under a tenth of a second (docs/evidence/benchmarks.md): nothing beside the scores.

A 70B model in float32 does not fit on any single GPU; the rows of several GPUs above say what the arithmetic allows once weights
are spread over them (a `device_map` keeps one GPU at work at a time). In bfloat16 the weights take {half:.0f} GB, and its rounding is noise:
docs/design/scoring.md says what that leaves of an explanation.

"""


def levels(asked: Prompt) -> list[int]:
    """Tokens of the n + 1 levels of a prompt."""
    return [b - a for a, b in level_bounds(asked.spans, len(asked.ids), 0)]


def counted(length: int, n: int = WORDS) -> tuple[int, int]:
    """(tokens of the trie as the planner counts them, tokens of plain batches) for all 2^n coalitions.

    >>> counted(60, 2)                      # 20 tokens before the first word, 32 to the second, 8 to the end
    (116, 240)
    """
    _, fresh = branch_order(kept_words(np.arange(1 << n, dtype=np.uint64), n))
    return plan_tokens(fresh, levels(prompt(length, n))), length << n


def measured_section() -> Section:
    """Speed of the trie on SmolLM2, on this machine and now."""
    rows, notes = [], []
    [subject] = [s for s in subjects(False) if s.name.startswith("SmolLM2")]
    for _, model in made([subject], notes):
        for length in LENGTHS:
            seconds, _ = time_trie(model, prompt(length, WORDS), products=True)
            if np.isnan(seconds):
                seconds, _ = time_trie(model, prompt(length, WORDS), products=False)
            tokens, plain = counted(length)
            operations = scoring_operations(SMOLLM2, benchmark_sizes(length))
            rows.append(
                {
                    "prompt, tokens": length,
                    "CPU s": seconds,
                    "trie tokens": tokens,
                    "tokens a CPU-s": tokens / seconds,
                    "plain tokens they stand for, a CPU-s": plain / seconds,
                    "GFLOP/s": operations / seconds / 1e9,
                }
            )
            tell(f"SmolLM2, {length} tokens: {tokens / seconds:.0f} tokens a CPU-second")
    notes.append(
        f"{processor()}, one thread, CPU seconds (wall time would count what else the machine was doing), float32, all "
        f"2^{WORDS} coalitions of one prompt."
    )
    return Section("Measured: SmolLM2-135M, one CPU thread", rows, notes)


def arithmetic_sections() -> list[Section]:
    """The tables about 70B: tokens and operations, seconds, memory, a whole run."""
    return [_tokens(), _seconds(), _memory(), _run()]


def _tokens() -> Section:
    rows = []
    for length in LENGTHS:
        for n in (8, WORDS, 12):
            tokens, plain = counted(length, n)
            sizes = benchmark_sizes(length, n)
            assert tokens == trie_tokens(sizes)
            assert plain == plain_tokens(sizes)
            trie, naive = (scoring_operations(LLAMA_70B, sizes, plain=way) for way in (False, True))
            rows.append(
                {
                    "prompt, tokens": length,
                    "n": n,
                    "plain tokens": plain,
                    "trie tokens": tokens,
                    "plain / trie": plain / tokens,
                    "plain, PFLOP": naive / 1e15,
                    "trie, PFLOP": trie / 1e15,
                }
            )
    note = (
        "One prompt under one checkpoint. Words stand from the prompt's first third to 8 tokens from its end; an instruction in "
        "front costs nothing in the trie, text behind the last word is paid for 2^n times. Operations: two per weight and "
        "token, the head once a coalition, attention to what a token sees."
    )
    return Section("70B: tokens and operations per sample and checkpoint", rows, [note])


def _seconds() -> Section:
    rows = []
    for length in LENGTHS:
        sizes = benchmark_sizes(length, WORDS)
        for way, plain in (("trie", False), ("plain", True)):
            operations = scoring_operations(LLAMA_70B, sizes, plain=plain)
            for dtype, peak in (("bfloat16", H100.bfloat16), ("float32", H100.float32)):
                seconds = {f"{g} H100, s": operations / (g * peak * UTILISATION) for g in GPUS}
                rows.append({"prompt, tokens": length, "way": way, "products": dtype, **seconds})
    note = (
        f"All 2^{WORDS} coalitions. Not measured: operations over peak x {UTILISATION:g} x GPUs. The next table says on how many "
        "GPUs the model fits at all."
    )
    return Section("70B: seconds per sample and checkpoint, assumed", rows, [note])


def _memory() -> Section:
    rows = []
    for what, width in (("float32", 4), ("bfloat16", 2)):
        weights = width * parameters(LLAMA_70B)
        passing = pass_bytes(LLAMA_70B, PASS_TOKENS, width)
        rows.append(
            {
                "scoring in": what,
                "weights, GB": weights / GB,
                f"a pass of {PASS_TOKENS} tokens, GB": passing / GB,
                "in all, GB": (weights + passing) / GB,
                "H100 of 80 GB, at least": int(-(-(weights + passing) // H100.memory)),
            }
        )
    training = training_bytes(LLAMA_70B, 8 * 140, 8)
    notes = [
        "A pass holds keys and values of all layers for its tokens, one layer's activations and the leaves' logits: an estimate, "
        "without masks and what an allocator holds back. What was measured, for SmolLM2 on a CPU, stands in docs/evidence/benchmarks.md.",
        f"LoRA r = 8 on a float32 base, 8 rows of 140 tokens, no gradient checkpointing: about {training / GB:.0f} GB "
        f"({adapter_parameters(LLAMA_70B, 8) / 1e6:.0f} M trained weights).",
    ]
    return Section("70B: memory", rows, notes)


def _run() -> Section:
    units = RUN["prompts"] * (RUN["steps"] + RUN["wordings and precisions"])
    learning = training_operations(LLAMA_70B, RUN["training steps"] * RUN["tokens a step"]) / H100.bfloat16
    rows = []
    for length in LENGTHS:
        sizes = benchmark_sizes(length, WORDS)
        for way, plain in (("trie", False), ("plain", True)):
            operations = units * scoring_operations(LLAMA_70B, sizes, plain=plain)
            rows.append(
                {
                    "prompt, tokens": length,
                    "way": way,
                    "units": units,
                    "tokens, millions": units * (plain_tokens(sizes) if plain else trie_tokens(sizes)) / 1e6,
                    "float32, H100-hours": operations / H100.float32 / UTILISATION / 3600,
                    "bfloat16, H100-hours": operations / H100.bfloat16 / UTILISATION / 3600,
                    "training, H100-hours": learning / UTILISATION / 3600,
                }
            )
    note = (
        f"{RUN['prompts']} prompts of n = {WORDS}, {RUN['steps']} checkpoints and {RUN['wordings and precisions']} controls at the "
        f"reference. Training: {RUN['training steps']} steps of 8 rows of 140 tokens, LoRA, bfloat16 products. A baseline LLM of "
        f"the same size adds {RUN['prompts']} units."
    )
    return Section("70B: a whole run, assumed", rows, [note])


def page(measured: Section | None, memory: Sequence[Section] = ()) -> str:
    """The page; without `measured` and `memory`, its arithmetic alone."""
    kv = 2 * LLAMA_70B.layers * LLAMA_70B.kv_heads * LLAMA_70B.head * 4 * PASS_TOKENS
    head = HEAD.format(bf16=H100.bfloat16 / 1e12, fp32=H100.float32 / 1e12, use=UTILISATION)
    tail = TAIL.format(
        adapter=4 * adapter_parameters(LLAMA_70B, 8) / GB,
        base=4 * parameters(LLAMA_70B) / GB,
        half=2 * parameters(LLAMA_70B) / GB,
        tokens=f"{PASS_TOKENS:,}",
        kv=kv / GB,
        n=WORDS,
    )
    sections = ([measured] if measured else []) + arithmetic_sections()
    model = (
        f"70B: Llama-3.1-70B's shape, {parameters(LLAMA_70B) / GB:.1f} G weights, {linear_weights(LLAMA_70B) / GB:.1f} G of them in "
        "linear layers.\n"
    )
    parts = [head, model, *("\n".join(lines_of(section)) for section in sections), tail + large.TEXT]
    return "\n".join([*parts, *("\n".join(lines_of(section)) for section in [*memory, large.reckoned_section()])])


def main(arguments: list[str] | None = None) -> None:
    """Measure, count and print; with --write into a file as well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, help="write the page into this file too")
    wanted = parser.parse_args(arguments)
    text = page(measured_section(), large.large_rows())
    print(text, end="")
    if wanted.write:
        wanted.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
