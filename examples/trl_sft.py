"""Watch interactions while TRL fine-tunes a model with LoRA.   python examples/trl_sft.py MODEL TRAIN HELDOUT

TRAIN and HELDOUT are JSONL files of {"prompt": ..., "completion": ...} or {"messages": [...]}. HELDOUT is not trained on.
"""

import sys

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

import interplay

model, train, heldout = sys.argv[1:4]
callback = interplay.InteractionCallback(heldout, every=10)

trainer = SFTTrainer(
    model=model,
    args=SFTConfig(
        "out",
        max_steps=30,
        per_device_train_batch_size=4,
        learning_rate=1e-4,
        bf16=torch.cuda.is_available(),
        report_to=[],
    ),
    train_dataset=load_dataset("json", data_files=train, split="train"),
    peft_config=LoraConfig(r=8, target_modules="all-linear"),
    callbacks=[callback],
)
trainer.train()

run = interplay.Run("out/interplay")  # the callback leaves a run folder with its page
print(run.summary())
