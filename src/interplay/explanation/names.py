"""What `explain` can be given as a model: a name, an adapter on its base, a step of a run, or a model that is loaded.

Looks at folders and settings only, so that a misspelt name is found before anything is loaded; `load` then loads each base
once, however many states stand on it. It scores nothing.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from interplay.data.template import PromptTemplate
from interplay.data.words import short
from interplay.errors import InterplayError

if TYPE_CHECKING:
    from interplay.models.layouts import Checkpoint
    from interplay.models.loading import LoadedModel


class Wording(NamedTuple):
    """How a prompt is asked: its template, the token that masks a word, and how many tokens of the response are scored."""

    template: PromptTemplate
    mask: str | int | None = None
    target_tokens: int = 1


@dataclass(frozen=True)
class NamedModel:
    """A model state by name: whose weights and tokenizer are loaded, the adapter put on them, and how its run asks it."""

    name: str
    weights: str
    tokenizer: str
    revision: str | None = None
    adapter: Path | None = None
    wording: Wording | None = None  # None: no run says how
    notes: tuple[str, ...] = ()
    hint: str | None = None  # where nothing says how it is asked
    given: "LoadedModel | None" = None  # it is loaded already


class ReadyModel(NamedTuple):
    """A state ready for `interplay.models.checkpoints.model_at(checkpoint, base)`, the SHA-256 of its weights, and a note."""

    base: "LoadedModel"
    checkpoint: "Checkpoint"
    sha256: str
    note: str | None


def find_model(model: Any, base: str | None = None) -> NamedModel:
    """The model state that the user means.

    model: RUN@STEP, a folder with an adapter, a name as `load_model` takes it, a `LoadedModel`, or a pair of a model and its
        tokenizer.
    base: what an adapter, or a step of a run, is put on instead of the model its config, or the run, names.

    Raises InterplayError when nothing of that name is here and it cannot be a hub name, when an adapter names no base, and for
    anything that is not a model.
    """
    from interplay.models.loading import LoadedModel

    if isinstance(model, str | os.PathLike):
        return _find_name(os.fspath(model), base)
    if isinstance(model, tuple) and len(model) == 2 and hasattr(model[0], "state_dict") and hasattr(model[1], "decode"):
        name = str(getattr(model[0], "name_or_path", "") or type(model[0]).__name__)
        model = LoadedModel(*model, name, "")  # its hash takes a while and is taken where it is needed
    if not isinstance(model, LoadedModel):
        raise InterplayError(
            f"{type(model).__name__} is not a model: give a name, a folder, what load_model returns, a pair (model, tokenizer), "
            "or a list of two of these"
        )
    return NamedModel(model.name, model.name, model.name, given=model)


def put_on(state: NamedModel, adapter: str | os.PathLike[str]) -> NamedModel:
    """The same model with an adapter folder on it."""
    if state.adapter is not None or state.wording is not None:
        raise InterplayError(
            f"adapter {str(adapter)!r} goes on a plain model: {state.name!r} is an adapter or a step of a run"
        )
    if not Path(adapter).is_dir() or _kind(Path(adapter)) != "adapter":
        raise InterplayError(f"adapter {str(adapter)!r} is not an adapter folder: it needs adapter_model.safetensors")
    return replace(state, name=str(adapter), adapter=Path(adapter))


def _find_name(name: str, base: str | None) -> NamedModel:
    from interplay.models.gguf import wheel_folder
    from interplay.models.loading import expanded, resolve

    path = expanded(name)
    step = re.fullmatch(r"(.+)@([^/@]*)", name)
    if step and not path.exists():
        return _run_step(name, step[1], step[2], base)
    if path.is_dir() and (path / "settings.yaml").exists() and not (path / "config.json").exists():
        raise InterplayError(f"{name!r} is a run folder: name one step of it, such as {name.rstrip('/')}@0")
    if path.is_dir() and (path / "adapter_config.json").exists():
        return _adapter(name, path, base)
    if not path.exists() and wheel_folder(name) is None:
        resolve(name)  # at once, while what is there may have to be converted first
    # Trainers save whole checkpoints without a tokenizer: the base's is theirs.
    bare = base is not None and (path / "config.json").exists() and not (path / "tokenizer.json").exists()
    return NamedModel(name, name, base if bare and base else name)


def _kind(path: Path) -> str | None:
    from interplay.models.layouts import classify

    return classify(path)


def _adapter(name: str, path: Path, base: str | None) -> NamedModel:
    if _kind(path) != "adapter":
        raise InterplayError(f"{name!r} is no whole adapter folder: it needs adapter_model.safetensors; save it again")
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InterplayError(f"cannot read {path / 'adapter_config.json'} ({error}): save the adapter again") from error
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    found = base or named
    if not found or not isinstance(found, str):
        raise InterplayError(f"the adapter in {name!r} does not name its base: give it as base")
    _refuse_missing(found, f"the adapter in {name!r} stands on {short(found)}", given=base is not None)
    hint = None
    run = path.resolve().parent.parent
    if path.resolve().parent.name == "checkpoints" and (run / "settings.yaml").exists():
        step = path.resolve().name.removeprefix("checkpoint-")
        hint = f"{name} is a step of a run and is asked plainly: {run.name}@{step}, by the path of the run, asks as the run does"
    return NamedModel(name, found, found, adapter=path, hint=hint)


def _refuse_missing(model: str, what: str, *, given: bool) -> None:
    """A base that is not here, in words that say whose base it is."""
    from interplay.models.gguf import wheel_folder
    from interplay.models.loading import expanded, resolve

    if expanded(model).exists() or wheel_folder(model) is not None:
        return
    try:
        resolve(model)
    except InterplayError as error:
        if given:
            raise
        raise InterplayError(f"{what}, which is not here: give it as base") from error


def _run_step(name: str, folder: str, step: str, base: str | None) -> NamedModel:
    from interplay.models.layouts import find_layout
    from interplay.models.loading import expanded
    from interplay.store.folder import RunFolder

    run = RunFolder(expanded(folder))
    settings = run.settings()
    if not re.fullmatch(r"[0-9]{1,12}", step):
        raise InterplayError(f"{name!r} names no step: give a whole number behind @, such as {folder}@0")
    model = base or settings.model.name
    _refuse_missing(model, f"the run in {folder!r} is of {short(model)}", given=base is not None)
    outside = settings.checkpoints.folder
    where = Path(outside) if outside else run.checkpoints
    number = int(step)
    # Step 0 is the base, also where a run was stopped before it saved anything; unless the training saved one itself.
    path = None
    if number or (where / "checkpoint-0").is_dir():
        [checkpoint] = find_layout(where, [number]).checkpoints
        path = checkpoint.path
    full = path is not None and _kind(path) == "full"
    notes = ()
    if settings.scoring.among_labels:
        notes = (f"{name}: the run scores among its labels, explain against the whole vocabulary",)
    scoring = settings.scoring
    return NamedModel(
        name,
        str(path) if full else model,
        model,
        revision=settings.model.revision if base is None else None,
        adapter=None if full else path,
        wording=Wording(_run_template(settings), scoring.mask, scoring.target_tokens),
        notes=notes,
    )


def _run_template(settings) -> PromptTemplate:
    prompt = settings.prompt
    shown: tuple[tuple[str, str], ...] = ()
    if prompt.few_shot:
        from interplay.pipeline.inputs import read_inputs

        shown = read_inputs(settings, usable=lambda sample: None).template.few_shot
    return PromptTemplate(system=prompt.system, template=prompt.template, chat=prompt.chat, few_shot=shown)


def wording_of(
    named: NamedModel,
    others: Sequence[NamedModel] = (),
    *,
    system: str | None,
    template: str | None,
    chat: bool | str | None,
) -> Wording:
    """How a state is asked: as its run does, else as another one's run does, else plainly; options that are given win.

    >>> run = NamedModel("r@4", "m", "m", wording=Wording(PromptTemplate(template="Q: {text}", chat=False), target_tokens=2))
    >>> wording_of(NamedModel("m", "m", "m"), [run], system="Be brief.", template=None, chat=None)[0]
    PromptTemplate(system='Be brief.', template='Q: {text}', chat=False, few_shot=())
    """
    own = named.wording or next((other.wording for other in others if other.wording is not None), None)
    own = own or Wording(PromptTemplate())
    given = {
        key: value for key, value in {"system": system, "template": template, "chat": chat}.items() if value is not None
    }
    # A mask token is of one vocabulary: another model takes its own.
    mask = own.mask if named.wording is not None else None
    return own._replace(template=replace(own.template, **given), mask=mask)


def tokenizers(states: Sequence[NamedModel]) -> list:
    """The tokenizer of each state, in the same order; states on one base share it."""
    from interplay.models.loading import load_tokenizer

    found = {}
    for state in states:
        if state.given is None and (state.tokenizer, state.revision) not in found:
            found[state.tokenizer, state.revision] = load_tokenizer(state.tokenizer, revision=state.revision)
    return [state.given.tokenizer if state.given else found[state.tokenizer, state.revision] for state in states]


def load(states: Sequence[NamedModel], tokenizer_of: Sequence, *, dtype: str, device: str) -> list[ReadyModel]:
    """Load every base once, however often it is named, and try each adapter on.

    Raises InterplayError for weights that cannot be loaded and adapters that do not fit, before anything is scored.
    """
    from interplay.models.adapters import base_name_note
    from interplay.models.checkpoints import checkpoint_hash, model_at
    from interplay.models.layouts import Checkpoint
    from interplay.models.loading import LoadedModel, load_weights, resolve
    from interplay.models.placement import Placement
    from interplay.models.weights import hash_tensors

    bases: dict[tuple[str, str | None], LoadedModel] = {}
    loaded = []
    for state, tokenizer in zip(states, tokenizer_of, strict=True):
        if state.given is not None:
            key = (str(id(state.given.model)), None)
            bases[key] = state.given
            if len(states) > 1 and not state.given.sha256:
                bases[key] = replace(state.given, sha256=hash_tensors(state.given.model.state_dict().items()))
        else:
            source, local = resolve(state.weights, state.revision)
            key = (str(Path(source).resolve()), None) if local else (source, state.revision)
        if key not in bases:
            model = load_weights(state.weights, Placement(device), dtype=dtype, revision=state.revision)
            digest = hash_tensors(model.state_dict().items())
            bases[key] = LoadedModel(model, tokenizer, state.weights, digest)
        checkpoint = Checkpoint(0, None, "base")
        if state.adapter is not None:
            checkpoint = Checkpoint(1, state.adapter, "adapter")
            with model_at(checkpoint, bases[key]):
                pass
        digest, remark = checkpoint_hash(checkpoint, bases[key]), base_name_note(checkpoint, bases[key].name)
        loaded.append(ReadyModel(bases[key], checkpoint, digest, remark))
    return loaded
