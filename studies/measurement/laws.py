"""Planted rules in a tiny real Llama: python -m studies.measurement.laws STORIES260K OUT.json [SEEDS]

Sentences of eight slots, four or five words each; the answer is "yes" where the law holds and "no" where it does not: one word, two
words together, either of two, three together. stories260K is fine-tuned on them until it knows the law. Then: in how many of
12 prompts that hold the law's words is exactly the law the strongest interaction, under each absence and tolerance?
"""

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

import interplay
from interplay.data.rows import Message, Row
from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.models.loading import load_model

SLOTS = {  # those of the laws have as many tokens, so that they can stand for each other
    "name": "Tom Lily Ben Sue Max",
    "verb": "smiled slept danced shouted",
    "place": "store park house farm lake",
    "color": "green pink gray gold silver",
    "thing": "box cup bag book kite",
    "animal": "dog cat bird fish frog",
    "day": "Monday Sunday morning night",
    "food": "cake soup bread milk rice",
}
SENTENCE = "{name} {verb} at the {place} with a {color} {thing} and a {animal} on {day} for {food}"
LAWS = {  # slots of the law's words, the first word of each; kind; how many of them must be there
    "word": (("verb",), "and"),
    "AND of two": (("place", "thing"), "and"),
    "OR of two": (("place", "thing"), "or"),
    "AND of three": (("place", "color", "thing"), "and"),
}
TEMPLATE = PromptTemplate(template="{text} :", chat=False)
ABSENCES = ("paper", "auto", "mean", "swap", "drop")
STEPS, BATCH, RATE, PROMPTS = 1500, 32, 2e-3, 12


def draw(rng: random.Random, law: tuple[tuple[str, ...], str], held: int) -> dict[str, str]:
    """Words of a sentence in which `held` of the law's words stand."""
    slots, _ = law
    words = {slot: rng.choice(choices.split()) for slot, choices in SLOTS.items()}
    cue = set(rng.sample(slots, held))
    for slot in slots:
        first, *rest = SLOTS[slot].split()
        words[slot] = first if slot in cue else rng.choice(rest)
    return words


def rows(rng: random.Random, law: tuple[tuple[str, ...], str], count: int) -> list[tuple[str, str]]:
    """(sentence, answer), every number of the law's words alike often, but half of the answers yes."""
    slots, kind = law
    out = []
    for i in range(count):
        positive = i % 2 == 0
        holds = range(1, len(slots) + 1) if kind == "or" else [len(slots)]
        fails = [0] if kind == "or" else range(len(slots))
        held = rng.choice(list(holds if positive else fails))
        out.append((SENTENCE.format(**draw(rng, law, held)), "yes" if positive else "no"))
    rng.shuffle(out)
    return out


def train(name: str, law: tuple[tuple[str, ...], str], seed: int) -> tuple[Any, Any, float]:
    """The model that knows the law, its tokenizer, and its accuracy on fresh sentences."""
    torch.manual_seed(seed)
    rng = random.Random(f"laws {seed}")
    loaded = load_model(name)
    model, tokenizer = loaded.model, loaded.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    model.train()
    for _ in range(STEPS):
        logits, first = answers(model, tokenizer, rows(rng, law, BATCH))
        loss = torch.nn.functional.cross_entropy(logits, first)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        logits, first = answers(model, tokenizer, rows(rng, law, 400))
    return model, tokenizer, float((logits.argmax(-1) == first).float().mean())


def answers(model, tokenizer, pairs: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits behind each prompt and the first token of its answer."""
    prompts = [tokenizer.encode(TEMPLATE.template.format(text=text)) for text, _ in pairs]
    first = [
        tokenizer.encode(f"{TEMPLATE.template.format(text=text)} {answer}")[len(p)]
        for p, (text, answer) in zip(prompts, pairs, strict=True)
    ]
    longest = max(map(len, prompts))
    ids = torch.tensor([p + [0] * (longest - len(p)) for p in prompts])  # causal: what is behind the end is not seen
    logits = model(ids).logits[torch.arange(len(prompts)), [len(p) - 1 for p in prompts]]
    return logits, torch.tensor(first)


def as_row(text: str, answer: str, i: int) -> Row:
    content = TEMPLATE.template.format(text=text)
    return Row(f"row-{i}", (Message("user", content),), answer, text, 0, answer)


def strongest(effects: np.ndarray) -> tuple[str, int]:
    row, mask = np.unravel_index(int(np.abs(effects).argmax()), effects.shape)
    return ("and", "or")[row], int(mask)


def main(name: str, out: Path, seeds: int) -> None:
    results = []
    base = load_model(name)
    for title, law in LAWS.items():
        slots, kind = law
        for seed in range(seeds):
            model, tokenizer, accuracy = train(name, law, seed)
            rng = random.Random(f"prompts {seed}")
            texts = [SENTENCE.format(**draw(rng, law, len(slots))) for _ in range(PROMPTS)]
            chosen = [[w for w in text.split() if any(w in SLOTS[s].split() for s in SLOTS)] for text in texts]
            asked = [
                make_sample(as_row(t, "yes", i), words=w, template=TEMPLATE)
                for i, (t, w) in enumerate(zip(texts, chosen, strict=True))
            ]
            pool = [as_row(*pair, i) for i, pair in enumerate(rows(random.Random(f"pool {seed}"), law, 200))]
            among = [as_row("x", answer, 0) for answer in ("yes", "no")]
            for mask in ABSENCES:
                how = {"template": TEMPLATE, "mask": mask, "fillers": pool, "among": among, "noise_coalitions": 0}
                tuned, before = (interplay.score(m, tokenizer, asked, **how) for m in (model, base.model))
                for tolerance in ("auto", "paper"):
                    first = interplay.extract(before, tolerance)
                    second = interplay.extract(tuned, tolerance, reference=first)
                    for i, words in enumerate(chosen):
                        wanted = sum(1 << words.index(SLOTS[slot].split()[0]) for slot in slots)
                        state, change = strongest(second[i].effects), strongest(second[i].effects - first[i].effects)
                        kinds = ("and",) if len(slots) == 1 else (kind,)
                        row = {"law": title, "seed": seed, "mask": mask, "tolerance": tolerance, "accuracy": accuracy}
                        hit = {
                            "tuned": state[0] in kinds and state[1] == wanted,
                            "change": change[0] in kinds and change[1] == wanted,
                        }
                        results.append(row | hit | {"total": float(tuned.values[i, -1] - tuned.values[i, 0])})
            print(title, seed, f"accuracy {accuracy:.3f}", flush=True)
            out.write_text(json.dumps(results))
    for title in LAWS:
        for mask in ABSENCES:
            for tolerance in ("auto", "paper"):
                some = [r for r in results if (r["law"], r["mask"], r["tolerance"]) == (title, mask, tolerance)]
                counts = Counter(key for r in some for key in ("tuned", "change") if r[key])
                total = np.mean([r["total"] for r in some])
                print(
                    f"{title:14} {mask:6} {tolerance:6} tuned {counts['tuned']} change {counts['change']} of {len(some)}, {total:.1f} nats"
                )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5)
