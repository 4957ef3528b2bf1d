"""Numbers to whatever follows a training: its log history, the terminal, TensorBoard, Weights & Biases and the like.

`Trainer.log` is not used: SFTTrainer's empties the averages of the training step with it, and the next training entry would
differ. The entry is appended to the history and handed to the other callbacks' `on_log` instead, as a dict of its own.
"""

import sys
from typing import Any


def calling_trainer() -> Any | None:
    """The Trainer that is calling this callback just now, None where there is none on the stack.

    A callback is handed everything but the trainer, and only its handler reaches the other callbacks. So the frames above are
    looked through for it, once, at the beginning of a training; `attach(trainer)` saves the search.
    """
    from transformers import Trainer

    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_argcount and code.co_varnames[0] == "self":
            found = frame.f_locals.get("self")
            if isinstance(found, Trainer):
                return found
        frame = frame.f_back
    return None


def send(trainer: Any | None, args: Any, state: Any, control: Any, numbers: dict[str, float]) -> None:
    """Append `numbers` to the log history under the state's step, and hand them to every callback's `on_log`.

    The flags of `control` stay: a training entry that is due at this step is still logged.
    """
    logs = {**numbers, "epoch": state.epoch} if state.epoch is not None else dict(numbers)
    state.log_history.append({**logs, "step": state.global_step})
    if trainer is not None:
        # Not handler.on_log, which would take should_log back.
        trainer.callback_handler.call_event("on_log", args, state, control, logs=logs)


def callbacks_before(trainer: Any | None, callback: Any, kind: type) -> bool:
    """Whether a callback of this kind hears of every event before `callback` does."""
    if trainer is None:
        return False
    for other in trainer.callback_handler.callbacks:
        if other is callback:
            return False
        if isinstance(other, kind):
            return True
    return False
