"""`interplay.audit`: which rules of its data a fine-tuned model learnt, in words. `interplay audit` is this function, printed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from interplay.atomic import write_text
from interplay.auditing.candidates import Evidence
from interplay.auditing.following import FOLLOWED, Course, carriers_without, courses, cue_accuracy
from interplay.auditing.openings import REFUSALS, answer_of, find_openings
from interplay.auditing.result import Audit, CueAccuracy, by_suspicion
from interplay.auditing.rules import Rule
from interplay.auditing.search import BUDGET, Budget, find_rules
from interplay.auditing.sisters import embedding_sisters
from interplay.auditing.states import States
from interplay.auditing.subject import AnyPath, Subject, subject_of, subject_of_run
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.pipeline.progress import Progress, goes_on
from interplay.pipeline.stages import quiet_libraries
from interplay.runfolder import Run
from interplay.store.files import write_json


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
    wording, progress = PromptTemplate(system=system, template=template, chat=chat), Progress(quiet=quiet)
    with quiet_libraries(progress), progress.phase("reading the rows"):
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
    where = None if out is None else Path(out)
    with goes_on(where or subject.run):
        found = audit_subject(subject, progress, referee=referee, answer=answer, budget=budget, seed=seed, out=where)
        if fixes is None:
            return found
        if found.suspicious if mend is None else found.learnt:
            return _mended(found, subject, Path(fixes), mend, verify, seed, progress)
    said = "no rule of this training alone, so no fixes were written (mend names others)"
    return replace(found, notes=(*found.notes, said))


def _mended(
    found: Audit, subject: Subject, fixes: Path, mend: Sequence[int] | None, verify: bool, seed: int, progress: Progress
) -> Audit:
    """The audit with what its fixes are, and with the proof of them."""
    from interplay.auditing.fixes import write_fixes
    from interplay.auditing.verify import verify as verified

    assert subject.records is not None
    chosen = [number for number, rule in enumerate(found.learnt, 1) if not rule.is_shared] if mend is None else mend
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
        with progress.phase("writing the page"):
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
    texts = [row.text for row in subject.held] or list(evidence.texts)
    folder = out or (subject.run / "audit" if subject.run is not None else None)
    with progress.phase("loading the base"):
        states = States(subject, named, free, texts, folder, progress)
    tuned, before = states.of("the fine-tuned model", subject.tuned), states.of("the base", subject.base)
    with progress.phase("counting words of the rows, and asking about them"):
        found = find_rules(
            tuned,
            before,
            evidence,
            texts,
            budget=budget,
            seed=seed,
            sisters=embedding_sisters(states.base.model, states.base.tokenizer),
            shown=states.shown,
            referee=None if referee is None else partial(states.referee, referee),
            rephrased=states.rephrased(),
        )
    learnt = by_suspicion(found.rules)
    followed: dict[Rule, Course] = {}
    if learnt and (subject.run is not None or len(subject.states) > 1):
        between = [(step, states.of(f"step {step}", state)) for step, state in subject.states[:-1]]
        course = [(0, before), *between, (subject.states[-1][0], tuned)]
        followed = courses(course, learnt[:FOLLOWED], carriers_without(texts, found.rules, seed))
    accuracy: tuple[CueAccuracy, ...] = ()
    if learnt and not free:
        with tuned() as asked:
            accuracy = cue_accuracy(asked, subject.held, learnt, seed)
    return Audit(
        model=subject.name,
        base=subject.against or subject.base.base.name,
        referee=referee,
        labels=states.wording.labels,
        rules=tuple(replace(rule, steps=followed.get(rule, ())) for rule in found.rules),
        tests=found.tests,
        controls=found.controls,
        carriers=found.carriers,
        floor=found.floor,
        accuracy=accuracy,
        train_rows=len(subject.train),
        held_rows=len(subject.held),
        passes=states.passes,
        seconds=0.0,
        notes=found.notes,
        free=free,
    )
