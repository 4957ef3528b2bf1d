"""What a user asks of the callback, checked: everything that can be refused is refused when it is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.data.template import PromptTemplate
from interplay.data.words import MAX_WORDS, short
from interplay.errors import InterplayError


@dataclass(frozen=True)
class Wanted:
    """The arguments of `InteractionCallback` that say what is measured, as it documents them.

    Raises InterplayError, in one line, for one that cannot be used.

    >>> Wanted([{"prompt": "p", "completion": "c"}], 0, 3, None, None, None, None, 0, 1, None)
    Traceback (most recent call last):
    interplay.errors.InterplayError: every is 0: give a whole number from 1 on
    """

    source: Any
    every: int
    patience: int
    max_overhead: float | None
    n: int | None
    num_prompts: int | None
    template: PromptTemplate | None
    seed: int
    target_tokens: int
    mask: str | int | None

    def __post_init__(self) -> None:
        check_source(self.source)
        for name, least, most, optional in (
            ("every", 1, None, False),
            ("patience", 1, None, False),
            ("target_tokens", 1, None, False),
            ("seed", 0, None, False),
            ("n", 2, MAX_WORDS, True),
            ("num_prompts", 1, None, True),
        ):
            _check_whole(name, getattr(self, name), least, most, optional)
        share = self.max_overhead
        if share is not None and (isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1):
            raise InterplayError(
                f"max_overhead is {ascii(share)[:60]}: give a share of the training time such as 0.05, or None for no limit"
            )
        if self.template is not None and not isinstance(self.template, PromptTemplate):
            raise InterplayError(f"template is {short(self.template)}: give an interplay.data.template.PromptTemplate")
        if self.mask is not None and (isinstance(self.mask, bool) or not isinstance(self.mask, (str, int))):
            raise InterplayError(f"mask is {ascii(self.mask)[:60]}: give a token as text or id, or None")


def _check_whole(name: str, value: Any, least: int, most: int | None, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"a whole number from {least} on" if most is None else f"a whole number from {least} to {most}"
        raise InterplayError(f"{name} is {ascii(value)[:60]}: give {bounds}{', or None' if optional else ''}")


def check_source(source: Any) -> None:
    """InterplayError, in one line, for a prompt data set that cannot be one.

    >>> check_source(7)
    Traceback (most recent call last):
    interplay.errors.InterplayError: the prompt data set is a int: give a datasets.Dataset, a list of dicts, or a file
    """
    if isinstance(source, (str, Path)):
        name = str(source)
        if not name.startswith(("hub:", "emotions:")) and name != "emotions" and not Path(name).exists():
            raise InterplayError(
                f"the prompt data set {short(name)} does not exist: give a file, or the rows themselves"
            )
        return
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        if not source:
            raise InterplayError("the prompt data set is an empty list: give a dozen held-out rows or more")
        if not isinstance(source[0], Mapping):
            raise InterplayError(f"the prompt data set is a list of {type(source[0]).__name__}: give a list of dicts")
        return
    if is_dataset(source):
        if not len(source):
            raise InterplayError("the prompt data set has no rows: give a dozen held-out rows or more")
        return
    raise InterplayError(
        f"the prompt data set is a {type(source).__name__}: give a datasets.Dataset, a list of dicts, or a file"
    )


def is_dataset(source: Any) -> bool:
    """Whether it is a datasets.Dataset, or as good as one; that library need not be imported for it."""
    return hasattr(source, "column_names") and hasattr(source, "features") and hasattr(source, "__len__")
