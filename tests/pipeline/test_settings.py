"""Settings: what is read, what is refused and in which words, and that every field is used."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import interplay
from interplay.config.loading import default_folder, difference, dump_settings, load_settings, parse_yaml, read_yaml
from interplay.config.settings import Settings, WordingSettings, parse_steps
from interplay.errors import InterplayError
from interplay.presets import preset_names, preset_path

SMALL = {"model": {"name": "m"}, "data": {"train": "t", "prompts": "p"}, "training": {"steps": 100}}
SOURCE = Path(interplay.__file__).parent


def test_dump_and_load_round_trip(tmp_path):
    odd = SMALL | {
        "name": "quotes \" ' colon: # hash \n newline ünïcode 🙂 \u2028",
        "scoring": {"mask": "12", "noise_coalitions": 1},
        "effects": {"tolerance": 1e-05},
        "checkpoints": {"steps": [1, 5]},
    }
    for raw in (SMALL, odd):
        first = load_settings(raw)
        (tmp_path / "s.yaml").write_text(dump_settings(first), encoding="utf-8")
        again = load_settings(tmp_path / "s.yaml")
        assert again == first
        assert dump_settings(again) == dump_settings(first)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_parses_and_says_what_it_changes(name):
    path = preset_path(name)
    loaded = load_settings(path)
    assert loaded.training is not None
    assert loaded.schedule() is not None
    assert loaded.prompt.rephrased, "a preset claims changes, so it measures the churn floor"
    assert load_settings(parse_yaml(dump_settings(loaded))) == loaded


def test_presets_are_there():
    assert {"demo", "goemotions"} <= set(preset_names())
    with pytest.raises(InterplayError, match="no preset 'nope': choose one of demo, goemotions"):
        preset_path("nope")


@pytest.mark.parametrize(
    ("assignment", "where", "value"),
    [
        ("prompts.n=4", ("prompts", "n"), 4),
        ("training.learning_rate=1e-5", ("training", "learning_rate"), 1e-5),
        ("training.bf16=false", ("training", "bf16"), False),
        ("training.bf16=auto", ("training", "bf16"), "auto"),
        ("checkpoints.steps=[0, 50]", ("checkpoints", "steps"), (0, 50)),
        ("checkpoints.steps=0,50", ("checkpoints", "steps"), "0,50"),
        ("checkpoints.steps=50", ("checkpoints", "steps"), (50,)),
        ("checkpoints.steps=null", ("checkpoints", "steps"), None),
        ("scoring.mask=5", ("scoring", "mask"), 5),
        ("scoring.mask=<unk>", ("scoring", "mask"), "<unk>"),
        ("prompt.rephrased=null", ("prompt", "rephrased"), ()),
        ("prompt.system=", ("prompt", "system"), ""),
        ('prompt.template="Q: {text}\\nA:"', ("prompt", "template"), "Q: {text}\nA:"),
        ("prompt.template=Say it: {text}", ("prompt", "template"), "Say it: {text}"),
        ("prompt.template={text}", ("prompt", "template"), "{text}"),
        ("prompt.rephrased={template: 'Q: {text}'}", ("prompt", "rephrased"), (WordingSettings(template="Q: {text}"),)),
        (
            "prompt.rephrased=[{}, {system: Hm}]",
            ("prompt", "rephrased"),
            (WordingSettings(), WordingSettings(system="Hm")),
        ),
        ("data.columns.text=comment", ("data", "columns"), {"text": "comment"}),
        ("effects.tolerance=0.5", ("effects", "tolerance"), 0.5),
    ],
)
def test_set_reads_yaml(assignment, where, value):
    found = load_settings(SMALL, [assignment])
    for name in where:
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_later_overrides_win_and_the_source_is_not_changed():
    source = {**SMALL, "prompts": {"n": 4}}
    assert load_settings(source, ["prompts.n=5", "prompts.n=6"]).prompts.n == 6
    assert source["prompts"] == {"n": 4}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["training.learning_rat=1"],
            r"unknown settings key 'training\.learning_rat': did you mean 'training\.learning_rate'",
        ),
        (["training.lr=1"], r"did you mean 'training\.learning_rate'"),
        (["learning_rate=1"], r"did you mean 'training\.learning_rate'"),
        (["probs.n=3"], r"unknown settings key 'probs': did you mean 'prompts'"),
        (["baseline.nam=x"], r"did you mean 'baseline\.name'"),
        (["prompt.rephrased.tempate=x"], r"did you mean 'prompt\.rephrased\.template'"),
        (["qqqq=1"], r"unknown settings key 'qqqq': the nearest known is '\w+'; known here: name, seed"),
        (["prompts.n=17"], r"'prompts\.n': 17 is more than 16 words.*interplay explain samples"),
        (["prompts.n=0"], r"'prompts\.n': expected a number greater than or equal to 2; given '0'"),
        (["training.learning_rate=.inf"], r"expected a finite number"),
        (["training.learning_rate=-1"], r"greater than 0; given '-1'"),
        (["training.bf16=maybe"], r"'training\.bf16': expected a valid boolean or 'auto'; given 'maybe'"),
        (["training.scheduler=triangle"], r"expected 'cosine', 'linear'.* given 'triangle'"),
        (["model=5"], r"'model': expected a section of keys; given '5'"),
        (["model.name=null"], r"'model\.name': expected a valid string"),
        (["data.form=xml"], r"'data\.form': expected 'auto'.* given 'xml'"),
        (["prompt.template=no place"], r"'prompt\.template'.*\{text\} exactly once"),
        (["prompt.rephrased.template=none"], r"'prompt\.rephrased\.template'"),
        (["checkpoints.steps=[0, 500]"], r"step 500 lies beyond the last training step 100"),
        (["checkpoints.steps=0, 500"], r"step 500 lies beyond"),
        (["checkpoints.steps=often"], r"checkpoints\.steps 'often': give whole numbers with commas"),
        (["checkpoints.steps=[x]"], r"'checkpoints\.steps': expected a valid integer or a valid string"),
        (["checkpoints.steps=[]"], r"checkpoints\.steps is empty"),
        (["dynamics.reference=3"], r"reference is 3, no measured step: choose one of \[0, 10, 20, 40, 80, 100\]"),
        (["training=null"], r"nothing to do: set training"),
        (["checkpoints.folder=x"], r"exclude each other"),
        (["data.train=null"], r"training needs data\.train"),
        (["seed=-1"], r"'seed'"),
        (["effects.duality_gap=2"], r"'effects\.duality_gap': expected a number less than 1; given '2'"),
        (["effects.duality_gap=0"], r"greater than 0; given '0'"),
        (
            ["effects.tolerance=-1"],
            r"'effects\.tolerance': expected a number greater than or equal to 0 or 'auto' or 'paper'; given '-1'",
        ),
        (
            ["effects.tolerance=.nan"],
            r"'effects\.tolerance': expected a finite number or 'auto' or 'paper'; given 'nan'",
        ),
        (["dynamics.resamples=1000000000"], r"'dynamics\.resamples': .* less than or equal to 100000"),
        (["dynamics.draws=1000000"], r"'dynamics\.draws': .* less than or equal to 10000"),
        (["controls.draws=17"], r"'controls\.draws': .* less than or equal to 16"),
        (["a"], r"--set 'a': write it as section\.key=value"),
        (["=3"], r"write it as section\.key=value"),
        (["name.x=3"], r"expected a valid string"),
    ],
)
def test_refusals_name_key_given_and_expected_in_one_line(overrides, says):
    with pytest.raises(InterplayError, match=says) as caught:
        load_settings(SMALL, overrides)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert "tuple[" not in str(caught.value)


def test_gpus_are_named_by_numbers():
    spread = {**SMALL, "model": {"name": "m", "device_map": "auto"}, "training": None, "checkpoints": {"folder": "c"}}
    made = load_settings(spread, ["model.max_memory={0: 20GiB, cpu: 8}"])
    assert made.model.max_memory == {"0": "20GiB", "cpu": 8}


def test_missing_section():
    with pytest.raises(InterplayError, match=r"settings key 'data' is missing"):
        load_settings({"model": {"name": "m"}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: !!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        ("name: !!python/name:os.system", "could not determine a constructor"),
        ("seed: 1\nseed: 2", "line 2: key 'seed' stands twice"),
        ("prompts:\n  n: 3\n  n: 4", "line 3: key 'n' stands twice"),
        ("{a: 1", "cannot read settings"),
        ("? [a, b]\n: 1", "cannot read settings|expected|unknown"),
        ("- 1\n- 2", "hold list, expected a mapping"),
        ("", "hold NoneType, expected a mapping"),
        ("x: 1\n---\ny: 2", "cannot read settings"),
        ("when: 2020-01-01", "unknown settings key 'when'"),
    ],
)
def test_bad_yaml_is_refused_in_one_line(text, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InterplayError, match=says) as caught:
        load_settings(tmp_path / "s.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "pwned").exists()


def test_unreadable_settings(tmp_path):
    with pytest.raises(InterplayError, match="no settings file at"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InterplayError, match="cannot read settings"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(InterplayError, match="cannot read settings"):
        read_yaml(tmp_path / "latin.yaml")


def test_modest_aliases_are_fine(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "model: {name: m}\ndata: {train: t, prompts: &p prompts.jsonl, eval: *p}\ntraining: {steps: 3}\n"
    )
    assert load_settings(tmp_path / "s.yaml").data.eval == "prompts.jsonl"


@pytest.mark.parametrize(
    ("steps", "last", "expected"),
    [
        ("0, 10, 20, 40, ...", 200, [0, 10, 20, 40, 80, 160, 200]),
        ("0, 10, 20, 40, …", 80, [0, 10, 20, 40, 80]),
        ("0, 10, 20, 40, ...", 5, [0, 5]),
        ("3,...", 20, [0, 3, 6, 12, 20]),
        ("1, 2, 3", 3, [0, 1, 2, 3]),
        (" 7 ", 9, [0, 7, 9]),
        ([5, 80], 80, [0, 5, 80]),
        ((20, 10, 10), 30, [0, 10, 20, 30]),
        ([0], 1, [0, 1]),
    ],
)
def test_parse_steps(steps, last, expected):
    assert parse_steps(steps, last) == expected


@pytest.mark.parametrize(
    "steps", ["", ",", "...", "0, ...", "a", "1.5", "-1", "1, ..., 2", "5, 99", "²", [-1], [99], []]
)
def test_parse_steps_refuses(steps):
    with pytest.raises(ValueError, match="step"):
        parse_steps(steps, 50)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6), st.integers(1, 5000))
def test_a_schedule_that_goes_on_doubles_to_the_end(start, last):
    steps = parse_steps(", ".join(map(str, start)) + ", ...", last)
    assert steps[0] == 0
    assert steps[-1] == last
    assert steps == sorted(set(steps))
    grown = [s for s in steps if s > max(start[-1], *start)]
    assert all(b <= 2 * a for a, b in itertools.pairwise(grown))


def test_track_schedule():
    track = {"model": {"name": "m"}, "data": {"prompts": "p"}}
    for steps, expected in [(None, None), ("0, 10, 20, 40, ...", None), ("10,30", [0, 10, 30]), ([7], [0, 7])]:
        loaded = load_settings(track | {"checkpoints": {"folder": "f", "steps": steps}})
        assert loaded.schedule() == expected


def test_difference_names_what_was_added_and_removed():
    old, new = {"a": {"x": 1, "y": 2}, "b": None}, {"a": {"x": 1}, "b": {"z": 1}, "c": [1]}
    assert difference(old, new) == ["a.y: 2 -> None", "b: None -> {'z': 1}", "c: None -> [1]"]
    assert difference(new, new) == []


def test_default_folder_is_found_again_and_never_leaves_runs():
    settings = load_settings(SMALL | {"name": "../../Etc: é"})
    assert default_folder(settings) == default_folder(load_settings(SMALL | {"name": "../../Etc: é"}))
    assert re.fullmatch(r"runs/etc-[0-9a-f]{8}", default_folder(settings).as_posix())
    assert default_folder(load_settings(SMALL)) != default_folder(load_settings(SMALL, ["seed=1"]))


def sections(model: type[BaseModel]):
    """A model of settings and all below it."""
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind)


def test_every_section_says_what_it_is_and_every_field_is_read_somewhere():
    """A setting that is declared and never read is a promise broken."""
    code = "\n".join(p.read_text() for p in SOURCE.rglob("*.py") if p.name != "settings.py")
    code += (SOURCE / "config" / "settings.py").read_text().partition("class Settings")[2]
    read = set(re.findall(r"\.(\w+)", code))
    found = list(sections(Settings))
    assert [model for model in found if not model.__doc__] == []
    assert {name for model in found for name in model.model_fields} - read == set()


def test_yaml_written_is_plain():
    text = dump_settings(load_settings(SMALL))
    assert "!!" not in text
    assert yaml.safe_load(text)["training"]["steps"] == 100
