"""The benchmark's own machinery on models of no size: what is drawn, what is decided, and that the measuring code runs."""

import doctest
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench, demo_shares, explaining, goals, gpu, memory, peers, scoring_rows, watching
from benchmarks import page as bench_page
from benchmarks.goals import GOALS, Goal, outcome
from benchmarks.scoring_rows import SMALL, Prompt, Subject
from benchmarks.section import Section

NAN = float("nan")
TINY: dict[str, Any] = SMALL | {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def model():
    return scoring_rows.random_model("llama", TINY)


@pytest.mark.parametrize("module", [bench, goals, memory, scoring_rows, watching], ids=lambda module: module.__name__)
def test_examples(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_a_table_is_aligned_and_says_what_was_not_measured():
    rows = [{"model": "a", "s": 12345.6}, {"model": "bcde", "s": NAN, "n": 3}]
    assert bench.table(rows) == [
        "| model |            s |   n |",
        "| ----- | -----------: | --: |",
        "| a     |        12346 |   – |",
        "| bcde  | not measured |   3 |",
    ]


GOAL = Goal("speed", "scoring", "ratio", 5, True, {"n": 10, "model": ("a", "b")}, unit=" ×")


@pytest.mark.parametrize(
    ("rows", "reached", "met"),
    [
        ([], NAN, None),
        ([{"n": 8, "model": "a", "ratio": 9.0}], NAN, None),  # another size decides nothing
        ([{"n": 10, "model": "a", "ratio": 9.0}], 9.0, None),  # b has no row
        ([{"n": 10, "model": "a", "ratio": 9.0}, {"n": 10, "model": "b", "ratio": NAN}], 9.0, None),
        ([{"n": 10, "model": "a", "ratio": 9.0}, {"n": 10, "model": "b", "ratio": 5.0}], 5.0, True),
        ([{"n": 10, "model": "a", "ratio": 9.0}, {"n": 10, "model": "b", "ratio": 4.9}], 4.9, False),
        ([{"n": 10, "model": "a", "ratio": 4.0}, {"n": 10, "model": "b", "ratio": NAN}], 4.0, False),
        (
            [{"n": 10, "model": "a", "seconds": 1.0}, {"n": 10, "model": "b", "seconds": 1.0}],
            NAN,
            None,
        ),  # no such column
    ],
)
def test_a_goal_is_met_only_by_figures_that_are_all_there(rows, reached, met):
    found = outcome(GOAL, [Section("", rows, [])])
    assert found.met is met
    assert found.reached == pytest.approx(reached, nan_ok=True)


def test_a_goal_asks_for_every_combination():
    goal = Goal("difference", "scoring", "d", 1, False, {"n": (1, 2), "m": ("a", "b")})
    rows = [{"n": n, "m": m, "d": 0.5} for n, m in ((1, "a"), (2, "b"), (1, "b"), (2, "a"))]
    assert outcome(goal, [Section("", rows, [])]).met is True
    assert outcome(goal, [Section("", rows[:3], [])]).met is None


def test_without_measurements_the_page_has_no_figure_and_no_yes():
    outcomes = [outcome(goal, []) for goal in GOALS]
    rows = bench.goals_section(outcomes).rows
    assert {row["reached (the worst)"] for row in rows} == {"not measured"}
    assert {row["met"] for row in rows} == {"not measured"}
    text = bench.page(["A machine."], outcomes, [Section("GPU", [], ["Not measured: no GPU at hand."])], quick=False)
    assert "## GPU\n\nNot measured: no GPU at hand." in text
    assert "| yes" not in text


def test_a_part_that_fails_says_so_and_spoils_no_other(monkeypatch, capsys):
    def broken(quick):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(gpu, "gpu_rows", broken)
    assert bench.main(["--only", "gpu", "--quick"]) == 1
    assert "Not measured: it failed: RuntimeError: no such thing" in capsys.readouterr().out


def test_the_page_is_written_from_the_parts_that_ran(monkeypatch, tmp_path, capsys):
    rows = [{"model": "m", "ratio": 2.5}]
    monkeypatch.setattr(bench, "PARTS", {"gpu": ("gpu", "gpu_rows")})
    monkeypatch.setattr(gpu, "gpu_rows", lambda quick: [Section("Measured", rows, ["A note."])])
    assert bench.main(["--write", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## Measured\n\n| model | ratio |\n| ----- | ----: |\n| m     |   2.5 |\n\nA note.\n" in text
    assert "Asked and reached" in text
    assert "| m     |   2.5 |" in capsys.readouterr().out


def test_parts_that_run_alone_renew_their_sections_and_leave_the_others(monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    goals_ = (Goal("speed", "gpu", "ratio", 2, True, before="1 ×"), Goal("size", "page", "MB", 3, False))
    monkeypatch.setattr(bench, "GOALS", goals_)
    monkeypatch.setattr(bench, "PARTS", {"gpu": ("gpu", "gpu_rows"), "page": ("page", "study_rows")})
    monkeypatch.setattr(gpu, "gpu_rows", lambda quick: [Section("Speed", [{"ratio": 2.5}], ["A note."])])
    monkeypatch.setattr(bench_page, "study_rows", lambda quick: [Section("Size", [{"MB": 2.0}], [])])
    with pytest.raises(SystemExit, match="there is no"):
        bench.main(["--only", "gpu", "--write", str(page)])
    assert bench.main(["--write", str(page)]) == 0
    whole = page.read_text(encoding="utf-8")
    monkeypatch.setattr(
        gpu, "gpu_rows", lambda quick: [Section("Speed", [{"ratio": 1.5}], []), Section("New", [], ["N."])]
    )
    assert bench.main(["--only", "gpu", "--write", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(whole[: whole.index("## ")])
    assert whole[whole.index("## Size") :] in text
    assert "| ratio |\n| ----: |\n|   1.5 |\n\nRun alone, later" in text
    assert "A note." not in text
    assert text.index("## Size") < text.index("## New\n\nN.\n")
    asked = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| s")
    ]
    assert asked == [["speed", ">= 2", "1.5", "no", "1 ×"], ["size", "<= 3", "2", "yes", "–"]]
    assert bench.main(["--only", "gpu", "--write", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == text


def test_plain_scores_are_the_log_odds_of_the_target(model):
    import torch

    ids = np.array([[11, 12, 13], [11, 0, 13]])
    with torch.no_grad():
        p = model(torch.from_numpy(ids)).logits[:, -1].double().softmax(-1)[:, scoring_rows.TARGET].numpy()
    for last_only in (False, True):
        found = scoring_rows.plain_scores(model, ids, 1, last_only)
        np.testing.assert_allclose(found, np.log(p) - np.log1p(-p), atol=1e-5)


def test_a_scoring_row_is_measured_and_right(model):
    row, settings = scoring_rows.measure("tiny", model, 24, 5, (8, 16))
    assert 0 <= row["max difference, nats"] < 5e-5
    assert row["coalitions compared"] == 32
    assert row["plain s"] == min(value for value in settings.values() if isinstance(value, float))
    assert set(settings) == {f"{which} logits, {b} rows" for which in ("all", "last") for b in (8, 16)} | {"best"}
    assert row["plain / ours"] == pytest.approx(row["plain s"] * row["coalitions a CPU-s"] / 32)


def test_gpu_rows_need_a_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (section,) = gpu.gpu_rows(quick=True)
    assert section.rows == []
    assert "Not run: no GPU at hand" in section.notes[0]
    assert "bfloat16x2" in section.notes[0]


def test_the_gpu_code_runs_on_a_cpu():
    import torch

    sizes = gpu.Sizes(n=3, lengths=(20, 24), batches=(4, 8), budgets=(64, 256), part=8, matrix=32)
    before = torch.get_float32_matmul_precision()
    subject = Subject("tiny", lambda: scoring_rows.random_model("qwen2", TINY))
    (section,) = gpu.device_rows("cpu", [subject], sizes, "a CPU", say=lambda text: None)
    assert torch.get_float32_matmul_precision() == before
    assert [(row["precision"], row["tokens"]) for row in section.rows] == [
        (precision.name, length) for precision in gpu.PRECISIONS for length in sizes.lengths
    ]
    bench.table(section.rows)
    for row in section.rows:
        assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())
        assert row["sigma, nats"] < (5e-5 if row["precision"].startswith(("float32", "bfloat16x2")) else 0.2)


def test_useful_operations_by_hand():
    shape = {
        "vocab_size": 10,
        "hidden_size": 4,
        "intermediate_size": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = scoring_rows.random_model("llama", shape | {"num_key_value_heads": 2}, bos_token_id=1, eos_token_id=2)
    linear = 4 * 4 * 4 + 3 * 4 * 6  # q, k, v, o and the three of the MLP
    # one word at position 1 of 3 tokens: 1 token, then 2 branches of 2; they look at 1, 2 and 3 tokens
    expected = 2 * 5 * linear + 2 * 2 * (10 * 4) + 4 * (1 + 2 * (2 + 3)) * 4
    assert gpu.useful_flops(model, Prompt((3, 4, 5), ((1,),))) == expected


def test_the_fastest_setting_wins_and_one_without_room_is_passed_over():
    import torch

    def call(setting):
        if setting == 1:
            raise torch.OutOfMemoryError
        return setting

    seconds, setting, result = gpu.best_of((1, 2), call, "cpu")
    assert (setting, result) == (2, 2)
    assert seconds >= 0
    seconds, setting, result = gpu.best_of((1,), call, "cpu")
    assert math.isnan(seconds)
    assert setting is result is None


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")


@needs_proc
def test_the_peak_counts_what_a_call_takes_and_frees():
    taken = 64 << 20
    found = memory.peak_beyond(lambda: np.ones(taken, dtype=np.uint8).sum())
    assert 0.9 * taken < found < 1.5 * taken
    assert memory.peak_beyond(lambda: None) < 0.1 * taken


@pytest.mark.soak
@needs_proc
def test_memory_is_measured_in_a_child(monkeypatch):
    found = memory.ask_child("260 K, random", 4, 24)
    assert found["model"] > 1e6
    assert 0 < found["peak"] < 400e6
    assert "missing" in memory.ask_child("no such model", 4, 24)
    monkeypatch.setattr(memory, "ask_child", lambda *arguments: {"missing": "no weights"})
    (section,) = memory.memory_rows(quick=True, say=lambda text: None)
    assert section.rows == []
    assert section.notes == ["Not measured: Llama, random: no weights"]


def test_captum_scores_the_same_coalitions_as_we_do(model):
    pytest.importorskip("captum")
    found = peers.compare("tiny", model, 24, 4, 2)
    assert found["forward passes timed"] == 2 * 4 + 1
    assert found["max difference, nats"] < 5e-5


WRITES = """
import json, pathlib, sys, time
run = pathlib.Path(sys.argv[1])
run.mkdir()
(run / "report.html").write_text("")
time.sleep(0.3)
(run / "times.json").write_text(json.dumps(dict.fromkeys(sys.argv[2:], 0.01)))
"""


def test_shares_of_two_commands(tmp_path):
    run = tmp_path / "run"
    commands = [[sys.executable, "-c", WRITES, str(run), *demo_shares.PHASES], [sys.executable, "-c", "print('proof')"]]
    section = demo_shares.timed(commands, run, say=lambda text: None)
    page, first, second, both, *parts = (row["wall s"] for row in section.rows)
    assert 0 < page < first - 0.1
    assert both == pytest.approx(first + second)
    assert sum(parts) == pytest.approx(first)


def test_a_demo_that_cannot_run_is_not_measured(tmp_path):
    fails = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    section = demo_shares.timed([fails], tmp_path / "run")
    assert section.rows == []
    assert section.notes == ["Not measured: no such model"]


def test_explain_is_timed_until_its_first_picture_and_its_end(stories_folder):
    row = explaining.explain_rows(quick=True, model=str(stories_folder)).rows[0]
    assert row["n"] == 7
    assert 0 < row["start-up, CPU s"] < row["first picture, CPU s"] < row["end, CPU s"]
    assert 0 < row["first picture, wall s"] < row["end, wall s"]
    assert 0 < row["tokens of the first picture, %"] < 60


def test_a_command_that_fails_is_no_figure():
    import sys

    cpu, wall = explaining.spent([sys.executable, "-c", "sum(range(10**6))"], {})
    assert 0 < cpu < 60
    assert wall > 0
    with pytest.raises(RuntimeError, match="status 3"):
        explaining.spent([sys.executable, "-c", "raise SystemExit(3)"], {})
