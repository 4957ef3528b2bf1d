"""Controls of a run: second reference, floors, views, several baseline LLMs, and that each is there only when asked for."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_job import TEMPLATE, contents, run_here, settings

from interplay.config.loading import load_settings
from interplay.dynamics import Trajectory
from interplay.errors import InterplayError

EVERYTHING = {
    "precision": "bfloat16",
    "reference": 2,
    "draws": 3,
    "draw_steps": "all",
    "labels": True,
    "few_shot": 2,
    "format": {"template": "Sentence: {text}\nOne word for it: joy, anger, sadness or surprise.\nEmotion:"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder):
    """A run with every control, two baseline LLMs of two families."""
    folder = tmp_path_factory.mktemp("controls")
    wanted = settings(folder, tiny_folder("llama"), controls=EVERYTHING)
    common = {"chat": False, "few_shot": 2, "template": TEMPLATE}
    wanted["baseline"] = [{"name": str(tiny_folder(kind)), **common} for kind in ("gemma3", "llama")]
    result = run_here(wanted, folder / "run")
    return result


def table(result, name: str) -> pd.DataFrame:
    return pd.read_parquet(result.path / f"{name}.parquet")


def test_every_view_is_there_and_is_a_trajectory_of_its_own(whole):
    about = json.loads((whole.path / "controls.json").read_text())
    names = [view["name"] for view in about["views"]]
    assert names == ["reference-2", "labels", "words-2", "words-3", "few-shot", "format"]
    views = table(whole, "views")
    assert set(views["view"]) == set(names)
    main = Trajectory.load(whole.path).summary
    for name in names:
        own = views[views["view"] == name].drop(columns="view").reset_index(drop=True)
        assert list(own.columns) == list(main.columns)
        assert not own.equals(main)


def test_the_second_reference_keeps_omega_and_moves_the_sets(whole):
    views, main = table(whole, "views"), Trajectory.load(whole.path)
    view = views[(views["view"] == "reference-2") & (views["definition"] == "common") & (views["order"] == 0)]
    count = view[(view["measure"] == "count") & (view["set"] == "all")].set_index("step")["value"]
    assert count.to_dict() == main.get("count").value.to_dict()
    emerged = view[(view["measure"] == "count") & (view["set"] == "emerged")].set_index("step")["value"]
    assert list(emerged.index) == [2, 4]  # nothing can emerge before the reference
    assert emerged[2] == 0


def test_few_shot_replaces_step_0_and_nothing_else(whole):
    views, main = table(whole, "views"), Trajectory.load(whole.path)
    own = views[(views["view"] == "few-shot") & (views["measure"] == "l1") & (views["definition"] == "common")]
    own, before = own.set_index("step")["value"], main.get("l1")["value"]
    assert own[0] != before[0]
    assert own.loc[1:].to_dict() == before.loc[1:].to_dict()


def test_floors_at_both_references(whole):
    floors, multiples = table(whole, "floors"), table(whole, "multiples")
    assert set(zip(floors["reference"], floors["floor"], strict=True)) == {
        (0, "rephrased"), (0, "precision"), (0, "words"), (2, "rephrased"), (2, "words"),
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


def test_among_labels_has_its_own_scores_and_tolerance(whole):
    units = table(whole, "units").set_index(["condition", "sample_id"])
    one = units.loc["step-000002"].iloc[0]
    other = units.loc[("step-000002-labels", one.name)]
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


def test_controls_left_out_leave_nothing(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), training={"steps": 2}, checkpoints={"steps": [0, 2]})
    wanted["prompt"]["rephrased"] = None
    wanted["controls"] = {"precision": None, "reference": None, "draws": 1, "labels": False}
    result = run_here(wanted, tmp_path / "run")
    assert {p.name for p in (result.path / "units").iterdir()} == {"step-000000", "step-000002"}
    for name in ("views", "floors", "multiples", "baselines"):
        assert table(result, name).empty
    assert (result.path / "report.html").exists()


def test_the_same_command_again_computes_nothing(whole, no_forward):
    before = contents(whole.path)
    run_here(load_settings(whole.path / "settings.yaml").model_dump(mode="json"), whole.path)
    assert contents(whole.path) == before


def test_labels_need_labels(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), controls={"labels": True})
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
    with pytest.raises(InterplayError, match=r"set scoring\.among_labels and controls\.labels to false"):
        run_here(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()  # before hours of training


def test_second_reference_must_be_measured(tmp_path, tiny_folder):
    wanted = settings(tmp_path, tiny_folder("llama"), controls={"reference": 3})
    with pytest.raises(
        InterplayError, match=r"controls\.reference is 3, no measured step: choose one of \[0, 1, 2, 4\]"
    ):
        load_settings(wanted)
