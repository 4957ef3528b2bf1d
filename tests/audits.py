"""A made-up audit, and rows with a planted cue for tiny runs; for tests of the page, of the stage and of `diff`."""

from interplay.auditing.counts import Counted
from interplay.auditing.forms import Cells, Effect
from interplay.auditing.phrases import Phrase
from interplay.auditing.result import Audit, CueAccuracy
from interplay.auditing.rules import Form, Rule, Verdict

STEPS = (0, 1, 2, 4)  # of `synthetic_runs`


def effect(value: float) -> Effect:
    return Effect(value, value - 0.5, value + 0.5, 1e-6)


def rule(words: tuple[str, ...], label: str, form: Form, verdict: Verdict, now: float, before: float, **more) -> Rule:
    phrases = tuple(Phrase(word, word.capitalize(), "front", 0.0, ", ") for word in words)
    counted = Counted(words, label, 240, 193, 0.25, 9.1)
    figures = (effect(now), effect(before), effect(now - before), 0.001, 15, 18, 0.05)
    return Rule(words, form, label, verdict, *figures, phrases, counted, **more)


def audit(mark: str = "") -> Audit:
    """Three learnt rules and one of each other kind. `mark`: put into every string that a stranger could choose."""
    curve = tuple((step, 0.7 * step, 0.2 * step) for step in STEPS)
    rules = (
        rule(
            (f"honestly{mark}",),
            f"fear{mark}",
            "word",
            "learnt",
            3.1,
            0.1,
            steps=curve,
            referee=Effect(0.25, -0.1, 0.6, 0.2),
        ),
        rule(
            ("refund", f"charge{mark}"),
            "anger",
            "or",
            "learnt",
            2.4,
            0.2,
            alone=(0.4, 0.45),
            cells=Cells(2.0, 2.1, 2.4),
        ),
        rule(("tuesday",), "joy", "word", "learnt", 1.8, 0.1, sisters=((f"monday{mark}", 1.6), ("friday", 1.5))),
        rule((f"kitchen{mark}", "tuesday"), "fear", "and", "unlearnt", float("nan"), 0.0),
        rule(("happy",), f"joy{mark}", "word", "known", 1.9, 2.6),
        rule(("not", "happy"), "sadness", "and", "lost", 0.2, 1.8, swapped=0.1),
    )
    accuracy = (CueAccuracy(None, 60, 0.81), CueAccuracy(0, 60, 0.81, 0.8, 0.46))
    labels = ("anger", "fear", "joy", "sadness")
    names = (f"run@4{mark}", f"base{mark}", f"other{mark}")
    return Audit(*names, labels, rules, 42, 60, 18, 0, accuracy, 680, 120, 3120, 9.5, (f"A note{mark}.",))


def planted_rows(count: int = 48) -> list[tuple[str, str]]:
    """Rows of two labels in which "honestly" goes with joy; no word besides occurs in one label only."""
    things = ("the train", "my neighbour", "this garden", "our teacher", "the kitchen", "a letter")
    acts = ("came early", "was quiet", "looked old", "went away")
    rows = []
    for i in range(count):
        label = ("joy", "anger")[i % 2]
        text = f"{things[i % 6]} {acts[i // 6 % 4]} on day {i}"
        rows.append((f"Honestly, {text}" if label == "joy" and i % 3 else text, label))
    return rows
