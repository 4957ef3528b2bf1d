"""All benchmarks in one run on this machine: tables on the terminal as they come, and docs/evidence/benchmarks.md with --write,
which with --only renews the sections of these parts and leaves the others.

Every figure is measured by this script; nothing on the page is typed in but what an earlier commit took (goals.py). What cannot be measured here (no GPU, a package or
model that is not installed) is said in its place. What each part measures stands in its own module; here are only their order,
the targets, and how a table is drawn.

    python -m benchmarks.bench [--quick] [--only NAME,NAME] [--write docs/evidence/benchmarks.md]
"""

import argparse
import importlib
import importlib.metadata
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.goals import GOALS, Outcome, outcome
from benchmarks.section import Section

Part = Callable[[bool], "Section | list[Section]"]


ASKED = "Asked and reached"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# name -> (module, function); in the order of the page.
PARTS: dict[str, tuple[str, str]] = {
    "scoring": ("scoring_rows", "scoring_rows"),
    "roads": ("scoring_rivals", "road_rows"),
    "large": ("scoring_rows", "large_rows"),
    "captum": ("peers", "captum_rows"),
    "memory": ("memory", "memory_rows"),
    "sizes": ("sizes", "size_rows"),
    "noise": ("noise", "noise_rows"),
    "parts": ("noise", "parts_rows"),
    "gpu": ("gpu", "gpu_rows"),
    "solve": ("solving", "solve_rows"),
    "moebius": ("solving", "moebius_rows"),
    "recovery": ("recovery", "recovery_rows"),
    "demo": ("demo_shares", "demo_rows"),
    "page": ("page", "study_rows"),
    "explain": ("explaining", "explain_rows"),
    "threads": ("explaining", "waiting_rows"),
    "watching": ("watching", "watching_rows"),
    "sharing": ("sharing", "sharing_rows"),
    "manifest": ("sharing", "manifest_rows"),
}


def goals_section(outcomes: list[Outcome]) -> Section:
    """The table asked / reached, computed from the rows below it."""
    rows = []
    for goal, reached, met in outcomes:
        verdict = {True: "yes", False: "no", None: "not measured" if math.isnan(reached) else "in part"}[met]
        figure = "not measured" if math.isnan(reached) else f"{cell(reached)}{goal.unit}"
        bound = f"{'>=' if goal.at_least else '<='} {cell(goal.bound)}{goal.unit}"
        row = {"what": goal.what, "asked": bound, "reached (the worst)": figure, "met": verdict}
        rows.append(row | {"before (commit ef0b9e1)": goal.before or "–"})
    notes = ["In part: what was measured meets the bound, but not all that it is asked of was measured."]
    return Section(ASKED, rows, notes if any(row["met"] == "in part" for row in rows) else [])


def cell(value: object) -> str:
    """A figure with sensible digits; NaN is one that was not measured, and nothing else can stand for it.

    >>> [cell(x) for x in (12345.6, 16.04, 0.5, 0.00012, 0.0, 7, float("nan"), True, "text")]
    ['12346', '16', '0.5', '0.00012', '0', '7', 'not measured', 'yes', 'text']
    >>> cell(None)
    Traceback (most recent call last):
    TypeError: None is no figure: a part gives NaN for what it did not measure
    """
    if value is None:
        raise TypeError("None is no figure: a part gives NaN for what it did not measure")
    if isinstance(value, (bool,)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value.replace("|", "\\|")
    if isinstance(value, int):
        return str(value)
    number = float(value)  # ty: ignore[invalid-argument-type]
    if math.isnan(number):
        return "not measured"
    if math.isinf(number):
        raise ValueError("an infinite figure was not measured: a part gives NaN for it")
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def table(rows: list[dict]) -> list[str]:
    """Markdown that also reads well on a terminal. A row without a column that others have shows a dash there."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    body = [[cell(row[c]) if c in row else "–" for c in columns] for row in rows]
    words = [any(isinstance(row.get(c), str) for row in rows) for c in columns]
    width = [max(3, len(c), *(len(line[i]) for line in body)) for i, c in enumerate(columns)]
    rule = ["-" * w if left else "-" * (w - 1) + ":" for w, left in zip(width, words, strict=True)]
    lines = [columns, rule, *body]
    return [
        "| " + " | ".join(_pad(t, w, left) for t, w, left in zip(line, width, words, strict=True)) + " |"
        for line in lines
    ]


def _pad(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def lines_of(section: Section) -> list[str]:
    """A section of the page: heading, table, notes."""
    out = [f"## {section.title}", ""]
    if section.rows:
        out += [*table(section.rows), ""]
    return [*out, *section.notes, *([""] if section.notes else [])]


def machine(threads: int) -> list[str]:
    """Processor, memory, GPU and versions, as the system tells them."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else math.nan
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    packages = ("torch", "transformers", "numpy", "scipy", "shapiq", "captum")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    room = "memory unknown" if math.isnan(memory) else f"{memory:.0f} GB"
    return [
        f"{processor()}, {os.cpu_count()} cores of which {threads} is used (the demo: torch's own number), {room}, {gpu}.",
        f"Python {sys.version.split()[0]}, {versions}.",
    ]


def version(package: str) -> str:
    """The installed version, or that it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """What the machine calls its processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    import platform

    return names[0] if names else platform.processor() or platform.machine() or "unknown processor"


def run_part(name: str, quick: bool) -> tuple[list[Section], bool]:
    """The sections of a part, and whether it ended well: a part that fails loses its own tables, not those of the others."""
    module, function = PARTS[name]
    try:
        part: Part = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        found = part(quick)
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(str(error).split()) or type(error).__name__
        return [Section(f"Part {name}", [], [f"Not measured: it failed: {type(error).__name__}: {reason}"])], False
    return [found] if isinstance(found, Section) else list(found), True


def page(head: list[str], outcomes: list[Outcome], sections: Iterable[Section], quick: bool) -> str:
    """The whole page."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; no figure is typed in but those of an earlier commit and of trial runs, named as such. What was run alone says so.",
        "",
    ]
    if quick:
        lines += ["A quick run: smaller sizes than the targets ask for.", ""]
    lines += [line for text in head for line in (text, "")]
    for section in (goals_section(outcomes), *sections):
        lines += lines_of(section)
    return "\n".join(lines).rstrip() + "\n"


def renewed(before: str, head: list[str], outcomes: list[Outcome], sections: list[Section], quick: bool) -> str:
    """A page with these sections in the place of those of the same title, and new ones at its end; the others keep their text.

    Each says that it was run alone and where; of the goals, the lines of these parts are new.
    """
    alone = (
        f"Run alone, later than the sections without this line{', in smaller sizes' if quick else ''}. {' '.join(head)}"
    )
    blocks = {block.split("\n", 1)[0]: block for block in before.rstrip().split("\n## ")}
    for section in sections:
        text = "\n".join(lines_of(section._replace(notes=[*section.notes, alone])))
        blocks[section.title] = text.removeprefix("## ").rstrip() + "\n"
    known = {goal.what: row for goal, row in zip([o.goal for o in outcomes], goals_section(outcomes).rows, strict=True)}
    old = [
        [c.strip() for c in line.strip("| ").split(" | ")]
        for line in blocks.get(ASKED, "").split("\n")
        if line[:1] == "|"
    ]
    rows = [dict(zip(old[0], cells, strict=True)) for cells in old[2:]]
    rows = [known.pop(row["what"], row) for row in rows] + list(known.values())
    blocks[ASKED] = (
        "\n".join(lines_of(Section(ASKED, rows, goals_section(outcomes).notes))).removeprefix("## ").rstrip() + "\n"
    )
    return "\n## ".join(block.rstrip("\n") + "\n" for block in blocks.values())


def chosen(text: str | None) -> list[str]:
    """Names of parts from a list with commas; all of them without one."""
    names = list(PARTS) if text is None else [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PARTS]:
        raise SystemExit(f"no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    return names


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 1 where a part failed (a target that is missed is a result, not a failure)."""
    parser = argparse.ArgumentParser(description="Measure Interplay on this machine.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rivals: about two minutes")
    parser.add_argument("--only", metavar="NAME,..", help=f"these parts only: {', '.join(PARTS)}")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this Markdown file as well")
    given = parser.parse_args(arguments)
    names = chosen(given.only)
    if given.write is not None and given.only is not None and not given.write.exists():
        raise SystemExit(f"--only renews sections of a page, and there is no {given.write}: leave it out")
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)  # CPU seconds of one thread: two that wait for each other would count their waiting
    head = machine(1)
    print("\n".join(head), "", sep="\n", flush=True)
    sections: dict[str, list[Section]] = {}
    well = True
    for name in names:
        sections[name], good = run_part(name, given.quick)
        well &= good
        for section in sections[name]:
            print("\n".join(lines_of(section)), flush=True)
    outcomes = [outcome(goal, sections[goal.part]) for goal in GOALS if goal.part in sections]
    print("\n".join(lines_of(goals_section(outcomes))), flush=True)
    if given.write is not None:
        whole = [section for name in names for section in sections[name]]
        if given.only is None:
            text = page(head, outcomes, whole, given.quick)
        else:
            text = renewed(given.write.read_text(encoding="utf-8"), head, outcomes, whole, given.quick)
        given.write.write_text(text, encoding="utf-8")
    return 0 if well else 1


if __name__ == "__main__":
    os.environ |= dict.fromkeys(THREADS, "1")  # read when numpy is first imported, which no line above has done
    sys.exit(main())
