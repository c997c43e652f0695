"""Learning on one task by clipped policy-gradient steps: what fine-tuning does, and a single-task agent from scratch."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.estimators.baseline import linear_advantages
from adaptax.estimators.returns import standardise, valid_mean
from adaptax.estimators.surrogates import ppo_clip
from adaptax.learner import Learner
from adaptax.networks.encoding import observation_size
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.policy import Policy
from adaptax.types import Out, Spec, Step


class Proximal(eqx.Module):
    """PPO's steps on a round of one task, over a linear baseline (Schulman et al. 2017; Duan et al. 2016a)."""

    steps: int = eqx.field(static=True)
    lr: Array
    """Adam's."""
    γ: Array
    λ: Array
    clip: Array
    entropy: Array
    """Weight of the entropy bonus."""

    def __call__(self, policy: Policy, x: Float[Array, "N T n"], rows: Step) -> Policy:
        """The policy after the steps; x: its inputs in the rows [N, T]."""
        advantage = standardise(linear_advantages(rows, self.γ, self.λ), rows.valid)

        def loss(policy: Policy) -> Array:
            dist = jax.vmap(jax.vmap(policy))(x, rows.action_mask)
            logp = jax.vmap(jax.vmap(lambda d, a: d.log_prob(a)))(dist, rows.action)
            entropy = valid_mean(jax.vmap(jax.vmap(lambda d: d.entropy()))(dist), rows.valid)
            surrogate = valid_mean(ppo_clip(logp, rows.logp, advantage, self.clip), rows.valid)
            return surrogate - self.entropy * entropy

        adam = optax.scale_by_adam(eps=1e-5)

        def step(carry: Any, _: None) -> tuple[Any, None]:
            policy, opt_state = carry
            updates, opt_state = adam.update(jax.grad(loss)(policy), opt_state)
            return (eqx.apply_updates(policy, trees.scale(-self.lr, updates)), opt_state), None

        params: Any = policy
        (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), None, length=self.steps)
        return params


class SingleTaskLearner(Learner):
    """Begins every task with a random policy and trains it by `Proximal` steps after each round. Theta: the normaliser."""

    spec: Spec = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    proximal: Proximal

    def init(self, key: Key[Array, ""]) -> Normaliser:
        return Normaliser.of(observation_size(self.spec))

    def begin(self, theta, key, features):
        return Policy(observation_size(self.spec), self.hidden, self.spec.action, key)

    def act(self, theta, fast, memory, step, key):
        return Out(fast(theta.observation(step.obs), step.action_mask), jnp.zeros(())), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        return jax.vmap(lambda step: self.act(theta, fast, memory, step, stream_key)[0])(steps), memory

    def adapt(self, theta, fast, batch, key):
        return self.proximal(fast, jax.vmap(jax.vmap(theta.observation))(batch.obs), batch)
