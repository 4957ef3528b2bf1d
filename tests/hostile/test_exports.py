"""Every payload through what a run is exported as: CSV, parquet, JSON, figures, file names, the README, the model card."""

import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hostile import FILE_NAMES, PAYLOADS, SETTABLE, SHORT, controls, ids
from hypothesis import given
from hypothesis import strategies as st
from poison import TEXTS, hostile_run
from synthetic_runs import synthetic_run

from interplay.exports.export import export_run
from interplay.exports.tables import Exported, csv_bytes, harmless, readme
from interplay.store.reader import RunReader

FORMULA = re.compile("[\\s\u200b-\u200d\u2060\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


@pytest.fixture(scope="module")
def exported(hostile, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    export_run(RunReader(hostile), out, (), ("csv", "parquet"))
    return out


def cells(data: bytes) -> list[list[str]]:
    """The cells of a CSV as Python reads them; every row has to be as long as the first."""
    csv.field_size_limit(1 << 22)
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows


# ---- CSV and parquet -------------------------------------------------------------------------------------------------


@pytest.mark.matrix(12)
@pytest.mark.parametrize("payload", PAYLOADS, ids=ids)
def test_a_cell_is_no_formula_and_gives_its_text_back(payload):
    text = payload.text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no UTF-8
    frame = pd.DataFrame(
        {"before": [-0.5, 1.0], "text": pd.Series([payload.text, None], dtype=object), "after": [-7, 8]}
    )
    written = cells(csv_bytes(frame))
    assert written[0] == ["before", "text", "after"]
    assert [written[1][0], written[1][2], written[2]] == ["-0.5", "-7", ["1.0", "", "8"]]  # numbers stay numbers
    cell = written[1][1]
    assert not FORMULA.match(cell)
    assert cell.removeprefix("'") == text


@given(st.lists(st.text("=+-@\t\r\n '\",;ax\uff1d\u200b", max_size=6), min_size=1, max_size=5))
def test_any_text_stays_in_its_cell(texts):
    written = cells(csv_bytes(pd.DataFrame({"a": texts, "b": texts})))
    assert [row[0].removeprefix("'") for row in written[1:]] == texts
    assert not [row for row in written for cell in row if FORMULA.match(cell)]


@pytest.mark.matrix(6)
@pytest.mark.parametrize("payload", SHORT, ids=ids)
def test_a_column_may_have_any_name(payload):
    written = cells(csv_bytes(pd.DataFrame([[1.0, 2.0]], columns=[payload.text, "x"])))
    assert written[0][0].removeprefix("'") == payload.text
    assert not FORMULA.match(written[0][0])


def test_every_table_of_a_hostile_run(exported):
    found = set()
    for path in sorted((exported / "tables").glob("*.csv")):
        head, *rows = cells(path.read_bytes())
        for column, values in zip(head, map(set, zip(*rows, strict=True)), strict=True):
            assert [v for v in values if FORMULA.match(v) and not is_number(v)] == [], (path.name, column)
            found |= {value.removeprefix("'") for value in values}
    assert set(TEXTS) - found == set()  # each stands in some cell of its own, as it was


def is_number(cell: str) -> bool:
    """A spreadsheet takes -0.5 for the number it is."""
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", cell) is not None


def test_parquet_holds_text_as_it_is(exported):
    prompts = pd.read_parquet(exported / "tables" / "prompts.parquet")
    words = [word for said in prompts["words"] for word in json.loads(said)]
    assert words[: len(TEXTS)] == list(TEXTS)
    assert list(prompts["sample"]) == words[::3]
    assert list(prompts["label"]) == words[1::3]


def test_an_export_has_no_file_named_by_data(exported, hostile, tmp_path):
    plain = synthetic_run(tmp_path / "plain", prompts=3, controls=True)
    export_run(RunReader(plain), tmp_path / "out", (), ("csv", "parquet"))
    names = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*"))
    assert sorted(path.relative_to(exported) for path in exported.rglob("*")) == names


@pytest.mark.matrix("some")
@pytest.mark.parametrize("texts", [TEXTS[::6], TEXTS], ids=["some", "all"])
def test_figures_of_a_hostile_run(texts, hostile, tmp_path):
    """Names of baseline LLMs and views stand in legends: text in the file, and the files are named by us."""
    pytest.importorskip("matplotlib")
    from xml.etree import ElementTree

    from interplay.exports.export import figures_of
    from interplay.exports.figures import curves
    from interplay.exports.figures.style import save, styled
    from interplay.exports.tables import FIGURES

    run = RunReader(hostile)
    run.units = run.units.iloc[:0]
    every = pd.read_parquet(hostile / "baselines.parquet")
    for i in range(0, len(texts), 21):
        some = every[every["baseline"].isin(texts[i : i + 21])]
        with styled():
            made = {"gamma-baselines": curves.baselines(some)}
            if i == 0:
                made["views"] = dict(figures_of(run))["views"]()
            for name, figure in made.items():
                assert name in FIGURES
                save(figure, tmp_path / f"{name}.svg")
                said = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
                for element in ElementTree.fromstring(said).iter():
                    assert not element.tag.endswith(("script", "image", "foreignObject", "}a"))
                    assert not [a for a in element.attrib if a.startswith("on")]
                    assert all(v.startswith("#") for a, v in element.attrib.items() if a.endswith("href"))
                assert not controls(said, allowed="\n")
    assert {path.name for path in tmp_path.iterdir()} == {"gamma-baselines.svg", "views.svg"}


# ---- the README of an export and the model card ----------------------------------------------------------------------


class Page(HTMLParser):
    """The elements an HTML reader finds."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def rendered(markdown: str) -> Page:
    from markdown_it import MarkdownIt

    return Page(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return hostile_run(tmp_path_factory.mktemp("few") / "run", tuple("abcdefghi"))


def card_of(folder: Path, text: str) -> str:
    """The card of a run with `text` for its model, and for the words and the basis of its verdict."""
    from interplay.config.loading import dump_settings, load_settings
    from interplay.exports.card import section

    old = load_settings(folder / "settings.yaml")
    new = old.model_copy(update={"name": text, "model": old.model.model_copy(update={"name": text})})
    (folder / "settings.yaml").write_text(dump_settings(new), encoding="utf-8")
    verdict = json.loads((folder / "recommendation.json").read_text(encoding="utf-8"))
    verdict |= {"sentence": text, "rule": text, "basis": text}
    (folder / "recommendation.json").write_text(json.dumps(verdict), encoding="utf-8")
    return section(RunReader(folder))


@pytest.mark.matrix("some")
@pytest.mark.parametrize("payloads", [SHORT[::12], SHORT[::2]], ids=["some", "many"])
def test_the_card_keeps_its_shape(payloads, few, tmp_path):
    shutil.copytree(few, tmp_path / "run")
    plain = rendered(card_of(tmp_path / "run", "plain"))
    for payload in payloads:  # `inert` has had every text there is in tests/cli/test_card.py; here are its places
        card = card_of(tmp_path / "run", payload.text)
        assert not controls(card.replace("\u2060", "")), payload.name
        assert card.count("<!--") == 2, payload.name
        page = rendered(card)
        assert (page.tags, page.links) == (plain.tags, []), payload.name


def test_the_card_of_a_hostile_run(hostile):
    from interplay.exports.card import LABELS, section

    card = section(RunReader(hostile))
    assert not controls(card.replace("\u2060", ""))
    assert f"and {len(TEXTS) - LABELS} more" in card
    assert rendered(card).links == []
    assert not set(rendered(card).tags) & {"script", "img", "a", "svg", "iframe", "form", "base", "meta", "style", "h1"}


@pytest.mark.matrix(12)
@pytest.mark.parametrize("payload", SETTABLE, ids=ids)
def test_the_readme_of_an_export_keeps_its_shape(payload):
    def page(text: str) -> Page:
        table = Exported("task", pd.DataFrame([[1.0, 2.0]], columns=["step", text]))
        run = SimpleNamespace(settings=SimpleNamespace(name=text), score=text)
        said = readme(run, [table], ["rho"], ("svg",), ("csv",))
        assert not controls(said.replace("\u2060", ""))
        return rendered(said)

    assert page(payload.text).tags == page("plain").tags
    assert page(payload.text).links == []


# ---- JSON ------------------------------------------------------------------------------------------------------------


def strict(text: str):
    """JSON without NaN and infinities, in ASCII, so that it cannot command a terminal either."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert text.isascii()
    assert not controls(text)
    return json.loads(text, parse_constant=refuse)


def test_recommend_as_json_is_lossless(few, call, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(few, folder)
    verdict = json.loads((folder / "recommendation.json").read_text(encoding="utf-8"))
    verdict |= {"sentence": "".join(TEXTS), "rivals": dict.fromkeys(TEXTS, 4)}
    (folder / "recommendation.json").write_text(json.dumps(verdict), encoding="utf-8")
    for step in (1, 2, 4):
        adapter = folder / "checkpoints" / f"checkpoint-{step}"
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
        _empty_safetensors(adapter / "adapter_model.safetensors")
    done = call("recommend", folder, "--json")
    assert done.code == 0, done.err
    assert strict(done.out) == verdict


def _empty_safetensors(path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(1, np.float32)}, path)


@pytest.mark.soak
@pytest.mark.parametrize("every", [13, 3], ids=["some", "more"])
def test_compare_as_json_and_its_names(every, few, call, tmp_path, monkeypatch):
    """Runs go by the names of their folders, groups by what the user wrote."""
    names = [payload.text for payload in FILE_NAMES if "=" not in payload.text and "," not in payload.text]
    names = [name for name in names if name == name.strip()][:40:every]
    for name in names:
        shutil.copytree(few, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path / "runs")
    groups = [
        part for i, name in enumerate(names) for part in ("--group", f"{SHORT[i].text.replace('=', '')}{i}=./{name}")
    ]
    done = call("compare", *groups, "--json")
    assert done.code == 0, done.err
    payload = strict(done.out)
    assert [run["name"] for run in payload["runs"]] == names
    assert {path.name for path in (tmp_path / "runs").iterdir()} == set(names)
    shown = call("compare", *groups, "--out", tmp_path / "page.html")
    assert shown.code == 0, shown.err
    assert not controls(shown.out + shown.err)


# ---- names on disk ---------------------------------------------------------------------------------------------------


@pytest.mark.matrix(6)
@pytest.mark.parametrize("payload", SETTABLE, ids=ids)
def test_the_default_folder_of_a_run_is_one_plain_name(payload):
    from interplay.config.loading import default_folder, load_settings

    raw = {"model": {"name": "m"}, "data": {"train": "t", "prompts": "p"}, "training": {"steps": 1}}
    folder = default_folder(load_settings(raw | {"name": payload.text}))
    assert folder.parent == Path("runs")
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}-[0-9a-f]{8}", folder.name)


def test_harmless_is_undone_by_taking_one_apostrophe():
    assert [harmless(p.text).removeprefix("'") for p in PAYLOADS] == [p.text for p in PAYLOADS]
