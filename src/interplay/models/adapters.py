"""Adapters (LoRA, DoRA, IA3, trainable tokens) on a base model: which ones fit, putting them on and off without a trace, and their hash."""

import contextlib
import hashlib
import json
import re
import time
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError, reason_of
from interplay.models.layouts import Checkpoint
from interplay.models.placement import adapter_joins
from interplay.models.vocabulary import embedding_names, make_room, refuse_other_rows, replace_parameter, resized
from interplay.models.weights import ADAPTER, WRAPPED, hash_files
from interplay.text import short

# Settings of an adapter that change the function its tensors compute.
_SETTINGS = (
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern",
)  # fmt: skip
# The same of rarer adapters; hashed only where used, so that the hash of a plain LoRA does not depend on them.
_RARE_SETTINGS = ("feedforward_modules", "target_parameters", "use_qalora", "use_bdlora")
_TOKENS = ("trainable_token_indices", "token_indices")  # in the order of their rows

# The types that can be put on a base, and the names of their tensors.
_DELTA = r"\.trainable_tokens_delta$"
_TENSORS = {"LORA": rf"\.lora_[A-Za-z_]+(\.|$)|{_DELTA}", "IA3": r"\.ia3_l$", "TRAINABLE_TOKENS": _DELTA}
_PROMPTS = (
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT", "CARTRIDGE",
)  # fmt: skip
# A weight of the base in an adapter's file: as it is, or as it lies below an adapter, which leaves it unchanged.
_COPY = re.compile(r"base_model\.model\.(.+?)((?:\.token_adapter)?\.base_layer|\.original_module)?\.(weight|bias)")
_PATIENCE = 5.0  # seconds for an adapter's patterns to match the names of the base's modules [ours]

# Ways to start LoRA that leave the base unchanged. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) subtract a part from
# the base, and peft does so again, in place, whenever such an adapter is put on.
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
# These change the layers or the config of the base, or act on some positions only, which the prefix trie cannot do.
_FOREIGN = ("layer_replication", "alora_invocation_tokens", "kasa_config", "arrow_config", "megatron_config")
_MERGE = "merge it into its base and give the whole model as a checkpoint"


def adapter_hash(path: Path, base_sha256: str) -> str:
    """SHA-256 of an adapter on a base: its tensors, the settings that say how they are applied, and the hash of the base."""
    config = _read_config(path)
    settings = {key: config.get(key) for key in _SETTINGS}
    for key in _RARE_SETTINGS:
        if value := config.get(key):  # peft writes lists in the order of a set, which differs between processes
            settings[key] = sorted(value, key=str) if isinstance(value, list) else value
    settings |= {key: value for key in _TOKENS if (value := config.get(key))}
    parts = [base_sha256, hash_files(path, "adapter"), settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "adapter_config.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InterplayError(f"cannot read {file} ({reason_of(error, 160)}): save the adapter again") from error


def named_base(path: Path) -> str | None:
    """The base that an adapter names in its config, or None."""
    named = _read_config(path).get("base_model_name_or_path")
    return named if isinstance(named, str) else None


def base_name_note(checkpoint: Checkpoint, base: str) -> str | None:
    """A sentence when an adapter names another base than the one given; a hub name and its local copy count as one.

    All checkpoints of one training give the same sentence.
    """
    if checkpoint.kind != "adapter" or checkpoint.path is None:
        return None
    if not (named := named_base(checkpoint.path)) or Path(named).name.lower() == Path(base).name.lower():
        return None
    note = f"the adapter names its base {named!r}; it was put on {base!r}, whose shapes fit"
    if re.search(r"bnb|[48]-?bit|int[48]|gptq|awq|fp8", Path(named).name.lower()):
        note += ". By its name that base was held in few bits: on another one the adapter is not quite the model that trained"
    return note


@contextlib.contextmanager
def restored(model: Any) -> Generator[None]:
    """Put back the tree of modules, their parameters, attributes and modes, and what needs gradients, also after an error.

    peft's own `unload` does not undo a load that failed. Gradients matter for the numbers too: PyTorch multiplies by a
    weight that needs them in another way, and rounds differently.
    """

    def parts(module: Any) -> tuple[dict[str, Any], ...]:
        return module.__dict__, module._modules, module._parameters, module._buffers

    tree = [(module, [dict(part) for part in parts(module)]) for module in model.modules()]
    gradients = [(p, p.requires_grad) for p in model.parameters()]
    try:
        yield
    finally:
        for module, before in tree:
            for now, was in zip(parts(module), before, strict=True):
                now.clear()
                now.update(was)
        for parameter, needed in gradients:
            parameter.requires_grad_(needed)


def put_on(path: Path, model: Any, base: str, tokenizer: Any, *, rows: int = 0) -> Any:
    """`model`, which messages call `base`, with an adapter on it; peft changes the model itself (see `restored`).

    Weights of the base in the adapter's file, as peft saves where tokens were added, take the place of the base's own.
    Embeddings get at least `rows` rows. Raises InterplayError for an adapter that is damaged, does not fit, would change the
    base, or is of another type.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    described = _read_config(path)
    own = _own_tensors(path, described)
    try:
        stored = {re.sub(WRAPPED, "", name): tensor for name, tensor in load_file(path / ADAPTER).items()}
    except (SafetensorError, OSError) as error:
        raise InterplayError(f"cannot read the adapter in {path} ({reason_of(error)}): save it again") from error
    wrong = f"the adapter in {path} does not fit the base {base!r}"
    advice = f"give the base it was trained on ({named_base(path) or 'not recorded'})"
    # Hidden: peft would take off the hooks of a model that is spread, and spread it anew in its own way.
    device_map = model.__dict__.pop("hf_device_map", None)
    try:
        _replace_weights(stored, own, model, path, base, tokenizer)
        make_room(model, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns of missing keys; they are refused below
            # The biases have been put into the base.
            config = PeftConfig.from_peft_type(**described | {"inference_mode": True, "bias": "none"})
            _match_patterns(config, [name for name, _ in model.named_modules() if name], path)
            wrapped = get_peft_model(model, config)
            # False: "auto" would ask a hub for the base's config.
            expected = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
            for name in sorted(set(stored) - expected):  # of a tied head: peft saves what its embeddings have once more
                if re.search(_DELTA, name) and any(stored[name].equal(stored[n]) for n in expected & set(stored)):
                    del stored[name]
            if not (odd := sorted(set(stored) ^ expected)):
                set_peft_model_state_dict(wrapped, stored)
    except InterplayError:
        raise
    except Exception as error:  # shapes, names, unknown settings: peft has a type of error for each
        raise InterplayError(f"{wrong}: {advice}; {reason_of(error)}") from error
    finally:
        if device_map is not None:
            model.hf_device_map = device_map
    if odd:
        raise InterplayError(f"{wrong}: {len(odd)} weights differ by name (first: {odd[0]}); {advice}")
    adapter_joins(wrapped, path, stored)
    return wrapped.eval()


def _replace_weights(
    stored: dict[str, Any], own: re.Pattern[str], model: Any, path: Path, base: str, tokenizer: Any
) -> None:
    """Take the weights of the base out of an adapter's tensors, and put those that differ from the base's in their place."""
    modules, embeddings = dict(model.named_modules()), embedding_names(model)
    it, its_own = f"the adapter in {path}", "holds weights of the base itself"
    copies: dict[tuple[str, str], tuple[Any, bool]] = {}
    for name in sorted(stored):
        match, saved = _COPY.fullmatch(name), re.sub(r"\.modules_to_save\b", "", name)
        if saved != name and stored[name].equal(stored[saved]):  # peft saves it a second time
            del stored[name]
        elif match and match[1] in modules and (match[2] or not own.search(name)):
            if not (match[2] or match[3] == "bias" or match[1] in embeddings):
                raise InterplayError(f"{it} {its_own} (first: {name}): {_MERGE}")
            copies[match[1], match[3]] = stored.pop(name), bool(match[2]) and match[3] == "weight"
        elif match and match[1] in embeddings:  # of `modules_to_save`: peft copies the base's, which needs as many rows
            rows = len(stored[name])
            copies.setdefault((match[1], match[3]), (resized(modules[match[1]]._parameters[match[3]], rows), True))
        elif not own.search(name):
            raise InterplayError(f"{it} {its_own} (first: {name}): {_MERGE}")
    for (owner, leaf), (value, frozen) in copies.items():
        old = modules[owner]._parameters[leaf]
        if value.shape[1:] != old.shape[1:] or (len(value) != len(old) and owner not in embeddings):
            raise ValueError(f"{owner}.{leaf} has shape {tuple(value.shape)}, the base's {tuple(old.shape)}")
        if old.is_meta:
            raise InterplayError(f"{it} replaces weights that are offloaded ({owner}.{leaf}): {_MERGE}")
        value, rows = value.to(old.device, old.dtype), min(len(value), len(old))
        if frozen and not value[:rows].equal(old[:rows]):
            other = f"was trained on a base whose {owner} has other values than that of {base!r}"
            raise InterplayError(f"{it} {other}: give that base ({named_base(path) or 'not recorded'})")
        if len(value) != len(old):
            refuse_other_rows(path, len(value), base, len(old), tokenizer)
        if not value.equal(old):
            replace_parameter(model, owner, leaf, value, {owner for owner, _ in copies})


def _match_patterns(config: Any, names: list[str], path: Path) -> None:
    """Put the names of modules in the place of an adapter's patterns: peft would match them without a limit of time."""
    import regex

    end = time.monotonic() + _PATIENCE

    def matching(pattern: str) -> list[str]:
        try:
            left = (max(0.001, end - time.monotonic()) for _ in names)
            return [name for name, t in zip(names, left, strict=True) if regex.fullmatch(pattern, name, timeout=t)]
        except TimeoutError as error:
            slow = f"the pattern {short(pattern)} in {path} takes more than {_PATIENCE:.0f} s to match the names of modules"
            raise InterplayError(f"{slow}: list the names instead") from error

    for key in ("target_modules", "exclude_modules", "feedforward_modules"):
        pattern = getattr(config, key, None)
        if isinstance(pattern, str) and pattern != "all-linear":
            setattr(config, key, set(matching(pattern)) or {pattern})
    for key in ("rank_pattern", "alpha_pattern"):  # the first that matches counts
        if given := getattr(config, key, None):
            found = {n: value for text, value in reversed(given.items()) for n in matching(rf"(.*\.)?({text})")}
            setattr(config, key, {f"^{re.escape(name)}": value for name, value in found.items()})
    for key in ("modules_to_save", "layers_pattern"):
        given = getattr(config, key, None) or []
        if odd := [text for text in ([given] if isinstance(given, str) else given) if set(text) & set("*+?{")]:
            raise InterplayError(f"{key} in {path} holds the pattern {short(odd[0])}: list the names instead")


def _own_tensors(path: Path, config: dict[str, Any]) -> re.Pattern[str]:
    """A pattern of the names that an adapter's own tensors have; InterplayError for adapters that would change the base.

    `modules_to_save` are kept as copies.
    """
    kind, start = str(config.get("peft_type")), config.get("init_lora_weights")
    wrong = ""
    if kind in _PROMPTS:
        wrong = f"is of type {short(kind)}, which puts trained vectors before the prompt or into its keys: that is no change "
        wrong += "of weights, so it can neither be put on a base nor merged; train a LoRA to look inside"
    elif kind not in _TENSORS:
        wrong = f"is of type {short(kind)}; LoRA, DoRA, IA3 and trainable tokens can be put on a base: {_MERGE} (peft: "
        wrong += "merge_and_unload)"
    elif start not in _STARTS:
        wrong = f"was started by {short(start)}, which changes the base: convert it to plain LoRA (peft: "
        wrong += f"path_initial_model_for_weight_conversion), or {_MERGE}"
    elif odd := [key for key in _FOREIGN if config.get(key)]:
        wrong = f"uses {odd[0]}, which changes more than weights: {_MERGE}"
    if wrong:
        raise InterplayError(f"the adapter in {path} {wrong}")
    copied = [rf"{re.escape(module)}\." for module in config.get("modules_to_save") or []]
    return re.compile("|".join([_TENSORS[kind], *copied]))
