"""Tiny random models of four architectures with a tokenizer trained here, as ordinary folders; real files when at hand."""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test never reaches a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # bytes are compared with those of processes that have one

sys.path.insert(0, str(Path(__file__).parent))  # `tiny_job` and its like, whichever folder is run alone

# No deadline: a busy machine is no failure. `make soak` asks for the second profile.
settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)  # the same cases in every run
settings.register_profile("long", deadline=None, max_examples=500)
settings.load_profile("quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What collecting imports is there to stay: half a million objects that the collector of garbage need not go through again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark `soak` on the cases of a matrix that `make test` leaves out.

    A test marked `matrix(3)` runs three of its cases in `make test`, spread over all of them; one marked `matrix("llama", "gemma")`
    runs those whose name holds one of these texts. All the others run in `make soak`.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("matrix"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for group in cases.values():
        wanted = group[0].get_closest_marker("matrix").args
        if isinstance(wanted[0], int):
            kept = {round(i * (len(group) - 1) / max(1, wanted[0] - 1)) for i in range(wanted[0])}
        else:
            kept = {
                i for i, item in enumerate(group) if any(name in item.name.partition("[")[2] for name in wanted)
            } or {0}
        for i, item in enumerate(group):
            if i not in kept:
                item.add_marker("soak")


ARCHITECTURES = ("llama", "qwen2", "gemma3", "qwen3")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHARED = Path(__file__).resolve().parents[2] / "shared"


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    emotions = " anger disgust fear joy love pride sadness surprise"
    corpus = ["Sentence: I was not happy with the food at all, but we had to laugh\nEmotion: sadness" + emotions] * 20
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def _config(architecture: str, vocabulary: int):
    from transformers import Gemma3TextConfig, LlamaConfig, Qwen2Config, Qwen3Config

    common = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,  # the usual 0.02 gives scores so flat that every test of them would pass
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if architecture == "llama":
        return LlamaConfig(**common, tie_word_embeddings=True)
    if architecture == "qwen2":
        return Qwen2Config(**common)
    if architecture == "qwen3":
        return Qwen3Config(**common, head_dim=8)
    # A window shorter than the prompts, so that sliding layers really slide.
    return Gemma3TextConfig(
        **common,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    )


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE tokenizer with <unk> and a ChatML template."""
    return _tokenizer()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_tokenizer) -> Callable[..., Path]:
    """`tiny_folder("qwen2")`: a model folder of about 30,000 random parameters; `seed` for another model."""
    import torch
    from transformers import AutoModelForCausalLM

    made: dict[tuple[str, int], Path] = {}

    def make(architecture: str = "llama", seed: int = 0) -> Path:
        if (architecture, seed) not in made:
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(_config(architecture, len(tiny_tokenizer)))
            folder = tmp_path_factory.mktemp("models") / f"{architecture}-{seed}"
            model.save_pretrained(folder)
            tiny_tokenizer.save_pretrained(folder)
            made[architecture, seed] = folder
        return made[architecture, seed]

    return make


@pytest.fixture(scope="session")
def stories_folder() -> Path:
    """A real trained Llama of 260 K parameters, where the shared data are at hand."""
    folder = SHARED / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip("the 260K Llama is not at hand (shared/models/stories260K)")
    return folder


@pytest.fixture(scope="session")
def loaded(tiny_folder) -> Callable:
    """`loaded("gemma3", "float64")`: a LoadedModel, made once a session; a test leaves it as it found it."""
    from interplay.models.loading import load_model

    made = {}

    def load(architecture: str = "llama", dtype: str = "float32"):
        if (architecture, dtype) not in made:
            made[architecture, dtype] = load_model(str(tiny_folder(architecture)), dtype=dtype)
        return made[architecture, dtype]

    return load


CHROMIUM = Path("/usr/bin/chromium")
TASK_LABELS = ("anger", "joy", "love", "sadness")


@pytest.fixture(scope="session")
def template():
    """The wording of the tiny labelled task that training and task metrics share."""
    from interplay.data.template import PromptTemplate

    return PromptTemplate(system="", template="Sentence: {text}\nEmotion:")


@pytest.fixture(scope="session")
def sample(template):
    from interplay.data.samples import make_sample

    words = ["not", "happy", "cold", "food"]
    return make_sample("I was not happy with the cold food today", "sadness", words=words, template=template)


@pytest.fixture(scope="session")
def prepared(sample, template, tiny_tokenizer):
    from interplay.scoring.scores import prepare

    return prepare(sample, tiny_tokenizer, template, target_tokens="first")


@pytest.fixture(scope="session")
def rows(template):
    """Sixteen rows of different lengths, four labels."""
    from interplay.data.rows import Row

    texts = ["we had to laugh", "not happy with the food", "I was happy", "the food at all", "laugh"]
    made = []
    for i in range(16):
        text = f"{texts[i % 5]} {'at all ' * (i % 3)}number {i}"
        messages, start = template.messages_for(text)
        made.append(Row(f"r{i}", messages, TASK_LABELS[i % 4], text, start, label=TASK_LABELS[i % 4]))
    return made


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, one for all tests of a process: playwright's simple interface cannot be started twice."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with api.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def call(monkeypatch, capsys):
    """`call("explain", ...)` runs the command here; gives its exit `code`, `out` and `err`."""
    from interplay.cli import main

    def run(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["interplay", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=stopped.value.code, out=out, err=err)

    return run
