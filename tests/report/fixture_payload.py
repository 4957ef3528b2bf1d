"""A made-up run that looks like a real one: 8 prompts, n = 7 words, steps 0..80, three definitions, with or without gamma.

Interactions are simulated per prompt (most of the reference's die early, new ones come, late ones are weak, cancelling and
of high order), and the summary is computed from them, so page and tables agree. Seeded: the same call gives the same payload.
"""

import math
import random
from statistics import mean, stdev

STEPS = [0, 5, 10, 20, 40, 80]
N = 7
SURVIVE = {0: 1.0, 5: 0.62, 10: 0.38, 20: 0.19, 40: 0.11, 80: 0.06}  # share of the reference still there
EMERGED = {0: (0, 0.0), 5: (44, 9.0), 10: (89, 15.0), 20: (75, 7.5), 40: (76, 6.9), 80: (108, 21.0)}  # count, strength
ORDER = {5: 4.2, 10: 4.2, 20: 3.7, 40: 3.6, 80: 4.5}
TASK = {
    0: (12.67, 12.5, 0.10),
    5: (8.9, 8.6, 0.10),
    10: (5.16, 4.99, 0.14),
    20: (2.61, 2.24, 0.46),
    40: (1.75, 1.28, 0.525),
    80: (1.94, 0.39, 0.505),
}
PROMPTS = [
    ("Thank you so much for the kind words, this community always makes my whole week brighter.", "gratitude"),
    ("I can't believe they cancelled the show again, what a ridiculous way to treat loyal fans.", "anger"),
    ("Honestly I was terrified the whole flight, every bump felt like the wing would break.", "fear"),
    ("My grandmother passed away last night and the house feels so empty without her singing.", "grief"),
    ("Wait, so the quiet neighbour was the author of that famous book? Never saw that coming!", "surprise"),
    ("Love how the puppy keeps stealing socks and hiding them under the blue couch.", "amusement"),
    ("Could anyone explain why the update deleted my saved games and reset every setting?", "confusion"),
    ("Proud of my sister, she finished the marathon despite the rain and a sprained ankle.", "pride"),
]
STOP = {"for", "the", "this", "was", "every", "they", "what", "that", "and", "how", "them", "why", "did", "she", "you"}


def _words(text: str, rng: random.Random) -> list[dict]:
    found, at = [], 0
    for token in text.split():
        start = text.index(token, at)
        at = start + len(token)
        word = token.strip(".,!?")
        if len(word) > 2 and word.lower() not in STOP:
            found.append({"text": word, "start": start, "end": start + len(word)})
    return [found[i] for i in sorted(rng.sample(range(len(found)), N))]


def _draw(count: int, strength: float, order: float, lean: float, taken: set, rng: random.Random) -> dict:
    """`count` interactions not in `taken` with total `strength`, orders around `order`, share of positive signs `lean`."""
    out: dict = {}
    while len(out) < count:
        k = min(N, max(1, round(rng.gauss(order, 1.25))))
        key = ("and" if k == 1 or rng.random() < 0.6 else "or", sum(1 << i for i in rng.sample(range(N), k)))
        if key not in out and key not in taken:
            out[key] = rng.expovariate(1.0) + 0.15
    whole = sum(out.values()) or 1.0
    return {key: v * strength / whole * (1 if rng.random() < lean else -1) for key, v in out.items()}


def _prompt(i: int, rng: random.Random) -> dict:
    text, label = PROMPTS[i]
    reference = _draw(rng.randint(60, 88), rng.uniform(18, 30), 3.9, 0.52, set(), rng)
    fate = {key: rng.random() for key in reference}
    steps = []
    for step in STEPS:
        count, strength = EMERGED[step]
        alive = {k: v for k, v in reference.items() if fate[k] < SURVIVE[step]}
        scale = {0: 1.0, 5: 0.8, 10: 0.7, 20: 0.6, 40: 0.7, 80: 1.1}[step]
        kept = {k: v * scale * rng.uniform(0.7, 1.3) for k, v in alive.items()}
        new = {}
        if count:
            dead = [k for k in reference if k not in alive]
            again = rng.sample(dead, min(len(dead), count // 5))
            new = _draw(round(count * rng.uniform(0.8, 1.2)) - len(again), 1.0, ORDER[step], 0.55, set(reference), rng)
            new |= {k: abs(rng.gauss(0, 1)) * 0.03 * (1 if rng.random() < 0.5 else -1) for k in again}
            size = strength * rng.uniform(0.6, 1.4) / sum(map(abs, new.values()))
            new = {k: v * size for k, v in new.items()}
        items = [
            {"type": k[0], "mask": k[1], "effect": v, "state": "initial" if step == 0 else "preserved"}
            for k, v in kept.items()
        ]
        items += [
            {"type": k[0], "mask": k[1], "effect": v, "state": "reentered" if k in reference else "emerged"}
            for k, v in new.items()
        ]
        gone = [
            {"type": k[0], "mask": k[1], "effect": v} for k, v in reference.items() if k not in kept and k not in new
        ]
        empty = -9.0 + 1.4 * math.log1p(step) + rng.gauss(0, 0.5)
        full = -8.0 + 2.4 * math.log1p(step) + rng.gauss(0, 0.6)
        steps.append(
            {
                "step": step,
                "score_full": full,
                "score_empty": empty,
                "duality_gap": 4e-4,
                "residual": 0.031,
                "sigma": 2.1e-5,
                "rms": 0.2,
                "tau": 0.05 * max(abs(x["effect"]) for x in items),
                "interactions": sorted(items, key=lambda x: -abs(x["effect"])),
                "removed": sorted(gone, key=lambda x: -abs(x["effect"])),
            }
        )
    return {
        "id": f"test-{17 + 31 * i}",
        "text": text,
        "target": f" {label[:5]}",
        "label": label,
        "n": N,
        "words": _words(text, rng),
        "steps": steps,
    }


def _shown(prompt: dict, rng: random.Random) -> dict:
    """The prompt as the page takes it: every interaction with its effect at the reference and what became of it."""
    before = {(x["type"], x["mask"]): x["effect"] for x in prompt["steps"][0]["interactions"]}
    steps = []
    for step in prompt["steps"]:
        now = {(x["type"], x["mask"]): x["effect"] for x in step["interactions"]}
        rows = []
        for key in sorted({*before, *now}):
            a, b = before.get(key, 0.0), now.get(key, 0.0)
            outcome = (
                "flipped"
                if a * b < 0
                else "stronger"
                if abs(b) > 2 * abs(a)
                else "weaker"
                if 2 * abs(b) < abs(a)
                else "kept"
            )
            outcome = "new" if not a else "gone" if not b else outcome
            rows.append({"type": key[0], "mask": key[1], "before": a, "effect": b, "outcome": outcome})
        rest = {k: v for k, v in step.items() if k not in ("interactions", "removed")}
        steps.append(rest | {"interactions": rows, "shapley": [rng.gauss(0, 1) for _ in range(N)]})
    return prompt | {"steps": steps, "floor": 0.6}


def _of(step: dict, set_: str) -> list[tuple[int, float]]:
    wanted = {
        "all": ("preserved", "initial", "emerged", "reentered"),
        "preserved": ("preserved", "initial"),
        "emerged": ("emerged", "reentered"),
        "reentered": ("reentered",),
        "kept": ("preserved", "initial", "reentered"),
    }
    source = step["removed"] if set_ == "removed" else [x for x in step["interactions"] if x["state"] in wanted[set_]]
    return [(x["mask"].bit_count(), x["effect"]) for x in source]


def _measures(effects: list[tuple[int, float]], rng: random.Random) -> dict:
    values = [v for _, v in effects]
    size = sum(map(abs, values))
    out = {("count", 0): float(len(values)), ("strength", 0): size}
    for k in range(1, N + 1):
        out["positive", k] = sum(v for o, v in effects if o == k and v > 0)
        out["negative", k] = sum(v for o, v in effects if o == k and v < 0)
    if values:
        out["mean_order", 0] = sum(o * abs(v) for o, v in effects) / size
        out["rho", 0] = abs(sum(values)) / size
        out["contribution", 0] = sum(values) / len(values)
        out["sufficiency", 0] = math.log1p(math.exp(-max(-30, min(30, sum(values)))))
        out["gamma", 0] = max(0.0, min(1.0, rng.gauss(0.09 + 0.8 / len(values), 0.03)))
    return out


def _null(measure: str, order: int, set_: str, value: float, step: int, rng: random.Random) -> float | None:
    floor = {"all": 1.0, "preserved": 0.58, "emerged": 0.44, "removed": 0.42, "kept": 0.6, "reentered": 0.0}[set_]
    if measure in ("count", "strength"):
        return (74 if measure == "count" else 24) * floor * (0.7 if measure == "strength" and floor < 0.5 else 1)
    if measure in ("positive", "negative"):
        bell = math.exp(-((order - 3.8) ** 2) / 3.2)
        return (1 if measure == "positive" else -1) * 12 * floor * 0.33 * bell
    if measure == "rho":
        return 0.13 if set_ != "preserved" else 0.13 + 0.45 * (1 - SURVIVE[step])
    if measure == "mean_order":
        return 3.85
    if measure == "gamma":
        return 0.07 + (0.09 * (1 - SURVIVE[step]) if set_ == "preserved" else 0)
    return {"contribution": 0.02, "sufficiency": 0.9}.get(measure)


def _row(
    definition: str, step: int, set_: str, measure: str, order: int, values: list[float], null: float | None
) -> dict:
    centre = mean(values)
    half = 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    row = {"definition": definition, "step": step, "set": set_, "measure": measure, "order": order, "value": centre}
    low = 0.0 if measure in ("count", "strength", "rho", "gamma", "sufficiency") else -math.inf
    wide = None if null is None else abs(null) * 0.14
    row |= {"lo": max(low, centre - half), "hi": centre + half, "samples": len(values), "null": null}
    return row | {"null_lo": None if null is None else null - wide, "null_hi": None if null is None else null + wide}


def _summary(prompts: list[dict], definitions: list[str], gamma: bool, floor: bool, rng: random.Random) -> list[dict]:
    rows = []
    sets = ("all", "preserved", "emerged", "removed", "kept", "reentered")
    for r, definition in enumerate(definitions):
        for s, step in enumerate(STEPS):
            for set_ in sets:
                found = [_measures(_of(p["steps"][s], set_), rng) for p in prompts]
                for key in sorted({k for f in found for k in f}):
                    measure, order = key
                    if (measure == "gamma" and not gamma) or (
                        set_ in ("kept", "reentered") and measure not in ("count", "strength")
                    ):
                        continue
                    values = [f[key] * (1 + 0.12 * r * (set_ == "emerged")) for f in found if key in f]
                    turnover = measure in ("count", "strength", "positive", "negative", "mean_order")
                    null = _null(measure, order, set_, mean(values), step, rng) if floor or not turnover else None
                    if set_ == "all" and turnover:
                        null = None
                    rows.append(_row(definition, step, set_, measure, order, values, null))
    spread = {0: 1.9, 5: 1.6, 10: 1.3, 20: 0.8, 40: 0.85, 80: 1.5}
    for s, step in enumerate(STEPS):
        l1 = [1.12 * sum(abs(x["effect"]) for x in p["steps"][s]["interactions"]) for p in prompts]
        sd = [spread[step] * rng.uniform(0.8, 1.2) for _ in prompts]
        gap = [abs(p["steps"][s]["score_full"] - p["steps"][s]["score_empty"]) + 0.3 for p in prompts]
        more = {
            "l1": l1,
            "sd": sd,
            "total_effect": gap,
            "l1_per_sd": [a / b for a, b in zip(l1, sd, strict=True)],
            "l1_per_total_effect": [a / b for a, b in zip(l1, gap, strict=True)],
            "walsh_high": [min(1.0, 0.2 + 0.1 * abs(rng.gauss(0, 1)) + 0.002 * step) for _ in prompts],
        }
        rows += [_row(definitions[0], step, "all", measure, 0, values, None) for measure, values in more.items()]
        for k in range(1, N + 1):
            noise = math.comb(N, k) * 2 ** (k / 2) * 8e-4
            rows.append(_row(definitions[0], step, "all", "noise", k, [noise, noise], None))
    return rows


def make_payload(
    gamma: bool = True, floor: bool = True, definitions: tuple = ("common", "paper", "signed"), prompts: int = 8
) -> dict:
    """The whole payload; `gamma`/`floor` False: no baseline LLM, no rephrased template."""
    rng = random.Random(20260517)
    made = [_prompt(i, rng) for i in range(prompts)]
    notes = ["8 prompts and one seed: the intervals are wide, and the rule was tuned on no other model."]
    if not gamma:
        notes.append("No baseline LLM was given, so generalizability is not shown: run with BASELINE=1.")
    return {
        "title": "Which checkpoint of this fine-tuning run to keep",
        "subtitle": "SmolLM2-135M-Instruct · GoEmotions, 800 rows · LoRA r = 8 · 80 steps",
        "version": "0.1.0",
        "created": "2026-05-17",
        "recommendation": {
            "step": 40,
            "sentence": "At step 40 emerged strength is at its lowest after format learning, inside what rephrasing alone "
            "causes; by step 80 it has tripled, and what came neither agrees with a second model nor points one way.",
            "rule": "emerged strength against the churn floor, patience 1, bootstrap over prompts",
            "evidence": [
                {
                    "name": "emerged strength at step 80 over step 40",
                    "step": None,
                    "value": 3.04,
                    "lo": 2.31,
                    "hi": 3.92,
                },
                {"name": "share of it above the churn floor", "step": None, "value": 0.66, "lo": 0.48, "hi": 0.78},
                {
                    "name": "uncancelled ratio (rho) of what emerged",
                    "step": None,
                    "value": 0.15,
                    "lo": 0.09,
                    "hi": 0.21,
                },
                {
                    "name": "eval loss given up against the best, nats",
                    "step": None,
                    "value": 0.0,
                    "lo": None,
                    "hi": None,
                },
            ],
            "rivals": {"lowest eval loss": 40, "best accuracy": 40, "eval-loss patience 1": 80, "last checkpoint": 80},
        },
        "steps": list(STEPS),
        "reference": 0,
        "summary": _summary(made, list(definitions), gamma, floor, rng),
        "task": [
            {
                "step": s,
                "eval_loss": e,
                "train_loss": t,
                "accuracy": a,
                "accuracy_lo": a - 0.035,
                "accuracy_hi": a + 0.035,
            }
            for s, (e, t, a) in TASK.items()
        ],
        "prompts": [_shown(prompt, rng) for prompt in made],
        "method": [
            {
                "name": "model",
                "value": "HuggingFaceTB/SmolLM2-135M-Instruct",
                "note": "sha256 of weights 5af571cbf0744…",
            },
            {
                "name": "training",
                "value": "LoRA r = 8, lr 3e-4 constant, batch 8, seed 0",
                "note": "80 steps, 0.8 epochs",
            },
            {"name": "dtype of scoring", "value": "float32", "note": "effects in float64"},
            {"name": "words per prompt, n", "value": 7, "note": "128 masks a prompt"},
            {"name": "tolerance, delta", "value": 0.031, "note": "2 % of the mean score gained, at least 3 sigma"},
            {"name": "salience threshold, tau", "value": "5 % of the largest effect", "note": "per prompt and step"},
            {"name": "worst certificate gap", "value": 8.7e-4, "note": "distance to the optimum, relative"},
            {"name": "worst residual", "value": 0.031, "note": "log-odds; never above delta"},
            {"name": "noise of a score, sigma", "value": 2.1e-5, "note": "log-odds"},
            {"name": "masking token", "value": "<|endoftext|>", "note": "same length, same positions"},
            {"name": "chat template", "value": "sha256 91be7a40…", "note": "the one that trained"},
            {"name": "share of wall time, training", "value": "61 %", "note": None},
            {"name": "share of wall time, scoring", "value": "34 %", "note": None},
        ],
        "skipped": [{"id": "test-112", "reason": "only 3 words left after stop words, expected at least 4"}],
        "notes": notes,
        "settings": "model: HuggingFaceTB/SmolLM2-135M-Instruct\ntraining:\n  rank: 8\n  lr: 3.0e-4\nprobes:\n  count: 8\n  words: 7\n",
    }


def make_undecided() -> dict:
    """A run whose prompts cannot tell the checkpoints apart, with the rule's evidence at every step and reference 5."""
    payload = make_payload(gamma=False, prompts=3)
    payload["reference"] = 5
    evidence = []
    for name, base in (("cancelled_per_sd", 14.0), ("above_lowest", 2.0)):
        for i, step in enumerate(STEPS[2:]):
            v = base + (2 - i) * (i - 1)
            evidence.append({"name": name, "step": step, "value": v, "lo": v - 3, "hi": v + 3.5})
    evidence += [{"name": "cancelled_per_sd", "step": 5, "value": 17.0, "lo": 12.0, "hi": 21.0}]
    payload["recommendation"] |= {
        "basis": "last",
        "sentence": "No evidence to choose: the cancelled interaction strength per unit of spread of 3 prompts does not tell "
        "the 5 checkpoints apart; step 40 is named only because its eval loss is the lowest (provisional rule).",
        "rule": "earliest-near-lowest-cancelled-strength",
        "evidence": evidence,
        "rivals": {"eval_loss": 40, "accuracy": 40, "l1": 40, "last": 80},
    }
    return payload


VIEWS = (
    ("reference-20", "sets relative to step 20", "Removed, preserved and emerged since step 20."),
    ("labels", "log-odds among the labels", "v against the other labels only."),
    ("few-shot", "step 0 with examples", "Step 0 is the base model shown examples in its prompt."),
)
VIEWED = (("removed", "count_fraction"), ("emerged", "count_fraction"), ("all", "l1"), ("preserved", "gamma"),
          ("emerged", "gamma"), ("emerged", "rho"), ("all", "mean_order"))  # fmt: skip
BASELINES = (("SmolLM2-360M", "llama", True), ("pythia-410m", "gpt-neox", False))
CURVES = {"accuracy": 0.1, "macro_f1": 0.08, "exact_match": 0.09, "rouge_l": 0.12, "kl_base": 0.2, "retention_ppl": 18.0,
          "ood_accuracy": 0.07, "ood_macro_f1": 0.06}  # fmt: skip


def make_controlled() -> dict:
    """The same run with every control, all task columns, correlations and fidelity: the shapes of the run folder's tables."""
    payload = make_payload()
    rng = random.Random(7)
    payload["summary"] += [
        _share(r, s, set_) for r in ("common", "paper") for s in STEPS for set_ in ("removed", "emerged")
    ]
    main = [r for r in payload["summary"] if r["definition"] == "common"]
    payload["views"] = [
        {"view": name, **row, "value": row["value"] * (0.8 + 0.1 * i)}
        for i, (name, _, _) in enumerate(VIEWS)
        for row in main
        if (row["set"], row["measure"]) in VIEWED
    ]
    payload["baselines"] = [
        {"baseline": name, **row, "value": min(1.0, row["value"] * (1 + 0.3 * i))}
        for i, (name, _, _) in enumerate(BASELINES)
        for row in main
        if row["measure"] == "gamma"
    ]
    keys = [
        {"reference": ref, "floor": floor, "definition": "common", "set": set_, "measure": measure}
        for ref in (0, 20)
        for floor in ("rephrased", "precision", "words")
        for set_ in ("removed", "emerged")
        for measure in ("count", "strength", "count_fraction", "strength_fraction")
    ]
    payload["floors"] = [{**key, "value": 20.0, "lo": 15.0, "hi": 26.0, "samples": 8} for key in keys]
    payload["multiples"] = [
        {**key, "step": step, "ratio": _multiple(key, step), "lo": 0.5, "hi": 30.0}
        for key in keys
        for step in STEPS
        if step > key["reference"]
    ]
    payload["controls"] = {
        "views": [
            {"name": n, "title": t, "note": about, "reference": 0, "recommended": 40, "basis": "rule", "samples": 8}
            for n, t, about in VIEWS
        ],
        "baselines": [{"name": n, "family": f, "same_family": same} for n, f, same in BASELINES],
        "floors": [
            {"name": "rephrased", "title": "another wording", "note": "one or two words of the template changed"}
        ],
        "second_reference": 20,
        "notes": ["Two baseline LLMs: their spread says little."],
    }
    for i, row in enumerate(payload["task"]):
        row |= {"rows": 200.0, "kl_base_reverse": 0.2 * i, "ood_loss": 9.0 - i}
        for name, base in CURVES.items():
            value = base * (1 + i)
            row |= {name: value, f"{name}_lo": value * 0.8, f"{name}_hi": value * 1.2}
    payload["correlations"] = [
        {
            "interaction": a,
            "task": b,
            "span": span,
            "spearman": rank,
            "lo": rank - w,
            "hi": min(1.0, rank + w),
            "checkpoints": 6,
        }
        for span in ("all", "after-format")
        for a, rank in (("l1_per_sd", 0.9), ("emerged strength", -0.75), ("gamma", 0.1))
        for b, w in (("eval_loss", 0.2), ("accuracy", 0.95))
    ]
    payload["fidelity"] = _fidelity(payload["prompts"], rng)
    return payload


def _share(definition: str, step: int, set_: str) -> dict:
    value = 1 - SURVIVE[step] if set_ == "removed" else min(1.0, EMERGED[step][0] / 110)
    return _row(definition, step, set_, "count_fraction", 0, [value * 0.95, value, value * 1.02], 0.42)


def _multiple(key: dict, step: int) -> float | None:
    """The precision floor is zero at strength: nothing can be a multiple of it."""
    if key["floor"] == "precision" and key["measure"] == "strength":
        return None
    return {"rephrased": 2.0, "precision": 14.0, "words": 1.5}[key["floor"]] * (1 + step / 80)


def _fidelity(prompts: list[dict], rng: random.Random) -> dict:
    ranks = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    figures = {"rms": (0.3, 1.4), "r2": (0.9, -1.0), "rms_all": (0.02, None)}
    rows = [
        {
            "step": s,
            "measure": m,
            "value": v,
            "lo": v * 0.8,
            "hi": v * 1.1,
            "null": null,
            "null_lo": null,
            "null_hi": null,
        }
        for s in STEPS
        for m, (v, null) in figures.items()
    ]
    matching = []
    for prompt, step in ((prompts[0], 0), (prompts[-1], 40)):
        score = sorted(rng.gauss(-3, 1) for _ in range(40))
        matching.append(
            {
                "prompt": prompt["id"],
                "step": step,
                "count": 30,
                "of": 128,
                "rms": rng.uniform(0.1, 0.5),
                "score": score,
                "salient": [v + rng.gauss(0, 0.3) for v in score],
                "all": [v + rng.gauss(0, 0.02) for v in score],
            }
        )
    share = [r**-(0.6) for r in ranks]
    curves = [{"step": s, "value": share, "lo": [v * 0.8 for v in share], "hi": share} for s in (0, 20, 40, 80)]
    return {"rows": rows, "ranks": ranks, "ratio": 0.05, "curves": curves, "matching": matching}


NASTY = (
    "<img src=x onerror=window.__pwned=1>",
    "</script><script>window.__pwned=2</script>",
    "\u2028window.__pwned=3\u2029",
    "{{7*7}}{% include 'x' %}",
    "\u202e\u2067reversed",
    "nul\x00nul\x1b[31m",
    "x" * 100_000,
    "\"onmouseover=window.__pwned=4 '",
    "\ud800lone",
    "javascript:window.__pwned=5",
    "<!--<script>",
    "&lt;b&gt;",
)


def make_hostile() -> dict:
    """The same run with every string hostile."""
    payload = make_controlled()
    nasty = iter(NASTY * 40)
    for key in ("title", "subtitle", "version", "created", "settings"):
        payload[key] = next(nasty)
    recommendation = payload["recommendation"]
    recommendation["sentence"], recommendation["rule"] = "".join(NASTY), next(nasty)
    for e in recommendation["evidence"]:
        e["name"] = next(nasty)
    recommendation["rivals"] = {text: payload["steps"][i % 6] for i, text in enumerate(NASTY)}
    renamed = {"common": NASTY[0], "paper": NASTY[1], "signed": NASTY[6]}
    for name in ("summary", "views", "baselines", "floors", "multiples"):
        for row in payload[name]:
            row["definition"] = renamed[row["definition"]]
    _rename_controls(payload)
    for i, prompt in enumerate(payload["prompts"]):
        for one in payload["fidelity"]["matching"]:
            one["prompt"] = NASTY[i] if one["prompt"] == prompt["id"] else one["prompt"]
        prompt["id"], prompt["target"], prompt["label"] = NASTY[i], NASTY[i + 1], NASTY[i + 2]
        text, words = "", []
        for j in range(prompt["n"]):
            text += " and " + NASTY[(i + j + 3) % len(NASTY)] + " then "
            word = NASTY[(i + j) % len(NASTY)]
            words.append({"text": word, "start": len(text), "end": len(text) + len(word)})
            text += word
        prompt["text"], prompt["words"] = text, words
    payload["method"] = [{"name": t, "value": t, "note": t} for t in NASTY]
    payload["skipped"] = [{"id": t, "reason": t} for t in NASTY]
    payload["notes"] = list(NASTY)
    return payload


def _rename_controls(payload: dict) -> None:
    """Every name in the tables of controls hostile too, the same name where two tables share it."""
    swap = {name: NASTY[i % len(NASTY)] for i, name in enumerate([v[0] for v in VIEWS] + [b[0] for b in BASELINES])}
    floors = {"rephrased": NASTY[0], "precision": NASTY[1], "words": NASTY[6]}
    for table, key, names in (
        ("views", "view", swap),
        ("baselines", "baseline", swap),
        ("floors", "floor", floors),
        ("multiples", "floor", floors),
    ):
        for row in payload[table]:
            row[key] = names[row[key]]
    controls = payload["controls"]
    for i, view in enumerate(controls["views"]):
        view |= {"name": swap[view["name"]], "title": NASTY[i + 3], "note": NASTY[i + 5], "basis": NASTY[i]}
    for i, baseline in enumerate(controls["baselines"]):
        baseline |= {"name": swap[baseline["name"]], "family": NASTY[i + 4]}
    controls["floors"] = [{"name": n, "title": n, "note": NASTY[i + 7]} for i, n in enumerate(floors.values())]
    controls["notes"] = list(NASTY)
    for i, row in enumerate(payload["correlations"]):
        row |= {"interaction": NASTY[i % 3], "task": NASTY[3 + i % 2], "span": NASTY[5 + i % 2]}
