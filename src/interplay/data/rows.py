"""Row and Sample: what is read from a data set, and what is explained. Offsets are Python string indices (code points)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `thought`: what the data keeps apart from the content, as (its key, its text)."""

    role: str
    content: str
    thought: tuple[str, str] | None = None


@dataclass(frozen=True)
class Row:
    """One training or evaluation example: a conversation that ends with a user turn, and the gold response.

    `text` is the user's text; words are chosen from it only. It stands in the last message's content from `text_start` on, the
    rest of that content is template (background). `words`: the input variables that the data set names, or None.
    `given`: the turns are the data's own, not worded by a prompt template. `thought`: that of the response, as in `Message`.
    """

    id: str
    messages: tuple[Message, ...]
    target: str
    text: str
    text_start: int
    label: str | None = None
    words: tuple[str, ...] | None = None
    given: bool = False
    thought: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        content = self.messages[-1].content if self.messages else ""
        if content[self.text_start : self.text_start + len(self.text)] != self.text:
            raise ValueError(f"row {self.id!r}: text does not stand at offset {self.text_start} of its last message")


@dataclass(frozen=True)
class Word:
    """One input variable: `row.text[start:end] == text`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Sample:
    """A row with the n words chosen as input variables, in the order of the text; word i is bit i of a coalition."""

    row: Row
    words: tuple[Word, ...]

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def n(self) -> int:
        return len(self.words)
