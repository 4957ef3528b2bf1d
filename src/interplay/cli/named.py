"""What a name on the command line stands for: a model, an adapter on its base, or a step of a run, and how each is asked.

Looks at folders and settings only, so that a misspelt name is found before anything is loaded; `load` then loads each base
once, whatever stands on it. It scores nothing.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from interplay.data.template import PromptTemplate
from interplay.data.words import short
from interplay.errors import InterplayError

if TYPE_CHECKING:
    from interplay.scoring.checkpoints import Checkpoint
    from interplay.scoring.models import LoadedModel


class Asking(NamedTuple):
    """The wording of a prompt, the token that masks a word, and how many tokens of the response are scored."""

    template: PromptTemplate
    mask: str | int | None = None
    target_tokens: int = 1


@dataclass(frozen=True)
class Named:
    """A model state by name: whose weights and tokenizer are loaded, the adapter put on them, and how its run asks it."""

    name: str
    weights: str
    tokenizer: str
    revision: str | None = None
    adapter: Path | None = None
    asking: Asking | None = None  # None: no run says how
    notes: tuple[str, ...] = ()
    hint: str | None = None  # where nothing says how it is asked


class Loaded(NamedTuple):
    """A state ready for `interplay.scoring.checkpoints.model_at(checkpoint, base)`, the SHA-256 of its weights, and a note."""

    base: "LoadedModel"
    checkpoint: "Checkpoint"
    sha256: str
    note: str | None


def plain(name: str, adapter: str | None = None) -> Named:
    """A model as `load_model` takes it, with an adapter folder to put on it."""
    if adapter is None:
        return Named(name, name, name)
    path = Path(adapter)
    if not path.is_dir() or _kind(path) != "adapter":
        raise InterplayError(f"--adapter {adapter!r} is no adapter folder: it needs adapter_model.safetensors")
    return Named(adapter, name, name, adapter=path)


def find(name: str, base: str | None = None) -> Named:
    """What a name stands for: RUN@STEP, a folder with an adapter, or a model as `load_model` takes it.

    `base` is what an adapter, or a step of a run, is put on instead of the model its config, or the run, names.

    Raises InterplayError when nothing of that name is here and it cannot be a hub name, and when an adapter names no base.
    """
    from interplay.scoring.gguf import wheel_folder
    from interplay.scoring.models import expanded, resolve

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
    return Named(name, name, base if bare and base else name)


def _kind(path: Path) -> str | None:
    from interplay.scoring.checkpoints import classify

    return classify(path)


def _adapter(name: str, path: Path, base: str | None) -> Named:
    if _kind(path) != "adapter":
        raise InterplayError(f"{name!r} is no whole adapter folder: it needs adapter_model.safetensors; save it again")
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InterplayError(f"cannot read {path / 'adapter_config.json'} ({error}): save the adapter again") from error
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    found = base or named
    if not found or not isinstance(found, str):
        raise InterplayError(f"the adapter in {name!r} does not name its base: give it with --base")
    _refuse_missing(found, f"the adapter in {name!r} stands on {short(found)}", given=base is not None)
    hint = None
    run = path.resolve().parent.parent
    if path.resolve().parent.name == "checkpoints" and (run / "settings.yaml").exists():
        step = path.resolve().name.removeprefix("checkpoint-")
        hint = f"{name} is a step of a run and is asked plainly: {run.name}@{step}, by the path of the run, asks as the run does"
    return Named(name, found, found, adapter=path, hint=hint)


def _refuse_missing(model: str, what: str, *, given: bool) -> None:
    """A base that is not here, in words that say whose base it is."""
    from interplay.scoring.gguf import wheel_folder
    from interplay.scoring.models import expanded, resolve

    if expanded(model).exists() or wheel_folder(model) is not None:
        return
    try:
        resolve(model)
    except InterplayError as error:
        if given:
            raise
        raise InterplayError(f"{what}, which is not here: give the base with --base") from error


def _run_step(name: str, folder: str, step: str, base: str | None) -> Named:
    from interplay.runs.folder import RunFolder
    from interplay.scoring.checkpoints import find_checkpoints
    from interplay.scoring.models import expanded

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
        [checkpoint] = find_checkpoints(where, [number])
        path = checkpoint.path
    full = path is not None and _kind(path) == "full"
    notes = ()
    if settings.scoring.among_labels:
        notes = (f"{name}: the run scores among its labels, explain against the whole vocabulary",)
    scoring = settings.scoring
    return Named(
        name,
        str(path) if full else model,
        model,
        revision=settings.model.revision if base is None else None,
        adapter=None if full else path,
        asking=Asking(_run_template(settings), scoring.mask, scoring.target_tokens),
        notes=notes,
    )


def _run_template(settings) -> PromptTemplate:
    prompt = settings.prompt
    shown: tuple[tuple[str, str], ...] = ()
    if prompt.few_shot:
        from interplay.runs.inputs import read_inputs

        shown = read_inputs(settings, usable=lambda sample: None).template.few_shot
    return PromptTemplate(system=prompt.system, template=prompt.template, chat=prompt.chat, few_shot=shown)


def asked(
    named: Named, others: Sequence[Named] = (), *, system: str | None, template: str | None, chat: bool | str | None
) -> Asking:
    """How a state is asked: as its run does, else as another one's run does, else plainly; options that are given win.

    >>> run = Named("r@4", "m", "m", asking=Asking(PromptTemplate(template="Q: {text}", chat=False), target_tokens=2))
    >>> asked(Named("m", "m", "m"), [run], system="Be brief.", template=None, chat=None)[0]
    PromptTemplate(system='Be brief.', template='Q: {text}', chat=False, few_shot=())
    """
    own = named.asking or next((other.asking for other in others if other.asking is not None), None)
    own = own or Asking(PromptTemplate())
    given = {
        key: value for key, value in {"system": system, "template": template, "chat": chat}.items() if value is not None
    }
    # A mask token is of one vocabulary: another model takes its own.
    mask = own.mask if named.asking is not None else None
    return own._replace(template=replace(own.template, **given), mask=mask)


def tokenizers(states: Sequence[Named]) -> list:
    """The tokenizer of each state, in the same order; states on one base share it."""
    from interplay.scoring.models import load_tokenizer

    found = {}
    for state in states:
        if (state.tokenizer, state.revision) not in found:
            found[state.tokenizer, state.revision] = load_tokenizer(state.tokenizer, revision=state.revision)
    return [found[state.tokenizer, state.revision] for state in states]


def load(states: Sequence[Named], tokenizer_of: Sequence, *, dtype: str, device: str) -> list[Loaded]:
    """Load every base once, however often it is named, and try each adapter on.

    Raises InterplayError for weights that cannot be loaded and adapters that do not fit, before anything is scored.
    """
    from interplay.scoring.checkpoints import Checkpoint, base_name_note, checkpoint_hash, model_at
    from interplay.scoring.models import LoadedModel, hash_tensors, load_weights, resolve

    bases: dict[tuple[str, str | None], LoadedModel] = {}
    loaded = []
    for state, tokenizer in zip(states, tokenizer_of, strict=True):
        source, local = resolve(state.weights, state.revision)
        key = (str(Path(source).resolve()), None) if local else (source, state.revision)
        if key not in bases:
            model = load_weights(state.weights, dtype=dtype, device=device, revision=state.revision)
            digest = hash_tensors(model.state_dict().items())
            bases[key] = LoadedModel(model, tokenizer, state.weights, digest)
        checkpoint = Checkpoint(0, None, "base")
        if state.adapter is not None:
            checkpoint = Checkpoint(1, state.adapter, "adapter")
            with model_at(checkpoint, bases[key]):
                pass
        digest, remark = checkpoint_hash(checkpoint, bases[key]), base_name_note(checkpoint, bases[key])
        loaded.append(Loaded(bases[key], checkpoint, digest, remark))
    return loaded
