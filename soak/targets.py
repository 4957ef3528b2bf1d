"""What is fuzzed: for everything that parses, how bytes become its input, the call, and valid examples to start from.

`Target(data)` runs one input in a scratch folder of its own and lets through whatever is no error of ours; `watch` says what
counts. The pytest part (tests/fuzz) and the soak (`fuzz.py`) drive the same list.
"""

import atexit
import contextlib
import functools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from soak import patterns
from soak.damage import DAMAGES, Choices, damage_folder
from soak.watch import enclosed, fate, unwatched

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz", "", ".txt")
ROW_LIMIT = 40  # rows of one file that are rendered and searched for words [ours]
SMALL = {"model": {"name": "m"}, "data": {"train": "t", "prompts": "p"}, "training": {"steps": 100}}


@dataclass(frozen=True)
class Target:
    """One parser. `call(data, scratch)` feeds it `data`; `group`: those that share a process of the soak.

    slow: loads models, so only a few examples are run where time is short.
    """

    name: str
    group: str
    call: Callable[[bytes, Path], object]
    seeds: tuple[bytes, ...]
    slow: bool = False

    def __call__(self, data: bytes) -> str | None:
        """Run one input. None where it was read, our own message where it was refused; anything else is a crash."""
        with scratch() as folder, enclosed(folder):
            return fate(lambda: self.call(data, folder))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="interplay-fuzz-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def pattern(kind: str) -> Path:
    """The valid folder of a kind, made once a process."""
    with unwatched():
        made = Path(tempfile.mkdtemp(prefix="interplay-pattern-"))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        if kind == "adapter":
            return patterns.adapter_folder(made / "checkpoint-1", pattern("model"))
        if kind in ("training", "model", "run"):
            return getattr(patterns, f"{kind}_folder")(made / kind)
        names = {"unit": "unit", "callback": "callback.json", "gguf": "m.gguf"}
        getattr(patterns, f"{kind}_file")(made / names[kind])
        return made


def damaged(kind: str, data: bytes, folder: Path) -> Path:
    """A copy of the valid folder with the damage that the bytes say."""
    copy = folder / pattern(kind).name
    shutil.copytree(pattern(kind), copy)
    damage_folder(copy, Choices(data))
    return copy


# ---- text ---------------------------------------------------------------------------------------------------------------


def _settings(data: bytes, folder: Path) -> None:
    from interplay.config.loading import default_folder, difference, dump_settings, load_settings, parse_yaml

    (folder / "s.yaml").write_bytes(data)
    settings = load_settings(folder / "s.yaml")
    assert default_folder(settings).parent == Path("runs")
    text = dump_settings(settings)
    assert load_settings(parse_yaml(text)) == settings
    assert difference(parse_yaml(text), settings.model_dump(mode="json")) == []


def _assignment(data: bytes, folder: Path) -> None:
    from interplay.config.loading import load_settings

    load_settings(SMALL, [data.decode("utf-8", "surrogateescape")])


def toy_tokenizer(chat_template: str | None = None) -> Any:
    """What `render` needs of a tokenizer: special tokens, and a chat template run in transformers' own sandbox."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def apply_chat_template(turns: list, *, tokenize: bool, add_generation_prompt: bool, **options: Any) -> str:
        rendered, _ = render_jinja_template(
            conversations=[turns],
            chat_template=chat_template,
            add_generation_prompt=add_generation_prompt,
            eos_token="</s>",
            **options,
        )
        return rendered[0]

    return _Toy(
        chat_template=chat_template,
        all_special_tokens=["</s>"],
        eos_token="</s>",
        bos_token=None,
        added_tokens_decoder={},
        apply_chat_template=apply_chat_template,
    )


class _Toy(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]  # kept in a WeakKeyDictionary


def _template(data: bytes, folder: Path) -> None:
    from interplay.data.prompts import render
    from interplay.data.template import PromptTemplate

    row = _row(PromptTemplate(template=data.decode("utf-8", "replace")))
    rendered = render(row, toy_tokenizer())
    assert rendered.prompt[rendered.text_start :].startswith(row.text)


def _chat_template(data: bytes, folder: Path) -> None:
    from interplay.data.prompts import render, template_hash
    from interplay.data.template import PromptTemplate

    tokenizer = toy_tokenizer(data.decode("utf-8", "replace"))
    row = _row(PromptTemplate(system="Be brief."))
    template_hash(tokenizer)
    rendered = render(row, tokenizer)
    assert rendered.prompt[rendered.text_start :].startswith(row.text)


def _row(template: Any) -> Any:
    from interplay.data.rows import Row

    messages, start = template.messages_for("We laughed at the food")
    return Row("a", messages, "joy", "We laughed at the food", start)


# ---- data files -----------------------------------------------------------------------------------------------------------


def read_data(folder: Path, suffix: str, form: str, content: bytes) -> None:
    """One data file through everything up to chosen words."""
    from interplay.data.samples import choose_samples
    from interplay.data.sources import read_rows
    from interplay.data.splits import split_rows
    from interplay.errors import InterplayError

    path = folder / f"rows{suffix}"
    path.write_bytes(content)
    if form == "goemotions" and suffix == ".tsv":
        (folder / "emotions.txt").write_text("anger\njoy\nneutral\n")
    result = read_rows(path, form)
    assert result.rows
    ids = [row.id for row in result.rows]
    assert len(set(ids)) == len(ids)
    for skip in result.skipped:
        assert len(skip.reason.splitlines()) == 1, skip
    for look in (lambda: choose_samples(result.rows[:ROW_LIMIT], 3, 3), lambda: split_rows(result.rows, 0)):
        with contextlib.suppress(InterplayError):  # too few rows or words, mostly
            look()


def _data(data: bytes, folder: Path) -> None:
    from interplay.data.sources import FORM_NAMES

    take = Choices(data)
    suffix, form = take.pick(SUFFIXES), take.pick(FORM_NAMES)
    read_data(folder, suffix, form, take.rest())


def _data_seeds() -> Iterator[bytes]:
    from interplay.data.sources import FORM_NAMES

    for at, suffix in enumerate(SUFFIXES[:6]):
        for form, rows in patterns.ROWS.items():
            yield bytes([at, FORM_NAMES.index(form)]) + patterns.rows_file(rows, suffix)


# ---- folders of checkpoints and models --------------------------------------------------------------------------------------


def _checkpoints(data: bytes, folder: Path) -> None:
    from interplay.errors import InterplayError
    from interplay.models.adapters import base_name_note
    from interplay.models.checkpoints import checkpoint_hash
    from interplay.models.layouts import find_layout, read_training_log
    from interplay.models.loading import LoadedModel

    training = damaged("training", data, folder)
    base = LoadedModel(None, None, "another", "0" * 64)
    log = read_training_log(training)
    assert all(isinstance(entry["step"], int) for entry in log)
    with contextlib.suppress(InterplayError):  # a step that is asked for is refused by itself, in one line too
        find_layout(training, [2])
    layout = find_layout(training)
    for note in layout.notes:
        assert len(note.splitlines()) == 1, note
    for checkpoint in layout.checkpoints:
        checkpoint_hash(checkpoint, base)
        base_name_note(checkpoint, base.name)


@functools.cache
def _base() -> Any:
    from interplay.models.loading import load_model

    with unwatched():
        return load_model(str(pattern("model")))


def _adapter(data: bytes, folder: Path) -> None:
    import torch

    from interplay.models.checkpoints import model_at
    from interplay.models.layouts import Checkpoint
    from interplay.models.weights import hash_tensors

    base = _base()
    copy = damaged("adapter", data, folder)
    try:
        with model_at(Checkpoint(1, copy, "adapter"), base) as model:
            model(torch.arange(5)[None])
    finally:
        assert hash_tensors(base.model.state_dict().items()) == base.sha256, "the base was changed"


def _model(data: bytes, folder: Path) -> None:
    from interplay.models.loading import load_model

    _base()
    load_model(str(damaged("model", data, folder)))


def _tokenizer(data: bytes, folder: Path) -> None:
    from interplay.models.loading import load_tokenizer

    load_tokenizer(str(damaged("model", data, folder)))


def _gguf(data: bytes, folder: Path) -> None:
    from interplay.models.gguf import as_model_folder

    _base()  # what transformers imports late makes folders of its own
    copy = damaged("gguf", data, folder)
    with mock.patch.dict(os.environ, INTERPLAY_CACHE=str(folder / "cache")):
        if (copy / "m.gguf").is_file():
            as_model_folder(copy / "m.gguf")


# ---- files of a run ---------------------------------------------------------------------------------------------------------


def _unit(data: bytes, folder: Path) -> None:
    from interplay.store.units import load_unit

    unit = load_unit(damaged("unit", data, folder) / "unit")
    if unit is not None:
        n = len(unit.header.words)
        assert unit.scores.shape == (1 << n,)
        assert unit.effects.shape == (2, 1 << n)
        assert all(isinstance(word, str) for word in unit.header.words)


def _kept_json(data: bytes, folder: Path) -> None:
    from interplay.store.files import cache_json, cached_json, read_json

    path = folder / "kept.json"
    cache_json(path, "key", {"tolerance": 0.1, "rows": [1, 2]})
    damage_folder(folder, Choices(data))
    assert isinstance(cached_json(path, "key"), dict | None)
    read_json(path)


def _callback(data: bytes, folder: Path) -> None:
    from interplay.callback.measuring import CallbackRecord

    copy = damaged("callback", data, folder)
    record = CallbackRecord.read(copy)
    if record is not None:
        assert all(isinstance(step, int) for step in (*record.hashes, *record.saved))
        assert record.calibration is None or math.isfinite(record.calibration.tolerance)
        (folder / "again").mkdir()
        record.write(folder / "again")
        assert CallbackRecord.read(folder / "again") == record


def _report(data: bytes, folder: Path) -> None:
    from interplay.runfolder import Run

    Run(damaged("run", data, folder)).report(folder / "report.html")


def _recommend(data: bytes, folder: Path) -> None:
    from interplay.cli.run import answer_lines
    from interplay.runfolder import Run

    answer_lines(Run(damaged("run", data, folder)).recommendation.to_dict())


def _compare(data: bytes, folder: Path) -> None:
    from interplay.comparison.comparison import compare_runs

    found = compare_runs([damaged("run", data, folder), pattern("run")])
    json.dumps(found.payload, allow_nan=False)
    found.report(folder / "comparison.html")


def _card(data: bytes, folder: Path) -> None:
    from interplay.exports.card import insert, section
    from interplay.store.reader import RunReader

    text = section(RunReader(damaged("run", data, folder)))
    assert insert(b"# Mine\n", text).startswith(b"# Mine\n")


def _card_text(data: bytes, folder: Path) -> None:
    from interplay.exports.card import BEGIN, END, insert

    text = f"{BEGIN}\nnew\n{END}\n"
    once = insert(data, text)
    assert insert(once, text) == once


def _export(data: bytes, folder: Path) -> None:
    from interplay.exports.export import export_run
    from interplay.store.reader import RunReader

    export_run(RunReader(damaged("run", data, folder)), folder / "out", (), ("csv",))


# Damages that are worth starting from: file, kind of damage, and what it is told. See `damage.damage_folder`.
_DAMAGES = tuple(bytes([file, kind, 3, 2, 5, 1, 4]) for kind in range(len(DAMAGES)) for file in (0, 25))
_CHATML = b"{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@functools.cache
def targets() -> tuple[Target, ...]:
    """Every target."""
    text = patterns.SETTINGS.encode()
    sets = (
        b"prompts.n=4",
        b"checkpoints.steps=[0, 50]",
        b"prompt.template=Say it: {text}",
        b"data.columns.text=comment",
    )
    cards = (b"", b"# Mine\n", b"---\nlicense: mit\n---\n# Mine\r\n", b"\xef\xbb\xbf---\n")
    found = [
        Target("settings", "text", _settings, (text, json.dumps(SMALL).encode())),
        Target("assignment", "text", _assignment, sets),
        Target("prompt template", "text", _template, (b"{text}", b"Q: {text}\nA:", b"{{text}} {0.__class__}{text}")),
        Target("chat template", "text", _chat_template, (_CHATML, b"{{ messages[0]['content'] }}")),
        Target("data file", "data", _data, tuple(_data_seeds())),
        Target("checkpoints", "checkpoints", _checkpoints, _DAMAGES),
        Target("unit", "run", _unit, _DAMAGES),
        Target("kept result", "run", _kept_json, _DAMAGES),
        Target("callback", "run", _callback, _DAMAGES),
        Target("model card", "text", _card_text, cards),
        Target("run: report", "run", _report, _DAMAGES),
        Target("run: recommend", "run", _recommend, _DAMAGES),
        Target("run: compare", "run", _compare, _DAMAGES),
        Target("run: card", "run", _card, _DAMAGES),
        Target("run: export", "run", _export, _DAMAGES),
        Target("adapter", "models", _adapter, _DAMAGES, slow=True),
        Target("model", "models", _model, _DAMAGES, slow=True),
        Target("tokenizer", "models", _tokenizer, _DAMAGES, slow=True),
        Target("GGUF", "models", _gguf, _DAMAGES, slow=True),
    ]
    return tuple(found)


def target(name: str) -> Target:
    """The target of a name."""
    return next(t for t in targets() if t.name == name)
