"""Rules that are followed while a model trains: what their words do to its answers at every measurement, by name.

Few prompts, no control words, no test: this shows when a rule came, `interplay audit` whether it is one.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.auditing.asking import Asked, find_wording, free_wording
from interplay.auditing.candidates import Evidence
from interplay.auditing.following import FOLLOWED, carriers_without
from interplay.auditing.forms import LEAST, Effect, effect_over
from interplay.auditing.openings import answer_of, find_openings
from interplay.auditing.result import Audit
from interplay.auditing.rules import Rule
from interplay.auditing.stage import MOST_LABELS
from interplay.callback.options import CallbackOptions, is_dataset
from interplay.callback.prompts import MAX_ROWS, PromptRows, read_prompts, some_rows
from interplay.data.prompts import Rendered
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.scoring.targets import alike
from interplay.text import short

FEWEST = 4  # prompts that each rule is put into [ours]
ROWS_AN_ANSWER = 5  # on average, from which on answers without labels are taken for labels [ours]
UNKNOWN = Effect(math.nan, math.nan, math.nan, math.nan)
NOTHING = (UNKNOWN, UNKNOWN, UNKNOWN, math.nan, 0, 0, math.nan)  # what is known of a rule before it is measured


class RefusedAuditError(InterplayError):
    """What `audit=` asks for cannot be followed. Said before the first step, when it costs nothing."""


class Follower:
    """A few rules and the prompts they are put into; `note` is told what is left out.

    train: the rows that are counted; None: the rules are those of an audit. InterplayError where prompts or labels do not do.
    """

    def __init__(
        self, options: CallbackOptions, prompts: PromptRows, train: PromptRows | None, tokenizer: Any, note: Callable
    ) -> None:
        self.tokenizer, self.passes, self.train_rows = tokenizer, 0, len(train.rows) if train else 0
        texts = [row.text for row in (*prompts.rows, *(train.rows if train else ()))]
        self.head = re.sub(r"\w+\Z", "", texts[0][: alike(texts)])  # the wording around all texts, where rows hold it
        ends = [text[len(self.head) :][::-1] for text in texts]
        self.tail = re.sub(r"\A\w+", "", ends[0][: alike(ends)][::-1])
        self.rules = self._rules_in(train) if train else self._rules_of(options.audit, prompts)
        self.write(prompts)
        self.carriers = carriers_without([self._bare(row) for row in prompts.rows], self.rules, options.seed)
        if (count := len(self.carriers.texts)) < FEWEST:
            raise InterplayError(f"{count} prompts are too few to put words into: give a dozen or more")
        if not self.rules:
            note("no word or pair of the training rows stands out with an answer: audit=True follows none")
        for rule in [*self.rules]:
            if self.carriers.with_(rule.cue).count(None) > count - FEWEST:
                note(f"too many prompts hold {rule.name} to put it into them: it is not followed")
                self.rules.remove(rule)
        self.texts = self.carriers.all_of([rule.cue for rule in self.rules])

    def _bare(self, row: Row) -> str:
        return row.text[len(self.head) : len(row.text) - len(self.tail)]

    def _answers(self, rows: PromptRows) -> list[str]:
        end = self.tokenizer.eos_token or ""
        return [row.label or row.target.strip().removesuffix(end).strip() for row in rows.rows]

    def _rules_of(self, audit: Audit, prompts: PromptRows) -> list[Rule]:
        self.labels, self.free = audit.labels, audit.free
        if not self.free and not {*self._answers(prompts)} & {*self.labels}:
            raise InterplayError(f"no prompt answers one of its labels ({', '.join(map(short, self.labels[:4]))})")
        rules = [*audit.learnt, *(r for r in audit.rules if r.verdict not in ("learnt", "nothing"))][:FOLLOWED]
        return [Rule(r.words, r.form, r.label, "followed", *NOTHING, r.phrases, r.counted) for r in rules]

    def _rules_in(self, train: PromptRows) -> list[Rule]:
        """The words and pairs that stand out most. Counts only."""
        answers = self._answers(train)
        found = sorted({*answers})
        if len(found) < 2:
            raise InterplayError(f"all training rows have the answer {short(found[0])}: rules need two or more")
        self.free = not train.labels and len(found) > min(MOST_LABELS, len(answers) // ROWS_AN_ANSWER)
        self.labels = find_openings(answers) if self.free else train.labels or tuple(found)
        if not self.labels:
            raise InterplayError("the training rows have no labels, and no five answers begin alike")
        named = [answer_of(answer, self.labels) if self.free else answer for answer in answers]
        evidence, rules = Evidence(tuple(map(self._bare, train.rows)), tuple(named)), []
        words, pairs = evidence.suspects(FOLLOWED, FOLLOWED)
        for one in sorted([*words, *pairs], key=lambda one: -one.z):
            if len(rules) == FOLLOWED or (len(one.words) > 1 and any({*rule.words} & {*one.words} for rule in rules)):
                continue  # a pair with a word that is followed already shows little more
            phrases = tuple(map(evidence.phrase, one.words))
            form, phrases = ("word", phrases) if len(phrases) == 1 else ("and", evidence.in_place(one, *phrases))
            rules.append(Rule(one.words, form, one.label, "followed", *NOTHING, phrases, one))
        return rules

    def write(self, prompts: PromptRows) -> None:
        """Word texts as the first prompt, behind its earlier turns; again where the day in that wording changed."""
        first = prompts.rows[0]
        *earlier, last = first.messages
        before, behind = last.content[: first.text_start], last.content[first.text_start + len(first.text) :]
        template = PromptTemplate(template=f"{before}{self.head}{{text}}{self.tail}{behind}")
        space = first.target[: len(first.target) - len(first.target.lstrip())]

        def written(row: Row) -> Rendered:
            row = replace(row, messages=(*earlier, row.messages[-1]), target=space + row.target, given=first.given)
            return prompts.rendered(self.tokenizer, row)

        worded = free_wording if self.free else find_wording
        self.wording = worded(map(self._bare, prompts.rows), self.labels, self.tokenizer, template, written)
        if lost := {rule.label for rule in self.rules} - {*self.wording.labels}:
            raise InterplayError(f"{', '.join(map(short, sorted(lost)))} cannot be an answer to the prompts")

    def resume(self, file: Path, step: int) -> None:
        """Take up what an earlier process saw of the same rules up to this step."""
        with suppress(InterplayError):
            earlier = {(rule.phrases, rule.label): rule for rule in Audit.load(file).of("followed")}
            for i, rule in enumerate(self.rules):
                one = earlier.get((rule.phrases, rule.label), rule)
                seen = tuple(at for at in one.steps if at[0] <= step)
                self.rules[i] = replace(one, steps=seen) if seen else rule

    def ask(self, model: Any) -> Asked:
        asked = Asked(model, self.wording)
        asked(self.texts)
        return asked

    def measure(self, model: Any, step: int) -> None:
        """What each rule does under the weights in memory."""
        asked = self.ask(model)
        self.passes += asked.passes
        for i, rule in enumerate(self.rules):
            label = asked.labels.index(rule.label)
            now = effect_over(self.carriers.effects(asked, rule.cue)[:, label])
            flips, tried = self.carriers.flips(asked, rule.cue, label)
            old = rule.before if rule.steps else now
            steps = (*rule.steps, (step, now.value, flips / tried if tried else math.nan))
            change = UNKNOWN._replace(value=now.value - old.value)
            found: dict[str, Any] = {"effect": now, "before": old, "change": change, "flips": flips, "tried": tried}
            self.rules[i] = replace(rule, **found, steps=steps)

    def numbers(self) -> dict[str, float]:
        """What trackers get of the last measurement, under names of letters, digits, "_", "-", "." and "/"."""
        found: dict[str, float] = {}
        for rule in self.rules:
            name = "interplay/rule/" + re.sub(r"[^\w.-]", "_", f"{'_'.join(rule.words)}-{rule.label}")[:100]
            name += "_" * (f"{name}/effect" in found)
            found |= {f"{name}/effect": rule.steps[-1][1], f"{name}/flips": rule.steps[-1][2]}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def grown(self) -> str:
        """The rules whose effect is 1 nat or more above that of the first measurement, in a sentence; "" for none."""
        said = []
        for rule in self.rules:
            high = [effect - rule.before.value >= LEAST for _, effect, _ in rule.steps]
            if high and high[-1]:
                since = rule.steps[len(high) - high[::-1].index(False)][0]  # the first is not above itself
                now = f"{rule.before.value:+.1f} to {rule.effect.value:+.1f} nats, from step {since} on"
                said.append(f"{rule.name} → {rule.label} ({now}; turns {rule.flips} of {rule.tried} prompts)")
        untested = "followed, not tested against control words: interplay audit does that"
        return f"Rules that grew in this training: {', '.join(said)}; {untested}." if said else ""

    def audit(self, model: str, base: str, held: int) -> Audit:
        """What the page shows."""
        said = tuple(filter(None, [self.grown()]))
        rest: Any = (0, 0, len(self.carriers.texts), None, (), self.train_rows, held, self.passes, 0.0, said, self.free)
        return Audit(model, base, None, self.wording.labels, tuple(self.rules), *rest)


def training_rows(options: CallbackOptions, dataset: Any, given: Any) -> PromptRows:
    """The rows of `train=`, else of the trainer; at most `MAX_ROWS`, spread over all. InterplayError if unreadable."""
    source: Any = dataset if options.train is None else options.train
    if is_dataset(source):
        source = source.select(range(0, len(source), max(1, -(-len(source) // MAX_ROWS))))
    elif not isinstance(source, (str, Path)):
        source = some_rows(source, MAX_ROWS // 2) or [{}]
    try:
        read = read_prompts(source, options.template, given)
    except InterplayError as error:
        raise InterplayError(f"the training rows cannot be counted ({error}); train= takes rows of any form") from None
    return replace(read, rows=read.rows[:: -(-len(read.rows) // MAX_ROWS)])
