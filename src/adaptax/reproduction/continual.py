"""What a sequence of tasks leaves behind, measured on all of them after each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from adaptax import statistics
from adaptax.checkpoint import read_arrays, save_arrays
from adaptax.reports.outcome import Claim, Line
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import in_words

Scores = Float[np.ndarray, "seeds after on"]
"""[s, i, j]: seed s's score on task j, of 0 ... T − 1, when i tasks are over, of 0 ... T."""


class Left(NamedTuple):
    """Each [seeds], a mean over tasks."""

    retained: np.ndarray
    """On all tasks, when the last is over."""
    learned: np.ndarray
    """On a task when it is over."""
    forgetting: np.ndarray
    """From the best score on a task once it was over to the score at last; of all tasks but the last (Chaudhry et al. 2018)."""
    backward: np.ndarray
    """What later tasks add: at last, minus when it was over; of all but the last (Lopez-Paz & Ranzato 2017, eq. 3)."""
    forward: np.ndarray
    """What earlier tasks add: before it begins, minus before everything; of all but the first (eq. 4)."""


def left(scores: Scores) -> Left:
    """Of at least two tasks."""
    x = np.asarray(scores, np.float64)
    tasks = x.shape[2]
    over = np.arange(tasks)
    learned, before = x[:, over + 1, over], x[:, over, over]
    best = np.stack([x[:, j + 1 : -1, j].max(1) for j in range(tasks - 1)], 1)
    return Left(
        x[:, -1].mean(1),
        learned.mean(1),
        (best - x[:, -1, :-1]).mean(1),
        (x[:, -1] - learned)[:, :-1].mean(1),
        (before - x[:, 0])[:, 1:].mean(1),
    )


def over_seeds(a: np.ndarray, b: np.ndarray | float = 0.0) -> tuple[float, float, float]:
    """The mean over seeds of a − b, each [seeds], and its 95% interval."""
    each = (a - b)[:, None]
    low, high = statistics.interval(each, "mean", over="seeds")
    return float(each.mean()), low, high


Settings: TypeAlias = tuple[float, float]
Play: TypeAlias = Callable[[Sequence[Settings], int, int], np.ndarray]
"""(settings, first seed, number of seeds) ↦ scores [settings, seeds, after, on]"""
Found: TypeAlias = Mapping[str, tuple[Settings, Scores]]
"""Of each method, the one whose lead is told first: its settings, and the scores under them."""


FIRST_TUNING_SEED = 1000


def tuned(
    methods: Mapping[str, tuple[Sequence[Settings], Play]],
    tuning_seeds: int,
    seeds: int,
    directory: Path,
    problem: Any,
) -> Found:
    """Of each method the setting that retains most on `tuning_seeds` sequences, and the scores on `seeds` others under it.

    What has been found is kept in `directory`, beside the `problem`, facts that JSON can tell: an interrupted comparison of the
    same goes on with the method that it was at.
    """
    found: dict[str, tuple[Settings, Scores]] = {}
    began, played = time.perf_counter(), 0
    for i, (name, (grid, play)) in enumerate(methods.items()):
        asked = {
            "method": name,
            "grid": [list(settings) for settings in grid],
            "seeds": [tuning_seeds, seeds],
            "problem": problem,
            "version": version("adaptax"),
        }
        path = directory / f"method-{i}.safetensors"
        known, facts = read_arrays(path) if path.exists() else ({}, {})
        if facts.get("asked") == asked:
            found[name] = grid[facts["best"]], known["scores"]
            continue
        spent = time.perf_counter() - began
        left = f" · {spent / played * (len(methods) - i):.0f} s left" if played else ""
        print(
            f"{directory.name}: {name}, {i + 1} of {len(methods)} methods, {len(grid)} settings{left}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        best = int(play(grid, FIRST_TUNING_SEED, tuning_seeds)[:, :, -1].mean((1, 2)).argmax())
        scores = play([grid[best]], 0, seeds)[0]
        save_arrays(path, {"scores": scores}, {"asked": asked, "best": best})
        found[name], played = (grid[best], scores), played + 1
    return found


def retained(title: str, found: Found, digits: int, note: str) -> Table:
    """A row for each method."""
    ends = {name: left(scores) for name, (_, scores) in found.items()}
    first, *_ = ends
    rows = []
    for name, end in ends.items():
        gain = over_seeds(ends[first].retained, end.retained)
        settings = ", ".join(f"{x:.2g}" for x in found[name][0])
        held, low, high = over_seeds(end.retained)
        means = (f"{x.mean():.{digits}f}" for x in end[1:])
        span = f"{held:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
        rows.append((name, settings, span, *means, "" if name == first else in_words(gain, digits)))
    return Table(title, ("", "settings", *Left._fields, f"lead of {first}"), rows, note)


def leads(says: str, found: Found, rivals: Sequence[str], digits: int) -> list[Claim]:
    """The first method retains more than each rival."""
    first, *_ = (left(scores).retained for _, scores in found.values())
    claims = []
    for rival in rivals:
        gain = over_seeds(first, left(found[rival][1]).retained)
        sentence = f"{says} {first.mean():.{digits}f}, more than {rival} by {in_words(gain, digits)}"
        claims.append(Claim(sentence, gain[1] > 0))
    return claims


def on_past_tasks(name: str, scores: Scores, every: int = 1) -> Line:
    """The mean score on the tasks that are over, along the sequence."""
    points: Sequence[int] = range(1, scores.shape[1], every)
    means = [over_seeds(scores[:, i, :i].mean(1)) for i in points]
    return Line(name, [float(i) for i in points], *(list(x) for x in zip(*means, strict=True)))
