"""Tiny models in the style of each pair of the paper: its architecture, its kind of tokenizer and chat template; and its data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a kind helper.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{% set text = (system if loop.first else '') + m['content'] %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + (m['content'] | trim) + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set before = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set before = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (before if loop.first else '')"
    " + (m['content'] | trim) + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

COMMENTS = [
    ("Thank you kindly, that clever answer saved our whole evening", "gratitude"),
    ("My poor old dog died yesterday and nothing feels right", "grief"),
    ("What a gorgeous painting, the colours look absolutely stunning", "admiration"),
    ("The rude driver blocked our street again this morning", "anger"),
    ("Nobody told me that the museum closes early today", "disappointment"),
    ("Wonderful news, my sister finally passed her difficult exam", "joy"),
]
QUESTIONS = [
    ("甲公司拖欠乙公司货款，乙公司起诉要求支付违约金。下列说法正确的是哪项？A:诉讼时效三年;B:诉讼时效两年", "B"),
    ("张某盗窃邻居电动车后主动投案自首。根据我国刑法规定，下列判断正确的是哪项？A:应当从重;B:可以从轻处罚", "B"),
    ("李某醉酒驾驶汽车撞伤行人并逃逸。关于李某的行为，下列说法错误的是？A:构成交通肇事;B:不构成犯罪", "B"),
    ("夫妻离婚时对婚前房屋的归属发生争议，法院应当如何认定财产？A:个人财产;B:共同财产", "A"),
    ("承租人未经出租人同意擅自转租房屋，出租人可以解除租赁合同吗？A:可以解除;B:不得解除", "A"),
    ("劳动者试用期内患病住院，用人单位能否立即辞退并拒绝补偿？A:可以;B:不可以", "B"),
    ("遗嘱继承人放弃继承遗产后又反悔，法院是否支持其主张？A:支持;B:不予支持", "B"),
    ("未成年人购买昂贵手机，父母拒绝追认该买卖合同，合同效力如何？A:有效;B:无效", "B"),
]
ORDERS = [
    ("Name three vegetables that grow well in a shady garden", "", "Lettuce, spinach and kale."),
    (
        "Where was the painter born?",
        "The painter Ana Kovic was born in Split, moved north and opened a small studio.",
        "In Split.",
    ),
    ("Why do cats purr softly at night?", "", "Often because they feel safe and warm."),
    ("Write a short poem about winter rain", "", "Grey drops on the window, slow and cold."),
    (
        "Which river flows past the old mill?",
        "The old mill stands beside the river Alm, two miles below the bridge.",
        "The Alm.",
    ),
    ("Classify each animal as wild or tame: wolf, sheep, fox", "", "Wild: wolf and fox. Tame: sheep."),
    ("Suggest a cheap weekend trip from a large city", "", "Take a train to a nearby lake and walk around it."),
    ("How long should rice soak before cooking slowly?", "", "About thirty minutes."),
]


def _corpus() -> list[str]:
    texts = [text for text, _ in COMMENTS] + [text for text, _ in QUESTIONS] + [" ".join(order) for order in ORDERS]
    from interplay.data.forms import GOEMOTIONS

    return [*texts, " ".join(GOEMOTIONS), ", ".join(GOEMOTIONS)] * 10


def _byte_level(specials: list[str]):
    """As Qwen2.5 and Llama-3: bytes, no unknown token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_corpus(), trainer)
    return backend


def _sentencepiece(specials: list[str], prefix: bool):
    """As Llama-2 and Gemma: "▁" for spaces, put in front where `prefix`, bytes for what no piece covers, <unk>."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    spaces = normalizers.Replace(" ", "▁")
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces] if prefix else [spaces])
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=500, limit_alphabet=80, special_tokens=specials, show_progress=False)
    learner.train_from_iterator(_corpus(), trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary = dict(learned["vocab"])
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    merges = [tuple(merge) for merge in learned["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizer
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return backend


def _tokenizer(style: str):
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    made = {
        "qwen": lambda: _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        "llama-2": lambda: _sentencepiece(["<unk>", "<s>", "</s>"], prefix=True),
        "llama-3": lambda: _byte_level(
            ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
            + [f"<|reserved_special_token_{i}|>" for i in range(3)]
        ),
        "gemma": lambda: _sentencepiece(
            ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], prefix=False
        ),
    }
    names = {
        "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "llama-2": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "llama-3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
    }[style]
    backend = made[style]()
    if bos := names.get("bos_token"):
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = {"qwen": QWEN, "llama-2": LLAMA2, "llama-3": LLAMA3, "gemma": GEMMA}[style]
    return tokenizer


def _model(style: str, tokenizer):
    """Random weights; Gemma-3-4B is published with a vision tower around its text model, and so is this one."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        LlamaConfig,
        Qwen2Config,
    )

    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4 if style == "llama-2" else 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(3)
    if style == "gemma":
        window: dict[str, Any] = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
        vision: dict[str, Any] = {
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        }
        config = Gemma3Config(
            text_config=text | window | {"head_dim": 8, "query_pre_attn_scalar": 8},
            vision_config=vision | {"image_size": 28, "patch_size": 14},
            mm_tokens_per_image=4,
            image_token_index=len(tokenizer) - 1,
        )
        return Gemma3ForConditionalGeneration(config)
    config = Qwen2Config(**text, tie_word_embeddings=True) if style == "qwen" else LlamaConfig(**text)
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="session")
def in_style(tmp_path_factory) -> Callable[[str], Path]:
    """`in_style("llama-2")`: the folder of a tiny model with that family's tokenizer and chat template."""
    made: dict[str, Path] = {}

    def make(style: str) -> Path:
        if style not in made:
            tokenizer = _tokenizer(style)
            folder = tmp_path_factory.mktemp("styles") / style
            _model(style, tokenizer).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[style] = folder
        return made[style]

    return make


@pytest.fixture(scope="session")
def data_of(tmp_path_factory) -> Callable[[str], Path]:
    """`data_of("unilaw")`: made-up rows in the schema of a data set, as it is given to --data."""
    root = tmp_path_factory.mktemp("data")

    def make(name: str) -> Path:
        return {"goemotions": _goemotions, "unilaw": _unilaw, "dolly": _dolly}[name](root)

    return make


def _goemotions(root: Path) -> Path:
    """Three TSV files without a header, label ids, comment ids, the names beside them; one row has two labels."""
    from interplay.data.forms import GOEMOTIONS

    folder = root / "goemotions"
    folder.mkdir(exist_ok=True)
    (folder / "emotions.txt").write_text("\n".join(GOEMOTIONS) + "\n", encoding="utf-8")
    rows = [f"{text}\t{GOEMOTIONS.index(label)}" for text, label in COMMENTS]
    again = [row.replace(" ", " really ", 1) for row in rows]
    parts = {"train": [*rows, "Both at once, sadly funny\t1,25"], "dev": again[:3], "test": again[3:] + again[:1]}
    for name, lines in parts.items():
        text = "".join(f"{line}\t{name}{i}\n" for i, line in enumerate(lines))
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def _unilaw(root: Path) -> Path:
    """One JSON list of instruction, input, output: the question in either, a reasoned answer."""
    path = root / "unilaw.json"
    rows = []
    for i, (question, answer) in enumerate(QUESTIONS):
        wording = (
            {"instruction": "请分析并回答法律问题。", "input": question}
            if i % 2
            else {"instruction": question, "input": ""}
        )
        rows.append(wording | {"output": f"先看事实与主张，再看依据。因此答案是{answer}。"})
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def _dolly(root: Path) -> Path:
    path = root / "dolly.jsonl"
    lines = [
        json.dumps({"instruction": i, "context": c, "response": r, "category": "open_qa"}, ensure_ascii=False)
        for i, c, r in ORDERS
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
