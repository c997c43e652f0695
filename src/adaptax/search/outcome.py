"""What a search found, for the terminal, the page and the record."""

from __future__ import annotations

import math

import numpy as np

from adaptax import statistics
from adaptax.evaluation.summaries import measure_in_words
from adaptax.reports.numbers import bracket, count, decimals, number
from adaptax.reports.outcome import Claim, Line, Outcome, Plot, Scatter
from adaptax.reports.tables import Table
from adaptax.search.pareto import front
from adaptax.search.record import Trial
from adaptax.search.run import BY_HAND, Finalist, Found, Plan, folder, trained
from adaptax.search.space import described, settings
from adaptax.search.trial import SCORES

COSTS_IN_WORDS = {
    "parameters": "parameters",
    "adapt-ms": "milliseconds of an adaptation",
    "act-us": "microseconds of an action",
}


def outcome(found: Found) -> Outcome:
    """Tables of the finalists, the trials and the space, and the Pareto plot."""
    plan, tables, claims = found.plan, [], []
    if found.finalists:
        tables.append(finalists_table(found))
        best, by_hand = found.finalists[0], found.finalists[-1]
        low, high = statistics.paired_interval(last(best), last(by_hand), "mean")
        gain = float((last(best) - last(by_hand)).mean())
        claims.append(
            Claim(
                f"The best architecture found adapts to test tasks better than the one made by hand: {gain:+.3g} [{low:+.3g}, "
                f"{high:+.3g}] in {measure_in_words(best.test)}, {plan.tasks} tasks × {plan.seeds} seeds",
                low > 0,
            )
        )
    tables += [trials_table(found.trials, plan), space_table(plan)]
    runs = [f.directory for f in found.finalists]
    plots = [plot for name in ("parameters", "adapt-ms") if (plot := pareto_plot(found.trials, name, plan))]
    return Outcome(tables, claims, runs, [*plots, progress_plot(found.trials, plan)])


def last(finalist: Finalist) -> np.ndarray:
    """[S, M]: the score after adaptation."""
    return finalist.test.curve()[:, :, -1]


def finalists_table(found: Found) -> Table:
    """A row for each finalist, the architecture made by hand last."""
    summaries = [(float(last(f).mean()), *statistics.interval(last(f), "mean")) for f in found.finalists]
    places = decimals([(high - low) / 2 for _, low, high in summaries], [mean for mean, _, _ in summaries])
    rows = []
    for f, (mean, low, high) in zip(found.finalists, summaries, strict=True):
        first, quickest = f.measured[0], min(m.adapt_ms for m in f.measured)
        name = BY_HAND if f.genes is None else described(f.genes)
        rows.append(
            [
                name, number(mean, places), bracket(low, high, places), number(f.validation, places), count(first.parameters),
                number(quickest, 2), number(min(m.act_us for m in f.measured), 0),
            ]
        )  # fmt: skip
    plan = found.plan
    note = (
        f"{measure_in_words(found.finalists[0].test)} after adaptation: mean over {plan.tasks} test tasks, which the search never "
        f"met, and {plan.seeds} seeds of training, with its bootstrap interval. Chosen by: the score on validation tasks, of the "
        "search's own seed; it is the best of many, and so too good. Times: of one task, compiled."
    )
    columns = [
        "architecture",
        "test score",
        "95% interval",
        "chosen by",
        "parameters",
        "adaptation, ms",
        "action, µs",
    ]
    return Table("The best architectures, trained anew", columns, rows, note, strong=frozenset({0}))


def trials_table(trials: list[Trial], plan: Plan) -> Table:
    """A row for each trial."""
    places = decimals([], [t.score for t in trials])
    rows = [
        [
            str(t.number + 1), described(t.genes), count(t.updates), t.error or number(t.score, places),
            count(t.parameters) if not t.error else "", number(t.adapt_ms, 2), number(t.act_us, 0), folder(t.genes),
        ]
        for t in trials
    ]  # fmt: skip
    note = (
        f"Score: {SCORES[plan.score]}, on {plan.tasks} validation tasks. All trials together: "
        f"{count(trained(trials))} meta-updates, of a budget of {count(plan.trials * plan.updates)}."
    )
    columns = [
        "trial",
        "architecture",
        "updates",
        "score",
        "parameters",
        "adaptation, ms",
        "action, µs",
        "folder",
    ]
    return Table("All trials", columns, rows, note, frozenset({1, 7}))


def space_table(plan: Plan) -> Table:
    """What was searched, and how."""
    rows = [[name, ", ".join(map(str, values))] for name, values in plan.space.choices.items()]
    note = (
        f"{count(plan.space.size)} combinations, searched by '{plan.strategy}' with a budget of {plan.trials} full trainings of "
        f"{count(plan.updates)} meta-updates, seed {plan.seed}."
    )
    return Table("What was searched", ["choice", "among"], rows, note, frozenset({0, 1}))


def pareto_plot(trials: list[Trial], cost: str, plan: Plan) -> Scatter | None:
    """Scores of the candidates that were trained longest against a cost; None where there are none."""
    longest = max((t.updates for t in trials if not t.error), default=0)
    shown = [t for t in trials if t.updates == longest and math.isfinite(t.score)]
    if not shown:
        return None
    scores, costs = [t.score for t in shown], [t.cost(cost) for t in shown]
    on_front = sorted(np.flatnonzero(front(scores, costs)).tolist(), key=lambda i: costs[i])
    best = int(np.argmax(scores))
    values = settings(shown[best].genes).values()
    name = " ".join(" ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values)
    return Scatter(
        f"Score against {COSTS_IN_WORDS[cost]}", COSTS_IN_WORDS[cost], f"score {SCORES[plan.score]}"[:40], costs, scores,
        on_front, {best: f"best: {name}"},
    )  # fmt: skip


def progress_plot(trials: list[Trial], plan: Plan) -> Plot:
    """The best score so far against the meta-updates spent."""
    x, y, spent, best, before = [], [], 0, -math.inf, {}
    for t in trials:
        spent += max(0, t.updates - before.get(t.identity, 0))
        before[t.identity] = t.updates
        if math.isfinite(t.score):
            best = max(best, t.score)
            x.append(float(spent))
            y.append(best)
    line = Line(plan.strategy, x, y, y, y)
    return Plot("The best so far", "meta-updates of all trials", "validation score", [line] if x else [])
