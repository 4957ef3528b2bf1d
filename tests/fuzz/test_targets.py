"""Every target of the soak for a moment: only a result or one line of ours, nothing written outside, no code run."""

import os
import socket
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings

from interplay.errors import InterplayError
from soak.strategies import inputs
from soak.targets import target, targets
from soak.watch import LONGEST, Escaped, Unfit, enclosed, fate

QUICK = [t.name for t in targets() if not t.slow]
EXAMPLES = {"text": 20, "data": 25, "checkpoints": 8, "run": 4}  # by group; the soak tries thousands


@pytest.mark.parametrize("name", QUICK)
def test_only_our_own_errors_come_out(name):
    found = target(name)
    tried = []

    @settings(
        max_examples=EXAMPLES[found.group],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(found))
    def one(data):
        found(data)
        tried.append(data)

    one()
    assert len(tried) >= EXAMPLES[found.group] // 2


@pytest.mark.parametrize("name", [t.name for t in targets() if t.slow])
def test_damaged_models_are_refused_in_one_line(name):
    found = target(name)
    assert len([found(seed) for seed in found.seeds[3::7]]) == 4


def test_what_is_valid_is_read():
    """A target that refused everything would find nothing."""
    for found in targets():
        if found.group in ("run", "checkpoints", "models") and found.name != "GGUF":
            assert found(b"") is None, found.name
        elif found.group == "data":
            assert [found(seed) for seed in found.seeds].count(None) > len(found.seeds) // 2
        elif found.name != "GGUF":
            assert found(found.seeds[0]) is None, found.name


def refusal(text):
    def call():
        raise InterplayError(text)

    return call


def test_the_judge_knows_our_errors_from_others():
    assert fate(lambda: 3) is None
    assert fate(refusal("one line")) == "one line"
    for text in ("two\nlines", "", "x" * (LONGEST + 1), "a\u2028b"):
        with pytest.raises(Unfit):
            fate(refusal(text))
    with pytest.raises(KeyError):
        fate(lambda: {}["x"])


@pytest.mark.parametrize(
    "reach",
    [
        lambda outside: outside.write_text("x"),
        lambda outside: outside.mkdir(),
        lambda outside: os.symlink("x", outside),
        lambda outside: subprocess.run(["true"], check=False),
        lambda outside: os.system("true"),
        lambda outside: socket.create_connection(("localhost", 9)),
    ],
)
def test_the_watch_sees_what_reaches_out(reach, tmp_path):
    (tmp_path / "scratch").mkdir()
    with pytest.raises(Escaped), enclosed(tmp_path / "scratch"):
        reach(tmp_path / "outside")
    assert not (tmp_path / "outside").exists()
    with enclosed(tmp_path / "scratch"):
        (tmp_path / "scratch" / "x").write_text("x")
        os.symlink("/etc/hostname", tmp_path / "scratch" / "link")
        (tmp_path / "scratch" / "link").unlink()
        os.symlink(tmp_path / "outside", tmp_path / "scratch" / "way-out")
    with pytest.raises(Escaped), enclosed(tmp_path / "scratch"):
        (tmp_path / "scratch" / "way-out").write_text("x")
    assert not (tmp_path / "outside").exists()
