"""What absent words become: a token, the mean embedding, other words of their place, or nothing.

An absence is for each word the ids that stand in its place, as many as it has tokens; one such list a draw. So length and
positions stay, but where words are left out. `masking.MEAN` and `masking.LEFT_OUT` stand for what is no token.
"""

import contextlib
import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from interplay.data.prompts import Encoded, Rendered, render
from interplay.data.rows import Row, Sample
from interplay.data.sources import read_rows
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.fillers import NO_FILLERS, Fillers, find_fillers
from interplay.scoring.masking import LEFT_OUT, MEAN, Fills
from interplay.text import short

Mask = str | int
Named = Literal["auto", "mean", "swap", "drop", "paper"]
# `auto` is the first of these that is one ordinary token, alone or behind a space  [ours]
NEUTRAL = ("_", " _", "…", " …", "-", " -", ".", " .")
DRAWS = 3  # of other words, where nobody says how many [ours]
_EMOTIONS = (
    "absent words become words of English sentences about emotions, which the package holds: no rows are at hand"
)


@dataclass(frozen=True)
class Absence:
    """What the words of one prompt become: ids by draw and word, and the same as text for people.

    vocabulary: MEAN is the mean of the embeddings of the ids below. lacking: words with fewer other words than draws.
    notes: what to know of this choice.
    """

    fills: tuple[Fills, ...]
    said: str
    vocabulary: int
    lacking: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Masking:
    """How words become absent under one tokenizer; made by `choose_masking`. `token` stands where there is no other word."""

    token: int
    said: str
    vocabulary: int
    notes: tuple[str, ...] = ()
    draws: int = 1
    fillers: Fillers = NO_FILLERS

    def absence(self, sample: Sample, encoded: Encoded, spans: Sequence[Sequence[int]]) -> Absence:
        """What the words of a sample become. Raises SkipSample where that would change nothing, or leave nothing."""
        own = [tuple(encoded.input_ids[p] for p in span) for span in spans]
        found = self.fillers.choose(sample, encoded, spans, self.draws)
        lacking = sum(len(f) < self.draws for f in found) if self.draws > 1 else 0
        found = [f or [(self.token,) * len(ids)] for f, ids in zip(found, own, strict=True)]
        for word, ids, fills in zip(sample.words, own, found, strict=True):
            if ids in fills:
                what = f"the mask token (id {self.token})"
                raise SkipSample(f"word {short(word.text)} already is {what}: masking would not change it")
        if self.token == LEFT_OUT and sum(map(len, own)) == len(encoded.input_ids):
            raise SkipSample("nothing is left of the prompt without its words: choose fewer words, or another mask")
        fills = tuple(tuple(f[draw % len(f)] for f in found) for draw in range(self.draws))
        return Absence(fills, self.said, self.vocabulary, lacking, self.notes)


def choose_masking(
    tokenizer,
    wanted: Mask = "auto",
    template: PromptTemplate | None = None,
    *,
    rows: Sequence[Row] | None = None,
    draws: int = DRAWS,
    rendered: Callable[[Row], Rendered] | None = None,
) -> Masking:
    """What absent words become under a tokenizer.

    Args:
        wanted: `auto`, `mean`, `swap`, `drop`, `paper`, or a token of the vocabulary by its text or id.
        template: the wording, in which the rows of other words are read.
        rows: where other words are taken from; None: the embedded sentences about emotions, and a note says so.
        draws: of other words.
        rendered: the rows as one string, if not as `render` makes them.

    Raises InterplayError for what is not in the vocabulary.
    """
    neutral = next((i for text in NEUTRAL if (i := _token(tokenizer, text, ordinary=True)) is not None), MEAN)
    size = len(tokenizer)
    if wanted == "mean" or (wanted == "auto" and neutral == MEAN):
        return Masking(MEAN, "mean embedding", size)
    if wanted == "drop":
        return Masking(LEFT_OUT, "left out", size)
    if wanted == "swap":
        template, notes = template or PromptTemplate(), () if rows is not None else (_EMOTIONS,)
        pool = read_rows("emotions:train", template=template).rows if rows is None else rows
        found = find_fillers(
            pool, rendered or functools.partial(render, tokenizer=tokenizer, template=template), tokenizer
        )
        return Masking(neutral, f"other words of the same place, {draws} draws", size, notes, draws, found)
    token = neutral if wanted == "auto" else mask_token(tokenizer, wanted)
    rule = "the lineage's rule" if wanted == "paper" else "one per token"
    said = f"{json.dumps(_shown(tokenizer, token), ensure_ascii=False)} ({rule})"
    return Masking(token, said, size, _special_notes(tokenizer, token))


def mask_token(tokenizer, wanted: Mask = "paper") -> int:
    """The id of a token by its text or id. `paper`: `<unk>`, else `<pad>`, else a reserved special token [lineage], else EOS [ours].

    Under `paper` an `<unk>` or `<pad>` that is the EOS stands last, as the EOS does.
    Known values: Llama-2 0 (`<unk>`), Llama-3 128255 (last reserved token), Qwen2.5 151643 (`<|endoftext|>`, its pad).
    """
    if wanted == "paper":
        added = tokenizer.get_added_vocab().items()
        reserved = [i for t, i in added if re.search(r"reserved|unused|extra_id|fim_pad", t)]
        eos = tokenizer.eos_token_id
        own = [i for i in (tokenizer.unk_token_id, tokenizer.pad_token_id) if i != eos]
        for candidate in (*own, max(reserved, default=None), eos):
            if candidate is not None:
                return int(candidate)
        raise InterplayError("the tokenizer has no unk, pad, reserved or eos token: name one as the mask token")
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if not 0 <= wanted < len(tokenizer):
            raise InterplayError(f"mask token id {wanted} is outside the vocabulary: give one below {len(tokenizer)}")
        return wanted
    if (found := _token(tokenizer, wanted) if isinstance(wanted, str) else None) is None:
        expected = f"name a token of it, its id, or one of {', '.join(get_args(Named))}"
        raise InterplayError(f"mask token {short(wanted)} is not in the vocabulary: {expected}")
    return found


def _token(tokenizer, text: str, *, ordinary: bool = False) -> int | None:
    """The id of the one token that a text is; None where it is none. `ordinary`: nor a special one."""
    found = tokenizer.convert_tokens_to_ids(text) if text else None
    if found is None or (found == tokenizer.unk_token_id and text != tokenizer.unk_token):
        ids = []
        with contextlib.suppress(Exception):  # bare, of a word-level tokenizer without unk
            ids = tokenizer.encode(text, add_special_tokens=False)
        found = ids[0] if len(ids) == 1 and tokenizer.decode(ids).strip() == text.strip() else None
    if found is None or (ordinary and found in _special(tokenizer)):
        return None
    return int(found)


def _special(tokenizer) -> set[int]:
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _shown(tokenizer, token: int) -> str:
    """A token as text: as it is written, or its name where it writes nothing by itself."""
    text = tokenizer.decode([token])
    return text if text.strip() and "\ufffd" not in text else str(tokenizer.convert_ids_to_tokens(token))


def _special_notes(tokenizer, token: int) -> tuple[str, ...]:
    """A note where absent words become a token that means something to the model."""
    name, own = _shown(tokenizer, token), tokenizer.convert_ids_to_tokens(token)
    roles = [role.removesuffix("_token") for role, t in tokenizer.special_tokens_map.items() if t == own]
    if not roles and (token not in _special(tokenizer) or re.search(r"reserved|unused|extra_id|fim_pad", name)):
        return ()
    what = f"the {' and '.join(roles)} token" if roles else "a special token"
    why = "such a token can cut the text in two and hide what was learnt"
    return (f"absent words become {short(name)}, {what}: {why}; mask auto takes a neutral one",)


def absence_notes(absences: Sequence[Absence]) -> list[str]:
    """What to know of the absent words of some prompts, and how many have too few other words in their place."""
    words, lacking = sum(len(a.fills[0]) for a in absences), sum(a.lacking for a in absences)
    rest = "what is missing is drawn twice, and where there is none a neutral token stands"
    few = f"{lacking} of {words} absent words have too few other words of as many tokens: {rest}"
    return [*dict.fromkeys(note for a in absences for note in a.notes), *([few] if lacking else [])]
