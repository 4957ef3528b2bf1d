"""Runs on labels that cannot all be answers, and on answers with thoughts: what is scored, left out and said."""

import json
import math

import numpy as np
import pandas as pd
from tiny_job import PROMPTS, TRAIN, labelled, run_here, settings, write_rows

import interplay
from interplay.config.settings import NO_CONTROLS

SPECIAL = "<|im_end|>"


def test_a_label_that_spells_a_special_token_is_left_out_and_the_run_goes_on(tmp_path, tiny_folder):
    """One row in sixteen: every prompt dropped out of the question among labels, and the tolerance was the mean of none."""
    write_rows(tmp_path / "train.jsonl", labelled([*TRAIN, ("Strange noises kept me awake all night", SPECIAL)]))
    write_rows(tmp_path / "prompts.jsonl", labelled([("The doctor called about bad results", SPECIAL), *PROMPTS]))
    wanted = settings(tmp_path, tiny_folder("llama"), prompt={"rephrased": None}, checkpoints={"steps": [0, 4]},
                      controls=NO_CONTROLS | {"both_scores": True})  # fmt: skip
    found = run_here(wanted, tmp_path / "run")
    said = [note for note in found.notes if f"'{SPECIAL}' is left out" in note]
    assert said == [
        f"The label '{SPECIAL}' is left out of the labels: the target spells the special token '{SPECIAL}', "
        "which would become a real one."
    ]
    record = json.loads((tmp_path / "run" / "measured.json").read_text())
    assert len(record["conditions"]["step-000000-vocabulary"]) == 3
    assert {o["stage"] for o in record["omitted"] if "special token" in o["reason"]} >= {"train", "eval"}
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert units[units.condition.str.endswith("vocabulary")].tolerance.notna().all()
    assert len(record["gold"]) == len(PROMPTS)
    assert math.isfinite(found.recommendation.step)
    assert any("probability under 1 % in the whole vocabulary at every step" in note for note in found.notes)
    # `explain` asks a step of the run as the run does: the target told from the run's labels.
    prompt = json.loads((tmp_path / "run" / "inputs.json").read_text())["prompts"][0]
    words = [word["text"] for word in prompt["words"]]
    ours = interplay.explain(f"{tmp_path / 'run'}@4", prompt["text"], prompt["target"], words=words)
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    unit = units[(units.condition == "step-000004") & (units.sample_id == prompt["id"])].iloc[0]
    assert list(ours.scores.target_ids) == list(unit.target_ids)
    np.testing.assert_allclose(ours.scores.values, unit.scores, atol=1e-4)


def test_thoughts_before_free_answers_are_passed_over_and_said(tmp_path, tiny_folder):
    def thinking(rows, count):
        return [
            {"prompt": text, "completion": f"<think>\nNumber {i}.\n</think>\n\n{label}"}
            for i, (text, label) in enumerate(rows[:count])
        ]

    write_rows(tmp_path / "train.jsonl", thinking(TRAIN, 8))
    rows = [*thinking(PROMPTS, 4), {"prompt": "Nothing but a long thought here", "completion": "<think>\nHm"}]
    write_rows(tmp_path / "prompts.jsonl", rows)
    wanted = settings(tmp_path, tiny_folder("llama"), prompt={"rephrased": None, "template": "{text}"})
    wanted |= {"checkpoints": {"steps": [0, 4]}, "prompts": {"count": 4, "n": 3}, "controls": NO_CONTROLS}
    found = run_here(wanted, tmp_path / "run")
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert {target.strip() for target in units.target} == {"anger", "joy", "sadness", "surprise"}
    assert "4 of 4 prompts: the thought before the answer is passed over." in found.notes
    omitted = json.loads((tmp_path / "run" / "measured.json").read_text())["omitted"]
    assert any("its answer is a thought and nothing else" in o["reason"] for o in omitted)
