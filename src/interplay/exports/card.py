"""A run as a section of a model card: "Training dynamics" in Markdown. All text from data is escaped (`inert`)."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from interplay import __version__
from interplay.analysis.summary import number
from interplay.atomic import write_bytes
from interplay.config.settings import TrainingSettings
from interplay.dynamics import Trajectory
from interplay.dynamics.sets import TABLE_SETS
from interplay.errors import InterplayError
from interplay.report.text import WORDS
from interplay.store.reader import RunReader
from interplay.task.metrics import METRICS

BEGIN = "<!-- interplay: training dynamics begin -->"
END = "<!-- interplay: training dynamics end -->"
LONGEST = 300  # characters of one string from data [ours]
LABELS = 12  # labels named one by one

# Never markup inside a line. Other ASCII characters become their HTML number, which CommonMark decodes after looking for markup.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,./-()%;+?='\"")
# GitHub and others also make links of bare addresses; a word joiner, which has no width, prevents that.
_BARE = re.compile(r"(?<=:)(?=//)|(?<=@)|(?<=www)(?=\.)", re.IGNORECASE)
_JOINER = "\u2060"
_COLON = re.compile(r"(?<=\w)&#58;(?= )")  # as prose has it, no markup; an address or an emoji has it elsewhere


def inert(text: object, longest: int = LONGEST) -> str:
    r"""One line of text without markup for readers of Markdown and HTML, cut to `longest` characters.

    Control and direction characters become a replacement mark, runs of space one space, ASCII signs their HTML number.

    >>> inert("a|b `c`\n<b>")
    'a&#124;b &#96;c&#96; &#60;b&#62;'
    >>> inert("Qwen/Qwen2.5-0.5B"), inert("&amp;"), inert("--- x", 3)
    ('Qwen/Qwen2.5-0.5B', '&#38;amp;', '---…')
    """
    line = " ".join("".join(c if c.isprintable() else (" " if c.isspace() else "\ufffd") for c in str(text)).split())
    if len(line) > longest:
        line = line[:longest].rstrip() + "…"
    line = _BARE.sub(_JOINER, line)
    numbered = "".join(c if c in _PLAIN or not c.isascii() else f"&#{ord(c)};" for c in line)
    return _COLON.sub(":", numbered)


def fill(template: str, **values: Any) -> str:
    """A template of this room, filled. It escapes nothing: text from data goes in as `inert` or plain words."""
    loader = PackageLoader("interplay.exports", "templates")
    env = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)
    return env.get_template(template).render(values).rstrip() + "\n"


def section(run: RunReader) -> str:
    """The section for a finished run between our two comments, ending in a newline."""
    with run.intact():
        track, recorded = run.trajectory, run.recorded
        return fill(
            "card.md.j2",
            begin=BEGIN,
            end=END,
            facts=_facts(run, run.settings.training),
            score=inert(run.score),
            table=_table(track, run.task),
            has_floor=track.get("strength", "emerged")["null"].notna().any(),
            sentence=inert(recorded["sentence"], 2000),
            basis=WORDS["bases"].get(recorded["basis"]) or inert(recorded["basis"]),
            rivals={
                WORDS["names"].get(name) or inert(name, 60): inert(step, 20)
                for name, step in recorded["rivals"].items()
            },
            measured=inert(run.json("report.json").get("version")),
            version=__version__,
        )


def write_section(path: Path, text: str) -> None:
    """Write a section into a file for it alone. Raises InterplayError if the file holds anything else."""
    if path.exists():
        before = _read(path).decode("utf-8", errors="replace").strip()
        if not (before.startswith(BEGIN) and before.endswith(END) and before.count(BEGIN) == before.count(END) == 1):
            raise InterplayError(
                f"{str(path)!r} exists and is not a section of ours: give it to --append, or another --out"
            )
    write_bytes(path, text.encode("utf-8"), folders=None)


def append_section(path: Path, text: str) -> str:
    """Put a section into a card, whose link and permissions stay. Returns unchanged, section replaced or section added."""
    before = _read(path)
    after = insert(before, text, repr(str(path)))
    if after == before:
        return "unchanged"
    target, mode = path.resolve(), path.stat().st_mode & 0o7777
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
    r"""The bytes of a card with `text` in the place of an earlier section, else at the end. The rest stays, line ends too.

    Raises InterplayError if the card is not UTF-8 text, its front matter is not closed, or its comments do not pair up.

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
    counts = written.count(BEGIN), written.count(END)  # anywhere, also within a line
    if counts == (0, 0):
        first, *rest = written.removeprefix("\ufeff").splitlines() or [""]
        if first.rstrip() == "---" and not any(line.rstrip() in ("---", "...") for line in rest):
            raise InterplayError(
                f"the front matter of {name} opens with --- and is never closed: add a closing line ---"
            )
        gap = line_end if written.endswith("\n") else line_end * 2
        if not written or re.search(r"\n[ \t]*\r?\n\Z", written):
            gap = ""
        return card + (gap + text).encode("utf-8")
    if counts != (1, 1) or [mark[0] for mark in marks] != [BEGIN, END]:
        raise InterplayError(
            f"{name} holds {counts[0]} begin and {counts[1]} end comments of Interplay, expected one pair in this order, each "
            "on its own line: delete what is left of the earlier section"
        )
    before, after = written[: marks[0].start()], written[marks[1].end() :]
    return (before + text.removesuffix(line_end) + after).encode("utf-8")


def _facts(run: RunReader, training: TrainingSettings | None) -> dict[str, str]:
    settings, inputs, track = run.settings, run.inputs, run.trajectory
    sizes = ", ".join(map(str, sorted({len(prompt["words"]) for prompt in inputs["prompts"]})))
    prompts = f"{len(track.sample_ids)} held-out prompt{'' if len(track.sample_ids) == 1 else 's'}"
    said = {row["name"]: row["value"] for row in run.json("report.json").get("method", ())}
    method = "trained elsewhere; its checkpoints were measured afterwards"
    if run.has("callback.json"):
        method = f"{said['Training']}; measured while it trained"
    if training is not None:
        from interplay.training.methods import method_title

        method = (
            f"{method_title(training.method, training.rank)}, learning rate {training.learning_rate:g}, "
            f"{training.steps} steps of {training.batch_size * training.accumulation} rows"
        )
    facts = {
        "Model": inert(public_name(settings.model.name)),
        "Method": inert(method),
        "Steps measured": f"{', '.join(map(str, track.steps))} (reference: step {track.reference})",
        "Prompts": f"{prompts}, n = {sizes} words each, all 2^n combinations of them scored",
        "Absent words": inert(said.get("Absent words", "not known")),
    }
    if labels := inputs["labels"]:
        named = ", ".join(inert(label, 60) for label in labels[:LABELS])
        facts["Labels"] = named + (f" and {len(labels) - LABELS} more" if len(labels) > LABELS else "")
    return facts


def public_name(name: str) -> str:
    r"""A model's name for others: the last part only of a path on this machine.

    >>> public_name("Qwen/Qwen2.5-0.5B"), public_name("/data/me/base.gguf"), public_name("../out/"), public_name("C:\\m\\x")
    ('Qwen/Qwen2.5-0.5B', 'base.gguf', 'out', 'x')
    """
    parts = [part for part in re.split(r"[/\\]", name) if part]
    a_path = name.startswith(("/", ".", "~")) or "\\" in name or name.endswith("/") or len(parts) > 2
    return parts[-1] if a_path and parts else name


def _table(track: Trajectory, task: pd.DataFrame) -> list[tuple[str, ...]]:
    """One row a step: what the task measured, the strength of each set with its floor, rho with its null, L1/sd."""
    by_step = task.drop_duplicates("step", keep="last").set_index("step").reindex(track.steps)
    columns = [["step", "---:", *map(str, track.steps)]]
    for name, digits in (("eval_loss", 3), ("accuracy", 2)):
        if name in by_step and by_step[name].notna().any():
            columns.append([METRICS[name].title, "---:", *(number(x, digits) for x in by_step[name])])
    curves = [("change", track.get("change"), "floor", 1)]
    curves += [(name, track.get("strength", name), "floor", 1) for name in TABLE_SETS]
    curves += [("rho", track.get("rho", "all"), "null", 2), ("L1/sd", track.get("l1_per_sd"), "null", 1)]
    for title, curve, null, digits in curves:
        values, nulls = ([number(x, digits) for x in curve[key].reindex(track.steps)] for key in ("value", "null"))
        if curve["null"].notna().any():
            title = f"{title} ({null})"
            values = [f"{value} ({floor})" for value, floor in zip(values, nulls, strict=True)]
        columns.append([title, "---:", *values])
    return list(zip(*columns, strict=True))
