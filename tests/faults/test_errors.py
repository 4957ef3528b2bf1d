"""A full disk, a read-only folder, a lost network folder: one clear line, whole units stay, and the same command goes on."""

import shutil

import pytest
from after import complaint, lost_units, whole_units
from tiny_job import contents

TRAINING = [
    ("mkdir", ".work*", "EROFS+"),
    ("open", ".work/*", "EACCES"),
    ("rename", ".work/lock/*", "ESTALE+"),
    ("open", "*settings.yaml*", "ESTALE+"),
    ("write", "*settings.yaml*", "ENOSPC+"),
    ("fsync", "*inputs.json*", "EIO"),
    ("mkdir", "checkpoints*", "EROFS+"),
    ("write", "checkpoints/checkpoint-1/.tmp*", "ENOSPC+"),
    ("write", "checkpoints/checkpoint-1/optimizer.pt", "ENOSPC+"),
    ("write", "checkpoints/checkpoint-1/tokenizer.json", "EIO"),
    ("write", "checkpoints/checkpoint-2/rng_state.pth", "EDQUOT+"),
    ("open", "checkpoints/checkpoint-2/trainer_state.json", "ESTALE+"),
    ("write", "checkpoints/*training_log*", "ENOSPC+"),
    ("unlink", "checkpoints/checkpoint-4/*", "EIO"),
]
EXTRACTION = [
    ("rename", ".work/lock/*", "EROFS+"),
    ("mkdir", "units/*", "EDQUOT+"),
    ("write", "units/*", "ENOSPC+"),
    ("fsync", "units/*", "EIO"),
    ("rename", "units/*", "ESTALE+"),
    ("open", "units/*", "EROFS+"),
    ("write", "task/*", "ENOSPC+"),
    ("write", "*.parquet*", "EIO"),
    ("write", "*trajectory*", "ENOSPC+"),
    ("write", "*report.html*", "ENOSPC+"),
    ("rename", "*manifest.json*", "EIO+"),
]


FEW = [*TRAINING[1:13:4], *EXTRACTION[0:11:4]]


@pytest.mark.matrix("few")
@pytest.mark.parametrize("part", ["few", "training", "extraction"])
def test_disk_errors_are_one_line_and_cost_nothing_that_was_whole(run, undisturbed, trained, part):
    faults = {"few": FEW, "training": TRAINING, "extraction": EXTRACTION}[part]
    if part == "extraction":
        run.start_from(trained)
    wrong, units = [], {}
    for call, path, how in faults:
        ended = run(call=call, path=path, how=how, at=1)
        if problem := complaint(ended):
            wrong.append(f"{how} at {call} of {path}: {problem}")
        if again := lost_units(units, run.folder):
            wrong.append(f"{how} at {call} of {path}: lost {again}")
        units = whole_units(run.folder)
    ended = run()
    assert ended.code == 0, ended.err
    assert not wrong, "\n".join(wrong)
    assert lost_units(units, run.folder) == []
    assert contents(run.folder) == undisturbed.files


@pytest.fixture
def disk(server, tmp_path):
    """A small disk of its own that only the commands see; `inside` is its path for them, `outside` for us."""
    if not server.private:
        pytest.skip("no mounts of one's own here (unshare --map-root-user --mount)")
    inside = tmp_path.resolve() / "disk"
    inside.mkdir()

    class Disk:
        def __init__(self) -> None:
            self.inside = inside
            self.outside = server.mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", inside)

        def change(self, options: str) -> None:
            server.mount("-o", f"remount,{options}", inside)

    return Disk()


@pytest.mark.soak
def test_a_disk_that_is_really_full_and_one_that_is_really_read_only(server, undisturbed, trained, disk):
    """The disk grows by little steps; every time it is full the run stops with one line; in between it is read-only once."""
    folder = disk.inside / "run"
    command = ("run", undisturbed.config, "--out", folder, "--quiet")
    size = sum(path.stat().st_size for path in trained.rglob("*"))
    disk.change(f"size={size + 400_000}")
    shutil.copytree(trained, disk.outside / "run")
    units, wrong = {}, []
    taken = shutil.disk_usage(disk.outside).used
    for room in (0, 8_000, 60_000, 100_000):
        disk.change(f"size={taken + room}")
        ended = server.command(*command)
        if problem := complaint(ended):
            wrong.append(f"full at {room} bytes: {problem}")
        assert lost_units(units, disk.outside / "run") == []
        units = whole_units(disk.outside / "run")
    assert units
    disk.change("size=16m,ro")
    if problem := complaint(server.command(*command)):
        wrong.append(f"read-only: {problem}")
    disk.change("size=16m,rw")
    ended = server.command(*command)
    assert ended.code == 0, ended.err
    assert not wrong, "\n".join(wrong)
    assert lost_units(units, disk.outside / "run") == []
    assert contents(disk.outside / "run") == undisturbed.files
