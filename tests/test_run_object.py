"""`interplay.Run` and the verbs in Python: what they give is what the commands print and write, to the last digit."""

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_runs import PROMPTS, STEPS, WORDS, synthetic_run
from tiny_job import BARE, TEMPLATE, contents, labelled, run_here, settings, write_rows, write_settings
from tiny_job import PROMPTS as ROWS

import interplay
from interplay.analysis.summary import strongest_change
from interplay.errors import InterplayError
from interplay.store.conditions import step_name

SETS = ["all", "preserved", "emerged", "removed", "kept", "reentered"]


def refused(says: str):
    return pytest.raises(InterplayError, match=says)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run without a model, with every table that a run can have."""
    return synthetic_run(tmp_path_factory.mktemp("whole") / "run", controls=True, noise=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_folder) -> Path:
    """A run of a tiny model: the folder with its data, its settings file and the run itself."""
    root = tmp_path_factory.mktemp("made")
    wanted = settings(root, tiny_folder("llama"), **BARE | {"checkpoints": {"steps": [0, 1, 2]}})
    write_settings(root / "c.yaml", wanted)
    run_here(wanted, root / "run")
    return root


# ---- what a run folder holds -----------------------------------------------------------------------------------------


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    run = interplay.Run(tmp_path / "nowhere")
    assert repr(run) == f"Run({str(tmp_path / 'nowhere')!r})"
    with refused("no run folder"):
        run.summary()
    code = "import sys, interplay; interplay.Run; interplay.run; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_tables_are_those_on_disk(whole):
    run = interplay.Run(whole)
    for file in whole.glob("*.parquet"):
        pd.testing.assert_frame_equal(run.table(file.stem), pd.read_parquet(file))
    assert run.steps == STEPS
    assert run.trajectory.get("strength", "emerged").index.tolist() == list(STEPS)
    assert run.settings.training is not None
    assert run.settings.training.method == "lora"
    with refused("has no nothing.parquet"):
        run.table("nothing")


def test_prompts(whole):
    run = interplay.Run(whole)
    assert len(run.prompts) == PROMPTS
    assert run.prompts.loc[3].to_dict() == {
        "id": "p3",
        "text": " ".join(WORDS),
        "target": "joy",
        "label": "joy",
        "words": WORDS,
    }


def test_interactions_of_a_prompt_are_those_of_the_units(whole):
    run = interplay.Run(whole)
    found = run.interactions(prompt=3, step=2)
    pd.testing.assert_frame_equal(found, run.interactions(prompt="p3", step=2))
    first = ["kind", "words", "effect_reference", "effect", "change", "outcome", "certain", "exchangeable_with"]
    assert list(found) == [*first, "mask", "order", "tau", *SETS]
    assert found["change"].abs().is_monotonic_decreasing
    unit = run.units.set_index(["condition", "sample_id"]).loc[("step-000002", "p3")]
    for row in found.itertuples():
        assert row.effect == unit[f"{row.kind}_effects"][row.mask]
        assert row.words == tuple(word for i, word in enumerate(WORDS) if row.mask >> i & 1)
        assert row.all == (abs(row.effect) > row.tau)
        assert row.change == row.effect - row.effect_reference
    largest = run.units[(run.units["sample_id"] == "p3") & run.units["condition"].isin([step_name(s) for s in STEPS])]
    largest = max(np.abs(np.stack(largest[column].to_list())).max() for column in ("and_effects", "or_effects"))
    assert found["tau"].unique() == pytest.approx([0.05 * largest])
    assert run.interactions(3, 2, "paper")["tau"].unique().tolist() == [unit["tau"]]
    sets = run.trajectory.membership("p3", 2)
    assert [int(found[name].sum()) for name in SETS] == [int(getattr(sets, name).sum()) for name in SETS]
    for prompt in (PROMPTS, -1):
        with refused(f"the run has prompts 0 to {PROMPTS - 1}"):
            run.interactions(prompt, 2)
    with refused("sample 'p99' is not known"):
        run.interactions("p99", 2)
    with refused("step 3 is not known"):
        run.interactions(3, 3)


def test_a_notebook_shows_it(whole, tmp_path):
    run = interplay.Run(synthetic_run(tmp_path / "run", name="<script>x</script>"))
    shown = run._repr_html_()
    assert "<script>" not in shown
    assert "Keep step 2." in shown
    assert f"<td>{run.summary().rows[-1]['emerged strength']:.2f}</td>" in shown
    (run.path / "manifest.json").unlink()
    assert "not finished" in interplay.Run(run.path)._repr_html_()


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("task.parquet", lambda run: run.summary()),
        ("trajectory.parquet", lambda run: run.steps),
        ("inputs.json", lambda run: run.prompts),
        ("recommendation.json", lambda run: run.card()),
    ],
)
def test_a_damaged_file_is_one_line(whole, tmp_path, name, ask):
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / name).write_bytes(b"torn")
    with refused(rf"\A[^\n]*{name}[^\n]*\Z"):
        ask(interplay.Run(folder))


def test_files_of_two_runs_are_inconsistent(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    units = pd.read_parquet(folder / "units.parquet")
    units.assign(sample_id="another").to_parquet(folder / "units.parquet", index=False)
    with refused(
        r"Run folder .* is inconsistent \(missing .*\). Run again with a new --out; if it happens again, please"
    ):
        interplay.Run(folder).interactions(0, 2)


# ---- Python and the command say the same -----------------------------------------------------------------------------


def test_words_per_prompt_have_one_default():
    from interplay.config.settings import PromptsSettings
    from interplay.data.samples import choose_samples

    asked = [interplay.track, interplay.recommend, interplay.explain, interplay.make_sample, choose_samples]
    assert {inspect.signature(one).parameters["n"].default for one in asked} == {PromptsSettings().n} == {8}


def test_run(made, call, tmp_path):
    ours = interplay.run(
        made / "c.yaml", settings={"name": "mine", "dynamics.ratio": 0.1}, out=tmp_path / "a", quiet=True
    )
    said = call(
        "run", made / "c.yaml", "--set", "name=mine", "--set", "dynamics.ratio=0.1", "--out", tmp_path / "b", "-q"
    )
    assert said.code == 0
    assert f"\n{ours.summary()}\n" in f"\n{said.out}"
    assert f"\n{ours.recommendation}\n" in said.out
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert ours.notes == interplay.Run(tmp_path / "b").notes
    assert ours.checkpoints.steps == (1, 2)
    assert ours.checkpoints.paths[2] == tmp_path / "a" / "checkpoints" / "checkpoint-2"
    hashes = json.loads((tmp_path / "a" / "weights.json").read_text())["checkpoints"]
    assert ours.checkpoints.hashes == {step: hashes[str(step)] for step in (1, 2)}


def test_run_takes_a_mapping_and_copies(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = json.loads((made / "c.yaml").read_text())
    again = interplay.run(wanted, out=made / "run", quiet=True)
    assert (again.path, str(again.summary())) == (made / "run", str(interplay.Run(made / "run").summary()))
    with refused("unknown settings key 'sed'"):
        interplay.run(wanted, settings={"sed": 1})
    with refused("no settings file at 'nothing.yaml'"):
        interplay.run("nothing.yaml")
    with refused("leave out --workers and --ray"):
        interplay.run(wanted, shard="1/2", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_says_what_is_missing(made, tmp_path):
    left = interplay.run(made / "c.yaml", shard="1/2", out=tmp_path / "run", quiet=True)
    assert (left.folder, str(left.shard)) == (tmp_path / "run", "1/2")
    assert left.missing > 0


def test_track_and_recommend(made, call, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", labelled(ROWS))
    base, checkpoints = str(tiny_folder("llama")), made / "run" / "checkpoints"
    asked = {"template": TEMPLATE, "chat": False, "n": 3, "num_prompts": 2, "quiet": True}
    few = {"dynamics.draws": 5, "dynamics.resamples": 20}
    few |= {f"controls.{name}": value for name, value in BARE["controls"].items()}
    typed = ["--template", TEMPLATE, "--chat", "false", "--n", 3, "-q"]
    typed += [part for key, value in few.items() for part in ("--set", f"{key}={json.dumps(value)}")]

    ours = interplay.track(base, checkpoints, "rows.jsonl", settings=few, out="a", **asked)
    given = [
        "track",
        "--base",
        base,
        "--checkpoints",
        checkpoints,
        "--data",
        "rows.jsonl",
        "--num-prompts",
        2,
        "--out",
        "b",
    ]
    assert f"{ours.summary()}\n" in call(*given, *typed).out
    assert contents(tmp_path / "a") == contents(tmp_path / "b")

    kept = interplay.recommend(checkpoints, base=base, prompts="rows.jsonl", settings=few, out="c", **asked)
    given = [
        "recommend",
        checkpoints,
        "--base",
        base,
        "--prompts",
        "rows.jsonl",
        "--num-prompts",
        2,
        "--out",
        "d",
        "--json",
    ]
    assert kept.to_dict() == json.loads(call(*given, *typed).out)
    assert contents(tmp_path / "c") == contents(tmp_path / "d")

    # Of the run itself, and among what is left on disk.
    lost = shutil.copytree(made / "run", tmp_path / "lost")
    shutil.rmtree(lost / "checkpoints" / f"checkpoint-{interplay.Run(lost).recommendation.step}")
    for folder in (made / "run", lost):
        answer = interplay.recommend(folder)
        assert answer.to_dict() == json.loads(call("recommend", folder, "--json").out)
        assert answer.step in interplay.Run(folder).checkpoints.paths
        assert str(answer) == answer.sentence
    with refused("leave out --base"):
        interplay.recommend(lost, base=base)


def test_report(whole, made, call, tmp_path):
    run = interplay.Run(made / "run")
    assert run.report(tmp_path / "ours.html") == tmp_path / "ours.html"
    assert call("report", made / "run", "--out", tmp_path / "theirs.html").code == 0
    page = (tmp_path / "ours.html").read_bytes()
    assert page == (tmp_path / "theirs.html").read_bytes() == (made / "run" / "report.html").read_bytes()
    before = contents(made / "run")
    assert run.report() == made / "run" / "report.html"
    assert contents(made / "run") == before


def test_card(whole, call, tmp_path):
    run = interplay.Run(whole)
    assert run.card() == interplay.card(whole) == interplay.card(run) == call("card", whole).out
    for name in ("ours.md", "theirs.md"):
        (tmp_path / name).write_text("# Mine\n")
    interplay.card(run, append=tmp_path / "ours.md")
    interplay.card(run, out=tmp_path / "section.md")
    assert (tmp_path / "section.md").read_text() == run.card()
    with refused("exclude each other"):
        run.card(out=tmp_path / "a.md", append=tmp_path / "b.md")
    assert call("card", whole, "--append", tmp_path / "theirs.md").out.endswith(": section added\n")
    assert (tmp_path / "ours.md").read_bytes() == (tmp_path / "theirs.md").read_bytes()


def test_export(whole, call, tmp_path):
    done = interplay.export(whole, tmp_path / "ours", format="none")
    said = call("export", whole, "--out", tmp_path / "theirs", "--format", "none")
    assert said.out == f"{done.figures} figures and {done.tables} tables in {tmp_path / 'theirs'}\n"
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    both = [interplay.Run(whole).export(tmp_path / "csv", format=(), tables=["csv"]), done]
    assert [(one.figures, one.tables) for one in both] == [(0, done.tables)] * 2
    with refused("lies in the run folder"):
        interplay.export(whole, whole / "out", format="none")
    with refused("has 'gif'"):
        interplay.export(whole, tmp_path / "no", format=["gif"])


def test_compare(whole, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = synthetic_run(tmp_path / "other", method="full", grow=1.5, noise=2)
    found = interplay.compare([interplay.Run(whole), other], out="again.html")
    assert found.report("ours.html") == Path("ours.html")
    assert Path("ours.html").read_bytes() == Path("again.html").read_bytes()
    said = call("compare", whole, other, "--out", "theirs.html")
    assert said.out == f"{found}\nComparison: theirs.html\n"
    assert Path("ours.html").read_bytes() == Path("theirs.html").read_bytes()
    assert found.payload == json.loads(call("compare", whole, other, "--json").out)
    assert found.overview["run"].tolist() == ["run", "other"]
    np.testing.assert_array_equal(found.overview["last_step"], [STEPS[-1]] * 2)
    grouped = interplay.compare([], group={"mine": [whole, other]})
    assert grouped.overview["group"].tolist() == ["mine", "mine"]
    with refused("expected one of steps, epochs"):
        interplay.compare([whole, other], axis="hours")
    with refused("1 run given"):
        interplay.compare([whole])


def test_changes_are_pooled_over_prompts_and_held_against_the_floor_of_their_own(whole):
    run = interplay.Run(whole)
    found = run.changes(step=4)
    assert found["change"].abs().is_monotonic_decreasing
    assert found["sample"].nunique() == PROMPTS
    units = run.units.set_index(["condition", "sample_id"])

    def effects(condition, sample):
        return np.stack([units.loc[(condition, sample), f"{kind}_effects"] for kind in ("and", "or")])

    strongest = {s: np.abs(effects("step-000004", s) - effects("step-000000", s)).max() for s in set(found["sample"])}
    first = found.iloc[0]
    assert abs(first["change"]) == max(strongest.values()) == strongest[first["sample"]]
    for sample, rows in found.groupby("sample"):
        assert rows["change"].abs().min() > 0.05 * strongest[sample]
        floor = np.abs(effects("step-000000-rephrased", sample) - effects("step-000000", sample)).max()
        assert rows["floor"].tolist() == [floor] * len(rows)
    assert run.changes()["step"].unique().tolist() == [run.recorded["step"]]


def test_the_summary_names_the_strongest_change_above_the_floor(whole):
    run = interplay.Run(whole)
    found = run.changes()
    above = found[found["change"].abs() > found["floor"]]
    said = run.summary().change
    assert str(run.summary()).endswith(said)
    assert f"{len(above) or 'None'} of {len(found)} changes exceed" in said
    text = strongest_change(found.assign(floor=[np.inf, *[0.0] * (len(found) - 1)]), 0)
    second = found.iloc[1]
    assert f"{second['effect_reference']:+.2f} -> {second['effect']:+.2f}" in text, "the first is below its floor"
    assert strongest_change(found.assign(floor=np.inf), 0).startswith("None of ")
    assert "No floor was measured" in strongest_change(found.assign(floor=np.nan), 0)
    assert strongest_change(found[:0], 0) == "No interaction has changed."
