"""Choosing among candidates that the observation describes."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.learners import Case
from laws.test_fast_path import check

from adaptax.algorithms.registry import ENTRIES
from adaptax.algorithms.rl2 import RL2
from adaptax.networks.candidates import Scorer, choice_inputs, choice_inputs_size, in_rows
from adaptax.networks.normaliser import Moments, Normaliser
from adaptax.networks.policy import Policy
from adaptax.tasks.base import TaskFamily
from adaptax.training.program import meta_update
from adaptax.types import Candidates, Outcome, Spec, Step

SPACE = Candidates(3, 2)
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Offers(TaskFamily):
    """One of three offers of two numbers is taken; the task says what each number is worth."""

    @property
    def spec(self):
        return Spec("offers", (3, 2), SPACE, episode_steps=1, episodes=4, ood=False)

    def sample(self, key, split):
        return jax.random.normal(key, (2,))

    def reset(self, key, task):
        offers = jax.random.normal(key, (3, 2))
        return offers, offers

    def step(self, key, state, action, task):
        return state, Outcome(state, state[action] @ task, jnp.array(True), jnp.array(False))


def row(action: int, reward: float, start: bool) -> Step:
    return Step(
        jnp.zeros((3, 2)),
        jnp.int32(action),
        jnp.float32(reward),
        jnp.array(True),
        jnp.int32(0 if start else 4),
    )


def check_choice_inputs() -> None:
    """What is told is the row chosen among those before, and what came of it."""
    before = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    normaliser = dataclasses.replace(
        Normaliser.of(6), reward=Moments(jnp.array([3.0]), jnp.array([4.0]), jnp.ones(()))
    )
    told = choice_inputs(SPACE, normaliser, row(1, 5.0, False), before)
    np.testing.assert_allclose(told, [3.0, 4.0, 1.0, 1.0], rtol=1e-5)
    assert len(told) == choice_inputs_size(SPACE)
    np.testing.assert_array_equal(choice_inputs(SPACE, normaliser, row(1, 5.0, True), before), [0, 0, 0, 1])


def test_what_is_told_of_a_choice():
    check_choice_inputs()


def check_order() -> None:
    """Another order of the candidates is the same order of their probabilities; what is appended belongs to all of them."""
    x, order = jax.random.normal(KEY, (8,)), np.array([2, 0, 1])
    rows, beside = in_rows(SPACE, x)
    turned = jnp.concatenate([rows[order].reshape(-1), beside])
    policy = Policy(8, (5,), SPACE, KEY)
    policy = jax.tree.map(lambda leaf: leaf + 0.3, policy)
    np.testing.assert_allclose(policy(turned).logits, policy(x).logits[order], rtol=1e-4)
    assert np.ptp(policy(x).logits) > 0.01
    scorer = jax.tree.map(lambda leaf: leaf + 0.3, Scorer(2, (5,), SPACE, KEY))
    np.testing.assert_allclose(scorer(beside, rows[order]), scorer(beside, rows)[order], rtol=1e-4)


def test_the_order_of_candidates_means_nothing():
    check_order()


def check_memory_of_choices() -> None:
    """RL²'s memory of what was offered is the same step by step and at once, and rows that are passed over leave it alone."""
    family = Offers()
    check(Case(RL2(hidden=5, embedding=4, policy_hidden=(4,)).build(family.spec).learner, family))


def test_unroll_is_a_scan_of_act_with_candidates():
    check_memory_of_choices()


@pytest.mark.parametrize("name", ["maml", "metanet", "snail"])
def test_learners_that_read_all_rows_together_take_them_too(name):
    """Of the shapes alone: nothing is computed."""
    family = Offers()
    algorithm = ENTRIES[name].default.build(family.spec)
    state = eqx.filter_eval_shape(algorithm.init, KEY)
    eqx.filter_eval_shape(lambda state: meta_update(algorithm, family, state)[1], state)


def test_an_observation_of_another_shape_is_told():
    with pytest.raises(
        ValueError, match=r"of 3 candidates with 2 numbers each the observation is \(3, 2\), not \(6,\)"
    ):
        Spec("offers", (6,), SPACE, episode_steps=1)
