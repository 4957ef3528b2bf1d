"""Prompts of a callback: the user's rows (a list, a data set, a file), tokenised as the training tokenises them.

Works on a copy of the user's tokenizer: its padding side, say, would be saved with the model.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from interplay.callback.options import CallbackOptions, is_dataset
from interplay.data.prompts import Rendered, refuse_special_tokens, render, render_plain
from interplay.data.rows import Row, Sample
from interplay.data.samples import Chosen, choose_samples
from interplay.data.sources import Skipped, dataset_table, read_rows, rows_of_table
from interplay.data.tables import Table, Unreadable
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.scoring.absence import absence_notes, choose_masking
from interplay.scoring.scores import Prepared, prepare
from interplay.scoring.targets import alike, common_opening, find_answers, target_notes
from interplay.text import short

MAX_ROWS = 10_000  # rows of a data set among which prompts are chosen [ours]
_AS_TRAINED = {"system": "", "history": ""}  # SFTTrainer reads no such columns


@dataclass(frozen=True)
class PromptRows:
    """Usable rows, those left out, and their wording."""

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    template: PromptTemplate
    verbatim: bool  # prompt and completion stay as given, as SFTTrainer trains on them: no chat template, no space
    source: str  # name of the rows in the settings of the run folder
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None

    def rendered(self, tokenizer: Any, row: Row) -> Rendered:
        """A row as training writes it; SkipSample if it cannot be used."""
        if not self.verbatim:
            return render(row, tokenizer, self.template)
        # A completion may spell its own end, which is then not added.
        row = replace(row, target=row.target.removesuffix(tokenizer.eos_token or ""))
        refuse_special_tokens(row, tokenizer, self.template)
        return render_plain(row, tokenizer.eos_token, spaced=False)


def read_prompts(source: Any, template: PromptTemplate | None, given: Mapping[str, Any] | None = None) -> PromptRows:
    """The rows of a prompt data set, in any form of `interplay.data.forms`.

    `template` words bare texts; without it a prompt and a completion given as strings stay verbatim. `given`: variables of the
    chat template.
    """
    wording = template or PromptTemplate()
    if given is not None:
        wording = replace(wording, chat_template_kwargs=given)
    if isinstance(source, (str, Path)):
        name, read = str(source), read_rows(source, columns=_AS_TRAINED, template=wording, part="prompts")
    else:
        name, classes = f"a {'Dataset' if is_dataset(source) else 'list'} of {len(source)} rows", None
        if is_dataset(source):
            table, classes = dataset_table(source, MAX_ROWS)
        else:
            wrong = "expected a dict, found {}"
            table: Table = [
                (f"row {i}", dict(row) if isinstance(row, Mapping) else Unreadable(wrong.format(type(row).__name__)))
                for i, row in enumerate(source[:MAX_ROWS], start=1)
            ]
        full = f"prompt data set ({name})"
        read = rows_of_table(table, full, "row", columns=_AS_TRAINED, template=wording, classes=classes)
    notes = tuple(note.partition(";")[0] for note in read.notes)  # a callback maps no columns
    return PromptRows(read.rows, read.skipped, wording, template is None and read.strings, name, notes, read.labels)


def some_rows(dataset: Any, count: int) -> list[Mapping[str, Any]]:
    """Some rows, spread over a data set; none of one that is streamed or of another shape."""
    try:
        rows = [dataset[i] for i in range(0, len(dataset), max(1, len(dataset) // count))]
    except Exception:  # it may raise anything
        return []
    return [row for row in rows if isinstance(row, Mapping)]


def template_kwargs(*sources: Any) -> tuple[Mapping[str, Any] | None, str | None]:
    """The column `chat_template_kwargs`, as SFTTrainer reads it, of the first source that has one; a note where rows differ.

    >>> template_kwargs([{"text": "a"}], [{"chat_template_kwargs": {"enable_thinking": False}}])
    ({'enable_thinking': False}, None)
    """
    for source in sources:
        found = [dict(row["chat_template_kwargs"]) for row in some_rows(source, 64) if row.get("chat_template_kwargs")]
        if found:
            differ = any(other != found[0] for other in found)
            return found[0], f"rows have different chat_template_kwargs: {found[0]} was used" if differ else None
    return None, None


def context_note(prepared: Sequence[Prepared], dataset: Any, tokenizer: Any) -> str | None:
    """A note where no training row that is looked at has the wording around the prompts, in the same tokens.

    The wording is what all prompts begin and end with; of fewer than four that may be words of the texts, and nothing is said.
    """
    rows = [[int(i) for i in row["input_ids"]] for row in some_rows(dataset, 64) if row.get("input_ids") is not None]
    if len(prepared) < 4 or not rows:
        return None
    asked = [list(p.input_ids) for p in prepared]
    head = asked[0][: alike(asked)]
    behind = [ids[len(head) :][::-1] for ids in asked]
    tail = behind[0][: alike(behind)][::-1]
    for ids in rows:
        ends = range(len(head) + len(tail), len(ids) + 1)
        if ids[: len(head)] == head and any(ids[end - len(tail) : end] == tail for end in ends):
            return None
    scored = short(tokenizer.decode([*asked[0], *prepared[0].target_ids]), 300)
    trained = short(tokenizer.decode(rows[0][:200]), 300)
    return f"no training row is worded as the prompts are: scored was {scored}, trained was {trained}"


def copy_tokenizer(processing_class: Any, chat_template: str | None) -> Any:
    """A copy of the trainer's tokenizer (or of the one in its processor), with the chat template that training uses."""
    if processing_class is None:
        raise InterplayError("the trainer has no tokenizer: give it one, Trainer(processing_class=...)")
    tokenizer = copy.deepcopy(getattr(processing_class, "tokenizer", processing_class))
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def choose_prompts(
    found: PromptRows, tokenizer: Any, options: CallbackOptions, count: int, n: int
) -> tuple[Chosen, tuple[Prepared, ...]]:
    """`count` prompts of `n` words each, tokenised; fewer, with a note, if too few rows can be used, InterplayError if none."""
    ready: dict[str, Prepared] = {}
    rendered = partial(found.rendered, tokenizer)
    opening = "" if found.labels else common_opening(row.target for row in found.rows)
    answers = find_answers(found.rows, found.labels, rendered, tokenizer, opening, options.among_labels)
    masking = choose_masking(tokenizer, options.mask, found.template, rows=found.rows, rendered=rendered)
    how: dict[str, Any] = {"mask": masking, "target_tokens": options.target_tokens, "answers": answers}

    def check(sample: Sample) -> None:
        ready[sample.id] = prepare(sample, tokenizer, found.template, rendered=rendered(sample.row), **how)

    chosen = choose_samples(found.rows, count, n, options.seed, check=check)
    prepared = tuple(ready[sample.id] for sample in chosen.samples)
    told = target_notes([(p.passed, p.target, p.whole) for p in prepared])
    notes = (*chosen.notes, *answers.left_out, *told, *absence_notes([p.absence for p in prepared]))
    return chosen._replace(skipped=found.skipped + chosen.skipped, notes=notes), prepared
