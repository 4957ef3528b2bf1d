"""Prompts of a callback: from what the user gives (rows, a data set, a file) to prompts tokenised as training does.

Which rows can be used is decided here, one by one, with a reason; how they are scored is not. The user's tokenizer is copied,
never touched: its padding side, say, would be saved with the model.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interplay.callback.options import is_dataset
from interplay.data.forms import choose_form, row_from
from interplay.data.prompts import Rendered, encode, refuse_special_tokens
from interplay.data.rows import Row, Sample
from interplay.data.samples import choose_samples
from interplay.data.sources import Skipped, read_rows
from interplay.data.tables import Unreadable, kind_of, read_table, stem_of
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.masking import mask_token, refuse_mask_in_words, word_tokens
from interplay.scoring.scores import Prepared, prepare

MOST_ROWS = 10_000  # of a data set that are looked through for prompts [ours]


@dataclass(frozen=True)
class PromptRows:
    """Usable rows, those left out, and how they are worded.

    verbatim    prompt and completion stand as they are, as SFTTrainer trains on such rows: no chat template, no space added
    source      what the settings of the run folder say the rows are
    """

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    template: PromptTemplate
    verbatim: bool
    source: str


@dataclass(frozen=True)
class Prompts:
    """The chosen samples, each one tokenised; rows looked at in vain, with reasons, and notes."""

    samples: tuple[Sample, ...]
    prepared: tuple[Prepared, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def read_prompts(source: Any, template: PromptTemplate | None) -> PromptRows:
    """The rows of a prompt data set, in any of the forms of `interplay.data.forms`.

    `template` words texts that come bare (text and label). Without it conversations go through the chat template, and a prompt
    and a completion given as strings stand verbatim.
    """
    worded = template or PromptTemplate()
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file() or kind_of(path) in ("", ".tsv"):
            read = read_rows(source, template=worded)
            return PromptRows(read.rows, read.skipped, worded, False, str(source))
        records = read_table(path)
        return _from_records(records, str(source), stem_of(path), template)
    if is_dataset(source):
        records = [(f"row {i + 1}", source[i]) for i in range(min(len(source), MOST_ROWS))]
        names = {column: tuple(f.names) for column, f in source.features.items() if hasattr(f, "names")}
        records = [(place, _named(record, names)) for place, record in records]
        return _from_records(records, f"a Dataset of {len(source)} rows", "row", template)
    records = [(f"row {i + 1}", record) for i, record in enumerate(source[:MOST_ROWS])]
    return _from_records(records, f"a list of {len(source)} rows", "row", template)


def _named(record: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """A record of a Dataset with its classes by name."""
    return {
        column: names[column][value]
        if column in names and isinstance(value, int) and 0 <= value < len(names[column])
        else value
        for column, value in record.items()
    }


def _from_records(
    records: Sequence[tuple[str, Any]], source: str, stem: str, template: PromptTemplate | None
) -> PromptRows:
    good = [record for _, record in records if isinstance(record, Mapping)]
    form, located = choose_form("auto", dict.fromkeys(c for r in good for c in r), {}, f"prompt data set ({source})")
    strings = form.name == "prompt-completion" and all(isinstance(r.get(located["prompt"]), str) for r in good)
    worded = template or PromptTemplate()
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for place, record in records:
        row_id = f"{stem}-{place.split()[-1]}"
        try:
            if not isinstance(record, Mapping):
                raise SkipSample(record.reason if isinstance(record, Unreadable) else "is no dict")
            rows.append(row_from(record, form, located, worded, row_id))
        except SkipSample as reason:
            skipped.append(Skipped(row_id, f"{place}: {reason}"))
    if not rows:
        why = f"; {skipped[0].reason}" if skipped else ""
        raise InterplayError(f"prompt data set ({source}): none of {len(records)} rows can be used{why}")
    return PromptRows(tuple(rows), tuple(skipped), worded, strings and template is None, source)


def own_tokenizer(processing_class: Any, chat_template: str | None) -> Any:
    """A copy of the trainer's tokenizer (that inside a processor), with the chat template that training uses."""
    if processing_class is None:
        raise InterplayError(
            "the trainer has no processing_class: give it the tokenizer, Trainer(processing_class=...)"
        )
    tokenizer = copy.deepcopy(getattr(processing_class, "tokenizer", processing_class))
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def prepare_prompt(
    sample: Sample, found: PromptRows, tokenizer: Any, mask: str | int | None, target_tokens: int
) -> Prepared:
    """A sample tokenised as training tokenises its row; SkipSample where it cannot be used."""
    if not found.verbatim:
        return prepare(sample, tokenizer, found.template, mask=mask, target_tokens=target_tokens)
    # A completion may spell its own end, which is then not added.
    row = replace(sample.row, target=sample.row.target.removesuffix(tokenizer.eos_token or ""))
    refuse_special_tokens(row, tokenizer, found.template)
    encoded = encode(verbatim(row, tokenizer.eos_token), tokenizer)
    ids, spans, mask_id = tuple(encoded.input_ids), word_tokens(sample, encoded), mask_token(tokenizer, mask)
    refuse_mask_in_words(ids, spans, mask_id)
    target_ids = tuple(encoded.target_ids[:target_tokens])
    return Prepared(
        sample, ids, spans, target_ids, tokenizer.decode(list(target_ids)), mask_id, among=None, prompt=encoded.text
    )


def verbatim(row: Row, eos: str | None) -> Rendered:
    """Prompt and completion one behind the other, and the end of the sequence, as SFTTrainer writes rows of strings.

    A space at the end of the prompt is counted to the completion, where tokenizers have it; the string stays the same.

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


def choose_prompts(
    found: PromptRows,
    tokenizer: Any,
    *,
    count: int,
    n: int,
    seed: int,
    mask: str | int | None,
    target_tokens: int,
) -> Prompts:
    """`count` prompts of `n` words each, the same for the same rows and seed; fewer, with a note, where there are not so many.

    Raises InterplayError when no row can be used.
    """
    ready: dict[str, Prepared] = {}

    def check(sample: Sample) -> None:
        ready[sample.id] = prepare_prompt(sample, found, tokenizer, mask, target_tokens)

    chosen = choose_samples(found.rows, count, n, seed, check=check)
    return Prompts(
        chosen.samples,
        tuple(ready[sample.id] for sample in chosen.samples),
        (*found.skipped, *chosen.skipped),
        chosen.notes,
    )
