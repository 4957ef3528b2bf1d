"""Fingerprints of data, prompts and weights in a run folder, and the refusal to go on when one changed, with the difference.

Settings are compared where the folder is opened (`store/folder.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interplay.data.rows import Row
from interplay.errors import InterplayError
from interplay.pipeline.inputs import Inputs, row_parts
from interplay.scoring.scores import Prepared
from interplay.store.files import read_json, sha256_json, write_json
from interplay.text import short

EACH = 20_000  # rows of a part of which every one is kept as a short hash, so that a changed one can be named [ours]
IDENTITY = "identity"  # the folder of `check_parts`
_SHOWN = 3  # differences in one message


def check_data(folder: Path, inputs: Inputs, prepared: Sequence[Prepared], *, anew: bool = False) -> None:
    """Record what the rows and the prompts' prompts are; InterplayError with the difference when they are not what they were.

    prepared: the prompts, tokenised as they are scored: their text shows a changed chat template, their ids a changed tokenizer.
    anew: nothing was computed from what they were, so they may change.
    """
    file = folder / "inputs.json"
    now = {
        "fingerprint": inputs.fingerprint(),
        **inputs.describe(),
        "parts": {"train": _part(inputs.train), "eval": _part(inputs.eval)},
        "prompt": {
            "text": prepared[0].prompt,
            "texts": sha256_json([p.prompt for p in prepared]),
            "tokens": sha256_json([[list(p.input_ids), list(p.target_ids)] for p in prepared]),
        },
    }
    if file.exists() and not anew:
        before = read_json(file)
        if before["fingerprint"] != now["fingerprint"]:
            _refuse(folder, "the data", data_differences(before, now, inputs), "restore the data")
        if changes := prompt_differences(before["prompt"], now["prompt"]):
            _refuse(folder, "the prompt", changes, "restore the tokenizer and its chat template")
    write_json(file, now)


def check_weights(folder: Path, base: str, checkpoints: Mapping[int, str]) -> None:
    """Record the hashes of all weights; InterplayError when the base or a checkpoint is not what it was. New steps are added."""
    file = folder / "weights.json"
    if file.exists():
        before = read_json(file)
        old = {"the base": before["base"]} | {f"step {s}": sha for s, sha in before["checkpoints"].items()}
        changes = _changes(old, {"the base": base} | {f"step {s}": sha for s, sha in checkpoints.items()})
        if changes:  # with another base every adapter is another model: the base alone says it
            _refuse(folder, "the model's weights", changes[: 1 if old["the base"] != base else None], "restore them")
    write_json(file, {"base": base, "checkpoints": {str(step): sha for step, sha in checkpoints.items()}})


def check_parts(folder: Path, name: str, now: Mapping[str, str], restore: str, *, anew: bool = False) -> None:
    """Record hashes of what else results come from, in `identity/<name>.json`; InterplayError when one is not what it was.

    A file each, so that processes that come to know different things do not write over each other.

    Args:
        now: what -> its SHA-256; what was not known before is added.
        restore: what the user is told to do about a difference.
        anew: nothing was computed from what they were, so they may change.
    """
    file = folder / IDENTITY / f"{name}.json"
    if not anew and file.exists() and (changes := _changes(read_json(file), now)):
        _refuse(folder, "what the results come from", changes, restore)
    write_json(file, dict(now), folders=1)


def forget_parts(folder: Path, name: str) -> None:
    """Remove what `check_parts` recorded, once nothing depends on it any more."""
    (folder / IDENTITY / f"{name}.json").unlink(missing_ok=True)


def config_hash(source: Path | str, revision: str | None = None) -> str:
    """SHA-256 of a model's config.json, of a folder or a hub name: the same weights under another one are another model.

    What tells of the library that wrote it, or of the folder it was read from, does not count.
    """
    file = Path(source) / "config.json"
    if not file.exists():
        from transformers.utils import cached_file

        found = cached_file(str(source), "config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
        if found is None:
            return ""
        file = Path(found)
    config = read_json(file)
    return sha256_json(
        {key: config[key] for key in config if not key.startswith("_") and key != "transformers_version"}
    )


def _changes(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """
    >>> _changes({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    ['b: 2 -> 3']
    """
    return [
        f"{what}: {str(before[what])[:8]} -> {sha[:8]}" for what, sha in now.items() if before.get(what, sha) != sha
    ]


def _refuse(folder: Path, what: str, changes: Sequence[str], restore: str) -> None:
    shown = "; ".join(changes[:_SHOWN]) + (f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else "")
    raise InterplayError(
        f"{what} changed since the run in {str(folder)!r} began ({shown}): choose another --out, or {restore}"
    )


def _part(rows: Sequence[Row]) -> dict[str, Any]:
    hashes = [sha256_json(row_parts(row)) for row in rows]
    each = "".join(h[:8] for h in hashes) if len(hashes) <= EACH else None
    return {"rows": len(rows), "sha256": sha256_json(hashes), "each": each}


def data_differences(before: Mapping[str, Any], now: Mapping[str, Any], inputs: Inputs) -> list[str]:
    """How the rows differ from those of `inputs.json`, in words: counts, labels, prompts, the first row that is another."""
    found = []
    for part, rows in (("train", inputs.train), ("eval", inputs.eval)):
        old, new = before["rows"][part], len(rows)
        if old != new:
            found.append(f"{part}: {old} rows -> {new}")
        elif (a := before["parts"][part])["sha256"] != (b := now["parts"][part])["sha256"]:
            which = _first_other(a["each"] or "", b["each"] or "")
            found.append(f"{part}: row {which + 1} of {new} ({short(rows[which].text)}) is another" if which is not None
                         else f"{part}: other rows")  # fmt: skip
    if before["labels"] != now["labels"]:
        found.append(f"labels: {_listed(before['labels'])} -> {_listed(now['labels'])}")
    old_prompts, new_prompts = before["prompts"], now["prompts"]
    if len(old_prompts) != len(new_prompts):
        found.append(f"prompts: {len(old_prompts)} -> {len(new_prompts)}")
    for i, (a, b) in enumerate(zip(old_prompts, new_prompts, strict=False), start=1):
        shown: dict[str, Callable[[Any], str]] = {"text": str, "target": str, "words": _words}
        if key := next((key for key in shown if a.get(key) != b.get(key)), None):
            found.append(f"prompt {i}, {key}: {short(shown[key](a.get(key)))} -> {short(shown[key](b.get(key)))}")
            break
    return found or ["a row of train, eval or prompts is another"]


def _first_other(old: str, new: str) -> int | None:
    """
    >>> _first_other("aaaaaaaabbbbbbbb", "aaaaaaaacccccccc")
    1
    """
    return next((i // 8 for i in range(0, len(new), 8) if old[i : i + 8] != new[i : i + 8]), None)


def _listed(labels: Sequence[str] | None) -> str:
    return "none" if labels is None else short(", ".join(labels))


def _words(words: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(w.get("text")) for w in words)


def prompt_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How the prompts' prompts differ: from where on the first one's text is another, or that its tokens alone are.

    >>> old = {"text": "<user> Hi", "texts": "1", "tokens": "2"}
    >>> prompt_differences(old, old | {"text": "<human> Hi", "texts": "3", "tokens": "4"})
    ["chat template: '<user> Hi' -> '<human> Hi'"]
    >>> prompt_differences(old, old | {"tokens": "4"})
    ['tokenizer: the same prompts have other tokens']
    """
    if before["texts"] != now["texts"]:
        at = next((i for i, (a, b) in enumerate(zip(before["text"], now["text"], strict=False)) if a != b), 0)
        start = max(0, at - 20)
        return [f"chat template: {short(before['text'][start:])} -> {short(now['text'][start:])}"]
    return ["tokenizer: the same prompts have other tokens"] if before["tokens"] != now["tokens"] else []
