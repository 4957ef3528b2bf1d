"""Every payload through what the verbs print: no control character reaches a terminal but line ends and our own bold."""

import json
import re
import shutil
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from audits import audit
from hostile import PAYLOADS, SHORT, controls, ids
from poison import TEXTS, hostile_run

from interplay.analysis.summary import Summary
from interplay.cli import show
from interplay.explanation.text import InteractionRow, Printout
from interplay.pipeline.progress import Progress

BOLD = re.compile("\x1b\\[[01]m")
COLOUR = re.compile("\x1b\\[[0-9;]*m")  # of bars


@pytest.fixture
def terminal(monkeypatch, capsys):
    """stdout and stderr say that they are a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(type(stream), "isatty", lambda self: True)


def test_the_check_itself():
    assert controls("a\x1b[31m\x07\x9b\u202e\r") == ["\x1b", "\x07", "\x9b", "\u202e", "\r"]


# ---- the end of a run ------------------------------------------------------------------------------------------------


def result(text: str) -> SimpleNamespace:
    return SimpleNamespace(
        notes=[text, text],
        score=text,
        summary=lambda: Summary([{"step": 0, "eval_loss": 1.0}, {"step": 4}], None),
        recorded={"step": 4, "sentence": text},
        path=Path("runs") / text.replace("\0", ""),
        has=lambda name: name == "audit.json",
        audit=audit(text),
        settings=SimpleNamespace(training=object()),
    )


@pytest.mark.matrix(12)
@pytest.mark.parametrize("payload", PAYLOADS, ids=ids)
def test_the_end_of_a_run(payload, capsys):
    show.show_run(result(payload.text))
    assert not controls(capsys.readouterr().out)


@pytest.mark.matrix(6)
@pytest.mark.parametrize("payload", SHORT, ids=ids)
def test_the_end_of_a_run_on_a_terminal(payload, capsys, terminal):
    show.show_run(result(payload.text))
    said = capsys.readouterr().out
    assert "\x1b[1m" in said  # it does write to a terminal here
    assert not controls(BOLD.sub("", said))


# ---- pictures --------------------------------------------------------------------------------------------------------

ROWS = [InteractionRow("and", 0b11, (0.5,)), InteractionRow("or", 0b10, (-0.25,))]


@pytest.mark.matrix(6)
@pytest.mark.parametrize("payload", PAYLOADS, ids=ids)
def test_pictures_of_words(payload):
    words = [payload.text[:2000], "plain", payload.text[:2000]]
    out = Printout()
    out.draw(words, ROWS)
    names = out.list_words(words)
    out.spell(names, ROWS)
    out.spell(names, [InteractionRow("and", 0b101, (0.5, 0.1), "gone")])
    out.spell_values(names, [(0.5,), (-0.5,), (0.0,)])
    out.say(payload.text)
    assert not any(controls(line) for line in out.lines)
    assert any(line.startswith("AND") for line in out.lines)


def test_pictures_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for payload in SHORT:
        out = Printout(terminal=True)
        out.draw([payload.text, "plain"], ROWS)
        out.spell(out.list_words([payload.text, "plain"]), ROWS)
        assert any("\x1b[36m" in line for line in out.lines)
        assert not any(controls(COLOUR.sub("", line)) for line in out.lines)


# ---- talk while it works ---------------------------------------------------------------------------------------------


@pytest.mark.matrix(6)
@pytest.mark.parametrize("payload", PAYLOADS, ids=ids)
def test_progress(payload, capsys):
    progress = Progress(every=0.0)
    progress.say(payload.text)
    with progress.phase("phase", 2) as advance:
        advance(note=payload.text)
        advance(note=payload.text)
    assert not controls(capsys.readouterr().err)


def test_progress_on_a_terminal(capsys, terminal):
    progress = Progress()
    with progress.phase("phase", len(SHORT)) as advance:
        for payload in SHORT:
            advance(note=payload.text)
            progress.say(payload.text)
    said = capsys.readouterr().err
    ours = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|\r")  # rich moves the cursor; nothing of the data is such a sequence
    assert not controls(ours.sub("", said))
    assert not re.search("\x1b[\\]P_^X]|\x07|[\x80-\x9f]", said)


@pytest.mark.matrix(6)
@pytest.mark.parametrize("payload", PAYLOADS, ids=ids)
def test_warnings_of_the_callback(payload):
    """A warning is printed as it is; what it quotes may be a row, or an error's text with a path."""
    from interplay import InteractionCallback

    callback = InteractionCallback([{"prompt": "a b", "completion": " c"}])
    callback._warned = set()  # as at the beginning of a training
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback._warn_of(RuntimeError(payload.text), "a reading failed")
    assert len(caught) == 1
    assert not controls(str(caught[0].message), allowed="")


# ---- verbs on names that are not there -------------------------------------------------------------------------------

VERBS = (
    ("run", "{}"),
    ("run", "preset:{}"),
    ("run", "preset:demo", "--set", "{}"),
    ("run", "preset:demo", "--set", "name={}", "--set", "training.{}=1"),
    ("run", "preset:demo", "--set", "data.form={}"),
    ("report", "{}"),
    ("card", "{}"),
    ("card", ".", "--append", "{}"),
    ("recommend", "{}"),
    ("recommend", ".", "--base", "{}", "--prompts", "{}", "--quiet", "--out", "out"),
    ("compare", "{}", "{}2"),
    ("compare", ".", ".", "--axis", "{}"),
    ("compare", "--group", "{}"),
    ("export", "{}", "--out", "out", "--format", "none"),
    ("export", ".", "--out", "out", "--format", "{}"),
    ("explain", "--model", "{}", "--prompt", "not happy", "--target", "joy"),
    ("explain", "{}", "{}@0", "--prompt", "not happy", "--target", "joy"),
    ("explain", "{}/x.gguf", "--prompt", "{}", "--target", "{}"),
    ("track", "--base", "./{}", "--checkpoints", "{}", "--data", "{}", "--quiet", "--out", "out"),
    ("{}",),
    ("report", "--{}"),
)


@pytest.mark.matrix("some")
@pytest.mark.parametrize("payloads", [SHORT[::9], SHORT], ids=["some", "all"])
@pytest.mark.parametrize("verb", VERBS, ids=[" ".join(verb) for verb in VERBS])
def test_a_refusal_is_one_plain_line(verb, payloads, call, tmp_path, monkeypatch):
    """Whatever a name is made of, and wherever it stands: exit code 2, one line, nothing written."""
    monkeypatch.chdir(tmp_path)
    odd = []
    reads_models = verb[0] == "track" or "--prompts" in verb  # some fifty milliseconds each
    for payload in payloads[::3] if reads_models else payloads:
        done = call(*(part.format(payload.text) if "{}" in part else part for part in verb))
        fine = done.code == 2 and done.out == "" and done.err.startswith("interplay: ") and done.err.count("\n") == 1
        if payload.text in ("--help",) and done.code == 0:
            continue  # it is the option that it looks like
        if not fine or controls(done.err) or len(done.err) > 4 * len(payload.text) + 1500:
            odd.append((payload.name, done.code, done.out[:80], done.err[:300]))
    assert odd == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == []


@pytest.mark.matrix("some")
@pytest.mark.parametrize("texts", [TEXTS[::9], TEXTS], ids=["some", "all"])
def test_recommend_and_its_reasons(texts, call, tmp_path):
    folder = hostile_run(tmp_path / "run", tuple("abcdef"))
    verdict = json.loads((folder / "recommendation.json").read_text(encoding="utf-8"))
    for step in (1, 2, 4):
        _adapter(folder / "checkpoints" / f"checkpoint-{step}")
    for i, text in enumerate(texts):
        for basis in ("rule", text) if i % 5 == 0 else ("rule",):
            (folder / "recommendation.json").write_text(
                json.dumps(verdict | {"sentence": text, "basis": basis, "rule": text}), encoding="utf-8"
            )
            done = call("recommend", folder)
            assert done.code == 0, done.err
            assert not controls(done.out + done.err)
            assert "step 2" in done.out


def _adapter(folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    save_file({"w": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")


@pytest.mark.matrix("some")
@pytest.mark.parametrize("payloads", [PAYLOADS[::9], PAYLOADS], ids=["some", "all"])
def test_the_bases_that_adapters_name(payloads, call, tmp_path, monkeypatch, tiny_folder):
    """A downloaded adapter says what it stands on; the name goes into what is refused, and is never fetched."""
    monkeypatch.chdir(tmp_path)
    odd = []
    for payload in payloads:
        shutil.rmtree(tmp_path / "adapter", ignore_errors=True)
        _adapter(tmp_path / "adapter")
        config = {"peft_type": "LORA", "base_model_name_or_path": payload.text}
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        done = call("explain", "adapter", "--prompt", "not happy with it", "--target", "joy")
        if done.code != 2 or done.err.count("\n") != 1 or controls(done.err) or len(done.err) > 700:
            odd.append((payload.name, done.code, done.err[:300]))
    assert odd == []
