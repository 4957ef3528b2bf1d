"""Valid inputs of every kind, small enough to be made in a moment: what a fuzzer damages.

Checkpoint folders hold what transformers and peft write, with tensors of a few numbers; the model is a Llama of 5,000
parameters with a tokenizer of words. The finished run is made of random effects, without a model.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WORDS = (
    "the",
    "food",
    "was",
    "bad",
    "good",
    "joy",
    "anger",
    "and",
    "we",
    "laughed",
    "at",
    "it",
    *(f"w{i}" for i in range(64)),
)

SETTINGS = """\
name: tiny
seed: 3
model: {name: tiny, dtype: float32}
data:
  train: train.jsonl
  prompts: &prompts prompts.jsonl
  eval: *prompts
  columns: {text: sentence}
prompt: {template: "Text: {text}\\nEmotion:", chat: false, rephrased: null}
prompts: {count: 3, n: 4}
training: {steps: 4, learning_rate: 1e-3, bf16: auto}
checkpoints: {steps: [0, 1, 2, 4]}
baseline: [{name: other, few_shot: 2}]
"""
TURNS = [{"role": "user", "content": "Was it good?"}, {"role": "assistant", "content": "It was bad."}]
ROWS: dict[str, list[dict]] = {
    "text-label": [{"id": "a", "text": "The food was bad", "label": "anger"}, {"text": "We laughed", "label": "joy"}],
    "prompt-completion": [{"prompt": "Was it good?", "completion": "It was."}, {"prompt": "Why?", "completion": "So."}],
    "messages": [{"messages": TURNS}, {"messages": [{"from": "human", "value": "a"}, *TURNS], "tools": "[]"}],
    "text-labels": [{"text": "We laughed", "labels": ["joy"]}, {"text": "Both", "labels": ["joy", "anger"]}],
    "goemotions": [{"text": "We laughed", "labels": [17], "words": ["We"]}],
    "alpaca": [{"instruction": "Say", "input": "It was bad", "output": "bad", "system": "S", "history": [["a", "b"]]}],
    "dolly": [{"instruction": "Say", "context": "It was bad", "response": "bad", "words": "bad, it"}],
    "lawbench": [{"instruction": "Choose", "question": "Who?", "answer": "A"}],
    "unilaw": [{"instruction": "Choose", "input": "Who?", "output": "<think>x</think><answer>A</answer>"}],
}


def rows_file(rows: list[dict], suffix: str) -> bytes:
    """The rows as the bytes of a data file with this suffix (.gz included); cells of CSV are text."""
    if suffix.endswith(".gz"):
        import gzip

        return gzip.compress(rows_file(rows, suffix.removesuffix(".gz")), mtime=0)
    if suffix == ".parquet":
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if suffix in (".csv", ".tsv"):
        import csv
        import io

        text = io.StringIO(newline="")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows([[row.get(column, "") for column in columns] for row in rows])
        return text.getvalue().encode()
    if suffix == ".json":
        return json.dumps(rows).encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _tensors(path: Path, names: list[str], seed: int) -> None:
    from safetensors.numpy import save

    rng = np.random.default_rng(seed)
    path.write_bytes(save({name: rng.normal(size=(2, 2)).astype(np.float32) for name in names}, {"format": "pt"}))


def training_folder(folder: Path) -> Path:
    """An output folder: two adapters, a whole model in one file, one in two shards, and the final adapter."""
    lora = [f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight" for side in "AB"]
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "base_model_name_or_path": "tiny",
              "modules_to_save": None, "init_lora_weights": True, "rank_pattern": {}}  # fmt: skip
    log = [{"step": 1, "loss": 2.0, "learning_rate": 1e-4}, {"step": 2, "eval_loss": 1.5}]
    for step, where in ((1, folder / "checkpoint-1"), (2, folder / "checkpoint-2"), (9, folder)):
        where.mkdir(parents=True, exist_ok=True)
        _tensors(where / "adapter_model.safetensors", lora, step)
        _write(where / "adapter_config.json", config)
        _write(where / "trainer_state.json", {"global_step": step, "log_history": log, "best_global_step": 1})
    for step in (3, 4):
        where = folder / f"checkpoint-{step}"
        where.mkdir()
        _write(where / "config.json", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
        names = ["model.embed_tokens.weight", "model.norm.weight"]
        if step == 3:
            _tensors(where / "model.safetensors", names, step)
            continue
        files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        for name, file in zip(names, files, strict=True):
            _tensors(where / file, [name], step)
        index = {"metadata": {"total_size": 32}, "weight_map": dict(zip(names, files, strict=True))}
        _write(where / "model.safetensors.index.json", index)
    return folder


def model_folder(folder: Path) -> Path:
    """A Llama that transformers loads, with its tokenizer and chat template."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokens = ["<unk>", "<s>", "</s>", *WORDS]
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapter_folder(folder: Path, model: Path) -> Path:
    """A LoRA adapter of `model_folder`, as peft writes it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=1, lora_alpha=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def run_folder(folder: Path) -> Path:
    """A finished run out of random effects, with every file that a reader of runs opens."""
    import pandas as pd

    sys.path.insert(0, str(ROOT / "tests"))
    try:
        from synthetic_runs import synthetic_run  # ty: ignore[unresolved-import]
    finally:
        sys.path.pop(0)
    synthetic_run(folder, words=("bad", "food"), prompts=3, controls=True)
    units = pd.read_parquet(folder / "units.parquet")
    first, last = (units["scores"].map(lambda scores, at=at: float(scores[at])) for at in (0, -1))
    units = units.assign(score_empty=first, score_full=last, residual=0.0, noise_sigma=float("nan"))
    units.to_parquet(folder / "units.parquet", index=False)
    about = {
        "title": "tiny",
        "subtitle": "of nothing",
        "version": "0",
        "method": [],
        "notes": ["a note"],
        "score": "among 4 labels",
        "skipped": [],
    }
    _write(folder / "report.json", about)
    _write(
        folder / "weights.json", {"base": "0" * 64, "checkpoints": {str(step): str(step) * 64 for step in (1, 2, 4)}}
    )
    training_folder(folder / "checkpoints")
    return folder


def unit_file(path: Path) -> Path:
    """One unit as a run keeps it."""
    from interplay.store.units import Unit, UnitHeader, save_unit

    header = UnitHeader(
        key="k", condition="step-000000", step=0, sample_id="a", words=("bad", "food"), target=" joy", target_ids=(7,),
        absent="_", absence_sigma=0.0, dtype="float32", noise_sigma=None, weights_sha256="0", prompt_sha256="0", tolerance=0.1, objective=1.0,
        duality_gap=0.0, residual=0.0, iterations=3, converged=True,
    )  # fmt: skip
    save_unit(path, Unit(header, np.arange(4.0), np.arange(8.0).reshape(2, 4), np.zeros((1, 2, 4), np.float32)))
    return path


def callback_file(path: Path) -> Path:
    """`callback.json` of a training that was watched."""
    from interplay.callback.budget import Plan
    from interplay.callback.measuring import CallbackRecord
    from interplay.pipeline.measure import Calibration

    plan = Plan(**{name: 1 for name in Plan.__dataclass_fields__})
    calibration = Calibration(**{name: 0.5 for name in Calibration.__dataclass_fields__})
    hashes = {0: "a" * 64, 2: "b" * 64}
    record = CallbackRecord("request", plan, "0" * 64, calibration, hashes, {0: [(1.5, 3.0)]}, [2])
    record.write(path.parent)
    return path


def gguf_file(path: Path) -> Path:
    """A GGUF file with the metadata of a Llama and one tensor; not enough to be a model, enough to be read as far as that."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<unk>", *WORDS])
    writer.add_tensor("token_embd.weight", np.zeros((len(WORDS) + 1, 16), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
