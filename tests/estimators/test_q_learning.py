"""Q-learning by hand: targets, choices, and what is forbidden."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.estimators.q_learning import epsilon_greedy, huber, td_error
from adaptax.estimators.transitions import Transition, transitions
from adaptax.types import Step

Q = jnp.array([[1.0, 5.0, 2.0], [4.0, 3.0, 9.0]])
"""Of two states, three actions each."""
TARGET = jnp.array([[0.0, 2.0, 1.0], [6.0, 8.0, 7.0]])
GAMMA = jnp.array(0.5)


def error(double: bool, terminated: bool = False, mask: list[bool] | None = None) -> float:
    """Of a step from state 0 by action 1, paid 3, into state 1."""
    row = Transition(
        jnp.eye(2)[0], jnp.array(1), jnp.array(3.0), jnp.eye(2)[1], jnp.array(terminated),
        None if mask is None else jnp.array(mask),
    )  # fmt: skip
    return float(td_error(lambda x: x @ Q, lambda x: x @ TARGET, row, row.obs, row.next_obs, GAMMA, double))


def check_targets() -> None:
    """The target network's best next action is 1, worth 8; the network's is 2, which the target network holds to be worth 7."""
    assert error(double=False) == 5.0 - (3.0 + 0.5 * 8.0)
    assert error(double=True) == 5.0 - (3.0 + 0.5 * 7.0)
    assert error(double=False, terminated=True) == error(double=True, terminated=True) == 5.0 - 3.0


def check_forbidden() -> None:
    """Action 2 forbidden: the network's best is then 0, worth 6 to the target network. With 1 forbidden that one's best is 2: 7."""
    assert error(double=True, mask=[True, True, False]) == 5.0 - (3.0 + 0.5 * 6.0)
    assert error(double=False, mask=[True, False, True]) == 5.0 - (3.0 + 0.5 * 7.0)


def test_targets_by_hand():
    check_targets()


def test_what_is_forbidden_is_no_ones_best():
    check_forbidden()


def test_the_target_is_a_constant():
    """∂(Q(x, a) − y)/∂Q is 1 at (x, a), and 0 everywhere else, the next state's best action included."""
    row = Transition(jnp.eye(2)[0], jnp.array(1), jnp.array(3.0), jnp.eye(2)[1], jnp.array(False))
    loss = lambda q: td_error(lambda x: x @ q, lambda x: x @ q, row, row.obs, row.next_obs, GAMMA, True)  # noqa: E731
    np.testing.assert_array_equal(jax.grad(loss)(Q), [[0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_epsilon_greedy_probabilities(epsilon):
    p = jnp.exp(epsilon_greedy(Q[0], jnp.array(epsilon)).log_probs())
    np.testing.assert_allclose(p, np.array([0, 1 - epsilon, 0]) + epsilon / 3, atol=1e-6)
    masked = epsilon_greedy(Q[0], jnp.array(epsilon), jnp.array([True, False, True]))
    np.testing.assert_allclose(jnp.exp(masked.log_probs()), [epsilon / 2, 0, 1 - epsilon / 2], atol=1e-6)
    assert epsilon == 1 or masked.mode() == 2


def test_of_equals_the_first_is_chosen_and_probabilities_sum_to_one():
    p = jnp.exp(epsilon_greedy(jnp.zeros(3), jnp.array(0.3)).log_probs())
    np.testing.assert_allclose(p, [0.8, 0.1, 0.1], atol=1e-6)


def test_hubers_loss_is_linear_beyond_one():
    np.testing.assert_allclose([huber(jnp.array(x)) for x in (0.5, -1.0, 3.0)], [0.125, 0.5, 2.5])
    assert float(jax.grad(huber)(jnp.array(-40.0))) == -1.0


def check_masks_of_what_follows() -> None:
    """Two episodes in one stream, of two steps and of one: the mask after a step is the next row's, after the last its own."""
    mask = jnp.array([[True, False], [False, True], [True, True]])
    t = jnp.arange(3.0)
    flag = jnp.array([False, True, True])
    rows = Step(
        obs=t[:, None], prev_action=jnp.zeros(3, jnp.int32), prev_reward=t, first=flag, episode=jnp.zeros(3, jnp.int32),
        action_mask=mask, action=jnp.zeros(3, jnp.int32), reward=t, terminated=flag, truncated=jnp.zeros(3, bool),
        next_obs=t[:, None] + 1, valid=jnp.ones(3, bool),
    )  # fmt: skip
    found = transitions(rows)
    np.testing.assert_array_equal(found.next_mask, mask[jnp.array([1, 1, 2])])
    np.testing.assert_array_equal(found.next_obs[:, 0], [1, 2, 3])


def test_the_mask_after_a_step_is_that_of_its_own_episode():
    check_masks_of_what_follows()


def test_the_shaped_reward_is_what_training_learns_from():
    one = jnp.ones(1)
    flag = jnp.array([False])
    rows = Step(
        obs=one[:, None], prev_action=jnp.zeros(1, jnp.int32), prev_reward=one, first=flag, episode=jnp.zeros(1, jnp.int32),
        action=jnp.zeros(1, jnp.int32), reward=one, terminated=flag, truncated=flag, next_obs=one[:, None], valid=~flag,
        shaped_reward=5 * one,
    )  # fmt: skip
    assert transitions(rows).reward == 5.0
