"""The audit as the last stage of a run: whether it is made, and that a finished run never suffers from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from interplay.auditing.audit import audit_subject, write_page
from interplay.auditing.subject import Subject, subject_of_run
from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.pipeline.progress import Progress
from interplay.pipeline.states import Models
from interplay.store.folder import RunFolder
from interplay.text import short

MOST_LABELS = 28  # with more, so few rows have each that words say little [ours]
MOST_TOKENS = 250_000  # that an audit reads unasked: minutes for a small model on a CPU [ours]
TEXTS, TEXTS_A_STEP = 1500, 50  # about what one asks at the last step and of the base, and at each further step


def audit_run(settings: Settings, folder: Path, progress: Progress, models: Models | None = None) -> str | None:
    """Audit a run where its settings want it, once. What goes wrong is a warning and returned: the run is whole without it.

    models: what its models are opened with, so that none is loaded twice.
    """
    mode, file = settings.audit.mode, folder / "audit.json"
    if mode is False or file.exists():
        return None
    reason, again = None, "interplay audit RUN"  # without its path: pages of equal runs are equal
    try:
        with RunFolder(folder).opened(settings, measures=False) as lock, lock.held(progress.say):
            if file.exists():  # another process was quicker
                return None
            subject = subject_of_run(folder)
            subject = subject if models is None else replace(subject, models=models)
            if mode == "auto" and (refused := refusal(subject)):
                if len(subject.labels) > 1:  # free answers are audited where the settings say so
                    reason = f"{refused}; to audit it all the same: {again}"
            else:
                audit_subject(subject, progress)
    except InterplayError as error:
        reason = str(error).replace(str(folder), "RUN")
    except Exception as error:
        reason = f"it failed ({type(error).__name__}: {short(error, 200)[1:-1]}); to try again: {again}"
    if reason is not None:
        progress.say(f"warning: not audited: {reason}")
        write_page(folder, reason)
    return reason


def refusal(subject: Subject) -> str | None:
    """Why a run with these rows is not audited unless asked; None where it is."""
    count = len(subject.labels)
    if count < 2 or count > MOST_LABELS:
        return f"its rows have {count} labels, and 2 to {MOST_LABELS} are audited by default"
    if not subject.train:
        return (
            "its training rows, whose words an audit looks for, are not named (data.train, or interplay track --train)"
        )
    size = float(np.median([len(row.text.encode()) for row in subject.held or subject.train])) / 4  # bytes a token
    tokens = size * (TEXTS + TEXTS_A_STEP * len(subject.states))
    if tokens > MOST_TOKENS:
        return f"with texts as long as these it reads about {tokens / 1e6:.1f} million tokens"
    return None
