"""What a learner answers: observed, kept, drawn, and named by what its queries were normalised by."""

from __future__ import annotations

import dataclasses

import numpy as np
from families import Pictures

from adaptax.algorithms.protonet import ProtoNet
from adaptax.evaluation.answers import TASKS, keep_answers, observe_answers, saved_answers
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.summaries import evaluation_summaries
from adaptax.reports import answers
from adaptax.reports.html import page
from adaptax.reports.summary import AnswersSummary, RunSummary
from adaptax.training.progress import silent
from adaptax.training.train import train


def some() -> AnswersSummary:
    rng = np.random.default_rng(0)
    return AnswersSummary(
        label="protonet", split="test", classes=3, support=rng.random((2, 3, 5, 5, 1)),
        support_labels=np.array([[0, 1, 2], [2, 0, 1]]), queries=rng.random((2, 6, 5, 5, 1)),
        query_labels=np.array([[0, 0, 1, 1, 2, -1], [0, 0, 1, 1, 2, 2]]),
        answers=np.array([[0, 1, 1, 1, 0, 2], [0, 0, 1, 1, 2, 2]]),
    )  # fmt: skip


def test_shares_by_hand():
    expected = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    np.testing.assert_array_equal(answers.shares(some(), 0), expected)


def test_a_report_shows_them():
    run = RunSummary(name="runs/a", algorithm="protonet", family="pictures", config={}, answers=[some()])
    text = page([run])
    assert "What protonet was shown" in text and "Which classes protonet takes for which" in text
    assert "task 1: 3 of 5 right" in text or "3 of 5" in text


def check_words() -> None:
    """Of each class the first examples, how many of its queries were right, and a query that was not, by its class's name."""
    texts = {
        "names": [["ask", "buy", "sell"]] * 2,
        "support_texts": [["how?", "a book", "my car"], ["my bike", "why?", "two eggs"]],
        "query_texts": [["who?", "when?", "bread", "milk", "my boat", ""]] * 2,
    }
    table = answers.in_words(dataclasses.replace(some(), **texts), 0)
    assert table.title == "task 1: 3 of 5 right"
    assert table.rows == [
        ("1 ask", "how?", "1 of 2", "when? → buy"),
        ("2 buy", "a book", "2 of 2", ""),
        ("3 sell", "my car", "0 of 1", "my boat → ask"),
    ]


def test_texts_are_shown_as_texts():
    check_words()


def test_what_is_observed_is_what_was_evaluated(tmp_path):
    config = ProtoNet(tasks=2, hidden=(3,), transductive=True)
    run = train(config, Pictures(), 0, 0, report=silent)
    evaluation = evaluate(run, tasks=TASKS, episodes=1)
    assert evaluation_summaries([evaluation])[0].label == "protonet, transductive"
    keep_answers(tmp_path, run, adaptations=1)
    [found] = saved_answers(tmp_path)
    right = (found.answers == found.query_labels).mean(1)
    np.testing.assert_allclose(right, evaluation.curve()[0, :, -1], rtol=1e-5)
    assert observe_answers(run, "train") is not None and found.support.shape == (TASKS, 4, 4, 4, 1)
