"""Payloads for the report's tests; the generator itself is `fixture_payload`, loaded by path (importlib import mode)."""

import importlib.util
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest


class Tags(HTMLParser):
    """Start tags with their attributes, ids, texts and scripts of a page whose tags are all closed and carry no handlers."""

    VOID = ("meta", "br", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.seen, self.attributes, self.ids, self.text, self.scripts = [], [], [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "srcset")]
        assert all((value or "").startswith("#") for name, value in attrs if name == "href")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)


@pytest.fixture(scope="session")
def parse() -> type[Tags]:
    """Parses a page and holds it to what every page of ours keeps."""
    return Tags


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The generator module: make_payload, make_undecided, make_hostile, NASTY."""
    spec = importlib.util.spec_from_file_location("fixture_payload", Path(__file__).with_name("fixture_payload.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def demo_page(made: ModuleType) -> str:
    """The rendered demo; made once, since it is only read."""
    from interplay.report import render

    return render(made.make_payload())


@pytest.fixture(scope="session")
def hostile_page(made: ModuleType) -> str:
    """The rendered run with every string hostile."""
    from interplay.report import render

    return render(made.make_hostile())
