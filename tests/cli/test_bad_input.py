"""What the user can mend: one line on stderr, exit code 2, nothing on stdout, no traceback."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
from tiny_job import BARE, PROMPTS, command, labelled, settings, write_rows, write_settings

PROMPT = "I was not happy with the food at all"
MANY = " ".join(f"word{i}" for i in range(30))


def refused(done, says: str) -> None:
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.out == ""
    assert done.err.startswith("interplay: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    assert "Traceback" not in done.err
    assert len(done.err) < 700
    assert says.lower() in done.err.lower()


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_folder, tiny_tokenizer):
    """A folder with everything that can be wrong in it."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "no-steps").mkdir()
    write_rows(tmp_path / "prompts.jsonl", labelled(PROMPTS))
    (tmp_path / "stray.csv").write_text("comment,mood\nSo sad,grief\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    shutil.copytree(tiny_folder("llama"), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    shutil.copytree(tiny_folder("llama"), tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\0" * 64)
    shutil.copytree(tiny_folder("llama"), tmp_path / "broken-config")
    (tmp_path / "broken-config" / "config.json").write_text("{")
    (tmp_path / "weights.gguf").write_bytes(b"GGUF and no more")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40}
    other = LlamaConfig(vocab_size=len(tiny_tokenizer), hidden_size=24, **sizes)
    AutoModelForCausalLM.from_config(other).save_pretrained(tmp_path / "other")
    tiny_tokenizer.save_pretrained(tmp_path / "other")
    return tmp_path


EXPLAIN = [
    ({"model": "empty"}, "is not a model folder"),
    ({"model": "file"}, "is not a .gguf file"),
    ({"model": "nowhere"}, "no model at 'nowhere'"),
    ({"model": "./no/where/else"}, "no model at"),
    ({"model": "weights.gguf"}, "gguf"),
    ({"model": "pickled"}, "pickled"),
    ({"model": "damaged"}, "cannot load 'damaged'"),
    ({"model": "broken-config"}, "cannot load 'broken-config'"),
    ({"target": ""}, "tokenises to nothing"),
    ({"target": " \n"}, "tokenises to nothing"),
    ({"target": "<|im_end|>"}, "special token"),
    ({"prompt": ""}, "expected a prompt with text in it"),
    ({"prompt": "it is"}, "at least 2 words"),
    ({"prompt": "terrible <|im_start|> service"}, "special token"),
    ({"words": "not,sad"}, "do not stand in the prompt"),
    ({"words": ","}, "n must be 1..64"),
    ({"words": ",".join(["not"] * 17)}, "not as often as they are given"),
    ({"words": ",".join(["not"] * 65)}, "n must be 1..64"),
    ({"n": "0"}, "n must be 1..64"),
    ({"n": "65"}, "n must be 1..64"),
    ({"n": "-3"}, "n must be 1..64"),
    ({"coalitions": "0"}, "coalitions is 0; expected 1..1,048,576"),
    ({"coalitions": "2000000"}, "coalitions is 2000000; expected 1..1,048,576"),
    ({"coalitions": "3"}, "coalitions is 3; 4 words need 7 or more"),
    ({"coalitions": "many"}, "invalid value for '--coalitions'"),
    ({"prompt": MANY, "n": "24", "coalitions": "31"}, "24 words need 32 or more"),
    ({"prompt": MANY, "n": "24", "order": "6"}, "take order 5 or fewer words"),
    ({"prompt": MANY, "n": "24", "order": "1000000000"}, "take order 5 or fewer words"),
    ({"order": "0"}, "'--order'"),
    ({"prompt": MANY, "n": "24", "seed": "-1"}, "seed is -1"),
    ({"n": "few"}, "invalid value for '--n'"),
    ({"dtype": "int8"}, "unknown dtype"),
    ({"chat": "maybe"}, "chat must be"),
    ({"template": "no place"}, "{text} exactly once"),
    ({"adapter": "empty"}, "is not an adapter folder"),
    ({"adapter": "nowhere"}, "is not an adapter folder"),
    ({"top": "0"}, "'--top'"),
    ({"prompt": "caf\udce9 not UTF-8"}, "not UTF-8"),
]


@pytest.mark.parametrize(("wrong", "says"), EXPLAIN, ids=[" ".join(map(repr, w.items())) for w, _ in EXPLAIN])
def test_explain(wrong, says, call, place, tiny_folder):
    given = {"model": tiny_folder("llama"), "prompt": PROMPT, "target": "joy", **wrong}
    refused(call("explain", *(part for k, v in given.items() for part in (f"--{k}", v))), says)


def test_explain_with_an_adapter_of_another_base(call, place, made):
    adapter = made.folder / "checkpoints" / "checkpoint-2"
    done = call("explain", "--model", "other", "--prompt", PROMPT, "--target", "joy", "--adapter", adapter)
    refused(done, "does not fit the base")
    beside = call("explain", "--model", adapter, "--prompt", PROMPT, "--target", "joy", "--base", "other")
    refused(beside, "does not fit the base")


RUN = [
    (["model.name=empty"], "is not a model folder"),
    (["model.name=pickled"], "pickled"),
    (["model.device=cuda:99"], "cannot be used here"),
    (["model.device=toaster"], "cannot be used here"),
    (["baseline.name=nowhere"], "no model at 'nowhere'"),
    (["data.prompts=stray.csv"], "found the columns 'comment', 'mood'"),
    (["data.columns.text=body"], "found the columns"),
    (["data.columns.wordy=body"], "columns must map one of"),
    (["data.train=nowhere.jsonl"], "no such file"),
    (["data.train=empty.jsonl"], "empty.jsonl: the file"),
    (["data.train=torn.parquet"], "torn.parquet"),
    (["data.eval=emotions:nope"], "emotions has the splits"),
    (["data.train=hub:not a name"], "expected hub:owner/name"),
    (["data.form=dolly"], "form 'dolly' expects"),
    (["prompts.n=17"], "prompts.n"),
    (["prompts.m=3"], "the nearest known is 'prompts.n'"),
    (["training.learning_rat=1"], "did you mean 'training.learning_rate'"),
    (["training.targets=nonsense"], "training.targets"),
    (["training.learning_rate=1e30"], "lower training.learning_rate"),
    (["checkpoints.steps=0,99"], "beyond the last training step"),
    (["dynamics.reference=1"], "no measured step"),
    (["prompt.chat=perhaps"], "prompt.chat"),
    (["scoring.mask=not a token"], "is not in the vocabulary"),
    (["scoring.mask=100000"], "outside the vocabulary"),
]


@pytest.mark.parametrize(("overrides", "says"), RUN, ids=[" ".join(o) for o, _ in RUN])
def test_run(overrides, says, call, place, made):
    sets = [part for override in overrides for part in ("--set", override)]
    refused(call("run", made.config, "--quiet", "--out", "run", *sets), says)


COMMANDS = [
    (["run"], "Missing argument"),
    (["run", "nowhere.yaml"], "no settings file"),
    (["run", "file"], "hold str, expected a mapping"),
    (["run", "empty"], "cannot read settings"),
    (["run", "preset:nope"], "no preset 'nope'"),
    (["report", "empty"], "is no run folder"),
    (["report", "nowhere"], "is no run folder"),
    (["recommend", "empty"], "a run folder (no settings.yaml)"),
    (
        ["track", "--base", "other", "--checkpoints", "no-steps", "--data", "prompts.jsonl", "-q"],
        "no checkpoint-<step>",
    ),
    (
        ["track", "--base", "other", "--checkpoints", "nowhere", "--data", "prompts.jsonl", "-q"],
        "no checkpoints folder",
    ),
    (["track", "--base", "other", "--checkpoints", "x", "--data", "y", "--steps", "a,b"], "give whole numbers"),
    (["track", "--base", "other", "--checkpoints", "x", "--data", "y", "--n", "17"], "prompts.n"),
    (["frobnicate"], "No such command"),
    (["explain", "--frobnicate"], "No such option"),
]


@pytest.mark.parametrize(("arguments", "says"), COMMANDS, ids=[" ".join(a) for a, _ in COMMANDS])
def test_commands(arguments, says, call, place):
    refused(call(*arguments), says)


def test_run_folder_that_cannot_be_written(call, place, made):
    refused(call("run", made.config, "--quiet", "--out", "file/run"), "cannot write the run folder")
    refused(call("run", made.config, "--quiet", "--out", "file"), "cannot write the run folder")
    refused(call("report", made.folder, "--out", "file/page.html"), "cannot write")


def test_run_folder_that_is_anothers(call, place, made):
    refused(call("run", made.config, "--quiet", "--out", "empty/.."), "not empty and no run folder")
    refused(call("run", made.config, "--quiet", "--out", made.folder, "--set", "seed=9"), "(seed: 0 -> 9)")


def test_unfinished_run(call, place, made):
    shutil.copytree(made.folder, "half")
    (place / "half" / "recommendation.json").unlink()
    refused(call("recommend", "half"), "no recommendation.json")
    refused(call("report", "half"), "no recommendation.json")
    (place / "half" / "recommendation.json").write_text("{")
    refused(call("recommend", "half"), "cannot read")
    (place / "half" / "units.parquet").write_bytes(b"torn")
    refused(call("report", "half"), "cannot read")


def test_adapter_of_another_base_in_track(call, place, made):
    where = made.folder / "checkpoints"
    done = call(
        "track", "--base", "other", "--checkpoints", where, "--data", "prompts.jsonl", "-q", "--n", "3", "-o", "r"
    )
    refused(done, "does not fit the base")


def test_disk_full_while_writing_is_one_line(call, place, made, monkeypatch):
    import os

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(call("run", made.config, "--quiet", "--out", "run"), "no space left")
    assert not [path for path in (place / "run").rglob("*.tmp")]


@pytest.fixture
def failing(monkeypatch, made):
    """`failing(error)`: the next `recommend` meets it."""
    import interplay.store.files as files

    def fail(error: BaseException) -> list:
        def refuse(*_):
            raise error

        monkeypatch.setattr(files, "read_json", refuse)
        monkeypatch.setattr("interplay.store.reader.read_json", refuse)
        return ["recommend", made.folder]

    return fail


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def test_out_of_memory_is_one_line(call, failing):
    refused(call(*failing(OutOfMemoryError("CUDA out of memory. Tried to allocate"))), "out of memory: lower")
    refused(call(*failing(MemoryError())), "out of memory: lower")
    cpu = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    refused(call(*failing(RuntimeError(cpu))), "out of memory: lower")
    _, folder = failing(pa.lib.ArrowMemoryError("malloc failed"))
    refused(call("report", folder), "out of memory: this run folder does not fit")


def test_a_bug_that_is_no_interruption_is_not_called_one(failing, monkeypatch):
    from interplay.cli import main

    monkeypatch.setattr(sys, "argv", ["interplay", *map(str, failing(EOFError("Ran out of input")))])
    with pytest.raises(EOFError, match="Ran out of input"):  # typer makes an Abort of it
        main()


def test_a_traceback_sends_no_escapes_and_no_tokens(failing):
    token = "hf_" + "a" * 34
    code = (
        "import sys, interplay.store.files as files\n"
        "def refuse(*_): raise RuntimeError('\\x1b]0;owned\\x07 " + token + "')\n"
        "files.read_json = refuse\n"
        "from interplay.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, failing(None))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError" in done.stderr
    assert "\x1b" not in done.stderr
    assert token not in done.stderr


def test_bugs_of_ours_keep_their_traceback(failing, monkeypatch):
    from interplay.cli import main

    monkeypatch.setattr(sys, "argv", ["interplay", *map(str, failing(RuntimeError("our own mistake")))])
    with pytest.raises(RuntimeError, match="our own mistake"):
        main()


def test_interrupted(call, failing, made, monkeypatch):
    done = call(*failing(KeyboardInterrupt()))
    assert done.code == 130
    assert done.err == "interplay: stopped; nothing new is kept, the same command starts over\n"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("interplay.pipeline.pipeline.run", interrupt)
    done = call("run", made.config)
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("interplay: stopped; kept in runs/")
    assert done.err.endswith(": what is finished; the same command goes on from there\n")


def test_as_a_process_too(tmp_path, tiny_folder):
    """Nothing of transformers or torch talks on stderr beside the one line; quiet, so that a slow machine says no wait."""
    arguments = ("explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "joy", "--words", "sad")
    done = command(*arguments, "--quiet", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("interplay: these words do not stand in the prompt")


def test_closed_pipe_is_no_error(made):
    from tiny_job import environment

    parts = [sys.executable, "-m", "interplay", "recommend", str(made.folder), "--json"]
    process = subprocess.Popen(parts, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert said == b""


ODD = (
    "terrible\x1b[31m food",
    "<img src=x onerror=alert(1)>",
    "</script>{{7*7}}",
    "\u202eevil\u2066",
    "=cmd|'/C calc'!A0",
)


def test_hostile_data_never_reach_the_terminal_or_another_folder(call, tmp_path, tiny_folder):
    root = tmp_path / "inside"
    root.mkdir()
    rows = [
        {"id": f"../../{i}/{odd}", "text": f"{odd} service ruined dinner {i}\x9b2J", "label": f"label {i} {odd[:9]}"}
        for i, odd in enumerate(ODD)
    ]
    write_rows(root / "prompts.jsonl", rows)
    write_rows(
        root / "train.jsonl",
        labelled([("plain words stand here", "joy"), *((r["text"] + " again", r["label"]) for r in rows)]),
    )
    wanted = settings(
        root, tiny_folder("llama"), **BARE | {"controls": {"precision": None, "draws": 1}}, prompts={"count": 5, "n": 3}
    )
    config = write_settings(root / "c.yaml", wanted | {"name": "run \x1b[2J<script>"})
    done = call("run", config, "--out", root / "run")
    assert done.code == 0, done.err
    said = done.out + done.err
    assert not [c for c in said if not (c.isprintable() or c == "\n")]
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}
    assert {path.name for path in (root / "run" / "units" / "step-000002").iterdir()} == {
        f"prompt-{i:04d}.safetensors" for i in range(5)
    }
    page = (root / "run" / "report.html").read_text()
    assert "<img src=x" not in page
    assert "\x1b" not in page
    prompts = json.loads((root / "run" / "inputs.json").read_text())["prompts"]
    assert {prompt["id"] for prompt in prompts} == {row["id"] for row in rows}
