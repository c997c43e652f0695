"""L2O by persistent evolution strategies: the same learned optimizer, trained without derivatives of the inner training.

The network is that of `l2o.py`, and so is the objective, but that the last policy of an inner training is not judged: what its
last step leads to would have to be seen in one more round. Vicol et al. 2021 (arXiv 2112.13835): antithetic perturbations of
ψ, whose inner trainings go on from one meta-update to the next, `truncation` steps in each (`outer/persistent_es.py`).

Good at: inner trainings whose derivative is noise, or explodes; what a step does to exploration counts too. Bad at: wide
optimizer networks, for the estimate's variance grows with the parameters.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax import keys, trees
from adaptax.adaptation.gradient import FromScratchLearner, GradientTheta
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.inner_training import InnerTraining, InnerTrainingAlgorithm
from adaptax.chunks import map_tasks
from adaptax.collection.replay import replay_from
from adaptax.errors import AdaptaxError
from adaptax.outer.persistent_es import Particles, antithetic, begun, estimate, perturbations, renewed
from adaptax.outer.unrolled import mean_error
from adaptax.types import Behaviour, FewShot, Lifetime, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class EvolvedL2O(InnerTraining):
    """L2O, trained by persistent evolution strategies."""

    tasks: int = 64
    """Inner trainings in one meta-update: an even number, two to a task."""
    optimizer_hidden: int = 8
    """Units of the optimizer's recurrent network, which has one state for each parameter of the policy."""
    truncation: int = 5
    """Adaptation steps of an inner training in one meta-update."""
    noise: float = 0.01
    """Standard deviation σ of the perturbations."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec; AdaptaxError where tasks or steps cannot be divided."""
        if self.tasks % 2:
            raise AdaptaxError(f"Evolution strategies need an even number of tasks, not {self.tasks}.")
        if self.horizon % self.truncation:
            raise AdaptaxError(
                f"The horizon must be a multiple of the truncation, but {self.horizon} is none of {self.truncation}."
            )
        return EvolvedL2OAlgorithm(self, spec, self.learner(spec, 0))


class EvolvedL2OAlgorithm(InnerTrainingAlgorithm):
    """A window of `truncation` steps of every particle's inner training in each meta-update; the particles are in `aux`."""

    windows: int = eqx.field(static=True)
    """Of an inner training."""
    noise: Array

    def __init__(self, config: EvolvedL2O, spec: Spec, learner: FromScratchLearner):
        super().__init__(config, spec, learner, config.truncation)
        self.windows, self.noise = config.horizon // config.truncation, jnp.array(config.noise)

    def init(self, key: Key[Array, ""]) -> TrainState:
        state = super().init(key)
        params = eqx.filter(state.theta, self.learner.trainable(state.theta))
        draws, fast = self.new_trainings(state.theta, jax.random.fold_in(key, 1))
        return dataclasses.replace(state, aux=begun(params, draws, fast, self.windows))

    def new_trainings(self, theta: GradientTheta, key: Key[Array, ""]) -> tuple[Key[Array, " P"], Any]:
        """A task's key and a fast state for each pair."""
        draws = jax.random.split(key, self.tasks // 2)
        return draws, jax.vmap(lambda k: self.learner.begin(theta, keys.begin(k), None))(draws)

    def perturbations(self, state: TrainState, key: Key[Array, ""]) -> Any:
        """ε [P]"""
        params = eqx.filter(state.theta, self.learner.trainable(state.theta))
        return perturbations(params, self.tasks // 2, self.noise, key)

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        """Both of a pair meet the same task with the same random numbers, under θ + ε and θ − ε; labelled examples stay the same
        from the beginning of an inner training to its end."""
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        ε = self.perturbations(state, key)
        frozen = jax.tree.map(lambda x: jnp.broadcast_to(x, (self.tasks, *x.shape)), frozen)
        lifetimes = jax.random.split(jax.random.fold_in(key, 1), self.tasks // 2)
        if self.spec.supervised:
            lifetimes = jax.vmap(lambda k: jax.random.fold_in(k, 1))(state.aux.draws)
        return Behaviour(
            eqx.combine(antithetic(params, ε), frozen), per_task=True, fast=state.aux.fast,
            draws=jnp.repeat(state.aux.draws, 2), keys=jnp.repeat(lifetimes, 2),
        )  # fmt: skip

    def learn(self, state: TrainState, lifetime: Any, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        particles: Particles = state.aux
        of_behave = keys.update(
            state.key, state.updates, keys.BEHAVE
        )  # what was collected with comes out again
        ε = self.perturbations(state, of_behave)
        inputs = (self.behave(state, of_behave).theta, lifetime, particles.fast)
        losses, fast, metrics = map_tasks(lambda x: self.window(*x), inputs, self.chunk)
        accumulated, age = trees.add(particles.accumulated, ε), particles.age + 1
        gradient = estimate(accumulated, losses, self.noise)
        after, metrics = self.descended(state, gradient, jax.tree.map(jnp.mean, metrics))
        theta = after.theta.observing(lifetime) if isinstance(lifetime, Lifetime) else after.theta
        draws, fresh = self.new_trainings(theta, key)
        particles = Particles(accumulated, fast, particles.draws, age)
        particles = renewed(particles, age >= self.windows, fresh, draws)
        return TrainState(theta, after.opt_state, state.key, state.updates, particles), metrics

    def window(self, theta: GradientTheta, data: Lifetime | FewShot, fast: Any) -> tuple[Array, Any, Metrics]:
        """What one particle's window loses, its fast state after it, and metrics."""
        if isinstance(data, FewShot):
            return mean_error(self.learner, theta, data, self.layout.rounds, fast)
        _, fast = replay_from(self.learner, theta, data, self.layout, fast)
        loss = -jnp.where(data.rounds.valid, data.rounds.reward, 0.0).sum(-1).mean()
        return loss, fast, {"loss": loss}
