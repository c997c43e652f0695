"""VariBAD: its ELBO by hand, who is trained by what, and what a belief knows when."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, Push
from laws.experience import collected, collected_on, one_task
from laws.learners import ALGORITHMS, Case, scrambled

from adaptax import trees
from adaptax.algorithms.varibad import VariBAD, VariBADAlgorithm
from adaptax.collection.replay import replay, replay_states
from adaptax.estimators.elbo import kl_terms, some_rows
from adaptax.networks.normaliser import Normaliser
from adaptax.training.program import make_program
from adaptax.types import Step

CONTINUOUS = ALGORITHMS["varibad, continuous"]


def algorithm_of(case: Case) -> VariBADAlgorithm:
    assert isinstance(case.algorithm, VariBADAlgorithm)
    return case.algorithm


def rows_of(case: Case, task: int = 0) -> Step:
    """The lifetime [T] of one task."""
    lifetime = collected(case, algorithm_of(case).layout)
    return trees.index(lifetime.rounds, (task, 0, 0))


# --- the loss ------------------------------------------------------------------------------------


def check_kl_by_hand() -> None:
    """N(0, 1) → N(1, 1) → N(1, 4) → N(3, 1): ½, ½ (4 − 1 − ln 4), ½ (¼ + 4/4 − 1 + ln 4)."""
    belief = jnp.array([[1.0, 0.0], [1.0, math.log(4.0)], [3.0, 0.0]])
    by_hand = [0.5, 0.5 * (3.0 - math.log(4.0)), 0.5 * (0.25 + math.log(4.0))]
    np.testing.assert_allclose(kl_terms(belief), by_hand, rtol=1e-5)
    # Of two entries they add up.
    two = jnp.concatenate([belief[:, :1], belief[:, :1], belief[:, 1:], belief[:, 1:]], axis=1)
    np.testing.assert_allclose(kl_terms(two), 2 * np.array(by_hand), rtol=1e-5)


def test_kl_by_hand():
    check_kl_by_hand()


MEAN, DEVIATION = 0.7, 0.5


def by_hand(decoded_rows: int = 8, elbo_terms: int = 8) -> tuple[VariBADAlgorithm, Any]:
    """One latent, always believed to be N(0.7, 0.25), which the decoders repeat: r̂ = m, ô = (m, m)."""
    config = VariBAD(
        tasks=4, hidden=3, latent=1, policy_hidden=(3,), decoder_hidden=(1,), decode_transitions=True, kl_weight=0.3,
        decoded_rows=decoded_rows, elbo_terms=elbo_terms,
    )  # fmt: skip
    algorithm = config.build(Push().spec)
    theta = algorithm.learner.init(jax.random.key(0))
    far = 50.0  # from the bend of the rectifier

    def repeat(decoder):
        zero = jax.tree.map(jnp.zeros_like, decoder)
        last = zero.rest.layers[0]
        return eqx.tree_at(
            lambda d: (d.of_m.weight, d.of_m.bias, d.rest.layers[0].weight, d.rest.layers[0].bias),
            zero,
            (jnp.ones((1, 1)), jnp.array([far]), jnp.ones_like(last.weight), jnp.full_like(last.bias, -far)),
        )

    belief = jnp.array([MEAN, 2 * math.log(DEVIATION)])
    return algorithm, eqx.tree_at(
        lambda t: (t.posterior.weight, t.posterior.bias, t.reward, t.transition),
        theta,
        (jnp.zeros_like(theta.posterior.weight), belief, repeat(theta.reward), repeat(theta.transition)),
    )


def check_elbo_by_hand(decoded_rows: int = 8, elbo_terms: int = 8) -> None:
    """E ½ (m − x)² = ½ ((μ − x)² + σ²), summed over all valid rows; one KL term that is not 0, among as many as there are rows."""
    algorithm, theta = by_hand(decoded_rows, elbo_terms)
    rows = rows_of(CONTINUOUS)
    valid = np.asarray(rows.valid)
    assert 2 < valid.sum() < 8
    keys = jax.random.split(jax.random.key(1), 20_000)
    losses, metrics = eqx.filter_jit(jax.vmap(algorithm.negative_elbo, (None, None, 0)))(theta, rows, keys)

    told = np.concatenate([np.asarray(rows.reward)[:, None], np.asarray(rows.next_obs)], 1)[valid]
    reconstruction = 0.5 * ((MEAN - told) ** 2 + DEVIATION**2).sum()
    kl = 0.5 * (DEVIATION**2 + MEAN**2 - 1.0) - math.log(DEVIATION)
    expected = reconstruction + 0.3 * kl / valid.sum()
    tolerance = 5 * float(losses.std()) / math.sqrt(len(keys))
    assert tolerance < 0.06 * expected
    assert abs(float(losses.mean()) - expected) < tolerance
    np.testing.assert_allclose(metrics["belief_kl_nats"], kl / valid.sum(), rtol=1e-5)


@pytest.mark.parametrize("decoded_rows, elbo_terms", [(8, 8), (2, 8), (8, 2)])
def test_elbo_by_hand(decoded_rows, elbo_terms):
    check_elbo_by_hand(decoded_rows, elbo_terms)


def test_rows_are_drawn_without_return_and_valid_ones_first():
    valid = jnp.array([True, False, True, True, False, True])
    index, ok = jax.vmap(lambda key: some_rows(valid, 2, key))(jax.random.split(jax.random.key(0), 4000))
    assert bool(ok.all()) and not bool((index[:, 0] == index[:, 1]).any())
    counts = np.bincount(np.asarray(index).ravel(), minlength=6)
    np.testing.assert_allclose(counts, 2000 * np.asarray(valid), atol=150)
    index, ok = some_rows(valid, 9, jax.random.key(0))
    assert sorted(index.tolist()) == list(range(6)) and int(ok.sum()) == 4


def check_elbo_gradient() -> None:
    """Against finite differences, in random directions of what the ELBO trains."""
    case = CONTINUOUS
    algorithm = eqx.tree_at(lambda a: a.kl_weight, algorithm_of(case), jnp.array(30.0))  # so that it counts
    theta, rows = case.theta, rows_of(case)
    params, frozen = eqx.partition(theta, algorithm.of_vae(theta))

    def loss(params):
        return algorithm.negative_elbo(eqx.combine(params, frozen), rows, jax.random.key(5))[0]

    @eqx.filter_jit
    def both(seed):
        leaves, treedef = jax.tree.flatten(params)
        ks = jax.random.split(jax.random.key(seed), len(leaves))
        way = treedef.unflatten([jax.random.normal(k, x.shape) for k, x in zip(ks, leaves, strict=True)])
        shifted = lambda ε: loss(jax.tree.map(lambda x, w: x + ε * w, params, way))  # noqa: E731
        ε = 5e-4
        return (
            jax.jvp(loss, (params,), (way,))[1],
            (shifted(ε) - shifted(-ε)) / (2 * ε),
            jax.grad(loss)(params),
            way,
        )

    for seed in range(3):
        slope, difference, gradient, way = both(seed)
        along = sum(jnp.vdot(g, w) for g, w in zip(*map(jax.tree.leaves, (gradient, way)), strict=True))
        assert abs(float(slope)) > 0.1
        np.testing.assert_allclose(difference, slope, rtol=0.02)
        np.testing.assert_allclose(along, slope, rtol=1e-3)


def test_elbo_gradient_is_that_of_finite_differences():
    check_elbo_gradient()


# --- who is trained by what -------------------------------------------------------------------------


def size(tree: Any) -> float:
    return max((float(jnp.abs(x).max()) for x in jax.tree.leaves(tree)), default=0.0)


def check_gradients_apart() -> None:
    """What is said has no gradient in the encoder, and the ELBO none in policy and critic: zeros, not small numbers."""
    case = CONTINUOUS
    algorithm, lifetime = algorithm_of(case), collected(case, algorithm_of(case).layout)
    one = one_task(lifetime, 0)

    def said(theta):
        out = replay(algorithm.learner, theta, one, algorithm.layout)
        logp = jax.vmap(jax.vmap(jax.vmap(lambda d, a: d.log_prob(a))))(out.dist, one.rounds.action)
        return (logp + out.value).sum()

    of_said = eqx.filter_jit(jax.grad(said))(case.theta)
    of_elbo = eqx.filter_jit(
        jax.grad(lambda t: algorithm.negative_elbo(t, rows_of(case), jax.random.key(0))[0])
    )(case.theta)
    policy, vae = algorithm.of_policy(case.theta), algorithm.of_vae(case.theta)
    assert size(eqx.filter(of_said, vae)) == 0.0 < size(eqx.filter(of_said, policy))
    assert size(eqx.filter(of_elbo, policy)) == 0.0 < size(eqx.filter(of_elbo, vae))
    # Together, and apart, they are all that is trained.
    both = jax.tree.map(lambda a, b: a + b, policy, vae)
    assert both == jax.tree.map(int, algorithm.learner.trainable(case.theta))


def test_policy_and_autoencoder_do_not_train_one_another():
    check_gradients_apart()


@pytest.mark.parametrize(
    "still, stays, moves", [("vae_lr", "of_vae", "of_policy"), ("lr", "of_policy", "of_vae")]
)
def test_each_has_its_own_optimiser(still, stays, moves, monkeypatch):
    monkeypatch.setattr(
        Normaliser, "keep_values", lambda self, critic, before: critic
    )  # moves with the units
    case = CONTINUOUS
    algorithm = eqx.tree_at(lambda a: getattr(a, still), algorithm_of(case), jnp.array(0.0))
    state = eqx.filter_jit(algorithm.init)(jax.random.key(0))
    state = eqx.tree_at(lambda s: s.theta, state, case.theta)
    lifetime = collected(case, algorithm.layout)
    after, _ = eqx.filter_jit(algorithm.learn)(state, lifetime, jax.random.key(1))
    change = jax.tree.map(lambda a, b: a - b, after.theta, case.theta)
    assert size(eqx.filter(change, getattr(algorithm, stays)(case.theta))) == 0.0
    assert size(eqx.filter(change, getattr(algorithm, moves)(case.theta))) > 1e-4


def check_what_is_said() -> None:
    """PPO's shortcut over the stored beliefs is a replay, under policies other than the one that collected too."""
    case = CONTINUOUS
    algorithm, lifetime = algorithm_of(case), collected(case, algorithm_of(case).layout)
    moved = scrambled(algorithm.learner, case.theta, seed=9)
    of_policy = algorithm.of_policy(case.theta)
    theta = jax.tree.map(lambda new, old, yes: new if yes else old, moved, case.theta, of_policy)

    @eqx.filter_jit
    def both(one):
        return algorithm.says(theta, one), replay(algorithm.learner, theta, one, algorithm.layout)

    valid = np.asarray(lifetime.rounds.valid[0])
    for a, b in zip(*map(jax.tree.leaves, both(one_task(lifetime, 0))), strict=True):
        np.testing.assert_allclose(np.asarray(a)[valid], np.asarray(b)[valid], rtol=1e-4, atol=1e-5)


def test_stored_beliefs_are_those_of_a_replay():
    check_what_is_said()


# --- what a belief knows when ---------------------------------------------------------------------------


def test_a_belief_does_not_know_what_comes_later():
    case = CONTINUOUS
    rows = rows_of(case)
    learner = algorithm_of(case).learner

    @eqx.filter_jit
    def beliefs(prev_reward, obs):
        steps = dataclasses.replace(rows, prev_reward=prev_reward, obs=obs)
        return learner.unroll(case.theta, None, learner.remember(case.theta), steps, jax.random.key(0))[0].aux

    for jacobian in jax.jacobian(beliefs, (0, 1))(rows.prev_reward, rows.obs):
        jacobian = np.asarray(jacobian).reshape(8, -1, 8, rows.obs.size // 8 if jacobian.ndim == 4 else 1)
        for t in range(3):
            assert np.abs(jacobian[t, :, t + 1 :]).max() == 0.0
            assert np.abs(jacobian[t, :, t]).max() > 0.0


def trained_on_corridors() -> tuple[VariBADAlgorithm, Any]:
    config = VariBAD(
        tasks=64, hidden=16, latent=2, policy_hidden=(8,), decoder_hidden=(16,), reward_inputs="next-obs", epochs=1,
        lr=1e-3, vae_lr=5e-3, vae_tasks=64,
    )  # fmt: skip
    algorithm = config.build(Corridor().spec)
    state = eqx.filter_jit(algorithm.init)(jax.random.key(0))
    program = make_program(Corridor())
    for _ in range(4):
        dispatch = program(algorithm, state, jnp.array(50, jnp.int32))
        state = dispatch.state
    return algorithm, state.theta


def test_a_belief_tells_tasks_apart_once_they_have_shown_themselves_and_not_before():
    """In a corridor the first step tells which end has the goal. Before it the difference between the rewards expected at the
    two ends is the same number in all tasks; after it, of 100 tasks at least 95 are told right, where chance gives 50."""
    algorithm, theta = trained_on_corridors()
    learner, family, layout = algorithm.learner, Corridor(), algorithm.layout
    tasks = jnp.tile(jnp.array([-1, 1], jnp.int32), 50)
    lifetime = collected_on(learner, family, theta, layout, tasks, jax.random.split(jax.random.key(5), 100))

    @eqx.filter_jit
    def right_minus_left(one):
        def read(fast, memory):
            at = lambda cell: learner.expected_reward(  # noqa: E731
                theta,
                fast,
                memory,
                family.observe(jnp.array(0)),
                jnp.array(0, jnp.int32),
                family.observe(cell),
            )
            return at(jnp.array(1)) - at(jnp.array(-1))

        return replay_states(learner, theta, one, layout, read)[0, 0]

    found = np.asarray(jax.vmap(right_minus_left)(lifetime))  # [100, T]
    valid = np.asarray(lifetime.rounds.valid[:, 0, 0])
    assert np.ptp(found[:, 0]) < 1e-5 and abs(found[0, 0]) < 0.5
    seen = valid[:, 1]
    told = np.sign(found[seen, 1]) == np.asarray(tasks)[seen]
    assert seen.sum() == 100 and told.mean() >= 0.95
    assert np.abs(found[:, 1]).mean() > 0.5
