"""From a row to one string and its token ids, through chat templates that strip, think, refuse and rewrite."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interplay.data.prompts import Rendered, encode, render, special_tokens, template_hash, uses_chat
from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.data.words import candidate_words
from interplay.errors import InterplayError, SkipSample

COMMENT = PromptTemplate(template="Comment: {text}\nEmotion:")
GOOD = ["none", "chatml", "default-system", "gemma", "thinking", "stubborn", "dated"]
HOSTILE = [
    "user",
    "assistant",
    "system",
    "You are a user helper",
    "model user\nuser",
    "{{7*7}}",
    "{% raw %}{{ bos_token }}",
    "{text} {0} {text}",
    "Comment: x\nEmotion:",
    "  spaces around  ",
    "\n\ttabs and lines\n\n",
    "im_start|> <think> </think>",
    "<img onerror=alert(1)> </script> \u2028 \u202e",
    "Xsentinel7q Xsentinel7qA Xsentinel7q7q",
    "naïve café e\u0301 日本 🙂🙂",
    "x" * 50_000,
]


def row_of(text, target="joy", template=COMMENT):
    messages, start = template.messages_for(text)
    return Row("r", messages, target, text, start)


def check_words(row, rendered):
    for word in candidate_words(row.text, "en", keep_stop_words=True):
        at = rendered.text_start
        assert rendered.prompt[at + word.start : at + word.end] == word.text


# ---- templates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["", "no place", "{text} {text}", "{ text }", 5])
def test_template_needs_its_place_once(template):
    with pytest.raises(InterplayError, match=r"must hold \{text\} exactly once"):
        PromptTemplate(template=template)


@pytest.mark.parametrize(
    "settings",
    [{"chat": "yes"}, {"system": 5}, {"few_shot": [["only one"]]}, {"few_shot": ["ab"]}, {"few_shot": [[1, 2]]}],
)
def test_template_of_the_wrong_type(settings: Any):
    with pytest.raises(InterplayError):
        PromptTemplate(**settings)


def test_template_from_yaml_lists_is_hashable():
    pairs: Any = [["a", "b"]]
    template = PromptTemplate(few_shot=pairs)
    assert template.few_shot == (("a", "b"),)
    assert hash(template) == hash(PromptTemplate(few_shot=(("a", "b"),)))


@given(st.text(max_size=30))
@settings(deadline=None, derandomize=True)
def test_user_text_is_put_in_verbatim(text):
    messages, start = PromptTemplate(template="{ {x} }{text}}").messages_for(text)
    assert messages[-1].content == "{ {x} }" + text + "}"
    assert messages[-1].content[start : start + len(text)] == text


# ---- rendering -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
@pytest.mark.parametrize("name", GOOD)
def test_text_is_located_in_every_template(make_tokenizer, name, text):
    tokenizer = make_tokenizer(name)
    for template in (
        COMMENT,
        PromptTemplate(),
        PromptTemplate(system="user", few_shot=(("user", "joy"),), template="{text}"),
    ):
        row = row_of(text, template=template)
        rendered = render(row, tokenizer, template)
        check_words(row, rendered)
        if name != "gemma" or text == text.strip() or template is COMMENT:
            assert rendered.prompt[rendered.text_start :].startswith(row.text.rstrip(" "))
        assert rendered.completion.endswith("<|im_end|>")


@given(st.text(max_size=40).filter(lambda text: text.strip()))
@settings(derandomize=True)
def test_any_text_is_located(make_tokenizer, text):
    tokenizer = make_tokenizer("gemma")
    row = row_of(text, template=PromptTemplate())
    check_words(row, render(row, tokenizer))


def test_chatml_string(make_tokenizer):
    rendered = render(row_of("So sad", "grief"), make_tokenizer(), COMMENT)
    assert rendered.prompt == "<|im_start|>user\nComment: So sad\nEmotion:<|im_end|>\n<|im_start|>assistant\n"
    assert rendered.completion == "grief<|im_end|>"  # the newline that the template writes after it is never generated
    assert rendered.text_start == rendered.prompt.index("So sad")
    assert rendered.chat


def test_plain_string(make_tokenizer):
    template = PromptTemplate(system="Name it.", template="Q: {text}\nA:", few_shot=(("Yay", "joy"),), chat=False)
    rendered = render(row_of("So sad", "grief", template), make_tokenizer(), template)
    assert rendered.prompt == "Name it.\n\nQ: Yay\nA: joy\n\nQ: So sad\nA:"
    assert rendered.completion == " grief<|im_end|>"
    assert rendered.text_start == rendered.prompt.index("So sad")
    assert not rendered.chat


@pytest.mark.parametrize(
    ("template", "target", "completion"),
    [
        ("{text}\n", "joy", "joy"),
        ("{text}", " joy", " joy"),
        ("{text}", "joy", " joy"),
        ("{text} ", "joy", " joy"),
        ("{text}  ", "joy", " joy"),
        ("{text} ", " joy", " joy"),
    ],
)
def test_plain_space(make_tokenizer, template, target, completion):
    prompt = PromptTemplate(template=template)
    assert render(row_of("x", target, prompt), make_tokenizer("none"), prompt).completion == completion + "<|im_end|>"


@pytest.mark.parametrize(
    ("name", "system", "head"),
    [
        ("chatml", None, "<|im_start|>user"),
        ("chatml", "", "<|im_start|>user"),
        ("chatml", "S", "<|im_start|>system\nS<|im_end|>"),
        ("default-system", None, "<|im_start|>system\nYou are a user helper<|im_end|>"),
        ("default-system", "", "<|im_start|>system\n<|im_end|>"),
        ("default-system", "S", "<|im_start|>system\nS<|im_end|>"),
        ("gemma", "", "<|endoftext|><|im_start|>user\nComment"),
        ("gemma", "S", "<|endoftext|><|im_start|>user\nS\n\nComment"),
        ("none", "", "Comment"),
    ],
)
def test_system(make_tokenizer, name, system, head):
    template = PromptTemplate(system=system, template=COMMENT.template)
    assert render(row_of("hi", template=template), make_tokenizer(name), template).prompt.startswith(head)


def test_thinking_templates(make_tokenizer):
    thinking = render(row_of("hi"), make_tokenizer("thinking"), COMMENT)
    assert thinking.prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert thinking.completion == "joy<|im_end|>"
    stubborn = render(row_of("hi"), make_tokenizer("stubborn"), COMMENT)
    assert stubborn.prompt.endswith("<|im_end|>\n<|im_start|>assistant\n"), "as its training rows are"
    assert stubborn.completion == "joy<|im_end|>"


def test_completion_is_what_the_template_writes(make_tokenizer):
    """prompt + completion is the full conversation, so what is trained is what is scored."""
    for name in ("chatml", "default-system", "gemma"):
        tokenizer, row = make_tokenizer(name), row_of("hi", " joy and\n\nlove ")
        rendered = render(row, tokenizer, COMMENT)
        turns = [{"role": m.role, "content": m.content} for m in row.messages] + [
            {"role": "assistant", "content": row.target}
        ]
        assert rendered.prompt + rendered.completion + "\n" == tokenizer.apply_chat_template(turns, tokenize=False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shouting", "once and unchanged"),
        ("twice", "once and unchanged"),
        ("cutting", "rewrites the user's text"),
        ("forgetful", "rewrites the target 'joy'"),
        ("refusing", "only system turns"),
    ],
)
def test_templates_that_cannot_be_used(make_tokenizer, name, said):
    with pytest.raises(SkipSample, match=said):
        render(row_of("hi there"), make_tokenizer(name), COMMENT)


def test_the_day_does_not_matter(make_tokenizer):
    """Nor does how the template asks for it."""
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "\n{{ strftime_now('%A %-d. %B %y, %j %% %H:%M') }}" + tokenizer.chat_template
    assert render(row_of("hi"), tokenizer).prompt.startswith("\nFriday 26. July 24, 208 % 00:00<|im_start|>")

    assert render(row_of("hi"), make_tokenizer("dated"), COMMENT).prompt.startswith("26 Jul 2024 ")


@pytest.mark.parametrize("name", ["none", "chatml"])
@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>"])
def test_special_tokens_in_data_are_refused(make_tokenizer, name, token):
    tokenizer = make_tokenizer(name)
    for text, target in ((f"a {token} b", "joy"), ("a b", f"joy{token}")):
        with pytest.raises(SkipSample, match="special token '" + token.replace("|", r"\|")):
            render(row_of(text, target), tokenizer, COMMENT)
    history = (Message("user", token), Message("assistant", "ok"), Message("user", "hi"))
    with pytest.raises(SkipSample, match="conversation spells"):
        render(Row("r", history, "joy", "hi", 0), tokenizer)


def test_a_template_may_spell_special_tokens_on_purpose(make_tokenizer):
    template = PromptTemplate(template="<|im_start|>user {text}<|im_end|>")
    assert (
        render(row_of("hi", template=template), make_tokenizer("none"), template).prompt
        == "<|im_start|>user hi<|im_end|>"
    )
    with pytest.raises(SkipSample, match="the text spells"):
        render(row_of("hi<|im_end|>", template=template), make_tokenizer("none"), template)


def test_special_tokens_follow_the_tokenizer(make_tokenizer):
    tokenizer = make_tokenizer()
    assert special_tokens(tokenizer).findall("<|im_end|>a<|endoftext|><|im_start|>") == [
        "<|im_end|>",
        "<|endoftext|>",
        "<|im_start|>",
    ]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "[EOT]"]})
    assert special_tokens(tokenizer).fullmatch("[EOT]")
    with pytest.raises(SkipSample, match="EOT"):
        render(row_of("a [EOT]"), tokenizer, COMMENT)


@pytest.mark.parametrize("target", ["", " ", "\n\t"])
def test_empty_target_is_refused(make_tokenizer, target):
    with pytest.raises(SkipSample, match=r"the target .* tokenises to nothing"):
        render(row_of("hi", target), make_tokenizer(), COMMENT)
    with pytest.raises(SkipSample, match="tokenises to nothing"):
        encode(Rendered("hi", "", 0, False), make_tokenizer())


def test_chat_true_needs_a_template(make_tokenizer):
    with pytest.raises(InterplayError, match="needs a chat template"):
        render(row_of("hi"), make_tokenizer("none"), PromptTemplate(chat=True))
    assert uses_chat(make_tokenizer(), PromptTemplate(chat=True))
    assert not uses_chat(make_tokenizer(), PromptTemplate(chat=False))


# ---- encoding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("text", ["I was not happy", "naïve 日本 🙂 e\u0301", "  tab\tspace  "])
def test_encode(make_tokenizer, name, text):
    tokenizer = make_tokenizer(name)
    rendered = render(row_of(text), tokenizer, COMMENT)
    encoded = encode(rendered, tokenizer)
    assert len(encoded.input_ids) == len(encoded.offsets)
    assert tokenizer.decode(encoded.input_ids) == rendered.prompt == encoded.text
    assert tokenizer.decode(encoded.target_ids) == rendered.completion
    assert encoded.target_ids[-1] == tokenizer.eos_token_id
    assert all(0 <= start < end <= len(encoded.text) for start, end in encoded.offsets)
    assert encoded.text_start == rendered.text_start
    # one tokenisation for all: the same ids as the whole string has
    whole = tokenizer(rendered.prompt + rendered.completion, add_special_tokens=False)["input_ids"]
    assert list(encoded.input_ids + encoded.target_ids) == whole


def with_post_processor(tokenizer):
    from tokenizers.processors import TemplateProcessing

    ids = [("<|endoftext|>", tokenizer.bos_token_id), ("<|im_end|>", tokenizer.eos_token_id)]
    single = "<|endoftext|> $A <|im_end|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


def test_bos_is_never_doubled_and_eos_never_in_the_middle(make_tokenizer):
    plain = with_post_processor(make_tokenizer("none"))
    bos, eos = plain.bos_token_id, plain.eos_token_id
    assert plain("hi")["input_ids"][0] == bos
    encoded = encode(render(row_of("hi"), plain, COMMENT), plain)
    assert encoded.input_ids[0] == bos
    assert encoded.offsets[0] == (0, 0)
    assert encoded.input_ids.count(bos) == 1
    assert eos not in encoded.input_ids
    assert encoded.target_ids.count(eos) == 1

    chat = with_post_processor(make_tokenizer("gemma"))  # its template writes the BOS
    encoded = encode(render(row_of("hi"), chat, COMMENT), chat)
    assert encoded.input_ids.count(bos) == 1
    assert encoded.offsets[0] == (0, len("<|endoftext|>"))

    own = PromptTemplate(template="<|endoftext|>{text}")  # and here the user's template does
    encoded = encode(render(row_of("hi", template=own), plain, own), plain)
    assert encoded.input_ids.count(bos) == 1


def test_straddling_border_is_skipped(make_tokenizer):
    tokenizer = make_tokenizer("none")
    with pytest.raises(SkipSample, match=r"straddles the border.*give the prompt template another end"):
        encode(Rendered("So sad\nEmot", "ion", 0, False), tokenizer)


@pytest.mark.parametrize("template", ["{text}\nEmotion: ", "{text}"])
def test_a_trailing_space_does_not_straddle(make_tokenizer, template):
    tokenizer, template = make_tokenizer("none"), PromptTemplate(template=template)
    rendered = render(row_of("hi ", "sadness", template), tokenizer, template)
    encoded = encode(rendered, tokenizer)
    assert rendered.prompt + rendered.completion == template.user_turn("hi ") + "sadness<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(list(encoded.target_ids)) == ["Ġsadness", "<|im_end|>"]


def test_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    slow: Any = Slow()
    with pytest.raises(InterplayError, match=r"fast tokenizer is needed.*given Slow"):
        encode(Rendered("a", "b", 0, False), slow)


def test_the_tokenizer_is_left_as_it_was(make_tokenizer):
    tokenizer = with_post_processor(make_tokenizer("default-system"))
    tokenizer.padding_side = "left"
    before = json.loads(tokenizer.backend_tokenizer.to_str()), dict(vars(tokenizer)), tokenizer.chat_template
    for template in (COMMENT, PromptTemplate(chat=False, system="")):
        encode(render(row_of("hi", template=template), tokenizer, template), tokenizer)
        template_hash(tokenizer, template)
    assert (json.loads(tokenizer.backend_tokenizer.to_str()), dict(vars(tokenizer)), tokenizer.chat_template) == before


def test_real_llama_tokenizer(real):
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(real("models/stories260K"))
    for text in ("Once upon a time there was a not so happy cat", " two  spaces ", "naïve 日本 🙂"):
        row = row_of(text, "sad", PromptTemplate(template="Story: {text}\nMood:"))
        rendered = render(row, tokenizer)
        encoded = encode(rendered, tokenizer)
        assert encoded.input_ids[0] == tokenizer.bos_token_id
        assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
        assert encoded.target_ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(encoded.target_ids[:-1]).strip() == "sad"
        # every character of every word is covered by some token
        for word in candidate_words(text, "en"):
            at = encoded.text_start
            covered = {i for start, end in encoded.offsets for i in range(start, end)}
            assert set(range(at + word.start, at + word.end)) <= covered
    with pytest.raises(SkipSample, match="special token '</s>'"):
        render(row_of("the </s> end"), tokenizer, COMMENT)


# ---- the hash ------------------------------------------------------------------------------------------------------------


def test_template_hash_changes_with_what_is_written(make_tokenizer):
    chatml = make_tokenizer()
    hashes = {
        template_hash(chatml),
        template_hash(chatml, COMMENT),
        template_hash(chatml, PromptTemplate(system="")),
        template_hash(chatml, PromptTemplate(few_shot=(("a", "b"),))),
        template_hash(chatml, PromptTemplate(chat=False)),
        template_hash(make_tokenizer("gemma")),
    }
    assert len(hashes) == 6
    assert template_hash(chatml) == template_hash(make_tokenizer()) == template_hash(chatml, PromptTemplate(chat=True))
    # a chat template that is not used does not count
    plain = PromptTemplate(chat=False)
    assert template_hash(chatml, plain) == template_hash(make_tokenizer("gemma"), plain)
