"""Two gloo processes train together, three times; each writes what it saw as JSON. `python two_processes.py MODEL OUT`.

One process imports everything and forks the two, since imports take longer than the trainings.
"""

import json
import os
import socket
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from audits import audit

LOSSES = {0: 9.0, 1: 5.0, 2: 3.0, 3: 4.0}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train(model_folder: str, out: Path, rank: int, case: str) -> dict:
    import hashlib

    from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback, Trainer, TrainingArguments

    from interplay import InteractionCallback
    from interplay.callback import measuring

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    ids = tokenizer("we had to laugh at the food but not happy")["input_ids"]
    rows = [{"input_ids": ids[i:] + ids[:i], "labels": ids, "attention_mask": [1] * len(ids)} for i in range(8)]
    arguments = TrainingArguments(
        str(out / case), max_steps=4, per_device_train_batch_size=1, use_cpu=True, report_to=[], disable_tqdm=True,
        logging_steps=1, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, learning_rate=1e-2,
        metric_for_best_model=None if case == "off" else "eval_interaction_loss", dataloader_pin_memory=False,
        load_best_model_at_end=case == "stop", seed=5,
    )  # fmt: skip
    prompts = [{"prompt": f"Sentence: {text}\nEmotion:", "completion": " joy"} for text in
              ("The terrible service ruined dinner", "Children played near the quiet river", "A stranger returned my wallet",
               "Our old dog died last winter")]  # fmt: skip
    rules = audit() if case == "stop" else None
    callback = InteractionCallback(
        prompts, every=1, max_overhead=None, n=2, num_prompts=2, strict=case == "strict", audit=rules, stop=True
    )
    if rank == 0 and case != "off":  # only the process that measures hears the rule
        real = measuring.Measurer.losses, measuring.Measurer.stops

        def scripted(measurer, metric):
            step = max(measurer.record.answers)
            if case in ("error", "strict") and step >= 2:
                raise RuntimeError("the prompt broke")
            return {s: LOSSES.get(s, 8.0) for s in measurer.record.answers}

        measuring.Measurer.losses = scripted
        measuring.Measurer.stops = lambda measurer, _: case == "stop" and max(measurer.record.answers) >= 3
        if case != "stop":  # tables and page take most of the time
            measuring.Measurer.write_tables = lambda *_, **__: None
    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=rows[:4],
        processing_class=tokenizer,
        callbacks=[] if case == "off" else [callback, EarlyStoppingCallback(9)] if case == "stop" else [callback],
    )
    raised = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            trainer.train()
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
    if rank == 0 and case != "off":
        measuring.Measurer.losses, measuring.Measurer.stops = real
    history = trainer.state.log_history
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
    return {
        "steps": trainer.state.global_step,
        "best": [trainer.state.best_global_step, trainer.state.best_metric],
        "rules": [
            [e["step"], {k: v for k, v in e.items() if k.startswith("interplay/rule/")}]
            for e in history
            if "eval_interaction_loss" in e
        ],
        "losses": [[e["step"], e["eval_interaction_loss"]] for e in history if "eval_interaction_loss" in e],
        "errors": [[e["step"], e["interaction_errors"]] for e in history if "interaction_errors" in e],
        "train": [e["loss"] for e in history if "loss" in e],
        "weights": digest,
        "raised": raised,
        "warned": [str(w.message) for w in warned if "interplay" in str(w.message)],
    }


def main() -> None:
    import transformers  # noqa: F401
    from transformers import Trainer  # noqa: F401

    import interplay.callback.callback  # noqa: F401

    model, out, port = sys.argv[1], Path(sys.argv[2]), free_port()
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ |= {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
                }  # fmt: skip
                found = {case: train(model, out, rank, case) for case in ("off", "stop", "error", "strict")}
                (out / f"rank-{rank}.json").write_text(json.dumps(found))
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main()
