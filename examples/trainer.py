"""Watch interactions in transformers' own Trainer.   python examples/trainer.py MODEL TRAIN HELDOUT

TRAIN and HELDOUT are JSONL files of {"prompt": ..., "completion": ...}. HELDOUT is not trained on.
"""

import json
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

import interplay

name, train, heldout = sys.argv[1:4]
tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name)


def encode(row: dict) -> dict:
    prompt, answer = tokenizer(row["prompt"])["input_ids"], tokenizer(row["completion"])["input_ids"]
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


rows = [encode(json.loads(line)) for line in Path(train).read_text(encoding="utf-8").splitlines()]
trainer = Trainer(
    model=model,
    args=TrainingArguments("out-trainer", max_steps=30, per_device_train_batch_size=4, report_to=[]),
    train_dataset=rows,
    data_collator=DataCollatorForSeq2Seq(tokenizer),
    processing_class=tokenizer,
    callbacks=[interplay.InteractionCallback(heldout, every=10)],
)
trainer.train()
print(interplay.Run("out-trainer/interplay").summary())
