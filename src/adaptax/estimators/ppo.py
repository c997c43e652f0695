"""Proximal policy optimisation (Schulman et al. 2017): the loss of a batch, and epochs of minibatches over tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from adaptax import trees
from adaptax.chunks import chunk_size, map_tasks, mean_gradient
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.surrogates import ppo_clip
from adaptax.types import Metrics, Out, Step

Params = TypeVar("Params")


class PPOCoefficients(eqx.Module):
    clip: Array
    value: Array
    entropy: Array


def ppo_loss(
    out: Out,
    rows: Step,
    advantage: Float[Array, "..."],
    value_error: Float[Array, "..."],
    coefficients: PPOCoefficients,
) -> tuple[Float[Array, ""], Metrics]:
    """L = L_clip + c_v · ½‖V − target‖² − c_H · H, averaged over valid rows (eq. 9).

    `out` is what the learner says now of the stored rows [K, N, T]; `value_error` = V − target in the critic's own units.
    """
    depth = rows.valid.ndim
    logp = _mapped(lambda d, a: d.log_prob(a), depth)(out.dist, rows.action)
    entropy = _mapped(lambda d: d.entropy(), depth)(out.dist)
    assert rows.logp is not None
    policy = valid_mean(ppo_clip(logp, rows.logp, advantage, coefficients.clip), rows.valid)
    value = 0.5 * valid_mean(value_error**2, rows.valid)
    entropy_nats = valid_mean(entropy, rows.valid)
    log_ratio = logp - rows.logp
    metrics = {
        "policy_loss": policy,
        "value_loss": value,
        "entropy_nats": entropy_nats,
        # k3 estimator of KL(old ‖ new): E[ρ − 1 − log ρ] ≥ 0
        "kl_nats": valid_mean(jnp.exp(log_ratio) - 1.0 - log_ratio, rows.valid),
        "clipped": valid_mean(
            (jnp.abs(jnp.exp(log_ratio) - 1.0) > coefficients.clip).astype(jnp.float32), rows.valid
        ),
    }
    return policy + coefficients.value * value - coefficients.entropy * entropy_nats, metrics


def _mapped(f: Callable, depth: int) -> Callable:
    for _ in range(depth):
        f = jax.vmap(f)
    return f


def epochs_over_tasks(
    loss: Callable[[Params, PyTree], tuple[Array, Metrics]],
    params: Params,
    opt_state: optax.OptState,
    optimizer: optax.GradientTransformation,
    lr: Float[Array, ""],
    data: PyTree,
    key: Key[Array, ""],
    *,
    epochs: int,
    minibatches: int,
    floats_per_task: int,
    max_kl_nats: Float[Array, ""] | None = None,
    too_far_nats: Float[Array, ""] | None = None,
) -> tuple[Params, optax.OptState, Metrics]:
    """`epochs` passes over the tasks in `data` (leading axis B), each in `minibatches` random parts, one step a part. Parts
    are of one size: what is left over sits a pass out, others each time.

    `loss(params, x)` is that of one task. `optimizer` gives ascent-free directions; `lr` scales them here, so that
    it stays a traced number. No step is taken while the metric `kl_nats`, the distance that the policies have already gone from
    those that collected the data, exceeds `max_kl_nats`; a step that led beyond `too_far_nats` is taken back to half its length in
    the next epoch, after the last one wholly; where there are such bounds. Returns the metrics averaged over the last epoch.
    """
    tasks = jax.tree.leaves(data)[0].shape[0]
    size = tasks // minibatches
    chunk = chunk_size(size, floats_per_task)

    def step(carry: tuple[Any, Any, Any], members: Array) -> tuple[Any, Metrics]:
        before, params, opt_state = carry
        part = data if minibatches == 1 else trees.index(data, members)  # all of them need no order
        gradient, metrics = mean_gradient(loss, params, part, chunk)
        updates, opt_state_after = optimizer.update(gradient, opt_state, params)
        params_after = eqx.apply_updates(params, trees.scale(-lr, updates))
        metrics |= {"gradient_norm": optax.tree.norm(gradient)}
        carry = (params, params_after, opt_state_after)
        if max_kl_nats is not None:
            carry = trees.where(metrics["kl_nats"] <= max_kl_nats, carry, (before, params, opt_state))
        if too_far_nats is not None:
            half_way = (before, jax.tree.map(lambda x, y: (x + y) / 2, before, params), opt_state)
            carry = trees.where(metrics["kl_nats"] > too_far_nats, half_way, carry)
        return carry, metrics

    def epoch(carry, key):
        parts = jax.random.permutation(key, tasks)[: size * minibatches].reshape(minibatches, size)
        return jax.lax.scan(step, carry, parts)

    carry = (params, params, opt_state)
    (before, params, opt_state), metrics = jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
    if too_far_nats is not None:
        kl_nats = map_tasks(lambda x: loss(params, x)[1]["kl_nats"], data, chunk).mean()
        params = trees.where(kl_nats > too_far_nats, before, params)
    return params, opt_state, jax.tree.map(lambda m: m[-1].mean(), metrics)
