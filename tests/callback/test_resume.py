"""A training that was cut off and resumed at a checkpoint reads what the uninterrupted one reads; with and without the callback."""

import shutil
from pathlib import Path

import pytest
from transformers import TrainerCallback

pytestmark = pytest.mark.usefixtures("no_tables")
SAVING = {"save_strategy": "steps", "save_steps": 2}


class Cut(TrainerCallback):
    """Interrupts a training in the middle of a step."""

    def __init__(self, behind: int) -> None:
        self.behind = behind

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.behind:
            raise KeyboardInterrupt


def units(trainer) -> dict[str, bytes]:
    folder = Path(trainer.args.output_dir) / "interplay" / "units"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def checkpoint(trainer, step: int) -> str:
    return str(Path(trainer.args.output_dir) / f"checkpoint-{step}")


@pytest.fixture
def whole(sft, quick, outcome):
    trainer = sft("whole", [quick()], **SAVING)
    return trainer, outcome(trainer)


@pytest.mark.soak
@pytest.mark.parametrize("step", [2, 4])
def test_resumed_at_a_checkpoint(sft, quick, outcome, losses, whole, step):
    # It went on for a step behind the checkpoint, and read once more where that is due.
    cut = sft("cut", [quick(every=1), Cut(step + 1)], **SAVING)
    with pytest.raises(KeyboardInterrupt):
        outcome(cut)
    assert max(losses(cut)) == step + 1
    again = sft("cut", [quick(every=1)], **SAVING)
    later = outcome(again, checkpoint(cut, step))
    assert later.weights == whole[1].weights
    assert {s: x for s, x in losses(again).items() if s in losses(whole[0])} == losses(whole[0])
    kept = units(again)
    assert {name: kept[name] for name in units(whole[0])} == units(whole[0])
    assert {name.split("/")[0] for name in kept} == {f"step-{s:06d}" for s in range(7)}
    assert len(again.callback_handler.callbacks) == len(cut.callback_handler.callbacks) - 1


def test_resumed_with_and_without(sft, quick, outcome, losses, whole):
    plain = sft("plain", [Cut(5)], **SAVING)
    with pytest.raises(KeyboardInterrupt):
        outcome(plain)
    later = sft("plain", [quick()], **SAVING)
    assert outcome(later, checkpoint(plain, 4)).weights == whole[1].weights
    assert set(losses(later)) == {4, 6}  # the first measurement, which sets the tolerance, is where it began to watch

    without = sft("whole", [], **SAVING)
    assert outcome(without, checkpoint(whole[0], 4)).weights == whole[1].weights
    assert losses(without) == {step: x for step, x in losses(whole[0]).items() if step <= 4}


@pytest.mark.soak
def test_the_best_so_far_survives(sft, quick, scripted):
    scripted({0: 9.0, 2: 3.0, 4: 5.0, 6: 4.0})
    cut = sft("cut", [quick(), Cut(5)], **SAVING)
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    again = sft("cut", [quick()], **SAVING)
    again.train(resume_from_checkpoint=checkpoint(cut, 4))
    assert (again.state.best_global_step, again.state.best_metric) == (2, 3.0)


@pytest.mark.soak
def test_lost_measurements_and_other_prompts_start_over(sft, quick, outcome, losses, whole):
    folder = Path(whole[0].args.output_dir) / "interplay"
    (folder / "units" / "step-000002" / "prompt-0001.safetensors").write_bytes(b"torn")
    again = sft("whole", [quick(strict=False)], **SAVING)
    with pytest.warns(UserWarning, match=r"units of steps \[2\] are missing or damaged"):
        outcome(again, checkpoint(whole[0], 4))
    assert losses(again) == losses(whole[0])

    other = sft("whole", [quick(n=2)], **SAVING)
    with pytest.warns(UserWarning, match="are of other prompts or words: the rule starts over at step 4"):
        outcome(other, checkpoint(whole[0], 4))
    assert sorted(p.name for p in (folder / "units").iterdir()) == ["step-000004", "step-000006"]

    shutil.rmtree(folder)
    bare = sft("whole", [quick()], **SAVING)
    with pytest.warns(UserWarning, match="the measurements of this training are not in .*: the rule starts over"):
        outcome(bare, checkpoint(whole[0], 4))
    assert sorted(p.name for p in (folder / "units").iterdir()) == ["step-000004", "step-000006"]
