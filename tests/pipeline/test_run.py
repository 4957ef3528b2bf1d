"""A whole tiny run made by the command: every file of its folder, its figures, and what the terminal shows."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from interplay.analysis.payload import build_payload
from interplay.config.loading import load_settings
from interplay.config.settings import Settings
from interplay.dynamics import Trajectory
from interplay.effects.moebius import reconstruct
from interplay.store.folder import RunFolder
from interplay.store.units import load_unit

CONDITIONS = [
    "baseline",
    "baseline-vocabulary",
    *(f"step-{step:06d}{question}" for step in (0, 1, 2, 4) for question in ("", "-vocabulary")),
    "step-000000-rephrased",
    "step-000000-mask",
    "step-000000-bfloat16",
]
# The second reference is where v(N) rose, and not every text has other words to draw.
SOMETIMES = ("step-000000-words-2", *(f"step-{step:06d}-{name}" for step in (1, 2) for name in ("rephrased", "mask")))


def test_folder_holds_what_a_run_leaves(finished):
    names = set(finished.files)
    units = {name for name in names if name.startswith("units/")}
    assert units >= (always := {f"units/{c}/prompt-{i:04d}.safetensors" for c in CONDITIONS for i in range(3)})
    assert {name.split("/")[1] for name in units - always} <= set(SOMETIMES)
    assert {f"task/step-{s:06d}.json" for s in (0, 1, 2, 4)} == {name for name in names if name.startswith("task/")}
    for step in (1, 2, 4):
        assert f"checkpoints/checkpoint-{step}/adapter_model.safetensors" in names
    assert {name for name in names if "/" not in name} == {
        "format.json",
        "baselines.parquet",
        "controls.json",
        "correlations.parquet",
        "fidelity.parquet",
        "floors.parquet",
        "multiples.parquet",
        "views.parquet",
        "views_samples.parquet",
        "inputs.json",
        "manifest.json",
        "measured.json",
        "recommendation.json",
        "report.html",
        "report.json",
        "settings.yaml",
        "task.parquet",
        "trajectory.parquet",
        "trajectory_samples.parquet",
        "trajectory_sets.parquet",
        "units.parquet",
        "weights.json",
    }
    assert (finished.folder / "times.json").exists()
    assert (finished.folder / "environment.json").exists()
    assert not [name for name in names if name.endswith((".tmp", ".bin", ".pt", ".pth", ".pkl"))]


def test_manifest_hashes_every_result(finished):
    listed = json.loads(finished.files["manifest.json"])["files"]
    files = {k: v for k, v in finished.files.items() if k not in ("manifest.json",)}
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_environment_names_versions_and_no_place(finished):
    text = (finished.folder / "environment.json").read_text()
    about = json.loads(text)
    assert {"interplay", "torch", "transformers", "trl", "peft"} <= about["packages"].keys()
    assert str(finished.root) not in text


def test_settings_are_kept_with_every_default(finished):
    kept = yaml.safe_load(finished.files["settings.yaml"])
    assert kept.keys() == set(Settings.model_fields)
    assert kept["dynamics"]["ratio"] == 0.05
    assert kept["prompts"] == {"count": 3, "n": 3, "words": "content", "language": "auto", "stop_words": None}
    assert RunFolder(finished.folder).settings() == load_settings(finished.wanted)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_universal_matching_holds_for_every_unit(finished, condition):
    for index in range(3):
        unit = load_unit(finished.folder / "units" / condition / f"prompt-{index:04d}.safetensors")
        assert unit is not None
        assert unit.scores.shape == (8,)
        assert unit.effects.shape == (2, 8)
        assert not unit.effects[:, 0].any(), "order 0 is no interaction"
        assert not unit.effects[1, [1, 2, 4]].any(), "order 1 lives in AND"
        # v(T) = v(empty) + sum over S in T of I_and(S) + sum over S meeting T of I_or(S)  [paper eq 2-3]
        rebuilt = np.array(
            [
                unit.scores[0]
                + sum(unit.effects[0, s] for s in range(1, 8) if s & t == s)
                + sum(unit.effects[1, s] for s in range(1, 8) if s & t)
                for t in range(8)
            ]
        )
        worst = np.abs(unit.scores - rebuilt).max()
        assert worst <= unit.header.tolerance + 1e-9
        assert worst == pytest.approx(unit.header.residual, abs=1e-9)
        np.testing.assert_allclose(rebuilt, unit.scores[0] + reconstruct(unit.effects[0], unit.effects[1]), atol=1e-9)
        assert unit.header.converged
        assert unit.header.duality_gap <= 2e-3
        assert unit.header.dtype == ("bfloat16" if condition.endswith("bfloat16") else "float32")
        assert unit.header.noise_sigma is not None


def test_tolerance_is_from_step_zero_and_held(finished):
    """delta = 3 sigma of the noise of v at t = 0."""
    units = pd.read_parquet(finished.folder / "units.parquet")
    own = ~units["condition"].str.contains("baseline|vocabulary")  # another model, and another question, have their own
    of_steps = units[own]
    assert of_steps["tolerance"].nunique() == 1
    first = units[units["condition"] == "step-000000"]
    noise = np.sqrt((first["noise_sigma"] ** 2).mean())
    assert first["tolerance"].iloc[0] == pytest.approx(3 * noise)
    other = units[units["condition"] == "baseline"]
    assert other["tolerance"].iloc[0] != first["tolerance"].iloc[0]


def test_weights_are_hashed_and_differ_by_step(finished):
    weights = json.loads(finished.files["weights.json"])
    assert set(weights["checkpoints"]) == {"0", "1", "2", "4"}
    assert len(set(weights["checkpoints"].values())) == 4
    assert weights["checkpoints"]["0"] == weights["base"]
    units = pd.read_parquet(finished.folder / "units.parquet").set_index("condition")
    assert set(units.loc["step-000002", "weights_sha256"]) == {weights["checkpoints"]["2"]}


def test_task_metrics_stand_beside_the_trajectory(finished):
    task = pd.read_parquet(finished.folder / "task.parquet")
    assert list(task["step"]) == [0, 1, 2, 4]
    assert np.isfinite(task["eval_loss"]).all()
    assert task["accuracy"].between(0, 1).all()
    assert (task["accuracy_lo"] <= task["accuracy"]).all()
    assert np.isfinite(task["train_loss"][1:]).all()
    track = Trajectory.load(finished.folder)
    assert track.steps == (0, 1, 2, 4)
    assert len(track.get("gamma", "all")) == 4, "the baseline LLM gives a gamma"
    assert track.get("count", "removed")["null"].notna().all(), "the churn floor stands beside every count"


def test_trajectory_is_that_of_the_units(finished):
    units = pd.read_parquet(finished.folder / "units.parquet")
    track = Trajectory.load(finished.folder)
    by_hand = units[units["condition"] == "step-000002"].set_index("sample_id")["salient"].mean()
    assert track.get("count", "all", "paper")["value"][2] == pytest.approx(by_hand)
    removed = []
    for sample, of_sample in units.groupby("sample_id"):
        at = of_sample.set_index("condition")

        def salient(condition, at=at):
            effects = np.stack([at.loc[condition, "and_effects"], at.loc[condition, "or_effects"]])
            return np.abs(effects) > 0.05 * np.abs(effects).max()

        gone = salient("step-000000") & ~salient("step-000002")
        removed.append(gone.sum())
        assert (track.membership(sample, 2, "paper").removed == gone).all()
    assert track.get("count", "removed", "paper")["value"][2] == pytest.approx(np.mean(removed))


def test_terminal_table(finished):
    lines = finished.out.splitlines()
    start = next(i for i, line in enumerate(lines) if "removed" in line and "emerged" in line)
    heads, *rows = lines[start + 1 : start + 7]
    assert heads.split() == ["step", *("count", "nats", "rho") * 3, "change", "loss", "acc."]
    assert [row.split()[0] for row in rows] == ["0", "1", "2", "4", "floor"]
    assert max(map(len, lines[start : start + 7])) <= 80
    track = Trajectory.load(finished.folder)
    cells = rows[2].split()
    assert float(cells[1]) == pytest.approx(track.get("count", "removed")["value"][2], abs=0.051)
    assert float(cells[8]) == pytest.approx(track.get("strength", "emerged")["value"][2], abs=0.051)
    floor = rows[4].split()
    assert float(floor[1]) == pytest.approx(track.get("count", "removed")["null"][2], abs=0.051)
    assert float(floor[8]) == pytest.approx(track.get("strength", "emerged")["null"][2], abs=0.051)
    assert float(cells[10]) == pytest.approx(track.get("change")["value"][2], abs=0.051)
    assert float(floor[10]) == pytest.approx(track.get("change")["null"][2], abs=0.051)
    assert "The strongest change from step 0 to " in finished.out
    assert "\x1b" not in finished.out
    assert "run/report.html" in finished.out
    assert json.loads(finished.files["recommendation.json"])["sentence"] in finished.out


def test_progress_is_on_stderr_with_time_left(finished):
    said = finished.err
    assert re.search(r"fine-tuning: 1/4, \d+:\d\d spent, about \d+:\d\d left", said)
    assert re.search(r"extracting interactions: \d+/12, .* left", said)
    assert "Traceback" not in said


def test_payload_hands_on_the_recommendation_with_its_basis(finished):
    payload = build_payload(RunFolder(finished.folder))
    kept = json.loads(finished.files["recommendation.json"])
    assert payload["recommendation"] == {k: kept[k] for k in payload["recommendation"]}
    assert payload["recommendation"]["basis"] in ("accuracy", "eval-loss", "last", "only")
    assert [prompt["n"] for prompt in payload["prompts"]] == [3, 3, 3]
    assert b"<html" in finished.files["report.html"][:200]
