"""`interplay explain`: one prompt, one model, its interactions as JSON or as a table with a picture."""

import contextlib
import json
import math
import re
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from interplay.cli.show import printable, say
from interplay.errors import InterplayError, SkipSample


def explain_prompt(
    *,
    model: str,
    prompt: str,
    target: str,
    words: list[str] | None,
    n: int,
    adapter: str | None,
    system: str | None,
    template: str,
    chat: Any,
    dtype: str,
    top: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score all coalitions, split them, print."""
    from interplay.data.samples import make_sample
    from interplay.data.template import PromptTemplate
    from interplay.data.words import check_n
    from interplay.effects import extract
    from interplay.runs.stages import choose_device, quiet_libraries
    from interplay.scoring.checkpoints import Checkpoint, classify, model_at
    from interplay.scoring.models import load_model
    from interplay.scoring.score import prepare, score_prepared

    check_n(n)
    wording = PromptTemplate(system=system, template=template, chat=chat)
    with quiet_libraries(), _of_the_prompt():
        sample = make_sample(prompt, target, words=words, n=n, seed=seed, template=wording)
        loaded = load_model(model, dtype=dtype, device=choose_device("auto"))
        prepared = prepare(sample, loaded.tokenizer, wording)
        state = Checkpoint(0, None, "base")
        if adapter is not None:
            path = Path(adapter)
            if not path.is_dir() or classify(path) != "adapter":
                raise InterplayError(f"--adapter {adapter!r} is no adapter folder: it needs adapter_model.safetensors")
            state = Checkpoint(1, path, "adapter")
        with model_at(state, loaded) as ready:
            scored = score_prepared(ready, prepared, noise_coalitions=8)
    if words is None and sample.n < n:
        print(f"interplay: only {sample.n} content words in the prompt, not {n}: all of them are used", file=sys.stderr)
    full, empty = float(scored.values[-1]), float(scored.values[0])
    # delta as in a run, from this one sample: 0.02 |v(N) - v(empty)| [lineage], at least 3 sigma of noise [ours].
    tolerance = max(0.02 * abs(full - empty), 3 * scored.noise_sigma)
    effects = extract(scored.values, tolerance=tolerance)
    frame = effects.to_pandas(words=scored.words)
    interactions = [
        {"type": str(r["type"]), "words": list(r["words"]), "order": int(r["order"]), "effect": float(r["effect"])}
        for r in frame.to_dict("records")
    ]
    if as_json:
        payload = {
            "words": list(scored.words),
            "target": scored.target,
            "score_full": full,
            "score_empty": empty,
            "gap": float(effects.gap),
            "dtype": scored.dtype,
            "noise_sigma": scored.noise_sigma,
            "interactions": interactions,
        }
        print(
            json.dumps(payload, allow_nan=False)
        )  # escaped to ASCII: a word cannot command the terminal it is read on
        return
    say(
        f"log-odds of {scored_name(scored.target, target)}: {full:+.3f} with all {sample.n} words, {empty:+.3f} with none"
    )
    shown = f"; the strongest {top}" if top < len(interactions) else ""
    say(f"{len(interactions)} salient interactions (|effect| > 5 % of the largest){shown}:")
    print()
    _draw(scored.words, interactions[:top], [int(m) for m in frame["mask"]][:top])
    print()
    say("● AND: all its words must stay   ○ OR: one of its words is enough   █ raises the score   ░ lowers it")
    say(
        f"certified duality gap {float(effects.gap):.1e}, tolerance {tolerance:.3g}, {scored.dtype}, "
        f"noise of v {scored.noise_sigma:.1e} nats"
    )


@contextlib.contextmanager
def _of_the_prompt() -> Generator[None]:
    """Errors about a row among many say which; here there is but one, and its id is ours."""
    try:
        yield
    except SkipSample as error:
        raise InterplayError(re.sub(r"^(row|sample) 'text-[0-9a-f]+': ", "", str(error))) from error


def scored_name(token: str, target: str) -> str:
    """What is scored, in words: often only the first piece of the target.

    >>> scored_name("s", "sadness"), scored_name(" joy", "joy")
    ("'s', the first token of 'sadness'", "' joy'")
    """
    name = repr(printable(token))
    return name if token.strip() == target.strip() else f"{name}, the first token of {printable(target)!r}"


def _draw(words: Sequence[str], interactions: Sequence[dict[str, Any]], masks: Sequence[int]) -> None:
    """One row per interaction: dots under its words (AND ●, OR ○) joined by a line, and a bar for its effect.

    Words that do not fit side by side become numbers, with the words listed above.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, soft_wrap=True)
    names = [_clip(printable(word)) for word in words]
    room = console.width - _LEAD - _SHORTEST_BAR - 2
    if sum(_columns(name) + 2 for name in names) > room:
        for i, name in enumerate(names, start=1):
            console.print(f"{i:>4}  {name}")
        console.print()
        names = [str(i) for i in range(1, len(names) + 1)]
    longest = max(_SHORTEST_BAR, min(20, room - sum(_columns(name) + 2 for name in names) + _SHORTEST_BAR))
    strongest = max((abs(row["effect"]) for row in interactions), default=1.0)
    console.print(" " * _LEAD + "".join(f" {name} " for name in names).rstrip())
    for row, mask in zip(interactions, masks, strict=True):
        line = Text(f"{row['type'].upper():<4}{row['effect']:+7.3f} ")
        line.append(_dots(names, mask, "●" if row["type"] == "and" else "○"))
        width = max(1, math.ceil(longest * abs(row["effect"]) / strongest))
        up = row["effect"] > 0
        line.append("  " + ("█" if up else "░") * width, style="cyan" if up else "magenta")
        console.print(line)


_LEAD = 12  # columns of type and effect
_SHORTEST_BAR = 8


def _columns(text: str) -> int:
    """Width on a terminal: a Chinese character takes two columns."""
    from rich.cells import cell_len

    return cell_len(text)


def _clip(word: str, limit: int = 14) -> str:
    return word if len(word) <= limit else word[: limit - 1] + "…"


def _dots(names: Sequence[str], mask: int, dot: str) -> str:
    """The dots of one interaction under the words' columns, joined from the first to the last.

    >>> _dots(["ab", "cd", "ef"], 0b101, "o")
    ' o───────o  '
    """
    cells = []
    members = [i for i in range(len(names)) if mask >> i & 1]
    for i, name in enumerate(names):
        width = _columns(name) + 2
        middle = (width - 1) // 2
        inside = members[0] < i < members[-1]
        left = "─" if inside or (i in members and i > members[0]) else " "
        right = "─" if inside or (i in members and i < members[-1]) else " "
        centre = dot if i in members else ("─" if inside else " ")
        cells.append(left * middle + centre + right * (width - 1 - middle))
    return "".join(cells)
