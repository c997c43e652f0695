"""A report as one HTML file: style and plots inside it, nothing fetched, readable in light and in dark."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from adaptax.checkpoint import write_atomically
from adaptax.reports import answers, beliefs, plots, tables
from adaptax.reports.numbers import bracket, count, number
from adaptax.reports.outcome import Outcome, Scatter
from adaptax.reports.summary import (
    EvaluationSummary,
    RunSummary,
    all_evaluations,
    by_family,
    headline_split,
)
from adaptax.reports.tables import Table

ADAPTATION_CAPTION = (
    "What an episode of a new task brings after so many environment steps of that task have been used. Bands are "
    "95% intervals. A level line across the plot is a method that was measured once."
)
LEARNING_CAPTION = (
    "A line over several seeds is their mean; its band reaches from the lowest to the highest seed."
)
CURVES_CAPTION = "Means over seeds and tasks; bands and bars are 95% intervals."
SCATTER_CAPTION = (
    "A point for each candidate. No candidate has a higher score than those on the line at no more cost."
)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def write_report(path: Path | str, runs: Sequence[RunSummary], outcome: Outcome | None = None) -> None:
    """Writes the report of `runs`, and of the reproduction that they belong to, to `path`, whole or not at all; AdaptaxError
    where it cannot be written."""
    write_atomically(Path(path), page(runs, outcome).encode())


def page(runs: Sequence[RunSummary], outcome: Outcome | None = None) -> str:
    """The report as HTML text; the same runs and the same outcome give the same text."""
    families = by_family(runs)
    names = ", ".join(run.name for run in runs[:4]) + (f" and {len(runs) - 4} more" if len(runs) > 4 else "")
    body = [_note(f"{_plural(len(runs), 'run')}: {names}" if runs else "No runs were given.")]
    if outcome is not None:
        body += _outcome(outcome)
    for family, members in families.items():
        if len(families) > 1:
            body.append(f"<h2>{escape(family)}</h2>")
        body += _family(members)
    return PAGE.format(
        title=escape(": ".join(["Adaptax report", ", ".join(families)]) if families else "Adaptax report"),
        style=importlib.resources.files("adaptax.reports").joinpath("report.css").read_text(encoding="utf-8"),
        body="\n".join(body),
    )


def _outcome(outcome: Outcome) -> list[str]:
    """What a reproduction claims, and its tables and plots."""
    sentences = (
        f"<li>{'✓' if claim.holds else '✗'} {escape(claim.sentence)}</li>" for claim in outcome.claims
    )
    parts = [f'<ul class="claims">\n{chr(10).join(sentences)}\n</ul>'] if outcome.claims else []
    parts += [_table(table) for table in outcome.tables]
    for plot in outcome.plots:
        points = isinstance(plot, Scatter)
        figure, caption = (
            (plots.scatter(plot), SCATTER_CAPTION) if points else (plots.curves(plot), CURVES_CAPTION)
        )
        parts.append(_figure(escape(plot.title), figure, caption))
    return parts


def findings(evaluations: Sequence[EvaluationSummary]) -> list[str]:
    """A sentence for each of the first three learners: before, after, at what price; then what the others reach."""
    places = tables.curve_places(evaluations)
    sentences = []
    for e in [e for e in evaluations if e.kind == "learner"][:3]:
        per = "per episode" if e.unit == "environment steps" else f"in {e.measure}"
        tasks = "task" if e.shared_tasks or e.split == "train" else "unseen task"
        where = f"On {_plural(e.n_tasks, tasks)} ({e.split}, {_plural(e.n_seeds, 'seed')}), {e.label}"
        final = f"{number(e.mean[-1], places)} {per}, 95% interval {bracket(e.low[-1], e.high[-1], places)}"
        if len(e.mean) > 1:
            price = f"{count(e.steps_consumed[-1])} {e.unit} of the new task"
            sentences.append(f"{where} goes from {number(e.mean[0], places)} to {final}, after {price}.")
        else:
            sentences.append(f"{where} returns {final}.")
    others = [f"{e.label} {number(e.mean[-1], places)}" for e in evaluations if e.kind != "learner"]
    return [*sentences, f"For comparison: {', '.join(others)}."] if others else sentences


def _family(runs: list[RunSummary]) -> list[str]:
    """One family's part: what came out, how it was learned, how to repeat it."""
    parts = []
    evaluations = all_evaluations(runs)
    if evaluations:
        split = headline_split(evaluations)
        shown = [e for e in evaluations if e.split == split]
        parts += [f'<p class="lead">{escape(sentence)}</p>' for sentence in findings(shown)]
        css = "notice" if any(e.shared_tasks for e in evaluations) else "note"
        parts.append(f'<p class="{css}">{escape(tables.sharing(evaluations))}</p>')
        parts.append(_table(tables.headline(evaluations, split)))
        parts.append(_figure("Adaptation to a new task", plots.adaptation_curve(shown), ADAPTATION_CAPTION))
        if len({e.split for e in evaluations}) > 1:
            parts.append(_table(tables.splits(evaluations)))
    else:
        parts.append("<p>Nothing has been evaluated yet.</p>")
    for run in runs:
        parts += _beliefs(run, len(runs) > 1)
        parts += _answers(run, len(runs) > 1)
    # In the order of the plot before it, so that a learner has the same colour in both.
    rank = {e.label.removesuffix(", transductive"): i for i, e in enumerate(evaluations)}
    ranked = sorted(runs, key=lambda run: rank.get(run.algorithm, len(rank)))
    parts.append(_figure("Meta-training", plots.learning_curve(ranked), LEARNING_CAPTION))
    parts.append(_table(tables.training(runs), heading=False))
    if evaluations:
        points = tables.adaptation(evaluations)
        parts.append(_details(points.title, _table(points, heading=False)))
        parts += [_note(f"{e.label} ({e.split}): {e.notes}") for e in evaluations if e.notes]
    settings = "".join(_table(table, css="settings") for table in tables.settings(runs))
    if settings:
        parts.append(_details("Settings", settings))
    commands = dict.fromkeys(run.command for run in runs if run.command)
    if commands:
        parts.append(f"<h3>How to repeat it</h3>\n<pre>{escape(chr(10).join(commands))}</pre>")
    return parts


def _beliefs(run: RunSummary, named: bool) -> list[str]:
    """What a learner believes, on the split that the report speaks of first."""
    if not run.beliefs:
        return []
    [shown, *_] = [b for b in run.beliefs if b.split == "test"] or run.beliefs
    name = run.name if named else run.algorithm
    title = f"What {escape(name)} believes about {'training' if shown.split == 'train' else 'new'} tasks"
    parts = [_figure(title, beliefs.trajectories(shown), beliefs.TRAJECTORY_CAPTION)]
    if shown.maps is not None:
        parts.append(
            _figure(f"Where {escape(name)} expects reward", beliefs.maps(shown), beliefs.MAP_CAPTION)
        )
        if shown.valid[0].sum() <= beliefs.MOST_STEPS:
            title = f"What {escape(name)} expects after every step"
            figure = _figure(title, beliefs.every_map(shown, 0), beliefs.EVERY_MAP_CAPTION, heading=False)
            parts.append(_details(title, figure))
    return parts


def _answers(run: RunSummary, named: bool) -> list[str]:
    """What a learner answers, on the split that the report speaks of first."""
    if not run.answers:
        return []
    [shown, *_] = [a for a in run.answers if a.split == "test"] or run.answers
    name = escape(run.name if named else run.algorithm)
    parts = []
    if shown.support.ndim == 5:
        title = f"What {name} was shown, and what it answered"
        parts.append(_figure(title, answers.examples(shown), answers.EXAMPLES_CAPTION))
    elif shown.support_texts:
        parts.append(f"<h3>What {name} was shown, and what it answered</h3>")
        parts += [_table(answers.in_words(shown, i), css="settings") for i in range(len(shown.support))]
    title = f"Which classes {name} takes for which"
    return [*parts, _figure(title, answers.confusion(shown), answers.CONFUSION_CAPTION)]


# --- pieces ------------------------------------------------------------------------------------


def _table(table: Table, css: str = "numbers", heading: bool = True) -> str:
    def row_of(tag: str, texts: Sequence[str], css: str) -> str:
        cells = (
            f'<{tag} class="{"text" if i in table.text_columns else "number"}">{escape(text)}</{tag}>'
            for i, text in enumerate(texts)
        )
        return f'<tr class="{css}">{"".join(cells)}</tr>'

    rows = [row_of("td", row, "strong" if i in table.strong else "plain") for i, row in enumerate(table.rows)]
    title = f"<h3>{escape(table.title)}</h3>\n" if heading else ""
    return (
        f'{title}<div class="scroll"><table class="{css}">\n<thead>{row_of("th", table.columns, "head")}</thead>\n'
        "<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>\n"
        + (_note(table.note) if table.note else "")
    )


def _figure(title: str, figure: Figure, caption: str, heading: bool = True) -> str:
    image, above = plots.svg(figure, title), f"<h3>{title}</h3>\n" if heading else ""
    return f"{above}<figure>\n{image}\n<figcaption>{caption}</figcaption>\n</figure>"


def _details(title: str, content: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n{content}\n</details>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _plural(n: int, noun: str) -> str:
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"
