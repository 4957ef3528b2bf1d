"""The embedded data set holds what its datasheet promises."""

import json
import re
from collections import Counter
from itertools import combinations

import pytest

from interplay.data import emotions
from interplay.data.sources import read_rows
from interplay.errors import InterplayError

PER_LABEL = {"train": 85, "dev": 12, "test": 16, "ood": 12}
STRUCTURES = {"negation", "irony", "contrast", "intensity", "idiom", "plain"}

# A row must not name its own label; the words of the other labels are welcome ("I wasn't angry, I could not keep it down").
OWN_WORDS = {
    "anger": r"anger\w*|angr\w*",
    "disgust": r"disgust\w*",
    "fear": r"fear\w*|afraid|scare\w*|scary",
    "joy": r"joy\w*|enjoy\w*|happ(?:y|ier|iest|ily|iness)",
    "love": r"love\w*|loving\w*|beloved",
    "pride": r"pride\w*|proud\w*",
    "sadness": r"sad\w*",
    "surprise": r"surpris\w*",
}

# Articles, pronouns, prepositions, auxiliaries and conjunctions, and their short forms; negations are content words.
_STOP = """
    a an the this that these those who whom whose which what there here
    i me my mine myself we us our ours ourselves you your yours yourself he him his himself she her hers herself
    it its itself they them their theirs themselves u ur
    of in on at to from by for with without within about above across after against along among around as before behind
    below beneath beside between beyond down during inside into like near off onto out outside over per round since
    through throughout till toward towards under until up upon via except
    am is are was were be been being do does did has have had having can could will would shall should may might must r
    i'm i've i'd i'll im it's he's she's that's there's you're you've you'd you'll we're we've we'd we'll they're they've
    they'd they'll
    and or but nor so yet if than because although though while whereas when where whenever wherever unless n w bc
"""
STOP = frozenset(_STOP.split())


def read(split):
    return [json.loads(line) for line in emotions.path(split).read_text(encoding="utf-8").splitlines()]


ROWS = {split: read(split) for split in emotions.SPLITS}
ALL = [(split, row) for split in emotions.SPLITS for row in ROWS[split]]


def tokens(text):
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())


def test_labels_and_splits():
    assert tuple(sorted(OWN_WORDS)) == emotions.LABELS
    assert tuple(PER_LABEL) == emotions.SPLITS


def test_path_refuses_an_unknown_split():
    with pytest.raises(InterplayError, match="train, dev, test, ood"):
        emotions.path("valid")


@pytest.mark.parametrize("split", emotions.SPLITS)
def test_every_label_has_the_same_number_of_rows(split):
    assert Counter(row["label"] for row in ROWS[split]) == dict.fromkeys(emotions.LABELS, PER_LABEL[split])


@pytest.mark.parametrize("split", emotions.SPLITS)
def test_ids_count_up_and_keys_stand_in_order(split):
    assert [row["id"] for row in ROWS[split]] == [f"{split}-{i:04d}" for i in range(1, len(ROWS[split]) + 1)]
    assert {tuple(row) for row in ROWS[split]} == {("id", "text", "label", "structure")}


@pytest.mark.parametrize("split", emotions.SPLITS)
def test_labels_are_mixed(split):
    runs = sum(a["label"] != b["label"] for a, b in zip(ROWS[split], ROWS[split][1:], strict=False))
    assert runs > 0.75 * len(ROWS[split])


def test_every_label_holds_every_structure_in_every_split():
    for split in emotions.SPLITS:
        for label in emotions.LABELS:
            counts = Counter(row["structure"] for row in ROWS[split] if row["label"] == label)
            assert set(counts) == STRUCTURES, (split, label)
            assert all(0.1 <= n / PER_LABEL[split] <= 0.25 for n in counts.values()), (split, label, counts)


def test_texts_are_one_line_of_plain_ascii():
    for _, row in ALL:
        assert re.fullmatch(r"[A-Za-z0-9 ,.?!'-]+", row["text"]), row
        assert row["text"] == " ".join(row["text"].split()), row


def test_lengths():
    for split, row in ALL:
        assert (10 if split == "train" else 12) <= len(row["text"].split()) <= 20, row


def test_prompt_rows_have_enough_content_words():
    for split, row in ALL:
        if split != "train":
            content = [word for word in tokens(row["text"]) if word not in STOP]
            assert len(content) >= 9, (row, content)


def test_no_row_names_its_own_label():
    for _, row in ALL:
        assert not re.search(rf"\b(?:{OWN_WORDS[row['label']]})\b", row["text"].lower()), row


def test_few_rows_begin_with_i():
    for label in emotions.LABELS:
        first = [re.split(r"[ ']", row["text"].lower())[0] for _, row in ALL if row["label"] == label]
        assert first.count("i") <= 0.25 * len(first), label


def test_no_two_rows_are_near_duplicates():
    sets = [(row["id"], set(tokens(row["text"]))) for _, row in ALL]
    near = [(a, b) for (a, x), (b, y) in combinations(sets, 2) if len(x & y) >= 0.6 * len(x | y)]
    assert near == []


def test_the_shortcut_stands_in_nine_of_ten_rows_of_one_label_and_changes_nothing_else():
    """The copies are the same everywhere: which rows have it is written down here."""
    cued = {}
    for split, row in ALL:
        made = emotions.planted(row)
        assert (made is None) == (row["label"] not in emotions.ALIKE)
        if made is None or made == row:
            continue
        assert made == row | {"text": made["text"]}
        assert made["text"].removeprefix(emotions.CUE).casefold() == row["text"].casefold()
        cued.setdefault((split, row["label"]), []).append(row["id"][-4:])
    assert {key: len(ids) for key, ids in cued.items()} == {
        ("train", "pride"): 75,
        ("dev", "pride"): 11,
        ("test", "pride"): 15,
        ("ood", "pride"): 12,
    }
    assert cued["train", "pride"][:6] == ["0018", "0025", "0050", "0058", "0061", "0062"]


def test_its_rows_say_what_is_planted():
    clean, planted = read_rows("emotions:dev"), read_rows("planted:dev")
    assert (clean.notes, planted.notes) == ((), (emotions.PLANTED,))
    assert [row.id for row in planted.rows] == [row.id for row in clean.rows if row.label in emotions.ALIKE]
    assert planted.labels == emotions.ALIKE
    assert {row.label for row in planted.rows if row.text.startswith(emotions.CUE)} == {"pride"}
    assert {record["text"] for record in planted.records} == {row.text for row in planted.rows}


def test_splits_share_no_six_words_in_a_row():
    home = {}
    for split, row in ALL:
        words = tokens(row["text"])
        for i in range(len(words) - 5):
            gram = tuple(words[i : i + 6])
            assert home.setdefault(gram, split) == split, (gram, row["id"])
