"""What a learner answers, in pictures and tables: the examples that it was shown, queries, which classes it takes for which."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adaptax.reports.plots import COLOURS, INK, MUTED
from adaptax.reports.summary import AnswersSummary
from adaptax.reports.tables import Table

INCHES, GAP_INCHES, TITLE_INCHES, WIDTH_INCHES = 0.36, 0.05, 0.3, 7.6
"""An image's side, what lies between two, the height of the words above a task, the width of a figure."""
MOST_SHOTS, MOST_CLASSES = 5, 20
"""Examples of a class that are shown, and classes of a task."""
MOST_TEXTS = 2
"""Examples of a class that are quoted."""
CONFUSION_INCHES = 1.9

EXAMPLES_CAPTION = (
    "A row is one class of a new task: left of the bar the labelled examples that the learner adapted to, right of it queries of "
    "that class. A frame marks a wrong answer; the small number is the row that the learner took it for."
)
CONFUSION_CAPTION = (
    "Row by row, the share of a class's queries that the learner took for each class. The diagonal is right."
)


def examples(answers: AnswersSummary) -> Figure:
    """For each task and class the labelled examples, and queries with what was answered."""
    rows = min(answers.classes, MOST_CLASSES)
    shots = min(MOST_SHOTS, max(np.bincount(labels[labels >= 0]).max() for labels in answers.support_labels))
    step = INCHES + GAP_INCHES
    queries = int((WIDTH_INCHES - step) // step) - shots
    height = len(answers.support) * (TITLE_INCHES + rows * step)
    figure = Figure(figsize=(WIDTH_INCHES, height))
    for task in range(len(answers.support)):
        top = height - task * (TITLE_INCHES + rows * step) - TITLE_INCHES
        right = answers.answers[task] == answers.query_labels[task]
        asked = answers.query_labels[task] >= 0
        figure.text(
            0.0, (top + 0.1) / height, f"task {task + 1}: {int((right & asked).sum())} of {int(asked.sum())} right",
            color=INK, fontsize=9,
        )  # fmt: skip
        for row in range(rows):
            bottom = top - (row + 1) * step
            number = figure.text(
                0.1 / WIDTH_INCHES, (bottom + INCHES / 2) / height, str(row + 1), color=MUTED, fontsize=8
            )
            number.set_verticalalignment("center")
            shown = answers.support[task][answers.support_labels[task] == row][:shots]
            for i, image in enumerate(shown):
                _image(figure, 0.3 + i * step, bottom, height, image)
            bar = 0.3 + shots * step + 0.03
            figure.add_artist(
                Rectangle(
                    (bar / WIDTH_INCHES, bottom / height), 0.02 / WIDTH_INCHES, INCHES / height, color=MUTED
                )
            )
            of_row = np.flatnonzero(answers.query_labels[task] == row)[: queries - 1]
            for i, q in enumerate(of_row):
                axes = _image(figure, bar + 0.1 + i * step, bottom, height, answers.queries[task][q])
                if answers.answers[task][q] != row:
                    _frame(axes, int(answers.answers[task][q]) + 1)
    return figure


def _image(figure: Figure, left: float, bottom: float, height: float, image: np.ndarray) -> Axes:
    box = (left / WIDTH_INCHES, bottom / height, INCHES / WIDTH_INCHES, INCHES / height)
    axes = figure.add_axes(box)
    grey = np.asarray(image, np.float64).mean(-1)
    axes.imshow(-grey, cmap="gray", interpolation="nearest", vmin=-max(grey.max(), 1e-12), vmax=-grey.min())
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def _frame(axes: Axes, taken_for: int) -> None:
    axes.spines[:].set(visible=True, color=COLOURS[1], linewidth=1.8)
    axes.text(0.93, 0.07, str(taken_for), transform=axes.transAxes, color=COLOURS[1], fontsize=7, ha="right")


def in_words(answers: AnswersSummary, task: int) -> Table:
    """A row for each class of a task whose inputs are texts: what was shown, how many queries were right, and the first mistake."""
    labels, said, names = answers.query_labels[task], answers.answers[task], answers.names[task]
    rows = []
    for row, name in enumerate(names):
        shown = np.flatnonzero(answers.support_labels[task] == row)[:MOST_TEXTS]
        asked = np.flatnonzero(labels == row)
        wrong = asked[said[asked] != row]
        mistake = f"{answers.query_texts[task][wrong[0]]} → {names[said[wrong[0]]]}" if len(wrong) else ""
        rows.append(
            (
                f"{row + 1} {name}",
                " · ".join(answers.support_texts[task][int(i)] for i in shown),
                f"{len(asked) - len(wrong)} of {len(asked)}",
                mistake,
            )
        )
    right, asked = int((said == labels)[labels >= 0].sum()), int((labels >= 0).sum())
    return Table(
        f"task {task + 1}: {right} of {asked} right", ("class", "labelled examples", "right", "a mistake"), rows,
        text_columns=frozenset({0, 1, 3}),
    )  # fmt: skip


def shares(answers: AnswersSummary, task: int) -> Float[np.ndarray, "classes classes"]:
    """Of the queries of each class (rows), the share that was taken for each (columns); zero where there is no query."""
    labels: Int[np.ndarray, " Q"] = answers.query_labels[task]
    counts = np.zeros((answers.classes, answers.classes))
    np.add.at(counts, (labels[labels >= 0], answers.answers[task][labels >= 0]), 1.0)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1.0)


def confusion(answers: AnswersSummary) -> Figure:
    """A matrix of `shares` for each task."""
    tasks, side = len(answers.support), CONFUSION_INCHES
    height, step = side + 0.75, side + 0.5
    figure = Figure(figsize=(max(WIDTH_INCHES, tasks * step + 0.4), height))
    width = figure.get_size_inches()[0]
    for task in range(tasks):
        box = ((0.5 + task * step) / width, 0.45 / height, side / width, side / height)
        axes = figure.add_axes(box)
        found = shares(answers, task)
        axes.imshow(found, cmap="Blues", vmin=0.0, vmax=1.0)
        if answers.classes <= 10:
            for i, j in np.argwhere(found >= 0.005):
                axes.text(
                    j, i, f"{100 * found[i, j]:.0f}", ha="center", va="center", fontsize=7.5,
                    color="white" if found[i, j] > 0.6 else INK,
                )  # fmt: skip
            ticks = np.arange(answers.classes)
            axes.set_xticks(ticks, [str(t + 1) for t in ticks])
            axes.set_yticks(ticks, [str(t + 1) for t in ticks])
        axes.tick_params(colors=MUTED, labelsize=8, length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"task {task + 1}, % of a row", fontsize=9, color=INK)
        axes.set_xlabel("answer", fontsize=8.5, color=INK)
        if task == 0:
            axes.set_ylabel("true class", fontsize=8.5, color=INK)
    return figure
