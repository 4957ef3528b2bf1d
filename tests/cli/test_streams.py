"""Streams that are closed or lead nowhere, and a tokenizer that panics: the right exit code, and no traceback."""

import copy
import os
import shutil
import subprocess
import sys

import pytest
from tiny_job import environment
from tokenizers import pre_tokenizers

from interplay.cli import main
from interplay.data.rows import Message, Row
from interplay.data.samples import choose_samples
from interplay.errors import InterplayError
from interplay.process import tell
from interplay.scoring.scores import prepare


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("presets >&-", 0, "", ""),
        ("recommend nowhere 2>&-", 2, "", ""),
        ("recommend nowhere >&- 2> >(cat >&2)", 2, "", "interplay: 'nowhere' is neither a run folder"),
        ("recommend nowhere 2>/dev/full", 2, "", ""),
    ],
)
def test_closed_streams_cost_neither_the_work_nor_the_exit_code(command, code, out, err, tmp_path):
    line = f"{sys.executable} -m interplay {command}; code=$?; wait; exit $code"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    assert done.stderr.startswith(err)
    assert done.stderr.count("\n") == bool(err)


def test_a_progress_that_nobody_reads_ends_no_run(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        tell("a line into a closed pipe")
        tell("and one more")
        assert os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))


@pytest.fixture
def panicking(tiny_tokenizer):
    """A tokenizer whose library panics on every text: no piece may be of length 0."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(length=0)
    return tokenizer


def test_a_panic_of_the_tokenizer_skips_its_rows_and_says_why(panicking):
    text = "The terrible service ruined our dinner"
    row = Row("a", (Message("user", text),), "anger", text, 0)
    with pytest.raises(InterplayError, match="the tokenizer fails: chunk size must be non-zero"):
        choose_samples([row], 1, 2, 0, check=lambda sample: prepare(sample, panicking))


def test_a_panic_on_the_command_line_is_one_line(panicking, call, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    panicking.save_pretrained(folder)
    done = call("explain", folder, "--prompt", "I was not happy with it", "--target", "joy")
    assert (done.code, done.err) == (2, "interplay: the tokenizer fails: chunk size must be non-zero\n")


@pytest.mark.parametrize("said", [None, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_threads_hardly_spin_where_the_user_says_nothing(monkeypatch, said):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "0")  # so that it comes back as it was
        monkeypatch.delenv(name)
    if said:
        monkeypatch.setenv(said, "0")
    monkeypatch.setattr("sys.argv", ["interplay", "--version"])
    with pytest.raises(SystemExit):
        main()
    defaults = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
    expected = defaults if said is None else {name: "0" if name == said else None for name in defaults}
    assert {name: os.environ.get(name) for name in defaults} == expected
