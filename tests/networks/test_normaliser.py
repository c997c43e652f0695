"""Running statistics against numpy's over everything seen."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax.learner import Learner
from adaptax.networks.encoding import encode_action, trial_inputs, trial_inputs_size, zero_action
from adaptax.networks.layers import Dense
from adaptax.networks.normaliser import Moments, Normaliser
from adaptax.types import Box, Discrete, MultiDiscrete, Spec, Step

INFINITE = float("inf")


def test_moments_are_those_of_everything_seen():
    rng = np.random.default_rng(0)
    moments, seen, update = Moments.of(3), [], jax.jit(lambda m, x, valid: m.update(x, valid))
    for i in range(4):
        x = rng.normal(loc=10.0 * i, scale=1 + i, size=(50, 3)) * [1.0, 0.01, 100.0]
        valid = rng.random(50) < 0.6
        moments = update(moments, jnp.float32(np.where(valid[:, None], x, 1e6)), jnp.asarray(valid))
        seen.append(x[valid])
        together = np.concatenate(seen)
        np.testing.assert_allclose(moments.mean, together.mean(0), rtol=1e-4)
        np.testing.assert_allclose(moments.deviation, together.std(0), rtol=1e-3)
        assert float(moments.count) == len(together)


def test_a_batch_without_a_valid_row_changes_nothing():
    before = Moments(jnp.array([2.0]), jnp.array([3.0]), jnp.array(5.0))
    for start in (before, Moments.of(1)):
        after = start.update(jnp.full((4, 1), 9.0), jnp.zeros(4, bool))
        for x, y in zip(*map(jax.tree.leaves, (after, start)), strict=True):
            np.testing.assert_array_equal(x, y)


def test_what_is_constant_is_not_blown_up():
    moments = Moments.of(1).update(jnp.full((10, 1), 7.0), jnp.ones(10, bool))
    assert float(moments.deviation[0]) == 1.0


def test_units_by_hand():
    one = lambda mean, variance: Moments(jnp.array([mean]), jnp.array([variance]), jnp.array(9.0))  # noqa: E731
    normaliser = Normaliser(one(2.0, 9.0), one(3.0, 16.0), one(-1.0, 4.0))
    np.testing.assert_allclose(normaliser.observation(jnp.array([5.0])), [1.0])
    np.testing.assert_allclose(normaliser.observation(jnp.array([500.0])), [10.0])
    # √(16 + 3²) = 5
    np.testing.assert_allclose(normaliser.scaled_reward(jnp.array(-10.0)), -2.0, rtol=1e-5)
    np.testing.assert_allclose(normaliser.to_value(jnp.array(3.0)), 5.0)
    np.testing.assert_allclose(normaliser.from_value(jnp.array(5.0)), 3.0)


def test_update_takes_each_number_from_its_place():
    shape = (2, 3)
    rng = np.random.default_rng(1)
    obs, reward, returns = rng.normal(size=(*shape, 2, 2)), rng.normal(size=shape), rng.normal(size=shape)
    valid = np.array([[True, True, False], [True, False, True]])
    zero = jnp.zeros(shape)
    steps = Step(
        jnp.float32(obs), zero, zero, zero, zero, reward=jnp.float32(reward), valid=jnp.asarray(valid)
    )
    after = Normaliser.of(4).update(steps, jnp.float32(returns))
    np.testing.assert_allclose(after.obs.mean, obs[valid].reshape(-1, 4).mean(0), rtol=1e-5)
    np.testing.assert_allclose(after.reward.mean[0], reward[valid].mean(), rtol=1e-5)
    np.testing.assert_allclose(after.value.variance[0], returns[valid].var(), rtol=1e-4)


# --- what a recurrent learner sees ------------------------------------------------------------------------


def test_actions_as_vectors():
    np.testing.assert_array_equal(encode_action(Discrete(3), jnp.array(1)), [0, 1, 0])
    np.testing.assert_array_equal(encode_action(MultiDiscrete((2, 3)), jnp.array([1, 2])), [0, 1, 0, 0, 1])
    box = Box((-5.0, -INFINITE), (5.0, INFINITE))
    np.testing.assert_array_equal(encode_action(box, jnp.array([-3.0, -3.0])), [-1, -3])
    assert zero_action(Discrete(3)).dtype == zero_action(MultiDiscrete((2, 3))).dtype == jnp.int32


def test_the_inputs_of_a_trial():
    """φ(o, a₋₁, r₋₁, d₋₁): no previous action at a stream's start only, d₋₁ at every episode's."""
    spec = Spec("x", (2,), Discrete(3), episode_steps=1)
    say = lambda first, episode: trial_inputs(  # noqa: E731
        spec, Normaliser.of(2),
        Step(jnp.array([0.5, -0.5]), jnp.array(2), jnp.array(3.0), jnp.array(first), jnp.array(episode)),
    )  # fmt: skip
    np.testing.assert_allclose(say(True, 0), [0.5, -0.5, 0, 0, 0, 3, 1], rtol=1e-5)
    np.testing.assert_allclose(say(True, 1), [0.5, -0.5, 0, 0, 1, 3, 1], rtol=1e-5)
    np.testing.assert_allclose(say(False, 1), [0.5, -0.5, 0, 0, 1, 3, 0], rtol=1e-5)
    assert len(say(False, 1)) == trial_inputs_size(spec)


def test_values_stay_while_their_units_move():
    """PopArt by hand: units of mean 0 and deviation 1 become mean 10 and deviation 5."""
    before = Normaliser.of(2)
    after = eqx.tree_at(
        lambda n: (n.value.mean, n.value.variance), before, (jnp.array([10.0]), jnp.array([25.0]))
    )
    head = Dense(3, 1, 1.0, jax.random.key(0))
    x = jnp.array([0.3, -1.0, 2.0])
    kept = after.keep_values(head, before)
    np.testing.assert_allclose(after.to_value(kept(x)[0]), before.to_value(head(x)[0]), rtol=1e-5)
    np.testing.assert_allclose(kept.bias, [-2.0], rtol=1e-5)
    np.testing.assert_allclose(kept.weight, head.weight / 5, rtol=1e-5)


def test_the_first_returns_give_the_units_and_no_others_do():
    returns, valid = jnp.array([[1.0, 3.0, 99.0]]), jnp.array([[True, True, False]])
    new = Normaliser.of(2).with_first_values(returns, valid)
    np.testing.assert_allclose([new.value.mean[0], new.value.deviation[0], new.value.count], [2.0, 1.0, 0.0])
    seen = new.with_first_values(returns, valid).update(
        Step(
            obs=jnp.zeros((1, 2)), prev_action=jnp.zeros(1), prev_reward=jnp.zeros(1), first=jnp.zeros(1, bool),
            episode=jnp.zeros(1, jnp.int32), reward=jnp.zeros(1), valid=jnp.ones(1, bool),
        ),
        jnp.array([7.0]),
    )  # fmt: skip
    assert seen.with_first_values(returns, valid).value.mean[0] == 7.0


def test_gradients_leave_the_statistics_alone():
    """Wherever in theta they stand."""
    theta = {"head": Dense(3, 1, 1.0, jax.random.key(0)), "deep": [Normaliser.of(2), jnp.int32(4)]}
    trained = Learner().trainable(theta)
    assert jax.tree.leaves(trained["head"]) == [True, True]
    assert not any(jax.tree.leaves(trained["deep"]))
