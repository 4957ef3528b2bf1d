"""The task stage in whole tiny runs: its tables from the rows it kept, what it asks once, and what it refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from tiny_job import BARE, PROMPTS, contents, labelled, run_here, settings, write_rows

from interplay.analysis.measured import read_task
from interplay.analysis.task_tables import COLUMNS, CORRELATIONS, correlation_frame, eval_rows, task_curves
from interplay.dynamics import Trajectory
from interplay.errors import InterplayError
from interplay.store.conditions import Record

OOD = [
    ("The invoice arrived two weeks late", "bad"),
    ("A new park opens near the station", "good"),
    ("Prices fell again in the last month", "good"),
]


@pytest.fixture
def calls(monkeypatch):
    """Names of the passes that the task stage starts, as they come."""
    from interplay.pipeline import tasks

    made = []

    def counted(name, inner):
        def call(*arguments, **more):
            made.append(name)
            return inner(*arguments, **more)

        return call

    for name in ("score_eval", "score_windows", "greedy"):
        monkeypatch.setattr(tasks, name, counted(name, getattr(tasks, name)))
    return made


@pytest.fixture(scope="module")
def measured(tmp_path_factory, tiny_folder):
    """A run with everything the section `task` offers for labelled rows."""
    root = tmp_path_factory.mktemp("measured")
    write_rows(root / "ood.jsonl", labelled(OOD))
    (root / "old.txt").write_text("Grandmother baked warm bread and we had to laugh about it. " * 8)
    task = {"ood": str(root / "ood.jsonl"), "retention": str(root / "old.txt"), "retention_tokens": 64, "generate_rows": 2,
            "generate_tokens": 5}  # fmt: skip
    wanted = settings(root, tiny_folder("llama"), task=task, prompt=BARE["prompt"], controls=BARE["controls"])
    result = run_here(wanted, root / "run")
    rows = {s: json.loads((root / f"run/task/step-{s:06d}.json").read_text())["value"] for s in (0, 1, 2, 4)}
    frame = pd.read_parquet(root / "run" / "task.parquet")
    return SimpleNamespace(root=root, folder=root / "run", wanted=wanted, result=result, rows=rows, task=frame)


def test_every_column_is_made_of_the_rows_that_were_kept(measured):
    task = measured.task
    assert tuple(task.columns) == COLUMNS
    assert task.drop(columns="train_loss").notna().all(axis=None), "everything is measured in this run"
    assert (task["rows"] == len(PROMPTS)).all()
    gold = np.array([["anger", "joy", "sadness", "surprise"].index(label) for _, label in PROMPTS])
    for step, row in zip(task["step"], task.to_dict("records"), strict=True):
        said = measured.rows[step]
        own = said["eval"]
        assert row["eval_loss"] == pytest.approx(sum(own["nll"]) / sum(own["tokens"]))
        assert row["accuracy"] == np.mean(np.array(own["predicted"]) == gold)
        windows = said["retention"]
        assert row["retention_ppl"] == pytest.approx(np.exp(sum(windows["nll"]) / sum(windows["tokens"])))
        assert sum(windows["tokens"]) == 63, "one window: its first token is not predicted"
        assert row["kl_base"] == pytest.approx(np.mean(said["kl"]["forward"]))
        assert row["kl_base_reverse"] == pytest.approx(np.mean(said["kl"]["reverse"]))
        assert row["ood_loss"] == pytest.approx(sum(said["ood"]["nll"]) / sum(said["ood"]["tokens"]))
        assert row["ood_accuracy"] == pytest.approx(np.mean(np.array(said["ood"]["predicted"]) == [0, 1, 1]))
    for name in ("accuracy", "macro_f1", "exact_match", "rouge_l", "kl_base", "retention_ppl", "ood_macro_f1"):
        assert (task[f"{name}_lo"] <= task[name] + 1e-12).all()
        assert (task[name] <= task[f"{name}_hi"] + 1e-12).all()


def test_rows_that_choose_a_checkpoint_are_those_behind_its_metrics(measured):
    tables = eval_rows(read_task(measured.folder, Record.read(measured.folder)))
    assert set(tables) == {"accuracy", "eval_loss"}
    for name, table in tables.items():
        assert table.shape == (4, len(PROMPTS))
        assert list(table.index) == list(measured.task["step"])
        assert table.mean(axis=1).to_numpy() == pytest.approx(measured.task[name].to_numpy())
    said = json.loads((measured.folder / "recommendation.json").read_text())
    assert "on 4 in-domain eval rows of 'prompts.jsonl'" in said["sentence"]
    assert (said["basis"], said["step"]) == ("last", 4), "four rows are no evidence"


def test_kl_is_nothing_at_step_zero_and_grows_with_training(measured):
    kl = measured.task.set_index("step")["kl_base"]
    assert kl[0] == 0
    assert (kl[1:] > 0).all()
    assert kl[4] > kl[1]


def test_correlations_are_those_of_the_curves(measured, monkeypatch):
    few = pd.read_parquet(measured.folder / "correlations.parquet")
    assert tuple(few.columns) == CORRELATIONS
    assert few["spearman"].isna().all(), "four checkpoints are too few"
    monkeypatch.setattr("interplay.task.correlation.FEWEST", 3)
    track, rows = Trajectory.load(measured.folder), read_task(measured.folder, Record.read(measured.folder))
    curves = task_curves(rows, 50, 0)
    found = correlation_frame(track, rows, curves, measured.task, None, resamples=50, seed=0)
    whole = found[found["span"] == "all"].set_index(["interaction", "task"])
    assert set(found["span"]) <= {"all", "after-format"}
    for task in ("eval_loss", "kl_base", "retention_ppl"):
        for interaction, curve in (
            ("l1_per_sd", track.get("l1_per_sd")["value"]),
            ("count", track.get("count")["value"]),
        ):
            row = whole.loc[interaction, task]
            expected = spearmanr(curve, measured.task[task]).statistic
            assert row["checkpoints"] == 4
            assert row["spearman"] == pytest.approx(expected, nan_ok=True)
            assert np.isnan(row["spearman"]) or -1 <= row["lo"] <= row["hi"] <= 1
    assert ("emerged strength", "accuracy") in whole.index
    assert "gamma" not in whole.index.get_level_values(0), "there is no baseline LLM"
    assert whole.loc[("l1", "train_loss"), "checkpoints"] == 3, "no loss has been trained at step 0"


def test_answers_are_kept_beside_the_gold_ones(measured):
    kept = json.loads((measured.folder / "task" / "answers-000004.json").read_text())["value"]["answers"]
    assert len(kept) == 2
    assert [a["gold"] for a in kept] == [label for _, label in PROMPTS[:2]]
    assert all(a["prompt"].endswith("Emotion:") and len(a["prompt"]) <= 200 for a in kept)
    assert {a["exact"] for a in kept} <= {True, False}


def test_the_same_command_asks_nothing_again(measured, calls):
    before = contents(measured.folder)
    run_here(measured.wanted, measured.folder)
    assert calls == []
    assert contents(measured.folder) == before


@pytest.mark.soak
def test_a_lost_step_is_asked_again_with_the_base_beside_it(measured, calls):
    before = contents(measured.folder)
    (measured.folder / "task" / "step-000002.json").unlink()
    run_here(measured.wanted, measured.folder)
    # The base's eval rows for KL; the step's eval rows, its out-of-domain rows, its windows. No answer.
    assert calls == ["score_eval", "score_eval", "score_eval", "score_windows"]
    assert contents(measured.folder) == before
    calls.clear()
    (measured.folder / "task" / "answers-000002.json").write_text("{")
    run_here(measured.wanted, measured.folder)
    assert calls == ["greedy"]
    assert contents(measured.folder) == before


def test_rows_without_labels_are_answered(tmp_path, tiny_folder):
    rows = [{"prompt": text, "completion": f"it is {label}"} for text, label in PROMPTS]
    write_rows(tmp_path / "free.jsonl", rows)
    files = dict.fromkeys(("train", "eval", "prompts"), str(tmp_path / "free.jsonl"))
    write_rows(tmp_path / "train.jsonl", [{"prompt": "Somebody laughed", "completion": "it is joy"}] * 4)
    write_rows(tmp_path / "prompts.jsonl", rows)
    files["train"] = str(tmp_path / "train.jsonl")
    task = {"generate_tokens": 4, "kl": False}
    wanted = settings(tmp_path, tiny_folder("qwen2"), data=files, task=task, **BARE)
    run_here(wanted, tmp_path / "run")
    frame = pd.read_parquet(tmp_path / "run" / "task.parquet")
    assert frame[["exact_match", "rouge_l", "eval_loss"]].notna().all(axis=None)
    assert frame[["accuracy", "macro_f1", "kl_base", "ood_loss", "retention_ppl"]].isna().all(axis=None)
    kept = json.loads((tmp_path / "run" / "task" / "answers-000000.json").read_text())["value"]["answers"]
    assert len(kept) == len(PROMPTS)
    assert frame["rouge_l"][0] == pytest.approx(np.mean([a["rouge_l"] for a in kept]))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"ood": "nowhere.jsonl"}, "no such file"),
        ({"retention": "nowhere.txt"}, "task.retention 'nowhere.txt' is not a file"),
    ],
)
def test_a_missing_file_is_said_before_anything_is_trained(tmp_path, tiny_folder, task, said):
    wanted = settings(tmp_path, tiny_folder("llama"), task=task)
    with pytest.raises(InterplayError, match=said):
        run_here(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
