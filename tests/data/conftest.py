"""Tokenizers for the data tests: a byte-level BPE trained here, with several chat templates, and real files when at hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "none": None,
    "chatml": CHATML,
    # SmolLM2, Qwen2.5: a system turn of its own unless one is given
    "default-system": "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a user helper<|im_end|>\n{% endif %}"
    + CHATML,
    # Gemma: strips, has no system role but a prefix in the first user turn, and calls the assistant model
    "gemma": (
        "{{ bos_token }}{% set ns = namespace(prefix='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
        "{% set ns.prefix = m['content'] + '\n\n' %}{% else %}<|im_start|>"
        "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ ns.prefix }}{{ m['content'] | trim }}<|im_end|>\n"
        "{% set ns.prefix = '' %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
    ),
    # Qwen3: writes an empty thought before the last answer, and in the prompt only when thinking is switched off
    "thinking": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}"
        "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
        "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
        "{% endif %}"
    ),
    # A template whose full conversation never begins with the prompt
    "stubborn": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    ),
    "shouting": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | upper }}\n{% endfor %}",
    "cutting": "{% for m in messages %}{{ m['role'] }}: {{ m['content'][:20] }}\n{% endfor %}",
    "forgetful": "{% for m in messages %}{{ m['role'] }}: {{ m['content'].split('joy')[0] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "twice": "{% for m in messages %}{{ m['content'] }}{{ m['content'] }}\n{% endfor %}",
    "refusing": "{{ raise_exception('only system turns') }}",
    "dated": "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }} " + CHATML,
}


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable:
    """A fast tokenizer without <unk>, trained on a few sentences, with one of TEMPLATES."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    corpus = [
        "Comment: I was not happy with the food at all\nEmotion: sadness",
        "user assistant system joy anger love fear",
    ] * 20
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    saved = backend.to_str()

    def make(template: str = "chatml"):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(saved),
            bos_token="<|endoftext|>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            additional_special_tokens=["<|im_start|>"],
        )
        tokenizer.chat_template = TEMPLATES[template]
        return tokenizer

    return make


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """The path of a real file beside the repository, or a skip."""

    def find(name: str) -> Path:
        path = Path(__file__).parents[3] / "shared" / name
        if not path.exists():
            pytest.skip(f"{name} is not at hand")
        return path

    return find
