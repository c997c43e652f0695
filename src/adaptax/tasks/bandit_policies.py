"""The policies that RL² is compared with on Bernoulli bandits, simulated over many bandits at once.

Definitions are those of Duan et al. 2016 (RL²) and of the scripts published with it, with four differences:
ties are broken at random, not by the lowest arm; UCB1's logarithm counts pulls from 1; parameters are tuned
on other bandits than those of the report; and the Gittins table is read at an arm's own counts, where the
scripts read it one success and one failure further.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.special import xlog1py, xlogy

from adaptax.tasks.bandit_planning import gittins_indices

Tally = Int[np.ndarray, "B k"]
Index = Float[np.ndarray, "B k"]


class Policy:
    """Gives every arm a number; the arm with the highest is pulled, ties at random."""

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        """The arms' numbers before pull number `pull` (from 1), in each of B bandits."""
        raise NotImplementedError


def play(
    policy: Policy, means: Float[np.ndarray, "B k"], pulls: int, key: Key[Array, ""]
) -> Float[np.ndarray, "B pulls"]:
    """The reward of every pull, in B bandits whose arms pay 1 with probabilities `means`.

    The luck of a pull is a function of `key` alone: under one key two policies differ by their choices only.
    """
    rng, luck = np.random.default_rng(np.asarray(jax.random.key_data(key))).spawn(2)
    each = np.arange(len(means))
    successes, failures = np.zeros(means.shape, np.int64), np.zeros(means.shape, np.int64)
    rewards = np.empty((len(means), pulls))
    for t in range(pulls):
        index = policy.index(successes, failures, t + 1, rng)
        best = index == index.max(axis=1, keepdims=True)
        arm = np.argmax(best * rng.random(index.shape), axis=1)
        paid = luck.random(len(means)) < means[each, arm]
        successes[each, arm] += paid
        failures[each, arm] += ~paid
        rewards[:, t] = paid
    return rewards


def tune(candidates: Sequence[Policy], arms: int, pulls: int, key: Key[Array, ""], bandits: int) -> Policy:
    """The candidate that earns most on `bandits` fresh bandits, the same for all, with p_i ~ U[0, 1]."""
    draw, run = jax.random.split(key)
    means = np.asarray(jax.random.uniform(draw, (bandits, arms)))
    return max(candidates, key=lambda policy: play(policy, means, pulls, run).mean())


def reference_policies(
    arms: int, pulls: int, key: Key[Array, ""], tuning_bandits: int = 2000
) -> dict[str, Policy]:
    """Every reference policy by name, its parameter tuned for this many arms and pulls.

    Compare them on bandits drawn with another key.
    """
    tenths = [i / 10 for i in range(11)]
    grids: dict[str, list[Policy]] = {
        "epsilon-greedy": [EpsilonGreedy(ε) for ε in tenths],
        "ucb1": [UCB1(c) for c in tenths],
        "optimistic-thompson": [OptimisticThompson(n) for n in (1, 2, 3, 5, 10, 20)],
        "gittins": [Gittins(γ, pulls) for γ in (0.9, 0.99, 0.999, 0.9999)],
    }
    tuned = {name: tune(grid, arms, pulls, key, tuning_bandits) for name, grid in grids.items()}
    return {"random": Random(), "greedy": Greedy(), "thompson": Thompson(), **tuned}


@dataclasses.dataclass(frozen=True)
class Random(Policy):
    """Any arm."""

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        return np.zeros(successes.shape)


@dataclasses.dataclass(frozen=True)
class Greedy(Policy):
    """The highest posterior mean (s+1)/(s+f+2)."""

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        return (successes + 1) / (successes + failures + 2)


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy(Policy):
    """Any arm with probability `epsilon`, else the highest posterior mean."""

    epsilon: float

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        explore = rng.random((len(successes), 1)) < self.epsilon
        return np.where(explore, 0.0, Greedy().index(successes, failures, pull, rng))


@dataclasses.dataclass(frozen=True)
class UCB1(Policy):
    """k/m + c √(2 ln t / m) (Auer et al. 2002), after an imagined success and failure: k = s+1, m = s+f+2."""

    c: float

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        k, m = successes + 1, successes + failures + 2
        return k / m + self.c * np.sqrt(2.0 * np.log(pull) / m)


@dataclasses.dataclass(frozen=True)
class Thompson(Policy):
    """The best arm of one draw from the posterior Beta(s+1, f+1)."""

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        return rng.beta(successes + 1, failures + 1)


@dataclasses.dataclass(frozen=True)
class OptimisticThompson(Policy):
    """The best arm of the likeliest of several draws from the posterior, as RL²'s scripts have it.

    (May et al. 2012 mean another policy by this name: one draw, but never below the posterior mean.)
    """

    samples: int

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        likeliest = np.zeros(successes.shape)
        highest = np.full((len(successes), 1), -np.inf)
        for _ in range(self.samples):
            p = rng.beta(successes + 1, failures + 1)
            log_density = (xlogy(successes, p) + xlog1py(failures, -p)).sum(axis=1, keepdims=True)
            likeliest = np.where(log_density > highest, p, likeliest)
            highest = np.maximum(highest, log_density)
        return likeliest


@dataclasses.dataclass(frozen=True)
class Gittins(Policy):
    """The highest Gittins index: optimal if rewards were discounted by γ and never ended.

    On a finite number of pulls it is a heuristic, whose γ is tuned.
    """

    discount: float
    pulls: int
    """The most pulls that will be played; the size of the table."""

    def index(self, successes: Tally, failures: Tally, pull: int, rng: np.random.Generator) -> Index:
        return gittins_indices(self.discount, self.pulls)[successes, failures]
