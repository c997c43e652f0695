"""The learners that RL² is compared with on tabular MDPs, simulated over many processes at once.

They are those of Duan et al. 2016, table 1b, which come from TabulaRL (Osband). Each keeps a posterior over the process:
Dirichlet distributions over transitions, normal ones over mean rewards, whose noise has variance 1. Before every episode
it plans for the whole horizon, and acts on that plan until the episode's end. The state after an episode's last step is
seen by nobody, as it is with learners of this library.

Differences from the published scripts. By default the posterior starts from the prior that the processes are drawn from,
N(1, 1) and Dirichlet(1, ..., 1). There, mean rewards are N(0, 1) beforehand, and ε-greedy, greedy and UCRL2 have as
good as no prior: `Prior(reward_mean=0.0)` and `NO_PRIOR` give these, and with them PSRL and greedy earn what the table
says. BEB adds its bonus to the reward, as in its paper, where TabulaRL multiplies it by the steps left. UCRL2 starts each
step's optimistic transitions from the estimates, where TabulaRL starts from what the step before has made of them.
Parameters are tuned on other processes than those of the report.

B processes, S states, A actions, H steps in an episode; P[b, s, a, s'] and R[b, s, a] as in `mdp_solvers`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from adaptax.tasks.tabular import TabularMDP

Transitions = Float[np.ndarray, "B S A S"]
Rewards = Float[np.ndarray, "B S A"]
Values = Float[np.ndarray, "B S"]
Plan = Float[np.ndarray, "B H S A"]
"""Q_t(s, a) for t = 0..H−1."""


# --- what is known ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Prior:
    """Mean rewards ~ N(reward_mean, 1/reward_precision), transitions ~ Dirichlet(transition_count, ...)."""

    reward_mean: float = 1.0
    reward_precision: float = 1.0
    transition_count: float = 1.0


NO_PRIOR = Prior(reward_mean=0.0, reward_precision=1e-4, transition_count=1e-4)
"""What TabulaRL gives ε-greedy: estimates are averages; what was never tried is worth 0 and leads anywhere."""


@dataclasses.dataclass
class Posterior:
    """What B learners know of their processes; written in place."""

    counts: Transitions
    """Dirichlet parameters: the prior's, and one for each transition seen."""
    reward_mean: Rewards
    reward_precision: Rewards

    @staticmethod
    def begin(prior: Prior, processes: int, states: int, actions: int) -> Posterior:
        shape = (processes, states, actions)
        return Posterior(
            np.full((*shape, states), prior.transition_count),
            np.full(shape, prior.reward_mean),
            np.full(shape, prior.reward_precision),
        )

    def observe(
        self,
        state: Int[np.ndarray, " B"],
        action: Int[np.ndarray, " B"],
        reward: Float[np.ndarray, " B"],
        next_state: Int[np.ndarray, " B"] | None,
    ) -> None:
        """Bayes's rule after one step of each learner. `next_state` None: what came next was not seen."""
        at = (np.arange(len(state)), state, action)
        self.reward_precision[at] += 1
        self.reward_mean[at] += (reward - self.reward_mean[at]) / self.reward_precision[at]
        if next_state is not None:
            self.counts[(*at, next_state)] += 1

    def mean(self) -> tuple[Transitions, Rewards]:
        """The mean process."""
        return self.counts / self.counts.sum(axis=3, keepdims=True), self.reward_mean

    def sample(self, rng: np.random.Generator) -> tuple[Transitions, Rewards]:
        """One draw for each learner."""
        weights = rng.standard_gamma(self.counts)
        noise = rng.standard_normal(self.reward_mean.shape)
        return weights / weights.sum(axis=3, keepdims=True), self.reward_mean + noise / np.sqrt(
            self.reward_precision
        )


# --- planning ----------------------------------------------------------------------------------


def plan(P: Transitions, R: Rewards, horizon: int) -> Plan:
    """Finite-horizon value iteration in every process: Q_t = R + P max_a Q_{t+1}, with Q_H = 0."""
    return _backwards(R, horizon, lambda values: expected(P, values))


def optimistic_plan(P: Transitions, R: Rewards, radius: Rewards, horizon: int) -> Plan:
    """Extended value iteration (Jaksch et al. 2010, §3.1): `plan` with the most promising transitions within `radius` of P,
    anew for each step, state and action."""
    return _backwards(R, horizon, lambda values: most_promising(P, values, radius))


def expected(P: Transitions, values: Values) -> Rewards:
    """Σ_s' P(s'|s, a) V(s')."""
    flat = P.reshape(len(P), -1, P.shape[3])
    return (flat @ values[:, :, None]).reshape(P.shape[:3])


def most_promising(P: Transitions, values: Values, radius: Rewards) -> Rewards:
    """max Σ_s' p(s') V(s') over the distributions p with ‖p − P(·|s, a)‖₁ ≤ radius.

    The best state gains min(radius / 2, what it lacks of 1); the worst states lose as much, the very worst first.
    """
    each, order = np.arange(len(P)), np.argsort(values, axis=1)
    total = expected(P, values)
    best = order[:, -1]
    left = np.minimum(radius / 2, 1 - P[each, :, :, best])
    total += left * values[each, best][:, None, None]
    for worst in order[:, :-1].T:
        lost = np.minimum(left, P[each, :, :, worst])
        total -= lost * values[each, worst][:, None, None]
        left -= lost
    return total


def _backwards(R: Rewards, horizon: int, following: Callable[[Values], Rewards]) -> Plan:
    q = np.empty((len(R), horizon, *R.shape[1:]))
    values = np.zeros(R.shape[:2])
    for t in reversed(range(horizon)):
        q[:, t] = R + following(values)
        values = q[:, t].max(axis=2)
    return q


# --- learners ----------------------------------------------------------------------------------


class Policy:
    """What a learner does with its posterior."""

    prior: Prior

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        """What each action is held to be worth, before episode number `episode` (from 1)."""
        raise NotImplementedError

    def act(self, q: Float[np.ndarray, "B A"], rng: np.random.Generator) -> Int[np.ndarray, " B"]:
        """The action held to be worth most, ties at random."""
        best = q == q.max(axis=1, keepdims=True)
        return np.argmax(best * rng.random(q.shape), axis=1)


def play(
    policy: Policy, P: Transitions, R: Rewards, horizon: int, episodes: int, key: Key[Array, ""]
) -> Float[np.ndarray, "B episodes"]:
    """The return of every episode, in B processes with rewards N(R(s, a), 1), from state 0.

    The luck of a step is a function of `key` alone: under one key two policies differ by their choices only.
    """
    rng, luck = np.random.default_rng(np.asarray(jax.random.key_data(key))).spawn(2)
    each, (processes, states, actions) = np.arange(len(R)), R.shape
    up_to = P.cumsum(axis=3)
    known = Posterior.begin(policy.prior, processes, states, actions)
    returns = np.zeros((processes, episodes))
    for episode in range(episodes):
        q = policy.plan(known, episode + 1, horizon, rng)
        state = np.zeros(processes, np.int64)
        for t in range(horizon):
            action = policy.act(q[each, t, state], rng)
            reward = R[each, state, action] + luck.standard_normal(processes)
            drawn = luck.random((processes, 1)) > up_to[each, state, action, :-1]
            next_state = drawn.sum(axis=1)
            known.observe(state, action, reward, next_state if t + 1 < horizon else None)
            returns[:, episode] += reward
            state = next_state
    return returns


def draw(family: TabularMDP, key: Key[Array, ""], processes: int) -> tuple[Transitions, Rewards]:
    """Fresh processes of the family's prior."""
    tasks = jax.jit(jax.vmap(lambda k: family.sample(k, "train")))(jax.random.split(key, processes))
    return np.asarray(tasks.transition, np.float64), np.asarray(tasks.reward, np.float64)


def tune(candidates: Sequence[Policy], family: TabularMDP, key: Key[Array, ""], processes: int) -> Policy:
    """The candidate that earns most on fresh processes, the same for all."""
    k_draw, k_play = jax.random.split(key)
    P, R = draw(family, k_draw, processes)
    return max(candidates, key=lambda c: play(c, P, R, family.horizon, family.episodes, k_play).mean())


REFERENCE_POLICIES = ("random", "greedy", "psrl", "epsilon-greedy", "beb", "ucrl2", "opsrl")


def reference_policies(
    family: TabularMDP,
    key: Key[Array, ""],
    tuning_processes: int = 500,
    prior: Prior | None = None,
    names: Sequence[str] = REFERENCE_POLICIES,
) -> dict[str, Policy]:
    """The reference policies of these `names`, each with its parameter tuned for this family's sizes and episodes.

    Compare them on processes drawn with another key. `prior` None: that of the family.
    """
    prior = prior or Prior()
    grids: dict[str, list[Policy]] = {
        "random": [Random()],
        "greedy": [Greedy(prior)],
        "psrl": [PSRL(prior)],
        "epsilon-greedy": [EpsilonGreedy(prior, ε) for ε in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)],
        "beb": [BEB(prior, β) for β in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)],
        "ucrl2": [UCRL2(prior, c) for c in (0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3)],
        "opsrl": [OPSRL(prior, n) for n in (1, 2, 3, 5, 10, 20)],
    }
    return {
        name: grids[name][0] if len(grids[name]) == 1 else tune(grids[name], family, key, tuning_processes)
        for name in names
    }


@dataclasses.dataclass(frozen=True)
class Random(Policy):
    """Any action."""

    prior: Prior = Prior()

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        return np.zeros((len(known.reward_mean), horizon, *known.reward_mean.shape[1:]))


@dataclasses.dataclass(frozen=True)
class Greedy(Policy):
    """The best action of the mean process."""

    prior: Prior = Prior()

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        return plan(*known.mean(), horizon)


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy(Greedy):
    """Any action with probability `epsilon`, at every step, else that of `Greedy`."""

    epsilon: float = 0.1

    def act(self, q: Float[np.ndarray, "B A"], rng: np.random.Generator) -> Int[np.ndarray, " B"]:
        explore = rng.random((len(q), 1)) < self.epsilon
        return super().act(np.where(explore, 0.0, q), rng)


@dataclasses.dataclass(frozen=True)
class PSRL(Policy):
    """The best action of one process drawn from the posterior (Strens 2000; Osband et al. 2013)."""

    prior: Prior = Prior()

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        return plan(*known.sample(rng), horizon)


@dataclasses.dataclass(frozen=True)
class OPSRL(Policy):
    """The action that is best in the most favourable of several draws, Q being their maximum, entry by entry."""

    prior: Prior = Prior()
    samples: int = 5

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        best = plan(*known.sample(rng), horizon)
        for _ in range(self.samples - 1):
            np.maximum(best, plan(*known.sample(rng), horizon), out=best)
        return best


@dataclasses.dataclass(frozen=True)
class BEB(Policy):
    """The best action of the mean process with rewards R + β / (1 + n) (Kolter & Ng 2009).

    n(s, a) is the sum of the Dirichlet parameters: the prior's, and the visits.
    """

    prior: Prior = Prior()
    bonus: float = 8.0
    """β."""

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        P, R = known.mean()
        return plan(P, R + self.bonus / (1 + known.counts.sum(axis=3)), horizon)


@dataclasses.dataclass(frozen=True)
class UCRL2(Policy):
    """The best action of the most promising process within confidence bounds (Jaksch et al. 2010).

    With L = ln(2 S A (t+1) / δ) before episode t, and n visits, mean rewards may be √(4 L / n) too low, and transitions
    √(4 S L / n) off in L1, both times `scaling`: TabulaRL's constants.
    """

    prior: Prior = Prior()
    scaling: float = 0.1
    failure: float = 0.05
    """δ, the probability with which unscaled bounds may be wrong."""

    def plan(self, known: Posterior, episode: int, horizon: int, rng: np.random.Generator) -> Plan:
        P, R = known.mean()
        _, states, actions = R.shape
        rewards_seen = known.reward_precision - self.prior.reward_precision
        moves_seen = known.counts.sum(axis=3) - self.prior.transition_count * states
        spread = 4 * math.log(2 * states * actions * (episode + 1) / self.failure)
        bonus = self.scaling * np.sqrt(spread / np.maximum(rewards_seen, 1.0))
        radius = self.scaling * np.sqrt(states * spread / np.maximum(moves_seen, 1.0))
        return optimistic_plan(P, R + bonus, radius, horizon)
