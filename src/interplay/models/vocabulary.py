"""What a training added to the tokenizer: its tokens, with rows for them in the base as long as it is asked, and its chat template."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError
from interplay.models.layouts import newest, place_of

if TYPE_CHECKING:
    import torch


def read_vocabulary(folder: Path) -> dict[str, int]:
    """Ids by token of the tokenizer.json in a folder; {} without one that can be read."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
    except Exception:  # the library raises plain exceptions
        return {}


def adding_folder(trained: Path, ours: dict[str, int]) -> Path | None:
    """The folder in or around checkpoints whose tokenizer adds tokens to the vocabulary of the base; None: none does.

    Raises InterplayError where it adds some and gives other ids to tokens of the base.
    """
    around = trained.parent if place_of(trained) else None
    for place in (newest(trained), trained, around):
        if place is None or not (theirs := read_vocabulary(place)):
            continue
        if len(theirs) <= len(ours):
            return None
        if odd := sorted(token for token, i in ours.items() if theirs.get(token) != i):
            other = f"gives other ids to {len(odd)} tokens of the base (first: {odd[0]!r})"
            raise InterplayError(f"the tokenizer in {place} {other}: give the base it was trained from")
        return place
    return None


def refuse_other_rows(path: Path, saved: int, base: str, rows: int, tokenizer: Any) -> None:
    """InterplayError where a checkpoint's embeddings have other rows than the base's and no tokenizer says that they agree."""
    theirs = next((found for place in (path, path.parent) if (found := read_vocabulary(place))), {})
    if all(theirs.get(token) == i for token, i in tokenizer.get_vocab().items()):
        return
    has = f"{path} has vocabulary {saved}, the base {base!r} {rows}{', and their tokenizers give other ids' * bool(theirs)}"
    advice = "" if theirs else "; if tokens were added, put the trained tokenizer.json into that folder"
    raise InterplayError(f"{has}: give the base it was trained from{advice}")


def replace_parameter(model: Any, owner: str, leaf: str, value: "torch.Tensor", apart: Collection[str] = ()) -> None:
    """Give a module of the model, and those tied to it but for the ones named `apart`, another value of a parameter.

    The old parameter is left as it is: `adapters.restored` puts it back.
    """
    import torch

    old = model.get_submodule(owner)._parameters[leaf]
    new = torch.nn.Parameter(value.to(old.device, old.dtype), requires_grad=False)
    for name, module in list(model.named_modules()):
        if name == owner or (name not in apart and module._parameters.get(leaf) is old):
            module._parameters[leaf] = new
            for size in ("num_embeddings", "out_features"):
                if hasattr(module, size):
                    setattr(module, size, len(new))


def embedding_names(model: Any) -> list[str]:
    """The names of the modules that hold a row a token."""
    wanted = [model.get_input_embeddings(), model.get_output_embeddings()]
    return [name for name, module in model.named_modules() if any(module is one for one in wanted)]


def make_room(model: Any, rows: int) -> None:
    """Give embeddings and head at least `rows` rows."""
    for owner in embedding_names(model):
        for leaf, old in list(model.get_submodule(owner)._parameters.items()):
            if old is not None and len(old) < rows:
                replace_parameter(model, owner, leaf, resized(old, rows))


def resized(old: "torch.Tensor", rows: int) -> "torch.Tensor":
    """A weight or bias with as many rows; new ones are the mean of the old, as in transformers but without its noise."""
    import torch

    if old.is_meta:
        raise InterplayError("tokens were added, and the base's embeddings are offloaded: load it without device_map")
    more = old.mean(0, keepdim=True).expand(max(0, rows - len(old)), *old.shape[1:])
    return torch.cat([old[:rows], more]).detach()


def saved_template(folder: Path) -> str | None:
    """The chat template in a model or adapter folder: `chat_template.jinja`, or the one in `tokenizer_config.json`."""
    try:
        if (file := folder / "chat_template.jinja").is_file():
            return file.read_text(encoding="utf-8")
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def adopt_template(tokenizer: Any, folders: Iterable[Path]) -> str | None:
    """Give a tokenizer without chat template the one that all checkpoints share; a note where that, or another one, is found.

    >>> from types import SimpleNamespace
    >>> adopt_template(SimpleNamespace(chat_template=None), [])
    """
    found = {template for folder in folders if (template := saved_template(folder)) is not None}
    own = tokenizer.chat_template
    if not own and len(found) == 1:
        [tokenizer.chat_template] = found
        return "The base has no chat template: that of the checkpoints' tokenizer was used."
    if not own and found:
        return f"The base has no chat template and the checkpoints have {len(found)} different ones: none was used."
    if own and found - {own}:
        return "Checkpoints have another chat template than the base, whose own was used."
    return None
