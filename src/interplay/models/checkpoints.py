"""The model at each checkpoint of a training, and the hash of its weights; `layouts.py` finds the checkpoints.

The base is loaded once; adapters are put on it and taken off again. Full checkpoints are loaded one at a time.
"""

import contextlib
import gc
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError
from interplay.models.adapters import adapter_hash, put_on, restored
from interplay.models.layouts import Checkpoint
from interplay.models.loading import LoadedModel, load_weights, resolve
from interplay.models.placement import Placement, input_device
from interplay.models.vocabulary import make_room, refuse_other_rows
from interplay.models.weights import hash_files, weight_files


def checkpoint_hash(checkpoint: Checkpoint, base: LoadedModel) -> str:
    """SHA-256 of the weights at a checkpoint, read from its files without building a model (adapters: `adapter_hash`)."""
    if checkpoint.path is None:
        return base.sha256
    if checkpoint.kind == "adapter":
        return adapter_hash(checkpoint.path, base.sha256)
    if not weight_files(checkpoint.path):
        raise InterplayError(f"{checkpoint.path} no longer holds a model.safetensors: restore it or leave the step out")
    return hash_files(checkpoint.path)


def comparable_hashes(checkpoints: Sequence[Checkpoint], hashes: dict[int, str], base: LoadedModel) -> dict[int, str]:
    """`hashes`, with the base's from its files where there are full checkpoints: loaded it may have another dtype."""
    source, local = resolve(base.name)
    if not (local and weight_files(Path(source)) and any(c.kind == "full" for c in checkpoints)):
        return hashes
    return {**hashes, **{c.step: hash_files(Path(source)) for c in checkpoints if c.kind == "base"}}


def find_twins(hashes: Mapping[int, str]) -> list[tuple[int, int]]:
    """Pairs of steps with identical weights, the earlier first: some published suites hold final weights under early names.

    >>> find_twins({0: "a", 10: "b", 20: "b"})
    [(10, 20)]
    """
    first: dict[str, int] = {}
    return [(first[hashes[s]], s) for s in sorted(hashes) if first.setdefault(hashes[s], s) != s]


@contextlib.contextmanager
def model_at(checkpoint: Checkpoint, base: LoadedModel, *, dtype: str = "float32") -> Generator[Any]:
    """The model at a checkpoint, in evaluation mode. On leaving, the base is unchanged.

    `dtype` is for full checkpoints; an adapter takes that of the base. Raises InterplayError for one that does not fit it.
    """
    if checkpoint.path is None and not base.rows:
        yield base.model
    elif checkpoint.path is None or checkpoint.kind == "adapter":
        with restored(base.model):
            if checkpoint.path is not None:
                yield put_on(checkpoint.path, base.model, base.name, base.tokenizer, rows=base.rows)
            else:
                make_room(base.model, base.rows)
                yield base.model
    else:
        placement = base.placement
        if placement is None or placement.device_map is None:  # where the base is now: the user may have moved it
            placement = Placement(str(input_device(base.model)))
        model = load_weights(str(checkpoint.path), placement, dtype=dtype)
        _refuse_other_shape(model, base, checkpoint.path)
        try:
            yield model
        finally:
            del model
            gc.collect()


def _refuse_other_shape(model, base: LoadedModel, path: Path) -> None:
    ours, theirs = (m.config.get_text_config() for m in (base.model, model))
    parts = ("hidden size", "hidden_size"), ("number of layers", "num_hidden_layers"), ("architecture", "model_type")
    for what, name in parts:
        one, other = getattr(ours, name, None), getattr(theirs, name, None)
        if one != other:
            differs = f"{path} has {what} {other}, the base {base.name!r} {one}"
            raise InterplayError(f"{differs}: give the base it was trained from")
    rows, saved = (len(m.get_input_embeddings().weight) for m in (base.model, model))
    if rows != saved:
        refuse_other_rows(path, saved, base.name, rows, base.tokenizer)
