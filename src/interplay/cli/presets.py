"""The verb `presets`: what ships, and what each needs. Prints only; the figures are those of `interplay.presets.needs`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from interplay.presets.needs import Needs


def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else on stdout.")] = False,
) -> None:
    """List the shipped presets with the weights to download and the GPU memory that each needs (estimates)."""
    from interplay.presets.needs import all_needs

    found = all_needs()
    if as_json:
        import json

        print(json.dumps([_record(needs) for needs in found], ensure_ascii=False, allow_nan=False))
        return
    rows = [("preset", "download", "GPU memory", "no baseline"), *map(_cells, found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True)), sep="  "
        )
    gated = sorted({name for needs in found for name in needs.gated})
    print()
    print("interplay run preset:NAME [--model DIR] [--data FILE or FOLDER]")
    print("Estimates for one GPU; none was measured on one. No baseline: with --set baseline=null.")
    print(f"A licence must be accepted on the hub first for {', '.join(gated)}.")


def _cells(needs: "Needs") -> tuple[str, ...]:
    return (
        needs.preset,
        _gigabytes(needs.download),
        _gigabytes(needs.memory),
        _gigabytes(needs.memory_alone),
    )


def _gigabytes(count: float) -> str:
    """
    >>> _gigabytes(31.4e9), _gigabytes(0.27e9)
    ('31 GB', '0.3 GB')
    """
    return f"{count / 1e9:.0f} GB" if count >= 9.5e9 else f"{count / 1e9:.1f} GB"


def _record(needs: "Needs") -> dict[str, Any]:
    return {
        "preset": needs.preset,
        "title": needs.title,
        "model": needs.model,
        "data": needs.data,
        "baselines": list(needs.baselines),
        "gated": list(needs.gated),
        "download_gb": round(needs.download / 1e9, 2),
        "memory_training_gb": round(needs.memory_training / 1e9, 2),
        "memory_scoring_gb": round(needs.memory_scoring / 1e9, 2),
        "memory_without_baselines_gb": round(needs.memory_alone / 1e9, 2),
        "measured": False,
    }
