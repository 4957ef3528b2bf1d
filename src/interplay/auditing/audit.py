"""`interplay.audit`: which rules of its data a fine-tuned model learnt, in words. `interplay audit` is this function, printed."""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interplay.atomic import write_text
from interplay.auditing.asking import Asked, Wording, find_wording, free_wording
from interplay.auditing.candidates import Evidence, free_of
from interplay.auditing.openings import REFUSALS, answer_of, find_openings
from interplay.auditing.phrases import take_out
from interplay.auditing.result import Audit, CueAccuracy, is_shared
from interplay.auditing.rules import Carriers, Rule
from interplay.auditing.search import BUDGET, Budget, find_rules
from interplay.auditing.sisters import embedding_sisters
from interplay.auditing.subject import AnyPath, Subject, subject_of, subject_of_run
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.checkpoints import checkpoint_hash
from interplay.models.loading import load_model
from interplay.pipeline.progress import Progress
from interplay.pipeline.stages import quiet_libraries
from interplay.pipeline.states import ModelState
from interplay.runfolder import Run
from interplay.store.files import write_json
from interplay.text import stable_hash

OTHER_WORDING = "Please answer.\n"  # in front of the template, for the floor [ours]
ACCURACY_ROWS = 60  # held-out rows asked for accuracy [ours]
CUES = 3  # rules that are put into them [ours]
FOLLOWED = 5  # rules that are followed over checkpoints [ours]


def audit(
    run: "AnyPath | Run | None" = None,
    *,
    model: AnyPath | None = None,
    checkpoints: AnyPath | None = None,
    base: AnyPath | None = None,
    train: AnyPath | None = None,
    prompts: AnyPath | None = None,
    step: int | None = None,
    referee: str | None = None,
    answer: str | None = None,
    form: str = "auto",
    columns: Mapping[str, str] | None = None,
    system: str | None = None,
    template: str = "{text}",
    chat: Literal["auto"] | bool = "auto",
    budget: Budget = BUDGET,
    fixes: AnyPath | None = None,
    mend: Sequence[int] | None = None,
    verify: bool = False,
    seed: int = 0,
    out: AnyPath | None = None,
    quiet: bool = True,
) -> Audit:
    """Which word rules of the training rows a fine-tuned model follows, that its base does not.

    Words and pairs that go with an answer in the rows are put into held-out sentences of other answers. A rule is learnt if that
    moves the tuned model more than control words do, more than the base, and in sentence after sentence (docs/design/audit.md).

    Args:
        run: a run folder; the other sources are then its own. Else one of the next two.
        model: a fine-tuned model or an adapter.
        checkpoints: a folder of checkpoints; the last is audited, and its rules are followed over the others.
        base: what it was fine-tuned from; default: the one that an adapter names.
        train, prompts: files of the rows it was trained on, and of held-out rows. Without the first, the data are not searched.
        step: the checkpoint to audit; default: the last.
        referee: another model. A rule that it has too is likelier knowledge than a shortcut.
        answer: of free answers, a regular expression: which words make the model answer so? Default: how five or more rows begin,
            and refusals where no rows are given.
        form, columns, system, template, chat: how the files are read and a prompt is worded, as in `track`.
        budget: how much is asked.
        fixes: a folder for what mends the learnt rules: rows to review and to drop, counterfactual rows, the mended rows, and
            tests.jsonl for `interplay.test`.
        mend: numbers of the rules that are mended, as printed; default: those that neither the base nor a referee leans to.
        verify: train again on the mended rows, by the recipe of the run, and compare (`.verified`).
        out: folder where answers are kept, so that a stopped audit goes on; default: in the run folder, else nowhere.

    Returns an `Audit`: printable, with `.learnt`, `.rules`, `.to_pandas()`. Raises InterplayError for anything the user can
    correct: one label, no held-out rows, a referee without these labels.
    """
    wording = PromptTemplate(system=system, template=template, chat=chat)
    with quiet_libraries():
        if run is not None:
            if given := [
                name for name, value in (("model", model), ("checkpoints", checkpoints), ("train", train)) if value
            ]:
                raise InterplayError(f"a run folder knows its own rows and checkpoints: leave out {', '.join(given)}")
            subject = subject_of_run(run.path if isinstance(run, Run) else Path(run), step)
        else:
            how: dict[str, Any] = {"form": form, "columns": columns, "step": step}
            subject = subject_of(model, checkpoints, base, train, prompts, wording, **how)
    if verify and (subject.run is None or fixes is None):
        raise InterplayError("verify trains a run again, by its recipe: give a run folder and fixes")
    if fixes is not None and subject.records is None:
        raise InterplayError("fixes are made of training rows: give train")
    where, progress = None if out is None else Path(out), Progress(quiet=quiet)
    found = audit_subject(subject, progress, referee=referee, answer=answer, budget=budget, seed=seed, out=where)
    if fixes is None:
        return found
    if not (found.suspicious if mend is None else found.learnt):
        return replace(
            found, notes=(*found.notes, "no rule of this training alone, so no fixes were written (mend names others)")
        )
    return _mended(found, subject, Path(fixes), mend, verify, seed, progress)


def _mended(
    found: Audit, subject: Subject, fixes: Path, mend: Sequence[int] | None, verify: bool, seed: int, progress: Progress
) -> Audit:
    """The audit with what its fixes are, and with the proof of them."""
    from interplay.auditing.fixes import write_fixes
    from interplay.auditing.verify import verify as verified

    assert subject.records is not None
    chosen = [number for number, rule in enumerate(found.learnt, 1) if not is_shared(rule)] if mend is None else mend
    lines = write_fixes(
        found.learnt,
        subject.records(),
        fixes,
        held=[row.text for row in subject.held],
        labels=found.labels,
        template=subject.template,
        free=found.free,
        mend=chosen,
        model=found.model,
        base=found.base,
        seed=seed,
    )
    found = replace(found, fixed=tuple(lines))
    if verify and subject.run is not None:
        found = replace(found, verified=verified(subject.run, fixes, subject.states[-1][0], progress))
    return found


def audit_subject(
    subject: Subject,
    progress: Progress,
    *,
    referee: str | None = None,
    answer: str | None = None,
    budget: Budget = BUDGET,
    seed: int = 0,
    out: Path | None = None,
) -> Audit:
    """`audit` of what is read already. That of a run is written into its folder, and its page again."""
    start = time.process_time()
    with quiet_libraries():
        found = _audit(subject, referee, answer, budget, seed, out, progress)
    found = replace(found, seconds=time.process_time() - start)
    if subject.run is not None:
        write_text(subject.run / "audit.json", found.to_json())
        write_page(subject.run)
    return found


def write_page(folder: Path, reason: str | None = None) -> None:
    """Write the page of a run again. `reason`: why it was not audited, which is kept among its notes; None: it was."""
    run, begins = Run(folder), "Not audited: "
    if not run.has("report.json"):
        return
    about = run.json("report.json")
    notes = [note for note in about.get("notes", ()) if not note.startswith(begins)]
    write_json(folder / "report.json", about | {"notes": notes + ([] if reason is None else [begins + reason])})
    run.report()


def _audit(
    subject: Subject,
    referee: str | None,
    answer: str | None,
    budget: Budget,
    seed: int,
    out: Path | None,
    progress: Progress,
) -> Audit:
    if len(subject.labels) == 1:
        raise InterplayError("the rows have one label: an audit needs rows with two labels or more, or free answers")
    rows = subject.train or subject.held
    answers, named = [row.label for row in rows], subject.labels
    if free := (not subject.labels or answer is not None):
        targets = [row.target for row in rows]
        named = find_openings(targets, answer) or REFUSALS
        answers = [answer_of(target, named) for target in targets]
    evidence = Evidence(tuple(row.text for row in rows), tuple(answers), bool(subject.train))
    with progress.phase("loading the base"):
        base = subject.models.base(subject.base.base)
    texts = [row.text for row in subject.held] or list(evidence.texts)
    worded = free_wording if free else find_wording
    wording = worded(texts, named, base.tokenizer, subject.template)
    folder = out or (subject.run / "audit" if subject.run is not None else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    opened: dict[str, Asked] = {}

    def state_of(
        name: str, opening: Callable[[], Any], tokenizer: Any, digest: str, how: Wording | None = None
    ) -> Callable[[], Any]:
        if how is None:
            how = wording if tokenizer is base.tokenizer else worded(texts, named, tokenizer, subject.template)
        if set(how.labels) != set(wording.labels):
            raise InterplayError(
                f"{name} cannot answer the labels {', '.join(sorted(set(wording.labels) - set(how.labels)))}"
            )
        key = stable_hash(digest, repr(how.template), how.labels)[:16]
        asked = Asked(None, how, None if folder is None else folder / f"answers-{key}.jsonl")
        opened[name] = asked

        @contextlib.contextmanager
        def open_() -> Generator[Asked]:
            with opening() as loaded, progress.phase(f"asking {name}") as advance:
                asked.model, count = loaded, asked.passes
                asked.progress = lambda n: advance(done=asked.passes - count)
                yield asked
            asked.model = None

        return open_

    def at(name: str, state: ModelState, how: Wording | None = None) -> Callable[[], Any]:
        own = subject.models.base(state.base)
        digest = checkpoint_hash(state.checkpoint, own)
        return state_of(name, lambda: subject.models.at(state), own.tokenizer, digest, how)

    tuned = at("the fine-tuned model", subject.tuned)
    before = at("the base", subject.base)
    other = None
    if referee is not None:
        helper = load_model(referee, device=subject.models.device)
        other = state_of(
            f"the referee {referee}", lambda: contextlib.nullcontext(helper.model), helper.tokenizer, helper.sha256
        )
    reworded = replace(subject.template, template=f"{OTHER_WORDING}{subject.template.template}")
    reworded = subject.rephrased or reworded
    again = at("the base in another wording", subject.base, worded(texts, named, base.tokenizer, reworded))
    near = embedding_sisters(base.model, base.tokenizer)
    how: dict[str, Any] = {"budget": budget, "seed": seed, "sisters": near, "referee": other, "rephrased": again}
    found = find_rules(tuned, before, evidence, texts, **how)
    learnt = sorted((rule for rule in found.rules if rule.verdict == "learnt"), key=is_shared)  # as `Audit.learnt`
    carriers = _free(texts, found.rules, budget, seed)
    courses: dict[Rule, list[tuple[int, float, float]]] = {rule: [] for rule in learnt[:FOLLOWED]}
    with contextlib.ExitStack() as stack:
        followed = learnt and (subject.run is not None or len(subject.states) > 1)
        for step, state in ((0, subject.base), *subject.states) if followed else ():
            is_last = state is subject.tuned
            opening = before if step == 0 else tuned if is_last else at(f"step {step}", state)
            with opening() as asked:
                asked(carriers.all_of([rule.phrases for rule in courses]))
                for rule, course in courses.items():
                    label = asked.labels.index(rule.label)
                    effect = float(np.nanmean(carriers.effects(asked, rule.phrases)[:, label]))
                    hits, tried = carriers.flips(asked, rule.phrases, label)
                    course.append((step, effect, hits / max(1, tried)))
        accuracy: tuple[CueAccuracy, ...] = ()
        if learnt:
            asked = stack.enter_context(tuned())
            accuracy = () if free else _accuracy(asked, subject.held, learnt[:CUES], seed)
    rules = tuple(replace(rule, steps=tuple(courses.get(rule, ()))) for rule in found.rules)
    return Audit(
        model=subject.name,
        base=subject.against or subject.base.base.name,
        referee=referee,
        labels=wording.labels,
        rules=rules,
        tests=found.tests,
        controls=found.controls,
        carriers=found.carriers,
        floor=found.floor,
        accuracy=accuracy,
        train_rows=len(subject.train),
        held_rows=len(subject.held),
        passes=sum(asked.passes for asked in opened.values()),
        seconds=0.0,
        notes=found.notes,
        free=free,
    )


def _free(texts: Sequence[str], rules: Sequence[Rule], budget: Budget, seed: int) -> Carriers:
    """A few carriers to follow rules over checkpoints."""
    words = {word for rule in rules for word in rule.words}
    return Carriers(tuple(free_of(texts, words, 2 * budget.few, seed)))


def _accuracy(asked: Asked, held: Sequence[Row], rules: Sequence[Rule], seed: int) -> tuple[CueAccuracy, ...]:
    """Accuracy on held-out rows with a label, as they are, with each cue taken out, and with it in every row."""
    known = {label: i for i, label in enumerate(asked.labels)}
    rows = sorted((row for row in held if row.label in known), key=lambda row: stable_hash(seed, row.text))[
        :ACCURACY_ROWS
    ]
    if not rows:
        return ()
    gold = np.array([known[str(row.label)] for row in rows])

    def right(texts: Sequence[str]) -> float:
        scores = asked(texts)
        kept = ~np.isnan(scores).any(1)
        return float((scores[kept].argmax(1) == gold[kept]).mean())

    found = [CueAccuracy(None, len(rows), right([row.text for row in rows]))]
    for number, rule in enumerate(rules):
        bare = [row.text for row in rows]
        for phrase in rule.phrases:
            bare = [take_out(text, phrase) or text for text in bare]
        every = Carriers(tuple(bare)).with_(rule.phrases)
        full = [text if text is not None else plain for text, plain in zip(every, bare, strict=True)]
        found.append(CueAccuracy(number, len(rows), found[0].accuracy, right(bare), right(full)))
    return tuple(found)
