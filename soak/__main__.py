"""The soak: `python -m soak [--only sharing,kills,deaths,errors,fuzz] [--kills 120] [--minutes 10] [--write docs/evidence/reliability.md]`.

An hour or more on two cores: a kill or a disk error costs some four seconds, and so does each of 300 deaths.

Prints a table for each part; with --write they take their places between `<!-- table NAME -->` and `<!-- end -->` in that page,
and everything around them stays. It stops at the first folder that differs, keeps it, says where, and exits with 1.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import machine, table
from benchmarks.section import Section, put
from interplay.atomic import write_text

PARTS = ("sharing", "kills", "deaths", "errors", "fuzz")


def text_of(part: Section) -> str:
    """A table and its notes, as they stand between the markers.

    >>> print(text_of(Section("a title", [{"kills": 120}], ["A note."])))
    | kills |
    | ----: |
    |   120 |
    <BLANKLINE>
    A note.
    """
    return "\n\n".join(["\n".join(table(part.rows)), *part.notes])


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, print and write their tables; 0 when everything held."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", metavar="NAME,..", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--kills", type=int, default=120, help="random kills at least; default 120")
    parser.add_argument(
        "--deaths", type=int, default=300, help="at a spread of so many events; default 300, 0: every one"
    )
    parser.add_argument("--errors", type=int, default=40, help="events a disk error is tried at, for each; default 40")
    parser.add_argument("--minutes", type=float, default=10, help="of fuzzing; default 10")
    parser.add_argument("--seed", type=int, default=0, help="of the random kills")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this page as well")
    asked = parser.parse_args(arguments)
    names = asked.only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    root = Path(tempfile.mkdtemp(prefix="soak-")).resolve()
    try:
        _parts(names, asked, root)
    except Exception as error:
        from soak.job import Broken

        if not isinstance(error, Broken):
            raise
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(root)
    return 0


def _parts(names: list[str], asked: argparse.Namespace, root: Path) -> None:
    # The command with its sizes, so that a table tells how to make it again though others came from another call.
    command = (
        f"python -m soak --only {','.join(names)} --kills {asked.kills} --deaths {asked.deaths} --errors {asked.errors}"
    )
    command += f" --minutes {asked.minutes:g} --seed {asked.seed}"

    def show(name: str, make: Callable[[], Section]) -> None:
        start = time.monotonic()
        part = make()
        text = text_of(part) + f"\n\nFrom `{command}`."
        print(f"\n## {part.title} ({(time.monotonic() - start) / 60:.0f} minutes)\n\n{text}\n", flush=True)
        put_into(asked.write, name, text)  # at once: what comes later may break, or be interrupted

    about = "\n\n".join(machine(1))
    print(about, flush=True)
    put_into(asked.write, "machine", about)
    if "sharing" in names:
        from benchmarks.sharing import manifest_rows, sharing_rows

        show("sharing", lambda: sharing_rows(False))
        show("manifest", lambda: manifest_rows(False))
    if {"kills", "deaths", "errors"} & set(names):
        from soak import faults, kills
        from soak.job import job

        with job(root) as made:
            if "kills" in names:
                show("kills", lambda: kills.section(made, asked.kills, seed=asked.seed, workers=True))
            if "deaths" in names:
                show("deaths", lambda: faults.deaths(made, asked.deaths or None))
            if "errors" in names:
                show("errors", lambda: faults.errors(made, asked.errors))
    if "fuzz" in names:
        from soak import fuzz

        show("fuzz", lambda: fuzz.section(asked.minutes))


def put_into(page: Path | None, name: str, text: str) -> None:
    """Put a table into its place in a page, if there is one to write."""
    if page is not None:
        write_text(page, put(page.read_text(encoding="utf-8"), name, text))


if __name__ == "__main__":
    sys.exit(main())
