"""Access tokens and passwords reach no log, no settings and no report: what finds them, what refuses them, and a run that has one."""

from pathlib import Path

import pytest
from hostile import PAYLOADS
from hypothesis import given
from hypothesis import strategies as st
from tiny_job import PROBES, command, labelled, settings, write_rows, write_settings

import interplay
from interplay.errors import InterplayError
from interplay.runs.loading import load_settings
from interplay.secrets import found_secret, redact, refuse_secrets

# Not real ones: shapes alone, put together so that no scanner takes this file for a leak.
SENTINEL = "hf_" + "SentinelSentinelSentinel" + "0123456789"
OPAQUE = "correct-horse" + "-battery-staple"  # a secret without a shape: known by its variable alone
SECRETS = {
    "hugging face": SENTINEL,
    "organisation": "api_org_" + "a" * 34,
    "openai": "sk-" + "proj-" + "A1b2" * 8,
    "github": "ghp_" + "a1B2" * 9,
    "github, fine": "github_pat_" + "a1B2_" * 9,
    "gitlab": "glpat-" + "a1B2" * 5,
    "aws": "AKIA" + "ABCDEFGH12345678",
    "slack": "xoxb-" + "1234567890-abc",
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0" + ".c2lnbmF0dXJl",
}
MODEL = {"data": {"train": "t", "probes": "p"}, "training": {"steps": 1}}


@pytest.fixture
def variables(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SENTINEL)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    monkeypatch.setenv("MY_DB_PASSWORD", OPAQUE)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HF_TOKEN_PATH", "/srv/me/huggingface/token")
    monkeypatch.setenv("SOME_TOKEN", "short")


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_known_shapes_are_hidden_wherever_they_stand(secret):
    for text in (
        "{}",
        "401 for {}: no",
        "'{}'",
        "a={}&b=1",
        "(token {})",
        "{}\n{}",
        "https://me:{}@host/x",
        "Bearer {}",
    ):
        shown = redact(text.format(secret, secret))
        assert secret[6:] not in shown, shown
        assert "***" in shown
        assert found_secret(text.format(secret, secret))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:word@host/x?y=1", "https://***@host/x?y=1"),
        ("https://:word@host/x", "https://***@host/x"),
        ("https://word@host/x", "https://***@host/x"),
        ("git+ssh://me:w%40rd@host", "git+ssh://***@host"),
        ("cannot open 'https://me:password-that-was-c...'", "cannot open 'https://***'"),
        ("https://host/x?token=abc&y=1", "https://host/x?token=***&y=1"),
        ("https://host/x?a=1&X-Amz-Signature=abc", "https://host/x?a=1&X-Amz-Signature=***"),
        ("https://host/x?api_key=abc", "https://host/x?api_key=***"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("cannot get 'hf_abc...'", "cannot get '***...'"),
    ],
)
def test_credentials_in_addresses_and_headers(text, shown):
    assert redact(text) == shown


HARMLESS = (
    "http://localhost:8080/x", "https://huggingface.co/Qwen/Qwen2.5-0.5B", "hub:owner/name/config@main:train", "me@host",
    "hf_hub_download", "hf_transfer", "sk-learn", "risk-averse", "5af571cbf0744d9e2b1c" * 2, "owner/name@1234567:train", "<|im_start|>",
    "Sentence: {text}\nEmotion:", "a:b@c", "https://host:443", "file:///srv/a:b", "https://host/a?b=c&monkey=banana", "step-000040",
    "runs/demo-1a2b3c4d", "C:\\models\\x", "", "***",
)  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text, variables):
    assert redact(text) == text
    assert found_secret(text) is None


def test_values_of_secret_variables_are_hidden(variables):
    shown = redact(
        f"a {OPAQUE} b {'0123456789abcdef' * 2 + '01234567'} c {SENTINEL} false short /srv/me/huggingface/token"
    )
    assert shown == "a *** b *** c *** false short /srv/me/huggingface/token"
    assert redact(f"cut {OPAQUE[:20]}... off") == "cut ***... off"
    assert redact(OPAQUE[:11]) == OPAQUE[:11]  # too little of it to know it by


def test_a_value_is_found_as_a_url_writes_it(monkeypatch):
    monkeypatch.setenv("PROXY_PASSWORD", "p@ss/word:1!")
    assert redact("x=p%40ss%2Fword%3A1%21") == "x=***"


def test_a_path_in_a_variable_is_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("SERVICE_TOKEN", str(tmp_path))
    assert redact(f"cannot write {tmp_path}/x") == f"cannot write {tmp_path}/x"


@given(st.text(max_size=60) | st.sampled_from([p.text[:500] for p in PAYLOADS]))
def test_hiding_twice_is_hiding_once_and_finds_what_it_hides(text):
    once = redact(text)
    assert redact(once) == once
    assert (found_secret(text) is None) == (once == text) or "***" in text


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("key", ["model.name", "name", "prompt.system", "data.probes", "data.columns"])
def test_settings_that_hold_one_are_refused_without_repeating_it(key, secret):
    section, _, leaf = key.rpartition(".")
    value = {"text": secret} if leaf == "columns" else f"x {secret}"
    raw = {section: {leaf: value}} if section else {leaf: value}
    with pytest.raises(InterplayError, match=f"settings key {key}(.text)? holds an access token") as refused:
        refuse_secrets(raw)
    assert secret[6:] not in str(refused.value)
    assert "hf auth login" in str(refused.value)


def test_a_key_that_is_a_secret_is_not_repeated_either():
    with pytest.raises(InterplayError) as refused:
        refuse_secrets({"model": {SENTINEL: 1}})
    assert SENTINEL not in str(refused.value)


def test_loading_settings_refuses_them(variables):
    for value in (f"https://me:{OPAQUE}@huggingface.co/owner/name", f"owner/{SENTINEL}", OPAQUE):
        with pytest.raises(InterplayError, match=r"settings key model\.name holds") as refused:
            load_settings({**MODEL, "model": {"name": value}})
        assert OPAQUE not in str(refused.value)
        assert SENTINEL not in str(refused.value)
        with pytest.raises(InterplayError, match=r"settings key (model.name|name) holds"):
            load_settings({**MODEL, "model": {"name": "m"}}, [f"name={value}"])
    assert load_settings({**MODEL, "model": {"name": "owner/name"}}).model.name == "owner/name"


# ---- errors of the hub -----------------------------------------------------------------------------------------------

TOLD = (
    f"401 Client Error: Unauthorized for url: https://me:{OPAQUE}@huggingface.co/api/models/a/b?token={SENTINEL} "
    f"(headers: Authorization: Bearer {SENTINEL})"
)
CUT = "x" * 225 + SENTINEL  # the token stands where the text is cut


@pytest.mark.parametrize("said", [TOLD, CUT], ids=["told", "cut"])
def test_what_the_hub_says_is_told_without_them(said, variables, call, monkeypatch, tmp_path):
    import transformers

    def refuse(*_, **__):
        raise OSError(said)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    done = call("explain", "--model", "owner/name", "--prompt", "not happy with it", "--target", "joy")
    assert done.code == 2
    assert "cannot get 'owner/name' from the hub" in done.err
    assert not holds_secret(done.out + done.err)


def test_progress_and_warnings_hide_them(variables, capsys):
    import warnings

    from interplay.hf import InteractionCallback
    from interplay.runs.progress import Progress

    progress = Progress(every=0.0)
    progress.say(TOLD)
    with progress.phase("x", 1) as advance:
        advance(note=SENTINEL)
    assert not holds_secret(capsys.readouterr().err)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback = InteractionCallback([{"prompt": "a b", "completion": " c"}])
        callback._warned = set()  # as at the beginning of a training
        callback._complain(RuntimeError(TOLD), "a reading failed")
    assert not holds_secret(str(caught[0].message))


def holds_secret(text: str) -> bool:
    """Whether any piece of eight characters of a secret stands in a text; of the shaped one behind its shape."""
    pieces = {s[i : i + 8] for s in (SENTINEL[3:], OPAQUE) for i in range(len(s) - 7)}
    return any(piece in text for piece in pieces)


# ---- a run with a token in its environment ---------------------------------------------------------------------------


def test_no_byte_of_a_run_and_of_what_it_prints_holds_a_token(tmp_path, tiny_folder):
    write_rows(
        tmp_path / "train.jsonl", labelled([("plain words stand here", "joy"), ("other words stand there", "anger")])
    )
    write_rows(tmp_path / "probes.jsonl", labelled(PROBES))
    wanted = settings(
        tmp_path, tiny_folder("llama"), training={"steps": 1}, checkpoints={"steps": [0, 1]}, probes={"count": 2}
    )
    config = write_settings(tmp_path / "c.yaml", wanted)
    secret = {
        "PYTHONPATH": str(Path(interplay.__file__).parents[1]),
        "HF_TOKEN": SENTINEL,
        "HUGGING_FACE_HUB_TOKEN": SENTINEL,
        "WANDB_API_KEY": OPAQUE,
        "OPENAI_API_KEY": OPAQUE,
    }
    done = command("run", config, "--out", tmp_path / "run", cwd=tmp_path, **secret)
    assert done.returncode == 0, done.stderr
    failed = command(
        "explain", "--model", "owner/name", "--prompt", "not happy", "--target", "joy", cwd=tmp_path, **secret
    )
    assert failed.returncode == 2
    refused = command("run", config, "--set", f"model.name=owner/{SENTINEL}", cwd=tmp_path, **secret)
    assert refused.returncode == 2
    for process in (done, failed, refused):
        assert not holds_secret(process.stdout + process.stderr)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert SENTINEL.encode() not in path.read_bytes(), path
        assert OPAQUE.encode() not in path.read_bytes(), path
