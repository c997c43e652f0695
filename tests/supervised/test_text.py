"""Sentences as few-shot tasks: which are drawn, what they are divided by, and what a malformed file is told."""

from __future__ import annotations

import functools
import os
import re
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from adaptax.cli import main
from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split
from adaptax.tasks.registry import describe, make_family, rebuild
from adaptax.tasks.text import OUTSIDE, Text, read_sentences
from adaptax.tasks.word_vectors import sentence_vectors
from adaptax.training.program import draw_tasks

pytest.importorskip("wordllama", reason="the extra 'text' is not installed")
pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

DOMAINS = {
    "kitchen": {
        "boil": "boil the water",
        "bake": "bake some bread",
        "chop": "chop onions",
        "fry": "fry an egg",
    },
    "money": {"pay": "pay my bill", "save": "save more money", "lend": "lend him cash", "owe": "who owes me"},
    "travel": {
        "fly": "book a flight",
        "walk": "walk to town",
        "ride": "ride my bike",
        "sail": "sail the boat",
    },
}
WHEN = ("now", "today", "tonight", "tomorrow", "please", "later", "on monday", "at noon")


def lines(with_domain: bool = True) -> list[str]:
    """Every label has eight sentences, but fry five; sixteen express nothing."""
    found = ["text,label" + ",domain" * with_domain]
    for domain, labels in DOMAINS.items():
        for label, text in labels.items():
            for when in WHEN[: 5 if label == "fry" else 8]:
                found.append(f'"{text}, {when}",{label}' + f",{domain}" * with_domain)
    found += [
        f"is it {word} {when},{OUTSIDE}" + ",none" * with_domain for word in ("blue", "old") for when in WHEN
    ]
    return found


@functools.cache
def shared_file() -> Path:
    path = Path(tempfile.mkdtemp()) / "my.csv"
    path.write_text("\n".join(lines()))
    return path


@pytest.fixture
def file() -> Path:
    return shared_file()


def sentences_of(family: Text, vectors) -> list[str]:
    """The sentence of each vector."""
    table = np.asarray(family.corpus.vectors())
    return [family.corpus.sentences[np.abs(table - v).sum(1).argmin()] for v in np.asarray(vectors)]


def check_examples(family: Text, split: Split) -> None:
    """Each vector's sentence is one of its class's intent, of the right domains; none stands in both sets or twice in one."""
    corpus, label_of = family.corpus, {s.text: (s.label, s.domain) for s in read_sentences(Path(family.file))}
    for i in range(3):
        key = jax.random.key(i)
        task = family.sample(key, split)
        found = family.examples(jax.random.fold_in(key, 1), task, split)
        labels = [corpus.labels[t] for t in np.asarray(task)]
        assert len(set(labels)) == family.ways
        kept = family.test_domains or ("travel",)
        assert all((domain in kept) == (split == "test") for _, domain in labels)
        if family.same_domain:
            assert len({domain for _, domain in labels}) == 1
        valid = np.asarray(found.query_valid)
        support = sentences_of(family, found.support_x)
        query = sentences_of(family, found.query_x[valid])
        assert len(set(support) | set(query)) == len(support) + len(query), "a sentence stands twice"
        y = np.concatenate([found.support_y, np.asarray(found.query_y)[valid]])
        for text, number in zip(support + query, y, strict=True):
            label, domain = label_of[text]
            assert label == OUTSIDE if number == family.ways else (label, domain) == labels[number]
        np.testing.assert_array_equal(np.bincount(found.support_y), [family.shots] * family.spec.action.n)


def family_of(file: Path, **fields) -> Text:
    return Text(file=str(file), **{"ways": 3, "shots": 2, "queries": 3, "test_domains": ("travel",)} | fields)


def check_draws() -> None:
    check_examples(family_of(shared_file()), "test")
    check_examples(family_of(shared_file(), same_domain=True), "train")
    check_examples(family_of(shared_file(), outside=True, queries=2), "train")


def test_reports_are_told_the_sentences(file):
    family = family_of(file, outside=True, queries=2)
    task = family.sample(jax.random.key(1), "train")
    found = family.examples(jax.random.key(2), task, "train")
    names, texts = family.in_words(task, np.asarray(found.support_x))
    assert names == [family.corpus.labels[i][0] for i in np.asarray(task)] + ["none of these"]
    assert texts == sentences_of(family, found.support_x)


def test_examples_are_sentences_of_the_tasks_intents():
    check_draws()


def check_order() -> None:
    """The place of an example in the support says nothing of its class."""
    family = family_of(shared_file())
    key = jax.random.key(0)
    orders = {
        tuple(np.asarray(family.examples(k, family.sample(key, "train"), "train").support_y))
        for k in jax.random.split(key, 8)
    }
    assert len(orders) > 4


def test_the_support_is_in_random_order():
    check_order()


def check_outside() -> None:
    family = family_of(shared_file(), outside=True)
    rows = {
        s: {int(r) for k in jax.random.split(jax.random.key(0), 9) for r in family.outside_rows(k, s, 5)}
        for s in ("train", "test")
    }
    assert not rows["train"] & rows["test"] and all(len(r) > 5 for r in rows.values())


def test_sentences_of_no_intent_are_others_at_test_time(file):
    check_outside()
    with pytest.raises(
        AdaptaxError, match="17 sentences that express no intent are needed, and there are 8 for test"
    ):
        family_of(file, outside=True, shots=2).outside_rows(jax.random.key(0), "test", 17)


def test_labels_with_too_few_sentences_are_left_out_and_too_few_labels_told(file):
    family = family_of(file, shots=5)
    drawn = np.asarray(draw_tasks(family, jax.random.key(0), "train", 60))
    assert {family.corpus.labels[i][0] for i in drawn.ravel()} == set(
        DOMAINS["kitchen"] | DOMAINS["money"]
    ) - {"fry"}
    for fields, says in (
        ({"ways": 5}, "need 5 labels with at least 3 sentences, and there are 4 for test of the 4 labels"),
        (
            {"ways": 4, "same_domain": True, "shots": 8},
            "labels of one domain with at least 9 sentences, and there are 0",
        ),
        ({"test_domains": ("trave",)}, "has no domain 'trave'; it has kitchen, money, travel"),
    ):
        with pytest.raises(AdaptaxError, match=says):
            describe(family_of(file, **fields))


def test_without_domains_labels_are_divided(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("\n".join(lines(with_domain=False)))
    family = Text(file=str(path), ways=3, shots=2)
    test, train = (np.asarray(draw_tasks(family, jax.random.key(0), s, 40)) for s in ("test", "train"))
    assert not set(test.ravel()) & set(train.ravel()) and len(set(test.ravel())) == 5 == round(0.4 * 12)


def test_a_sentences_vector_is_the_mean_of_its_tokens():
    both, one, other, nothing = sentence_vectors(["boil water", "boil", "water", ""])
    angle = lambda a, b: float(a @ b)  # noqa: E731
    np.testing.assert_allclose(np.linalg.norm([both, one, other], axis=1), 1.0, rtol=1e-5)
    assert not nothing.any() and angle(both, one) > angle(one, other) < angle(both, other)
    with pytest.raises(AdaptaxError, match="come as a list of strings"):
        sentence_vectors("boil water")


MALFORMED = {
    "text\nboil it": "line 1: there is no column 'label'; .* text,label.,domain.",
    "text,label,text\na,b,c": "line 1: two columns are called 'text'",
    "text,label\nboil it,boil\nbake,it,bake": "line 3: there are 3 fields, and 2 columns",
    "text,label\nboil it,boil\n\n,bake": "line 4: the text is empty",
    "text,label\nboil it,\n": "line 2: the label is empty",
    'text,label\n"boil it,boil\n': "line 2: this is no CSV",
    "text,label,domain\na,boil,x\nb,boil,y": "line 3: the label 'boil' is of the domain 'y' here and of 'x' in line 2",
    "text,label\n": "has no rows",
    "text,label\na,b\n\udcff,b": "line 3: these bytes are no UTF-8",
    None: "There is no file",
}


@pytest.mark.parametrize("content", MALFORMED)
def test_a_malformed_file_is_told_with_the_line(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("my.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert main(["train", "maml", "text:my.csv"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(MALFORMED[content], err), err


def test_a_run_on_a_file_of_ones_own(tmp_path, monkeypatch, capsys):
    """From its folder the same family comes again, and another file is not taken for it."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my.csv"
    file.write_text("\n".join(lines()))
    words = (
        "train maml text:my.csv --family.ways 3 --family.shots 2 --updates 2 --tasks 2 --hidden 4 --run run"
    )
    assert main(words.split()) == 0
    assert main(["evaluate", "run", "--tasks", "3", "--episodes", "1"]) == 0
    assert "accuracy" in capsys.readouterr().out
    file.write_text("\n".join(lines()[:-1]))
    assert main(["evaluate", "run", "--tasks", "3"]) == 2
    assert "have changed since it was trained" in capsys.readouterr().err


def test_a_family_is_made_again_from_its_record(file):
    family = make_family(f"text:{file}", {"ways": 3, "shots": 2})
    assert rebuild(describe(family)) == family


@pytest.mark.skipif(not os.environ.get("ADAPTAX_DATA"), reason="ADAPTAX_DATA names no folder of data sets")
def test_clinc150_as_published():
    family = Text()
    corpus = family.corpus
    assert (len(corpus.labels), len(corpus.domains), len(corpus.sentences)) == (150, 10, 22_500 + 1_200)
    assert set(corpus.counts) == {150} and corpus.test.sum() == 60
    assert [len(corpus.outside[s]) for s in ("train", "test")] == [200, 1000]
    nearest = []
    for i in range(20):
        key = jax.random.key(i)
        found = family.examples(key, family.sample(key, "test"), "test")
        centroids = np.stack(
            [np.asarray(found.support_x)[np.asarray(found.support_y) == c].mean(0) for c in range(5)]
        )
        nearest.append((np.argmax(np.asarray(found.query_x) @ centroids.T, 1) == found.query_y).mean())
    assert np.mean(nearest) > 0.85
