"""The two-step task, and what stay probabilities say of learners whose nature is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.two_step import TwoStep, TwoStepState, TwoStepTask, stay_probabilities, trials

FAMILY = TwoStep()


def live(family, task, choose, lives=400, seed=0):
    """Lifetimes' rows (obs, action, reward, terminated, better).

    choose(key, choice, reached, paid, state) gives the next choice.
    """

    def life(key):
        begin, go = jax.random.split(key)
        state, obs = family.reset(begin, task)

        def trial(carry, key):
            state, obs, choice = carry
            k_first, k_second, k_choose = jax.random.split(key, 3)
            landed, first = family.step(k_first, state, choice, task)
            after, second = family.step(k_second, landed, jnp.int32(1), task)
            following = choose(k_choose, choice, landed.place - 1, second.reward > 0, after)
            rows = (
                jnp.stack([obs, first.obs]),
                jnp.stack([choice, jnp.int32(1)]),
                jnp.stack([first.reward, second.reward]),
                jnp.stack([first.terminated, second.terminated]),
                jnp.stack([state.better, landed.better]),
            )
            return (after, second.obs, following), rows

        _, rows = jax.lax.scan(trial, (state, obs, jnp.int32(0)), jax.random.split(go, family.trials))
        return jax.tree.map(lambda x: x.reshape(2 * family.trials, *x.shape[2:]), rows)

    rows = jax.jit(jax.vmap(life))(jax.random.split(jax.random.key(seed), lives))
    return [np.asarray(x) for x in rows]


def task(better=0, common=0):
    return TwoStepTask(jnp.int32(better), jnp.int32(common))


def anything(key, choice, reached, paid, state):
    return jax.random.randint(key, (), 0, 2)


@pytest.mark.parametrize("better", [0, 1])
@pytest.mark.parametrize("common", [0, 1])
def test_transitions_and_rewards_have_the_stated_probabilities(better, common):
    obs, action, reward, terminated, _ = live(FAMILY, task(better, common), anything)
    assert (obs[:, 0::2, 0] == 1).all() and (obs[:, 1::2, 0] == 0).all() and (obs.sum(axis=2) == 1).all()
    assert (terminated == (np.arange(200) == 199)).all() and not reward[:, 0::2].any()
    choice, reached, paid = trials(obs, action, reward)
    assert choice.shape == reached.shape == paid.shape == (400, 100)
    usual = choice ^ common
    assert np.mean(reached == usual) == pytest.approx(0.75, abs=0.01)
    assert paid[reached == better].mean() == pytest.approx(0.9, abs=0.01)
    assert paid[reached != better].mean() == pytest.approx(0.1, abs=0.01)


def test_the_ceiling_is_earned_by_who_is_told_the_better_state():
    for reversal in (0.0, 0.2):
        family = TwoStep(reversal=reversal)
        rows = live(family, task(0, 1), lambda k, c, r, p, state: state.better ^ 1)
        total = rows[2].sum(axis=1)[1:]
        ceiling = float(family.optimal(task()))
        assert ceiling == pytest.approx(100 * (0.75 * 0.9 + 0.25 * 0.1)) == pytest.approx(70.0)
        first_choice_was_the_worse = 0.7 - 0.3
        assert abs(total.mean() - (ceiling - first_choice_was_the_worse)) < 4 * total.std() / np.sqrt(
            len(total)
        )


def test_reversals_come_between_trials_only_and_survive_them():
    never = live(FAMILY, task(1), anything, lives=5)[4]
    assert (never == 1).all()
    better = live(TwoStep(reversal=0.025), task(1), anything)[4]
    assert (better[:, 0] == 1).all() and (better[:, 0::2] == better[:, 1::2]).all()
    turned = np.diff(better[:, 0::2], axis=1) != 0
    assert turned.mean() == pytest.approx(0.025, abs=0.004)


def test_stay_probabilities_by_hand():
    choice = np.array([0, 0, 1, 1, 1, 0, 1])  #           stays:  y, n, y, y, n, n
    common = np.array([1, 1, 0, 1, 0, 1, 1], bool)  # after rare:       *     *
    paid = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    # Paid, common: trials 0 (stay), 1 (switch). Paid, rare: 2 (stay).
    # Unpaid, common: 3 (stay), 5 (switch). Unpaid, rare: 4 (switch).
    np.testing.assert_allclose(stay_probabilities(choice, common, paid), [[0.5, 1.0], [0.5, 0.0]])
    two = stay_probabilities(*(np.stack([x, x]) for x in (choice, common, paid)))
    np.testing.assert_allclose(
        two, [[0.5, 1.0], [0.5, 0.0]]
    )  # the last trial of a life is not before the first of the next
    assert np.isnan(stay_probabilities(choice[:1], common[:1], paid[:1])).all()


@pytest.mark.parametrize(
    "next_choice, expected",
    [
        (lambda k, choice, reached, paid, state: jnp.where(paid, choice, 1 - choice), [[1, 1], [0, 0]]),  # model-free
        (lambda k, choice, reached, paid, state: jnp.where(paid, reached, 1 - reached), [[1, 0], [0, 1]]),  # model-based
        (anything, [[0.5, 0.5], [0.5, 0.5]]),
    ],
    ids=["model-free", "model-based", "random"],
)  # fmt: skip
def test_stay_probabilities_tell_learners_apart(next_choice, expected):
    choice, reached, paid = trials(*live(TwoStep(reversal=0.1), task(), next_choice)[:3])
    found = stay_probabilities(choice, choice == reached, paid)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_tasks_and_sizes():
    draw = jax.vmap(FAMILY.sample, (0, None))
    keys = jax.random.split(jax.random.key(1), 1000)
    trained, beyond = draw(keys, "train"), draw(keys, "ood")
    assert 430 < trained.better.sum() < 570 and not trained.common.any() and beyond.common.all()
    assert (FAMILY.spec.episode_steps, FAMILY.spec.episodes, FAMILY.spec.shared_tasks) == (200, 1, True)
    np.testing.assert_array_equal(FAMILY.features(task(1, 0)), [1.0, 0.0])
    state, obs = FAMILY.reset(keys[0], task(1))
    assert isinstance(state, TwoStepState) and list(obs) == [1, 0, 0]
    for wrong in ({"common": 0.4}, {"reversal": 1.5}, {"trials": 0}):
        with pytest.raises(AdaptaxError, match="two-step task"):
            TwoStep(**wrong)
