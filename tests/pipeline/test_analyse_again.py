"""Another analysis of the same measurement goes on in its folder, and ends as a run made with those settings from the start."""

import pytest
import yaml
from tiny_job import TEMPLATE, contents, run_here

import interplay
from interplay.errors import InterplayError
from interplay.pipeline import measure, stages

COMPUTED = ["name=again", "dynamics.ratio=0.2", "dynamics.draws=7", "dynamics.resamples=30"]
SOLVED = ["effects.tolerance=0.3", "effects.duality_gap=0.01"]
FEWER = [
    "prompt.rephrased=null",
    "controls.precision=null",
    "controls.mask=null",
    "controls.both_scores=false",
    "baseline=null",
]


@pytest.fixture
def no_model(no_forward, monkeypatch):
    """Opening a model fails the test, too."""

    def refuse(*_, **__):
        raise AssertionError("a model was opened to analyse what was measured")

    monkeypatch.setattr("interplay.pipeline.states.load_model", refuse)
    monkeypatch.setattr("interplay.pipeline.pipeline.load_tokenizer", refuse)


@pytest.fixture(scope="module")
def fresh(finished, tmp_path_factory):
    """`fresh(overrides)`: the files of a run that was made with these settings from the start."""

    made: dict[tuple[str, ...], dict[str, bytes]] = {}

    def files(overrides: list[str]) -> dict[str, bytes]:
        key = tuple(overrides)
        if key not in made:
            folder = tmp_path_factory.mktemp("fresh") / "run"
            run_here(finished.wanted, folder, *overrides)
            made[key] = contents(folder)
        return made[key]

    return files


@pytest.mark.soak
@pytest.mark.parametrize("overrides", [COMPUTED, SOLVED], ids=["computed", "solved"])
def test_the_command_with_another_analysis(finished, a_copy, fresh, overrides, request):
    wanted = fresh(overrides)
    request.getfixturevalue("no_forward")
    run_here(finished.wanted, a_copy, *overrides)
    assert contents(a_copy) == wanted
    assert contents(a_copy) != finished.files
    run_here(finished.wanted, a_copy)
    assert contents(a_copy) == finished.files


@pytest.mark.matrix("computed")
@pytest.mark.parametrize("overrides", [COMPUTED, SOLVED], ids=["computed", "solved"])
def test_report_with_another_analysis(finished, a_copy, fresh, overrides, request, call, monkeypatch):
    monkeypatch.setattr("interplay.cli.outputs.SOON", 1e9)  # a slow machine says that it waits
    wanted = fresh(overrides)
    request.getfixturevalue("no_model")
    given = [part for setting in overrides for part in ("--set", setting)]
    done = call("report", a_copy, *given)
    assert (done.code, done.err) == (0, "")
    assert contents(a_copy) == wanted
    back = yaml.safe_load(finished.files["settings.yaml"])
    run = interplay.Run(a_copy)
    before = run.trajectory
    run.report(settings={key: back[key.split(".")[0]] for key in ("name", "dynamics", "effects")})
    assert contents(a_copy) == finished.files
    assert run.trajectory is not before


@pytest.mark.soak
@pytest.mark.parametrize(
    "overrides",
    [
        FEWER,
        ["dynamics.reference=1", "controls.few_shot=2", "controls.draw_steps=all"],
        ["controls.reference=2", f"baseline={{name: LLAMA, chat: false, few_shot: 0, template: {TEMPLATE!r}}}"],
    ],
    ids=["fewer", "another reference", "another baseline"],
)
def test_controls_that_change_are_measured_and_nothing_else(
    finished, a_copy, fresh, overrides, monkeypatch, tiny_folder
):
    overrides = [line.replace("LLAMA", str(tiny_folder("llama"))) for line in overrides]
    wanted = fresh(overrides)
    scored, honest = [], measure.score_together
    monkeypatch.setattr(measure, "score_together", lambda *a, **k: scored.append(a) or honest(*a, **k))
    monkeypatch.setattr(stages, "finetune", None)
    run_here(finished.wanted, a_copy, *overrides)
    assert contents(a_copy) == wanted
    new = {name for name in wanted if name.startswith("units/") and finished.files.get(name) != wanted[name]}
    assert len(scored) <= len(new)
    assert (overrides == FEWER) == (not scored)


def test_report_takes_fewer_controls(a_copy, no_model):
    interplay.Run(a_copy).report(settings=FEWER)
    assert set(interplay.Run(a_copy).units["condition"]) == {f"step-{step:06d}" for step in (0, 1, 2, 4)} | (
        set(interplay.Run(a_copy).units["condition"]) & {"step-000000-words-2"}
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"dynamics.reference": 4},
            r"units that were not measured \(step-000004-bfloat16, .*run `interplay run .*--set",
        ),
        ({"controls.format": {"template": "Say joy: {text}"}}, r"not measured \(controls.format\)"),
        ({"prompt.rephrased": {"template": "Other: {text}"}}, r"not measured \(prompt.rephrased\)"),
        ({"baseline": {"name": "x"}}, r"not measured \(baseline\)"),
        ({"controls.draws": 3}, r"not measured \(step-000000-words-3\)"),
        ({"dynamics.reference": 3}, r"reference is 3, no measured step"),
        ({"seed": 3}, r"another measurement \(seed: 0 -> 3\)"),
        ({"dynamics.resamples": 10**9}, r"'dynamics.resamples': .* less than or equal to 100000"),
    ],
)
def test_what_report_refuses_leaves_the_folder(finished, a_copy, no_model, settings, says):
    with pytest.raises(InterplayError, match=says):
        interplay.Run(a_copy).report(settings=settings)
    assert contents(a_copy) == finished.files


def test_a_killed_analysis_is_finished_by_the_same_command(finished, a_copy, monkeypatch, no_forward):
    wanted = {name: data for name, data in finished.files.items() if name.startswith("units/")}
    with monkeypatch.context() as patch:
        patch.setattr("interplay.analysis.results.recommend", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            interplay.Run(a_copy).report(settings=COMPUTED)
    assert not interplay.Run(a_copy).finished
    assert {name: data for name, data in contents(a_copy).items() if name.startswith("units/")} == wanted
    monkeypatch.undo()
    run_here(finished.wanted, a_copy)
    assert contents(a_copy) == finished.files
