"""The stopping study's own code, on cells made by hand: what each rule keeps, and that the tables say so."""

import json

import numpy as np
import pytest

from studies.stopping import report, rules, table
from studies.stopping.grid import Cell, cells
from studies.stopping.records import Record, effects_of, finished, load

STEPS = np.array([0, 10, 20, 30, 40, 50])
LOSS = np.array([9.0, 3.0, 2.0, 1.0, 1.5, 2.5])  # the best checkpoint is step 30


def cell_arrays(seed=0, loss=LOSS, rows=40, labels=3, prompts=4, n=3):
    """A training whose eval, test and prompt loss follow `loss`; the label is right more often the lower it is."""
    rng = np.random.default_rng(seed)
    arrays = {"steps": STEPS, "noise": np.full(len(STEPS), 1e-6), "kl": np.arange(6.0) * 3}
    for name in ("eval", "test", "ood"):
        gold = rng.integers(0, labels, rows)
        firsts = rng.normal(-2, 0.1, (len(STEPS), rows, labels))
        for t, level in enumerate(loss):
            right = np.arange(rows) < rows * (1 - level / 10)
            firsts[t, np.flatnonzero(right), gold[right]] = -0.1
        arrays |= {f"{name}_gold": gold, f"{name}_firsts": firsts, f"{name}_tokens": np.full((1, rows), 2)}
        arrays[f"{name}_nll"] = loss[:, None] * rng.uniform(1.6, 2.4, (1, rows))
    scores = rng.normal(0, 0.3, (len(STEPS), prompts, labels, 2**n))
    scores[..., -1] = -np.log(np.expm1(loss))[:, None, None]  # so that -log sigmoid(v) is the loss
    arrays |= {"scores_held": scores, "held_gold": rng.integers(0, labels, prompts)}
    arrays |= {"retention": 2 + 0.01 * STEPS, "train_loss": np.linspace(3, 0.1, 50)}
    arrays["grad_change"] = np.r_[np.nan, np.linspace(1.0, 0.2, 49)]
    return arrays


def about(cell):
    return {"name": cell.name, "part": cell.part, "data": cell.data, "method": cell.method, "rate": cell.rate,
            "noise": cell.noise, "seed": cell.seed, "rows": 160,
            "seconds": {"training": 100.0, "prompts": 30.0, "rest": 5.0}}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    chosen = [c for c in cells() if c.part == "tuning"][:2] + [c for c in cells() if c.part == "hold-out"][:3]
    for i, cell in enumerate(chosen):
        np.savez(tmp_path / f"{cell.name}.npz", **cell_arrays(i))
        (tmp_path / f"{cell.name}.json").write_text(json.dumps(about(cell)))
    (tmp_path / "half.partial.npz").write_bytes(b"torn")
    return tmp_path


@pytest.mark.soak
def test_every_rule_keeps_a_trained_checkpoint(folder, monkeypatch):
    monkeypatch.setattr(rules, "fewer_words", lambda record, n: rules.weighted(record, 1.0))  # these have three words
    records = report.read(folder)
    assert len(records) == 5
    tuned = rules.tune([r for r in records if r.about["part"] == "tuning"])
    for rule in (*rules.rivals(tuned), *rules.ours(), *rules.ingredients()):
        for record in records:
            kept, stopped = rule.choose(record)
            assert 1 <= kept < len(STEPS), rule.name
            assert 1 <= stopped < len(STEPS), rule.name


def test_rules_that_see_the_loss_find_its_minimum(folder):
    record = report.read(folder)[0]
    by_name = {r.name: r.choose(record) for r in (*rules.rivals(rules.Tuned(12, 0.5)), *rules.ours())}
    assert by_name["eval loss, in hindsight"] == (3, 5)
    assert by_name["loss on the prompt rows, in hindsight"] == (3, 5)
    assert by_name["interaction loss, in hindsight"].kept == 3
    assert by_name["last checkpoint"] == (5, 5)
    assert by_name["one epoch"].kept == 2  # 160 rows at batch 8: step 20
    assert by_name["train loss, patience"].kept == 5
    assert by_name["oracle (best on test)"].kept == 3
    assert by_name["KL to the base"] == (4, 5)  # 12 nats at step 40, 15 at step 50


@pytest.mark.soak
def test_regret_is_zero_for_the_oracle_and_paired_tables_agree(folder):
    records = report.read(folder)
    found = table.rows(records, [*rules.rivals(rules.Tuned(12, 0.5)), *rules.ours()])
    oracle = found[found["rule"] == "oracle (best on test)"]
    assert (oracle["regret_accuracy"] == 0).all()
    assert (found.filter(like="regret_").to_numpy() >= 0).all()
    summed = table.summary(found, "hold-out").set_index("rule")
    paired = table.against(found, "last checkpoint", "hold-out").set_index("against")
    for name in paired.index:
        difference = summed["accuracy"][name] - summed["accuracy"]["last checkpoint"]
        assert paired["mean"][name] == pytest.approx(difference)
    assert summed["cells"].eq(3).all()


def test_effects_rebuild_the_scores_and_are_kept(folder):
    name = finished(folder)[0]
    record = load(folder, name)
    total = record.effects.sum((-1, -2))
    gap = record.scores[..., -1] - record.scores[..., 0]
    assert np.abs(total - gap).max() < 0.5  # within the tolerance delta
    assert (folder / f"{name}.effects.npy").exists()
    assert np.array_equal(load(folder, name).effects, record.effects)
    assert np.array_equal(effects_of(record.scores, record.arrays["noise"]), record.effects)


@pytest.mark.soak
def test_the_page_is_written_between_its_markers(folder, tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    docs.mkdir()
    names = ("regret", "tuning", "paired", "ingredients", "few", "cells", "cost")
    (docs / "stopping.md").write_text("\n".join(f"by hand {n}\n<!-- table {n} -->\n<!-- end -->" for n in names))
    pytest.importorskip("matplotlib", reason="figures need the extra `figures`")
    monkeypatch.setattr("sys.argv", ["report", str(folder), "--write", str(docs)])
    report.main()
    page = (docs / "stopping.md").read_text()
    assert page.count("by hand") == 7
    assert "| interaction loss, in hindsight | 12 |" in page
    assert (docs / "images" / "stopping-curves.svg").stat().st_size > 5000
    report.main()
    assert (docs / "stopping.md").read_text() == page  # again: the same


def test_a_missing_marker_is_named():
    with pytest.raises(ValueError, match="no place for table 'x'"):
        report.put("text", "x", "table")


def test_the_grid_is_what_the_docs_say():
    small, full = cells("small"), cells("full")
    assert len({c.name for c in small}) == len(small)
    assert {c.name for c in small} <= {c.name for c in full}
    assert {c.noise for c in small} == {0.0, 0.2, 0.4}
    assert {c.seed for c in full} == {0, 1, 2}
    assert all(c.steps[0] == 0 and len(c.steps) == 9 for c in full)
    assert Cell("emotions", "lora", "usual", 0.4, 1, "hold-out").name == "emotions-lora-usual-noise40-s1"
    with pytest.raises(ValueError, match="small or full"):
        cells("huge")


def test_record_curves(folder):
    record = load(folder, finished(folder)[0])
    assert isinstance(record, Record)
    assert record.train_loss[0] == pytest.approx(3.0)
    assert record.train_loss[1] == pytest.approx(np.linspace(3, 0.1, 50)[:10].mean())
    assert len(record.grad_change) == len(STEPS)
    assert record.eval_loss_of(np.arange(40)) == pytest.approx(record.eval_loss)
    few = rules.few_rows(record, 40, draws=3)
    assert few["test_loss"] == 0.0  # all rows: the minimum itself
    assert rules.few_prompts(record, 4, draws=3)["test_loss"] == 0.0


@pytest.mark.soak
def test_fewer_words_leave_the_others_in_place(folder):
    record = load(folder, finished(folder)[0])
    assert rules.fewer_words(record, 3) == pytest.approx(rules.weighted(record, 1.0))  # all three words
    assert np.isfinite(rules.fewer_words(record, 2)).all()
