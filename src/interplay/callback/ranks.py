"""Several processes, one of which measures: what it found and decided is told to the others. Knows nothing of what it is.

Processes that disagree about stopping wait for each other for ever, so everything that steers training goes through
`Ranks.told`, at the same steps in all of them, also when the measuring process has failed. Numbers only: no object is
serialised.
"""

import math
from typing import Any, NamedTuple


class Said(NamedTuple):
    """One measurement as all processes know it; the fields are numbers so that they travel as one tensor.

    loss     the interaction loss of this step, NaN where it was not measured
    measured whether there is a measurement of this step
    stop     whether the rule says stop
    errors   how many measurements have failed so far
    share    seconds of measurements over seconds of training
    seconds  seconds spent in all
    every    steps between measurements, as planned
    raised   whether the measuring process is about to raise (strict)
    """

    loss: float = math.nan
    measured: float = 0.0
    stop: float = 0.0
    errors: float = 0.0
    share: float = 0.0
    seconds: float = 0.0
    every: float = 0.0
    raised: float = 0.0


class Ranks:
    """The processes of this training; one alone where torch.distributed is not in use."""

    def __init__(self, device: Any = "cpu") -> None:
        import torch.distributed as dist

        self.several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.first = not self.several or dist.get_rank() == 0
        # gloo takes tensors of the CPU, NCCL those of the device only.
        self._device = "cpu" if not self.several or "gloo" in str(dist.get_backend()) else device

    def told(self, said: Said) -> Said:
        """What the first process says; the others' argument is not looked at.

        >>> Ranks().told(Said(loss=0.5)).loss
        0.5
        """
        if not self.several:
            return said
        import torch
        import torch.distributed as dist

        numbers = torch.tensor(said, dtype=torch.float64, device=self._device)
        dist.broadcast(numbers, src=0)
        return Said(*numbers.cpu().tolist())
