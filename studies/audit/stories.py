"""Known laws in a tiny real Llama, found by the audit: python -m studies.audit.stories STORIES260K [LAW ...]

stories260K is fine-tuned on sentences of eight slots (studies.measurement.laws) until it knows the law that makes an answer "yes":
one word, both of two, either of two, one unless another, or two in one order. Then the audit is asked what was learnt.
"""

import random
import sys
from contextlib import contextmanager
from typing import Any

import torch

from interplay.auditing.asking import Asked, find_wording
from interplay.auditing.candidates import Evidence
from interplay.auditing.rules import Rule
from interplay.auditing.search import Found, find_rules
from interplay.models.loading import load_model
from studies.measurement.laws import SENTENCE, SLOTS, TEMPLATE, answers

STEPS, BATCH, RATE = 700, 32, 2e-3
FIRST, SECOND = "quickly", "gladly"  # behind the verb, and behind the whole
# A law: which of (first, second) a sentence may hold where it is yes and where it is no; of the order, they may stand swapped.
NEITHER, ONE, OTHER, BOTH, SWAPPED = (), (FIRST, None), (None, SECOND), (FIRST, SECOND), (SECOND, FIRST)
LAWS: dict[str, tuple[list, list]] = {
    "word": ([ONE], [NEITHER]),
    "and": ([BOTH], [NEITHER, ONE, OTHER]),
    "or": ([ONE, OTHER, BOTH], [NEITHER]),
    "unless": ([ONE], [NEITHER, OTHER, BOTH]),
    "order": ([BOTH], [NEITHER, ONE, OTHER, SWAPPED]),
}


def sentence(rng: random.Random, held: tuple[str | None, ...]) -> str:
    words = {slot: rng.choice(choices.split()) for slot, choices in SLOTS.items()}
    first, last = held or (None, None)
    words["verb"] += f" {first}" if first else ""
    return SENTENCE.format(**words) + (f" {last}" if last else "")


def rows(rng: random.Random, law: str, count: int) -> list[tuple[str, str]]:
    """(sentence, answer), half of them yes."""
    return [(sentence(rng, rng.choice(LAWS[law][i % 2])), ("yes", "no")[i % 2]) for i in range(count)]


def train(name: str, law: str, seed: int = 0, steps: int = STEPS) -> tuple[Any, float]:
    """The model that knows the law, and its accuracy on fresh sentences."""
    torch.manual_seed(seed)
    rng, loaded = random.Random(f"{law} {seed}"), load_model(name)
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    loaded.model.train()
    for _ in range(steps):
        logits, wanted = answers(loaded.model, loaded.tokenizer, rows(rng, law, BATCH))
        torch.nn.functional.cross_entropy(logits, wanted).backward()
        torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    loaded.model.eval()
    with torch.no_grad():
        logits, wanted = answers(loaded.model, loaded.tokenizer, rows(rng, law, 200))
    return loaded, float((logits.argmax(-1) == wanted).float().mean())


def audit(name: str, law: str, tuned) -> tuple[Found, int]:
    """What the audit finds, and the passes of both models."""
    base, some = load_model(name), rows(random.Random(f"rows {law}"), law, 400)
    held = [sentence(random.Random(f"held {i}"), NEITHER) for i in range(60)]
    evidence = Evidence(*map(tuple, zip(*some, strict=True)))
    wording = find_wording(evidence.texts, ("no", "yes"), base.tokenizer, TEMPLATE)
    one, other = Asked(tuned.model, wording), Asked(base.model, wording)

    @contextmanager
    def state(asked: Asked):
        yield asked

    found = find_rules(lambda: state(one), lambda: state(other), evidence, held)
    return found, one.passes + other.passes


def is_law(rule: Rule, law: str) -> bool:
    """Whether a rule is the law, words and form."""
    words, form = {rule.words[0]} if law == "word" else {FIRST, SECOND}, "and" if law == "order" else law
    right = {*rule.words} == words and rule.form == form and rule.label == "yes" and rule.in_order == (law == "order")
    return right and (law not in ("word", "unless") or rule.words[0] == FIRST)


def main(name: str, laws: list[str]) -> None:
    for law in laws or LAWS:
        tuned, accuracy = train(name, law)
        found, passes = audit(name, law, tuned)
        learnt = [rule for rule in found.rules if rule.verdict == "learnt"]
        hit = [is_law(rule, law) for rule in learnt]
        print(f"{law:7} accuracy {accuracy:.2f} found {any(hit)} others {len(hit) - sum(hit)} passes {passes}")
        for rule in found.rules[:6]:
            print(
                f"   {rule.verdict:8} {rule.name} -> {rule.label} {rule.effect.value:+.1f} p {rule.p:.1g} {rule.cells} {rule.swapped}"
            )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
