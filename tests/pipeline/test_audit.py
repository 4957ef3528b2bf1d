"""The audit as the last stage of a run: when it is made, that it goes on, and that it never costs the run."""

import shutil

import pytest
from audits import planted_rows
from tiny_job import TEMPLATE, labelled, settings, write_rows

import interplay
from interplay.auditing import stage
from interplay.auditing.asking import Asked
from interplay.auditing.subject import subject_of_run
from interplay.cli.show import show_run
from interplay.config.loading import load_settings
from interplay.config.settings import NO_CONTROLS
from interplay.pipeline.progress import Progress

ROWS = planted_rows()


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_folder):
    """A run on rows with a cue, audited because that is the default; and its settings."""
    folder = tmp_path_factory.mktemp("cue")
    write_rows(folder / "train.jsonl", labelled(ROWS[:36]))
    write_rows(folder / "prompts.jsonl", labelled(ROWS[36:]))
    less = {"controls": NO_CONTROLS, "checkpoints": {"steps": [0, 2]}, "prompts": {"count": 2}}
    wanted = settings(folder, tiny_folder("llama"), training={"steps": 2}, **less) | {"audit": {}}
    wanted["prompt"]["rephrased"] = None
    return interplay.run(wanted, out=folder / "run", quiet=True), wanted


@pytest.fixture
def bare(made, tmp_path):
    """A copy of the run without its audit, but with what the models answered."""
    run, wanted = made
    folder = shutil.copytree(run.path, tmp_path / "run")
    (folder / "audit.json").unlink()
    return interplay.Run(folder), wanted


def audit(run, wanted, *overrides):
    stage.audit_run(load_settings(wanted, overrides), run.path, Progress(quiet=True))
    return interplay.Run(run.path)


def noted(run):
    return [note for note in run.notes if note.startswith("Not audited")]


def test_a_run_is_audited_once_and_its_page_begins_with_it(made, monkeypatch, capsys):
    run, wanted = made
    found = run.audit
    assert found.train_rows == 36
    assert found.tests > 0
    assert found.passes > 100
    assert "honestly" in {word for rule in found.rules for word in rule.words}
    page = (run.path / "report.html").read_text()
    assert ">What it learnt</h2>" in page
    show_run(run)
    assert f"{found}\n" in capsys.readouterr().out
    before = (run.path / "audit.json").read_bytes()
    monkeypatch.setattr(stage, "audit_subject", None)  # to call it would be an error, and so a note
    assert not noted(audit(run, wanted))
    assert (run.path / "audit.json").read_bytes() == before
    assert (run.path / "report.html").read_text() == page


def test_a_killed_audit_goes_on(made, bare, monkeypatch):
    run, wanted = bare
    answers = (run.path / "audit").glob("answers-*.jsonl")
    longest = max(answers, key=lambda file: file.stat().st_size)
    longest.write_text("".join(longest.read_text().splitlines(keepends=True)[:-20]))
    asked = []
    honest = Asked._ask
    monkeypatch.setattr(Asked, "_ask", lambda self, texts: asked.extend(texts) or honest(self, texts))
    again, whole = audit(run, wanted).audit, made[0].audit
    assert len(asked) == 20
    assert [(rule.name, rule.verdict) for rule in again.rules] == [(rule.name, rule.verdict) for rule in whole.rules]
    assert (run.path / "report.html").read_bytes() == (made[0].path / "report.html").read_bytes()


def test_a_failing_audit_leaves_the_run_whole_and_says_so(bare, monkeypatch):
    run, wanted = bare

    def fail(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(stage, "audit_subject", fail)
    found = audit(run, wanted)
    assert found.finished
    [note] = noted(found)
    assert "RuntimeError: out of luck" in note
    assert "interplay audit RUN" in note
    assert str(run.path) not in (run.path / "report.html").read_text()
    assert "out of luck" in (run.path / "report.html").read_text()
    monkeypatch.undo()
    assert not noted(audit(run, wanted))


def test_auto_leaves_out_what_is_too_much_and_true_does_not(bare, monkeypatch):
    run, wanted = bare
    assert not noted(audit(run, wanted, "audit.mode=false"))
    monkeypatch.setattr(stage, "MOST_TOKENS", 10_000)
    found = audit(run, wanted)
    assert "million tokens; to audit it all the same: interplay audit" in noted(found)[0]
    assert not found.has("audit.json")
    assert audit(run, wanted, "audit.mode=true").has("audit.json")


def test_what_is_refused(made):
    from dataclasses import replace

    subject = subject_of_run(made[0].path)
    assert stage.refusal(subject) is None
    assert "training rows" in str(stage.refusal(replace(subject, train=())))
    assert "29 labels" in str(stage.refusal(replace(subject, labels=tuple(map(str, range(29))))))
    assert "1 labels" in str(stage.refusal(replace(subject, labels=("one",))))


def test_track_takes_the_training_rows_that_an_audit_needs(made, tmp_path, monkeypatch):
    """To the audit's door: what follows is that of `run`."""
    run, wanted = made
    seen = []
    monkeypatch.setattr("interplay.auditing.stage.audit_subject", lambda subject, progress: seen.append(subject))
    how = {"n": 3, "num_prompts": 2, "template": TEMPLATE, "chat": False, "quiet": True}
    less = {"controls": NO_CONTROLS, "prompt.rephrased": None, "dynamics.draws": 10}
    data = wanted["data"]
    where = (wanted["model"]["name"], run.path / "checkpoints", data["prompts"])
    interplay.track(*where, train=data["train"], settings=less, out=tmp_path / "tracked", **how)
    [subject] = seen
    assert (len(subject.train), len(subject.held), subject.states[-1][0]) == (36, 12, 2)
