"""The restless bandit: its walk, its rewards, and what a policy earns that is told the drift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.restless_bandit import RestlessBandit, RestlessState, reflected

FAMILY = RestlessBandit()


def lives(volatility, number, arm, seed=0, pulls=100):
    """(p before each pull, rewards, terminated), each [number, pulls]; `arm` maps p to the arm that is pulled."""
    family = RestlessBandit(pulls=pulls)

    def life(key):
        begin, go = jax.random.split(key)
        state, _ = family.reset(begin, volatility)

        def row(state, key):
            after, outcome = family.step(key, state, arm(state.p), volatility)
            return after, (state.p, outcome.reward, outcome.terminated)

        return jax.lax.scan(row, state, jax.random.split(go, pulls))[1]

    return [np.asarray(x) for x in jax.jit(jax.vmap(life))(jax.random.split(jax.random.key(seed), number))]


@pytest.mark.parametrize(
    "x, y", [(0.3, 0.3), (-0.2, 0.2), (1.1, 0.9), (2.3, 0.3), (-1.2, 0.8), (1.0, 1.0), (0.0, 0.0)]
)
def test_reflection(x, y):
    assert float(reflected(jnp.float32(x))) == pytest.approx(y, abs=1e-6)


def test_the_arms_pay_with_p_and_with_the_rest():
    state = RestlessState(jnp.float32(0.8), jnp.int32(0))
    keys = jax.random.split(jax.random.key(3), 20_000)
    for arm, p in ((0, 0.8), (1, 0.2)):
        rewards = jax.vmap(lambda k, a=arm: FAMILY.step(k, state, jnp.int32(a), jnp.float32(0.1))[1].reward)(
            keys
        )
        assert rewards.mean() == pytest.approx(p, abs=0.012)


@pytest.mark.parametrize("volatility", [0.02, 0.1, 0.3])
def test_the_walk_goes_on_from_pull_to_pull_and_p_stays_uniform(volatility):
    p, rewards, terminated = lives(jnp.float32(volatility), 4000, lambda p: (p < 0.5).astype(jnp.int32))
    assert (terminated == (np.arange(100) == 99)).all()
    inside = (p[:, :-1] > 0.4) & (p[:, :-1] < 0.6)
    if volatility <= 0.1:
        assert np.diff(p)[inside].std() == pytest.approx(volatility, rel=0.02)
    for t in (0, 50, 99):
        assert p[:, t].mean() == pytest.approx(0.5, abs=0.02) and p[:, t].std() == pytest.approx(
            12**-0.5, abs=0.01
        )
    # The policy that is told p earns what `optimal` says.
    total = rewards.sum(axis=1)
    ceiling = float(FAMILY.optimal(jnp.float32(volatility)))
    assert ceiling == 75.0 and abs(total.mean() - ceiling) < 4 * total.std() / np.sqrt(len(total))


def test_no_arm_is_better_for_who_never_learns():
    _, rewards, _ = lives(jnp.float32(0.1), 4000, lambda p: jnp.int32(0), seed=1)
    assert rewards.sum(axis=1).mean() == pytest.approx(50.0, abs=1.0)


def test_tasks_are_two_volatilities_and_greater_ones_out_of_distribution():
    draw = jax.vmap(FAMILY.sample, (0, None))
    keys = jax.random.split(jax.random.key(4), 1000)
    values, counts = np.unique(draw(keys, "train"), return_counts=True)
    np.testing.assert_allclose(values, [0.02, 0.1], rtol=1e-5)
    assert counts.min() > 430 and FAMILY.spec.shared_tasks
    beyond = np.asarray(draw(keys, "ood"))
    assert beyond.min() >= 0.2 and beyond.max() <= 0.4
    assert (FAMILY.spec.episode_steps, FAMILY.spec.episodes) == (100, 1)
    assert FAMILY.features(jnp.float32(0.1)) == pytest.approx([0.1])


def test_volatilities_in_the_wrong_order_are_refused():
    with pytest.raises(AdaptaxError, match="0 ≤ low < high"):
        RestlessBandit(low=0.2, high=0.1)
