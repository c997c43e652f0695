"""Plots of what a learner believes: trajectories of the belief, and maps of the rewards that it expects."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adaptax.reports.numbers import number
from adaptax.reports.plots import COLOURS, GRID, INK, MARKERS, MUTED
from adaptax.reports.summary import BeliefSummary

MAP_INCHES, GAP_INCHES, TITLE_INCHES, NAME_INCHES = 1.0, 0.06, 0.3, 0.25
"""A belief map's side, what lies between two, the height of the words above them, the width of those before them."""
MOST_MAPS, FIRST_EPISODE_MAPS = 7, 4
"""Maps of a task, and how many of them are of its first episode."""
SMALL_MAP_INCHES, MAPS_IN_LINE = 0.48, 15
"""The same where the map after every step is drawn: a map's side, and the most in a line."""
MOST_STEPS = 200
"""Of lifetimes of more steps not every map is drawn: they would make the page heavy."""
FEW_FEATURES = 3
"""Features that a task is named by, where there are no more."""

TRAJECTORY_CAPTION = (
    "A line is one lifetime on one task: where the belief is after each step. Ring: the first step; small dots: an episode "
    "begins; filled mark: the last step. The axes are the two directions in which the beliefs differ most (principal "
    "components). Where lines part, the learner tells the tasks apart."
)
MAP_CAPTION = (
    "A row is one lifetime on one task. A map shows what reward the learner expects on reaching each place, as it acts in that "
    "step of the lifetime: the stronger the colour, the more; full where it expects the most that any place pays. Dot: where "
    "the learner is. Square: the place that truly pays most, which it is not told."
)

EVERY_MAP_CAPTION = "Task 1: the map after every step, in the order of steps; a line begins with an episode."


def principal_components(
    beliefs: Float[np.ndarray, "rows D"],
) -> tuple[Float[np.ndarray, "rows 2"], tuple[float, float]]:
    """The first two principal components of each row, and their shares of the variance.

    A component's sign is such that the largest of its weights is positive.
    """
    centred = np.asarray(beliefs, np.float64) - beliefs.mean(0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes, sizes = axes[:2], sizes**2
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    found = np.zeros((len(beliefs), 2))
    found[:, : len(axes)] = centred @ axes.T
    shares = [*(sizes / max(sizes.sum(), 1e-12)), 0.0][:2]
    return found, (float(shares[0]), float(shares[1]))


def trajectories(beliefs: BeliefSummary) -> Figure:
    """The belief after each step in its first two principal components, a line for each task."""
    valid = np.asarray(beliefs.valid)
    points = np.full((*valid.shape, 2), np.nan)
    points[valid], shares = principal_components(beliefs.beliefs[valid])
    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.add_axes((0.09, 0.13, 0.62, 0.84))
    for i in range(len(points)):
        rows, episode = points[i][valid[i]], beliefs.episode[i][valid[i]]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(*rows.T, color=colour, linewidth=1.1, alpha=0.75)
        borders = np.flatnonzero(np.diff(episode)) + 1
        axes.plot(*rows[borders].T, color=colour, linestyle="", marker=".", markersize=5)
        axes.plot(
            *rows[0], color=colour, marker="o", markersize=8, markerfacecolor="none", markeredgewidth=1.4
        )
        axes.plot(*rows[-1], color=colour, marker=marker, markersize=7)
        # The names stand beside the plot, with their marks.
        y = 0.97 - 0.075 * i
        axes.plot(1.05, y, color=colour, marker=marker, markersize=7, transform=axes.transAxes, clip_on=False)
        axes.text(
            1.09, y, task_name(beliefs, i), transform=axes.transAxes, va="center_baseline", color=INK, fontsize=9,
            parse_math=False,
        )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for set_label, share, which in (
        (axes.set_xlabel, shares[0], "first"),
        (axes.set_ylabel, shares[1], "second"),
    ):
        set_label(f"{which} component ({100 * share:.0f}% of variance)", color=INK, fontsize=9.5)
    return figure


def maps(beliefs: BeliefSummary) -> Figure:
    """For each task a row of maps of the rewards that were expected, at steps of the first episode and at the end of each."""
    assert beliefs.maps is not None and beliefs.truth is not None
    shown = [moments(beliefs, i) for i in range(len(beliefs.maps))]
    columns, tasks = max(map(len, shown)), len(shown)
    height = tasks * (MAP_INCHES + TITLE_INCHES) + GAP_INCHES
    width = NAME_INCHES + columns * (MAP_INCHES + GAP_INCHES)
    figure = Figure(figsize=(width, height))
    low, high = float(beliefs.truth.min()), float(beliefs.truth.max())
    for i, rows in enumerate(shown):
        bottom = height - (i + 1) * (MAP_INCHES + TITLE_INCHES)
        middle = (bottom + MAP_INCHES / 2) / height
        figure.text(0.5 * NAME_INCHES / width, middle, f"task {i + 1}", rotation=90, ha="center", va="center", color=INK,
            fontsize=8.5,
        )  # fmt: skip
        for j, row in enumerate(rows):
            left = NAME_INCHES + j * (MAP_INCHES + GAP_INCHES)
            axes = figure.add_axes((left / width, bottom / height, MAP_INCHES / width, MAP_INCHES / height))
            _map(axes, beliefs, i, row, low, high)
            step = int(beliefs.valid[i][: row + 1].sum())
            axes.set_title(
                f"episode {int(beliefs.episode[i, row]) + 1}, step {step}", fontsize=7.5, color=MUTED, pad=3
            )
    return figure


def every_map(beliefs: BeliefSummary, task: int) -> Figure:
    """The maps of one task after every step, an episode after the other, each beginning a line of its own."""
    assert beliefs.truth is not None
    valid, episode = np.flatnonzero(beliefs.valid[task]), beliefs.episode[task]
    lines = []
    for e in np.unique(episode[valid]):
        rows = valid[episode[valid] == e]
        lines += [(int(e), rows[i : i + MAPS_IN_LINE]) for i in range(0, len(rows), MAPS_IN_LINE)]
    columns = max(len(rows) for _, rows in lines)
    side, below = SMALL_MAP_INCHES + GAP_INCHES, SMALL_MAP_INCHES + 0.6 * TITLE_INCHES
    width, height = NAME_INCHES + columns * side, len(lines) * below + GAP_INCHES
    figure = Figure(figsize=(width, height))
    low, high = float(beliefs.truth.min()), float(beliefs.truth.max())
    step = 0
    for i, (e, rows) in enumerate(lines):
        bottom = height - (i + 1) * below
        middle = (bottom + SMALL_MAP_INCHES / 2) / height
        figure.text(
            0.5 * NAME_INCHES / width, middle, f"episode {e + 1}", rotation=90, ha="center", va="center", color=INK, fontsize=5.5
        )  # fmt: skip
        for j, row in enumerate(rows):
            step += 1
            place = (NAME_INCHES + j * side) / width, bottom / height
            axes = figure.add_axes((*place, SMALL_MAP_INCHES / width, SMALL_MAP_INCHES / height))
            _map(axes, beliefs, task, int(row), low, high, size=SMALL_MAP_INCHES / MAP_INCHES)
            axes.set_title(str(step), fontsize=5.5, color=MUTED, pad=1.5)
    return figure


def moments(beliefs: BeliefSummary, task: int) -> list[int]:
    """Rows of one task that are drawn: some of the first episode, evenly spaced, and the last of later ones; of all of these, or of
    as many as there is room for, evenly spaced, the very last among them."""
    valid, episode = np.flatnonzero(beliefs.valid[task]), beliefs.episode[task]
    first = valid[episode[valid] == episode[valid[0]]]
    chosen = first[np.linspace(0, len(first) - 1, FIRST_EPISODE_MAPS).round().astype(int)]
    ends = [int(valid[episode[valid] == e][-1]) for e in np.unique(episode[valid])[1:]]
    first_maps = sorted(set(chosen.tolist()))
    room = MOST_MAPS - len(first_maps)
    if len(ends) > room:
        ends = [ends[i] for i in np.linspace(0, len(ends) - 1, room + 1).round().astype(int)[1:]]
    return first_maps + ends


def task_name(beliefs: BeliefSummary, task: int) -> str:
    """ "task 1", with its features where they are few."""
    features = beliefs.features
    if features is None or features.shape[1] > FEW_FEATURES:
        return f"task {task + 1}"
    return f"task {task + 1} ({', '.join(number(float(x), 2) for x in features[task])})"


def _map(
    axes: Axes, beliefs: BeliefSummary, task: int, row: int, low: float, high: float, size: float = 1.0
) -> None:
    assert beliefs.maps is not None and beliefs.truth is not None
    expected, truth = beliefs.maps[task, row], beliefs.truth[task]
    # Rectangles of one colour, more or less see-through: no image, and right on a light page and on a dark one.
    strength = np.clip((expected - low) / max(high - low, 1e-12), 0.0, 1.0)
    for y, x in np.ndindex(*expected.shape):
        fill = (COLOURS[0], float(strength[y, x]))
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=fill, edgecolor=GRID, linewidth=0.6 * size))
    y, x = np.unravel_index(truth.argmax(), truth.shape)
    axes.add_patch(
        Rectangle((x + 0.07, y + 0.07), 0.86, 0.86, fill=False, edgecolor=COLOURS[1], linewidth=1.6 * size)
    )
    if beliefs.where is not None:
        y, x = beliefs.where[task, row]
        axes.plot(x + 0.5, y + 0.5, marker="o", markersize=4.5 * size, color=INK)
    axes.set_xlim(-0.05, expected.shape[1] + 0.05)
    axes.set_ylim(-0.05, expected.shape[0] + 0.05)
    axes.set_aspect("equal")
    axes.axis("off")
