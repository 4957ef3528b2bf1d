"""The models of an audit, asked in the same way: opened one after the other, and none asked twice for one text."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.auditing.asking import Asked, Wording, find_wording, free_wording
from interplay.auditing.leaning import Example
from interplay.auditing.search import State
from interplay.auditing.subject import Subject
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.checkpoints import checkpoint_hash
from interplay.models.loading import load_model
from interplay.pipeline.progress import Progress
from interplay.pipeline.states import ModelState
from interplay.text import stable_hash

SO_FAR = "of what is asked so far"  # answers decide what is asked next
OTHER_WORDING = "Please answer.\n"  # in front of the template, for the floor [ours]


class States:
    """States of a subject, each with what it answers. `answers`: labels, or openings where `free`.

    folder: where answers are kept (None: in memory); texts: those the answers are worded behind.
    """

    def __init__(
        self,
        subject: Subject,
        answers: Sequence[str],
        free: bool,
        texts: Sequence[str],
        folder: Path | None,
        progress: Progress,
    ):
        self.subject, self.folder, self.progress = subject, folder, progress
        self._texts, self._answers, self._free = texts, answers, free
        self.base = subject.models.base(subject.base.base)
        self.wording = self._worded(self.base.tokenizer, subject.template)
        self._asked: list[Asked] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def passes(self) -> int:
        """Texts that were run through models so far."""
        return sum(asked.passes for asked in self._asked)

    def of(self, name: str, state: ModelState) -> State:
        """The base or a checkpoint; `name` is what it is called while it is asked."""
        own = self.subject.models.base(state.base)
        how = self.wording if own is self.base else self._worded(own.tokenizer, self.subject.template)
        digest = checkpoint_hash(state.checkpoint, own)
        return self._state(name, lambda: self.subject.models.at(state), digest, how)

    def rephrased(self) -> State:
        """The base in another wording."""
        own = self.subject.template
        template = self.subject.rephrased or replace(own, template=f"{OTHER_WORDING}{own.template}")
        how, state = self._worded(self.base.tokenizer, template), self.subject.base
        digest = checkpoint_hash(state.checkpoint, self.base)
        return self._state("the base in another wording", lambda: self.subject.models.at(state), digest, how)

    def shown(self, examples: Sequence[Example]) -> State:
        """The base, shown these texts with their answers first."""
        state, how = self.subject.base, self._worded(self.base.tokenizer, self._with(examples))
        digest = checkpoint_hash(state.checkpoint, self.base)
        return self._state("the base after examples", lambda: self.subject.models.at(state), digest, how)

    def referee(self, model: str, examples: Sequence[Example]) -> State:
        helper = load_model(model, device=self.subject.models.device)
        how = self._worded(helper.tokenizer, self._with(examples))
        return self._state(f"the referee {model}", lambda: contextlib.nullcontext(helper.model), helper.sha256, how)

    def _with(self, examples: Sequence[Example]) -> PromptTemplate:
        """The user's wording, with their own examples if there are any. Free answers are asked without: they need none to be known."""
        own = self.subject.template
        return own if own.few_shot or self._free else replace(own, few_shot=tuple(examples))

    def _worded(self, tokenizer: Any, template: PromptTemplate) -> Wording:
        return (free_wording if self._free else find_wording)(self._texts, self._answers, tokenizer, template)

    def _state(self, name: str, opening: Callable[[], Any], digest: str, how: Wording) -> State:
        if missing := set(self.wording.labels) - set(how.labels):
            raise InterplayError(f"{name} cannot answer the labels {', '.join(sorted(missing))}")
        key = stable_hash(digest, repr(how.template), how.labels)[:16]
        asked = Asked(None, how, None if self.folder is None else self.folder / f"answers-{key}.jsonl")
        self._asked.append(asked)

        @contextlib.contextmanager
        def opened() -> Generator[Asked]:
            count, kept = asked.passes, lambda *_: f"{self.passes} answers"
            with self.progress.phase(f"asking {name}", kept=kept) as advance, contextlib.ExitStack() as stack:
                asked.progress = lambda done, total: advance(done - count, total - count, note=SO_FAR)
                asked.opening = lambda: stack.enter_context(opening())  # where a text is asked that has no answer yet
                yield asked
            asked.model = None

        return opened
