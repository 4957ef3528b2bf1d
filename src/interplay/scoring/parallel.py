"""Several processes that hold one model between them: the first decides and writes, the others follow.

A model that is cut up (`tensor_parallel`) answers only when all processes make the same forward passes in the same order. So
what steers them (which unit is next, whether it is there already) is decided by the first process alone and told to the
others, who would otherwise wait for each other for ever. Numbers only: no object is serialised. It knows nothing of models,
units or files. In a process of its own, or where processes share nothing, everything here is a plain loop.
"""

import hashlib
from collections.abc import Sequence

from interplay.errors import InterplayError


def in_parallel() -> bool:
    """Whether several processes talk to each other (torch.distributed is running).

    >>> in_parallel(), is_first(), told([3, 0.5])
    (False, True, (3.0, 0.5))
    """
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this process decides and writes: the first one, or the only one."""
    import torch.distributed as dist

    return not in_parallel() or dist.get_rank() == 0


def told(numbers: Sequence[float]) -> tuple[float, ...]:
    """What the first process says; the others' numbers are not looked at, but there must be as many.

    Whole numbers are exact up to 2^53.
    """
    if not in_parallel():
        return tuple(float(number) for number in numbers)
    import torch
    import torch.distributed as dist

    travelling = torch.tensor(list(numbers), dtype=torch.float64, device=_device())
    dist.broadcast(travelling, src=0)
    return tuple(travelling.cpu().tolist())


def decided(yes: bool) -> bool:
    """A yes or no of the first process.

    >>> decided(True)
    True
    """
    return bool(told([yes])[0])


def _device() -> str:
    """Where numbers that travel must lie: gloo takes tensors of the CPU, NCCL those of the GPU only."""
    import torch.distributed as dist

    return "cpu" if "gloo" in str(dist.get_backend()) else "cuda"


def refuse_difference(what: str, text: str) -> None:
    """InterplayError in every process where `text` (settings, the hash of weights) is not the same in all of them.

    Asked before work starts: processes that were given different things would wait for each other, or score nonsense.
    """
    if not in_parallel():
        return
    import torch
    import torch.distributed as dist

    digest = hashlib.sha256(text.encode()).digest()
    ours = torch.tensor(list(digest), dtype=torch.float64, device=_device())
    everyone = [torch.empty_like(ours) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, ours)
    odd = [rank for rank, theirs in enumerate(everyone) if not torch.equal(theirs, everyone[0])]
    if odd:
        raise InterplayError(
            f"process {odd[0]} has another {what} than the first: start all of them with the same command and files"
        )
