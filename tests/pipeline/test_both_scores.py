"""Rows with labels have two scores: among the labels, which is the default, and against the whole vocabulary beside it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_job import PROMPTS, TRAIN, labelled, run_here, settings, write_rows

import interplay
from interplay.analysis.about import weak_notes
from interplay.analysis.measured import second_reference
from interplay.analysis.payload import build_payload
from interplay.cli.show import show_run
from interplay.comparison.comparison import compare_runs
from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.report.page import render
from interplay.store.folder import RunFolder

SMALL = {"training": {"steps": 2}, "checkpoints": {"steps": [0, 1, 2]}, "prompt": {"rephrased": None}}
NO_MORE = {"precision": None, "mask": None, "draws": 1, "tolerance": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_folder):
    """The same training with each of the two as the main score."""
    root = tmp_path_factory.mktemp("scores")
    made = {}
    for among in ("auto", False):
        wanted = settings(root, tiny_folder("llama"), **SMALL, controls=NO_MORE, scoring={"among_labels": among})
        made[among] = run_here(wanted, root / f"among-{among}")
    return made


def scores(run, condition):
    units = run.table("units")
    return np.stack([*units[units.condition == condition].sort_values("sample_id").scores])


def test_each_is_the_view_of_the_other(runs):
    labels, vocabulary = runs["auto"], runs[False]
    assert labels.score == "among 4 labels"
    assert vocabulary.score == "against the whole vocabulary"
    for step in ("step-000000", "step-000002"):
        np.testing.assert_array_equal(scores(labels, step), scores(vocabulary, f"{step}-labels"))
        np.testing.assert_array_equal(scores(vocabulary, step), scores(labels, f"{step}-vocabulary"))
        assert not np.allclose(scores(labels, step), scores(vocabulary, step), atol=0.1)
    for run, view in ((labels, "vocabulary"), (vocabulary, "labels")):
        assert {path.name for path in (run.path / "units").iterdir()} == {
            f"step-00000{step}{question}" for step in range(3) for question in ("", f"-{view}")
        }
        assert view in run.table("views")["view"].unique()


def test_the_other_score_is_left_out_where_it_is_not_wanted_and_asked_for_where_it_is_missing(runs, tmp_path):
    folder = shutil.copytree(runs["auto"].path, tmp_path / "copy")
    run = interplay.Run(folder)
    run.report(settings=["controls.both_scores=false"])
    assert run.table("views").empty
    assert set(run.units.condition) == {f"step-00000{step}" for step in range(3)}
    record = json.loads((folder / "measured.json").read_text())
    record["controls"]["both_scores"] = False
    record["conditions"] = {name: found for name, found in record["conditions"].items() if "vocabulary" not in name}
    (folder / "measured.json").write_text(json.dumps(record))
    with pytest.raises(InterplayError, match=r"not measured \(step-000000-vocabulary, .*interplay run"):
        run.report(settings=["controls.both_scores=true"])


def test_every_place_says_which_score_it_is(runs, capsys, tmp_path):
    run = runs["auto"]
    show_run(run)
    assert "nats of log-odds of the target among 4 labels" in " ".join(capsys.readouterr().out.split())
    assert "the log-odds of each answer among 4 labels, split exactly" in run.card()
    run.export(tmp_path / "export", format="none")
    assert "Scores are log-odds of the target among 4 labels" in (tmp_path / "export" / "README.md").read_text()
    payload = build_payload(RunFolder(run.path))
    page = render(payload)
    assert "nats by which the log-odds of the target among 4 labels changed" in page
    method = {row["name"]: row["value"] for row in payload["method"]}
    assert method["Score v"] == "log-odds of the response among 4 labels"
    notes = compare_runs([r.path for r in runs.values()]).notes
    assert any("scored differently (among-auto: among 4 labels, among-False: against the whole" in n for n in notes)


def test_explain_asks_a_step_as_its_run_does(runs):
    for run in runs.values():
        prompt = json.loads((run.path / "inputs.json").read_text())["prompts"][0]
        words = [word["text"] for word in prompt["words"]]
        found = interplay.explain(f"{run.path}@2", prompt["text"], prompt["target"], words=words)
        units = run.table("units")
        [unit] = units[(units.condition == "step-000002") & (units.sample_id == prompt["id"])].scores
        np.testing.assert_allclose(found.scores.values, unit, atol=1e-4)
        assert found.to_dict()["score"] == f"log-odds {run.score}"
        assert f", {run.score}:" in str(found)
        assert found.probability == pytest.approx(1 / (1 + np.exp(-unit[-1])), abs=1e-4)
    both = [f"{run.path}@2" for run in runs.values()]
    change = interplay.explain(both, PROMPTS[0][0], "joy", n=2)
    assert any("or one against the whole vocabulary: give labels for both" in note for note in change.notes)
    assert "among 4 labels and against the whole vocabulary" in str(change)
    other = interplay.explain(both[0], PROMPTS[0][0], "calm", n=2)
    assert "'calm' is none of the 4 labels: it is scored beside them" in other.notes
    assert other.among == 5


def test_rows_without_two_labels_are_scored_against_the_whole_vocabulary(tmp_path, tiny_folder):
    write_rows(tmp_path / "train.jsonl", labelled([(text, "joy") for text, _ in TRAIN]))
    write_rows(tmp_path / "prompts.jsonl", labelled([(text, "joy") for text, _ in PROMPTS]))
    wanted = settings(tmp_path, tiny_folder("llama"), **SMALL, controls=NO_MORE)
    run = run_here(wanted, tmp_path / "run")
    assert run.score == "against the whole vocabulary"
    assert {view["name"] for view in run.json("controls.json")["views"]} <= {"reference-1"}
    assert load_settings(wanted).scoring.among_labels == "auto"


def unit(full: float, empty: float = 0.0, tokens: int = 1):
    header = SimpleNamespace(target="joy", target_ids=(1,) * tokens)
    return SimpleNamespace(scores=np.array([empty, full]), header=header)


def test_the_second_reference_is_told_from_the_whole_vocabulary(tmp_path, tiny_folder):
    """v(N) among the labels rises from the first step to the last, that of the whole vocabulary at once."""
    wanted = load_settings(settings(tmp_path, tiny_folder("llama")))
    steps = [0, 1, 2, 3]
    slow, fast = ({step: [unit(x)] for step, x in enumerate(rise)} for rise in ((0, 1, 2, 9), (0, 8, 9, 9)))
    units = {f"step-00000{step}": found for step, found in slow.items()}
    assert second_reference(wanted, units, steps, 0, among=0) is None, "no step before the last made 80 %"
    assert second_reference(wanted, units, steps, 0, among=4) is None, "only the labels were scored"
    units |= {f"step-00000{step}-vocabulary": found for step, found in fast.items()}
    assert second_reference(wanted, units, steps, 0, among=4) == 1


def test_a_target_that_is_never_given_is_told_from_the_whole_vocabulary():
    """Among the labels it has half of the probability, in the whole vocabulary none."""
    units = {"step-000000": [unit(0.0, 1.0)]}
    assert weak_notes(units, [0], among=4) == []
    [said] = weak_notes(units | {"step-000000-vocabulary": [unit(-9.0, -1.0)]}, [0], among=4)
    assert said.startswith(
        "the target has a probability under 1 % in the whole vocabulary at every step ('joy' at most"
    )
    rare = {"step-000000": [unit(-9.0, -1.0, tokens=3)]}
    [said] = weak_notes(rare, [0], among=4)
    assert said.startswith(
        "the target has a probability under 1 % among the labels at every step ('joy' at most 0.012 %)"
    )
    [said] = weak_notes(rare, [0], among=0)
    assert "('joy' at most 0.011 %)" in said, "(sigmoid(-9/3))^3: of three tokens the most that it can be"
    [said] = weak_notes({"step-000000": [unit(0.2)], "step-000000-vocabulary": [unit(9.0)]}, [0], among=4)
    assert "all words together move it by under 0.5 nats at every step ('joy' by 0.2)" in said
