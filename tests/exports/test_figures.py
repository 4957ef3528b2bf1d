"""Paper figures: every one that the tables allow, vector text, the same bytes twice, and no setting of matplotlib changed."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")
sys.path.insert(0, str(Path(__file__).parents[1]))

import matplotlib
from synthetic_runs import STEPS, synthetic_run

from interplay.exports import export
from interplay.exports.export import draw_figures, figures_of
from interplay.exports.figures import curves, shapes, style
from interplay.exports.figures.style import panels, save, steps_axis, styled
from interplay.exports.tables import FIGURES
from interplay.store.reader import RunReader

PLAIN = {
    "evolution-orders", "evolution-count", "evolution-strength", "rho", "gamma", "sufficiency", "contribution", "mean-order",
    "scale", "task", "matching", "sparsity",
}  # fmt: skip
WITH_CONTROLS = PLAIN | {"churn-multiples", "churn-floors", "views", "gamma-baselines", "correlations"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return RunReader(synthetic_run(tmp_path_factory.mktemp("run") / "run", controls=True))


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    before = dict(matplotlib.rcParams)
    names, absent = draw_figures(run, folder, ("svg",))
    assert dict(matplotlib.rcParams) == before
    return folder, names, absent


def test_every_figure_is_there(written, tmp_path):
    folder, names, absent = written
    assert set(names) == WITH_CONTROLS == set(FIGURES)  # the README of an export says what each is
    assert absent == []
    assert {path.name for path in folder.iterdir()} == {f"{name}.svg" for name in WITH_CONTROLS}
    bare = RunReader(synthetic_run(tmp_path / "bare"))
    with styled():
        assert {name for name, make in figures_of(bare) if make() is not None} == PLAIN


def test_text_is_text_and_nothing_is_dated(written):
    folder, _, _ = written
    orders = (folder / "evolution-orders.svg").read_text()
    assert re.search(r"<text[^>]*>step 4</text>", orders)
    for path in folder.iterdir():
        said = path.read_text(encoding="utf-8")
        assert "<dc:date>" not in said
        assert "<image" not in said  # vectors only
        for element in ElementTree.fromstring(said).iter():
            assert not element.tag.endswith(("script", "img"))
            assert not [name for name in element.attrib if name.startswith("on")]


def test_names_from_data_are_shown_as_they_are(written):
    folder, _, _ = written
    said = (folder / "gamma-baselines.svg").read_text(encoding="utf-8")
    assert "_hidden $x" in said  # neither hidden by its underscore nor read as mathematics
    assert "&lt;img src=x onerror" in (folder / "views.svg").read_text(encoding="utf-8")


@pytest.mark.matrix("svg")
@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_the_same_figure_is_the_same_bytes(run, tmp_path, kind):
    for name in ("a", "b"):
        with styled():
            figure = curves.by_set(run.trajectory.summary, "strength")
            assert figure is not None
            save(figure, tmp_path / f"{name}.{kind}")
    data = (tmp_path / f"a.{kind}").read_bytes()
    assert data == (tmp_path / f"b.{kind}").read_bytes()
    if kind == "pdf":
        assert b"/FontType 42" in data or b"/Subtype /CIDFontType2" in data or b"/TrueType" in data
        assert b"CreationDate" not in data


@pytest.mark.soak
def test_a_callers_settings_do_not_reach_our_figures(run, tmp_path):
    with matplotlib.rc_context({"svg.fonttype": "path", "lines.linewidth": 9.0}):
        with styled():
            save(curves.scale(run.trajectory.summary), tmp_path / "a.svg")
        assert matplotlib.rcParams["lines.linewidth"] == 9.0
    with styled():
        save(curves.scale(run.trajectory.summary), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_is_drawn_is_what_the_table_holds(run):
    with styled():
        figure = curves.by_set(run.trajectory.summary, "strength")
    for axis, name in zip(figure.axes, ("preserved", "emerged", "removed"), strict=True):
        drawn = axis.lines[-1]
        curve = run.trajectory.get("strength", name)
        assert list(drawn.get_xdata()) == list(STEPS)
        assert list(drawn.get_ydata()) == list(curve["value"])
        lo, hi = axis.get_ylim()
        assert lo == 0
        assert hi >= curve["hi"].max()


def test_matching_quotes_the_largest_difference(run):
    found = dict(figures_of(run))
    with styled():
        figure = found["matching"]()
    said = figure.axes[0].texts[0].get_text()
    coalitions, worst = re.fullmatch(r"([0-9,]+) coalitions\nlargest difference (\S+)", said).groups()
    assert coalitions == "64"  # eight prompts of three words
    assert float(worst) < 1e-9  # the made-up scores are the logical model's


def test_absent_measures_make_no_figure(run):
    with styled():
        empty = run.trajectory.summary.iloc[:0]
        assert curves.by_set(empty, "gamma") is None
        assert curves.scale(empty) is None
        assert curves.task(run.task[["step", "rows"]]) is None


@pytest.mark.parametrize("steps", [[0], [5, 9], [0, 10, 20, 40, 80, 160, 5000], list(range(0, 1000, 10)), [3, 4000]])
def test_axis_of_steps(steps):
    with styled():
        _, (axis,) = panels(1)
        steps_axis(axis, steps)
        lo, hi = axis.get_xlim()
        ticks = list(axis.get_xticks())
    assert lo < steps[0] <= steps[-1] < hi
    assert ticks[0] == steps[0]
    assert ticks[-1] == steps[-1]
    assert len(ticks) <= 14


def test_no_window():
    modules = [Path(module.__file__) for module in (curves, shapes, style, export)]  # effects.py is for notebooks
    assert not [path for path in modules if re.search(r"import.*pyplot", path.read_text(encoding="utf-8"))]
