"""A training with the callback is the training without it, bit by bit: weights, random states, logs, tokenizer files."""

from pathlib import Path

import pytest


def saved(trainer) -> dict[str, bytes]:
    """Weights, tokenizer and settings of every checkpoint; pickles and the state hold the folder's name."""
    folder = Path(trainer.args.output_dir)
    kinds = (".json", ".safetensors", ".jinja")
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.glob("checkpoint-*/*")) if p.suffix in kinds}
    return {name: p.read_bytes() for name, p in found.items() if p.name != "trainer_state.json"}


@pytest.mark.matrix("lora, dropout")
@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize(
    ("lora", "arguments"),
    [
        (True, {"bf16": True, "gradient_accumulation_steps": 2}),
        (False, {"save_strategy": "steps", "save_steps": 3, "gradient_checkpointing": True}),
    ],
    ids=["lora, dropout, accumulation, bf16", "full, saving"],
)
def test_bit_equal(sft, quick, outcome, losses, lora, arguments):
    plain = sft("plain", lora=lora, **arguments)
    watched = sft("watched", [quick()], lora=lora, **arguments)
    assert vars(outcome(watched)) == vars(outcome(plain))
    assert set(losses(watched)) == ({0, 2, 4, 6} if lora else {0, 2, 3, 4, 6})
    assert all(type(x) is float for x in losses(watched).values())
    assert len(set(losses(watched).values())) > 3  # it saw the model move
    assert saved(watched) == saved(plain)
    assert bool(saved(plain)) is not lora
    assert watched.processing_class.padding_side == plain.processing_class.padding_side


@pytest.mark.soak
def test_the_tables_draw_nothing_either(sft, quick, outcome):
    assert vars(outcome(sft("watched", [quick(every=6)]))) == vars(outcome(sft("plain")))
