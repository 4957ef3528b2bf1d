"""Background: no word of a wrapper is drawn, no frequent function word of any language, and English data keep their words."""

import hashlib
import json
from itertools import cycle
from pathlib import Path
from random import Random

import pytest

import interplay
from interplay.callback.prompts import read_prompts
from interplay.config.loading import load_settings
from interplay.data import words
from interplay.data.background import NONE, find_background
from interplay.data.rows import Message, Row
from interplay.data.samples import choose_samples, redraw
from interplay.data.sources import read_rows
from interplay.errors import InterplayError
from interplay.pipeline.inputs import read_inputs

PRESETS = Path(interplay.__file__).parent / "presets"
NOUNS = (
    "train",
    "invoice",
    "garden",
    "phone",
    "window",
    "coffee",
    "engine",
    "letter",
    "island",
    "printer",
    "jacket",
    "river",
)
VERBS = ("broke", "vanished", "arrived", "exploded", "melted", "froze", "leaked", "returned", "doubled", "moved")
WRAPPER = (
    "Below is an instruction that describes a task. Read the customer message carefully and decide which team should "
    "not ignore it, then answer with exactly one label. Message: "
)
ENDING = "\n\nTeam name only, please:"


def row_of(i, text, **more):
    return Row(f"r{i}", (Message("user", text),), "x", text, 0, **more)


def content(i):
    draw = Random(i)
    return f"{draw.choice(NOUNS)} number {i + 100} {draw.choice(VERBS)}{' not' * (i % 3 == 0)} near {draw.choice(NOUNS)} {draw.choice(VERBS)}"


def digest(samples):
    words = [[s.id, s.row.target, [[w.text, w.start, w.end] for w in s.words]] for s in samples if s]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def test_the_choice_of_the_demo_is_what_it_was():
    """Words and prompts as chosen before there was background (the digests were taken then)."""
    expected = {"train": "373350316550a80d", "dev": "06d39e1d33a7a45f", "test": "75fcc3a2ed5e2738"}
    for split, samples in expected.items():
        chosen = choose_samples(read_rows(f"emotions:{split}").rows, 60, 8)
        assert (digest(chosen.samples), chosen.background, chosen.notes) == (samples, NONE, ())
    clean = [
        f"data.{part}=emotions:{split}" for part, split in {"train": "train", "eval": "dev", "prompts": "test"}.items()
    ]
    found = read_inputs(
        load_settings(PRESETS / "demo.yaml", [*clean, "prompts.count=12", "prompts.n=7", "controls.draws=2"]),
        lambda sample: None,
    )
    assert [digest(found.prompts), *(digest(v.samples) for v in found.draws)] == [
        "7815f23b02ab041c",
        "4f28b3103009e538",
    ]
    assert found.notes == ()


def test_the_choice_of_goemotions_is_what_it_was(real):
    folder = real("data/goemotions")
    files = {"train": "train", "eval": "dev", "prompts": "test"}
    overrides = [f"data.{part}={folder / name}.tsv" for part, name in files.items()]
    found = read_inputs(load_settings(PRESETS / "goemotions.yaml", overrides), lambda sample: None)
    assert [digest(found.prompts), *(digest(v.samples) for v in found.draws)] == [
        "a71d21e8f63a525f",
        "cd1c70daf6bcabce",
    ]
    assert not [note for note in found.notes if "background" in note]


def test_a_run_on_wrapped_rows_draws_nothing_from_the_wrapper(tmp_path):
    """60 rows in a wrapper of over 30 words, of which 6 are prompts; the choice of a run, its other draws and a callback's."""
    assert len((WRAPPER + ENDING).split()) > 30
    texts = [WRAPPER + content(i) + ENDING for i in range(60)]
    rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"name": "x", "model": {"name": "x"}, "prompts": {"count": 6, "n": 3}, "controls": {"draws": 2}}
    run = read_inputs(
        load_settings({**data, "data": {"file": str(file)}, "training": {"steps": 1}}), lambda sample: None
    )
    assert len(run.prompts) == 6
    data |= {"data": {"prompts": str(file)}, "checkpoints": {"folder": "out"}}
    track = read_inputs(load_settings(data), lambda sample: None)
    callback = choose_samples(read_prompts(file, None).rows, 6, 3)
    assert track.notes == callback.notes == run.notes
    assert [s.words for s in track.prompts] == [s.words for s in callback.samples]
    drawn = [*run.prompts, *(s for v in run.draws for s in v.samples if s), *track.prompts, *callback.samples]
    assert len(drawn) >= 20
    outside = [w for s in drawn for w in s.words if not len(WRAPPER) <= w.start < len(s.row.text) - len(ENDING)]
    assert not outside, "0 % of the words"
    assert any(w.text == "not" for s in drawn for w in s.words), "a word of the wrapper that the message has itself"
    [note] = run.notes
    assert note.startswith("background (in over half of the texts), never drawn: ")
    assert "'carefully'" in note


def test_a_wrapper_of_several_slots_is_background_by_the_half_rule():
    rows = [row_of(i, f"Ticket: {content(i)}\nPriority: {['low', 'high'][i % 2]}\nTeam:") for i in range(20)]
    chosen = choose_samples(rows, 20, 4)
    drawn = {word.text for sample in chosen.samples for word in sample.words}
    assert not drawn & {"Ticket", "Priority", "Team", "number", "near"}
    assert chosen.background.begin == ("ticket",)
    assert chosen.background.end == ("team",)
    assert {"priority", "number"} <= chosen.background.shared
    everything = choose_samples(rows, 20, 4, words="all")
    assert everything.notes == ()
    assert "Priority" in {word.text for sample in everything.samples for word in sample.words}
    named = choose_samples(
        [row_of(i, r.text, words=("Ticket", "Priority")) for i, r in enumerate(rows)], 9, 2, words="given"
    )
    assert {word.text for sample in named.samples for word in sample.words} == {"Ticket", "Priority"}
    for sample in chosen.samples:
        again = redraw(sample, 2, 4, 0, background=chosen.background)
        assert not {word.text for word in again.words} & {"Ticket", "Priority", "Team"}


def test_few_texts_and_rows_that_are_all_wrapper():
    assert find_background(["Ticket: " + content(i) for i in range(7)] * 9) == NONE
    rows = [
        row_of(i, "Answer the question briefly" if i == 3 else f"Answer the question briefly {content(i)}")
        for i in range(9)
    ]
    chosen = choose_samples(rows, 9, 3)
    assert [skip.reason for skip in chosen.skipped] == ["0 candidate words where 3 are asked for"]
    with pytest.raises(InterplayError, match=r"no row can be used.*0 candidate words.*; background .*'alpha', 'beta'"):
        choose_samples([row_of(i, f"alpha beta {i}") for i in range(9)], 1, 2)


def test_background_does_not_depend_on_the_order_and_reads_other_rows_only_where_few_are_at_hand():
    texts = [f"Ticket {i + 100} about {content(i)}" for i in range(1500)]
    found = find_background(texts)
    assert found.begin == ("ticket",)
    assert find_background(reversed(texts)) == found
    few = [row_of(i, text) for i, text in enumerate(texts[:5])]
    beside = [row_of(i, text) for i, text in enumerate(texts[5:60], 5)]
    assert choose_samples(few, 5, 2).background == NONE
    assert choose_samples(few, 5, 2, beside=beside).background.begin == ("ticket",)
    many = [row_of(i, text) for i, text in enumerate(texts[:120])]
    strangers = [row_of(i, f"{content(i)} {i}") for i in range(500)]
    assert choose_samples(many, 5, 2, beside=strangers).background.begin == ("ticket",)


# Frames with the function words of a language as people use them, and content words to fill them: (frames, nouns, adjectives, verbs).
GERMAN = (
    "Wie {v} man die {n} von der {n}, wenn sie nicht {a} ist?|Die {n} und der {n} sind sehr {a}, das ist gut.|"
    "Ich {v} mit dem {n} in die {n}, weil sie {a} war.|Sie {v} die {n} nicht, und das war gut.|"
    "Der {n} von meiner {n} ist {a}, die {n} ist nicht gut.|Wie {a} ist die {n} auf dem {n} und in der {n}?|"
    "Das ist die {n}, die ich mit der {n} {v}.|Es war ein {n} von der {n}, und sie {v} die {n}.",
    "Lieferung Rechnung Küche Schraube Werkstatt Lampe Heizung Wohnung Zeitung Brücke Straße Bäckerei Pflanze Maschine Uhr Schuh Buch Löffel Garten Zug Tür Decke Käse Kleid Strand Koffer Wagen",
    "freundlich defekt billig pünktlich schmutzig lecker laut hübsch veraltet kaputt",
    "repariert bestellt verkauft zerlegt findet bringt malt kündigt sucht öffnet kauft holt putzt dreht schließt mietet zahlt liefert",
    "wie die von sie und der das ist mit in",
    "nicht gut sehr",
)
FRENCH = (
    "Comment {v} la {n} de la {n} si elle est {a} ?|La {n} et le {n} ne sont pas {a}, c'est bon.|"
    "Je {v} avec le {n} dans la {n}, elle est très {a}.|Elle {v} les {n} et la {n} est {a}.|"
    "Le {n} de ma {n} n'est pas {a}, mais la {n} est bon.|Les {n} de la {n} sont {a} pour le {n}.|"
    "C'est la {n} que je {v} avec les {n} de la {n}.|Il y a un {n} dans la {n} et elle {v} le {n}.",
    "livraison facture cuisine lampe maison voiture boulangerie machine fenêtre serveur chambre valise montre livre jardin avion porte fromage robe tapis plage train chaussure",
    "aimable cassé rapide propre sale délicieux bruyant joli vieux gentil",
    "répare commande vendait démonte trouve apporte peint résilie cherche ouvre achète loue nettoie tourne ferme paie livre change",
    "la le de les est elle et",
    "pas bon très",
)
SPANISH = (
    "¿Cómo {v} la {n} de la {n} si ella no es {a}?|La {n} y el {n} no son {a}, pero es bueno.|"
    "Yo {v} con el {n} en la {n}, que es muy {a}.|Ella {v} los {n} y la {n} que es {a}.|"
    "El {n} de mi {n} no es {a}, la {n} es bueno.|Los {n} de la {n} son {a} para el {n}.|"
    "Es la {n} que yo {v} con los {n} de la {n}.|Hay un {n} en la {n} y ella {v} el {n}.",
    "entrega factura cocina bombilla casa coche panadería máquina ventana camarero maleta playa reloj zapato libro cuchara jardín avión puerta manta queso vestido lámpara",
    "amable roto rápido limpio sucio delicioso ruidoso bonito viejo puntual",
    "repara encarga vendía desmonta encuentra trae pinta cancela busca abre compra alquila limpia gira cierra paga entrega cambia",
    "la el de los que es en",
    "no bueno muy",
)


@pytest.mark.parametrize("language", [GERMAN, FRENCH, SPANISH], ids=["German", "French", "Spanish"])
def test_function_words_of_a_language_are_not_drawn(language):
    frames, nouns, adjectives, verbs, function, kept = (part.split("|" if "|" in part else None) for part in language)
    turns = {"{n}": cycle(nouns), "{a}": cycle(adjectives), "{v}": cycle(verbs)}
    texts = []
    for i in range(64):
        text = frames[i % len(frames)]
        for slot, fill in turns.items():
            while slot in text:
                text = text.replace(slot, next(fill), 1)
        texts.append(text)
    chosen = choose_samples([row_of(i, text) for i, text in enumerate(texts)], 64, 4)
    drawn = {word.text.casefold() for sample in chosen.samples for word in sample.words}
    assert not drawn & set(function)
    assert set(kept) <= drawn, "negation, intensity, and a short frequent adjective that ends the clause"
    assert not {*nouns, *adjectives, *verbs} & chosen.background.function
    assert {*adjectives} <= drawn
    assert any("function words by frequency" in note for note in chosen.notes)
    # Too few texts tell nothing; English is not a matter of frequency; and the setting turns it off.
    assert not find_background(texts[:39]).function
    assert not find_background(texts, "en").function
    english = [f"I was on the way to the {content(i)} and so were they" for i in range(300)]
    assert not find_background([*english, *texts]).function
    assert find_background([*english[:150], *texts]).function


def test_function_words_of_japanese_are_kana_that_many_texts_have():
    pytest.importorskip("sudachipy")
    nouns = cycle(["料理", "映画", "サービス", "電車", "部屋", "音楽", "店員", "値段", "荷物", "天気", "写真"])
    frames = cycle(
        [
            "この{}はとても良いものです。",
            "昨日の{}は良くなかったです。",
            "その{}を買うことにしました。",
            "{}が悪いので行きません。",
        ]
    )
    rows = [
        row_of(i, f"{i}番。{next(frames).format(next(nouns))}{next(frames).format(next(nouns))}") for i in range(66)
    ]
    chosen = choose_samples(rows, 40, 3)
    assert {"です", "この"} <= chosen.background.function
    drawn = {word.text for sample in chosen.samples for word in sample.words}
    assert {"料理", "サービス", "なかっ", "とても"} <= drawn
    assert not drawn & {"です", "まし"}


def test_rows_that_cannot_be_split_are_left_out_with_a_note(monkeypatch):
    monkeypatch.setattr("interplay.extras.missing", lambda *packages: list(packages))
    words._segmenter.cache_clear()
    rows = [row_of(i, f"この{i}番のラーメンは美味しくなかった") for i in range(12)] + [
        row_of(i, content(i)) for i in range(12, 20)
    ]
    chosen = choose_samples(rows, 20, 3)
    assert len(chosen.samples) == 8
    assert chosen.notes[0] == (
        "12 rows left out: splitting Japanese into words needs sudachipy and sudachidict_small, not installed here: "
        "pip install 'interplay[ja]', or name the words"
    )
    named = choose_samples([row_of(1, "ラーメンを食べない", words=("ラーメン", "ない"))], 1, 2, words="given")
    assert [word.text for word in named.samples[0].words] == ["ラーメン", "ない"]
