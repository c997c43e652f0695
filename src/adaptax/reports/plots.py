"""The plots of a report: matplotlib figures, made without pyplot's global state.

Colours are six of Okabe and Ito's (2008), told apart with any colour vision, a brown and a grey; dashes and marks
differ too, and lines carry their names at their ends, so that no legend has to be matched by colour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from adaptax.reports.numbers import Number, axis_labels, short
from adaptax.reports.outcome import Plot, Scatter
from adaptax.reports.summary import EvaluationSummary, RunSummary
from adaptax.reports.tables import flatten, metric

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5230", "#8b919c")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.4, 1.2, 1.4)))
MARKERS = "osD^vP"
INK, MUTED, GRID = "#20242b", "#666d78", "#e1e4e9"

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 7.6, 3.8, 0.8, 0.15, 0.6
"""Inches: the figure, and what lies left of, above and below the axes."""
LABEL_HEIGHT, LETTER_WIDTH, LETTERS = 0.2, 0.078, 36
"""Inches of a line's name and of a letter of it, and the most letters that are shown."""
MOST_POINTS = 200
"""Points that a learning curve is thinned to: more cannot be seen, and make the page heavy."""
LOG_RATIO, MOST_TICKS = 30, 8
"""Where the largest number of steps is this many times the smallest above 0, the axis is logarithmic; ticks on it."""

Curve = Float[np.ndarray, " points"]


class _End(NamedTuple):
    """Where a line ends, to be named there; x is infinite for a line across the whole plot."""

    label: str
    x: Number
    y: Number
    colour: str


# --- the plots ---------------------------------------------------------------------------------


def learning_curve(runs: Sequence[RunSummary]) -> Figure:
    """Mean return against environment steps of meta-training.

    Runs that differ in nothing but their seed are one line, their mean, with a band from the lowest to the
    highest seed. Rows whose return is not finite are left out.
    """
    groups: dict[tuple[str, ...], list[RunSummary]] = {}
    for run in runs:
        settings = (f"{key}={value}" for key, value in flatten(run.config).items() if key != "seed")
        groups.setdefault((run.algorithm, run.family, *settings), []).append(run)
    figure, axes = _figure()
    ends = []
    for i, (name, group) in enumerate(_named(list(groups.values()))):
        curves = [curve for curve in map(_returns, group) if curve[0].size]
        if not curves:
            continue
        colour, dashes = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
        x, y = _across_seeds(curves)
        mean = np.nanmean(y, axis=0)
        axes.plot(x, mean, color=colour, linestyle=dashes, linewidth=1.8, marker="o" if x.size == 1 else "")
        if len(curves) > 1:
            axes.fill_between(
                x, np.nanmin(y, axis=0), np.nanmax(y, axis=0), color=colour, alpha=0.16, linewidth=0
            )
        ends.append(_End(name, x[-1], mean[-1], colour))
    axes.set_xlim(0, 1.02 * max([1.0, *(end.x for end in ends)]))
    supervised = any(e.unit != "environment steps" for run in runs for e in run.evaluations)
    steps, score = ("labelled examples", "mean score") if supervised else ("environment steps", "mean return")
    _finish(figure, axes, ends, f"{steps} of meta-training", score)
    return figure


def adaptation_curve(evaluations: Sequence[EvaluationSummary]) -> Figure:
    """The mean measure (return of an episode, say) against the environment steps of the new task that were used before it.

    Bands are 95% intervals. A method with a single point is a line across the plot, with a mark at its point.
    """
    figure, axes = _figure()
    several_splits = len({e.split for e in evaluations}) > 1
    ends = []
    for i, e in enumerate(evaluations):
        learner, ceiling, single = e.kind == "learner", e.kind == "ceiling", len(e.mean) == 1
        colour = INK if ceiling else COLOURS[i % len(COLOURS)]
        dashes = DASHES[0] if learner else DASHES[3 if ceiling else 1 + i // len(COLOURS) % 2]
        marker = "" if ceiling or len(e.mean) > 40 else MARKERS[i % len(MARKERS)]
        axes.plot(
            e.steps_consumed, e.mean, color=colour, linestyle=dashes, linewidth=2.2 if learner else 1.4,
            marker=marker, markersize=5.5 if learner else 4, zorder=3 if learner else 2,
        )  # fmt: skip
        if single:
            axes.axhline(e.mean[0], color=colour, linestyle=dashes, linewidth=1.2)
            axes.axhspan(e.low[0], e.high[0], color=colour, alpha=0.10, linewidth=0)
        else:
            axes.fill_between(e.steps_consumed, e.low, e.high, color=colour, alpha=0.16, linewidth=0)
        label = f"{e.label} ({e.split})" if several_splits else e.label
        ends.append(_End(label, np.inf if single else e.steps_consumed[-1], e.mean[-1], colour))
    _scale_steps(axes, np.array([s for e in evaluations for s in e.steps_consumed], float))
    unit, measure = evaluations[0].unit, evaluations[0].measure
    _finish(figure, axes, ends, f"{unit} of the new task used so far", f"mean {measure}")
    return figure


def curves(plot: Plot) -> Figure:
    """The lines of a reproduction's plot, with their 95% intervals as bands."""
    figure, axes = _figure()
    ends = []
    for i, line in enumerate(plot.lines):
        colour, alone = COLOURS[i % len(COLOURS)], len(line.x) == 1
        axes.plot(
            line.x, line.mean, color=colour, linewidth=1.8, marker=MARKERS[i % len(MARKERS)], markersize=5
        )
        if alone:
            axes.errorbar(
                line.x, line.mean, [[line.mean[0] - line.low[0]], [line.high[0] - line.mean[0]]],
                color=colour, linewidth=1.2, capsize=3,
            )  # fmt: skip
        else:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0)
        ends.append(_End(line.name, line.x[-1], line.mean[-1], colour))
    _scale_steps(axes, np.array([x for line in plot.lines for x in line.x], float))
    _finish(figure, axes, ends, plot.x_label, plot.y_label)
    return figure


def scatter(plot: Scatter) -> Figure:
    """All points, and the Pareto front as a line through those on it; x is logarithmic where it spans a factor of ten."""
    figure, axes = _figure()
    x, y = np.array(plot.x, float), np.array(plot.y, float)
    axes.scatter(x, y, s=22, color=COLOURS[7], linewidths=0)
    ends = []
    if plot.front:
        front = np.array(plot.front)
        axes.plot(
            x[front],
            y[front],
            color=COLOURS[0],
            linewidth=1.8,
            marker="o",
            markersize=5,
            drawstyle="steps-post",
        )
        ends = [_End("Pareto front", plot.x[front[-1]], plot.y[front[-1]], COLOURS[0])]
    for i, (point, name) in enumerate(plot.names.items(), start=1):
        axes.plot(x[point], y[point], color=COLOURS[i % 7], marker=MARKERS[i % len(MARKERS)], markersize=8)
        ends.append(_End(name, plot.x[point], plot.y[point], COLOURS[i % 7]))
    if x.size and x.min() > 0 and x.max() > 10 * x.min():
        axes.set_xscale("log")
    axes.margins(x=0.05)
    _finish(figure, axes, ends, plot.x_label, plot.y_label)
    return figure


def svg(figure: Figure, description: str) -> str:
    """The figure as an `<svg>` element: text as text, colours from the page (`--ink`, `--series-0`, ...).

    The same figure gives the same bytes each time.
    """
    out = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for name, colour in {"ink": INK, "muted": MUTED, "grid": GRID}.items():
        text = text.replace(colour, f"var(--{name})")
    for i, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--series-{i})")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    assert size is not None
    return text.replace(size[0], f'role="img" aria-label="{escape(description)}"', 1)


# --- data --------------------------------------------------------------------------------------


def _named(groups: list[list[RunSummary]]) -> list[tuple[str, list[RunSummary]]]:
    """Groups of seeds by name: their algorithm, or their first run where several groups share the algorithm."""
    algorithms = [group[0].algorithm for group in groups]
    named = []
    for group, algorithm in zip(groups, algorithms, strict=True):
        name = algorithm if algorithms.count(algorithm) == 1 else group[0].name
        named.append((f"{name}, {len(group)} seeds" if len(group) > 1 else name, group))
    return named


def _returns(run: RunSummary) -> tuple[Curve, Curve]:
    """Environment steps and returns, finite ones only, averaged in blocks where there are many."""
    rows = np.array([[metric(row, "env_steps"), metric(row, "return")] for row in run.metrics]).reshape(-1, 2)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) > MOST_POINTS:
        size = -(-len(rows) // MOST_POINTS)
        rows = np.array([rows[i : i + size].mean(axis=0) for i in range(0, len(rows), size)])
    return rows[:, 0], rows[:, 1]


def _across_seeds(
    curves: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[Curve, Float[np.ndarray, "seeds points"]]:
    """All seeds on one grid of environment steps; NaN where a seed has not got so far."""
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[np.linspace(0, grid.size - 1, min(grid.size, MOST_POINTS)).round().astype(int)]
    return grid, np.stack([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in curves])


# --- looks -------------------------------------------------------------------------------------


def _figure() -> tuple[Figure, Axes]:
    figure = Figure()
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _scale_steps(axes: Axes, steps: Float[np.ndarray, " points"]) -> None:
    used = steps[steps > 0]
    if used.size == 0:
        axes.set_xlim(-0.02, 1)
        axes.set_xticks([0])
    elif used.max() > LOG_RATIO * used.min():
        axes.set_xscale("symlog", linthresh=used.min(), linscale=0.4)  # linear below, so that 0 has its place
        axes.margins(x=0.02)
        decades = 10.0 ** np.arange(np.floor(np.log10(used.min())), np.log10(used.max()))
        within = [d * m for d in decades for m in (1, 2, 5) if used.min() <= d * m <= used.max()]
        ticks = [0.0] * (0 in steps) + (
            within if len(within) <= MOST_TICKS else [t for t in within if t in decades]
        )
        axes.set_xticks(ticks, [short(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        axes.margins(x=0.02)


def _finish(figure: Figure, axes: Axes, ends: list[_End], x_label: str, y_label: str) -> None:
    """Sizes, ticks, and the names of the lines at the right."""
    ends, half = [e for e in ends if np.isfinite(e.y)], LETTERS // 2
    names = [e.label if len(e.label) <= LETTERS else f"{e.label[:half]}…{e.label[-half:]}" for e in ends]
    height = max(HEIGHT, TOP + BOTTOM + LABEL_HEIGHT * len(ends))
    right = 0.45 + LETTER_WIDTH * max(map(len, names), default=0)
    inner_width, inner_height = WIDTH - LEFT - right, height - TOP - BOTTOM
    figure.set_size_inches(WIDTH, height)
    axes.set_position((LEFT / WIDTH, BOTTOM / height, inner_width / WIDTH, inner_height / height))
    axes.set_xlabel(x_label, color=INK, fontsize=9.5, labelpad=6)
    axes.set_ylabel(y_label, color=INK, fontsize=9.5, labelpad=8)
    if not ends:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    if axes.get_xscale() == "linear" and len(axes.get_xticks()) > 1:
        axes.locator_params(axis="x", nbins=max(3, int(inner_width / 0.8)))
        _label_ticks(axes, "x")
    _label_ticks(axes, "y")

    left, edge = axes.get_xlim()
    bottom, top = axes.get_ylim()
    at = (np.array([e.y for e in ends]) - bottom) / (top - bottom)
    for end, name, y, y_name in zip(ends, names, at, _spread(at, LABEL_HEIGHT / inner_height), strict=True):
        axes.plot(
            [1.0, 1 + 0.16 / inner_width], [y, y_name], color=end.colour, linewidth=1.2,
            transform=axes.transAxes, clip_on=False,
        )  # fmt: skip
        if end.x < edge:
            axes.plot(
                [end.x, edge], [end.y, end.y], color=end.colour, linewidth=0.7, linestyle=":", alpha=0.8
            )
        axes.text(
            1 + 0.22 / inner_width, y_name, name, transform=axes.transAxes, va="center_baseline", color=INK,
            fontsize=9, parse_math=False,
        )  # fmt: skip
    axes.set_xlim(left, edge)
    axes.set_ylim(bottom, top)


def _label_ticks(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    axis.set_ticks(ticks, labels=axis_labels(ticks))


def _spread(at: Float[np.ndarray, " lines"], gap: float) -> Float[np.ndarray, " lines"]:
    """The heights nearest to `at` (least squares), in their order, at least `gap` apart and within 0..1."""
    order = np.argsort(at, kind="stable")
    steps = gap * np.arange(at.size)
    spread = np.clip(isotonic_regression(at[order] - steps).x, 0.0, max(0.0, 1 - steps[-1])) + steps
    result = np.empty_like(at)
    result[order] = spread
    return result
