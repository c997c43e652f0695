"""Beliefs: what is read after a row is what the learner held there; what is kept is what was found."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, Push
from laws.experience import collected, one_task
from laws.learners import ALGORITHMS, LAYOUTS, LEARNERS

import adaptax as ax
from adaptax import checkpoint
from adaptax.algorithms.varibad import VariBAD
from adaptax.collection.replay import readapt, replay_states
from adaptax.errors import AdaptaxError
from adaptax.evaluation.beliefs import (
    has_belief,
    keep_beliefs,
    nearest,
    observe_beliefs,
    save_beliefs,
    saved_beliefs,
)
from adaptax.reports.summary import BeliefSummary
from adaptax.tasks.base import Places
from adaptax.training.progress import silent


def check_states() -> None:
    """The probe stores its memory in `aux`; its fast state after a round is `readapt`'s."""
    case, layout = LEARNERS["probe"], LAYOUTS["episodes"]
    one = one_task(collected(case, layout), 1)

    @eqx.filter_jit
    def found(one):
        return replay_states(case.learner, case.theta, one, layout, lambda fast, memory: (fast, memory))

    fast, memory = found(one)
    valid = np.asarray(one.rounds.valid)
    np.testing.assert_allclose(np.asarray(memory)[valid], np.asarray(one.rounds.aux)[valid], rtol=1e-5)
    assert float(jnp.ptp(fast[0])) == float(jnp.ptp(fast[1])) == 0.0
    np.testing.assert_allclose(fast[1, 0, 0], readapt(case.learner, case.theta, one, layout), rtol=1e-5)
    assert float(fast[0, 0, 0]) != float(fast[1, 0, 0])


def test_states_are_those_that_the_learner_was_in():
    check_states()


@pytest.mark.parametrize(
    "name, has",
    [
        ("rl2", True),
        ("pearl", True),
        ("varibad", True),
        ("snail", True),
        ("transformer", True),
        ("algorithm-distillation", True),
        ("metanet", True),
        ("rebal", True),
        ("maml", False),
    ],
)
def test_who_has_a_belief(name, has):
    assert has_belief(ALGORITHMS[name].learner, ALGORITHMS[name].theta) == has


@pytest.mark.parametrize("name", ["rl2", "snail", "transformer", "algorithm-distillation"])
def test_the_policy_says_what_it_does_of_the_belief_alone(name):
    """What reports draw of learners that remember is all that their actions are made of."""
    case, layout = LEARNERS[name], LAYOUTS["episodes"]
    one = one_task(collected(case, layout), 1)

    @eqx.filter_jit
    def said(one):
        look = lambda fast, memory: case.learner.belief(case.theta, fast, memory)  # noqa: E731
        beliefs = replay_states(case.learner, case.theta, one, layout, look)
        say = lambda belief, step: case.theta.say(case.family.spec.action, belief, step).dist  # noqa: E731
        for _ in range(3):
            say = jax.vmap(say)
        return say(beliefs, one.rounds)

    valid = np.asarray(one.rounds.valid)
    for again, stored in zip(jax.tree.leaves(said(one)), jax.tree.leaves(one.rounds.dist), strict=True):
        np.testing.assert_allclose(np.asarray(again)[valid], np.asarray(stored)[valid], atol=1e-5)


class Mapped(Corridor):
    """The corridor's cells are its places."""

    def places(self, task):
        cells = jnp.array([[-1, 0, 1]])
        obs = jax.vmap(jax.vmap(self.observe))(cells)
        return Places(obs, jnp.zeros((1, 3), jnp.int32), obs, jnp.where(cells == task, 1.0, 0.0))


TINY = VariBAD(
    tasks=4,
    hidden=4,
    latent=2,
    policy_hidden=(4,),
    decoder_hidden=(4,),
    minibatches=1,
    reward_inputs="next-obs",
)


def test_a_run_is_observed(tmp_path):
    run = ax.train(TINY, Mapped(), updates=1, seed=0, report=silent)
    found = observe_beliefs(run, tasks=3)
    assert (
        found is not None and found.maps is not None and found.where is not None and found.truth is not None
    )
    assert found.beliefs.shape == (3, 8, 4) and found.maps.shape == (3, 8, 1, 3)
    assert found.where[:, 0].tolist() == [[0, 1]] * 3, "a walk begins in the middle"
    assert found.features is not None
    np.testing.assert_array_equal(found.truth[:, 0, 2], found.features[:, 0] == 1)
    # A map is what the learner expects under the belief then; here of the first row.
    learner, theta = run.algorithm.learner, run.state.theta
    again = observe_beliefs(run, tasks=3)
    assert again is not None and (again.beliefs == found.beliefs).all(), "the same look finds the same"
    memory = learner.remember(theta)
    step = jax.tree.map(lambda x: x[0, 0, 0, 0], _lifetime_rows(run))
    _, memory = learner.act(theta, None, memory, step, jax.random.key(0))
    expected = learner.expected_reward(
        theta, None, memory, jnp.zeros(3), jnp.zeros((), jnp.int32), Corridor().observe(jnp.array(1))
    )
    np.testing.assert_allclose(found.maps[0, 0, 0, 2], expected, rtol=1e-4)

    assert saved_beliefs(tmp_path) == []
    save_beliefs(tmp_path, found)
    [kept] = saved_beliefs(tmp_path)
    for name in BeliefSummary.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(kept, name), getattr(found, name))
    checkpoint.save_arrays(tmp_path / "evaluation/beliefs/test.safetensors", {})
    with pytest.raises(AdaptaxError, match="holds no beliefs"):
        saved_beliefs(tmp_path)


def _lifetime_rows(run):
    from adaptax.evaluation import beliefs

    layout = run.algorithm.test_layout(None)
    arguments = (
        run.algorithm.learner,
        run.state.theta,
        run.family,
        layout,
        "test",
        3,
        False,
        beliefs.EVALUATION_SEED,
    )
    return beliefs._lifetimes(*arguments).rounds


def test_learners_without_beliefs_keep_none(tmp_path):
    run = ax.train(ax.MAML(tasks=2, streams=2, hidden=(4,)), Push(), updates=0, seed=0, report=silent)
    assert observe_beliefs(run) is None
    keep_beliefs(tmp_path, run)
    assert list(tmp_path.iterdir()) == []


def test_the_place_of_a_row_is_the_one_that_looks_most_like_it():
    places = np.arange(6.0).reshape(1, 2, 3, 1)
    obs = np.array([0.2, 4.9, 3.0]).reshape(1, 3, 1)
    assert nearest(obs, places)[0].tolist() == [[0, 0], [1, 2], [1, 0]]
