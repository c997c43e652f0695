"""L4: episodes that share a stream, a round or a batch have the advantages that each has alone."""

from __future__ import annotations

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, Push
from hypothesis import given
from hypothesis import strategies as st
from laws.experience import collected, mapped
from laws.learners import LAYOUTS, LEARNERS, TASKS, Case

from adaptax import keys, trees
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.rl2 import RL2
from adaptax.collection.replay import replay_with_values
from adaptax.estimators.baseline import linear_advantages
from adaptax.estimators.returns import discounts, following_in_lifetime, gae
from adaptax.types import Step

γ, λ = 0.9, 0.8


# --- estimators ------------------------------------------------------------------------------------


def advantages_alone(reward, value, next_value, cut):
    """A_t = Σ_l (γλ)^l δ_{t+l} of one episode by its definition, in plain Python; the critic goes on after a cut."""
    v = [*value, next_value if cut else 0.0]
    δ = [r + γ * v[t + 1] - v[t] for t, r in enumerate(reward)]
    return [sum((γ * λ) ** (s - t) * δ[s] for s in range(t, len(δ))) for t in range(len(δ))]


ROWS = 12
floats = st.floats(-3, 3, width=32)
an_episode = st.tuples(st.lists(st.tuples(floats, floats), min_size=1, max_size=4), floats, st.booleans())
episodes_in_a_stream = st.lists(an_episode, min_size=1, max_size=3)


def joined(episodes) -> tuple[Step, jax.Array, jax.Array, np.ndarray]:
    """The episodes one after the other, then rows that are not valid: rows, V, V', and the advantages of each alone."""
    reward, value, next_value = (np.full(ROWS, 9.0) for _ in range(3))
    flags = {name: np.zeros(ROWS, bool) for name in ("first", "terminated", "truncated", "valid")}
    alone, t = [], 0
    for rows, after, cut in episodes:
        end = t + len(rows)
        reward[t:end], value[t:end] = np.transpose(rows)
        next_value[t:end] = [*value[t + 1 : end], after if cut else 0.0]
        flags["first"][t] = flags["valid"][t:end] = True
        flags["truncated" if cut else "terminated"][end - 1] = True
        alone += advantages_alone(reward[t:end], value[t:end], after, cut)
        t = end
    zero = jnp.zeros(ROWS)
    flags = {name: jnp.array(flag) for name, flag in flags.items()}
    steps = Step(zero, zero, zero, episode=zero, reward=jnp.array(reward, jnp.float32), **flags)
    return steps, jnp.array(value, jnp.float32), jnp.array(next_value, jnp.float32), np.array(alone)


@jax.jit
def gae_of_stream(steps: Step, value, next_value):
    return gae(steps.reward, value, next_value, discounts(steps, γ, "episode"), γ, λ)


def check_joined_episodes(episodes) -> None:
    steps, value, next_value, alone = joined(episodes)
    together = np.asarray(gae_of_stream(steps, value, next_value))[: len(alone)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@given(episodes_in_a_stream)
def test_joined_episodes_have_the_advantages_of_each_alone(episodes):
    check_joined_episodes(episodes)


EXAMPLE = [
    ([(1.0, 0.5), (-1.0, 2.0)], 0.0, False),
    ([(0.5, -1.0), (2.0, 1.0)], 3.0, True),
    ([(2.0, 1.0)], 0.0, False),
]
"""Three episodes, one of them cut off, for those who break the code."""


def check_linear_advantages() -> None:
    """A batch of streams of two episodes has the advantages of the same episodes, each in a stream of its own."""
    rows = trees.index(collected(LEARNERS["probe"], LAYOUTS["episodes"]).rounds, (0, 0))
    n, t = rows.valid.shape
    which = np.asarray(rows.episode - rows.episode[:, :1])
    apart = {}
    for stream in range(n):
        for e in range(2):
            mine = np.flatnonzero((which[stream] == e) & np.asarray(rows.valid[stream]))
            apart[stream, e] = mine
    # The same rows with every episode moved to the beginning of a stream of its own.
    index = np.array([np.resize(mine, t) for mine in apart.values()])
    stream = np.array([[s] * t for s, _ in apart])
    alone = trees.index(rows, (stream, index))
    valid = np.array([np.arange(t) < len(mine) for mine in apart.values()])
    alone = dataclasses.replace(alone, valid=jnp.asarray(valid))
    advantages = jax.jit(linear_advantages)
    together, each = np.asarray(advantages(rows, γ, λ)), np.asarray(advantages(alone, γ, λ))
    for i, ((s, _), mine) in enumerate(apart.items()):
        np.testing.assert_allclose(each[i, : len(mine)], together[s, mine], rtol=1e-3, atol=1e-3)


def test_a_fitted_baseline_sees_no_borders():
    check_linear_advantages()


# --- the value of what follows ------------------------------------------------------------------------


@eqx.filter_jit
def values_and_peeks(learner, theta, lifetime, layout, horizon):
    """V and V' [B, K, N, T] by `replay_with_values`, and the value of the same episode's next row after every row."""
    _, following = jax.vmap(lambda one: replay_with_values(learner, theta, one, layout, horizon))(lifetime)

    def peeks(life):
        fast = learner.begin(theta, keys.begin(life.keys), life.features if learner.told else None)
        memory = jax.vmap(lambda _: learner.remember(theta))(jnp.arange(layout.streams))
        rounds = []
        for k in range(layout.rounds):
            rows = trees.index(life.rounds, k)

            def row(memory, step):
                _, after = learner.act(theta, fast, memory, step, jax.random.key(0))  # noqa: B023
                after = trees.where(step.valid, after, memory)
                ahead = Step(
                    step.next_obs, step.action, step.reward, jnp.array(False), step.episode, step.action_mask
                )
                return after, learner.act(theta, fast, after, ahead, jax.random.key(0))[0].value  # noqa: B023

            memory, values = jax.vmap(lambda m, s: jax.lax.scan(row, m, s))(memory, rows)
            rounds.append(values)
            fast = learner.adapt(theta, fast, rows, keys.adapt(life.keys, k))
        return jnp.stack(rounds)

    return following, jax.vmap(peeks)(lifetime)


def check_next_values(case: Case, layout: str) -> None:
    lifetime = collected(case, LAYOUTS[layout])
    rows = jax.tree.map(np.asarray, lifetime.rounds)
    following, peeks = map(
        np.asarray, values_and_peeks(case.learner, case.theta, lifetime, LAYOUTS[layout], "episode")
    )
    assert rows.truncated[rows.valid].any() and rows.terminated[rows.valid].any()
    expected = np.where(rows.terminated, 0.0, peeks)
    np.testing.assert_allclose(following[rows.valid], expected[rows.valid], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name, layout", [("rl2, continuous", "episodes"), ("rl2", "carry"), ("multi-task", "budget")]
)
def test_inside_an_episode_the_value_that_follows_is_that_of_its_next_observation(name, layout):
    check_next_values(LEARNERS[name], layout)


def check_lifetime_values(layout: str) -> None:
    """Through all borders: the value of the stream's next valid row; after the last 0, or a peek where it goes on."""
    case = LEARNERS["rl2, continuous"]
    lifetime = collected(case, LAYOUTS[layout])
    rows = jax.tree.map(np.asarray, lifetime.rounds)
    following, peeks = map(
        np.asarray, values_and_peeks(case.learner, case.theta, lifetime, LAYOUTS[layout], "lifetime")
    )
    rounds, streams, steps = rows.valid.shape[1:]
    for b in range(TASKS):
        for n in range(streams):
            line = [(b, k, n, t) for k in range(rounds) for t in range(steps) if rows.valid[b, k, n, t]]
            for at, then in itertools.pairwise(line):
                np.testing.assert_allclose(following[at], rows.value[then], rtol=1e-4, atol=1e-5)
            last = line[-1]
            goes_on = LAYOUTS[layout].episodes is None and not rows.terminated[last]
            np.testing.assert_allclose(following[last], peeks[last] if goes_on else 0.0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["episodes", "budget"])
def test_in_a_lifetime_the_value_that_follows_passes_all_borders(layout):
    check_lifetime_values(layout)


def check_order() -> None:
    """`following_in_lifetime` walks through steps, then rounds, of each stream by itself."""
    value = jnp.arange(12.0).reshape(2, 2, 3)  # value[k, n, t] = 6k + 3n + t
    valid = jnp.ones((2, 2, 3), bool).at[0, 1, 2].set(False)
    follows = following_in_lifetime(value, valid, jnp.array([100.0, 200.0]))
    expected = [[[1, 2, 6], [4, 9, 9]], [[7, 8, 100], [10, 11, 200]]]
    np.testing.assert_array_equal(follows, np.array(expected, np.float32))


def test_time_runs_through_the_rounds_of_one_stream():
    check_order()


# --- algorithms -----------------------------------------------------------------------------------------


def check_lifetime_horizon() -> None:
    """RL²: A_t = Σ (γλ)^l δ over all rows of the lifetime that follow, episode borders or not."""
    algorithm = RL2(tasks=TASKS, hidden=8, gamma=γ, gae_lambda=λ).build(Push().spec)
    case = Case(algorithm.learner, Push(), algorithm)
    lifetime = collected(case, algorithm.layout)
    advantage, target = map(
        np.asarray, eqx.filter_jit(lambda rows: jax.vmap(algorithm.advantages)(rows))(lifetime.rounds)
    )
    rows = jax.tree.map(np.asarray, lifetime.rounds)
    for b in range(TASKS):
        valid = rows.valid[b, 0, 0]
        reward, value = rows.reward[b, 0, 0][valid], rows.value[b, 0, 0][valid]
        expected = advantages_alone(reward, value, 0.0, cut=False)
        np.testing.assert_allclose(advantage[b, 0, 0][valid], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(target[b, 0, 0][valid], expected + value, rtol=1e-3, atol=1e-4)
        assert (advantage[b, 0, 0][~valid] == 0.0).all()
    assert not rows.valid.all(), "no lifetime ended early, so that rows after its end were not tested"


def test_the_lifetime_is_the_horizon_of_rl2():
    check_lifetime_horizon()


def check_episode_horizon() -> None:
    """The multi-task baseline: each episode is its own horizon, the critic tells what a truncation cut off."""
    algorithm = MultiTask(tasks=TASKS, streams=2, hidden=(8,), gamma=γ, gae_lambda=λ).build(Corridor().spec)
    case = Case(algorithm.learner, Corridor(), algorithm)
    lifetime = collected(case, algorithm.layout)
    advantages = eqx.filter_jit(
        lambda theta, life: jax.vmap(lambda one: algorithm.advantages(theta, one)[0])(life)
    )
    value_of = mapped(lambda obs: case.theta.critic(case.theta.normaliser.observation(obs))[0], 4)
    advantage = np.asarray(advantages(case.theta, lifetime))
    after = np.asarray(case.theta.normaliser.to_value(value_of(lifetime.rounds.next_obs)))
    rows = jax.tree.map(np.asarray, lifetime.rounds)
    for at in np.ndindex(TASKS, 1, 2):
        valid = rows.valid[at]
        end = valid.sum() - 1
        cut = bool(rows.truncated[at][end])
        expected = advantages_alone(rows.reward[at][valid], rows.value[at][valid], after[at][end], cut)
        np.testing.assert_allclose(advantage[at][valid], expected, rtol=1e-3, atol=1e-4)


def test_the_episode_is_the_horizon_of_the_multi_task_baseline():
    check_episode_horizon()
