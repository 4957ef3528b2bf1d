"""What `explain` takes as a model: a name, an adapter on its base, a step of a run, or a loaded model."""

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models import loading
from interplay.models.adapters import base_name_note, named_base
from interplay.models.checkpoints import checkpoint_hash, model_at
from interplay.models.gguf import wheel_folder
from interplay.models.layouts import Checkpoint, classify, find_layout
from interplay.models.loading import LoadedModel, expanded, resolve
from interplay.models.placement import Placement
from interplay.models.weights import hash_tensors
from interplay.pipeline.inputs import read_inputs
from interplay.scoring.absence import DRAWS, Mask
from interplay.scoring.targets import AUTO, Among, TargetTokens
from interplay.store.files import read_json
from interplay.store.folder import RunFolder
from interplay.text import short


class Wording(NamedTuple):
    """How a prompt is asked: template, what absent words become, scored tokens of the response, and what that is told from or among.

    draws, fillers: of a swap; the rows of a run whose words stand in the place of others, None where no run has any.
    """

    template: PromptTemplate
    mask: Mask = "auto"
    target_tokens: TargetTokens = AUTO
    labels: tuple[str, ...] = ()
    opening: str = ""
    among: Among = "auto"
    draws: int = DRAWS
    fillers: Callable[[], tuple[Row, ...]] | None = None


@dataclass(frozen=True)
class NamedModel:
    """A model state by name: whose weights and tokenizer are loaded, the adapter on them, and how its run asks it."""

    name: str
    weights: str
    tokenizer: str
    revision: str | None = None
    adapter: Path | None = None
    wording: Wording | None = None  # None: no run says how
    notes: tuple[str, ...] = ()
    hint: str | None = None  # a note for the case that it is asked without a template
    given: LoadedModel | None = None  # already loaded


class ReadyModel(NamedTuple):
    """A state ready for `model_at(checkpoint, base)`, the SHA-256 of its weights where there are two, and a note on its base."""

    base: LoadedModel
    checkpoint: Checkpoint
    sha256: str
    note: str | None


def find_model(model: Any, base: str | None = None) -> NamedModel:
    """The model state that the user means, from folders and settings only. InterplayError for what is not a model here."""
    if isinstance(model, str | os.PathLike):
        return _find_name(os.fspath(model), base)
    if isinstance(model, tuple) and len(model) == 2 and hasattr(model[0], "state_dict") and hasattr(model[1], "decode"):
        name = str(getattr(model[0], "name_or_path", "") or type(model[0]).__name__)
        model = LoadedModel(*model, name, "")  # `load` takes its hash if it is needed: that is slow
    if not isinstance(model, LoadedModel):
        hint = "give a name, a folder, what load_model returns, a pair (model, tokenizer), or a list of two of these"
        raise InterplayError(f"{type(model).__name__} is not a model: {hint}")
    return NamedModel(model.name, model.name, model.name, given=model)


def put_on(state: NamedModel, adapter: str | os.PathLike[str]) -> NamedModel:
    """The same model with an adapter folder on it."""
    path, name = Path(adapter), f"adapter {str(adapter)!r}"
    if state.adapter is not None or state.wording is not None:
        raise InterplayError(f"{name} goes on a plain model: {state.name!r} is an adapter or a step of a run")
    if not path.is_dir() or classify(path) != "adapter":
        raise InterplayError(f"{name} is not an adapter folder: it needs adapter_model.safetensors")
    return replace(state, name=str(adapter), adapter=path)


def _find_name(name: str, base: str | None) -> NamedModel:
    path = expanded(name)
    step = re.fullmatch(r"(.+)@([^/@]*)", name)
    if step and not path.exists():
        return _run_step(name, step[1], step[2], base)
    if path.is_dir() and (path / "settings.yaml").exists() and not (path / "config.json").exists():
        raise InterplayError(f"{name!r} is a run folder: name one step of it, such as {name.rstrip('/')}@0")
    if path.is_dir() and (path / "adapter_config.json").exists():
        return _adapter(name, path, base)
    _refuse_missing(name)
    # Trainers save whole checkpoints without a tokenizer: use the base's.
    bare = (path / "config.json").exists() and not (path / "tokenizer.json").exists()
    return NamedModel(name, name, base if bare and base else name)


def _refuse_missing(model: str, what: str | None = None) -> None:
    """Refuse a model that is neither here nor on the hub; `what` says whose base it is."""
    if expanded(model).exists() or wheel_folder(model) is not None:
        return
    try:
        resolve(model)
    except InterplayError as error:
        if what is None:
            raise
        raise InterplayError(f"{what}, which is not here: give it as base") from error


def _adapter(name: str, path: Path, base: str | None) -> NamedModel:
    if classify(path) != "adapter":
        raise InterplayError(f"{name!r} is not a complete adapter: it needs adapter_model.safetensors; save it again")
    found = base or named_base(path)
    if not found:
        raise InterplayError(f"the adapter in {name!r} does not name its base: give it as base")
    _refuse_missing(found, None if base else f"the adapter in {name!r} stands on {short(found)}")
    hint, folder = None, path.resolve()
    run, step = folder.parent.parent, folder.name.removeprefix("checkpoint-")
    if folder.parent.name == "checkpoints" and (run / "settings.yaml").exists():
        hint = f"{name} is a step of a run and is asked plainly: {run.name}@{step}, by the path of the run, asks as the run does"
    return NamedModel(name, found, found, adapter=path, hint=hint)


def _run_step(name: str, folder: str, step: str, base: str | None) -> NamedModel:
    run = RunFolder(expanded(folder))
    settings = run.settings()
    if not re.fullmatch(r"[0-9]{1,12}", step):
        raise InterplayError(f"{name!r} does not name a step: give a whole number after @, such as {folder}@0")
    model, scoring = base or settings.model.name, settings.scoring
    _refuse_missing(model, None if base else f"the run in {folder!r} is of {short(model)}")
    # The examples in a few-shot prompt are training rows, which have to be read.
    few_shot = settings.prompt.few_shot
    inputs = functools.cache(lambda: read_inputs(settings, usable=lambda sample: None))
    template = inputs().template if few_shot else settings.template(())
    file = run.path / "inputs.json"
    known: dict[str, Any] = read_json(file) if file.exists() else {"labels": None, "opening": ""}
    answers = tuple(known["labels"] or ()), str(known["opening"])
    state = NamedModel(
        name,
        model,
        model,
        revision=settings.model.revision if base is None else None,
        wording=Wording(
            template,
            scoring.mask,
            scoring.target_tokens,
            *answers,
            scoring.among_labels,
            scoring.swap_draws,
            lambda: inputs().fillers,
        ),
    )
    where = Path(settings.checkpoints.folder or run.checkpoints)
    if int(step) == 0 and not (where / "checkpoint-0").is_dir():
        return state  # the base, even if the run stopped before it saved anything
    found = find_layout(where, [int(step)]).checkpoints[0]
    return replace(state, weights=str(found.path)) if found.kind == "full" else replace(state, adapter=found.path)


def wording_of(named: NamedModel, others: Sequence[NamedModel] = (), **given: Any) -> Wording:
    """How a state is asked: as its run does, else as another one's run does, else plainly; `given` fields of the template win.

    So absent words become the same in both, but where two runs differ.

    >>> run = NamedModel("r@4", "m", "m", wording=Wording(PromptTemplate(template="Q: {text}", chat=False), target_tokens=2))
    >>> wording_of(NamedModel("m", "m", "m"), [run], system="Be brief.")[0]
    PromptTemplate(system='Be brief.', template='Q: {text}', chat=False, few_shot=())
    """
    known = [state.wording for state in (named, *others) if state.wording is not None]
    found = known[0] if known else Wording(PromptTemplate())
    template = replace(found.template, **{key: value for key, value in given.items() if value is not None})
    return found._replace(template=template)


def load(states: Sequence[NamedModel], tokenizers: Sequence, *, dtype: str, device: str) -> list[ReadyModel]:
    """Load every base once and try each adapter on; InterplayError for weights and adapters that cannot be used."""
    bases: dict[tuple[str, str | None], LoadedModel] = {}
    ready = []
    for state, tokenizer in zip(states, tokenizers, strict=True):
        base = state.given
        if base is None:
            source, local = resolve(state.weights, state.revision)
            key = (str(Path(source).resolve()), None) if local else (source, state.revision)
            if key not in bases:
                model = loading.load_weights(state.weights, Placement(device), dtype=dtype, revision=state.revision)
                bases[key] = LoadedModel(model, tokenizer, state.weights, "")
                if len(states) > 1:
                    bases[key] = _hashed(bases[key])
            base = bases[key]
        elif len(states) > 1 and not base.sha256:
            base = _hashed(base)
        checkpoint = Checkpoint(0, None, "base")
        if state.adapter is not None:
            base = replace(base, tokenizer=tokenizer, rows=len(tokenizer))
            checkpoint = Checkpoint(1, state.adapter, "adapter")
            with model_at(checkpoint, base):
                pass
        sha256 = checkpoint_hash(checkpoint, base) if len(states) > 1 else ""
        note = base_name_note(checkpoint, base.name)
        ready.append(ReadyModel(base, checkpoint, sha256, note))
    return ready


def _hashed(base: LoadedModel) -> LoadedModel:
    return replace(base, sha256=hash_tensors(base.model.state_dict().items()))
