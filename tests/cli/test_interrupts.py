"""Ctrl-C: a real SIGINT in the middle of a verb; exit code 130, one line of what is kept and how to go on; and what waits show."""

import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from audits import planted_rows
from tiny_job import BARE, PROMPTS, TEMPLATE, environment, labelled, settings, write_rows, write_settings

from interplay import effects
from interplay.auditing import asking
from interplay.pipeline import jobs
from interplay.pipeline.progress import Progress


@pytest.fixture(autouse=True)
def heard():
    """SIGINT is ignored in what a shell starts with &, and in its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ctrl_c(monkeypatch):
    """`ctrl_c(module, "name", 3)`: SIGINT to this process before the third call of a function; gives the calls."""

    def arm(module, name, after):
        calls, inner = [], getattr(module, name)

        def watched(*given, **more):
            calls.append(given)
            if len(calls) == after:
                os.kill(os.getpid(), signal.SIGINT)
            return inner(*given, **more)

        monkeypatch.setattr(module, name, watched)
        return calls

    return arm


def last_line(done) -> str:
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


def test_run_says_how_many_units_are_kept_and_the_same_command_computes_the_others(ctrl_c, call, tmp_path, tiny_folder):
    config = write_settings(tmp_path / "c.yaml", settings(tmp_path, tiny_folder("llama"), **BARE))
    calls = ctrl_c(jobs, "compute", 3)
    done = call("run", config, "--out", tmp_path / "out")
    assert last_line(done) == (
        f"interplay: stopped; kept in {tmp_path / 'out'}: extracting interactions, 2 of 6 units; the same command goes on from there"
    )
    assert len(list((tmp_path / "out" / "units").rglob("*.safetensors"))) == 2
    again = call("run", config, "--out", tmp_path / "out")
    assert again.code == 0, again.err
    assert len(calls) == 7, "what is kept is not computed again; the third was interrupted"
    for phase in (
        "loading the model to train",
        "fine-tuning",
        "loading the model and hashing its checkpoints",
        "trajectory and report",
    ):
        assert f"{phase} ..." in done.err + again.err, "no wait is silent"


def test_audit_says_how_many_answers_are_kept(ctrl_c, call, tmp_path, tiny_folder):
    rows = labelled(planted_rows())
    write_rows(tmp_path / "train.jsonl", rows[:36])
    write_rows(tmp_path / "held.jsonl", rows[36:])
    given = ["audit", "--model", tiny_folder("llama"), "--base", tiny_folder("llama", seed=1), "--train", tmp_path / "train.jsonl",
             "--prompts", tmp_path / "held.jsonl", "--template", TEMPLATE, "--chat", "false"]  # fmt: skip
    calls = ctrl_c(asking, "score_rows", 4)
    said = last_line(call(*given, "--out", tmp_path / "kept"))
    found = re.fullmatch(
        r"interplay: stopped; kept in (.+): asking the (base|fine-tuned model), (\d+) answers; the same command goes on from there",
        said,
    )
    assert found, said
    assert found[1] == str(tmp_path / "kept")
    kept = [file.read_text().splitlines() for file in (tmp_path / "kept").glob("answers-*.jsonl")]
    assert int(found[3]) == sum(map(len, kept)) > 0
    assert call(*given, "--out", tmp_path / "kept").code == 0
    first = len(calls)
    assert call(*given, "--out", tmp_path / "again").code == 0
    assert len(calls) - first == first - 1, "no answer was asked twice; the third was interrupted"
    ctrl_c(asking, "score_rows", 1)
    assert (
        last_line(call(*given))
        == "interplay: stopped; nothing is kept, the same command starts over: --out DIR keeps answers"
    )


def test_explain_says_how_many_prompts_are_done(ctrl_c, call, tmp_path, tiny_folder):
    rows = write_rows(tmp_path / "rows.jsonl", labelled(PROMPTS[:3]))
    ctrl_c(effects, "extract", 2)
    done = call(
        "explain",
        tiny_folder("llama"),
        "--prompts",
        rows,
        "--n",
        2,
        "--template",
        TEMPLATE,
        "--chat",
        "false",
        "--html",
        tmp_path / "page.html",
    )
    assert last_line(done).startswith("interplay: stopped; 1 of 3 prompts are explained, on the page")
    assert (tmp_path / "page.html").exists()


def test_a_process_of_its_own(tmp_path):
    """As from a terminal, while libraries are still loading."""
    (tmp_path / "c.yaml").write_text(
        "model: {name: x}\ntraining: {steps: 2}\ndata: {prompts: rows.jsonl, train: rows.jsonl}\n"
    )
    write_rows(tmp_path / "rows.jsonl", labelled(PROMPTS))
    parts = [sys.executable, "-m", "interplay", "run", "c.yaml", "--out", "out"]
    with subprocess.Popen(parts, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "importing torch and transformers ...\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert (
        said.splitlines()[-1]
        == "interplay: stopped; kept in out: what is finished; the same command goes on from there"
    )


def test_progress_of_phases_whose_length_is_not_known_before(capsys):
    now = Progress(every=0.0)
    with now.phase("asking") as advance:
        advance(1, 3)
        advance(3, 3)
    assert re.sub(r"\d:\d\d", "T", capsys.readouterr().err).splitlines() == [
        "asking ...", "asking: 1/3, T spent, about T left", "asking: 3/3, T spent, about T left",
    ]  # fmt: skip
    late = Progress(after=0.05)
    with late.phase("short", 1) as advance:
        advance()
    assert capsys.readouterr().err == ""
    with late.phase("long", 2) as advance:
        advance()
        time.sleep(0.2)
    assert capsys.readouterr().err == "long ...\nlong: done in 0:00\n"


def test_bars_of_one_phase_inside_another(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    progress = Progress()
    with progress.phase("outer"), progress.phase("inner", 2) as advance:
        advance(note="half")
        time.sleep(0.3)
        progress.say("a warning")
        advance()
    for text in ("outer", "inner", "1/2", "half", "a warning", "left"):
        assert text in shown.getvalue()
