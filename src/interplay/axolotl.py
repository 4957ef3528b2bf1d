"""An axolotl plugin that puts `interplay.InteractionCallback` into a training.

In axolotl's YAML, with that callback's arguments:
    plugins: [interplay.axolotl.InterplayPlugin]
    interplay: {prompts: heldout.jsonl, every: 50}
"""

from inspect import signature
from typing import Any

from pydantic import BaseModel, field_validator

from interplay.callback.callback import InteractionCallback
from interplay.errors import InterplayError
from interplay.text import short

try:
    from axolotl.integrations.base import BasePlugin  # ty: ignore[import-not-found]
except ModuleNotFoundError as error:
    if error.name != "axolotl":  # one that is there and broken must not pass for none
        raise
    BasePlugin = object


class InterplayArgs(BaseModel):
    """The section that the plugin adds to axolotl's settings: checked when axolotl reads them, before a model is loaded.

    >>> InterplayArgs(interplay={"prompts": [{"text": "It rains", "label": "joy"}], "every": 20}).interplay["every"]
    20
    """

    interplay: dict[str, Any]  # of a model, axolotl would leave out what is null: max_overhead, say

    @field_validator("interplay")
    @classmethod
    def _makes_a_callback(cls, given: dict[str, Any]) -> dict[str, Any]:
        known = signature(InteractionCallback).parameters
        if unknown := next((name for name in given if name not in known), None):
            raise ValueError(f"unknown key {short(unknown)}, expected one of {', '.join(known)}")
        if "prompts" not in given:
            raise ValueError("prompts is missing: name a file of held-out rows with their answers")
        try:
            InteractionCallback(**given)
        except InterplayError as error:
            raise ValueError(str(error)) from None
        return given


class InterplayPlugin(BasePlugin):
    """Adds the callback once the trainer is made."""

    def get_input_args(self) -> str:
        return "interplay.axolotl.InterplayArgs"

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        InteractionCallback(**cfg["interplay"].to_dict()).attach(trainer)
        return []  # axolotl would add it a second time
