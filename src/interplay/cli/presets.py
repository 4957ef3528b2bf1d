"""`interplay presets`: the shipped presets, and what each needs."""

import json
from typing import TYPE_CHECKING

from interplay.cli.options import Json

if TYPE_CHECKING:
    from interplay.presets.needs import Needs


def presets(as_json: Json = False) -> None:
    """List the shipped presets with the weights to download and the GPU memory that each needs (estimates)."""
    from interplay.presets.needs import all_needs

    found = all_needs()
    if as_json:
        records = []
        for needs in found:  # bytes become gigabytes
            values = needs._asdict().items()
            plain = {key: value for key, value in values if not isinstance(value, int | float)}
            sizes = {f"{key}_gb": round(value / 1e9, 2) for key, value in values if isinstance(value, int | float)}
            records.append({**plain, **sizes, "measured": False})
        print(json.dumps(records, ensure_ascii=False, allow_nan=False))
        return
    rows = [("preset", "download", "GPU memory", "no baseline"), *map(_cells, found)]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        print(name.ljust(first), *map(str.rjust, cells, widths), sep="  ")
    gated = sorted({name for needs in found for name in needs.gated})
    print()
    print("interplay run preset:NAME [--model DIR] [--data FILE or FOLDER]")
    print("Estimates for one GPU; none was measured on one. No baseline: with --set baseline=null.")
    print(f"Accept the licence on the hub first for {', '.join(gated)}.")


def _cells(needs: "Needs") -> tuple[str, ...]:
    sizes = (needs.download, needs.memory, needs.memory_without_baselines)
    return (needs.preset, *(f"{size / 1e9:.{0 if size >= 9.5e9 else 1}f} GB" for size in sizes))
