"""From a run folder to the payload and its page: a run without controls, and one with every table."""

import json

import numpy as np
import pandas as pd
import pytest

from interplay.analysis.payload import VIEWED, build_payload
from interplay.dynamics import trajectory
from interplay.dynamics.fidelity import Fitted, fidelity, matching
from interplay.effects.moebius import reconstruct
from interplay.report import render
from interplay.report.page import complete
from interplay.store.conditions import step_name
from interplay.store.folder import RunFolder, write_format

STEPS, IDS, N = (0, 10, 40), ("a", "b", "c", "d"), 4
TEXT = "one two three four"


@pytest.fixture(scope="module")
def effects():
    rng = np.random.default_rng(5)
    made = rng.normal(size=(len(IDS), len(STEPS), 2, 1 << N)) ** 3
    made[..., 0] = 0.0
    made[..., 1, 1 << np.arange(N)] = 0.0
    return made


@pytest.fixture(scope="module")
def plain_run(effects, tmp_path_factory):
    """What every run has."""
    folder = tmp_path_factory.mktemp("run")
    scores = reconstruct(effects[:, :, 0], effects[:, :, 1], np.full(effects.shape[:2], -2.0))
    track = trajectory(
        steps=STEPS, effects=list(effects), scores=list(scores), sample_ids=IDS, reference=0,
        rephrased=[e[:1] * 0.7 for e in effects], baseline=[e[0] * np.sign(e[1]) for e in effects], draws=5,
    )  # fmt: skip
    track.save(folder)
    rows = [
        {"condition": step_name(step), "step": step, "words": TEXT.split(), "sample_id": name, "and_effects": effects[i, t, 0], "or_effects": effects[i, t, 1], "alternatives": np.empty(0),
         "scores": scores[i, t], "score_full": scores[i, t, -1], "score_empty": scores[i, t, 0], "duality_gap": 1e-4,
         "residual": 0.01, "noise_sigma": 1e-6, "tau": 0.1, "target": " yes"}
        for i, name in enumerate(IDS)
        for t, step in enumerate(STEPS)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    for name in ("and_effects", "or_effects", "scores"):
        frame[name] = frame[name].map(list)
    frame.to_parquet(folder / "units.parquet")
    fitted = {
        step: [
            Fitted(e[t], v[t], track.membership(i, step, "paper").all)
            for i, e, v in zip(IDS, effects, scores, strict=True)
        ]
        for t, step in enumerate(STEPS)
    }
    fidelity(fitted).to_parquet(folder / "fidelity.parquet", index=False)
    pd.DataFrame({"step": STEPS, "eval_loss": [3.0, 2.0, 1.0], "rows": 20.0}).to_parquet(folder / "task.parquet")
    words = [{"text": w, "start": TEXT.index(w), "end": TEXT.index(w) + len(w)} for w in TEXT.split()]
    prompts = [{"id": name, "text": TEXT, "label": None, "words": words} for name in IDS]
    about = {
        "title": "t",
        "subtitle": "s",
        "version": "0",
        "score": "among 4 labels",
        "method": [],
        "notes": [],
        "skipped": [],
    }
    recommendation = {"step": 10, "sentence": "Keep step 10.", "rule": "r", "basis": "rule",
               "evidence": [], "rivals": {"last": 40}}  # fmt: skip
    for name, value in (("report", about), ("inputs", {"prompts": prompts}), ("recommendation", recommendation)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    write_format(folder)
    (folder / "settings.yaml").write_text("model: {name: m}\ndata: {train: t, prompts: p}\ntraining: {steps: 40}\n")
    put_controls(folder, False)
    return folder


def put_controls(folder, measured):
    """Every table of controls, by the columns of the design note; empty ones where they were not measured."""
    summary = pd.read_parquet(folder / "trajectory.parquet")
    keys = [("removed", "count"), ("emerged", "strength")]
    churn = [(0, "rephrased", definition, s, m) for definition in ("common", "paper") for s, m in keys]
    names = ["reference", "floor", "definition", "set", "measure"]
    tables = {
        "views": summary.assign(view="labels"),
        "baselines": summary[(summary["measure"] == "gamma") & (summary["definition"] == "common")].assign(
            baseline="other"
        ),
        "floors": pd.DataFrame(
            [(*k, 4.0, 3.0, 5.0, 4) for k in churn], columns=[*names, "value", "lo", "hi", "samples"]
        ),
        "multiples": pd.DataFrame(
            [(*k, step, np.inf if k[3] == "removed" else 2.123456789, 1.0, 3.0) for k in churn for step in (10, 40)],
            columns=[*names, "step", "ratio", "lo", "hi"],
        ),
        "correlations": pd.DataFrame(
            [("l1", "eval_loss", "all", -1.0, np.nan, np.nan, 3)],
            columns=["interaction", "task", "span", "spearman", "lo", "hi", "checkpoints"],
        ),
    }
    for name, frame in tables.items():
        (frame if measured else frame.head(0)).to_parquet(folder / f"{name}.parquet")
    view = {"name": "labels", "title": "among labels", "note": "n", "reference": 0, "recommended": 40, "basis": "rule"}
    controls = {"views": [view] if measured else [], "baselines": [], "floors": [], "notes": []}
    (folder / "controls.json").write_text(json.dumps(controls))


@pytest.fixture
def full_run(plain_run):
    put_controls(plain_run, True)
    yield plain_run
    put_controls(plain_run, False)


def test_a_run_without_controls_has_a_page(plain_run):
    payload = build_payload(RunFolder(plain_run))
    assert not any(payload[name] for name in ("views", "floors", "multiples", "baselines", "correlations"))
    page = render(payload)
    assert "Turnover over the churn floor" not in page
    assert 'id="fidelity"' in page


def test_fidelity_is_that_of_the_units(plain_run, effects):
    found = build_payload(RunFolder(plain_run))["fidelity"]
    rows = {(r["step"], r["measure"]): r for r in found["rows"]}
    at = effects[:, 1]
    scores = reconstruct(at[:, 0], at[:, 1], np.full(len(at), -2.0))
    salient = np.abs(at) > 0.05 * np.abs(at).max(axis=(1, 2), keepdims=True)
    expected = matching(at, scores, salient)
    assert rows[10, "rms"]["value"] == pytest.approx(expected.mean(), rel=1e-4)
    assert rows[10, "r2"]["value"] == pytest.approx((1 - expected**2).mean(), rel=1e-4)
    assert rows[10, "rms_all"]["value"] < 1e-6
    assert rows[10, "rms"]["value"] < rows[10, "rms"]["null"]
    assert [c["step"] for c in found["curves"]] == [0, 10, 40]
    assert all(c["value"][0] == 1.0 for c in found["curves"])
    assert found["ranks"][-1] == 2 << N
    assert [m["step"] for m in found["matching"]] == [0, 10], "the first step and the one to keep"
    one = found["matching"][1]
    errors = dict(zip(expected.tolist(), IDS, strict=True))
    assert one["prompt"] == errors[sorted(errors)[len(IDS) // 2]], "the prompt of median error"
    assert one["score"] == sorted(one["score"])
    np.testing.assert_allclose(one["all"], one["score"], rtol=1e-4)


def test_only_what_is_drawn_is_handed_on_and_rounded(full_run):
    payload = complete(build_payload(RunFolder(full_run)))
    assert {(r["set"], r["measure"]) for r in payload["views"]} <= set(VIEWED)
    assert {r["definition"] for r in [*payload["views"], *payload["floors"], *payload["multiples"]]} == {"common"}
    assert {r["ratio"] for r in payload["multiples"]} == {None, 2.1235}  # an infinite multiple is none
    assert payload["correlations"] == [
        {
            "interaction": "l1",
            "task": "eval_loss",
            "spearman": -1.0,
            "lo": None,
            "hi": None,
            "checkpoints": 3,
            "span": "all",
        }
    ]
    assert payload["task"][0]["rows"] == 20.0
    page = render(payload)
    assert "among labels" in page
    assert "Since step 0" in page
    assert "removed, number" not in page  # its floor is zero
