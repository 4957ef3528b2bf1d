"""`interplay recommend`: which checkpoint to keep, of a run or of any folder of checkpoints. Options only.

A run has its answer; a folder of checkpoints is measured first, as `track` does, with what the rule reads and no more.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from interplay.errors import InterplayError

# No forward pass is spent on what the rule does not read. With few draws the nulls of the report are coarser, and no figure
# of the rule changes.
_QUICK = {
    "prompt": {"rephrased": None},
    "controls": {"precision": None, "reference": None, "draws": 1, "labels": False},
    "dynamics": {"draws": 20},
}
_LEFT_OUT = (
    "Left out: eval loss and accuracy (the rule has the loss of the probes' own answers), the churn floors (another wording, "
    "precision and draw of words), a second reference step, scores among the labels, generalizability. interplay track "
    "measures them."
)
_DECIDED = ("accuracy", "eval-loss", "rule", "only")  # the other bases name a step for want of evidence
_FALLBACKS = {"last": "the last checkpoint"}
_ROWS = "--probes FILE (a dozen or more held-out rows with the answer each: text and label, prompt and completion, or messages)"


def recommend(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A run folder, or the output folder of a training: its checkpoints.")
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", help="Of checkpoints: the base model, as hub name, local folder or GGUF file."),
    ] = None,
    probes: Annotated[
        str | None,
        typer.Option(
            "--probes", metavar="FILE", help="Of checkpoints: held-out rows, the probe prompts are among them."
        ),
    ] = None,
    form: Annotated[str, typer.Option(help="Form of the rows; auto looks at the columns.")] = "auto",
    system: Annotated[str | None, typer.Option(help="System message that training used.")] = None,
    template: Annotated[
        str, typer.Option(help="User message that training used; {text} stands for the text.")
    ] = "{text}",
    chat: Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")] = "auto",
    count: Annotated[int, typer.Option(help="Number of probe prompts.")] = 12,
    n: Annotated[int, typer.Option(help="Words per probe prompt, 2 to 16.")] = 6,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Of checkpoints: run folder to measure into; default runs/NAME-HASH."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole verdict as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Print which checkpoint to keep, and why: of a run, or of any folder of checkpoints.

    Checkpoints of another training need their base and some held-out rows, no eval set; they are measured first, the same
    command goes on where it was cut off. Only a checkpoint whose weights are on disk is named.
    """
    if (path / "settings.yaml").exists():
        given = {"--base": base, "--probes": probes, "--out": out, "--set": overrides}
        if named := next((option for option, value in given.items() if value), None):
            raise InterplayError(
                f"{str(path)!r} is a run folder, which knows its model and probes: leave out {named}, or give the folder of "
                "its checkpoints"
            )
        _answer(path, as_json)
        return
    if base is None or probes is None:
        raise InterplayError(_what_to_give(path, base, probes))
    settings = {
        "name": f"{path.resolve().name} on {Path(base).name}",
        "model": {"name": base},
        "data": {"probes": probes, "form": form},
        "probes": {"count": count, "n": n},
        "checkpoints": {"folder": str(path), "steps": None},
        **_QUICK,
    }
    wording = {"system": system, "template": template, "chat": {"true": True, "false": False}.get(chat, chat)}
    settings["prompt"] = {**_QUICK["prompt"], **wording}
    run_folder, report = _measure(settings, list(overrides or []), out, quiet)
    _answer(run_folder, as_json, report)


def _what_to_give(path: Path, base: str | None, probes: str | None) -> str:
    """Which options are missing for a folder of checkpoints; InterplayError where it is none."""
    if not path.is_dir() or not any(path.iterdir()):
        return (
            f"{str(path)!r} is no run folder (no settings.yaml) and holds no checkpoints: give a folder that a run or a "
            "training was written to"
        )
    from interplay.scoring.layouts import find_layout

    try:
        steps = [c.step for c in find_layout(path).checkpoints if c.path is not None]
    except InterplayError as error:
        return f"{str(path)!r} is no run folder (no settings.yaml); as the folder of a training: {error}"
    missing = " and ".join(
        said for said, value in (("--base MODEL (what was fine-tuned)", base), (_ROWS, probes)) if value is None
    )
    many = "a checkpoint" if len(steps) == 1 else f"{len(steps)} checkpoints"
    return f"{str(path)!r} holds {many} of a training but no measured run: give {missing}"


def _measure(settings: dict[str, Any], overrides: list[str], out: Path | None, quiet: bool) -> tuple[Path, Path]:
    """The run of these settings, made or finished: its folder and its report."""
    from interplay.runs.loading import default_folder, load_settings

    checked = load_settings(settings, overrides)  # before the heavy imports: a typing error should not cost ten seconds
    from interplay.runs.pipeline import run
    from interplay.runs.progress import Progress

    result = run(checked, out or default_folder(checked), Progress(quiet=quiet))
    return result.folder, result.report


def _answer(path: Path, as_json: bool, report: Path | None = None) -> None:
    """Print what a run recommends among the checkpoints that are on disk; with its report where it was just measured."""
    import json
    import sys

    from interplay.cli.show import printable, say
    from interplay.runs.files import read_json
    from interplay.runs.folder import RunFolder

    folder = RunFolder(path)
    folder.settings()
    recorded = read_json(path / "recommendation.json")
    from interplay.runs.existing import kept_checkpoints, recommend_kept

    kept = kept_checkpoints(folder)
    verdict = recommend_kept(folder, recorded, kept)
    if kept.gone:
        gone = ", ".join(map(str, kept.gone))
        what = "step is" if len(kept.gone) == 1 else "steps are"
        print(
            printable(f"interplay: not chosen from, their {what} not in {kept.where} any more: {gone}"), file=sys.stderr
        )
    if as_json:
        print(json.dumps(verdict, allow_nan=False))
        return
    for line in answer_lines(verdict):
        say(line)
    if report is not None:
        if verdict["step"] is not None:
            what = "Checkpoint" if verdict["basis"] in _DECIDED else "Fallback"
            print(printable(f"{what}: {kept.paths[verdict['step']]}"))
        say(_LEFT_OUT)
        print(printable(f"Report: {report}"))


def answer_lines(verdict: dict[str, Any]) -> list[str]:
    """The answer in plain words. Where there is no evidence to choose, that comes first and the fallback stands apart.

    >>> answer_lines({"step": 20, "basis": "rule", "sentence": "Keep step 20: it is the lowest."})
    ['step 20', 'Keep step 20: it is the lowest.']
    >>> answer_lines({"step": 80, "basis": "last", "sentence": "No evidence to choose: two prompts."})
    ['No evidence to choose: two prompts.', 'fallback: step 80 (the last checkpoint)']
    """
    step, basis, sentence = verdict["step"], verdict["basis"], verdict["sentence"]
    if step is not None and basis in _DECIDED:
        return [f"step {step}", sentence]
    lines = [sentence] if sentence.lower().startswith("no evidence") else ["No evidence to choose.", sentence]
    return lines if step is None else [*lines, f"fallback: step {step} ({_FALLBACKS.get(basis, basis)})"]
