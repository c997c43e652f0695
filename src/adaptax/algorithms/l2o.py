"""L2O: learning to optimize. A recurrent network in the optimizer's place trains a random policy on each new task.

Andrychowicz et al. 2016 (arXiv 1606.04474), eqs. 2-3. The network ψ turns gradients into steps; its loss is what the steps lead
to, summed over the whole inner training and not at its end alone:

    θ_{k+1} = θ_k + m_ψ(∇L(θ_k), h_k)        min_ψ  E[ Σ_k L(θ_k) ],   k = 1 … horizon

Meta-training, by one of two ways:

    backpropagation   through the unrolled inner training, cut every `truncation` steps. Reinforcement learning: the gradient of
                      −Σ_k J(θ_k) by each round's own policy gradient, the earlier rounds' sampling held fixed, as clipped
                      steps (PPO); advantages are comparable between rounds, not standardised in each.
    persistent-es     persistent evolution strategies (Vicol et al. 2021): antithetic perturbations of ψ, whose inner trainings
                      go on from one meta-update to the next, `truncation` steps in each (`outer/persistent_es.py`). No
                      derivative of the inner training, and none of its noise; what a step does to exploration counts too.

Supervised tasks: L is the error of all examples, inside of the support and outside of the queries.

Good at: long adaptation, where hand-made optimizers waste their first steps. Bad at: tasks that a handful of episodes must do,
for it begins from nothing; horizons or networks far from those trained on.

Where we depart from the paper: a gated recurrent unit of one layer instead of two of LSTM; the steps are in the direction of Adam
plus what is learned, on a learned logarithmic scale; the network is also told momenta, the time, and the leaf
(`adaptation/learned_optimizer.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from adaptax import keys, trees
from adaptax.adaptation.gradient import FromScratchLearner, GradientTheta
from adaptax.adaptation.learned_optimizer import LearnedOptimizer
from adaptax.algorithms.base import Algorithm
from adaptax.chunks import chunk_size, map_tasks, mean_gradient
from adaptax.collection.replay import replay_from
from adaptax.errors import AdaptaxError
from adaptax.estimators.ppo import epochs_over_tasks
from adaptax.outer.persistent_es import Particles, antithetic, begun, estimate, perturbations, renewed
from adaptax.outer.unrolled import EveryRound, comparable_advantages, mean_error
from adaptax.types import Behaviour, FewShot, Layout, Lifetime, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class L2O:
    """L2O: a learned optimizer, which trains a random policy on each new task."""

    training: Literal["backpropagation", "persistent-es"] = "backpropagation"
    """How the optimizer is trained: through the unrolled inner training, or by persistent evolution strategies."""
    tasks: int = 16
    """Inner trainings in one meta-update; evolution strategies take an even number, two to a task."""
    streams: int = 10
    """Episodes of a task in each round."""
    horizon: int = 10
    """Adaptation steps of an inner training."""
    truncation: int = 10
    """Adaptation steps that the meta-gradient looks back; of an inner training in one meta-update of evolution strategies."""
    late: float = 0.0
    """Backpropagation: the policy after k adaptation steps counts (k/horizon)^late in the objective; 0: each counts alike. A
    policy that is good too early may have stopped trying what later ones could learn from."""
    hidden: tuple[int, ...] = (32,)
    """Units of the policy's hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between the layers."""
    optimizer_hidden: int = 20
    """Units of the optimizer's recurrent network, which has one state for each parameter of the policy."""
    inner_lr: float = 0.03
    """The unit of the optimizer's steps; at first it is Adam with this step size."""
    momentum_features: bool = True
    """The optimizer reads running means of the gradient, and steps in the direction of Adam plus what is learned."""
    context_features: bool = True
    """The optimizer is told the time, each parameter, and the layer that it is in."""
    gamma: float = 0.99
    """Discount γ per step of an episode."""
    gae_lambda: float = 1.0
    """λ of generalised advantage estimation."""
    lr: float = 1e-2
    """Adam's step size in the outer loop."""
    entropy: float = 0.0
    """Backpropagation: weight of the policy's entropy, in nats, beside advantages of unit size; it falls to zero linearly until
    the horizon. A policy that has stopped trying others has no gradient either that could tell the optimizer so."""
    epochs: int = 4
    """Backpropagation: outer gradient steps on the data of one meta-update."""
    clip: float = 0.2
    """Backpropagation: PPO's ε."""
    max_kl_nats: float = 0.05
    """Backpropagation: no further step is taken on the data of a meta-update once the policies of all rounds have moved so far
    in mean KL divergence from those that collected."""
    max_gradient_norm: float = 1.0
    """The meta-gradient's Euclidean norm is scaled down to this."""
    noise: float = 0.01
    """Evolution strategies: standard deviation σ of the perturbations."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        rule = LearnedOptimizer(
            jnp.array(self.inner_lr), self.optimizer_hidden, (0.9, 0.5, 0.99) if self.momentum_features else (),
            self.context_features,
        )  # fmt: skip
        backpropagation = self.training == "backpropagation"
        learner = FromScratchLearner(
            spec=spec, hidden=self.hidden, activation=self.activation, rule=rule, first_order=False, head_only=False,
            inner_max_norm=None,
            inner_steps=0, later_lr_factor=jnp.array(1.0), γ=jnp.array(self.gamma), λ=jnp.array(self.gae_lambda),
            truncation=self.truncation if backpropagation else 0,
        )  # fmt: skip
        return (BackpropagationL2O if backpropagation else PersistentL2O)(self, spec, learner)


class L2OAlgorithm(Algorithm):
    """What both ways of training share."""

    learner: FromScratchLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    lr: Array
    max_gradient_norm: Array

    def __init__(self, config: L2O, spec: Spec, learner: FromScratchLearner, steps: int):
        """`steps`: adaptation steps in one meta-update."""
        self.learner, self.spec, self.tasks, self.horizon = learner, spec, config.tasks, config.horizon
        self.layout = (
            Layout(steps, 1, spec.support, episodes=None)
            if spec.supervised
            else Layout(steps, config.streams, spec.episode_steps, episodes=1)
        )
        self.lr, self.max_gradient_norm = jnp.array(config.lr), jnp.array(config.max_gradient_norm)

    def test_layout(self, episodes: int | None) -> Layout:
        """As many adaptation steps as in an inner training; `episodes` counts the steps on a supervised task, else the episodes."""
        if self.spec.supervised:
            return dataclasses.replace(
                self.layout, rounds=1 + (self.horizon if episodes is None else episodes)
            )
        episodes = (self.horizon + 1) * self.layout.streams if episodes is None else episodes
        streams = min(self.layout.streams, -(-episodes // 2))
        return dataclasses.replace(self.layout, rounds=-(-episodes // streams), streams=streams)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(b2=0.99, eps=1e-8)
        )

    def init(self, key: Key[Array, ""]) -> TrainState:
        k_theta, k_run = jax.random.split(key)
        theta = self.learner.init(k_theta)
        params = eqx.filter(theta, self.learner.trainable(theta))
        return TrainState(theta, self.optimizer.init(params), k_run, jnp.zeros((), jnp.int32))

    @property
    def chunk(self) -> int:
        return chunk_size(self.tasks, self.floats_per_task)

    @property
    def floats_per_task(self) -> int:
        return self.layout.streams * self.layout.steps * max(self.learner.hidden, default=1)

    def descended(self, state: TrainState, gradient: Any, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """The state after one step of Adam."""
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        direction, opt_state = self.optimizer.update(gradient, state.opt_state, params)
        theta = eqx.combine(eqx.apply_updates(params, trees.scale(-self.lr, direction)), frozen)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics


def observed(theta: GradientTheta, lifetime: Lifetime) -> GradientTheta:
    """θ, whose normaliser has seen the lifetimes."""
    normaliser = theta.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
    return eqx.tree_at(lambda t: t.normaliser, theta, normaliser)


class BackpropagationL2O(L2OAlgorithm):
    """Inner trainings from their beginning to the horizon in every meta-update, and the gradient through them."""

    epochs: int = eqx.field(static=True)
    objective: EveryRound
    max_kl_nats: Array

    def __init__(self, config: L2O, spec: Spec, learner: FromScratchLearner):
        super().__init__(config, spec, learner, config.horizon)
        if not spec.supervised:  # the round after the last adaptation
            self.layout = dataclasses.replace(self.layout, rounds=config.horizon + 1)
        self.objective = EveryRound(*(jnp.array(x) for x in (config.clip, config.late, config.entropy)))
        self.epochs, self.max_kl_nats = config.epochs, jnp.array(config.max_kl_nats)

    def learn(self, state: TrainState, lifetime: Any, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        learner = self.learner
        params, frozen = eqx.partition(state.theta, learner.trainable(state.theta))
        if isinstance(lifetime, FewShot):

            def error(params: Any, data: FewShot) -> tuple[Array, Metrics]:
                theta = eqx.combine(params, frozen)
                fast = learner.begin(theta, keys.begin(data.keys), None)
                loss, _, metrics = mean_error(learner, theta, data, self.layout.rounds, fast)
                return loss, metrics

            gradient, metrics = mean_gradient(error, params, lifetime, self.chunk)
            return self.descended(state, gradient, metrics)

        def surrogate(params: Any, one_task: tuple[Lifetime, Array]) -> tuple[Array, Metrics]:
            return self.objective.loss(learner, eqx.combine(params, frozen), *one_task, self.layout)

        params, opt_state, metrics = epochs_over_tasks(
            surrogate, params, state.opt_state, self.optimizer, self.lr,
            (lifetime, comparable_advantages(lifetime, learner.γ, learner.λ)), key,
            epochs=self.epochs, minibatches=1, floats_per_task=self.floats_per_task, max_kl_nats=self.max_kl_nats,
        )  # fmt: skip
        theta = observed(eqx.combine(params, frozen), lifetime)
        return TrainState(theta, opt_state, state.key, state.updates), metrics


class PersistentL2O(L2OAlgorithm):
    """A window of `truncation` steps of every particle's inner training in each meta-update; the particles are in `aux`."""

    windows: int = eqx.field(static=True)
    """Of an inner training."""
    noise: Array

    def __init__(self, config: L2O, spec: Spec, learner: FromScratchLearner):
        if config.tasks % 2:
            raise AdaptaxError(f"Evolution strategies need an even number of tasks, not {config.tasks}.")
        if config.horizon % config.truncation:
            raise AdaptaxError(
                f"The horizon must be a multiple of the truncation, but {config.horizon} is none of {config.truncation}."
            )
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
        """Both of a pair meet the same task with the same random numbers, under θ + ε and θ − ε."""
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        ε = self.perturbations(state, key)
        frozen = jax.tree.map(lambda x: jnp.broadcast_to(x, (self.tasks, *x.shape)), frozen)
        lifetimes = jax.random.split(jax.random.fold_in(key, 1), self.tasks // 2)
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
        theta = observed(after.theta, lifetime) if isinstance(lifetime, Lifetime) else after.theta
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
