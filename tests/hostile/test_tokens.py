"""Access tokens and passwords reach no log and no settings: what hides them, and what refuses them."""

import pytest

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.secrets import redact, refuse_secrets

# Not real ones: shapes alone, put together so that no scanner takes this file for a leak.
SENTINEL = "hf_" + "SentinelSentinelSentinel" + "0123456789"
PASSWORD = "correct-horse" + "-battery-staple"
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
MODEL = {"data": {"train": "t", "prompts": "p"}, "training": {"steps": 1}}


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:word@host/x?y=1", "https://***@host/x?y=1"),
        ("https://word@host/x", "https://***@host/x"),
        ("git+ssh://me:w%40rd@host", "git+ssh://***@host"),
        ("https://host/x?token=abc&y=1", "https://host/x?token=***&y=1"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
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
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("key", ["model.name", "name", "prompt.system", "data.prompts", "data.columns"])
def test_settings_that_hold_one_are_refused_without_repeating_it(key, secret):
    section, _, leaf = key.rpartition(".")
    value = {"text": secret} if leaf == "columns" else f"x {secret}"
    raw = {section: {leaf: value}} if section else {leaf: value}
    with pytest.raises(
        InterplayError, match=f"settings key {key}(.text)? holds an access token or a password"
    ) as refused:
        refuse_secrets(raw)
    assert secret[6:] not in str(refused.value)
    assert "hf auth login" in str(refused.value)


def test_loading_settings_refuses_them():
    for value in (f"https://me:{PASSWORD}@huggingface.co/owner/name", f"owner/{SENTINEL}"):
        with pytest.raises(InterplayError, match=r"settings key model\.name holds") as refused:
            load_settings({**MODEL, "model": {"name": value}})
        assert PASSWORD not in str(refused.value)
        assert SENTINEL not in str(refused.value)
        with pytest.raises(InterplayError, match=r"settings key (model.name|name) holds"):
            load_settings({**MODEL, "model": {"name": "m"}}, [f"name={value}"])
    assert load_settings({**MODEL, "model": {"name": "owner/name"}}).model.name == "owner/name"


# ---- errors of the hub -----------------------------------------------------------------------------------------------

TOLD = (
    f"401 Client Error: Unauthorized for url: https://me:{PASSWORD}@huggingface.co/api/models/a/b?token={SENTINEL} "
    f"(headers: Authorization: Bearer {SENTINEL})"
)
CUT = "x" * 225 + " " + SENTINEL  # the token stands where the text is cut


@pytest.mark.parametrize("said", [TOLD, CUT], ids=["told", "cut"])
def test_what_the_hub_says_is_told_without_them(said, call, monkeypatch, tmp_path):
    import transformers

    def refuse(*_, **__):
        raise OSError(said)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    done = call("explain", "--model", "owner/name", "--prompt", "not happy with it", "--target", "joy")
    assert done.code == 2
    assert "cannot get 'owner/name' from the hub" in done.err
    assert not holds_secret(done.out + done.err)


def test_progress_and_warnings_hide_them(capsys):
    import warnings

    from interplay import InteractionCallback
    from interplay.pipeline.progress import Progress

    progress = Progress(every=0.0)
    progress.say(TOLD)
    with progress.phase("x", 1) as advance:
        advance(note=SENTINEL)
    assert not holds_secret(capsys.readouterr().err)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback = InteractionCallback([{"prompt": "a b", "completion": " c"}])
        callback._warned = set()  # as at the beginning of a training
        callback._warn_of(RuntimeError(TOLD), "a reading failed")
    assert not holds_secret(str(caught[0].message))


def holds_secret(text: str) -> bool:
    """Whether any piece of eight characters of a secret stands in a text; of the token behind its shape."""
    pieces = {s[i : i + 8] for s in (SENTINEL[3:], PASSWORD) for i in range(len(s) - 7)}
    return any(piece in text for piece in pieces)
