"""The linear feature baseline: a value function fitted anew to each batch of episodes (Duan et al. 2016a)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax.estimators.returns import discounts, gae, returns_to_go
from adaptax.types import Step

TIME_FEATURES = 4
"""The last of `features`."""


def features(obs: Float[Array, "T d"], time: Float[Array, " T"]) -> Float[Array, "T f"]:
    """[o, o², τ, τ², τ³, 1] with τ = t/100, t counted from the episode's first row; o clipped to [-10, 10]."""
    o = jnp.clip(obs, -10.0, 10.0)
    τ = time[:, None] / 100.0
    return jnp.concatenate([o, o**2, τ, τ**2, τ**3, jnp.ones_like(τ)], axis=1)


def time_in_episode(steps: Step) -> Float[Array, " T"]:
    """How many rows of its episode precede each row."""
    rows = jnp.arange(steps.first.shape[0])
    begun = jax.lax.cummax(jnp.where(steps.first, rows, 0))
    return (rows - begun).astype(jnp.float32)


def linear_advantages(
    batch: Step, γ: float | Float[Array, ""], λ: float | Float[Array, ""], ridge: float = 1e-5
) -> Float[Array, "N T"]:
    """Generalised advantages over each episode of a batch Step[N, T], with a value function fitted to the same batch.

    The value is that of what the *batch* saw: it ends with the episode, cut off or not, because the regression's
    targets do. So V' is 0 in an episode's last row, truncated or terminated. Data only: no gradient flows.
    """
    batch = jax.lax.stop_gradient(batch)  # advantages are constants of every policy gradient
    γs = jax.vmap(lambda s: discounts(s, γ, "episode"))(batch)
    returns = jax.vmap(returns_to_go)(jnp.where(batch.valid, batch.reward, 0.0), γs)
    x = jax.vmap(lambda s: features(s.obs.reshape(s.obs.shape[0], -1), time_in_episode(s)))(batch)
    if returns.size < x.shape[-1]:
        # A regression on more features than rows explains every return, and leaves no advantage: of time alone then.
        x = x[..., -TIME_FEATURES:]
    value = jnp.einsum("ntf,f->nt", x, _ridge_regression(x, returns, batch.valid, ridge))
    value = jnp.where(batch.valid, value, 0.0)
    following = jnp.concatenate([value[:, 1:], jnp.zeros_like(value[:, :1])], axis=1)
    next_value = jnp.where(γs > 0.0, following, 0.0)
    reward = jnp.where(batch.valid, batch.reward, 0.0)
    return jax.vmap(gae, (0, 0, 0, 0, None, None))(reward, value, next_value, γs, γ, λ)


def _ridge_regression(x, y, weight, ridge):
    """argmin_w Σ weight (y − xᵀw)² + ridge·scale ‖w‖², by the normal equations with unit-scaled columns."""
    w = weight.reshape(-1).astype(jnp.float32)
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1)
    scale = jnp.sqrt((w[:, None] * x**2).sum(0) / jnp.maximum(w.sum(), 1.0)) + 1e-8
    x = x / scale
    gram = (w[:, None] * x).T @ x / jnp.maximum(w.sum(), 1.0)
    target = (w[:, None] * x).T @ y / jnp.maximum(w.sum(), 1.0)
    return jnp.linalg.solve(gram + ridge * jnp.eye(gram.shape[0]), target) / scale
