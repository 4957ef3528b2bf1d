"""Files of prompts that are explained one after another, and the offline page of what was found."""

from collections.abc import Sequence
from pathlib import Path

from interplay.atomic import write_text
from interplay.data.tables import name_of, read_table, read_text
from interplay.errors import InterplayError
from interplay.explanation.explanation import Change, Explanation
from interplay.report.explorer import explanation_page

PROMPT, TARGET = ("text", "prompt"), ("target", "label", "completion")  # columns, the first that a row has


def read_prompts(path: Path, target: str | None = None) -> list[tuple[str, str | None]]:
    """Prompt and target of each line of a .txt file, or of each row of a table; `target` stands for all of them.

    None is the model's own answer. InterplayError for a file that cannot be read, and for rows without a prompt.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "asked.jsonl"
    >>> _ = path.write_text('{"text": "So sad", "label": "grief"}\\n{"prompt": "Yay"}')
    >>> read_prompts(path)
    [('So sad', 'grief'), ('Yay', None)]
    """
    if path.suffix == ".txt":
        return [(line.strip(), target) for line in read_text(path).split("\n") if line.strip()]
    asked = []
    for place, record in read_table(path)[0]:
        if not isinstance(record, dict):
            raise InterplayError(f"{name_of(path)}: {place}: {record.reason}")
        prompt = next((record[name] for name in PROMPT if record.get(name)), None)
        own = next((record[name] for name in TARGET if record.get(name) is not None), None)
        answer = own if target is None else target
        if not isinstance(prompt, str) or not isinstance(answer, str | None):
            raise InterplayError(
                f"{name_of(path)}: {place}: expected a text in {' or '.join(PROMPT)}, and a text as its target"
            )
        asked.append((prompt, answer))
    return asked


def write_page(found: Sequence[Explanation | Change], path: Path) -> None:
    """One page of them all, whole or not at all."""
    write_text(path, explanation_page([one._repr_html_() for one in found]))
