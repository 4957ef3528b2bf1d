"""Model states: which model, at which checkpoint, in which precision, as plain data; and opening them."""

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.models.checkpoints import model_at
from interplay.models.layouts import Checkpoint
from interplay.models.loading import LoadedModel, load_model, with_added_tokens

ITSELF = Checkpoint(0, None, "base")


@dataclass(frozen=True)
class Source:
    """Where the weights of a whole model come from, and how they are held."""

    name: str
    revision: str | None = None
    dtype: str = "float32"


@dataclass(frozen=True)
class ModelState:
    """A base and a checkpoint on it (`ITSELF`: none)."""

    base: Source
    checkpoint: Checkpoint = ITSELF


class Models:
    """Opens model states on one device. A base is loaded when it is first needed.

    Args:
        main: the model a run is about, which stays loaded; of all others (a baseline LLM, a second precision) one at a time.
        trained: the folder of its checkpoints, whose tokenizer may know tokens that training added.
        loaded: bases that are loaded already.
        placement: `device_map` and `max_memory` of `load_model`, for every base.
    """

    def __init__(
        self,
        device: str,
        main: Source,
        trained: str | None = None,
        loaded: Mapping[Source, LoadedModel] | None = None,
        **placement: Any,
    ) -> None:
        self.device, self.main, self.placement = device, main, placement
        self.trained = None if trained is None else Path(trained)
        self._loaded: dict[Source, LoadedModel] = dict(loaded or {})

    def base(self, source: Source) -> LoadedModel:
        """The whole model of a source."""
        if source not in self._loaded:
            if source != self.main:
                self.drop_others()  # before, not after: three at once may be one too many
            loaded = load_model(
                source.name, dtype=source.dtype, device=self.device, revision=source.revision, **self.placement
            )
            if self.trained is not None and source.name == self.main.name:
                loaded = with_added_tokens(loaded, self.trained, source.revision)
            self._loaded[source] = loaded
        return self._loaded[source]

    def drop_others(self) -> None:
        """Forget every model but the main one."""
        self._loaded = {source: loaded for source, loaded in self._loaded.items() if source == self.main}

    @contextlib.contextmanager
    def at(self, state: ModelState) -> Generator[Any]:
        """The model at a state, in evaluation mode; on leaving, its base is as it was."""
        with model_at(state.checkpoint, self.base(state.base), dtype=state.base.dtype) as model:
            yield model
