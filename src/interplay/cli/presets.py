"""`interplay presets`: the shipped presets, and what each needs."""

import json
from typing import Any

from interplay.cli.options import Json
from interplay.presets import preset_needs


def presets(as_json: Json = False) -> None:
    """List the shipped presets with the weights to download and the GPU memory that each needs (estimates)."""
    found = preset_needs()
    if as_json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
        return
    rows = [("preset", "download", "GPU memory", "no baseline"), *map(_cells, found)]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        print(name.ljust(first), *map(str.rjust, cells, widths), sep="  ")
    gated = sorted({name for needs in found for name in needs["gated"]})
    print()
    print("interplay run preset:NAME [--model DIR] [--data FILE or FOLDER]")
    print("Estimates for one GPU; none was measured on one. No baseline: with --set baseline=null.")
    print(f"Accept the licence on the hub first for {', '.join(gated)}.")


def _cells(needs: dict[str, Any]) -> tuple[str, ...]:
    """Its name, and sizes; training and scoring never run at the same time."""
    memory = max(needs["memory_training_gb"], needs["memory_scoring_gb"])
    sizes = (needs["download_gb"], memory, needs["memory_without_baselines_gb"])
    return (needs["preset"], *(f"{size:.{0 if size >= 9.5 else 1}f} GB" for size in sizes))
