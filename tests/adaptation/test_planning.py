"""Plans, and the model that they are tried in, by hand."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, Push

from adaptax.adaptation.dynamics_model import DynamicsModel, Imagination, ModelRow, Scales
from adaptax.adaptation.planning import Planner, coloured, elite_moments, left_of, weighted_mean
from adaptax.types import Box, Discrete

TARGET = jnp.array([[0.5, -0.9], [-0.3, 0.2], [0.8, 0.0]])


def planner(space: Box | Discrete, method: str, generations: int = 1) -> Planner:
    return Planner(space, method, 3, 200, generations, jnp.array(0.5), jnp.array(0.1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "generations", "within"), [("shooting", 1, 0.7), ("cem", 8, 0.1), ("mppi", 8, 0.2)]
)
def test_a_search_finds_the_best_plan(method, generations, within):
    """Returns −|x − target|², of bounded actions."""
    search = planner(Box((-1.0, -1.0), (1.0, 1.0)), method, generations)
    score = lambda plans: -((plans - TARGET) ** 2).sum((1, 2))  # noqa: E731
    plan = jax.jit(lambda key: search.search(score, search.begin(), key))(jax.random.key(0))
    assert jnp.abs(plan - TARGET).max() < within


def test_a_search_among_choices_keeps_the_plan_that_was_better():
    search = planner(Discrete(9), "shooting")
    right = jnp.array([3, 1, 4])
    score = lambda plans: (plans == right).sum(1) * 1.0  # noqa: E731
    assert search.search(score, right, jax.random.key(0)).tolist() == [3, 1, 4]
    np.testing.assert_array_equal(left_of(right), [1, 4, 4])


def check_weights() -> None:
    """Two sequences, λ σ_R = 0.5: weights 1 : e²."""
    mean = weighted_mean(jnp.array([[[0.0]], [[1.0]]]), jnp.array([3.0, 4.0]), jnp.array(1.0))
    np.testing.assert_allclose(mean, [[np.exp(2) / (1 + np.exp(2))]], rtol=1e-4)


def check_elites() -> None:
    """The best two of twenty."""
    sequences = jnp.arange(20.0)[:, None, None]
    returns = jnp.where((sequences == 7) | (sequences == 11), 1.0, 0.0)[:, 0, 0]
    mean, deviation = elite_moments(sequences, returns)
    assert mean.item() == 9.0 and deviation.item() == 2.0


def check_noise() -> None:
    """Of unit variance at every step, each correlated with the one before by β."""
    noise = np.asarray(coloured(jax.random.key(0), (20_000, 4, 1), jnp.array(0.8)))[:, :, 0]
    np.testing.assert_allclose(noise.var(0), 1.0, atol=0.05)
    np.testing.assert_allclose((noise[:, 1:] * noise[:, :-1]).mean(0), 0.8, atol=0.05)


def test_mppi_weighs_sequences_by_their_returns():
    check_weights()


def test_cem_looks_at_the_best_tenth():
    check_elites()


def test_noise_hangs_together():
    check_noise()


# --- the model -------------------------------------------------------------------------------------


def rows(n: int = 3) -> ModelRow:
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), (n, *shape))  # noqa: E731
    return ModelRow(draw(0, 2), draw(1, 2), draw(2, 2), draw(3), draw(4), jnp.arange(n) == 0)


def says(model: DynamicsModel, *, bias: list[float]):
    """A network that says the same of everything."""
    network = model.init(jax.random.key(0))
    network = jax.tree.map(jnp.zeros_like, network)
    return eqx.tree_at(lambda n: n.layers[-1].bias, network, jnp.array(bias))


def check_loss_by_hand() -> None:
    """½ Σ (δ̂ − δ)² e^{−v} + ½ Σ v + the cross entropy; shaping is no part of what a learner sees."""
    row = jax.tree.map(lambda x: x[0], rows())
    scales = Scales.of(Push().spec)
    target = np.array([*(row.next_obs - row.obs), row.reward, row.shaping], np.float64)
    ends = np.log1p(np.exp(-0.3))  # terminated, with ℓ = 0.3
    squares = (np.array([0.1, 0.2, 0.3, 0.4]) - target) ** 2
    plain = DynamicsModel(Push().spec, (4,), probabilistic=False)
    network = says(plain, bias=[0.1, 0.2, 0.3, 0.4, 0.3])
    np.testing.assert_allclose(plain.loss(network, scales, row), squares.sum() / 2 + ends, rtol=1e-5)
    np.testing.assert_allclose(
        plain.loss(network, scales, row, seen=True), squares[:3].sum() / 2 + ends, rtol=1e-5
    )
    unsure = DynamicsModel(Push().spec, (4,), probabilistic=True)
    network = says(unsure, bias=[0.1, 0.2, 0.3, 0.4, *[-1.0] * 4, 0.3])
    v = float(unsure.predict(network, scales, row.obs, row.action).log_variance[0])
    assert -1.1 < v < -0.9
    expected = (squares * np.exp(-v) + v).sum() / 2 + ends
    np.testing.assert_allclose(unsure.loss(network, scales, row), expected, rtol=1e-5)


def check_scales() -> None:
    """What is said of a row in the units of scales is the row again."""
    scales = Scales.of(Push().spec).update(rows(50), jnp.arange(50) < 40)
    row = jax.tree.map(lambda x: x[0], rows())
    said = scales.restored(scales.targets(row))
    np.testing.assert_allclose(
        said, [*(row.next_obs - row.obs), row.reward, row.shaping], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(scales.reward.mean[0], rows(50).reward[:40].mean(), rtol=1e-4, atol=1e-5)


def check_imagined_return() -> None:
    """Each step pays 2 + 1, and goes on with probability ½: 3 (1 + ½γ + ¼γ²)."""
    model = DynamicsModel(Corridor().spec, (4,), probabilistic=False)
    one = says(model, bias=[0.0, 0.0, 0.0, 2.0, 1.0, 0.0])
    networks = jax.tree.map(lambda x: jnp.stack([x, x]), one)
    imagination = Imagination(model, networks, Scales.of(Corridor().spec), None, jnp.array(0.5))
    got = imagination.returns(jnp.zeros((2, 3)), jnp.zeros((1, 3), jnp.int32), jax.random.key(0))
    np.testing.assert_allclose(got, [3 * (1 + 0.25 + 0.0625)], rtol=1e-5)


def test_a_models_loss_by_hand():
    check_loss_by_hand()


def test_scales_are_undone():
    check_scales()


def test_an_imagined_return_by_hand():
    check_imagined_return()


def test_a_probabilistic_member_draws_its_steps():
    model = DynamicsModel(Push().spec, (4,), probabilistic=True)
    network = says(model, bias=[0.0] * 9)
    scales, at = Scales.of(Push().spec), jnp.zeros(2)
    step = lambda noise: model.step(network, scales, at, at, None, noise)[0]  # noqa: E731
    assert jnp.abs(step(jnp.ones(4)) - step(jnp.zeros(4))).min() > 0.3
    certain = dataclasses.replace(model, probabilistic=False)
    assert (
        not Imagination(
            certain, jax.tree.map(lambda x: x[None], network), Scales.of(Push().spec), None, jnp.array(1.0)
        )
        .noise(jax.random.key(0), 2)
        .any()
    )
