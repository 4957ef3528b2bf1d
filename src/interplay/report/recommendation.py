"""The recommendation in words: the headline, its evidence, and what each other rule would keep."""

from typing import Any

from interplay.report.audit import learnt_rules
from interplay.report.rows import Part, decided
from interplay.report.text import WORDS, interval, number, table

FEW = 5  # figures that fit next to the headline one by one; more become a table [ours]


def headline(payload: Part) -> tuple[str, int | None]:
    """The headline's words and its step; a default step, without evidence, is not called the one to keep.

    >>> headline({"recommendation": {"step": 40, "sentence": "Keep step 40: it is the lowest.", "basis": "rule"}})
    ('Keep step', 40)
    >>> headline({"recommendation": {"step": 80, "sentence": "No evidence to choose: 2 prompts.", "basis": "last"}})
    ('No evidence to choose', None)
    """
    recommendation = payload["recommendation"]
    said = {"only": "Nothing to compare", "base": recommendation["sentence"].partition(":")[0]}
    if (basis := recommendation.get("basis")) in said:
        return said[basis], None
    if decided(payload):
        return "Keep step", recommendation["step"]
    return ("No checkpoint stands out" if recommendation["step"] is None else "No evidence to choose"), None


def recommendation_part(payload: Part) -> dict[str, Any]:
    """Headline, sentence without what the headline already says, evidence as figures or a table, and what other rules keep."""
    words, step = headline(payload)
    recommendation = payload["recommendation"]
    sentence = recommendation["sentence"].removeprefix(f"{words} {step}: ").removeprefix(f"{words}: ")
    evidence = recommendation["evidence"]
    titles = {e["name"]: WORDS["evidence"].get(e["name"]) or WORDS["names"].get(e["name"], e["name"]) for e in evidence}
    named = [(titles[e["name"]] + ("" if e["step"] is None else f", step {e['step']}"), e) for e in evidence]
    body = [[name, number(e["value"]), interval(e["lo"], e["hi"]) or "–"] for name, e in named]
    return {
        "words": words,
        "step": step,
        "sentence": sentence[:1].upper() + sentence[1:],
        "caution": _caution(payload["audit"]),
        "figures": named if len(named) <= FEW else [],
        "table": table("Evidence", ["figure", "value", "95 % interval"], body) if len(named) > FEW else None,
        "rivals": [(WORDS["names"].get(name, name), at) for name, at in recommendation["rivals"].items()],
    }


def _caution(audit: Part | None) -> str:
    """What a choice among steps cannot mend: the rules that the base does not lean to.

    >>> rule = {"number": 1, "shared": False, "verdict": "learnt"}
    >>> _caution({"rules": [rule, rule | {"number": 2, "shared": True}], "train_rows": 9})
    'If rule 1 is a shortcut, mend its rows and train again before you keep a step: eval rows with its words reward it.'
    """
    rules = [] if audit is None or not audit["train_rows"] else learnt_rules(audit)
    found = [str(rule["number"]) for rule in rules if rule["verdict"] == "learnt" and not rule["shared"]]
    if not found:
        return ""
    which = f"rule {found[0]}" if len(found) == 1 else f"one of the rules {', '.join(found)}"
    return f"If {which} is a shortcut, mend its rows and train again before you keep a step: eval rows with its words reward it."
