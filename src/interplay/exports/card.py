r"""A run as a section of a model card: "Training dynamics" in Markdown, from the files of a run folder alone.

No model is loaded and nothing is computed. Whatever comes from data (names, labels, sentences) is written so that neither a
Markdown nor an HTML reader finds markup in it (`inert`). A card that exists gets the section between two comments of ours;
every other byte of it stays (`insert`).
"""

import codecs
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import interplay
from interplay.atomic import write_bytes
from interplay.config.settings import Settings
from interplay.dynamics import Trajectory
from interplay.dynamics.sets import TABLE_SETS
from interplay.errors import InterplayError
from interplay.report.recommendation import NAMES
from interplay.store.reader import RunReader
from interplay.task.metrics import METRICS

BEGIN = "<!-- interplay: training dynamics begin -->"
END = "<!-- interplay: training dynamics end -->"
LONGEST = 300  # characters of one string out of data; no name needs more, a card is no place for the rest [ours]
LABELS = 12  # labels named one by one

# Markup in no dialect at no place inside a line. Everything else of ASCII is written as its number: CommonMark decodes those
# after it has looked for markup, HTML shows the same character.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,./-()%;+?='\"")
# GitHub and others also make links of bare addresses, some after decoding; a word joiner, which has no width, stops them.
_BARE = re.compile(r"(?<=:)(?=//)|(?<=@)|(?<=www)(?=\.)", re.IGNORECASE)
_JOINER = "\u2060"

_BASES = {
    "accuracy": "the highest eval accuracy",
    "eval-loss": "the lowest eval loss",
    "last": "no evidence to choose; the last checkpoint is named instead",
    "only": "nothing to compare",
}


def inert(text: object, longest: int = LONGEST) -> str:
    r"""One line of text that is nothing but text to a reader of Markdown or HTML, cut to `longest` characters.

    Control and direction characters become a replacement mark, runs of space one space, ASCII signs their HTML number; bare
    web and mail addresses get an invisible joiner so that nobody makes a link of them.

    >>> inert("a|b `c`\n<b>")
    'a&#124;b &#96;c&#96; &#60;b&#62;'
    >>> inert("Qwen/Qwen2.5-0.5B"), inert("&amp;"), inert("--- x", 3)
    ('Qwen/Qwen2.5-0.5B', '&#38;amp;', '---…')
    """
    line = " ".join("".join(c if c.isprintable() else (" " if c.isspace() else "\ufffd") for c in str(text)).split())
    if len(line) > longest:
        line = line[:longest].rstrip() + "…"
    line = _BARE.sub(_JOINER, line)
    return "".join(c if c in _PLAIN or not c.isascii() else f"&#{ord(c)};" for c in line)


def section(run: RunReader) -> str:
    """The section for a finished run, comments of ours around it, ending in a newline.

    Raises InterplayError where the folder is not a run, or its run is not finished.
    """
    with run.intact():
        parts = [
            BEGIN,
            "## Training dynamics",
            "Measured with Interplay: the model's score of each answer, split exactly into AND-OR interactions between the words "
            "of the prompt, followed over the checkpoints of the fine-tuning.",
            _facts(run.settings, run.inputs, run.trajectory),
            _table(run.trajectory, run.task),
            _meaning(run.trajectory),
            _recommendation(run.recorded),
            _versions(run.json("report.json").get("version") if run.has("report.json") else None),
            END,
        ]
        return "\n\n".join(parts) + "\n"


def write_section(path: Path, text: str) -> None:
    """Write a section into a file for it alone. Raises InterplayError where the file holds anything else."""
    if path.exists() and not is_section(_read(path)):
        raise InterplayError(
            f"{str(path)!r} exists and is not a section of ours: give it to --append, or another --out"
        )
    write_bytes(path, text.encode("utf-8"))


def append_section(path: Path, text: str) -> str:
    """Put a section into a card that exists; says what was done: unchanged, section replaced or section added.

    The file is written whole or not at all; a link stays one, and who may read the card stays so.
    """
    before = _read(path)
    after = insert(before, text, repr(str(path)))
    if after == before:
        return "unchanged"
    target = path.resolve()
    # A link in a folder of somebody's may lead to anything.
    if path.is_symlink() and target.suffix.lower() not in (".md", ".markdown"):
        raise InterplayError(
            f"{str(path)!r} leads to {str(target)!r}, which is no Markdown by its name: give that card itself"
        )
    mode = target.stat().st_mode & 0o7777
    write_bytes(target, after)
    target.chmod(mode)
    return "section replaced" if BEGIN.encode() in before else "section added"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InterplayError(
            f"cannot read {str(path)!r} ({error.strerror}): give a card that exists, or write the section with --out"
        ) from error


def insert(card: bytes, text: str, name: str = "the card") -> bytes:
    r"""A model card with the section in it: in the place of an earlier one, else at the end. All other bytes stay.

    card  the file's bytes, UTF-8; a byte-order mark, its line ends and a missing newline at its end are kept as they are
    text  what `section` made; its lines end as the card's do
    name  of the file, for what is said of it

    Raises InterplayError where the card is no UTF-8 text, its front matter is not closed, or its comments do not pair up.

    >>> once = insert(b"# Mine\n", f"{BEGIN}\nold\n{END}\n")
    >>> insert(once, f"{BEGIN}\nnew\n{END}\n") == once.replace(b"old", b"new")
    True
    >>> once.splitlines()[:3]
    [b'# Mine', b'', b'<!-- interplay: training dynamics begin -->']
    """
    try:
        written = card.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InterplayError(
            f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8, or write the section to a file with --out"
        ) from error
    if "\0" in written:
        raise InterplayError(f"{name} holds binary data, expected a Markdown file: give the README.md of the model")
    line_end = "\r\n" if "\r\n" in written or written.endswith("\r") else "\n"
    text = text.replace("\n", line_end)
    marks = list(re.finditer(rf"^(?:{re.escape(BEGIN)}|{re.escape(END)})(?=[ \t]*\r?$)", written, re.MULTILINE))
    spelt = written.count(BEGIN), written.count(END)  # anywhere: what is not on a line of its own is not ours to judge
    if spelt == (0, 0):
        if _open_front_matter(written):
            raise InterplayError(
                f"the front matter of {name} opens with --- and is never closed: close it with a line --- of its own"
            )
        return card + (_gap(written, line_end) + text).encode("utf-8")
    if spelt != (1, 1) or [mark[0] for mark in marks] != [BEGIN, END]:
        raise InterplayError(
            f"{name} holds {spelt[0]} begin and {spelt[1]} end comments of Interplay, expected one pair in this order, each "
            "on a line of its own: delete what is left of the earlier section"
        )
    before, after = written[: marks[0].start()], written[marks[1].end() :]
    return (before + text.removesuffix(line_end) + after).encode("utf-8")


def is_section(data: bytes) -> bool:
    """Whether a file holds a section of ours and nothing else, so that writing another in its place loses nothing."""
    text = data.decode("utf-8", errors="replace").strip()
    return text.startswith(BEGIN) and text.endswith(END) and text.count(BEGIN) == text.count(END) == 1


def _open_front_matter(written: str) -> bool:
    lines = written.removeprefix(codecs.BOM_UTF8.decode()).splitlines()
    return bool(lines) and lines[0].rstrip() == "---" and not any(line.rstrip() in ("---", "...") for line in lines[1:])


def _gap(written: str, line_end: str) -> str:
    """What stands between the end of a card and a new section: one empty line."""
    if not written:
        return ""
    if not written.endswith("\n"):
        return line_end * 2
    return "" if re.search(r"\n[ \t]*\r?\n\Z", written) else line_end


# ---- the parts of the section ----------------------------------------------------------------------------------------


def _facts(settings: Settings, inputs: Mapping[str, Any], track: Trajectory) -> str:
    sizes = sorted({len(prompt["words"]) for prompt in inputs["prompts"]})
    counted = len(track.sample_ids)
    labels = inputs["labels"] or []
    rows = [
        ("Model", inert(public_name(settings.model.name))),
        ("Method", inert(_method(settings))),
        ("Steps measured", f"{', '.join(map(str, track.steps))} (reference: step {track.reference})"),
        (
            "Prompts",
            f"{counted} held-out prompt{'' if counted == 1 else 's'}, n = {', '.join(map(str, sizes))} words each, "
            "all 2^n combinations of them scored",
        ),
    ]
    if labels:
        named = ", ".join(inert(label, 60) for label in labels[:LABELS])
        rows.append(("Labels", named + (f" and {len(labels) - LABELS} more" if len(labels) > LABELS else "")))
    return "\n".join(f"- **{name}:** {value}" for name, value in rows)


def public_name(name: str) -> str:
    r"""A model's name as others know it: of a path on this machine its last part only.

    >>> public_name("Qwen/Qwen2.5-0.5B"), public_name("/data/me/base.gguf"), public_name("../out/"), public_name("C:\\m\\x")
    ('Qwen/Qwen2.5-0.5B', 'base.gguf', 'out', 'x')
    """
    parts = [part for part in re.split(r"[/\\]", name) if part]
    a_path = name.startswith(("/", ".", "~")) or "\\" in name or name.endswith("/") or len(parts) > 2
    return parts[-1] if a_path and parts else name


def _method(settings: Settings) -> str:
    training = settings.training
    if training is None:
        return "a training of its own; its checkpoints were measured afterwards"
    from interplay.training.methods import method_title

    return (
        f"{method_title(training.method, training.rank)}, learning rate {training.learning_rate:g}, "
        f"{training.steps} steps of {training.batch_size * training.accumulation} rows"
    )


def _table(track: Trajectory, task: pd.DataFrame) -> str:
    """One row a step: what the task measured, the strength of each set beside its floor, rho beside its null, L1/sd."""
    by_step = task.drop_duplicates("step", keep="last").set_index("step")
    columns: list[tuple[str, list[str]]] = [("step", [str(step) for step in track.steps])]
    for name, digits in (("eval_loss", 3), ("accuracy", 2)):
        if name in by_step and by_step[name].notna().any():
            measured = by_step[name].reindex(track.steps)
            columns.append((METRICS[name].title, [_figure(value, digits) for value in measured]))
    for name in TABLE_SETS:
        columns.append(_beside(track, name, "strength", name, "floor", 1))
    columns.append(_beside(track, "rho", "rho", "all", "null", 2))
    l1 = track.get("l1_per_sd")["value"].reindex(track.steps)
    columns.append(("L1/sd", [_figure(value, 1) for value in l1]))
    lines = [[title for title, _ in columns], ["---:"] * len(columns)]
    lines += [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _beside(track: Trajectory, title: str, measure: str, of: str, null: str, digits: int) -> tuple[str, list[str]]:
    """A column of values with their nulls in brackets; without brackets where no null was measured."""
    curve = track.get(measure, of).reindex(track.steps)
    values = [_figure(value, digits) for value in curve["value"]]
    if not curve["null"].notna().any():
        return title, values
    nulls = [_figure(value, digits) for value in curve["null"]]
    return f"{title} ({null})", [f"{v} ({x})" for v, x in zip(values, nulls, strict=True)]


def _figure(value: Any, digits: int) -> str:
    """
    >>> _figure(2.345, 1), _figure(float("nan"), 1), _figure(-0.001, 2)
    ('2.3', '–', '0.00')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def _meaning(track: Trajectory) -> str:
    """What the figures mean, in two sentences, the second of them about what they are held against."""
    first = (
        "Removed, preserved and emerged are the summed strength, in nats and as means over the prompts, of the interactions "
        "that a checkpoint lost, kept or gained since the reference step; rho is the share of all strength that does not "
        "cancel, and L1/sd the strength of all interactions in units of the spread of the score."
    )
    floor = track.get("strength", "emerged")["null"].notna().any()
    said = "The floor is what the same sets hold between two wordings of the prompt at the reference step, where nothing was "
    said += "learnt, so only what stands above it is a change; "
    if not floor:
        said = (
            "No floor was measured, so how much of a set another wording of the prompt would have moved is not known; "
        )
    return f"{first} {said}the null of rho is that of the same interactions with random signs."


def _recommendation(verdict: Mapping[str, Any]) -> str:
    basis = _BASES.get(verdict["basis"]) or inert(verdict["basis"])
    lines = [f"**Which checkpoint to keep:** {inert(verdict['sentence'], 2000)}", f"- Basis: {basis}."]
    if verdict.get("provisional"):
        lines[-1] += " The rule is provisional."
    rivals: Sequence[tuple[str, Any]] = list((verdict.get("rivals") or {}).items())
    if rivals:
        told = "; ".join(f"{NAMES.get(name) or inert(name, 60)}: step {inert(step, 20)}" for name, step in rivals)
        lines.append(f"- What each rule would choose: {told}.")
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])


def _versions(measured: str | None) -> str:
    """The version that wrote this, and the one that measured the run as far as its files say."""
    own = interplay.__version__
    if measured == own:
        return f"Measured and written by Interplay {inert(own)}."
    return f"Measured by Interplay {inert(measured)}, written by Interplay {inert(own)}."
