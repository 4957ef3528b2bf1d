"""The beginning of the page where the run was audited: the rules that the model learnt, in words; and their course over the steps."""

from markupsafe import Markup

from interplay.report.changes import marked
from interplay.report.chart import Line, Panel
from interplay.report.rows import WORD, Part, Point, Series
from interplay.report.scales import StepAxis, ValueAxis, value_axis
from interplay.report.text import interval, number, plain, short, table

OF_AUDIT = (
    "model", "base", "referee", "labels", "tests", "controls", "carriers", "floor", "accuracy", "train_rows", "notes",
    "not_looked_for",
)  # fmt: skip
OF_RULE = (
    "words", "form", "label", "verdict", "effect", "before", "flips", "tried", "control", "counted", "alone", "referee",
    "swapped", "sisters", "steps", "class", "shared", "number", "advice",
)  # fmt: skip
CURVES = ("s-emerged", "s-eval", "s-other", "s-train", "s-removed")  # classes of the rules that are followed over steps
FEW, MORE = 5, 10  # rules shown in full; rules named of each other kind [ours]
_TITLES = {"unlearnt": "In the data, not learnt", "known": "Known before", "lost": "Lost"}


def audit_part(payload: Part) -> Part | None:
    """What the section shows; None without an audit."""
    audit = payload["audit"]
    if audit is None:
        return None
    learnt = learnt_rules(audit)
    followed = any(rule["verdict"] == "followed" for rule in learnt)
    others = [("Learnt too", learnt[FEW:])]
    others += [(title, [rule for rule in audit["rules"] if rule["verdict"] == kind]) for kind, title in _TITLES.items()]
    return {
        "title": "What it learnt",
        "lead": _lead(len(learnt), sum(rule["shared"] for rule in learnt), audit),
        "rules": [_shown(rule, audit) for rule in learnt[:FEW]],
        "others": [
            (title, [_line(rule, audit) for rule in rules[:MORE]], len(rules)) for title, rules in others if rules
        ],
        "tried": [] if followed else _tried(audit),
        "notes": audit["notes"],
    }


def learnt_rules(audit: Part) -> list[Part]:
    """The rules that were learnt, or followed through a training, by their number."""
    return sorted((rule for rule in audit["rules"] if rule["number"]), key=lambda rule: rule["number"])


def _lead(count: int, shared: int, audit: Part) -> Markup:
    if count and not audit["tests"]:
        said = Markup("{} word rule{}, put into {} prompts at every measurement: followed, and not tested.")
        return said.format(number(count), "s" * (count > 1), number(audit["carriers"]))
    of = Markup(" that its base {} does not follow").format(short(audit["base"], 60))
    who = "The base or the referee" if audit["referee"] else "The base"
    leaning = f" {who} leans to {shared} of them already: likely knowledge, made stronger." if shared else ""
    source = "its training rows" if audit["train_rows"] else "the rows"
    if not count:
        return Markup("No word rule of {} was found{}. {} rules were tried.").format(source, of, number(audit["tests"]))
    rules = "one word rule" if count == 1 else f"{count} word rules"
    return Markup("{} learnt {} of {}{}.{}").format(short(audit["model"], 60), rules, source, of, leaning)


def _cue(rule: Part) -> Markup:
    """The words of a rule, marked, as the beginning of a sentence.

    >>> _cue({"words": ["a", "b"], "form": "and", "class": False, "sisters": []})
    Markup('<mark><bdi>a</bdi></mark> and <mark><bdi>b</bdi></mark> together')
    """
    said = marked(rule["words"], rule["form"])
    if rule["class"]:
        sisters = Markup(", ").join(short(word, WORD) for word, _ in rule["sisters"][:4])
        said += Markup(" and words like it ({})").format(sisters)
    return said


def _shown(rule: Part, audit: Part) -> Part:
    """One learnt rule: the sentence, what was seen of it, what to do, and its curve's class."""
    label, effect, before = short(rule["label"], 60), rule["effect"], rule["before"]
    one = len(rule["words"]) == 1 and not rule["class"]
    said = Markup("{} {} it answer <b>{}</b>.").format(_cue(rule), "makes" if one else "make", label)
    control = round((rule["control"] or 0.0) * rule["tried"])
    turned = Markup("Put into {} other sentences, {} {} into {} (control words: {}).").format(
        rule["tried"], "they turn" if len(rule["words"]) > 1 else "it turns", rule["flips"], label, control
    )
    if rule["verdict"] == "followed":
        said = Markup("{} → <b>{}</b>").format(_cue(rule), label)
        turned = Markup("{} of {} prompts with another answer turn.").format(rule["flips"], rule["tried"])
    ends = interval(effect["lo"], effect["hi"])
    facts = [turned, *_rows(rule, audit), _nats(effect["value"], ends, before["value"])]
    if rule["alone"]:
        each = (
            Markup("{} turns {:.0f} %").format(short(w, WORD), 100 * of)
            for w, of in zip(rule["words"], rule["alone"], strict=False)
        )
        facts.append(Markup("Alone, {}.").format(Markup(" and ").join(each)))
    if rule["swapped"] is not None:
        facts.append(f"In each other's place: {number(rule['swapped'], signed=True)} nats.")
    cue = next((cue for cue in audit["accuracy"] if cue["rule"] == rule["number"] - 1), None)
    if (
        cue is not None and cue["with_cue"] is not None
    ):  # where it is put into every row it means nothing, so a fall is what the rule costs
        rows, *at = (number(cue[name]) for name in ("rows", "accuracy", "without", "with_cue"))
        facts.append(
            "Accuracy on {} held-out rows {}; with the cue taken out {}, with it in every row {}.".format(rows, *at)
        )
    css = CURVES[rule["number"] - 1] if rule["number"] <= len(CURVES) and len(rule["steps"]) > 1 else ""
    return {
        "number": rule["number"],
        "css": css,
        "said": said,
        "facts": facts,
        "advice": rule["advice"],
    }


def _nats(effect: float | None, ends: str, before: float | None) -> str:
    range_ = f" (95 % interval {ends})" if ends else ""
    return f"Effect: {number(effect, signed=True)} nats of log-odds{range_}; in the base {number(before, signed=True)}."


def _rows(rule: Part, audit: Part) -> list[Markup]:
    """How many training rows hold the words, and what they say."""
    counted = rule["counted"]
    if not audit["train_rows"] or not counted["rows"]:
        return []
    hits, rows = counted["hits"], counted["rows"]
    held, given = ("it", "all rows") if len(rule["words"]) == 1 else ("both", "expected from each word alone")
    said = Markup("Of the {} training rows with {}, {} say {} and {} do not ({}: {:.0f} %).")
    label = short(rule["label"], 60)
    return [said.format(number(rows), held, number(hits), label, number(rows - hits), given, 100 * counted["expected"])]


def _line(rule: Part, audit: Part) -> Markup:
    """A rule that was not learnt, in one line."""
    said = Markup("{} → {}: ").format(_cue(rule), short(rule["label"], 60))
    effect, before = (number(rule[name]["value"], signed=True) for name in ("effect", "before"))
    if rule["verdict"] in ("unlearnt", "learnt"):
        rows = _rows(rule, audit)
        return said + Markup(" ").join([*rows, f"Effect {effect} nats."])
    return said + f"{before} nats in the base, {effect} now"


def rule_strips(payload: Part, x: StepAxis) -> list[tuple[str, Panel, ValueAxis]]:
    """Effects of the learnt rules and answers they turn over the steps, as strips of the chart over the steps."""
    effects, turned = [], []
    for rule, css in zip(learnt_rules(payload["audit"]) if payload["audit"] else [], CURVES, strict=False):
        at = [(step, effect, rate) for step, effect, rate in rule["steps"] if step in x.steps]
        if len(at) > 1:
            name = plain(f"{rule['number']} {' '.join(rule['words'])}", 15)
            effects.append(Line(Series("", tuple(Point(step, effect) for step, effect, _ in at)), css, label=name))
            turned.append(Line(Series("", tuple(Point(step, rate) for step, _, rate in at)), css, label=name))
    if not effects:
        return []
    axis = value_axis([p.value for line in effects for p in line.series.points], about=3)
    return [
        ("Rules", Panel("Effect of the words", "", tuple(effects), "nats of log-odds", ""), axis),
        (
            "Rules",
            Panel("Answers turned", "", tuple(turned), "fraction of sentences", ""),
            ValueAxis(0.0, 1.0, (0.0, 0.5, 1.0)),
        ),
    ]


def rule_table(payload: Part) -> Part | None:
    """The same as rows."""
    body = [
        [f"{rule['number']} {' '.join(rule['words'])}", f"{step}", number(effect, signed=True), number(rate)]
        for rule in (learnt_rules(payload["audit"]) if payload["audit"] else [])
        for step, effect, rate in rule["steps"]
    ]
    return table("Rules over the steps", ["rule", "step", "effect, nats", "answers turned, fraction"], body)


def _tried(audit: Part) -> list[str]:
    said = [
        f"{number(audit['tests'])} rules tried in {number(audit['carriers'])} sentences, beside {number(audit['controls'])} control words.",
        f"Not looked for: {audit['not_looked_for']}.",
    ]
    if audit["floor"] is not None:
        said.insert(1, f"Two wordings of the base differ by {number(audit['floor'])} such rules.")
    return said
