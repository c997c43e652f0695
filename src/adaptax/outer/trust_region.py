"""One natural-gradient step on the adapted policies, as long as a KL bound allows (Schulman et al. 2015, appendix C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from adaptax.chunks import map_tasks, mean_gradient, mean_over_tasks
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.trust_region import conjugate_gradient, line_search
from adaptax.learner import Learner
from adaptax.outer.post_adaptation import adapted, log_probs, mean_kl
from adaptax.types import Layout, Lifetime, Metrics, Step, Theta


class TrustRegion(eqx.Module):
    max_kl_nats: Array
    """Bound on the mean KL divergence of the adapted policies from those that collected."""
    damping: Array
    """Multiple of the identity added to the Fisher matrix."""
    cg_iterations: int = eqx.field(static=True)
    line_search_trials: int = eqx.field(static=True)

    def step(
        self,
        learner: Learner,
        layout: Layout,
        params: Any,
        frozen: Theta,
        data: tuple[Lifetime, Array, Array],
        chunk: int,
    ) -> tuple[Any, Metrics]:
        """The trained part of θ after one step on `data`: lifetimes [B], advantages [B, N, T], task weights [B]."""
        start, unravel = ravel_pytree(params)
        theta_at = lambda flat: eqx.combine(unravel(flat), frozen)  # noqa: E731

        def surrogate(flat: Array, one_task: tuple[Lifetime, Array, Array]) -> tuple[Array, Metrics]:
            """−E[ρ A] after adaptation, ρ = π_θ'/π_collected, and the KL divergence from what collected."""
            lifetime, advantage, weight = one_task
            out, rows = adapted(learner, theta_at(flat), lifetime, layout)
            assert rows.logp is not None
            ratio = jnp.exp(log_probs(out, rows) - rows.logp)
            loss = weight * valid_mean(-ratio * advantage, rows.valid)
            return loss, {"loss": loss, "kl_nats": mean_kl(rows, out)}

        def evaluate(flat: Array) -> tuple[Array, Array]:
            loss, metrics = map_tasks(lambda x: surrogate(flat, x), data, chunk)
            return loss.mean(), metrics["kl_nats"].mean()

        gradient, metrics = mean_gradient(surrogate, start, data, chunk)
        fisher = fisher_product(
            lambda flat, lifetime: adapted(learner, theta_at(flat), lifetime, layout)[0].dist,
            start, data[0], chunk,
        )  # fmt: skip
        direction, residual = conjugate_gradient(
            lambda v: fisher(v) + self.damping * v, gradient, self.cg_iterations
        )
        curvature = direction @ (gradient - residual)
        length = jnp.sqrt(2.0 * self.max_kl_nats / jnp.maximum(curvature, 1e-20))
        found = line_search(
            evaluate, start, length * direction, metrics["loss"], self.max_kl_nats, self.line_search_trials
        )
        return unravel(found.point), {
            "kl_nats": found.kl,
            "improvement": metrics["loss"] - found.loss,
            "accepted": found.accepted.astype(jnp.float32),
            "gradient_norm": jnp.linalg.norm(gradient),
        }


def fisher_product(
    dists: Callable[[Array, Lifetime], Any], flat: Float[Array, " n"], lifetimes: Lifetime, chunk: int
) -> Callable[[Array], Array]:
    """v ↦ mean over tasks of Jᵀ F J v: J the derivative of `dists(θ, lifetime)`, through the adaptation, F the Fisher matrix of
    these distributions (Gauss–Newton).

    It is the Hessian of the KL divergence at its minimum, without differentiating J once more. J is linearised
    once, task by task; every product then reads what was stored.
    """

    def linearise(lifetime: Lifetime) -> tuple[Any, Any]:
        return jax.linearize(lambda flat: dists(flat, lifetime), flat)

    here, jacobians = map_tasks(linearise, lifetimes, chunk)

    def one_task(v: Array, dist: Any, jacobian: Any, valid: Array) -> Array:
        def kl_from_here(other: Any) -> Array:
            return valid_mean(jax.vmap(jax.vmap(lambda p, q: p.kl(q)))(dist, other), valid)

        _, weighted = jax.jvp(jax.grad(kl_from_here), (dist,), (jacobian(v),))
        return jax.linear_transpose(jacobian, flat)(weighted)[0]

    def product(v: Array) -> Array:
        rounds: Step = lifetimes.rounds
        per_task = (here, jacobians, rounds.valid[:, -1])
        return mean_over_tasks(lambda x: jax.vmap(lambda one: one_task(v, *one))(x).mean(0), per_task, chunk)

    return product
