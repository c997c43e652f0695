"""L2: averaged over every lifetime of a tiny process, the meta-gradient is that of the algorithm's stated objective.

The lifetimes are enumerated, and weighted by their probabilities under the parameters that collect. What `learn` does with
one lifetime is read off a plain gradient step. It is compared with the derivative of the enumerated objective

    J(θ) = Σ_D P(D; θ) R(D),        D = (D₁, …, D_K),   P(D; θ) = Π_k π_{θ_k}(D_k),   θ_{k+1} = U(θ_k, D_k).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from laws.enumeration import (
    FAMILY,
    every_lifetime,
    log_probs,
    probabilities,
    relative_error,
    returns_to_go,
    trained_part,
    with_behaviour,
)
from laws.learners import scrambled

from adaptax import trees
from adaptax.adaptation import gradient
from adaptax.adaptation.gradient import GradientLearner
from adaptax.algorithms import emaml, gbml, maml, memory_ppo, rl2, snail, transformer
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.meta_gradient import MetaGradient, MetaGradientAlgorithm
from adaptax.algorithms.promp import ProMP
from adaptax.estimators.trust_region import line_search
from adaptax.networks.normaliser import Normaliser
from adaptax.outer import trust_region
from adaptax.types import Lifetime, Step, Theta


@contextlib.contextmanager
def plain_steps() -> Iterator[None]:
    """θ' = θ − ∇L instead of what the outer steps make of the gradient, and advantages that are unbiased."""
    accept = lambda evaluate, start, step, loss, *_: line_search(  # noqa: E731
        lambda point: (loss - 1.0, jnp.zeros(())), start, step, loss, jnp.inf
    )
    replacements = [
        (MetaGradientAlgorithm, "optimizer", optax.identity()),
        (trust_region, "conjugate_gradient", lambda product, b, iterations: (b, jnp.zeros_like(b))),
        (trust_region, "line_search", accept),
        (GradientLearner, "advantages", lambda self, batch: returns_to_go(batch)),
        (emaml, "standard_deviation", lambda x, valid: jnp.ones(())),
        (memory_ppo.MemoryPPOAlgorithm, "optimizer", optax.identity()),
        (Normaliser, "keep_values", lambda self, critic, before: critic),
        (memory_ppo, "standardise", lambda x, valid: x),
    ]
    with contextlib.ExitStack() as stack:
        for replacement in replacements:
            stack.enter_context(patch.object(*replacement))
        yield


def expected_step(algorithm: Algorithm, theta: Theta) -> tuple[jax.Array, Lifetime]:
    """E[θ − θ'] over all lifetimes, θ' after `learn` on one of them; and the lifetimes."""

    @eqx.filter_jit
    def run(algorithm, theta, lifetimes):
        learner = algorithm.learner
        lifetimes = with_behaviour(learner, theta, algorithm.layout, lifetimes)
        state = eqx.tree_at(lambda s: s.theta, algorithm.init(jax.random.key(0)), theta)

        def step(lifetime):
            after, metrics = algorithm.learn(state, trees.index(lifetime, jnp.newaxis), jax.random.key(0))
            moved = trained_part(learner, theta) - trained_part(learner, after.theta)
            # A trust region's step is as long as the region is wide; the gradient's own length is a metric.
            bounded = isinstance(algorithm, maml.TrustRegionMAML)
            return moved * metrics["gradient_norm"] / jnp.linalg.norm(moved) if bounded else moved

        weights = probabilities(lifetimes)
        return weights @ jax.vmap(step)(lifetimes), weights.sum()

    lifetimes = every_lifetime(algorithm.layout)
    with plain_steps():
        step, total = run(algorithm, theta, lifetimes)
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    return step, lifetimes


# --- MAML and its relatives --------------------------------------------------------------------------------

SMALL = dict(
    tasks=1, streams=2, hidden=(3,), inner_lr=0.7, inner_max_norm=0.0, gamma=1.0, gae_lambda=1.0, lr=1.0, epochs=1, max_kl_nats=1e6
)  # fmt: skip
BASE = maml.MAML(**SMALL)
PROMP = ProMP(kl_penalty=10.0, **SMALL)  # without a slope in the first epoch, whatever it weighs
EMAML = emaml.EMAML(credit=1.0, **SMALL)
VARIANTS = {
    "maml": BASE,
    "maml-trpo": dataclasses.replace(BASE, outer="trpo", max_kl_nats=0.01),
    "fomaml": dataclasses.replace(BASE, first_order=True),
    "meta-sgd": dataclasses.replace(BASE, learned_inner_lr=True),
    "anil": dataclasses.replace(BASE, head_only=True),
    "gbml, rates": gbml.GBML(direction="rates", **SMALL),
    "two steps": dataclasses.replace(BASE, inner_steps=2, streams=1),
    "promp": PROMP,
    "promp, two steps": dataclasses.replace(PROMP, inner_steps=2, streams=1),
    "emaml": dataclasses.replace(EMAML, estimator="plain"),
    "emaml, two steps": dataclasses.replace(EMAML, estimator="plain", inner_steps=2, streams=1),
    "emaml, dice": dataclasses.replace(EMAML, estimator="dice"),
    "emaml, λ = 0": dataclasses.replace(EMAML, estimator="loaded-dice", dice_lambda=0.0),
}


def stated(config: MetaGradient) -> tuple[str, bool]:
    """Curvature of the inner step, and whether the earlier rounds' sampling is credited."""
    if isinstance(config, emaml.EMAML):
        return {"plain": "of the data", "dice": "of DiCE", "loaded-dice": "of LVC"}[config.estimator], True
    return "none" if isinstance(config, maml.MAML) and config.first_order else "of LVC", False


def inner_step(algorithm, theta, policy, rows: Step, curvature: str):
    """U(θ_k, D_k) with the derivative that is claimed: of the data's own gradient, of LVC, of DiCE, or none."""
    advantage = returns_to_go(rows)
    learner = algorithm.learner
    α = learner.rule.lr * (1.0 if theta.rule is None else ravel_pytree(theta.rule)[0])
    if learner.head_only:
        mask = jax.tree.map(jnp.zeros_like, policy)
        head = lambda p: (p.mlp.layers[-1], p.log_std)  # noqa: E731
        α = α * ravel_pytree(eqx.tree_at(head, mask, jax.tree.map(jnp.ones_like, head(policy))))[0]
    flat, unravel = ravel_pytree(policy)
    log_prob = lambda flat: log_probs(theta, unravel(flat), rows)  # noqa: E731

    def policy_gradient(flat):
        return jax.grad(lambda f: -jnp.mean(log_prob(f) * advantage))(flat)

    if curvature == "of the data":
        return unravel(flat - α * policy_gradient(flat))
    here = jax.lax.stop_gradient(flat)
    if curvature == "none":
        return unravel(flat - α * policy_gradient(here))
    # LVC: the curvature is that of −mean A π/π(here), i.e. −mean A ∇²π/π (Rothfuss et al. 2019, eq. 12). DiCE: that of
    # −mean r P/P(here), P the probability of all actions of the stream up to the reward (Foerster et al. 2018, eq. 5).
    of, weight = (
        (lambda x: jnp.cumsum(x, -1), rows.reward) if curvature == "of DiCE" else (lambda x: x, advantage)
    )
    over_here = jnp.exp(-of(log_prob(here)))
    hessian = jax.hessian(lambda f: -jnp.mean(jnp.exp(of(log_prob(f))) * over_here * weight))(here)
    gradient = policy_gradient(here) + hessian @ (flat - here)
    return unravel(flat - α * gradient)


@eqx.filter_jit
def exact_gradient(algorithm, theta, rows: Step, curvature: str, cross_round: bool):
    """∇J(θ), R = the last round's mean return; without `cross_round` the earlier rounds' sampling is held fixed."""
    learner = algorithm.learner
    trained, frozen = eqx.partition(theta, learner.trainable(theta))

    def objective(trained):
        theta = eqx.combine(trained, frozen)

        def lifetime(rounds: Step):
            policy, logp = theta.policy, 0.0
            for k in range(algorithm.layout.rounds - 1):
                rows = trees.index(rounds, k)
                of_round = log_probs(theta, policy, rows).sum()
                logp += of_round if cross_round else jax.lax.stop_gradient(of_round)
                policy = inner_step(algorithm, theta, policy, rows, curvature)
            last = trees.index(rounds, -1)
            logp += log_probs(theta, policy, last).sum()
            return jnp.exp(logp) * last.reward.sum(-1).mean()

        return jax.vmap(lifetime)(rows).sum() / 2.0

    return ravel_pytree(jax.grad(objective)(trained))[0]


def check_maml(config: MetaGradient) -> None:
    algorithm = config.build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    step, lifetimes = expected_step(algorithm, theta)
    exact = lambda *how: exact_gradient(algorithm, theta, lifetimes.rounds, *how)  # noqa: E731
    aim = exact(*stated(config))
    # The loss is a mean over the T rows of an episode, J a sum.
    assert relative_error(-step * algorithm.layout.steps, aim) < 1e-4
    assert float(jnp.linalg.norm(aim)) > 0.05
    fixed, whole = exact("of the data", False), exact("of the data", True)
    print(
        f"‖g − ∇J‖/‖∇J‖: {relative_error(aim, fixed):.3f} with the data's own curvature and its sampling held fixed, "
        f"{relative_error(aim, whole):.3f} with cross-round credit (E-MAML)"
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_maml_follows_its_objective(name):
    check_maml(VARIANTS[name])


def check_maml_without_lvc() -> None:
    """With the plain inner surrogate −log π A the gradient is exactly that of J with the earlier sampling held fixed."""
    algorithm = BASE.build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    with patch.object(gradient, "lvc", lambda logp, advantage: -logp * advantage):
        step, lifetimes = expected_step(algorithm, theta)
    exact = exact_gradient(algorithm, theta, lifetimes.rounds, "of the data", False)
    assert relative_error(-step * algorithm.layout.steps, exact) < 1e-4


def test_maml_with_the_plain_inner_surrogate_is_exact():
    check_maml_without_lvc()


# --- learners that remember ----------------------------------------------------------------------------------

PLAIN = {
    "tasks": 1, "lr": 1.0, "gamma": 1.0, "gae_lambda": 1.0, "epochs": 1, "minibatches": 1, "entropy": 0.0, "value": 0.0,
    "max_gradient_norm": 1e9,
}  # fmt: skip
REMEMBERING: dict[str, memory_ppo.MemoryPPO] = {
    "rl2": rl2.RL2(hidden=3, **PLAIN),
    "snail": snail.SNAIL(hidden=3, filters=2, keys=2, values=2, **PLAIN),
    "transformer": transformer.Transformer(width=4, layers=1, heads=2, **PLAIN),
}


def check_lifetime_objective(name: str) -> None:
    """First epoch, nothing clipped: the gradient of the lifetime's expected return, through both episodes."""
    algorithm = REMEMBERING[name].build(FAMILY.spec)
    learner = algorithm.learner
    theta = scrambled(learner, learner.init(jax.random.key(3)))
    step, lifetimes = expected_step(algorithm, theta)

    @eqx.filter_jit
    def exact(theta, rows):
        trained, frozen = eqx.partition(theta, learner.trainable(theta))

        def objective(trained):
            theta = eqx.combine(trained, frozen)

            def lifetime(stream: Step):
                def act(memory, row):
                    out, memory = learner.act(theta, None, memory, row, jax.random.key(0))
                    return memory, out.dist.log_prob(row.action)

                logp = jax.lax.scan(act, learner.remember(theta), stream)[1]
                return jnp.exp(logp.sum()) * stream.reward.sum()

            return jax.vmap(lifetime)(trees.index(rows, (slice(None), 0, 0))).sum() / 2.0

        return ravel_pytree(jax.grad(objective)(trained))[0]

    expected = exact(theta, lifetimes.rounds)
    assert float(jnp.linalg.norm(expected)) > 0.05
    assert relative_error(-step * algorithm.layout.steps, expected) < 1e-4


@pytest.mark.parametrize("name", REMEMBERING)
def test_learners_that_remember_follow_the_return_of_the_lifetime(name):
    check_lifetime_objective(name)
