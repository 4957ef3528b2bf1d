"""The explorer's data for explorer.js, encoded compactly, and the tables that replace it without a script.

A unit carries at most `STRONGEST` interactions of each kind (present, removed), and the totals of all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from interplay.report.rows import Part
from interplay.report.scales import StepAxis
from interplay.report.text import BIDI, number, percent, plain, short

STRONGEST = 200  # interactions carried per unit [ours]; keeps a page of 12 prompts x 8 steps under 2 MB
LISTED = 8  # interactions per list in the tables shown without a script [ours]
WORD, STRETCH = 40, 280  # longest word and longest stretch of background text shown, in characters [ours]
NEW = ("emerged", "reentered")
STATE_CODE = {"preserved": "p", "initial": "i", "emerged": "e", "reentered": "r"}


def segments(prompt: Part) -> list[tuple[str, int]]:
    """The text cut into stretches: (text, index of the chosen word or -1). Overlapping words: the earlier one counts.

    >>> prompt = {"text": "I am so happy", "words": [{"text": "happy", "start": 8, "end": 13}]}
    >>> segments(prompt)
    [('I am so ', -1), ('happy', 0)]
    """
    out: list[tuple[str, int]] = []
    at = 0
    for i, word in sorted(enumerate(prompt["words"]), key=lambda pair: pair[1]["start"]):
        if word["start"] < at or word["start"] == word["end"]:
            continue
        if word["start"] > at:
            out.append((_stretch(prompt["text"][at : word["start"]]), -1))
        out.append((plain(prompt["text"][word["start"] : word["end"]], WORD), i))
        at = word["end"]
    if at < len(prompt["text"]):
        out.append((_stretch(prompt["text"][at:]), -1))
    return out


def _stretch(text: str) -> str:
    half = STRETCH // 2
    return BIDI.sub("", text if len(text) <= STRETCH else f"{text[:half]} … {text[-half:]}")


def _strongest(effects: list[Part]) -> list[Part]:
    """Strongest first; ties in a fixed order, so that the page is the same bytes every time."""
    return sorted(effects, key=lambda e: (-abs(e["effect"]), e["mask"], e["type"]))[:STRONGEST]


def _coded(effects: list[Part]) -> dict[str, Any]:
    shown = _strongest(effects)
    codes = [e["mask"] << 1 | (e["type"] == "or") for e in shown]
    return {"n": len(effects), "m": codes, "e": [_digits(e["effect"]) for e in shown]}


def _digits(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.4g}")


def _unit(step: Part) -> dict[str, Any]:
    fields = ("score_full", "score_empty", "duality_gap", "residual", "sigma", "tau")
    present, removed = step["interactions"], step["removed"]
    here = _coded(present) | {"s": "".join(STATE_CODE[e["state"]] for e in _strongest(present))}
    new, still = ([e for e in present if (e["state"] in NEW) is wanted] for wanted in (True, False))
    here["total"] = {
        name: [len(effects), _digits(sum(abs(e["effect"]) for e in effects))]
        for name, effects in (("new", new), ("still", still), ("gone", removed))
    }
    return {"v": [_digits(step[f]) for f in fields], "here": here, "gone": _coded(removed)}


def _fit(m: Part) -> dict[str, Any] | None:
    """Scores and the logical model's on a scale of 0..999 between the least and the largest: small, and fine enough to draw."""
    curves = [m["score"], m["salient"], m["all"]]
    if len(m["score"]) < 2:
        return None
    lo, hi = min(map(min, curves)), max(map(max, curves))
    unit = (hi - lo) or 1.0
    scaled = [[round(999 * (v - lo) / unit) for v in curve] for curve in curves]
    return {"lo": _digits(lo), "hi": _digits(hi), "v": scaled, "rms": _digits(m["rms"]), "of": m["of"], "n": m["count"]}


def explorer_data(payload: Part, x: StepAxis, decided: bool) -> dict[str, Any]:
    """What explorer.js reads: short keys, interactions as (mask * 2 + is_or), effects to four digits."""
    fits = {(m["prompt"], m["step"]): _fit(m) for m in (payload["fidelity"] or {}).get("matching", [])}
    prompts = []
    for prompt in payload["prompts"]:
        units = {step["step"]: _unit(step) for step in prompt["steps"]}
        for step, unit in units.items():
            if fit := fits.get((prompt["id"], step)):
                unit["f"] = fit
        words = [plain(w["text"], WORD) or "(blank)" for w in prompt["words"]]
        prompts.append(
            _about(prompt, plain) | {"words": words, "units": [units.get(step) for step in payload["steps"]]}
        )
    return {
        "steps": payload["steps"],
        "at": [round(at, 4) for at in x.at],
        "reference": payload["reference"],
        "keep": payload["recommendation"]["step"],
        "decided": decided,
        "most": STRONGEST,
        "prompts": prompts,
    }


def explorer_tables(payload: Part) -> list[dict[str, Any]]:
    """Reference, recommended and last step of each prompt, as tables: the explorer without a script."""
    keep = payload["recommendation"]["step"]
    wanted = {payload["reference"], payload["steps"][-1], payload["reference"] if keep is None else keep}
    out = []
    for prompt in payload["prompts"]:
        shown = [step for step in prompt["steps"] if step["step"] in wanted]
        out.append(
            _about(prompt, short) | {"steps": [_step_table(prompt, step, payload["reference"]) for step in shown]}
        )
    return out


def _about(prompt: Part, shown: Callable[[str, int], str]) -> dict[str, Any]:
    label = None if prompt["label"] is None else shown(prompt["label"], 40)
    about = {"id": shown(prompt["id"], 80), "target": shown(prompt["target"], 40), "label": label}
    return about | {"text": segments(prompt)}


def _step_table(prompt: Part, step: Part, reference: int) -> dict[str, Any]:
    present, words = step["interactions"], [word["text"] for word in prompt["words"]]
    there = f"there at step {step['step']}" if step["step"] <= reference else "still there"
    groups = {
        f"new since step {reference}": [e for e in present if e["state"] in NEW],
        there: [e for e in present if e["state"] not in NEW],
        f"removed since step {reference}": step["removed"],
    }
    body = []
    for name, effects in groups.items():
        for e in _strongest(effects)[:LISTED]:
            shown = name + " (re-entered)" * (e.get("state") == "reentered")
            body.append([shown, kind(e), names(words, e), number(e["effect"], signed=True)])
    return {
        "step": step["step"],
        "full": number(step["score_full"], signed=True),
        "full_p": percent(step["score_full"]),
        "empty": number(step["score_empty"], signed=True),
        "empty_p": percent(step["score_empty"]),
        "counts": [(name, len(effects)) for name, effects in groups.items()],
        "head": ["list", "type", "words", "effect (log-odds)"],
        "body": body,
        "more": sum(max(0, len(effects) - LISTED) for effects in groups.values()),
    }


def kind(effect: Mapping[str, Any]) -> str:
    """AND, OR, or "one word", for which the two are the same."""
    return "one word" if int(effect["mask"]).bit_count() == 1 else effect["type"].upper()


def names(words: Sequence[str], effect: Mapping[str, Any]) -> Markup:
    """The words of an interaction, in order, each isolated: "happy + thanks" (AND), "happy / thanks" (OR)."""
    chosen = [short(word, WORD) for i, word in enumerate(words) if int(effect["mask"]) >> i & 1]
    return Markup(" + " if effect["type"] == "and" else " / ").join(chosen)
