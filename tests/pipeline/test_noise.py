"""16-bit scores whose rounding would pass for interactions: refused before any training, or accepted and said."""

import pandas as pd
import pytest
from tiny_job import BARE, run_here, settings

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.pipeline import stages
from interplay.pipeline.measure import Calibration, refuse_noise


@pytest.fixture
def noisy(tmp_path, tiny_folder):
    """A run in bfloat16 of a model whose scores vary less than bfloat16 rounds them."""
    wanted = settings(tmp_path, tiny_folder("llama"), **BARE)
    wanted["model"]["dtype"] = "bfloat16"
    return wanted


def test_refused_before_training_and_mended_in_place(noisy, tmp_path, monkeypatch):
    trained = []
    honest = stages.finetune
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: trained.append(1) or honest(*a, **k))
    monkeypatch.setattr("interplay.pipeline.measure.noise_fraction", lambda sigma, spread: 0.5)
    monkeypatch.setattr("interplay.scoring.precision.noise_fraction", lambda sigma, spread: 0.5)
    with pytest.raises(
        InterplayError, match=r"model.dtype: bfloat16 scores .* use float32, or set scoring.accept_noise"
    ):
        run_here(noisy, tmp_path / "run")
    assert not trained
    assert not (tmp_path / "run" / "units").exists()
    noisy["model"]["dtype"] = "float32"  # in the same folder, since nothing was computed
    run_here(noisy, tmp_path / "run")
    assert trained


@pytest.mark.soak
def test_accepted_and_said(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr("interplay.scoring.precision.noise_fraction", lambda sigma, spread: 0.5)
    noisy["scoring"] = {"accept_noise": True}
    result = run_here(noisy, tmp_path / "run")
    assert sum("bfloat16 scores have a noise of" in note for note in result.notes) == 1
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    first = units[units["condition"] == "step-000000"]
    sigma = (first["noise_sigma"] ** 2).mean() ** 0.5
    assert sigma > 1e-5
    assert first["tolerance"].min() == pytest.approx(3 * sigma)
    assert "float32 residual stream" in (tmp_path / "run" / "report.json").read_text()


@pytest.mark.parametrize(
    ("dtype", "sigma", "refused", "warned"),
    [
        ("float32", 5.0, False, False),  # a model whose scores do not vary: nothing that another dtype would mend
        ("bfloat16", 0.001, False, False),
        ("bfloat16", 0.05, False, True),
        ("float16", 0.2, True, False),
        ("float16", float("inf"), True, False),
    ],
)
def test_limits(tmp_path, tiny_folder, dtype, sigma, refused, warned):
    wanted = settings(tmp_path, tiny_folder("llama"))
    wanted["model"]["dtype"] = dtype
    said = []
    found = Calibration(tolerance=0.1, mean_total_effect=1.0, noise_sigma=sigma, spread=1.0)
    if refused:
        with pytest.raises(InterplayError, match="use float32"):
            refuse_noise(found, load_settings(wanted), said.append)
    else:
        refuse_noise(found, load_settings(wanted), said.append)
    assert bool(said) == warned
