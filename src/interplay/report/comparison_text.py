"""Which measures a comparison draws, in which order, and what it says about them: the editorial part. Words only."""

from typing import NamedTuple

SETS = ("preserved", "emerged", "removed")
# What the open part of the seeds' table shows; the rest is behind a fold.
MAIN = (
    ("strength", "preserved"), ("strength", "emerged"), ("strength", "removed"), ("rho", "all"), ("gamma", "emerged"),
    ("l1_per_sd", "all"), ("cancelled_per_sd", "all"), ("mean_order", "all"),
)  # fmt: skip


class Drawn(NamedTuple):
    """One measure on the page; `room` is its section, `null` what its dotted line is called ('' = it has none)."""

    measure: str
    title: str
    look: str = ""
    unit: str = ""
    null: str = ""
    room: str = ""
    kind: str = "interactions"
    zero: bool = True
    log: bool = False
    missing: str = ""


BY_SET = (
    Drawn(
        "count",
        "How many interactions",
        "The dotted lines are each run's own churn floor: the turnover that a rephrased prompt alone causes.",
        "per prompt",
        "churn floor",
        "turnover",
    ),
    Drawn(
        "strength",
        "How strong they are together",
        "In log-odds, which grow with a model's confidence: a run that is merely surer of itself has more of everything.",
        "log-odds",
        "churn floor",
        "turnover",
    ),
    Drawn(
        "count",
        "Turnover in units of the churn floor: count",
        "1, dotted, is what a rephrased prompt alone causes at the reference step; the runs' floors are divided out, so these compare best.",
        "times the floor",
        "churn floor",
        "turnover",
        "multiples",
        missing="No run has multiples of the churn floor: they need a rephrased prompt at the reference step.",
    ),
    Drawn(
        "strength",
        "Turnover in units of the churn floor: strength",
        "The same for strength.",
        "times the floor",
        "churn floor",
        "turnover",
        "multiples",
        missing="No run has multiples of the churn floor: they need a rephrased prompt at the reference step.",
    ),
    Drawn(
        "rho",
        "Do they pull together? (rho)",
        "1: all effects point one way. Dotted: the same effects with random signs. Small sets score high by chance, so compare "
        "distances from the dotted lines, not heights.",
        "0 to 1",
        "random signs",
        "quality",
    ),
    Drawn(
        "gamma",
        "Does another model use them too? (gamma)",
        "The share of strength that the baseline LLM holds too, with the same sign. Dotted: its words shuffled.",
        "0 to 1",
        "words shuffled",
        "quality",
        missing="No run has a baseline LLM, so generalizability (gamma) is not shown.",
    ),
    Drawn(
        "mean_order",
        "How many words they join (mean order)",
        "Weighted by strength. High orders are what the paper calls noise.",
        "words",
        "churn floor",
        "quality",
        zero=False,
    ),
    Drawn(
        "sufficiency",
        "Could each set alone give the answer?",
        "Loss when the target is predicted from this set alone; lower is better, ln 2 = 0.69 is a coin toss.",
        "nats",
        "random set",
        "quality",
    ),
)
WHOLE = (
    Drawn("l1_per_sd", "strength / spread of score", "All effects over the sd of the scores: free of scale."),
    Drawn(
        "cancelled_per_sd",
        "cancelled / spread of score",
        "Strength that cancels itself out; what the verdict looks at.",
    ),
    Drawn("walsh_high", "high-degree energy", "Share of the score's variance in high-degree Walsh terms.", "share"),
    Drawn("rho", "rho of all effects", "", "0 to 1", "random signs"),
    Drawn("mean_order", "mean order of all effects", "", "words", "churn floor", zero=False),
)
TASK = (
    Drawn("eval_loss", "eval loss", "", "nats", log=True),
    Drawn("train_loss", "train loss", "Mean since the checkpoint before.", "nats", log=True),
    Drawn("accuracy", "accuracy", "On rows that were not trained on.", "share right"),
    Drawn("macro_f1", "macro-F1", "Every label counts the same.", "0 to 1"),
    Drawn("exact_match", "exact match", "Of freely generated answers.", "share"),
    Drawn("rouge_l", "ROUGE-L", "Of freely generated answers.", "0 to 1"),
    Drawn("kl_base", "KL to step 0", "At the first response token: how far the model has moved.", "nats"),
    Drawn("retention_ppl", "retention perplexity", "On plain text: what is forgotten.", "", log=True, zero=False),
    Drawn("ood_loss", "out-of-domain loss", "", "nats", log=True),
    Drawn("ood_accuracy", "out-of-domain accuracy", "", "share right"),
    Drawn("ood_macro_f1", "out-of-domain macro-F1", "", "0 to 1"),
)
NAMES = {
    "strength": "strength",
    "strength_emerged": "emerged strength",
    "strength_removed": "removed strength",
    "l1_per_sd": "strength / spread",
    "cancelled_per_sd": "cancelled / spread",
    "walsh_high": "high-degree energy",
    "mean_order": "mean order",
    "macro_f1": "macro-F1",
    "kl_base": "KL to step 0",
    "retention_ppl": "retention perplexity",
    "ood_loss": "out-of-domain loss",
    "ood_accuracy": "out-of-domain accuracy",
    "ood_macro_f1": "out-of-domain macro-F1",
    "rouge_l": "ROUGE-L",
}


def full_name(measure: str, set_: str, kind: str = "") -> str:
    """A figure's name in a table.

    >>> full_name("strength", "emerged"), full_name("count", "removed", "multiples"), full_name("l1_per_sd", "all")
    ('strength, emerged', 'count, removed, in churn floors', 'strength / spread')
    """
    name = NAMES.get(measure, measure.replace("_", " "))
    return name + (f", {set_}" if set_ != "all" else "") + (", in churn floors" if kind == "multiples" else "")
