"""One cell of the study: a training with SFTTrainer, measured as it goes, into one file. No weights are kept.

Everything any rule looks at, and everything it is judged by, is measured at the same steps of the same training:

    scores_held [steps, prompts, labels, 2^n]  v of every label's first token under all coalitions; prompts not trained on
    scores_train                              the same of training prompts (with the labels they were trained on)
    reworded                                  held-out prompts at the reference steps in another wording: the churn floor
    eval_*, test_*, ood_*                     log p of every label's first token [steps, rows, labels], and the whole
                                              response's nats and tokens
    kl [steps]                                KL(base || model) on the eval prompts, first response token
    retention [steps]                         nats per token of a text that has nothing to do with the task
    train_loss, grad_norm, grad_change        per optimiser step
    seconds_*                                 CPU seconds of training, of the prompts, of everything else that is measured
"""

import json
import os
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from interplay.callback.model import borrowed
from interplay.data.prompts import encode, render
from interplay.data.rows import Row, Sample
from interplay.data.samples import choose_samples
from interplay.data.sources import read_rows
from interplay.data.template import PromptTemplate
from interplay.models.loading import LoadedModel, load_model
from interplay.pipeline.inputs import seeded_choice
from interplay.scoring.scores import Prepared, prepare, score_together
from interplay.task.drift import BaseDistributions, retention_windows, score_windows
from interplay.task.passes import batches, budgets, target_logprobs
from interplay.text import stable_hash
from interplay.training.sft import tokenise
from studies.stopping.grid import Cell

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PROMPTS, TRAIN_PROMPTS, N = 12, 8, 6
LONGEST = 90  # characters of a prompt's text: its words cost what stands behind them
EVAL_ROWS, TEST_ROWS, OOD_ROWS, RETENTION_TOKENS = 200, 300, 96, 512
WORDINGS = {
    "goemotions": ("Comment: {text}\nEmotion:", "Post: {text}\nEmotion:"),
    "emotions": ("Sentence: {text}\nEmotion:", "Text: {text}\nEmotion:"),
}


class Rows:
    """The rows of a cell: what it trains on, the user's held-out rows, the test rows no rule sees, the prompts."""

    def __init__(self, cell: Cell, data: Path, tokenizer) -> None:
        wording, other = (PromptTemplate(template=t, chat=False) for t in WORDINGS[cell.data])
        self.template, self.other = wording, other
        if cell.data == "goemotions":
            pool, held, test = (
                read_rows(str(data / "goemotions" / f"{split}.tsv"), "goemotions", template=wording)
                for split in ("train", "dev", "test")
            )
            labels = pool.labels
            train = seeded_choice(pool.rows, cell.rows, cell.seed, "train")
            prompts = seeded_choice(held.rows, 600, cell.seed, "probes")
            taken = {r.id for r in prompts}
            evaluated = seeded_choice([r for r in held.rows if r.id not in taken], EVAL_ROWS, cell.seed, "eval")
            tested = seeded_choice(test.rows, TEST_ROWS, 0, "test")  # the same in every cell
            ood = read_rows("emotions:test", "text-label", template=wording).rows
        else:
            pool = read_rows("emotions:train", "text-label", template=wording)
            labels = pool.labels
            train = seeded_choice(pool.rows, cell.rows, cell.seed, "train")
            taken = {r.id for r in train}
            evaluated = seeded_choice([r for r in pool.rows if r.id not in taken], EVAL_ROWS, cell.seed, "eval")
            taken |= {r.id for r in evaluated}
            test = read_rows("emotions:test", "text-label", template=wording).rows
            tested = (*[r for r in pool.rows if r.id not in taken], *test)[:TEST_ROWS]
            prompts = read_rows("emotions:dev", "text-label", template=wording).rows
            ood = read_rows("emotions:ood", "text-label", template=wording).rows
        self.labels = tuple(labels or ())
        # What a user has is as noisy as what they train on: eval rows and prompts get wrong labels too, test rows do not.
        self.train, self.evaluated, prompts = (self._noisy(rows, cell) for rows in (train, evaluated, prompts))
        self.tested, self.ood = tuple(tested), tuple(ood)[:OOD_ROWS]
        self.prompts = self._samples(prompts, PROMPTS, cell.seed)
        self.train_prompts = self._samples(self.train, TRAIN_PROMPTS, cell.seed)

    def _noisy(self, rows, cell: Cell) -> tuple[Row, ...]:
        """A share of the rows with another label, drawn evenly from the others; which ones depends on row and seed only."""
        found = []
        for row in rows:
            draw = int(stable_hash("noise", cell.seed, row.id, row.text)[:12], 16) / 16**12
            if draw < cell.noise:
                others = [label for label in self.labels if label != row.label]
                wrong = others[int(stable_hash("wrong", cell.seed, row.id, row.text)[:12], 16) % len(others)]
                row = replace(row, target=wrong, label=wrong)
            found.append(row)
        return tuple(found)

    @staticmethod
    def _samples(rows, count: int, seed: int) -> tuple[Sample, ...]:
        short = [row for row in rows if len(row.text) <= LONGEST]
        return choose_samples(short, count, N, seed).samples

    def reworded(self) -> tuple[Sample, ...]:
        """The held-out prompts in the other wording."""
        old, new = (t.template.split("{text}")[0] for t in (self.template, self.other))
        found = []
        for sample in self.prompts:
            message = sample.row.messages[-1]
            content = new + message.content[len(old) :]
            row = replace(
                sample.row,
                messages=(*sample.row.messages[:-1], replace(message, content=content)),
                text_start=sample.row.text_start + len(new) - len(old),
            )
            found.append(replace(sample, row=row))
        return tuple(found)


class Measures:
    """What is measured of one model state, and the record it goes into."""

    def __init__(self, rows: Rows, base: LoadedModel, retention: str) -> None:
        self.rows, self.base, self.retention = rows, base, retention
        tokenizer = base.tokenizer
        firsts = [self._label(label) for label in rows.labels]
        assert len(set(firsts)) == len(firsts), "labels share first tokens"
        self.firsts = firsts
        self.held = self._prepared(rows.prompts, rows.template)
        self.train = self._prepared(rows.train_prompts, rows.template)
        self.reworded = self._prepared(rows.reworded(), rows.other)
        self.sets = {
            name: [encode(render(row, tokenizer, rows.template), tokenizer) for row in part]
            for name, part in (("eval", rows.evaluated), ("test", rows.tested), ("ood", rows.ood))
        }
        self.windows = retention_windows(retention, base.model, tokenizer, RETENTION_TOKENS)
        self.kl_base = BaseDistributions(len(self.sets["eval"]))
        self.found: dict[str, list[Any]] = {}
        self.seconds = {"prompts": 0.0, "rest": 0.0}
        self.wall_prompts = 0.0

    def _label(self, label: str) -> int:
        row = replace(self.rows.train[0], target=label, label=label)
        return encode(render(row, self.base.tokenizer, self.rows.template), self.base.tokenizer).target_ids[0]

    def _prepared(self, samples, template) -> list[Prepared]:
        return [prepare(sample, self.base.tokenizer, template, target_tokens="first") for sample in samples]

    def _scores(self, model, prepared: list[Prepared]) -> tuple[np.ndarray, float]:
        values, noise = [], []
        for p in prepared:
            units = score_together(
                model, [replace(p, target_ids=(first,)) for first in self.firsts], noise_coalitions=2
            )
            values.append([unit.values for unit in units])
            noise.append(float(np.mean([unit.noise_sigma for unit in units])))
        return np.asarray(values, dtype=np.float32), float(np.sqrt(np.mean(np.square(noise))))

    def measure(self, model, step: int, *, floor: bool) -> None:
        """Append everything of this state; `floor`: the other wording too."""
        start, wall = time.process_time(), time.perf_counter()
        held, noise = self._scores(model, self.held)
        self.add("scores_held", held)
        self.add("noise", noise)
        self.seconds["prompts"] += time.process_time() - start
        self.wall_prompts += time.perf_counter() - wall
        start = time.process_time()
        self.add("scores_train", self._scores(model, self.train)[0])
        if floor:
            self.add("reworded", self._scores(model, self.reworded)[0])
            self.add("reworded_steps", step)
        self.add("steps", step)
        for name, encoded in self.sets.items():
            compared = self.kl_base.against() if name == "eval" and step > 0 else None
            nll, tokens, firsts = self._rows(model, encoded, name, step, compared)
            self.add(f"{name}_nll", nll)
            self.add(f"{name}_firsts", firsts)
            if step == 0:
                self.found[f"{name}_tokens"] = [tokens]
            if name == "eval":
                self.add("kl", 0.0 if compared is None else float(np.nanmean(compared.found.forward)))
        windows = score_windows(model, self.windows)
        self.add("retention", float(windows.nll.sum() / windows.tokens.sum()))
        self.seconds["rest"] += time.process_time() - start

    def _rows(self, model, encoded, name: str, step: int, compared):
        items = [(e.input_ids, e.target_ids) for e in encoded]
        nll, tokens = np.zeros(len(items), np.float32), np.zeros(len(items), np.int32)
        firsts = np.zeros((len(items), len(self.firsts)), np.float32)
        for batch in batches(items, *budgets(model)):

            def seen(index: int, logprobs, batch=batch) -> None:
                if name == "eval":
                    (self.kl_base.collect if step == 0 else compared.seen)(batch[index], logprobs)

            scored = target_logprobs(model, [items[i] for i in batch], self.firsts, seen)
            for i, (own, first) in zip(batch, scored, strict=True):
                nll[i], tokens[i], firsts[i] = -own.sum(), len(own), first
        return nll, tokens, firsts

    def add(self, key: str, value: Any) -> None:
        self.found.setdefault(key, []).append(value)


def run_cell(cell: Cell, data: Path, out: Path, *, device: str = "cpu", model: str = MODEL) -> Path:
    """Train and measure one cell; the result is `out/<name>.npz` with `<name>.json` beside it, written when it is whole."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback, set_seed
    from transformers.trainer_callback import PrinterCallback, ProgressCallback
    from trl import SFTConfig, SFTTrainer

    warnings.filterwarnings("ignore")
    os.environ["HF_HUB_OFFLINE"] = "1"
    base = load_model(model, dtype="float32", device=device)
    rows = Rows(cell, data, base.tokenizer)
    text = (data / "wikitext2" / "valid.txt").read_text(encoding="utf-8")
    measures = Measures(rows, base, text)
    examples, _ = tokenise(rows.train, base.tokenizer, rows.template, 256)
    per_step: dict[str, list[float]] = {"train_loss": [], "grad_norm": [], "grad_change": []}

    class Watch(TrainerCallback):
        """Measures at the steps of the cell; records the gradient's change as GradES does [arXiv 2509.01842]."""

        last: dict[str, Any] | None = None
        started = 0.0

        def on_train_begin(self, args, state, control, model: Any = None, **kwargs):
            self._measure(model, 0)
            self.started = time.process_time()

        def on_pre_optimizer_step(self, args, state, control, model: Any = None, **kwargs):
            now = {n: p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None}
            change = float("nan")
            if self.last is not None:
                total = sum(float((now[n] - self.last[n]).abs().sum()) for n in now)
                change = total / sum(g.numel() for g in now.values())
            self.last = now
            per_step["grad_change"].append(change)

        def on_step_end(self, args, state, control, model: Any = None, **kwargs):
            if state.global_step in cell.steps:
                self._measure(model, state.global_step)
                print(f"{cell.name} step {state.global_step}", flush=True)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                per_step["train_loss"].append(float(logs["loss"]))
                per_step["grad_norm"].append(float(logs.get("grad_norm", float("nan"))))

        def _measure(self, model, step: int) -> None:
            with borrowed(model):
                measures.measure(model, step, floor=step in (0, cell.steps[3]))

    class OfflineTrainer(SFTTrainer):
        def _send_telemetry(self):
            pass

    config = SFTConfig(
        output_dir=str(out / "trainer"),
        max_steps=cell.steps[-1],
        per_device_train_batch_size=8,
        learning_rate=cell.learning_rate,
        lr_scheduler_type="cosine",
        max_length=256,
        bf16=True,
        use_cpu=device == "cpu",
        seed=cell.seed,
        data_seed=cell.seed,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", bias="none", task_type="CAUSAL_LM")
    set_seed(cell.seed)
    start, wall = time.process_time(), time.perf_counter()
    trainer = OfflineTrainer(
        model=base.model,
        args=config,
        train_dataset=Dataset.from_list(examples),
        processing_class=base.tokenizer,
        peft_config=lora if cell.method == "lora" else None,
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.train()
    seconds = time.process_time() - start
    arrays = {key: np.asarray(value) for key, value in measures.found.items()}
    arrays |= {key: np.asarray(value) for key, value in per_step.items()}
    for name, part in (("eval", rows.evaluated), ("test", rows.tested), ("ood", rows.ood)):
        arrays[f"{name}_gold"] = np.array([rows.labels.index(r.label) if r.label in rows.labels else -1 for r in part])
    for name, samples in (("held", rows.prompts), ("train", rows.train_prompts)):
        arrays[f"{name}_gold"] = np.array([rows.labels.index(s.row.label) for s in samples])
    about = asdict(cell) | {
        "name": cell.name,
        "model": model,
        "learning_rate": cell.learning_rate,
        "labels": rows.labels,
        "rows": len(examples),
        "steps": cell.steps,
        "prompts": [{"text": s.row.text, "words": [w.text for w in s.words]} for s in rows.prompts],
        "seconds": {
            "training": seconds - sum(measures.seconds.values()),
            "prompts": measures.seconds["prompts"],
            "rest": measures.seconds["rest"],
            "wall": time.perf_counter() - wall,
            "wall_prompts": measures.wall_prompts,
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f"{cell.name}.partial.npz"
    np.savez_compressed(partial, **arrays)
    (out / f"{cell.name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(out / f"{cell.name}.npz")
    return out / f"{cell.name}.npz"
