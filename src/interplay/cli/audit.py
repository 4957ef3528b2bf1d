"""`interplay audit`: `interplay.audit`, printed."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from interplay.cli.options import Json, Quiet
from interplay.cli.show import printable
from interplay.errors import InterplayError
from interplay.process import tell


def audit(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run folder, which knows its rows and checkpoints.")
    ] = None,
    *,
    model: Annotated[str | None, typer.Option(help="A fine-tuned model or adapter folder, instead of RUN.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of checkpoints, instead of RUN; the last is audited.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="What was fine-tuned; default: the base that an adapter names.")
    ] = None,
    train: Annotated[Path | None, typer.Option(metavar="FILE", help="The rows it was trained on.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Held-out rows with their answers.")] = None,
    step: Annotated[int | None, typer.Option(help="The checkpoint to audit; default: the last.")] = None,
    referee: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Another model: a rule that it has too is likelier knowledge.")
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Of free answers: which words make the model answer so? Default: how rows begin."
        ),
    ] = None,
    form: Annotated[str, typer.Option(help="Form of the files; auto looks at the columns.")] = "auto",
    system: Annotated[str | None, typer.Option(help="System message used in training.")] = None,
    template: Annotated[
        str, typer.Option(help="User message used in training; {text} is the text of a row.")
    ] = "{text}",
    chat: Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")] = "auto",
    fixes: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write rows to review and to drop, counterfactual and mended rows, and tests."
        ),
    ] = None,
    mend: Annotated[
        str | None,
        typer.Option(
            metavar="1,2", help="Rules that are mended; default: those that neither base nor referee leans to."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Train the run again on the mended rows and compare; needs --fixes.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of carriers and control words.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Keep answers here, so that a stopped audit goes on."),
    ] = None,
    fail_on: Annotated[
        Literal["learnt"] | None,
        typer.Option(help="learnt: exit code 1 if the model learnt a rule that neither base nor referee leans to."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit a fine-tuned model: which word rules of its data did it learn, which its base does not have?

    Words that go with an answer in the rows are put into other sentences. Each rule comes with its effect, the sentences it
    turns, control words, and the rows it could come from.
    """
    from interplay.auditing.audit import audit as audited

    if chat not in ("auto", "true", "false"):
        raise InterplayError(f"--chat is {chat!r}; expected auto, true or false")
    if mend is not None and not all(part.strip().isdecimal() for part in mend.split(",")):
        raise InterplayError(f"--mend is {mend!r}; expected numbers of rules such as 1,2")
    numbers = None if mend is None else [int(part) for part in mend.split(",")]
    found = audited(
        run, model=model, checkpoints=checkpoints, base=base, train=train, prompts=prompts, step=step, referee=referee, answer=answer, form=form,
        system=system, template=template, chat="auto" if chat == "auto" else chat == "true", seed=seed, out=out, quiet=quiet,
        fixes=fixes, mend=numbers, verify=verify,
    )  # fmt: skip
    for note in found.notes:
        tell(f"interplay: {printable(note)}")
    print(found.to_json() if as_json else found.text())
    if fail_on and found.suspicious:
        raise typer.Exit(1)
