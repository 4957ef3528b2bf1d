"""The audit between two models: which word rules came, went and stayed from one to the other."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.auditing.audit import audit_subject
from interplay.auditing.forms import Effect
from interplay.auditing.result import Audit
from interplay.auditing.rules import Rule
from interplay.auditing.search import BUDGET, Budget
from interplay.auditing.subject import AnyPath, Subject, read_files
from interplay.errors import InterplayError
from interplay.explanation.names import find_model, load, wording_of
from interplay.models.loading import load_tokenizer
from interplay.models.placement import choose_device
from interplay.pipeline.progress import Progress
from interplay.pipeline.stages import quiet_libraries
from interplay.pipeline.states import Models, ModelState, Source


def diff_models(
    a: Any,
    b: Any,
    train: AnyPath | None,
    prompts: AnyPath | None,
    *,
    form: str = "auto",
    wording: dict[str, Any] | None = None,
    referee: str | None = None,
    budget: Budget = BUDGET,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress,
) -> Audit:
    """`interplay.diff`; wording: system, template and chat, None for what a run of `a` or `b` says.

    Both are searched, since the words to ask about are chosen by what the one that is searched answers.
    """
    states = [find_model(model) for model in (a, b)]
    template = wording_of(states[1], states, **wording or {}).template
    rows = read_files(train, prompts, template, form)
    device = choose_device("auto")
    with quiet_libraries(progress), progress.phase("loading both models"):
        tokenizers = [
            s.given.tokenizer if s.given else load_tokenizer(s.tokenizer, revision=s.revision, trained=s.adapter)
            for s in states
        ]
        ready = load(states, tokenizers, dtype="float32", device=device)
    if ready[0].sha256 == ready[1].sha256:
        raise InterplayError(
            f"{states[0].name} and {states[1].name} have identical weights: there is nothing to tell apart"
        )
    sources = [Source(f"{place}: {state.name}") for place, state in zip("AB", states, strict=True)]
    models = Models(device, sources[0], loaded=dict(zip(sources, (found.base for found in ready), strict=True)))
    first, second = (ModelState(s, found.checkpoint) for s, found in zip(sources, ready, strict=True))

    def searched(base: ModelState, tuned: ModelState, names: tuple[str, str], kept: Path) -> Audit:
        subject = Subject(models, base, ((1, tuned),), template, *rows, names[1], against=names[0])
        return audit_subject(subject, progress, referee=referee, budget=budget, seed=seed, out=kept)

    named = states[0].name, states[1].name
    with tempfile.TemporaryDirectory() as scratch:
        kept = out or Path(scratch)
        found, back = searched(first, second, named, kept), searched(second, first, named[::-1], kept)
    lost = {(rule.words, rule.label): _turned(rule) for rule in back.of("learnt")}
    rules = [rule for rule in found.rules if rule.verdict == "learnt" or (rule.words, rule.label) not in lost]
    sums = {key: getattr(found, key) + getattr(back, key) for key in ("tests", "passes", "seconds")}
    return replace(found, rules=(*rules, *lost.values()), **sums)


def _turned(rule: Rule) -> Rule:
    """A rule that the first model has and the second has not, as one that was lost."""
    value, lo, hi, p = rule.change
    return replace(rule, verdict="lost", effect=rule.before, before=rule.effect, change=Effect(-value, -hi, -lo, p))
