"""What the fault tests share: the compiled shim, a fork server under it, an undisturbed run with its events, one just trained.

Not how a fault is made (`shim`), nor what must hold after one (`after`).
"""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the soak, which is no part of the package
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from shim import Fault, Server, build, missing, private_mounts, read_log
from tiny_job import BARE, contents, settings, write_settings


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    said = tmp_path_factory.mktemp("said")
    # Another hash seed than that of the undisturbed run would be of no use here: all are forks of one process.
    made = Server(build(tmp_path_factory.mktemp("shim")), said, private=private_mounts())
    yield made
    made.close()


@pytest.fixture(scope="session")
def undisturbed(server, tmp_path_factory, tiny_folder):
    """A run without controls, which write no other kind of file: `folder`, its `files` as bytes, the `events` that made it, the `config`."""
    root = tmp_path_factory.mktemp("undisturbed").resolve()
    wanted = settings(root, tiny_folder("llama"), prompt=BARE["prompt"], controls=BARE["controls"])
    config = write_settings(root / "config.yaml", wanted)
    folder = root / "run"
    ended = server.command(
        "run", config, "--out", folder, "--quiet", fault=Fault(folder, at=0, log=root / "events.log")
    )
    assert ended.code == 0, ended.err
    events = read_log(root / "events.log")
    return SimpleNamespace(folder=folder, config=config, files=contents(folder), events=events)


@pytest.fixture(scope="session")
def trained(server, undisturbed, tmp_path_factory):
    """A run that died when its training was done and nothing was measured yet."""
    folder = tmp_path_factory.mktemp("trained").resolve() / "run"
    fault = Fault(folder, at=1, call="open", path="units/*")
    assert server.command("run", undisturbed.config, "--out", folder, "--quiet", fault=fault).killed
    assert (folder / "checkpoints" / "training_log.json").exists()
    return folder


@pytest.fixture
def run(server, undisturbed, tmp_path):
    """`run(fault)` is the same command on one folder, `run.folder`, each time under another fault."""
    folder = tmp_path.resolve() / "run"

    class Command:
        def __init__(self) -> None:
            self.folder = folder

        def start_from(self, other: Path) -> None:
            shutil.copytree(other, folder)

        def __call__(self, **fault):
            return server.command(
                "run", undisturbed.config, "--out", folder, "--quiet", fault=Fault(folder, **fault) if fault else None
            )

    return Command()
