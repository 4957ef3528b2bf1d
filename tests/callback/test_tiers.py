"""Two tiers of readings: the answers often, the interactions seldom; and the training ends with its page."""
import json


def test_smoke(sft, quick, losses, capsys, tmp_path):
    trainer = sft(callbacks=[quick(every=1, full=2, stop=False)], max_steps=8)
    trainer.train()
    print(json.dumps(trainer.state.log_history, indent=1))
    out = capsys.readouterr()
    print(out.out, out.err)
    assert 0
