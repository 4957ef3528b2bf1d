"""Killed at any write, fsync, rename or removal, the same command ends in the same bytes, and no whole unit is made twice.

A few faults of each part in `make test`, a seeded handful in `make soak`; all events, and kills by the clock, are in `python -m soak`.
"""

import random

import pytest
from after import State, lost_units, whole_units
from tiny_job import contents

# (call, path, how, among): it strikes at one of the first so many events that fit. In the order in which a run comes to them.
TRAINING = [
    ("rename", ".work/lock/*", "after", 2),
    ("mkdir", "checkpoints/checkpoint-1", "after", 3),
    ("write", "checkpoints/checkpoint-1/.tmp*", "torn", 1),
    ("write", "checkpoints/checkpoint-1/optimizer.pt", "torn", 5),
    ("write", "checkpoints/checkpoint-1/trainer_state.json", "torn", 1),
    ("write", "checkpoints/checkpoint-2/*", "after", 12),
    ("unlink", "checkpoints/checkpoint-1/*", "before", 4),
    ("write", "checkpoints/checkpoint-4/*", "torn", 12),
    ("rename", "checkpoints/*training_log*", "before", 1),
    ("unlink", "checkpoints/checkpoint-4/*", "after", 4),
    ("rename", "checkpoints/*adapter_config.json*", "before", 2),
]
EXTRACTION = [
    ("write", ".work/*", "torn", 1),
    ("write", "units/*", "torn", 5),
    ("fsync", "units/*", "before", 5),
    ("rename", "units/*", "before", 5),
    ("rename", "units/*", "after", 5),
    ("fsync", "task/*", "after", 3),
]
TABLES = [
    ("write", "*.parquet*", "torn", 40),
    ("rename", "*recommendation.json*", "before", 1),
    ("fsync", "*report.html*", "before", 1),
    ("rename", "*manifest.json*", "before", 1),
]


FEW = [*TRAINING[1:8:3], *EXTRACTION[1:4:2], *TABLES[0:4:3]]


@pytest.mark.matrix("few")
@pytest.mark.parametrize("part", ["few", "training", "extraction"])
def test_killed_again_and_again_it_ends_in_the_same_bytes(run, undisturbed, trained, part):
    rng = random.Random(part)
    faults = {"few": FEW, "training": TRAINING, "extraction": EXTRACTION + TABLES}[part]
    if part == "extraction":
        run.start_from(trained)
    units: dict[str, State] = {}
    for call, path, how, among in faults:
        at = rng.randint(1, among)
        ended = run(call=call, path=path, how=how, at=at)
        assert ended.killed, f"{how} the {at}. {call} of {path}: {ended}"
        assert not (run.folder / "manifest.json").exists()
        assert lost_units(units, run.folder) == []
        units = whole_units(run.folder)
    ended = run()
    assert ended.code == 0, ended.err
    assert lost_units(units, run.folder) == []
    assert contents(run.folder) == undisturbed.files


@pytest.mark.soak
def test_killed_behind_the_manifest_it_is_whole(run, undisturbed, trained):
    run.start_from(trained)
    assert run(call="rename", path="*manifest.json*", how="after", at=1).killed
    assert (run.folder / "manifest.json").exists()
    left = contents(run.folder)
    assert {name: data for name, data in left.items() if not name.startswith(".work/")} == undisturbed.files
    assert run().code == 0
    assert contents(run.folder) == undisturbed.files
