"""Without a hub: a copy in its cache is taken, else one line within seconds."""

import shutil
import socket
import time

import pytest
from huggingface_hub import constants

from interplay.errors import InterplayError
from interplay.models import hub
from interplay.models.loading import load_model, load_tokenizer, resolve


@pytest.fixture
def endpoint(monkeypatch, tmp_path):
    """`endpoint(URL)`: the hub is there, and nothing is in its cache."""

    def set_to(url: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        hub._problem.cache_clear()

    yield set_to
    hub._problem.cache_clear()


@pytest.fixture
def silent():
    """Address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_who_does_not_want_the_hub_is_not_kept_from_it():
    assert constants.HF_HUB_OFFLINE  # as the tests set it
    assert hub.hub_problem() is None


@pytest.mark.parametrize("answer", ["closed", "silent"])
def test_a_hub_that_does_not_answer_costs_seconds(endpoint, silent, monkeypatch, answer):
    monkeypatch.setattr(hub, "PATIENCE", 0.3)
    endpoint("http://127.0.0.1:9" if answer == "closed" else silent)
    start = time.monotonic()
    for _ in range(5):  # asked once
        with pytest.raises(InterplayError, match=r"cannot get 'owner/name' from the hub .* http://127") as error:
            load_model("owner/name")
        assert "\n" not in str(error.value)
    assert time.monotonic() - start < 5


def test_a_copy_in_the_cache_is_taken(endpoint, tmp_path, tiny_folder):
    endpoint("http://127.0.0.1:9")
    cached = tmp_path / "hub" / "models--owner--name"
    commit = "0123456789" * 4
    shutil.copytree(tiny_folder("qwen2"), cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    assert resolve("owner/name") == (str(cached / "snapshots" / commit), True)
    loaded = load_model("owner/name")
    assert loaded.name == loaded.model.name_or_path == "owner/name"
    assert loaded.sha256 == load_model(str(tiny_folder("qwen2"))).sha256
    with pytest.raises(InterplayError, match="from the hub"):
        resolve("owner/name", "another-revision")


def test_a_tokenizer_is_saved_with_the_same_bytes_with_and_without_the_hub(tiny_folder, tmp_path, monkeypatch):
    def saved(offline: bool) -> dict[str, bytes]:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        load_tokenizer(str(tiny_folder("llama"))).save_pretrained(tmp_path / str(offline))
        return {path.name: path.read_bytes() for path in (tmp_path / str(offline)).iterdir()}

    assert saved(True) == saved(False)
