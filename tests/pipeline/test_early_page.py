"""A page as soon as the checkpoints are measured; the audit and the controls complete it."""

import pytest
from audits import planted_rows
from tiny_job import contents, labelled, run_here, settings, write_rows

import interplay
from interplay.auditing.audit import audit_subject
from interplay.pipeline import pipeline
from interplay.pipeline.jobs import in_this_process

PENDING = "Still being measured, after which this page is written again: "


@pytest.fixture
def wanted(tmp_path, tiny_folder):
    """A run with an audit and one control."""
    rows = planted_rows()
    write_rows(tmp_path / "train.jsonl", labelled(rows[:36]))
    write_rows(tmp_path / "prompts.jsonl", labelled(rows[36:]))
    controls = {"precision": None, "mask": None, "reference": None}
    less = {"controls": controls, "checkpoints": {"steps": [0, 2]}, "prompts": {"count": 2}, "training": {"steps": 2}}
    return settings(tmp_path, tiny_folder("llama"), **less) | {"audit": {}}


def test_killed_in_the_controls_it_has_a_page_that_says_what_is_missing(wanted, tmp_path, monkeypatch):
    """What was computed stays, and the finished run is the one that was never killed."""
    scored = []

    def killed(models):
        def results(todo):
            for job, units in in_this_process(models)(todo):
                scored.append(job.questions[0].condition)
                if scored[-1] == "step-000000-rephrased":
                    raise KeyboardInterrupt
                yield job, units

        return results

    folder = tmp_path / "run"
    pages, honest = [], pipeline.write
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "in_this_process", killed)
        patched.setattr(pipeline, "write", lambda *a, **k: pages.append(honest(*a, **k).read_text()))
        with pytest.raises(KeyboardInterrupt):
            interplay.run(wanted, out=folder, quiet=True)
    assert scored == [*["step-000000"] * 2, *["step-000002"] * 2, "step-000000-rephrased"]
    run, page = interplay.Run(folder), (folder / "report.html").read_text()
    [said] = [note for note in run.notes if note.startswith("Still being measured")]
    assert said == f"{PENDING}other words of the prompts, other wordings."
    assert said in page
    [first] = pages
    assert "Not audited: that comes next." in first
    assert said in first
    assert ">What it learnt</h2>" in page, "the audit comes before the controls"
    assert run.audit.tests > 0
    assert not any(note.startswith("Not audited") for note in run.notes)
    assert run.recommendation.step == 2
    assert len(run.trajectory.steps) == 2
    assert not (folder / "manifest.json").exists()

    monkeypatch.setattr(
        "interplay.auditing.stage.audit_subject", None
    )  # to audit it again would be an error, and so a note
    whole = interplay.run(wanted, out=folder, quiet=True)
    assert not [note for note in whole.notes if note.startswith(("Still", "Not audited"))]
    assert set(whole.table("floors")["floor"]) >= {"rephrased"}
    monkeypatch.setattr("interplay.auditing.stage.audit_subject", audit_subject)
    other = interplay.run(wanted, out=tmp_path / "other", quiet=True)
    names = ("times.json", "environment.json", "audit.json")
    assert contents(folder, names).keys() == contents(other.path, names).keys()
    assert (other.path / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert (other.path / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_the_reason_why_it_was_not_audited_is_on_both_pages_and_said_once(wanted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("interplay.auditing.stage.MOST_TOKENS", 1)
    folder = tmp_path / "run"
    run = interplay.run(wanted, out=folder)
    [note] = [note for note in run.notes if note.startswith("Not audited")]
    assert note in (folder / "report.html").read_text()
    assert capsys.readouterr().err.count("warning: not audited") == 1


def test_without_controls_there_is_one_page(wanted, tmp_path, monkeypatch):
    written, honest = [], pipeline.write
    monkeypatch.setattr(pipeline, "write", lambda *a, **k: written.append(a[1].name) or honest(*a, **k))
    wanted["prompt"]["rephrased"], wanted["controls"]["draws"] = None, 1
    run_here(wanted, tmp_path / "run")
    assert written == ["report.html"]
