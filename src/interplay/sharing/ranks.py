"""One run made by several processes that hold one model between them (`model.tensor_parallel` under torchrun).

All of them go through the same stages in the same order, since a model that is cut up answers only when all make the same
forward passes. What decides which passes those are is decided by the first process and told to the others: what is in the
folder (`agreed`), which work is claimed (`ClaimsInStep`), that all were given the same (`same`). The first alone claims,
writes and prints. Outside the block of `in_step` everything here does nothing, whatever else uses torch.distributed. How
numbers travel is `interplay.scoring.parallel`'s; how a model is cut up is transformers'.
"""

import contextlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from interplay.atomic import left_to_another
from interplay.errors import InterplayError
from interplay.scoring.parallel import decided, is_first, refuse_difference
from interplay.scoring.placement import processes
from interplay.sharing.claims import LEASE, LOOK, Claims, Owner

MEETING = timedelta(minutes=5)  # in which all processes must have started [ours]
PATIENCE = timedelta(hours=2)  # the others may wait this long for one that loads slowly; transformers' own figure

R = TypeVar("R")

_in_step = False  # of this process, as torch's process group is


def follows() -> bool:
    """Whether this process only makes the forward passes that the first one decides on.

    >>> follows()
    False
    """
    return _in_step and not is_first()


@contextlib.contextmanager
def in_step(folder: Path, settings: str) -> Generator[None]:
    """All processes that torchrun started go through the block together; where there is one, it is as if nothing was here.

    Nothing below `folder` is written by those that follow. Of an error, the first process to fail tells; the others have
    either the same error or one that comes of it (a connection that was closed), and leave without a word, as SystemExit.

    Args:
        settings: what the run is made of, as text: InterplayError where it is not the same in all processes.
    """
    global _in_step
    if processes() < 2:
        yield
        return
    import torch.distributed as dist

    store = _meet()
    _in_step = True
    try:
        same("settings or folder", f"{settings}\n{folder}")
        with left_to_another(folder) if follows() else contextlib.nullcontext():
            yield
    except BaseException as error:
        if not _first_to_fail(store):
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None
        if _lost(error):
            raise InterplayError(
                "another process of this run has ended without a word (killed, or out of memory): run the same command "
                "again, it goes on from there"
            ) from error
        raise
    else:
        dist.destroy_process_group()
    finally:
        _in_step = False
        _let_go()


def agreed(look: Callable[[], R | None]) -> R | None:
    """What the first process finds in the run folder, in all of them: the others look when it has found something.

    >>> agreed(lambda: "a unit")
    'a unit'
    """
    if not _in_step:
        return look()
    if not follows():
        found = look()
        decided(found is not None)
        return found
    if not decided(False):
        return None
    until = time.monotonic() + LEASE  # a network folder shows a file late
    while (found := look()) is None:
        if time.monotonic() > until:
            raise InterplayError(
                "a process of this run does not see what the first one wrote: the run folder must be the same for all, "
                "on a file system they share"
            )
        time.sleep(LOOK)
    return found


def same(what: str, text: str) -> None:
    """InterplayError in all processes unless `text` is the same in all of them; nothing where there is one.

    >>> same("data", "three rows")
    """
    if _in_step:
        refuse_difference(what, text)


@contextlib.contextmanager
def claiming(opened: AbstractContextManager[Claims]) -> Generator[Claims]:
    """A run folder opened by the first process (`RunFolder.opened`); the others begin when it is open, and claim along."""
    if follows():
        decided(False)
        yield ClaimsInStep(None)
        return
    with opened as claims:
        if _in_step:
            decided(True)
            claims = ClaimsInStep(claims)
        yield claims


class ClaimsInStep(Claims):
    """Claims of the first process (`real`; None in the others), whose every answer is told to the others."""

    def __init__(self, real: Claims | None) -> None:
        self.real = real

    def take(self, name: str) -> bool:
        return decided(self.real is not None and self.real.take(name))

    def taken(self) -> set[str]:
        # It says only in what order jobs are best begun, and names do not travel: the order is that of the list.
        return set()

    def owner(self, name: str) -> Owner | None:
        return None if self.real is None else self.real.owner(name)

    def lost(self, name: str) -> Owner | None:
        return None if self.real is None else self.real.lost(name)

    def others(self) -> list[Owner]:
        return [] if self.real is None else self.real.others()

    def release(self, name: str) -> None:
        if self.real is not None:
            self.real.release(name)


# ---- meeting and parting ---------------------------------------------------------------------------------------------


def _meet() -> Any:
    """Start torch.distributed as transformers would, unless it is running; the store in which processes leave marks."""
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        raise InterplayError(
            "torch.distributed is running already: a run with tensor_parallel starts it itself; start the command anew"
        )
    try:
        store, rank, world = next(dist.rendezvous("env://", timeout=MEETING))
        device = None
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        backend = "gloo" if device is None else "nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE, device_id=device)
    except (RuntimeError, ValueError, LookupError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InterplayError(
            f"the processes of this run cannot reach each other ({reason}): start them with torchrun, one a GPU"
        ) from error
    return dist.PrefixStore("interplay", store)


def _let_go() -> None:
    """After a failure, close the connections, upon which the others stop waiting for this process.

    To leave NCCL is a matter of all processes together, for which one that failed cannot wait: there torchrun ends the rest.
    """
    import torch.distributed as dist

    if dist.is_initialized() and "gloo" in str(dist.get_backend()):
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _first_to_fail(store: Any) -> bool:
    try:
        return store.add("failed", 1) == 1
    except RuntimeError:  # whoever kept the store is gone, which is no failure of ours
        return False


def _lost(error: BaseException | None) -> bool:
    """Whether an exception, or what it was made of, says no more than that another process is gone."""
    import torch.distributed as dist

    if error is None:
        return False
    closed = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    return closed or _lost(error.__cause__)
