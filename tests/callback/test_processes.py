"""Two processes agree about the metric, the best model and the stop; an error in the one that measures hangs nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def ranks(tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(HERE / "two_processes.py"), str(tiny_folder("llama")), str(out)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_they_agree_and_stop_together(ranks):
    first, second = ({k: v for k, v in found["stop"].items() if k != "warned"} for found in ranks)
    assert first == second
    assert first["steps"] == 3  # the first process alone was told to stop
    assert first["best"] == [2, 3.0]
    assert first["losses"] == [[0, 9.0], [1, 5.0], [2, 3.0], [3, 4.0]]
    assert first["errors"] == []
    assert [step for step, rules in first["rules"] if len(rules) >= 5] == [0, 1, 2, 3], (
        "both log the rules that one followed"
    )


def test_training_is_as_without_it(ranks):
    for found in ranks:
        assert found["stop"]["train"] == found["off"]["train"][:3]
        assert found["error"]["weights"] == found["off"]["weights"]


def test_an_error_hangs_nobody(ranks):
    for found in ranks:
        assert found["error"]["steps"] == 4
        assert found["error"]["losses"] == [[0, 9.0], [1, 5.0]]
        assert found["error"]["errors"] == [[2, 1], [3, 2], [4, 3]]
        assert found["error"]["best"] == [1, 5.0]
    told = "interplay: the answers could not be read (RuntimeError: the prompt broke); training goes on, this kind is not reported again"
    assert ranks[0]["error"]["warned"].count(told) == 1
    assert ranks[1]["error"]["warned"] == []


def test_strict_raises_in_all_of_them(ranks):
    assert ranks[0]["strict"]["raised"] == "RuntimeError: the prompt broke"
    assert ranks[1]["strict"]["raised"].startswith("InterplayError: the answers could not be read")
    assert ranks[0]["strict"]["steps"] == ranks[1]["strict"]["steps"] == 2
