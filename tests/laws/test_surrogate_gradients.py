"""L2: what surrogates and metrics are worth, against exact derivatives over every lifetime of a tiny process."""

from __future__ import annotations

import dataclasses
from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from laws.enumeration import FAMILY, every_lifetime, log_probs, relative_error, returns_to_go
from laws.experience import mapped
from laws.learners import scrambled
from laws.test_meta_gradient import BASE, VARIANTS

from adaptax import trees
from adaptax.adaptation import gradient
from adaptax.collection.replay import replay
from adaptax.estimators.surrogates import dice, loaded_dice, lvc
from adaptax.outer.post_adaptation import adapted
from adaptax.outer.trust_region import fisher_product


def check_dice() -> None:
    """Over two rounds, with credit across the adaptation between them: exact in the first and the second derivative."""
    config = dataclasses.replace(BASE, streams=1, hidden=())
    algorithm = config.build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    lifetimes = every_lifetime(algorithm.layout)
    flat, unravel = ravel_pytree(theta.policy)

    def line(x):  # [K, 1, T] as one sequence
        return x.reshape(-1)

    def log_prob_of(flat, lifetime):
        """[K·T], by replay: through the adaptation."""
        with_policy = eqx.tree_at(lambda t: t.policy, theta, unravel(flat))
        out = replay(algorithm.learner, with_policy, lifetime, algorithm.layout)
        return line(mapped(lambda d, a: d.log_prob(a), 3)(out.dist, lifetime.rounds.action))

    def objective(flat):
        each = lambda life: jnp.exp(log_prob_of(flat, life).sum()) * life.rounds.reward.sum()  # noqa: E731
        return jax.vmap(each)(lifetimes).sum() / 2.0

    def surrogate(flat):
        each = lambda life: dice(log_prob_of(flat, life), line(life.rounds.reward))  # noqa: E731
        weights = jax.vmap(lambda life: jnp.exp(log_prob_of(here, life).sum()) / 2.0)(lifetimes)
        return weights @ jax.vmap(each)(lifetimes)

    here = flat
    derivatives = lambda f: jax.jit(lambda x: (f(x), jax.grad(f)(x), jax.hessian(f)(x)))(flat)  # noqa: E731
    with (
        patch.object(gradient.GradientLearner, "advantages", lambda self, batch: returns_to_go(batch)),
        patch.object(gradient, "lvc", lambda logp, advantage: -logp * advantage),
    ):
        exact, ours = derivatives(objective), derivatives(surrogate)
    for order, (x, y) in enumerate(zip(ours, exact, strict=True)):
        assert relative_error(-x.reshape(-1), y.reshape(-1)) < 1e-4, f"derivative of order {order}"
        assert float(jnp.abs(y).max()) > 0.02


def test_dice_is_exact_to_the_second_derivative():
    check_dice()


def check_loaded_dice() -> None:
    """One round: with λ = 1 exact in the first and the second derivative; λ = 0 is LVC, to every sequence's own derivatives."""
    algorithm = dataclasses.replace(BASE, inner_steps=0, streams=1).build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    rows = every_lifetime(algorithm.layout).rounds
    flat, unravel = ravel_pytree(theta.policy)
    log_prob = lambda flat, rows: log_probs(theta, unravel(flat), trees.index(rows, 0))[0]  # noqa: E731
    here = flat

    def objective(flat):
        each = lambda r: jnp.exp(log_prob(flat, r).sum()) * r.reward.sum()  # noqa: E731
        return jax.vmap(each)(rows).sum() / 2.0

    def mean_of(surrogate):
        def mean(flat):
            each = lambda r: surrogate(log_prob(flat, r), returns_to_go(r)[0, 0]).sum()  # noqa: E731
            weights = jax.vmap(lambda r: jnp.exp(log_prob(here, r).sum()) / 2.0)(rows)
            return weights @ jax.vmap(each)(rows)

        return mean

    derivatives = lambda f: jax.jit(lambda x: (jax.grad(f)(x), jax.hessian(f)(x)))(flat)  # noqa: E731
    loaded = lambda λ: derivatives(mean_of(lambda logp, a: loaded_dice(logp, a, λ)))  # noqa: E731
    exact = derivatives(objective)
    of_lvc = derivatives(mean_of(lvc))
    for order in (0, 1):
        assert relative_error(-loaded(1.0)[order].ravel(), exact[order].ravel()) < 1e-4, "λ = 1 is not DiCE"
        assert relative_error(loaded(0.0)[order].ravel(), of_lvc[order].ravel()) < 1e-4, "λ = 0 is not LVC"
        assert float(jnp.abs(exact[order]).max()) > 0.01
    assert relative_error(of_lvc[1].ravel(), -exact[1].ravel()) > 0.05, "the two cannot be told apart here"


def test_loaded_dice_goes_from_lvc_to_dice():
    check_loaded_dice()


def check_lvc() -> None:
    """One round: the gradient is exact; the curvature lacks the products between rows, and how much is printed."""
    algorithm = dataclasses.replace(BASE, inner_steps=0, streams=1).build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    rows = every_lifetime(algorithm.layout).rounds
    flat, unravel = ravel_pytree(theta.policy)
    log_prob = lambda flat, rows: log_probs(theta, unravel(flat), trees.index(rows, 0))[0]  # noqa: E731

    def objective(flat):
        each = lambda r: jnp.exp(log_prob(flat, r).sum()) * r.reward.sum()  # noqa: E731
        return jax.vmap(each)(rows).sum() / 2.0

    def surrogate(flat):
        each = lambda r: lvc(log_prob(flat, r), returns_to_go(r)[0, 0]).sum()  # noqa: E731
        weights = jax.vmap(lambda r: jnp.exp(log_prob(here, r).sum()) / 2.0)(rows)
        return weights @ jax.vmap(each)(rows)

    here = flat
    derivatives = lambda f: jax.jit(lambda x: (jax.grad(f)(x), jax.hessian(f)(x)))(flat)  # noqa: E731
    (gradient, hessian), (exact_gradient, exact_hessian) = derivatives(surrogate), derivatives(objective)
    assert relative_error(-gradient, exact_gradient) < 1e-4
    assert float(jnp.abs(hessian).max()) > 0.01
    print(f"LVC's curvature: ‖H + ∇²J‖/‖∇²J‖ = {relative_error(-hessian.ravel(), exact_hessian.ravel()):.3f}")


def test_the_gradient_of_lvc_is_exact():
    check_lvc()


def check_fisher() -> None:
    """TRPO's metric is the curvature of the adapted policies' KL divergence, through the inner step."""
    algorithm = VARIANTS["maml-trpo"].build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    trained, frozen = eqx.partition(theta, algorithm.learner.trainable(theta))
    flat, unravel = ravel_pytree(trained)
    lifetimes = trees.index(every_lifetime(algorithm.layout), jnp.array([3, 90, 200, 301]))

    @eqx.filter_jit
    def both(algorithm, lifetimes):
        theta_at = lambda flat: eqx.combine(unravel(flat), frozen)  # noqa: E731
        dists = lambda flat, life: adapted(algorithm.learner, theta_at(flat), life, algorithm.layout)[0].dist  # noqa: E731

        def mean_kl(at):
            kl = lambda life: mapped(lambda p, q: p.kl(q), 2)(dists(flat, life), dists(at, life)).mean()  # noqa: E731
            return jax.vmap(kl)(lifetimes).mean()

        product = fisher_product(dists, flat, lifetimes, 2)
        return jax.vmap(product)(jnp.eye(flat.size)), jax.hessian(mean_kl)(flat)

    fisher, hessian = both(algorithm, lifetimes)
    assert relative_error(fisher.ravel(), hessian.ravel()) < 1e-3
    assert float(jnp.abs(hessian).max()) > 0.001


def test_the_trust_region_measures_the_adapted_policies():
    check_fisher()
