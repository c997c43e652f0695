"""MAML: model-agnostic meta-learning for fast adaptation of deep networks, for reinforcement learning.

Finn, Abbeel, Levine 2017 (arXiv 1703.03400), Algorithm 3. The learner's initial policy θ is such that one policy-gradient step
on a few episodes of a new task makes a good policy:

    θ'_i = θ − α ∇_θ L_i(θ; D_i),  D_i ~ π_θ          inner loop, eq. 1
    min_θ  Σ_i L_i(θ'_i; D'_i),    D'_i ~ π_θ'_i      outer loop, eq. 4

The inner L is the low-variance-curvature surrogate of Rothfuss et al. 2019 (eq. 12), whose gradient is the policy gradient
and whose curvature, which the meta-gradient needs, is that of the policy gradient too. The outer step is PPO's on the
post-adaptation episodes, or TRPO's as in the paper. Advantages come from a linear feature baseline fitted to each round.

Good at: dense rewards, tasks unlike those trained on (gradient steps go on helping), few assumptions about the learner.
Bad at: sparse rewards (the first episodes explore as a policy for all tasks does), a budget of few episodes.

Where we depart from the paper: the sampling of the first round is held fixed in the meta-gradient, as in all its
implementations (E-MAML adds that term); PPO is the default outer step, being several times cheaper than TRPO here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.adaptation.gradient import gradient_step
from adaptax.algorithms.base import Algorithm
from adaptax.chunks import chunk_size, map_tasks, mean_gradient, mean_over_tasks
from adaptax.collection.replay import replay
from adaptax.estimators.baseline import linear_advantages
from adaptax.estimators.ppo import epochs_over_tasks
from adaptax.estimators.returns import standardise, valid_mean
from adaptax.estimators.surrogates import lvc, ppo_clip
from adaptax.estimators.trust_region import conjugate_gradient, line_search
from adaptax.learner import Learner
from adaptax.networks.encoding import observation_size
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.policy import Policy
from adaptax.types import Layout, Lifetime, Metrics, Out, Spec, Step, TrainState

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


@dataclasses.dataclass(frozen=True)
class MAML:
    """MAML: an initial policy from which a policy-gradient step on a new task goes far."""

    tasks: int = 40
    """Tasks in one meta-update."""
    streams: int = 10
    """Episodes of a task in each round."""
    inner_steps: int = 1
    """Adaptation steps in a lifetime; each has a round of fresh episodes before it."""
    inner_lr: float = 0.5
    """Inner step size α."""
    later_lr_factor: float = 0.1
    """Factor on α in adaptation steps beyond the `inner_steps` that were trained for (Finn et al. 2017, appendix A.2, halve it).
    The trained steps are long ones; repeated, they overshoot."""
    learned_inner_lr: bool = False
    """Learn α, one per parameter (Meta-SGD, Li et al. 2017)."""
    first_order: bool = False
    """Leave the second derivatives out of the meta-gradient (FOMAML)."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the policy's hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between the layers; the paper's is relu."""
    gamma: float = 0.99
    """Discount γ per step of an episode."""
    gae_lambda: float = 1.0
    """λ of generalised advantage estimation."""
    outer: Literal["ppo", "trpo"] = "ppo"
    """The outer step: clipped surrogate by Adam over several epochs, or one trust-region step."""
    lr: float = 5e-3
    """PPO: Adam's step size."""
    epochs: int = 5
    """PPO: gradient steps on the data of one meta-update."""
    clip: float = 0.3
    """PPO's ε."""
    max_gradient_norm: float = 1.0
    """PPO: the meta-gradient's Euclidean norm is scaled down to this."""
    max_kl_nats: float = 0.03
    """Bound on the mean KL divergence of the adapted policies from those that collected: TRPO's trust region; PPO takes
    no further step on the data once they are beyond it."""
    cg_iterations: int = 10
    """TRPO: conjugate-gradient steps."""
    cg_damping: float = 1e-5
    """TRPO: multiple of the identity added to the Fisher matrix."""
    line_search_trials: int = 15
    """TRPO: step lengths tried, each half of the one before."""

    def build(self, spec: Spec) -> MAMLAlgorithm:
        """The algorithm for a family's spec."""
        return MAMLAlgorithm(self, spec)


class MAMLTheta(eqx.Module):
    policy: Policy
    inner_lr: Any
    """α: a number, or a tree like `policy`."""
    normaliser: Normaliser


class MAMLFast(eqx.Module):
    policy: Policy
    """As adapted so far."""
    steps: Array
    """int32, adaptation steps taken."""


class MAMLLearner(Learner):
    spec: Spec = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    first_order: bool = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    learned_inner_lr: bool = eqx.field(static=True)
    inner_lr: Array
    later_lr_factor: Array
    γ: Array
    λ: Array

    def init(self, key: Key[Array, ""]) -> MAMLTheta:
        size = observation_size(self.spec)
        policy = Policy(size, self.hidden, self.spec.action, key, ACTIVATIONS[self.activation])
        lr = (
            jax.tree.map(lambda p: jnp.full_like(p, self.inner_lr), policy) if self.learned_inner_lr else None
        )
        return MAMLTheta(policy, lr, Normaliser.of(size))

    def trainable(self, theta: MAMLTheta) -> Any:
        frozen = jax.tree.map(lambda _: False, theta.normaliser)
        return eqx.tree_at(lambda t: t.normaliser, super().trainable(theta), frozen)

    def begin(self, theta, key, features):
        return MAMLFast(theta.policy, jnp.zeros((), jnp.int32))

    def act(self, theta, fast, memory, step, key):
        dist = fast.policy(theta.normaliser.observation(step.obs), step.action_mask)
        return Out(dist, jnp.zeros(())), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        return jax.vmap(lambda step: self.act(theta, fast, memory, step, stream_key)[0])(steps), memory

    def adapt(self, theta, fast, batch, key):
        advantage = self.advantages(batch)
        obs = jax.vmap(jax.vmap(theta.normaliser.observation))(batch.obs)

        def loss(policy):
            def row(x, mask, action):
                return policy(x, mask).log_prob(action)

            logp = jax.vmap(jax.vmap(row))(obs, batch.action_mask, batch.action)
            return valid_mean(lvc(logp, advantage), batch.valid)

        lr = theta.inner_lr if self.learned_inner_lr else self.inner_lr
        trained = fast.steps < self.inner_steps
        lr = trees.scale(jnp.where(trained, 1.0, self.later_lr_factor), lr)
        return MAMLFast(gradient_step(loss, fast.policy, lr, self.first_order), fast.steps + 1)

    def advantages(self, batch: Step) -> Float[Array, "N T"]:
        """Of one round: generalised advantages over a linear baseline, standardised."""
        return standardise(linear_advantages(batch, self.γ, self.λ), batch.valid)


class MAMLAlgorithm(Algorithm):
    learner: MAMLLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    outer: str = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    cg_iterations: int = eqx.field(static=True)
    line_search_trials: int = eqx.field(static=True)
    lr: Array
    clip: Array
    max_gradient_norm: Array
    max_kl_nats: Array
    cg_damping: Array

    def __init__(self, config: MAML, spec: Spec):
        self.learner = MAMLLearner(
            spec=spec, hidden=config.hidden, activation=config.activation, first_order=config.first_order,
            inner_steps=config.inner_steps,
            learned_inner_lr=config.learned_inner_lr, inner_lr=jnp.array(config.inner_lr),
            later_lr_factor=jnp.array(config.later_lr_factor),
            γ=jnp.array(config.gamma), λ=jnp.array(config.gae_lambda),
        )  # fmt: skip
        self.spec, self.tasks, self.outer, self.epochs = spec, config.tasks, config.outer, config.epochs
        self.cg_iterations, self.line_search_trials = config.cg_iterations, config.line_search_trials
        self.layout = Layout(config.inner_steps + 1, config.streams, spec.episode_steps, episodes=1)
        self.lr, self.clip = jnp.array(config.lr), jnp.array(config.clip)
        self.max_gradient_norm = jnp.array(config.max_gradient_norm)
        self.max_kl_nats, self.cg_damping = jnp.array(config.max_kl_nats), jnp.array(config.cg_damping)

    def test_layout(self, episodes: int | None) -> Layout:
        """Rounds of `streams` episodes, or of half the budget where that is smaller: there must be one to adapt in."""
        episodes = 4 * self.layout.streams if episodes is None else episodes
        streams = min(self.layout.streams, -(-episodes // 2))
        return dataclasses.replace(self.layout, rounds=-(-episodes // streams), streams=streams)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        if self.outer == "trpo":
            return optax.identity()
        return optax.chain(
            optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(b2=0.99, eps=1e-5)
        )

    def init(self, key: Key[Array, ""]) -> TrainState:
        k_theta, k_run = jax.random.split(key)
        theta = self.learner.init(k_theta)
        params = eqx.filter(theta, self.learner.trainable(theta))
        return TrainState(theta, self.optimizer.init(params), k_run, jnp.zeros((), jnp.int32))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        advantage = jax.vmap(lambda rows: self.learner.advantages(trees.index(rows, -1)))(lifetime.rounds)
        step = self.ppo_step if self.outer == "ppo" else self.trpo_step
        params, opt_state, metrics = step(params, frozen, state.opt_state, (lifetime, advantage), key)
        theta = eqx.combine(params, frozen)
        normaliser = theta.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
        theta = eqx.tree_at(lambda t: t.normaliser, theta, normaliser)
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics

    def adapted(self, theta: MAMLTheta, lifetime: Lifetime) -> tuple[Out, Step]:
        """What the adapted policy says of the last round [N, T] of one task, and that round."""
        return trees.index((replay(self.learner, theta, lifetime, self.layout), lifetime.rounds), -1)

    @property
    def floats_per_task(self) -> int:
        return self.layout.streams * self.layout.steps * max(self.learner.hidden, default=1)

    def ppo_step(self, params, frozen, opt_state, data, key):
        """Several Adam steps on the clipped surrogate of the adapted policies."""

        def loss(params: Any, one_task: tuple[Lifetime, Array]) -> tuple[Array, Metrics]:
            lifetime, advantage = one_task
            out, rows = self.adapted(eqx.combine(params, frozen), lifetime)
            logp = jax.vmap(jax.vmap(lambda d, a: d.log_prob(a)))(out.dist, rows.action)
            clipped = ppo_clip(logp, rows.logp, advantage, self.clip)
            return valid_mean(clipped, rows.valid), {
                "kl_nats": valid_mean(self.kl(rows.dist, out.dist), rows.valid)
            }

        return epochs_over_tasks(
            loss, params, opt_state, self.optimizer, self.lr, data, key,
            epochs=self.epochs, minibatches=1, floats_per_task=self.floats_per_task, max_kl_nats=self.max_kl_nats,
        )  # fmt: skip

    def trpo_step(self, params, frozen, opt_state, data, key):
        """One natural-gradient step, as long as the KL bound allows (Schulman et al. 2015, appendix C)."""
        start, unravel = ravel_pytree(params)
        chunk = chunk_size(self.tasks, self.floats_per_task)

        def surrogate(flat: Array, one_task: tuple[Lifetime, Array]) -> tuple[Array, Metrics]:
            """−E[ρ A] after adaptation, ρ = π_θ'/π_collected, and the KL divergence from what collected."""
            lifetime, advantage = one_task
            out, rows = self.adapted(eqx.combine(unravel(flat), frozen), lifetime)
            logp = jax.vmap(jax.vmap(lambda d, a: d.log_prob(a)))(out.dist, rows.action)
            kl = valid_mean(self.kl(rows.dist, out.dist), rows.valid)
            loss = valid_mean(-jnp.exp(logp - rows.logp) * advantage, rows.valid)
            return loss, {"loss": loss, "kl_nats": kl}

        def evaluate(flat: Array) -> tuple[Array, Array]:
            loss, metrics = map_tasks(lambda x: surrogate(flat, x), data, chunk)
            return loss.mean(), metrics["kl_nats"].mean()

        gradient, metrics = mean_gradient(surrogate, start, data, chunk)
        fisher_product = self.fisher_product(start, unravel, frozen, data[0], chunk)
        direction, residual = conjugate_gradient(
            lambda v: fisher_product(v) + self.cg_damping * v, gradient, self.cg_iterations
        )
        curvature = direction @ (gradient - residual)
        length = jnp.sqrt(2.0 * self.max_kl_nats / jnp.maximum(curvature, 1e-20))
        found = line_search(
            evaluate, start, length * direction, metrics["loss"], self.max_kl_nats, self.line_search_trials
        )
        metrics = {
            "kl_nats": found.kl,
            "improvement": metrics["loss"] - found.loss,
            "accepted": found.accepted.astype(jnp.float32),
            "gradient_norm": jnp.linalg.norm(gradient),
        }
        return unravel(found.point), opt_state, metrics

    def fisher_product(
        self, flat: Array, unravel: Callable, frozen: Any, lifetimes: Lifetime, chunk: int
    ) -> Callable[[Array], Array]:
        """v ↦ mean over tasks of Jᵀ F J v: J through the inner step, F the Fisher matrix of the adapted policy (Gauss–Newton).

        It is the Hessian of the KL divergence at its minimum, without differentiating J once more. J is linearised
        once, task by task; every product then reads what was stored.
        """

        def linearise(lifetime: Lifetime) -> tuple[Any, Any]:
            def dists(flat: Array) -> Any:
                return self.adapted(eqx.combine(unravel(flat), frozen), lifetime)[0].dist

            return jax.linearize(dists, flat)

        dists, jacobians = map_tasks(linearise, lifetimes, chunk)

        def one_task(v: Array, dist: Any, jacobian: Any, valid: Array) -> Array:
            def mean_kl(other: Any) -> Array:
                return valid_mean(self.kl(dist, other), valid)

            _, weighted = jax.jvp(jax.grad(mean_kl), (dist,), (jacobian(v),))
            return jax.linear_transpose(jacobian, flat)(weighted)[0]

        def product(v: Array) -> Array:
            per_task = (dists, jacobians, lifetimes.rounds.valid[:, -1])
            return mean_over_tasks(
                lambda x: jax.vmap(lambda one: one_task(v, *one))(x).mean(0), per_task, chunk
            )

        return product

    @staticmethod
    def kl(old: Any, new: Any) -> Float[Array, "N T"]:
        return jax.vmap(jax.vmap(lambda p, q: p.kl(q)))(old, new)
