"""What an evaluation found: the return of every episode of every task and seed, and what follows from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from adaptax import statistics
from adaptax.checkpoint import read_arrays, save_arrays
from adaptax.errors import AdaptaxError


@dataclasses.dataclass
class Evaluation:
    """S seeds of a learner on M tasks, in K rounds of N streams of E episodes."""

    label: str
    family: str
    split: str
    actions: str
    """"sampled" or "modal"."""
    shared_tasks: bool
    """True where the test tasks are the training tasks."""
    returns: np.ndarray
    """[S, M, K, N, E]"""
    lengths: np.ndarray
    """[S, M, K, N, E], environment steps."""
    successes: np.ndarray | None
    """[S, M, K, N, E], where the family defines success."""
    optimal: np.ndarray | None
    """[M], the best expected return of an episode, where known."""
    seconds: float
    peak_megabytes: float
    measure: str = "return"
    """What a score is: `Spec.measure`. A supervised task's "episodes" are adaptations to its support, each of length 1."""
    transductive: bool = False
    """True where the queries of a task were normalised together, and so tell of one another (`Learner.transductive`)."""
    training_env_steps: list[int] = dataclasses.field(default_factory=list)
    """Per seed, what meta-training took."""
    training_seconds: list[float] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        bad = int((~np.isfinite(self.returns)).sum())
        if bad and self.supervised:
            raise AdaptaxError(
                f"{bad} of {self.returns.size} predictions of '{self.label}' on '{self.family}' are NaN or infinite: its "
                "adaptation diverges when repeated; train with a smaller inner_lr or more inner_steps, or lower later_lr_factor."
            )
        if bad:
            raise AdaptaxError(
                f"{bad} of {self.returns.size} episodes of '{self.label}' on '{self.family}' have a NaN or infinite return; "
                "check the environment's rewards."
            )

    @property
    def name(self) -> str:
        """The label; of a transductive learner it says so wherever it is shown."""
        return f"{self.label}, transductive" if self.transductive else self.label

    @property
    def by_round(self) -> bool:
        """Whether the learner's progress shows from round to round (True) or from episode to episode of one stream."""
        return self.returns.shape[2] > 1 or self.supervised

    @property
    def supervised(self) -> bool:
        return self.measure != "return"

    @property
    def unit(self) -> str:
        """What is used up along the adaptation curve."""
        return "adaptation steps" if self.supervised else "environment steps"

    def curve(self) -> np.ndarray:
        """[S, M, P]: the mean episode return at each point of the adaptation curve, rounds or episodes."""
        return self.returns.mean((3, 4)) if self.by_round else self.returns[:, :, 0].mean(2)

    def consumed(self) -> np.ndarray:
        """[P]: mean environment steps of the new task that had been used *before* each point."""
        lengths = self.lengths.sum((3, 4)) if self.by_round else self.lengths[:, :, 0].sum(2)
        after = lengths.mean((0, 1)).cumsum()
        return np.concatenate([[0.0], after[:-1]])

    def scores(self) -> np.ndarray:
        """[S, M]: one number a task, the return of the last round's streams (a lifetime's total where there is one round)."""
        return self.returns[:, :, -1].sum(3).mean(2)

    def per_task(self) -> np.ndarray:
        """[M]: the last point of the adaptation curve, averaged over seeds."""
        return self.curve()[:, :, -1].mean(0)

    def spread(self) -> float:
        """Standard deviation over tasks of `per_task`: how unlike the tasks fare."""
        return float(self.per_task().std(ddof=1)) if self.returns.shape[1] > 1 else 0.0

    def worst_tenth(self) -> float:
        """Mean of `per_task` over the tenth of the tasks where it is least, rounded up to whole tasks."""
        ordered = np.sort(self.per_task())
        return float(ordered[: max(1, -(-len(ordered) // 10))].mean())

    def mean(self) -> float:
        return float(self.scores().mean())

    def iqm(self) -> float:
        """The interquartile mean of the scores over seeds and tasks."""
        return float(statistics.iqm(self.scores()))

    def interval(self, statistic: statistics.Statistic = "iqm", level: float = 0.95) -> tuple[float, float]:
        """Bootstrap confidence interval of the IQM (or "mean") of the scores."""
        return statistics.interval(self.scores(), statistic=statistic, level=level)

    def adapted_minus_unadapted(self) -> tuple[float, float, float]:
        """Mean difference between the last and the first point of the curve, task by task, and its 95% interval."""
        curve = self.curve()
        low, high = statistics.paired_interval(curve[:, :, -1], curve[:, :, 0], "mean")
        return float((curve[:, :, -1] - curve[:, :, 0]).mean()), low, high

    def success_rate(self) -> np.ndarray | None:
        """[P]: the share of episodes that succeed at each point; every episode of every task counts once."""
        if self.successes is None:
            return None
        s = self.successes.astype(np.float64)
        return s.mean((0, 1, 3, 4)) if self.by_round else s[:, :, 0].mean((0, 1, 2))

    def regret(self) -> np.ndarray | None:
        """[P]: optimal minus achieved return of an episode, averaged over seeds and tasks."""
        if self.optimal is None:
            return None
        return (self.optimal[None, :, None] - self.curve()).mean((0, 1))

    def plot(self, *others: Evaluation) -> Figure:
        """The adaptation curve, beside those of other evaluations on the same family: a matplotlib figure.

        `result.plot(baseline).savefig("adaptation.png")` keeps it.
        """
        from adaptax.evaluation.summaries import evaluation_summaries  # it imports this module
        from adaptax.reports.plots import adaptation_curve

        return adaptation_curve(evaluation_summaries([self, *others]))

    def save(self, path: Path, asked: Any = None) -> None:
        """Writes the evaluation: arrays and facts in one file, as checkpoints are. `asked`, a JSON value, is kept beside them."""
        arrays, facts = {}, {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            (arrays if isinstance(value, np.ndarray) else facts)[field.name] = value
        save_arrays(path, arrays, {"evaluation": facts, "asked": asked})

    @staticmethod
    def load(path: Path) -> Evaluation:
        """Reads what `save` wrote; AdaptaxError where the file is damaged or something else."""
        arrays, facts = read_arrays(path)
        if "evaluation" not in facts:
            raise AdaptaxError(f"{path} is no evaluation; evaluate the run again.")
        return Evaluation(**arrays, **facts["evaluation"])


def comparable_scores(
    evaluations: Sequence[Evaluation],
) -> tuple[str, list[Float[np.ndarray, "seeds tasks"]]]:
    """What one number a seed and task says of all these evaluations, and these numbers for each.

    Where the first learner adapts within a stream and all met their tasks for as many episodes, it is the return of these
    episodes together; otherwise the return of an episode at the end of the adaptation curve.
    """
    episodes = {e.returns[0, 0].size for e in evaluations}
    if evaluations[0].supervised:
        return f"{evaluations[0].measure} after adaptation", [e.curve()[:, :, -1] for e in evaluations]
    if evaluations[0].by_round or len(episodes) > 1:
        return "return of an episode after adaptation", [e.curve()[:, :, -1] for e in evaluations]
    return f"return of {episodes.pop()} episodes together", [e.returns.sum((2, 3, 4)) for e in evaluations]
