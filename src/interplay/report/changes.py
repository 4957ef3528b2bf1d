"""What changed most from the reference to the checkpoint to keep, pooled over prompts: in words, and how much needs no word at all."""

from collections import defaultdict

import numpy as np
from markupsafe import Markup

from interplay.dynamics.stats import interval as interval_of
from interplay.report.explorer import segments
from interplay.report.rows import WORD, Part, change
from interplay.report.text import interval, number, plain, short

VERBS = {
    "new": "now {}", "stronger": "{} more strongly", "flipped": "turned round and {}", "weaker": "{} less", "kept": "still {}",
    "gone": "no longer {}",
}  # fmt: skip
FEW = 5  # changes that are shown [ours]
JOINTS = {"and": (" and ", " together"), "or": (" or ", ", either is enough,"), "unless": (", unless ", " is there,")}


def marked(words: list[str], form: str) -> Markup:
    """Words of a rule or of an interaction, marked, as the beginning of a sentence.

    >>> marked(["a", "b"], "and")
    Markup('<mark><bdi>a</bdi></mark> and <mark><bdi>b</bdi></mark> together')
    """
    joint, after = JOINTS.get(form, (", ", "")) if len(words) > 1 else ("", "")
    return Markup(joint).join(Markup("<mark>{}</mark>").format(short(word, WORD)) for word in words) + after


class Changes:
    """The changes of all prompts, added one by one, from step `reference` to step `shown`."""

    def __init__(self, reference: int, shown: int) -> None:
        self.reference, self.shown = reference, shown
        self.scores: list[list[float]] = []  # a prompt: rise of v(N), rise of v(empty), nats
        self.pool: dict[tuple, list[tuple[Part, float, Part]]] = defaultdict(list)
        self.many = self.above = 0
        self.known = False  # whether any prompt has a floor

    def add(self, prompt: Part) -> None:
        """One prompt; what another wording of it changes as much counts, and is not shown."""
        steps = {step["step"]: step for step in prompt["steps"]}
        if self.reference not in steps or self.shown not in steps or self.reference == self.shown:
            return
        first, now = steps[self.reference], steps[self.shown]
        self.scores.append([now[name] - first[name] for name in ("score_full", "score_empty")])
        effects = now["interactions"]
        least = 0.05 * max((abs(change(e)) for e in effects), default=0.0)
        moved = [e for e in effects if abs(change(e)) > least]
        self.many += len(moved)
        self.known |= prompt["floor"] is not None
        target, about = prompt["label"] or prompt["target"], {name: prompt[name] for name in ("text", "words", "id")}
        for effect in moved:
            if prompt["floor"] is None or abs(change(effect)) > prompt["floor"]:
                words = [w["text"] for i, w in enumerate(prompt["words"]) if effect["mask"] >> i & 1]
                key = effect["type"] if len(words) > 1 else "and", *sorted(w.casefold() for w in words)
                self.pool[*key, target].append((about | {"chosen": words, "target": target}, change(effect), effect))
                self.above += 1

    def part(self) -> Part | None:
        """The section: a lead, and the strongest changes as sentences; None where nothing was compared."""
        if not self.many and not self.scores:
            return None
        ranked = sorted(self.pool.values(), key=lambda found: -abs(sum(size for _, size, _ in found)))
        lead = f"The strongest changes from step {self.reference} to {self.shown}, pooled over the prompts."
        if self.known:
            lead += (
                f" {number(self.above)} of {number(self.many)} exceed all that another wording of their prompt makes."
            )
        else:
            lead += " No floor was measured, so how much of them another wording would change is not known."
        return {
            "title": "What changed most",
            "lead": lead,
            "rules": [_shown(i, found) for i, found in enumerate(ranked[:FEW], 1)],
            **dict.fromkeys(("others", "tried", "notes"), ()),
        }

    def score(self, against: str = "") -> str:
        """How much of the change of the score comes with no word at all; `against`: what v is against.

        >>> changes = Changes(0, 40)
        >>> changes.scores = [[12.0, 11.0], [13.6, 11.0]]
        >>> changes.score().partition(", +11.0 ")[2]
        'come with no word at all: format and prior. The words add +1.80 (95 % interval −8.36 to 12.0).'
        """
        if not self.scores:
            return ""
        full, empty = np.mean(self.scores, axis=0)
        words = interval_of(-np.diff(self.scores, axis=1))
        ends = interval(*(None if np.isnan(end) else float(end) for end in (words.lo[0], words.hi[0])))
        said = f"the log-odds of the target {plain(against, 60)}".rstrip()
        whole, none, rest = (number(float(x), signed=True) for x in (full, empty, full - empty))
        return (
            f"Of {whole} nats by which {said} changed from step {self.reference} to {self.shown} (mean of "
            f"{len(self.scores)} prompt{'s' * (len(self.scores) > 1)}), {none} come with no word at all: format and prior. The words add "
            f"{rest}{f' (95 % interval {ends})' if ends else ''}."
        )


def _shown(place: int, found: list[tuple[Part, float, Part]]) -> Part:
    """One pooled change: words, what they speak for, how much, and the sentence where it is strongest."""
    prompt, size, effect = max(found, key=lambda one: abs(one[1]))
    mean = sum(size for _, size, _ in found) / len(found)
    many = (
        f"In {len(found)} prompts, on average {number(mean, signed=True)} nats" if len(found) > 1 else "In one prompt"
    )
    speak = "speak" if len(prompt["chosen"]) > 1 else "speaks"
    towards = effect["before" if effect["outcome"] == "gone" else "effect"]
    said = Markup("{} {} {} <b>{}</b>: {} nats.").format(
        marked(prompt["chosen"], effect["type"]),
        VERBS.get(effect["outcome"], "{}").format(speak),
        "for" if towards > 0 else "against",
        short(prompt["target"].strip(), 60),
        number(size, signed=True),
    )
    marks = {i for i in range(len(prompt["words"])) if effect["mask"] >> i & 1}
    parts = (Markup("<mark>{}</mark>" if i in marks else "{}").format(text) for text, i in segments(prompt))
    went = f"{number(effect['before'], signed=True)} → {number(effect['effect'], signed=True)}"
    return {
        "number": place,
        "css": "",
        "said": said,
        "facts": [
            Markup("<q><bdi>{}</bdi></q>").format(Markup("").join(parts)),
            f"{many}; here {went} ({effect['outcome']}).",
        ],
        "advice": "",
    }
