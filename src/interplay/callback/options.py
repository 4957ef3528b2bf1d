"""Options of the callback that say what is measured, checked when it is made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interplay.auditing.result import Audit
from interplay.data.splits import source_files
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.limits import EXACT_WORDS

LOWS = 2  # new lows that are read in full [ours]


class CallbackOptions(BaseModel):
    """As `InteractionCallback` documents them: those that say what is measured."""

    model_config = ConfigDict(frozen=True, strict=True)

    prompts: Any
    every: int = Field(ge=1)
    full: Annotated[int, Field(ge=0)] | Literal["saved", "every"] = LOWS
    patience: int = Field(ge=1)
    max_overhead: float | None = Field(gt=0, le=1)
    n: int | None = Field(ge=2, le=EXACT_WORDS)
    num_prompts: int | None = Field(ge=1)
    template: PromptTemplate | None
    chat_template_kwargs: dict[str, Any] | None = None
    seed: int = Field(ge=0)
    target_tokens: Annotated[int, Field(ge=1)] | Literal["auto", "first", "word"]
    among_labels: bool | Literal["auto"] = "auto"
    mask: str | int
    audit: Any  # True or an `Audit`; None: no rules are followed
    train: Any


def check_options(**values: Any) -> CallbackOptions:
    """The options, checked when the callback is made; InterplayError for one that cannot be used."""
    values = {"audit": None, "train": None} | values
    if isinstance(values.get("template"), str):
        values["template"] = PromptTemplate(template=values["template"])
    for name in ("prompts", "train"):
        source = values[name]
        if isinstance(source, (str, Path)):
            if str(source).partition(":")[0] not in ("hub", "emotions", "planted"):
                source_files(str(source), name)
        elif source is None and name == "train":
            continue
        elif not (is_dataset(source) or isinstance(source, Sequence)):
            raise InterplayError(f"{name} is a {type(source).__name__}: give a Dataset, a list of dicts or a file")
        elif not len(source):
            raise InterplayError(f"{name} has no rows: give a dozen rows or more")
        elif not isinstance(source[0], Mapping):
            raise InterplayError(f"{name} is a list of {type(source[0]).__name__}: give a list of dicts")
    audit = None if values["audit"] is False else values["audit"]
    if isinstance(audit, (str, Path)):
        try:
            audit = Audit.load(Path(audit))
        except InterplayError:  # its advice is for a file in a run folder
            raise InterplayError(
                f"audit is {ascii(str(audit))[:60]}: give the path of an audit.json in a run folder"
            ) from None
    if isinstance(audit, Audit) and {rule.verdict for rule in audit.rules} <= {"nothing"}:
        raise InterplayError("audit has no rule to follow: audit=True follows what the training rows point to")
    if audit is not None and audit is not True and not isinstance(audit, Audit):
        raise InterplayError(f"audit is a {type(audit).__name__}: give True, an Audit or the path of an audit.json")
    if audit is not True and values["train"] is not None:
        raise InterplayError("train is read for audit=True alone: set that, or leave train out")
    values["audit"] = audit
    try:
        return CallbackOptions(**values)
    except ValidationError as error:
        name = error.errors()[0]["loc"][0]
        expected = [e["msg"].replace("Input", "it") for e in error.errors() if e["loc"][0] == name]
        raise InterplayError(f"{name} is {ascii(values[str(name)])[:60]}: {' or '.join(expected)}") from None


def is_dataset(source: Any) -> bool:
    """Whether it is a datasets.Dataset, without importing that library."""
    return hasattr(source, "column_names") and hasattr(source, "features") and hasattr(source, "__len__")
