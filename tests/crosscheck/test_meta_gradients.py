"""Meta-gradients against those that PyTorch computed: `make_meta_gradients.py` says of what, and names the arrays.

The library is given the same parameters and the same rows. Its own path is what is compared: advantages, replay with the
adaptation inside, the clipped objective, and the mean gradient over tasks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.adaptation.gradient import GradientTheta
from adaptax.algorithms.few_shot import query_error
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.meta_gradient import MetaGradientAlgorithm
from adaptax.chunks import mean_gradient
from adaptax.collection.few_shot import few_shot, predict
from adaptax.networks.distributions import uniform
from adaptax.networks.layers import MLP
from adaptax.outer.post_adaptation import clipped_objective
from adaptax.tasks.base import Examples
from adaptax.types import Box, Discrete, Layout, Lifetime, Spec, Step

FILE = Path(__file__).with_name("meta_gradients.npz")
POLICIES = ("gaussian", "categorical")
VARIANTS = {
    "second-order": {},
    "first-order": {"first_order": True},
    "head-only": {"head_only": True},
    "late": {"inner_steps": 1},
    "meta-sgd": {"learned_inner_lr": True},
}
TOLERANCE = {"float64": 5e-6, "float32": 3e-3}
"""Of ‖g − g'‖/‖g'‖, leaf by leaf. In float64 both sides compute alike, and what is left is that the values are stored as float32.
In float32 the baseline's regression, whose features of time are close to collinear, leaves three digits."""


@functools.cache
def stored() -> dict[str, np.ndarray]:
    with np.load(FILE) as arrays:
        return dict(arrays)


@contextlib.contextmanager
def computed_in(precision: str) -> Iterator[None]:
    with jax.enable_x64(precision == "float64"):
        yield


def given(x: np.ndarray) -> jax.Array:
    """A stored array in the precision that the library computes in now."""
    return jnp.asarray(x, float if x.dtype == np.float32 else x.dtype)


def under(prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix/`, by the rest of their names."""
    found = {n.removeprefix(prefix + "/"): x for n, x in stored().items() if n.startswith(prefix + "/")}
    assert found, f"{FILE.name} has nothing under {prefix}"
    return found


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a policy, or of a network alone, by the names of the file."""
    mlp, rest = (tree, {}) if isinstance(tree, MLP) else (tree.mlp, {"log_std": tree.log_std})
    for i, layer in enumerate(mlp.layers):
        rest |= {f"{i}.weight": layer.weight, f"{i}.bias": layer.bias}
    return rest


def filled(tree: Any, values: dict[str, np.ndarray]) -> Any:
    """A policy or network with the file's numbers in place of its own."""
    assert named(tree).keys() == values.keys()
    new = [given(values[n]) for n in named(tree)]
    assert [x.shape for x in named(tree).values()] == [x.shape for x in new]
    return eqx.tree_at(lambda t: list(named(t).values()), tree, new)


def assert_same(found: dict[str, Any], expected: dict[str, np.ndarray], precision: str) -> None:
    """Leaf by leaf; leaves that are zero there must be zero here."""
    assert found.keys() == expected.keys()
    for name, e in expected.items():
        norm = float(np.linalg.norm(e))
        error = float(np.linalg.norm(np.asarray(found[name]) - e))
        assert error <= TOLERANCE[precision] * norm, f"{name}: ‖g − g'‖ = {error:.2e}, ‖g'‖ = {norm:.2e}"


# --- reinforcement learning --------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    algorithm: MetaGradientAlgorithm
    layout: Layout
    theta: GradientTheta
    lifetimes: Lifetime
    advantages: jax.Array
    """[B, K, N, T], stored"""
    weights: jax.Array
    """[B]"""


def case(policy: str, variant: str, rounds: int) -> Case:
    shared, arrays = under("rl"), under(f"rl/{policy}")
    tasks, _, streams, steps = arrays["valid"].shape
    actions = Box((-1.0,) * 2, (1.0,) * 2) if policy == "gaussian" else Discrete(arrays["mask"].shape[-1])
    spec = Spec("stored", arrays["obs"].shape[-1:], actions, steps, masked="mask" in arrays)
    hidden = tuple(arrays[f"params/{i}.bias"].shape[0] for i in range(2))
    config = MAML(
        tasks=tasks, streams=streams, later_lr_factor=float(shared["late"]), hidden=hidden, inner_max_norm=0.0,
        gamma=float(shared["gamma"]), gae_lambda=float(shared["lambda"]), clip=float(shared["clip"]),
        # Meta-SGD's rates are stored whole, and learned here in units of inner_lr.
        inner_lr=1.0 if variant == "meta-sgd" else float(shared["lr"]),
        **({"inner_steps": rounds - 1} | VARIANTS[variant]),
    )  # fmt: skip
    algorithm = config.build(spec)
    assert isinstance(algorithm, MetaGradientAlgorithm)
    learner, layout = algorithm.learner, Layout(rounds, streams, steps, episodes=None)

    theta = learner.init(jax.random.key(0))
    moments = [
        given(shared["obs_mean"]),
        given(shared["obs_variance"]),
    ]
    theta = eqx.tree_at(lambda t: [t.normaliser.obs.mean, t.normaliser.obs.variance], theta, moments)
    theta = eqx.tree_at(lambda t: t.policy, theta, filled(theta.policy, under(f"rl/{policy}/params")))
    if variant == "meta-sgd":
        theta = eqx.tree_at(lambda t: t.rule, theta, filled(theta.rule, under(f"rl/{policy}/rates")))

    data = {n: given(arrays[n][:, :rounds]) for n in arrays if arrays[n].ndim > 3}
    rows = Step(
        obs=data["obs"], prev_action=jnp.zeros_like(data["action"]), prev_reward=jnp.zeros_like(data["reward"]),
        first=data["first"], episode=jnp.zeros_like(data["first"], jnp.int32), action_mask=data.get("mask"),
        action=data["action"], reward=data["reward"], terminated=data["terminated"], truncated=data["truncated"],
        valid=data["valid"], logp=data["old_logp"],
    )  # fmt: skip
    lifetimes = Lifetime(None, rows, jax.random.split(jax.random.key(0), tasks))
    # The old distributions, which only the metric of the KL divergence reads, are not stored.
    dist = jax.tree.map(lambda x: jnp.broadcast_to(x, (*rows.valid.shape, *x.shape)), uniform(actions))
    lifetimes = dataclasses.replace(lifetimes, rounds=dataclasses.replace(rows, dist=dist))
    return Case(
        algorithm, layout, theta, lifetimes, data["advantages"], given(shared["weights"])
    )  # fmt: skip


def check_advantages(policy: str, precision: str = "float64") -> None:
    with computed_in(precision):
        c = case(policy, "second-order", 3)
        found = jax.jit(jax.vmap(jax.vmap(c.algorithm.learner.advantages)))(c.lifetimes.rounds)
        np.testing.assert_allclose(found, c.advantages, atol=TOLERANCE[precision])


def check(policy: str, variant: str, rounds: int, precision: str = "float64") -> None:
    with computed_in(precision):
        _check(policy, variant, rounds, precision)


def _check(policy: str, variant: str, rounds: int, precision: str) -> None:
    c = case(policy, variant, rounds)
    learner = c.algorithm.learner
    params, frozen = eqx.partition(c.theta, learner.trainable(c.theta))
    objective = clipped_objective(learner, c.layout, frozen, c.algorithm.clip)

    def loss(params, one_task):
        value, metrics = objective(params, one_task)
        return value, metrics | {"loss": value}

    data = (c.lifetimes, c.advantages[:, -1], c.weights)
    gradient, metrics = jax.jit(lambda params, data: mean_gradient(loss, params, data, 1))(params, data)
    name = f"rl/{policy}/{variant}/{rounds}"
    np.testing.assert_allclose(metrics["loss"], stored()[f"{name}/loss"], rtol=TOLERANCE[precision])
    assert_same(named(gradient.policy), under(f"{name}/gradient"), precision)
    if variant == "meta-sgd":
        assert_same(named(gradient.rule), under(f"{name}/rates_gradient"), precision)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("policy", POLICIES)
def test_advantages_are_those_of_a_least_squares_fit(policy, precision):
    check_advantages(policy, precision)


@pytest.mark.parametrize("rounds", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_meta_gradients_are_those_of_pytorch(policy, variant, rounds):
    check(policy, variant, rounds)


@pytest.mark.parametrize("variant", ["second-order", "meta-sgd"])
@pytest.mark.parametrize("policy", POLICIES)
def test_they_are_in_single_precision_too(policy, variant):
    check(policy, variant, 3, "float32")


def test_the_stored_variants_differ():
    """Or a library that does the same in all of them would pass."""
    for policy in POLICIES:
        of = lambda variant: np.concatenate(  # noqa: E731
            [g.ravel() for g in under(f"rl/{policy}/{variant}/3/gradient").values()]  # noqa: B023
        )
        for variant in VARIANTS.keys() - {"second-order"}:
            assert np.linalg.norm(of(variant) - of("second-order")) > 0.03 * np.linalg.norm(
                of("second-order")
            )


# --- supervised tasks: through the driver -------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("variant", ["second-order", "first-order"])
@pytest.mark.parametrize("kind", ["mse", "cross-entropy"])
def test_the_supervised_meta_gradients_are_those_of_pytorch(kind, variant, steps):
    with computed_in("float64"):
        values = under(f"supervised/{kind}/params")
        sizes = [values[f"{i}.bias"].shape[0] for i in range(3)]
        parts = ("support_x", "support_y", "query_x", "query_y")
        examples = Examples(*(given(stored()[f"supervised/{kind}/{n}"]) for n in parts))
        n, shots, width = examples.support_x.shape
        infinite = (np.inf,) * sizes[-1]
        labels = Box(tuple(-x for x in infinite), infinite) if kind == "mse" else Discrete(sizes[-1])
        spec = Spec("stored", (width,), labels, shots, support=shots)
        config = MAML(
            tasks=n, hidden=tuple(sizes[:-1]), inner_lr=float(stored()["supervised/lr"]), inner_steps=steps, inner_max_norm=0.0,
            first_order=variant == "first-order",
        )  # fmt: skip
        algorithm = config.build(spec)
        learner = algorithm.learner
        theta = learner.init(jax.random.key(0))
        mlp = filled(MLP(width, sizes[:-1], sizes[-1], jax.random.key(0)), values)
        theta = eqx.tree_at(lambda t: t.policy.mlp, theta, mlp)
        keys = jax.random.split(jax.random.key(0), n)
        data = jax.vmap(lambda e, k: few_shot(spec, e, None, k))(examples, keys)

        def query_loss(mlp: MLP) -> jax.Array:
            at = eqx.tree_at(lambda t: t.policy.mlp, theta, mlp)
            return jax.vmap(lambda one: query_error(predict(learner, at, one, steps), one.query))(data).mean()

        value, gradient = jax.jit(jax.value_and_grad(query_loss))(mlp)
        name = f"supervised/{kind}/{variant}/{steps}"
        np.testing.assert_allclose(value, stored()[f"{name}/loss"], rtol=TOLERANCE["float64"])
        assert_same(named(gradient), under(f"{name}/gradient"), "float64")
