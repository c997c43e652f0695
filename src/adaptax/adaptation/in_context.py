"""A learner whose only adaptation is to read: a causal Transformer over everything that has happened in the task."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.errors import AdaptaxError
from adaptax.learner import Learner
from adaptax.networks.encoding import observation_size, trial_inputs, trial_inputs_size
from adaptax.networks.heads import Heads, first_log_std
from adaptax.networks.layers import Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.transformer import Cache, Transformer
from adaptax.types import Out, Spec, Step


class InContextTheta(Heads):
    embedding: Dense
    transformer: Transformer


class InContextMemory(eqx.Module):
    cache: Cache
    features: Float[Array, " width"]
    """Of the last row read."""


class InContextLearner(Learner):
    """memory: keys and values of the last `context` rows of the stream."""

    spec: Spec = eqx.field(static=True)
    width: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)
    context: int = eqx.field(static=True)

    def __check_init__(self):
        if self.width % (2 * self.heads):
            raise AdaptaxError(
                f"A width of {self.width} cannot be divided into {self.heads} heads of an even size; give a multiple of "
                f"{2 * self.heads}."
            )

    def init(self, key: Key[Array, ""]) -> InContextTheta:
        k1, k2, k3, k4 = jax.random.split(key, 4)
        return InContextTheta(
            embedding=Dense(trial_inputs_size(self.spec), self.width, 1.0, k1),
            transformer=Transformer(self.width, self.layers, self.heads, self.context, k2),
            policy=Dense(self.width, self.spec.action.size, 0.01, k3),
            value=Dense(self.width, 1, 1.0, k4),
            log_std=first_log_std(self.spec.action),
            normaliser=Normaliser.of(observation_size(self.spec)),
        )

    def remember(self, theta: InContextTheta) -> InContextMemory:
        return InContextMemory(theta.transformer.empty(), jnp.zeros((self.width,)))

    def act(self, theta, fast, memory, step, key):
        return self.act_if(theta, fast, memory, step, key, jnp.array(True))

    def act_if(self, theta, fast, memory, step, key, valid):
        features, cache = theta.transformer.step(memory.cache, self._embedded(theta, step), valid)
        last = jnp.where(valid, features, memory.features)
        return theta.say(self.spec.action, features, step), InContextMemory(cache, last)

    def unroll(self, theta, fast, memory, steps, stream_key):
        return self._read(theta, memory, steps)

    def unroll_anew(self, theta, fast, steps, stream_key):
        return self._read(theta, None, steps)

    def _read(
        self, theta: InContextTheta, memory: InContextMemory | None, steps: Step
    ) -> tuple[Out, InContextMemory]:
        """`unroll`; from the first row on where there is no memory."""
        x = jax.vmap(lambda step: self._embedded(theta, step))(steps)
        features, cache = theta.transformer.unroll(None if memory is None else memory.cache, x, steps.valid)
        rows = jnp.where(steps.valid, jnp.arange(len(x)), -1)
        last = jnp.where(rows.max() < 0, 0.0 if memory is None else memory.features, features[rows.max()])
        outs = jax.vmap(lambda f, s: theta.say(self.spec.action, f, s))(features, steps)
        return outs, InContextMemory(cache, last)

    def belief(self, theta, fast, memory):
        return memory.features

    def _embedded(self, theta: InContextTheta, step: Step) -> Float[Array, " width"]:
        return theta.embedding(trial_inputs(self.spec, theta.normaliser, step))
