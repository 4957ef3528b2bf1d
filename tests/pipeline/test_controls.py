"""Controls of a run: second reference, floors, views, several baseline LLMs, and that each is there only when asked for."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_job import BARE, TEMPLATE, contents, run_here, settings

from interplay.analysis.measured import fused_with, read_measured
from interplay.analysis.views import make_controls, make_trajectory
from interplay.config.loading import load_settings
from interplay.dynamics import Trajectory
from interplay.effects import extract
from interplay.errors import InterplayError
from interplay.pipeline.extraction import preparing
from interplay.pipeline.measure import Question
from interplay.store.conditions import Record
from interplay.store.units import load_unit, unit_path

EVERYTHING = {
    "precision": "bfloat16",
    "reference": 2,
    "draws": 3,
    "draw_steps": "all",
    "both_scores": True,
    "few_shot": 2,
    "format": {"template": "Sentence: {text}\nOne word for it: joy, anger, sadness or surprise.\nEmotion:"},
}

NO_MORE = {"reference": "null", "draws": 1, "both_scores": "false", "few_shot": 0, "format": "null"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder):
    """A run with every control, two baseline LLMs of two families."""
    folder = tmp_path_factory.mktemp("controls")
    wanted = settings(folder, tiny_folder("llama"), controls=EVERYTHING)
    wanted["prompt"]["rephrased"] = [wanted["prompt"]["rephrased"], {"template": "Line: {text}\nEmotion:"}]
    common = {"chat": False, "few_shot": 2, "template": TEMPLATE}
    wanted["baseline"] = [{"name": str(tiny_folder(kind)), **common} for kind in ("gemma3", "llama")]
    result = run_here(wanted, folder / "run")
    return result


def table(result, name: str) -> pd.DataFrame:
    return pd.read_parquet(result.path / f"{name}.parquet")


def test_every_view_is_there_and_is_a_trajectory_of_its_own(whole):
    about = json.loads((whole.path / "controls.json").read_text())
    names = [view["name"] for view in about["views"]]
    assert names == ["reference-2", "vocabulary", "words-2", "words-3", "few-shot", "format", "tolerance-paper"]
    views = table(whole, "views")
    assert set(views["view"]) == set(names)
    main = Trajectory.load(whole.path).summary
    for name in names:
        own = views[views["view"] == name].drop(columns="view").reset_index(drop=True)
        assert list(own.columns) == list(main.columns)
        assert not own.equals(main)


def test_every_split_is_fused_with_the_one_it_is_compared_with(whole):
    record, fused = Record.read(whole.path), 0
    for condition, prompts in record.conditions.items():
        before = fused_with(condition, record.steps)
        before = before if before in record.conditions else None
        for i in prompts:
            unit = load_unit(unit_path(whole.path, condition, i))
            other = before and load_unit(unit_path(whole.path, before, i))
            found = extract(unit.scores, unit.header.tolerance, 1e-3, reference=other and other.effects)
            np.testing.assert_array_equal(unit.effects, found.effects, err_msg=condition)
            fused += other is not None
    every = {
        "",
        "-vocabulary",
        "-words-2",
        "-words-3",
    }  # asked at every step: each follows the step before in its own question
    assert {c[11:] for c in record.conditions if c.startswith("step-000004")} == every
    assert {fused_with(f"step-000004{question}", record.steps) for question in every} <= record.conditions.keys()
    assert fused >= 4 * len(record.conditions["step-000004"])


def test_the_second_reference_keeps_omega_and_moves_the_sets(whole):
    views, main = table(whole, "views"), Trajectory.load(whole.path)
    view = views[(views["view"] == "reference-2") & (views["definition"] == "common") & (views["order"] == 0)]
    count = view[(view["measure"] == "count") & (view["set"] == "all")].set_index("step")["value"]
    assert count.to_dict() == main.get("count").value.to_dict()
    emerged = view[(view["measure"] == "count") & (view["set"] == "emerged")].set_index("step")["value"]
    assert list(emerged.index) == [2, 4]  # nothing can emerge before the reference
    assert emerged[2] == 0


def test_the_floor_of_wording_is_the_mean_of_both_wordings(whole):
    """Two conditions at the reference, one at the second; the note counts them."""
    conditions = {name for name in table(whole, "units")["condition"] if "rephrased" in name}
    assert conditions == {"step-000000-rephrased", "step-000000-rephrased-2", "step-000002-rephrased"}
    units, main = table(whole, "units").set_index(["condition", "sample_id"]), Trajectory.load(whole.path)
    counts = []
    for sample in main.sample_ids:
        own = [
            np.stack(units.loc[(f"step-000000{tail}", sample)][["and_effects", "or_effects"]].tolist())
            for tail in ("", "-rephrased", "-rephrased-2")
        ]
        now, *others = (np.abs(e) > 0.05 * np.abs(e).max() for e in own)
        counts.append(np.mean([(now & ~other).sum() for other in others]))
    null = main.per_sample.query("measure == 'count' and set == 'removed' and definition == 'paper' and step == 4")
    assert null.sort_values("sample")["null"].tolist() == pytest.approx(counts)
    floors = json.loads((whole.path / "controls.json").read_text())["floors"]
    assert "wordings: 2" in next(floor["note"] for floor in floors if floor["name"] == "rephrased")


def test_the_view_of_the_lineages_tolerance_splits_the_same_scores_again(whole):
    """A wider tolerance needs less strength; the scores, and gamma's baseline LLM, stay."""
    views, main = table(whole, "views"), Trajectory.load(whole.path)
    own = views[views["view"] == "tolerance-paper"].query("definition == 'paper' and set == 'all' and order == 0")
    own = own.pivot(index="step", columns="measure", values="value")
    assert (own["l1"] < main.get("l1")["value"]).all()
    assert own["sd"].tolist() == main.get("sd")["value"].tolist()
    assert own["gamma"].notna().all()


def test_a_given_tolerance_is_halved_and_doubled(whole, tmp_path):
    fewer = ["baseline=null", *(f"controls.{name}={value}" for name, value in NO_MORE.items())]
    asked = load_settings(whole.path / "settings.yaml", ["effects.tolerance=0.2", *fewer])
    measured = read_measured(whole.path, asked, Record.read(whole.path))
    tables, _ = make_controls(asked, measured, make_trajectory(asked, measured), whole.task)
    l1 = tables["views"].query("definition == 'paper' and measure == 'l1' and step == 0").set_index("view")["value"]
    assert l1["tolerance-half"] > l1["tolerance-double"]
    assert "tolerance-paper" not in l1


def test_few_shot_replaces_step_0_and_nothing_else(whole):
    views, main = table(whole, "views"), Trajectory.load(whole.path)
    own = views[(views["view"] == "few-shot") & (views["measure"] == "l1") & (views["definition"] == "common")]
    own, before = own.set_index("step")["value"], main.get("l1")["value"]
    assert own[0] != before[0]
    assert own.loc[1:].to_dict() == before.loc[1:].to_dict()


def test_floors_at_both_references(whole):
    floors, multiples = table(whole, "floors"), table(whole, "multiples")
    assert set(zip(floors["reference"], floors["floor"], strict=True)) == {
        *((0, floor) for floor in ("rephrased", "mask", "precision", "words", "split")),
        *((2, floor) for floor in ("rephrased", "words", "split")),
    }  # fmt: skip
    main = Trajectory.load(whole.path)
    null = main.get("count", "removed")["null"].iloc[-1]
    chosen = floors[(floors["reference"] == 0) & (floors["floor"] == "rephrased") & (floors["definition"] == "common")]
    assert chosen[(chosen["set"] == "removed") & (chosen["measure"] == "count")]["value"].item() == pytest.approx(null)
    assert set(multiples[multiples["reference"] == 2]["step"]) == {4}


def test_gamma_stands_for_each_baseline_and_kinship_is_said(whole):
    baselines = table(whole, "baselines")
    assert baselines["baseline"].nunique() == 2
    assert set(baselines["measure"]) == {"gamma"}
    first = baselines[baselines["baseline"].str.contains("gemma3")]
    main = Trajectory.load(whole.path).summary
    assert np.allclose(
        first["value"], main[(main["measure"] == "gamma") & (main["definition"] == "common")]["value"], equal_nan=True
    )
    about = json.loads((whole.path / "controls.json").read_text())
    assert [b["same_family"] for b in about["baselines"]] == [False, True]
    assert any("same architecture family (llama)" in note for note in whole.notes)


def test_the_other_score_has_its_own_scores_and_tolerance(whole):
    units = table(whole, "units").set_index(["condition", "sample_id"])
    one = units.loc["step-000002"].iloc[0]
    other = units.loc[("step-000002-vocabulary", one.name)]
    assert one["words"].tolist() == other["words"].tolist()
    assert not np.allclose(one["scores"], other["scores"])
    assert one["tolerance"] != other["tolerance"]


def test_second_precision_is_the_same_question_in_other_numbers(whole):
    units = table(whole, "units").set_index(["condition", "sample_id"])
    one = units.loc["step-000000"].iloc[0]
    other = units.loc[("step-000000-bfloat16", one.name)]
    assert (one["dtype"], other["dtype"]) == ("float32", "bfloat16")
    assert np.allclose(one["scores"], other["scores"], atol=0.5)
    assert not np.array_equal(one["scores"], other["scores"])


def test_other_absent_words_are_the_same_question_with_other_fills(whole):
    units = table(whole, "units").set_index(["condition", "sample_id"])
    one, settings_ = units.loc["step-000000"].iloc[0], whole.settings
    other = units.loc[("step-000000-mask", one.name)]
    assert (settings_.scoring.mask, settings_.controls.mask) == ("auto", "auto")
    assert other["tolerance"] == one["tolerance"], "the delta of the run, as for another wording"
    assert other["scores"][-1] == pytest.approx(one["scores"][-1], abs=1e-4), "nothing is absent"
    assert not np.allclose(other["scores"], one["scores"], atol=0.01)
    said = "other words of the same place, 3 draws"
    [floor] = [f for f in whole.json("controls.json")["floors"] if f["name"] == "mask"]
    assert (floor["title"], floor["note"].endswith(said)) == ("other absent words", True)
    page = (whole.path / "report.html").read_text(encoding="utf-8")
    assert said in page
    assert "other absent words" in page
    assert "&#34;_&#34; (one per token)" in page, "what they become in the run itself"
    headers = [load_unit(path).header for path in sorted((whole.path / "units").glob("*/*.safetensors"))]
    assert {h.absent for h in headers if h.condition.endswith("-mask")} == {said}
    main = [h for h in headers if not h.condition.endswith("-mask")]
    assert {(h.absent, h.absence_sigma) for h in main} == {('"_" (one per token)', 0)}
    assert any(h.absence_sigma > 0 for h in headers)
    notes = whole.json("report.json")["notes"]
    assert any(note.startswith("Floor of other absent words: ") and "too few other words" in note for note in notes)


def test_a_unit_is_known_by_what_stands_in_the_place_of_its_words(tmp_path, tiny_folder, tiny_tokenizer, sample, rows):
    def key(mask: str, draws: int = 3) -> str:
        read = load_settings(settings(tmp_path, tiny_folder("llama"), scoring={"mask": mask, "swap_draws": draws}))
        prepared = preparing(read, tiny_tokenizer, read.template(), fillers=rows)(sample)
        return Question("step-000000", 0, 0, "base", "weights", prepared, read).key()

    assert key("auto") == key("_"), "the same ids are the same question"
    assert len({key(mask) for mask in ("auto", "mean", "swap", "drop", "paper", ".")}) == 6
    assert key("swap") == key("swap") != key("swap", 2)


def test_a_token_of_a_control_that_is_not_there_costs_no_training(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), controls={"mask": "no such token"})
    with pytest.raises(InterplayError, match="mask token 'no such token' is not in the vocabulary"):
        run_here(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_controls_left_out_leave_nothing(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), **BARE)
    result = run_here(wanted, tmp_path / "run")
    assert {p.name for p in (result.path / "units").iterdir()} == {"step-000000", "step-000002"}
    for name in ("views", "baselines"):
        assert table(result, name).empty
    assert set(table(result, "floors")["floor"]) == {"split"}, "which costs no pass"
    assert (result.path / "report.html").exists()


def test_the_same_command_again_computes_nothing(whole, no_forward):
    before = contents(whole.path)
    run_here(load_settings(whole.path / "settings.yaml").model_dump(mode="json"), whole.path)
    assert contents(whole.path) == before


def test_labels_need_labels(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), scoring={"among_labels": True})
    rows = [
        {
            "prompt": f"{'abcdefgh'[i] * 4} {'ijklmnop'[i] * 4} {'qrstuvwx'[i] * 4} {'hgfedcba'[i] * 5}",
            "completion": "very nice",
        }
        for i in range(8)
    ]
    for name in ("train", "prompts"):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps(r | {"prompt": r["prompt"] + name}) + "\n" for r in rows)
        )
    with pytest.raises(InterplayError, match="need two labels that can be answers: set among_labels to false"):
        run_here(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()  # before hours of training


def test_second_reference_must_be_measured(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), controls={"reference": 3})
    with pytest.raises(
        InterplayError, match=r"controls\.reference is 3, no measured step: choose one of \[0, 1, 2, 4\]"
    ):
        load_settings(wanted)
