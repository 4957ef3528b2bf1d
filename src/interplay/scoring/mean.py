"""The mean embedding in the place of a token, which the model itself does not know."""

import contextlib
from collections.abc import Generator
from typing import Any

from interplay.models.placement import input_device
from interplay.scoring.forward import evaluating
from interplay.scoring.masking import MEAN

_CHUNK = 4096  # embeddings that are added up at a time


@contextlib.contextmanager
def mean_embedding(model: Any, vocabulary: int) -> Generator[None]:
    """While open, MEAN among input ids is looked up as the mean of the embeddings of the ids below `vocabulary`.

    The mean is of what the embedding module gives out, so of scaled embeddings where it scales them.
    """
    import torch

    table, device, places = model.get_input_embeddings(), input_device(model), []
    size = min(vocabulary, table.weight.shape[0])
    with evaluating(model):
        parts = torch.arange(size, device=device).split(_CHUNK)
        mean = torch.stack([table(ids).cpu().double().sum(0) for ids in parts]).sum(0) / size

    def before(module, args):
        places.append(args[0] == MEAN)
        return (args[0].masked_fill(places[-1], 0), *args[1:])

    def after(module, args, output):
        return torch.where(places.pop().to(output.device)[..., None], mean.to(output), output)

    with contextlib.ExitStack() as hooks:
        hooks.callback(table.register_forward_pre_hook(before).remove)
        hooks.callback(table.register_forward_hook(after).remove)
        yield
