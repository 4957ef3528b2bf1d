"""What goes in (refusals, kinds of arrays) and what comes out (salience, table, file)."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from effect_games import network, planted

import interplay.effects
from interplay.effects import Interactions, extract
from interplay.effects.moebius import orders
from interplay.errors import InterplayError


@pytest.fixture(scope="module")
def many():
    return extract(np.stack([network(4, seed) for seed in range(6)]).reshape(2, 3, 16), [[0.0], [0.05]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0, 3.0],), r"scores have 3 entries on the last axis; expected 2\*\*n for n = 1\.\.16 words"),
        (([1.0],), "scores have 1 entries"),
        (([],), "scores have 0 entries"),
        ((np.zeros(2**17),), "scores have 131072 entries"),
        ((3.0,), "scores are a single number"),
        ((None,), "scores are a NoneType; expected an array"),
        (("0123",), "scores are a str; expected an array"),
        (({"v": [0, 1]},), "scores are a dict; expected an array"),
        ((object(),), "scores are a object; expected an array"),
        ((["a", "b"],), "scores are a list; expected an array"),
        (([1j, 2.0],), "scores are a list; expected an array"),
        (([[0, 1], [0, 1, 2, 3]],), "scores are a list; expected an array"),
        (([0.0, np.nan, np.inf, 1.0],), "scores hold 2 NaN or infinite of 4; expected finite log-odds"),
        (([0, 1], -0.1), "tolerance is -0.1; expected a finite number, 0 or more"),
        (([0, 1], np.nan), "tolerance is nan; expected a finite number"),
        (([0, 1], [0.1, 0.2]), r"tolerance is \[0.1, 0.2\]; expected one number"),
        (([0, 1], "little"), "tolerance is 'little'; expected one number"),
        (([0, 1], "paper", 0.0), "gap is 0.0; expected a relative duality gap such as 1e-3, over 0 and under 1"),
        (([0, 1], 0.0, "1e-3"), "gap is '1e-3'"),
    ],
)
def test_refusals_of_extract(arguments, message):
    with pytest.raises(InterplayError, match=message) as error:
        extract(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "many"])
def test_max_iterations_is_a_count(count):
    with pytest.raises(InterplayError, match=r"max_iterations is .*; expected a whole number, 1 or more"):
        extract([0, 1], max_iterations=count)


def test_kinds_of_arrays_give_the_same_answer():
    torch = pytest.importorskip("torch")
    v = np.round(network(4, 0) * 8) / 8  # exact in bfloat16
    expected = extract(v, 0.0).effects
    for given in (
        v.tolist(),
        v.astype(np.float32),
        torch.tensor(v, dtype=torch.bfloat16, requires_grad=True),
        np.asfortranarray(np.stack([v, v]))[0],
    ):
        assert np.array_equal(extract(given, 0.0).effects, expected)
    assert np.array_equal(extract([0, 1, 1, 3]).effects, extract([0.0, 1.0, 1.0, 3.0]).effects)
    assert np.array_equal(extract(v, torch.tensor(0.25)).effects, extract(v, 0.25).effects)
    before = v.copy()
    extract(v)
    assert np.array_equal(v, before)


def test_shapes_and_fields(many):
    assert many.n == 4
    assert many.shape == (2, 3)
    for f in fields(many):
        value = getattr(many, f.name)
        if f.name == "n":
            continue
        shape = {"and_effects": (16,), "or_effects": (16,), "alternatives": (0, 2, 16)}.get(f.name, ())
        assert value.shape == (2, 3, *shape), f.name
    assert many.tolerance.tolist() == [[0.0] * 3, [0.05] * 3]
    np.testing.assert_allclose(many.objective, np.abs(many.effects).sum((-1, -2)))
    assert np.array_equal(many.effects[..., 0, :], many.and_effects)
    with pytest.raises(FrozenInstanceError):
        many.n = 3


def test_scores_come_back(many):
    v = np.stack([network(4, seed) for seed in range(6)]).reshape(2, 3, 16)
    np.testing.assert_allclose(many.scores()[0], v[0], atol=1e-12)
    assert np.abs(many.scores() - v)[1].max() <= 0.05 + 1e-12


def test_indexing_and_iteration(many):
    assert len(many) == 2
    assert [len(part) for part in many] == [3, 3]
    assert many[1, 2].shape == ()
    assert np.array_equal(many[1][2].and_effects, many.and_effects[1, 2])
    assert many[:, [0, 2]].or_effects.shape == (2, 2, 16)
    assert np.array_equal(many[many.tolerance > 0].duality_gap, many.duality_gap[1])
    with pytest.raises(IndexError):
        many[2]
    with pytest.raises(TypeError, match="no leading axis"):
        len(many[0, 0])
    with pytest.raises(IndexError, match="no leading axis"):
        many[0, 0][0]


def test_salience(many):
    kept = many.salient()
    largest = np.abs(many.effects).max((-1, -2))
    np.testing.assert_allclose(kept.threshold, 0.05 * largest)
    assert np.array_equal(kept.and_, np.abs(many.and_effects) > 0.05 * largest[..., None])
    assert np.array_equal(kept.or_, np.abs(many.or_effects) > 0.05 * largest[..., None])
    fixed = many.salient(threshold=0.1)
    assert (fixed.threshold == 0.1).all()
    assert np.array_equal(fixed.and_, np.abs(many.and_effects) > 0.1)
    everything = many.salient(threshold=0.0)
    assert not everything.and_[..., 0].any()
    assert not everything.or_[..., orders(4) < 2].any()
    one = many[0, 0]
    top = np.abs(one.effects).max()
    assert not np.stack(one.salient(threshold=top)[:2]).any()  # strictly greater
    assert not np.stack(extract(np.zeros(8)).salient()[:2]).any()
    for ratio in (1.0, -0.1, "5%", np.nan):
        with pytest.raises(InterplayError, match=r"ratio is .*; expected a fraction"):
            one.salient(ratio)
    with pytest.raises(InterplayError, match="threshold is -1; expected a finite number"):
        one.salient(threshold=-1)
    with pytest.raises(InterplayError, match="threshold is an array of shape"):
        one.salient(threshold=np.ones(3))


def test_table(many):
    table = many.to_pandas()
    assert list(table.columns) == ["sample", "type", "mask", "order", "words", "effect"]
    kept = many.salient()
    assert len(table) == kept.and_.sum() + kept.or_.sum()
    assert table["effect"].abs().is_monotonic_decreasing
    flat = many.effects.reshape(6, 2, 16)
    for row in table.itertuples():
        assert flat[row.sample, ["and", "or"].index(row.type), row.mask] == row.effect
        assert row.order == row.mask.bit_count() == len(row.words)
    full = many.to_pandas(salient_only=False)
    assert len(full) == (many.effects != 0).sum()
    assert set(full["sample"]) == set(range(6))


def test_table_names_the_words():
    v, _, _ = planted(3, 1, 0, seed=0)
    one = extract(v, 0.0)
    assert one.to_pandas(["this", "is", "bad"])["words"].tolist() == [("this", "is", "bad")]
    assert one.to_pandas()["words"].tolist() == [(0, 1, 2)]
    two = extract([v, v], 0.0)
    assert two.to_pandas([["a", "b", "c"], ["x", "y", "z"]])["words"].tolist() == [("a", "b", "c"), ("x", "y", "z")]
    assert len(extract(np.zeros((0, 8))).to_pandas()) == 0
    with pytest.raises(InterplayError, match="2 words were given for scores of n = 3 words; expected 3"):
        one.to_pandas(["a", "b"])
    with pytest.raises(InterplayError, match="one list of 3 strings for each of the 2 samples"):
        two.to_pandas([["a", "b", "c"]])


def test_save_and_load_keep_every_byte(many, tmp_path):
    for i, result in enumerate((many, many[0, 0], many[:0], many[..., ::2])):
        path = tmp_path / f"{i}.safetensors"
        result.save(path)
        back = Interactions.load(path)
        for f in fields(Interactions):
            ours, theirs = np.asarray(getattr(result, f.name)), np.asarray(getattr(back, f.name))
            assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()), f.name
    path = tmp_path / "0.safetensors"
    first = path.read_bytes()
    many.save(str(path))
    assert path.read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{i}.safetensors" for i in range(4)]  # nothing left over


def test_a_failed_save_leaves_the_old_file(many, tmp_path, monkeypatch):
    path = tmp_path / "unit.safetensors"
    many.save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InterplayError, match="disk full"):
        many[0].save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["unit.safetensors"]


def test_load_refuses_other_files(many, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "f.safetensors"

    def refused(message):
        with pytest.raises(InterplayError, match=message) as error:
            Interactions.load(path)
        assert "\n" not in str(error.value)

    refused("does not exist")
    path.write_bytes(b"not a tensor in sight")
    refused("cannot be read as safetensors")
    many.save(path)
    path.write_bytes(path.read_bytes()[:-8])
    refused("cannot be read as safetensors")
    tensors = {f.name: np.array(getattr(many, f.name)) for f in fields(many) if f.name != "n"}
    for header in (None, "{}", '{"version": 99, "n": 4}'):
        save_file(tensors, path, metadata={} if header is None else {"interplay.interactions": header})
        refused("has no Interactions of version 1")
    del tensors["duality_gap"]
    save_file(tensors, path, metadata={"interplay.interactions": '{"version": 1, "n": 4}'})
    refused("is not a complete file")
    path.unlink()
    path.mkdir()
    refused("cannot be read as safetensors")


def test_repr_is_one_useful_line(many):
    assert repr(many).startswith("Interactions(2x3 samples, n=4, salient ")
    assert "converged" in repr(many)
    assert repr(extract([0, 0, 0, 2.0], 0.0)).startswith("Interactions(n=2, salient 1 AND + 0 OR, objective 2, gap <= ")
    assert repr(many[:0]) == "Interactions(0x3 samples, n=4)"
    with pytest.warns(RuntimeWarning):
        assert "1 not converged" in repr(extract(network(7, 0), 0.0, max_iterations=1))


def test_public_names():
    assert interplay.effects.__all__ == sorted(interplay.effects.__all__)
    for name in interplay.effects.__all__:
        assert getattr(interplay.effects, name).__doc__


def test_import_loads_no_torch_and_no_pandas():
    code = "import interplay.effects, sys, json; print(json.dumps([m in sys.modules for m in ('torch', 'pandas', 'scipy')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, False, False]
