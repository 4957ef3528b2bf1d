"""Comparing and exporting runs: groups by seed, spread beside intervals, paired differences, and every table of an export."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic_runs import PROMPTS, STEPS, WORDS, synthetic_run

from interplay.comparison.comparison import compare_runs
from interplay.comparison.runs import same_training
from interplay.comparison.tables import (
    MAIN,
    curves,
    group_curves,
    overview,
    paired_differences,
    seed_spread,
    setting_table,
)
from interplay.dynamics.stats import generator, paired_interval
from interplay.errors import InterplayError
from interplay.exports.export import export_run
from interplay.exports.tables import COLUMNS, DANGEROUS, all_tables, csv_bytes, interactions
from interplay.store.reader import RunReader


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """LoRA with two seeds, full with two seeds, whose effects are half as large again."""
    root = tmp_path_factory.mktemp("study")
    synthetic_run(root / "lora-0", seed=0, noise=1)
    synthetic_run(root / "lora-1", seed=1, noise=2, controls=True)
    synthetic_run(root / "full-0", method="full", seed=0, noise=3, grow=1.5)
    synthetic_run(root / "full-1", method="full", seed=1, noise=4, grow=1.5)
    return root


@pytest.fixture(scope="module")
def four(study):
    return compare_runs([study / name for name in ("lora-0", "lora-1", "full-0", "full-1")])


def refused(says: str):
    return pytest.raises(InterplayError, match=says)


def test_seeds_are_one_group_and_methods_are_two(four):
    assert [(g.name, g.runs) for g in four.groups] == [
        ("method lora", ("lora-0", "lora-1")),
        ("method full", ("full-0", "full-1")),
    ]
    assert not four.notes


def test_groups_given_by_hand(study):
    groups = {"mine": [study / "lora-0", study / "full-0"]}
    found = compare_runs([study / "lora-0", study / "lora-1"], groups)  # full-0 comes with its group
    assert [run.name for run in found.runs] == ["lora-0", "lora-1", "full-0"]
    assert [(g.name, g.runs, g.given) for g in found.groups] == [
        ("mine", ("lora-0", "full-0"), True),
        ("lora-1", ("lora-1",), False),
    ]
    with refused("named twice"):
        compare_runs([], {"a": [study / "lora-0"], "b": [study / "lora-0", study / "lora-1"]})


def test_one_seed_twice_is_two_runs(study, tmp_path):
    """Two folders with the very same settings are no two trainings: each stays alone, and the page says so."""
    again = synthetic_run(tmp_path / "again", seed=0, noise=1)
    found = compare_runs([study / "lora-0", again])
    assert [g.runs for g in found.groups] == [("lora-0",), ("again",)]
    assert any("very same figures" in note for note in found.notes)


def test_what_cannot_be_compared(study, tmp_path):
    a = study / "lora-0"
    with refused("no run given"):
        compare_runs([])
    with refused("1 run given"):
        compare_runs([a])
    with refused("given twice"):
        compare_runs([a, a.parent / "." / "lora-0"])
    with refused("no run folder"):
        compare_runs([a, tmp_path / "nowhere"])
    half = synthetic_run(tmp_path / "half", seed=5)
    (half / "manifest.json").unlink()
    with refused("unfinished run"):
        compare_runs([a, half])
    unknown = synthetic_run(tmp_path / "rowless", seed=6, rows=None)
    assert len(compare_runs([a, unknown]).runs) == 2
    with refused("does not know its training rows"):
        compare_runs([a, unknown], axis="epochs")


def test_names_are_as_long_as_they_must_be(tmp_path):
    for where in ("x", "y"):
        synthetic_run(tmp_path / where / "run", seed=0, noise=ord(where))
    assert [r.name for r in compare_runs([tmp_path / "x/run", tmp_path / "y/run"]).runs] == ["x/run", "y/run"]


def test_only_the_seed_and_the_name_may_differ():
    a = {"name": "a", "seed": 0, "training": {"seed": 1, "steps": 9}}
    assert same_training(a) == same_training({**a, "name": "b", "training": {"seed": 2, "steps": 9}})
    assert same_training(a) != same_training({**a, "seed": 1})
    assert same_training(a) != same_training({**a, "training": {"seed": 1, "steps": 8}})
    assert same_training({"training": None}) == {"training": None}


def test_settings_that_differ(four):
    table = setting_table(four.runs).set_index("setting")
    assert list(table.index) == ["training.method", "training.seed"]
    assert list(table.loc["training.method"]) == ["lora", "lora", "full", "full"]


def test_overview_reads_the_tables(four):
    row = overview(four).iloc[0]
    assert (row["run"], row["group"], row["seed"], row["recommended"], row["last_step"]) == (
        "lora-0",
        "method lora",
        0,
        2,
        4,
    )
    assert (row["best_eval_loss_step"], row["best_accuracy_step"]) == (4, 4)
    assert row["best_eval_loss"] == pytest.approx(0.81)
    assert row["last_accuracy"] == pytest.approx(0.5)
    assert row["last_macro_f1"] is None
    track = four.runs[0].trajectory
    assert row["last_strength_emerged"] == track.get("strength", "emerged")["value"][4]


def test_curves_are_those_of_the_runs(four):
    table = curves(four)
    ours = table[(table["run"] == "full-1") & (table["measure"] == "strength") & (table["set"] == "removed")]
    ours = ours[ours["kind"] == "interactions"].set_index("step")
    theirs = four.run("full-1").trajectory.get("strength", "removed")
    for column in ("value", "lo", "hi", "null"):
        pd.testing.assert_series_equal(ours[column], theirs[column].loc[ours.index], check_names=False)
    assert set(table[table["kind"] == "multiples"]["run"]) == {"lora-1"}
    assert not table["value"].isna().any()


def test_epochs_put_runs_of_other_batch_sizes_on_one_axis(study):
    found = compare_runs([study / "lora-0", study / "full-0"], axis="epochs")
    table = curves(found)
    assert sorted(set(table["x"])) == [0.0, 0.05, 0.1, 0.2]  # 40 rows, 2 a step: 20 steps a pass


def test_means_over_seeds_and_their_spread(four):
    table = curves(four)
    means = group_curves(four, table)
    key = (means["group"] == "method lora") & (means["measure"] == "eval_loss") & (means["step"] == 4)
    row = means[key].iloc[0]
    assert row["value"] == pytest.approx((0.81 + 0.82) / 2)
    assert (row["lowest"], row["highest"]) == (pytest.approx(0.81), pytest.approx(0.82))
    assert row["sd"] == pytest.approx(0.01 / np.sqrt(2))
    accuracy = seed_spread(means).query("measure == 'accuracy' and group == 'method full'").iloc[0]
    assert accuracy["step"] == 4
    assert accuracy["half_width"] == pytest.approx(0.1)
    assert accuracy["ratio"] == 0
    multiples = means[(means["kind"] == "multiples") & (means["group"] == "method lora")]
    assert set(multiples["runs"]) == {1}  # lora-0 has none
    assert "multiples" not in set(seed_spread(means)["kind"])


def test_paired_differences_find_what_was_put_in(four):
    table = paired_differences(four)
    assert set(table["first"]) == {"method lora"}
    grown = table[(table["measure"] == "strength") & (table["set"] == "removed") & (table["step"] == 4)].iloc[0]
    a, b = (
        np.mean([four.run(n).trajectory.get("strength", "removed")["value"][4] for n in g.runs]) for g in four.groups
    )
    assert grown["difference"] == pytest.approx(b - a)
    free = table[(table["measure"] == "l1_per_sd") & (table["step"] > 0)]
    assert not free["distinguishable"].any()  # twice the same game but for its scale and a little noise
    preserved = table[(table["measure"] == "strength") & (table["set"] == "preserved") & (table["step"] == 4)].iloc[0]
    assert preserved["distinguishable"]
    assert preserved["seeds_apart"] is True
    assert preserved["prompts"] == PROMPTS
    # The threshold common to the checkpoints of a run differs from run to run, so only the paper's sets are equal at the base.
    table = paired_differences(replace(four, definition="paper"))
    start = table[table["step"] == 0]
    assert (start["difference"] == 0).all()
    assert not start["distinguishable"].any()


def test_only_shared_prompts_are_paired(study, tmp_path):
    fewer = synthetic_run(tmp_path / "fewer", method="full", seed=0, prompts=6)
    found = compare_runs([study / "lora-0", fewer])
    assert "6 are shared by all" in found.notes[0]
    assert paired_differences(found)["prompts"].max() == 6
    other = synthetic_run(tmp_path / "other", method="full", seed=0, words=("not", "these", "words"))
    found = compare_runs([study / "lora-0", other])
    assert "0 are shared by all" in found.notes[0]
    assert paired_differences(found).empty


def test_a_group_alone_is_compared_run_by_run(study):
    table = paired_differences(compare_runs([study / "lora-0", study / "lora-1"]))
    assert set(zip(table["first"], table["second"], strict=True)) == {("lora-0", "lora-1")}
    assert set(table["seeds_apart"]) == {None}


def test_interval_needs_six_prompts():
    d = np.random.default_rng(0).normal(5.0, 1.0, size=(8, 2))
    d[2:, 1] = np.nan
    d[:5, 1] = 5.0
    got = paired_interval(d, 500, generator(0, "test"))
    assert list(got.samples) == [8, 5]
    assert got.lo[0] > 0
    assert np.isnan([got.lo[1], got.hi[1]]).all()


def test_interval_of_noise_rarely_excludes_zero():
    """Twelve prompts, six checkpoints, correlated noise: a curve is told apart from nothing in about one of twenty."""
    rng = np.random.default_rng(1)
    wrong = 0
    for i in range(300):
        d = rng.standard_t(4, size=(12, 6)).cumsum(axis=1)
        got = paired_interval(d, 300, generator(i, "coverage"))
        wrong += bool(((got.lo > 0) | (got.hi < 0)).any())
    assert wrong <= 27  # 9 %: five standard errors over 5 % would be 34


@given(st.integers(6, 20), st.integers(1, 5), st.floats(-1e3, 1e3), st.integers(0, 99))
def test_interval_moves_with_what_is_added(prompts, steps, shift, seed):
    d = np.random.default_rng(seed).normal(size=(prompts, steps))
    a = paired_interval(d, 200, generator(seed, "a"))
    b = paired_interval(d + shift, 200, generator(seed, "a"))
    for ours, theirs in zip(a[:3], b[:3], strict=True):
        np.testing.assert_allclose(ours + shift, theirs, rtol=1e-6, atol=1e-6)
    assert ((a.lo <= a.value) & (a.value <= a.hi)).all()


def test_payload_is_plain_and_the_same_every_time(four):
    first = json.dumps(four.payload, allow_nan=False)
    assert first == json.dumps(replace(four).payload, allow_nan=False)
    assert {(row["measure"], row["set"]) for row in json.loads(first)["paired"]} <= set(MAIN)


# ---- export ----


def test_export_tables_hold_what_the_run_holds(study, tmp_path):
    told = []
    done = export_run(
        RunReader(study / "lora-1"), tmp_path / "out", (), ("csv", "parquet"), lambda *now: told.append(now)
    )
    assert done.missing == ()
    assert told == [(i, done.tables) for i in range(1, done.tables + 1)]
    files = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    for name in ("trajectory", "trajectory_samples", "units", "interactions", "task", "views", "floors", "baselines"):
        assert {f"{name}.csv", f"{name}.parquet"} <= files
    assert "trajectory_sets.parquet" in files
    assert (tmp_path / "out/tables/task.parquet").read_bytes() == (study / "lora-1/task.parquet").read_bytes()
    read = pd.read_csv(tmp_path / "out/tables/trajectory.csv")
    whole = RunReader(study / "lora-1").trajectory.summary
    np.testing.assert_array_equal(read["value"], whole["value"])  # every digit survives
    assert "scores" not in pd.read_csv(tmp_path / "out/tables/units.csv").columns


def test_an_empty_table_is_written_like_any_other(study, tmp_path):
    done = export_run(RunReader(study / "lora-0"), tmp_path / "out", (), ("csv",))
    assert done.missing == ()
    assert len(pd.read_csv(tmp_path / "out/tables/views.csv")) == 0


def test_interactions_are_those_of_the_sets(study):
    run = RunReader(study / "lora-0")
    table = interactions(run)
    for step in STEPS:
        sets = run.trajectory.membership("p3", step)
        here = table[(table["definition"] == "common") & (table["step"] == step) & (table["sample"] == "p3")]
        assert int(here["removed"].sum()) == int(sets.removed.sum())
        assert int(here["all"].sum()) == int(sets.all.sum())
        assert here["change"].abs().is_monotonic_decreasing
        assert (here["change"] == here["effect"] - here["effect_reference"]).all()
        assert set(here["outcome"][here["kept"]]) <= {"kept"}
    row = table[(table["kind"] == "or") & (table["mask"] == 5)].iloc[0]
    assert json.loads(row["words"]) == [WORDS[0], WORDS[2]]
    assert row["order"] == 2
    units = run.units[run.units["condition"] == f"step-{row['step']:06d}"].set_index("sample_id")
    assert row["effect"] == units.loc[row["sample"], "or_effects"][5]
    at_reference = table[table["step"] == 0]
    np.testing.assert_array_equal(at_reference["effect"], at_reference["effect_reference"])


def test_every_column_is_explained(study, tmp_path):
    export_run(RunReader(study / "lora-1"), tmp_path / "out", (), ("csv", "parquet"))
    said = (tmp_path / "out" / "README.md").read_text()
    for table in all_tables(RunReader(study / "lora-1")):
        for column in map(str, table.frame.columns):
            assert f"| `{column}` |" in said
            assert column in COLUMNS or column.endswith(("_lo", "_hi"))


def test_no_text_cell_is_a_formula(study, tmp_path):
    export_run(RunReader(study / "lora-1"), tmp_path / "out", (), ("csv",))
    for path in (tmp_path / "out" / "tables").glob("*.csv"):
        frame = pd.read_csv(path, keep_default_na=False)
        for column in frame.select_dtypes(exclude=["number", "bool"]):
            values = [str(value) for value in frame[column]]
            assert not [v for v in values if v.startswith(DANGEROUS) and not _is_number(v)], (path.name, column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_csv_guards_text_and_keeps_it(texts):
    frame = pd.DataFrame({"text": texts, "number": [-1.0] * len(texts)})
    data = csv_bytes(frame)
    lines = data.decode("utf-8")
    assert lines.startswith("text,number\n")
    for text in texts:
        if text.startswith(DANGEROUS):
            assert "'" + text.encode("utf-8", "replace").decode().replace('"', '""') in lines
    assert "'-1.0" not in lines


def test_export_refuses_the_run_folder_itself(study):
    for out in (study / "lora-0", study / "lora-0" / "export"):
        with refused("lies in the run folder"):
            export_run(RunReader(study / "lora-0"), out, (), ("csv",))


def test_export_is_the_same_every_time(study, tmp_path):
    for name in ("a", "b"):
        export_run(RunReader(study / "lora-1"), tmp_path / name, (), ("csv", "parquet"))
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.soak
def test_a_real_run_is_compared_and_exported(finished, tmp_path):
    """Not a made-up folder: what the pipeline writes is what these readers read."""
    from tiny_job import run_here

    other = tmp_path / "other"
    wanted = finished.wanted | {"training": finished.wanted["training"] | {"seed": 1}}
    run_here(wanted, other)
    found = compare_runs([finished.folder, other])
    assert [len(group.runs) for group in found.groups] == [2]
    payload = found.payload
    assert payload["paired_prompts"] == 3
    assert payload["spread"]
    done = export_run(RunReader(finished.folder), tmp_path / "out", (), ("csv", "parquet"))
    assert done.tables >= 8
    rows = pq.read_table(tmp_path / "out/tables/interactions.parquet").num_rows
    sets = pq.read_table(finished.folder / "trajectory_sets.parquet").num_rows
    assert rows == sets
