"""Run the cells of the study that are not done: `python -m studies.stopping DATA OUT [--size small] [--device cpu]`.

Several processes may work on one folder: each takes the next cell that nobody holds. A cell that was cut off is begun again.
"""

import argparse
import fcntl
import multiprocessing
import sys
from pathlib import Path

from studies.stopping.cell import run_cell
from studies.stopping.grid import cells


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m studies.stopping")
    parser.add_argument("data", type=Path, help="the folder that holds goemotions/ and wikitext2/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="small", choices=("small", "full"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    failed = []
    for cell in cells(asked.size):
        if asked.only not in cell.name or (asked.out / f"{cell.name}.npz").exists():
            continue
        with open(asked.out / f"{cell.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # A process a cell: a training leaves memory and global state behind.
            work = context.Process(target=run_cell, args=(cell, asked.data, asked.out), kwargs={"device": asked.device})
            work.start()
            work.join()
            if work.exitcode:
                failed.append(cell.name)
        (asked.out / f"{cell.name}.lock").unlink(missing_ok=True)
    if failed:
        print(f"{len(failed)} cells failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
