"""One cell of the stopping study, for real but tiny: what it measures is what its file says."""

import numpy as np
import pytest

from studies.stopping import cell as cells
from studies.stopping import grid
from studies.stopping.records import load


@pytest.fixture(scope="module")
def measured(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    (folder / "wikitext2").mkdir()
    (folder / "wikitext2" / "valid.txt").write_text("The river was quiet and the bread was warm . " * 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(grid.MEASURED, "emotions", (0, 1, 2, 3))
        patch.setitem(grid.ROWS, "emotions", 16)
        for name, value in (("PROMPTS", 3), ("TRAIN_PROMPTS", 2), ("N", 3), ("EVAL_ROWS", 6), ("TEST_ROWS", 5),
                            ("OOD_ROWS", 4), ("RETENTION_TOKENS", 40)):  # fmt: skip
            patch.setattr(cells, name, value)
        one = grid.Cell("emotions", "lora", "usual", 0.4, 1, "hold-out")
        cells.run_cell(one, folder, folder / "out", model=str(tiny_folder("llama")))
        return load(folder / "out", one.name)


@pytest.mark.soak
def test_everything_is_measured_at_every_step(measured):
    arrays = measured.arrays
    assert arrays["steps"].tolist() == [0, 1, 2, 3]
    assert arrays["scores_held"].shape == (4, 3, 8, 8)
    assert arrays["scores_train"].shape == (4, 2, 8, 8)
    assert arrays["reworded"].shape[1:] == (3, 8, 8)
    assert arrays["eval_firsts"].shape == (4, 6, 8)
    assert arrays["test_nll"].shape == (4, 5)
    assert arrays["ood_nll"].shape == (4, 4)
    assert len(arrays["train_loss"]) == len(arrays["grad_norm"]) == len(arrays["grad_change"]) == 3
    assert arrays["kl"][0] == 0
    assert (arrays["kl"][1:] > 0).all()


@pytest.mark.soak
def test_scores_are_log_odds_of_the_same_model_as_the_rows(measured):
    """Behind the whole prompt, the odds of all labels and of everything else together come to one."""
    chances = 1 / (1 + np.exp(-measured.arrays["scores_held"][..., -1].astype(float)))
    assert (chances.sum(axis=-1) < 1).all()
    assert set(measured.outcomes) == {"accuracy", "macro_f1", "test_loss", "ood_accuracy", "retention"}
    assert all(np.isfinite(curve).all() for curve in measured.outcomes.values())


@pytest.mark.soak
def test_wrong_labels_go_to_what_a_user_has_and_not_to_the_test(measured):
    about = measured.about
    assert about["noise"] == 0.4
    assert about["rows"] == 16
    assert 0 < about["seconds"]["prompts"] < about["seconds"]["wall"] * 4
