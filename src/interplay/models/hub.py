"""Whether the Hugging Face hub answers, asked once and briefly (transformers takes minutes), and what its cache holds."""

import threading
import time
from functools import lru_cache
from pathlib import Path

from interplay.errors import reason_of

PATIENCE = 5.0  # seconds that the hub has for an answer [ours]
_FRESH = 60  # seconds for which an answer holds [ours]


def hub_problem() -> str | None:
    """Why the hub cannot be used; None where it answers or HF_HUB_OFFLINE is set. Asked at most once a minute."""
    from huggingface_hub import constants

    return None if constants.HF_HUB_OFFLINE else _problem(constants.ENDPOINT, int(time.monotonic() / _FRESH))


@lru_cache(1)
def _problem(endpoint: str, minute: int) -> str | None:
    said = [f"no answer within {PATIENCE:.0f} s"]

    def ask() -> None:
        from huggingface_hub import get_session

        try:
            status = get_session().head(endpoint, timeout=PATIENCE).status_code
            said.append(f"it answers with error {status}" if status >= 500 else "")
        except Exception as error:  # a dozen kinds, of the client and of the network
            said.append(reason_of(error, 120))

    # In a thread: looking up the name of the host has no timeout.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE + 1)
    return f"{endpoint}: {said[-1]}" if said[-1] else None


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder of the hub's cache that holds this model, or None."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # no copy, or a name that no hub has
        return None
    return folder if (folder / "config.json").exists() else None
