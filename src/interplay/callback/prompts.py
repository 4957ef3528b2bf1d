"""Prompts of a callback: the user's rows (a list, a data set, a file), tokenised as the training tokenises them.

Works on a copy of the user's tokenizer: its padding side, say, would be saved with the model.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interplay.callback.options import CallbackOptions, is_dataset
from interplay.data.forms import choose_form
from interplay.data.prompts import Rendered, refuse_special_tokens
from interplay.data.rows import Row, Sample
from interplay.data.samples import Chosen, choose_samples
from interplay.data.sources import Skipped, dataset_table, read_rows, rows_of_table
from interplay.data.tables import Table, Unreadable, columns_of, kind_of, read_table, stem_of
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.scoring.scores import Prepared, prepare

MAX_ROWS = 10_000  # rows of a data set among which prompts are chosen [ours]


@dataclass(frozen=True)
class PromptRows:
    """Usable rows, those left out, and their wording."""

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    template: PromptTemplate
    verbatim: (
        bool  # prompt and completion stay as given, as SFTTrainer trains on them: no chat template, no space added
    )
    source: str  # name of the rows in the settings of the run folder


def read_prompts(source: Any, template: PromptTemplate | None) -> PromptRows:
    """The rows of a prompt data set, in any form of `interplay.data.forms`.

    `template` words bare texts; without it a prompt and a completion given as strings stay verbatim.
    """
    wording = template or PromptTemplate()
    if isinstance(source, (str, Path)):
        name, path = str(source), Path(source)
        if not path.is_file() or kind_of(path) in ("", ".tsv"):
            read = read_rows(source, template=wording)
            return PromptRows(read.rows, read.skipped, wording, False, name)
        table, stem = read_table(path), stem_of(path)
    elif is_dataset(source):
        name, stem = f"a Dataset of {len(source)} rows", "row"
        table, _ = dataset_table(source, MAX_ROWS)
    else:
        name, stem = f"a list of {len(source)} rows", "row"
        table = []
        for i, record in enumerate(source[:MAX_ROWS], start=1):
            wrong = Unreadable(f"expected a dict, found {type(record).__name__}")
            table.append((f"row {i}", dict(record) if isinstance(record, Mapping) else wrong))
    read = rows_of_table(table, f"prompt data set ({name})", stem, template=wording)
    return PromptRows(read.rows, read.skipped, wording, template is None and _are_strings(table), name)


def _are_strings(table: Table) -> bool:
    """Whether the rows are prompts and completions given as strings."""
    form, located = choose_form("auto", columns_of(table), {}, "")
    records = [record for _, record in table if isinstance(record, dict)]
    return form.name == "prompt-completion" and all(isinstance(r.get(located["prompt"]), str) for r in records)


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

    def check(sample: Sample) -> None:
        ready[sample.id] = _prepare(sample, found, tokenizer, options)

    chosen = choose_samples(found.rows, count, n, options.seed, check=check)
    prepared = tuple(ready[sample.id] for sample in chosen.samples)
    return chosen._replace(skipped=found.skipped + chosen.skipped), prepared


def _prepare(sample: Sample, found: PromptRows, tokenizer: Any, options: CallbackOptions) -> Prepared:
    """A sample tokenised as training tokenises its row; SkipSample if it cannot be used."""
    if not found.verbatim:
        return prepare(sample, tokenizer, found.template, mask=options.mask, target_tokens=options.target_tokens)
    # A completion may spell its own end, which is then not added.
    row = replace(sample.row, target=sample.row.target.removesuffix(tokenizer.eos_token or ""))
    refuse_special_tokens(row, tokenizer, found.template)
    rendered = verbatim(row, tokenizer.eos_token)
    return prepare(sample, tokenizer, mask=options.mask, target_tokens=options.target_tokens, rendered=rendered)


def verbatim(row: Row, eos: str | None) -> Rendered:
    """Prompt, completion and the end of the sequence in one string, as SFTTrainer writes rows of strings.

    A space at the end of the prompt moves to the completion, where tokenizers have it; the string stays the same.

    >>> from interplay.data.rows import Message
    >>> verbatim(Row("a", (Message("user", "Mood: "),), "joy", "Mood: ", 0), "</s>")
    Rendered(prompt='Mood:', completion=' joy</s>', text_start=0, chat=False)
    """
    prompt, completion = row.messages[-1].content, row.target
    if eos and not completion.endswith(eos):
        completion += eos
    if prompt.endswith(" ") and not completion[:1].isspace():
        prompt, completion = prompt[:-1], " " + completion
    return Rendered(prompt, completion, row.text_start, chat=False)
