"""The verb `presets`: what ships, and what each needs. Prints only; the figures are those of `interplay.presets.needs`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from interplay.presets.needs import Needs


def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else on stdout.")] = False,
) -> None:
    """List the shipped presets with the weights, GPU memory and hours that each needs (estimates)."""
    from interplay.presets.costs import H100, UTILISATION
    from interplay.presets.needs import all_needs

    found = all_needs()
    if as_json:
        import json

        print(json.dumps([_record(needs) for needs in found], ensure_ascii=False, allow_nan=False))
        return
    rows = [("preset", "download", "GPU memory", "no baseline", "H100", "CPU"), *map(_cells, found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True)), sep="  "
        )
    gated = sorted({name for needs in found for name in needs.gated})
    print()
    print("interplay run preset:NAME [--model DIR] [--data FILE or FOLDER]")
    print(
        f"Estimates; none was measured on a GPU. {H100.name}: operations over {UTILISATION:.0%} of the data sheet's peak, an "
        "assumption. CPU: one thread of docs/benchmarks.md. Memory is of one GPU; no baseline: with --set baseline=null."
    )
    print(f"A licence must be accepted on the hub first for {', '.join(gated)}.")


def _cells(needs: "Needs") -> tuple[str, ...]:
    return (
        needs.preset,
        _gigabytes(needs.download),
        _gigabytes(needs.memory),
        _gigabytes(needs.memory_alone),
        _hours(needs.gpu_hours),
        _hours(needs.cpu_hours),
    )


def _gigabytes(count: float) -> str:
    """
    >>> _gigabytes(31.4e9), _gigabytes(0.27e9)
    ('31 GB', '0.3 GB')
    """
    return f"{count / 1e9:.0f} GB" if count >= 9.5e9 else f"{count / 1e9:.1f} GB"


def _hours(hours: float) -> str:
    """
    >>> _hours(1.66), _hours(222), _hours(0.11), _hours(0.001)
    ('1.7 h', '222 h', '7 min', '< 1 min')
    """
    minutes = hours * 60
    if minutes < 1:
        return "< 1 min"
    return f"{minutes:.0f} min" if minutes < 59.5 else f"{hours:.1f} h" if hours < 9.95 else f"{hours:.0f} h"


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
        "units": needs.units,
        "tokens_per_unit": round(needs.tokens),
        "tokens_per_unit_plain": round(needs.plain),
        "h100_hours": round(needs.gpu_hours, 3),
        "cpu_hours": round(needs.cpu_hours, 3),
        "measured": False,
    }
