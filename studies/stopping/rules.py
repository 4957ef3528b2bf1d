"""Every rule of the study: which measured step it keeps, where it would have stopped, how many labelled rows it needs.

A rule with patience stops at the third measurement in a row without a new best, as Hugging Face's EarlyStoppingCallback does, and
keeps the best so far; `in hindsight` means that training ran to its end and the best measurement of all was kept. Step 0 is read
by rules but never kept: nobody fine-tunes to keep the base.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from interplay.dynamics.measures import loss_of, net, quotient, scale, spread, strength
from studies.stopping.records import Record, effects_of

PATIENCE = 3


class Choice(NamedTuple):
    """Index of the measurement that is kept, and of the one at which training stopped (the last: it never did)."""

    kept: int
    stopped: int


class Rule(NamedTuple):
    """A rule by name; `labelled` eval rows it needs beside the training data; `ours`: it looks at interactions."""

    name: str
    choose: Callable[[Record], Choice]
    labelled: int
    ours: bool = False


def hindsight(curve: np.ndarray) -> Choice:
    """Lowest of all trained measurements, the earliest of ties.

    >>> hindsight(np.array([0.0, 3.0, 1.0, 2.0]))
    Choice(kept=2, stopped=3)
    """
    return Choice(1 + int(np.nanargmin(curve[1:])), len(curve) - 1)


def patient(curve: np.ndarray, patience: int = PATIENCE) -> Choice:
    """Lowest until `patience` measurements in a row brought no new low.

    >>> patient(np.array([9.0, 3.0, 1.0, 2.0, 2.0, 2.0, 0.0]), 3)
    Choice(kept=2, stopped=5)
    """
    best, since = 1, 0
    for t in range(2, len(curve)):
        best, since = (t, 0) if curve[t] < curve[best] else (best, since + 1)
        if since >= patience:
            return Choice(best, t)
    return Choice(best, len(curve) - 1)


def below(curve: np.ndarray, threshold: float) -> Choice:
    """The first trained measurement at or under a threshold, kept and stopped at; the last where none is."""
    under = np.flatnonzero(curve[1:] <= threshold)
    at = 1 + int(under[0]) if len(under) else len(curve) - 1
    return Choice(at, at)


def epoch(record: Record) -> Choice:
    """The measurement closest to the end of the first epoch."""
    at = 1 + int(np.abs(record.steps[1:] - record.about["rows"] / 8).argmin())
    return Choice(at, at)


def last(record: Record) -> Choice:
    """No rule: the end."""
    return Choice(len(record.steps) - 1, len(record.steps) - 1)


def prompt_loss(record: Record) -> np.ndarray:
    """[T] -log p of the first response token of the very prompts that the interactions are extracted from."""
    return loss_of(record.scores[..., -1]).mean(1)


# ---- the rules ----------------------------------------------------------------------------------------------------------


class Tuned(NamedTuple):
    """What was set on the tuning part: thresholds of the rules that need one."""

    kl: float  # nats from the base: stop there
    gradient: float  # share of the early gradient change: stop under it


def gradient_stop(record: Record, share: float) -> Choice:
    """GradES-like: stop when the gradients' mean change falls under a share of what it was at the first trained measurement.

    GradES [arXiv 2509.01842] freezes each matrix under a threshold of its own and stops when all are frozen; here one mean
    over all trained matrices stands for them.
    """
    curve = record.grad_change
    return below(curve, share * curve[1])


def kl_stop(record: Record, most: float) -> Choice:
    """The last measurement before KL(base || model) on the task's prompts exceeds `most` nats [what 2509.04259 says forgets]."""
    over = np.flatnonzero(record.arrays["kl"][1:] > most)
    at = max(1, int(over[0])) if len(over) else len(record.steps) - 1
    return Choice(at, min(at + 1, len(record.steps) - 1))


def tune(records: list[Record]) -> Tuned:
    """The thresholds with the least regret in accuracy over the tuning part; of ties the one that stops latest."""

    def regret(choose: Callable[[Record], Choice]) -> float:
        of = [r.outcomes["accuracy"] for r in records]
        return sum(float(a[1:].max() - a[choose(r).kept]) for r, a in zip(records, of, strict=True))

    # Bound as defaults: a closure over the loop's variable would see its last value.
    kl = min(np.linspace(20, 4, 33), key=lambda most: round(regret(lambda r, m=most: kl_stop(r, m)), 9))
    gradient = min(np.linspace(0.05, 1.5, 30), key=lambda s: round(regret(lambda r, s=s: gradient_stop(r, s)), 9))
    return Tuned(float(kl), float(gradient))


def rivals(tuned: Tuned) -> list[Rule]:
    """Every rule without interactions; scalars that the interactions' figures could be replaced by among them."""
    every = 200
    return [
        Rule(
            "oracle (best on test)", lambda r: Choice(1 + int(r.outcomes["accuracy"][1:].argmax()), len(r.steps) - 1), 0
        ),
        Rule("eval loss, patience", lambda r: patient(r.eval_loss), every),
        Rule("eval loss, in hindsight", lambda r: hindsight(r.eval_loss), every),
        Rule("eval accuracy, patience", lambda r: patient(-r.eval_accuracy), every),
        Rule("eval accuracy, in hindsight", lambda r: hindsight(-r.eval_accuracy), every),
        Rule("loss on the prompt rows, patience", lambda r: patient(prompt_loss(r)), 12),
        Rule("loss on the prompt rows, in hindsight", lambda r: hindsight(prompt_loss(r)), 12),
        Rule("train loss, patience", lambda r: patient(r.train_loss), 0),
        Rule("sd(v), patience", lambda r: patient(spread(r.scores).mean(1)), 0),
        Rule("gain / sd(v), in hindsight", lambda r: hindsight(-_gain(r.scores).mean(1)), 12),
        Rule("KL to the base", lambda r: kl_stop(r, tuned.kl), 0),
        Rule("gradient change (GradES-like)", lambda r: gradient_stop(r, tuned.gradient), 0),
        Rule("one epoch", epoch, 0),
        Rule("last checkpoint", last, 0),
    ]


# ---- ours, its parts, and what its parts could be replaced by -------------------------------------------------------------


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, 1e-6))


def _share(effects: np.ndarray) -> np.ndarray:
    """[..., P] sum I / sum |I|: the uncancelled ratio of all effects with its sign, -1..1 [paper eq 10; the sign is ours]."""
    every = np.ones(effects.shape[-1], dtype=bool)
    return quotient(net(effects, every), strength(effects, every))


def _gain(scores: np.ndarray) -> np.ndarray:
    """[..., P] (v(N) - v(empty)) / sd(v): the share with its denominator replaced by what needs no interactions."""
    return quotient(scores[..., -1] - scores[..., 0], spread(scores))


def _made(record: Record) -> np.ndarray:
    """[T] mean log L1/sd(v)."""
    return np.log(scale(record.effects, record.scores)["l1_per_sd"]).mean(1)


def weighted(record: Record, weight: float) -> np.ndarray:
    """[T] log of the interaction loss with its second factor to the power `weight`; 1 is the rule, 0 the loss alone."""
    return _log(prompt_loss(record)) + weight * _made(record)


def _masked_loss(record: Record) -> np.ndarray:
    """[T] mean loss over all coalitions: the same forward passes, no interactions."""
    return np.logaddexp(0.0, -record.scores).mean((1, 2))


def _cancelled(record: Record) -> np.ndarray:
    """[T] what the first, provisional rule of `recommend` looked at."""
    w, sd = record.effects, spread(record.scores)
    l1, net = np.abs(w).sum((-2, -1)), np.abs(w.sum((-2, -1)))
    return ((l1 - net) / sd).mean(1)


def _near_eval_loss(record: Record, curve: np.ndarray, slack: float = 0.05) -> Choice:
    """Of the checkpoints within 5 % of the lowest eval loss, the one where `curve` is lowest."""
    loss = record.eval_loss.copy()
    near = loss <= loss[1:].min() * (1 + slack)
    return hindsight(np.where(near, curve, np.inf))


def ours() -> list[Rule]:
    """The rule, alone and beside eval loss."""
    return [
        Rule("interaction loss, patience", lambda r: patient(weighted(r, 1.0)), 12, True),
        Rule("interaction loss, in hindsight", lambda r: hindsight(weighted(r, 1.0)), 12, True),
        Rule("eval loss × L1/sd(v), in hindsight", lambda r: hindsight(_log(r.eval_loss) + _made(r)), 200, True),
        Rule("within 5 % of eval loss, interaction loss", lambda r: _near_eval_loss(r, weighted(r, 1.0)), 212, True),
    ]


def ingredients() -> list[Rule]:
    """Each part alone, in other weights, and replaced by a scalar that needs no interactions; all in hindsight."""
    replaced = {
        "sd(v)": lambda r: _log(spread(r.scores).mean(1)),
        "loss over all masked prompts": lambda r: _log(_masked_loss(r)),
        "train loss": lambda r: _log(r.train_loss),
        "KL to the base": lambda r: _log(r.arrays["kl"]),
    }
    return [
        Rule("interaction loss", lambda r: hindsight(weighted(r, 1.0)), 12, True),
        Rule("prompt loss alone", lambda r: hindsight(prompt_loss(r)), 12),
        Rule("L1/sd(v) alone", lambda r: hindsight(_made(r)), 0, True),
        Rule("cancelled/sd(v) (the first rule)", lambda r: hindsight(_cancelled(r)), 0, True),
        Rule("share of strength that adds", lambda r: hindsight(-_share(r.effects).mean(1)), 12, True),
        *(Rule(f"prompt loss × (L1/sd)^{w:g}", lambda r, w=w: hindsight(weighted(r, w)), 12, True) for w in (0.5, 2.0)),
        *(Rule(f"interaction loss, n = {n}", lambda r, n=n: hindsight(fewer_words(r, n)), 12, True) for n in (3, 4, 5)),
        *(
            Rule(f"prompt loss × {name}", lambda r, f=f: hindsight(_log(prompt_loss(r)) + f(r)), 12)
            for name, f in replaced.items()
        ),
        *(
            Rule(f"interaction loss, patience {k}", lambda r, k=k: patient(weighted(r, 1.0), k), 12, True)
            for k in (1, 2, 3)
        ),
        *(Rule(f"eval loss, patience {k}", lambda r, k=k: patient(r.eval_loss, k), 200) for k in (1, 2)),
    ]


def _mean_regrets(record: Record, kept: list[int]) -> dict[str, float]:
    return {
        name: float(np.mean([values[1:].max() - values[k] for k in kept])) for name, values in record.outcomes.items()
    }


def few_rows(record: Record, count: int, draws: int = 100) -> dict[str, float]:
    """Mean regrets of eval loss in hindsight on `count` of the eval rows, over random draws of rows."""
    rng = np.random.default_rng(0)
    total = record.arrays["eval_nll"].shape[1]
    return _mean_regrets(
        record, [hindsight(record.eval_loss_of(rng.permutation(total)[:count])).kept for _ in range(draws)]
    )


def few_prompts(record: Record, count: int, draws: int = 100) -> dict[str, float]:
    """Mean regrets of the interaction loss in hindsight on `count` of the prompts, over random draws of prompts."""
    rng = np.random.default_rng(0)
    loss = loss_of(record.scores[..., -1])
    made = np.log(scale(record.effects, record.scores)["l1_per_sd"])
    kept = []
    for _ in range(draws):
        some = rng.permutation(loss.shape[1])[:count]
        kept.append(hindsight(_log(loss[:, some].mean(1)) + made[:, some].mean(1)).kept)
    return _mean_regrets(record, kept)


def fewer_words(record: Record, n: int) -> np.ndarray:
    """[T] log interaction loss with n of the prompts' words: the others are never masked."""
    scores = record.scores[..., -(1 << n) :]  # coalitions that hold every word from the n-th on
    effects = effects_of(scores, record.arrays["noise"])
    return _log(prompt_loss(record)) + np.log(scale(effects, scores)["l1_per_sd"]).mean(1)
