"""PEARL: probabilistic embeddings for actor-critic reinforcement learning.

Rakelly et al. 2019 (arXiv 1903.08254).

A belief about the task, a Gaussian over a latent variable z, is the product of a factor for each transition seen (§4.1; here the
prior is a factor too, so that no evidence leaves the prior):

    q_φ(z|c)  ∝  N(z; 0, I) · Π_n N(z; μ_φ(c_n), 1/λ_φ(c_n)) ,     c_n = (s, a, r) or (s, a, r, s')

The policy π_θ(a|s, z) holds one sample of the belief through an episode and adapts after it: exploration by posterior
sampling. Soft actor-critic trains it on transitions of any age, and the critics' error trains the encoder (§5):

    L_critic = E_{z ~ q(z|c)} Σ_{i=1,2} (Q_i(s, a, z) − y)² + β KL(q(z|c) ‖ N(0, I)) ,     y = r + γ (1 − terminated) V̄(s', z)
    V̄(s', z) = E_{a'~π}[min_i Q̄_i(s', a', z) − log π(a'|s', z)] ,     L_actor = −V(s, z), z a constant

Good at: few environment steps, for data are used again and again.
Bad at: telling tasks apart within an episode (it adapts between episodes only), tasks that evidence in any order does not
tell, and rewards too sparse to be met by chance, even where meta-training is given a `shaped_reward`.

Where we depart from the paper: twin target critics in place of a value network; all networks step at once; a context is what a
recent lifetime had shown after some of its episodes, chosen uniformly, as at meta-test, where the paper draws single transitions
of the newest data; factors are given by their precision λ, which can be near 0 where a transition tells nothing; the mean over
tasks of the KL where the code takes the sum (the paper's β times the meta-batch is ours). Discrete actions are not in the paper.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax import keys, trees
from adaptax.adaptation.posterior import Evidence, PosteriorLearner, PosteriorTheta, kl_from_prior, prior
from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.buffers import RingBuffer, sample_of
from adaptax.chunks import chunk_size, mean_gradient
from adaptax.errors import AdaptaxError
from adaptax.estimators.sac import TwinCritic, moved_towards, sac_losses
from adaptax.estimators.transitions import Transition, blank, transitions
from adaptax.networks.encoding import observation_size, zero_action
from adaptax.types import Behaviour, Box, Discrete, Layout, Lifetime, Metrics, Spec, Step, TrainState

METRICS = "critic_loss", "actor_loss", "entropy_nats", "belief_kl_nats"


@dataclasses.dataclass(frozen=True)
class PEARL:
    """PEARL: a belief about the task from what was seen of it, and off-policy actor-critic given a sample of that belief."""

    tasks: int = 20
    """Tasks to collect from in one meta-update."""
    training_tasks: int = 100
    """Tasks in all: a fixed set, each with buffers of its own, visited in turn; gradient steps begin when all have been."""
    episodes: int = 0
    """Episodes with a task in a meta-update, 2 or more, the learner adapting after each; 0: as the task family says, at least 2."""
    capacity: int = 10_000
    """Transitions kept of each task, the newest."""
    recent: int = 4
    """Lifetimes kept of each task for contexts, the newest."""
    gradient_steps: int = 500
    """In one meta-update."""
    meta_batch: int = 4
    """Tasks in one gradient step."""
    batch: int = 128
    """Transitions of each of them."""
    latent: int = 5
    """Length of z."""
    hidden: tuple[int, ...] = (128, 128)
    """Units of the policy's and the critics' layers."""
    encoder_hidden: tuple[int, ...] = (128, 128)
    """Units of the encoder's layers."""
    use_next_obs: bool = False
    """The next observation is part of the context too: where tasks differ in their dynamics."""
    lr: float = 1e-3
    """Adam's step size, of all networks."""
    gamma: float = 0.99
    """Discount γ within an episode."""
    tau: float = 0.005
    """Share of the way that the target critics go in a gradient step."""
    reward_scale: float = 5.0
    """Factor on rewards; a nat of the policy's entropy counts 1."""
    kl: float = 0.1
    """β, weight of the belief's divergence from the prior, mean over tasks."""

    def build(self, spec: Spec) -> PEARLAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where it cannot learn on the family, or counts contradict."""
        require_environments(spec, "PEARL")
        if not isinstance(spec.action, Box | Discrete):
            raise AdaptaxError(
                f"PEARL acts by one real vector or one choice, and '{spec.name}' asks for several choices at once; "
                "join them to one `Discrete` choice, or take rl2."
            )
        if spec.masked:
            raise AdaptaxError(
                f"PEARL cannot learn where actions are forbidden at times, as in '{spec.name}'; take rl2 or maml."
            )
        if self.tasks > self.training_tasks:
            asked = f"{self.tasks} of {self.training_tasks} training tasks"
            raise AdaptaxError(f"A meta-update cannot visit {asked}; lower tasks, or raise training_tasks.")
        if self.episodes == 1:
            raise AdaptaxError("PEARL adapts between episodes; give 2 or more.")
        return PEARLAlgorithm(self, spec)


class Experience(eqx.Module):
    """`TrainState.aux`: the critics, and the training tasks' buffers, leaves [M, ...]."""

    critic: TwinCritic
    target: TwinCritic
    lifetimes: RingBuffer
    """Of (Evidence, valid), each row a lifetime [K, T]: what contexts are taken from."""
    transitions: RingBuffer
    """Of Transition."""


class PEARLAlgorithm(Algorithm):
    """Collects from some of the training tasks, in turn; once all have been visited, takes SAC's gradient steps on all of them."""

    learner: PosteriorLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    episodes: int = eqx.field(static=True)
    training_tasks: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    recent: int = eqx.field(static=True)
    gradient_steps: int = eqx.field(static=True)
    meta_batch: int = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    lr: Array
    γ: Array
    τ: Array
    reward_scale: Array
    β: Array

    def __init__(self, config: PEARL, spec: Spec):
        sizes = config.latent, config.hidden, config.encoder_hidden, config.use_next_obs
        self.learner = PosteriorLearner(spec, *sizes)
        self.spec, self.tasks, self.training_tasks = spec, config.tasks, config.training_tasks
        self.episodes = config.episodes or max(2, spec.episodes)
        self.layout = self.test_layout(None)
        self.capacity, self.recent, self.batch = config.capacity, config.recent, config.batch
        self.gradient_steps, self.meta_batch = config.gradient_steps, config.meta_batch
        self.lr, self.γ, self.τ = jnp.array(config.lr), jnp.array(config.gamma), jnp.array(config.tau)
        self.reward_scale, self.β = jnp.array(config.reward_scale), jnp.array(config.kl)

    def test_layout(self, episodes: int | None) -> Layout:
        return Layout(rounds=episodes or self.episodes, streams=1, steps=self.spec.episode_steps, episodes=1)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.scale_by_adam()

    def init(self, key: Key[Array, ""]) -> TrainState:
        k_theta, k_critic, k_run = jax.random.split(key, 3)
        theta = self.learner.init(k_theta)
        n_in = observation_size(self.spec) + self.learner.latent
        critic = TwinCritic(n_in, self.learner.hidden, self.spec.action, k_critic)
        obs, zero, action = jnp.zeros(self.spec.observation), jnp.zeros(()), zero_action(self.spec.action)
        lifetime = jax.tree.map(
            lambda x: jnp.zeros((self.layout.rounds, self.layout.steps, *x.shape), x.dtype),
            (Evidence(obs, action, zero, obs if self.learner.use_next_obs else None), jnp.array(False)),
        )
        lifetimes, rows = jax.vmap(
            lambda _: (RingBuffer.of(lifetime, self.recent), RingBuffer.of(blank(self.spec), self.capacity))
        )(jnp.arange(self.training_tasks))
        params: Any = eqx.filter(theta, self.learner.trainable(theta)), critic
        aux = Experience(critic, critic, lifetimes, rows)
        return TrainState(theta, self.optimizer.init(params), k_run, jnp.zeros((), jnp.int32), aux)

    def visited(self, updates: Int[Array, ""]) -> Int[Array, " B"]:
        """Which of the training tasks a meta-update collects from: each in its turn."""
        return (updates * self.tasks + jnp.arange(self.tasks)) % self.training_tasks

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        draws = jax.vmap(lambda i: keys.training_task(state.key, i))(self.visited(state.updates))
        return Behaviour(state.theta, draws=draws)

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        experience = self.remembered(state.aux, lifetime.rounds, self.visited(state.updates))
        trained, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))

        def step(i: Array, carry: Any) -> Any:
            params, target, opt_state, totals = carry
            k_tasks, k_data, k_loss = jax.random.split(jax.random.fold_in(key, i), 3)
            members = jax.random.randint(k_tasks, (self.meta_batch,), 0, self.training_tasks)
            data = self.drawn(experience, members, jax.random.split(k_data, self.meta_batch))
            inputs = (*data, jax.random.split(k_loss, self.meta_batch))
            loss = lambda params, one: self.loss(params, frozen, target, *one)  # noqa: E731
            chunk = chunk_size(self.meta_batch, self.batch * max(self.learner.hidden))
            gradient, metrics = mean_gradient(loss, params, inputs, chunk)
            direction, opt_state = self.optimizer.update(gradient, opt_state)
            params = trees.add(params, trees.scale(-self.lr, direction))
            target = moved_towards(target, params[1], self.τ)
            return params, target, opt_state, trees.add(totals, metrics)

        # Where the first tasks were learned before the last are met, these would be explored by a policy that knows better.
        ready = (state.updates + 1) * self.tasks >= self.training_tasks
        steps = jnp.where(ready, self.gradient_steps, 0)
        start = (
            (trained, experience.critic),
            experience.target,
            state.opt_state,
            dict.fromkeys(METRICS, jnp.zeros(())),
        )
        (trained, critic), target, opt_state, totals = jax.lax.fori_loop(0, steps, step, start)
        theta = eqx.combine(trained, frozen).observing(lifetime)
        experience = dataclasses.replace(experience, critic=critic, target=target)
        after = TrainState(theta, opt_state, state.key, state.updates, experience)
        return after, trees.scale(1.0 / jnp.maximum(steps, 1), totals) | {"gradient_steps": steps}

    def remembered(self, old: Experience, rounds: Step, members: Int[Array, " B"]) -> Experience:
        """With Step[B, K, 1, T] in the buffers of tasks `members`, which differ."""
        seen = (self.learner.evidence(rounds), rounds.valid)
        evidence = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 1), seen)  # N = 1: a lifetime is one row
        flat = jax.tree.map(lambda x: x.reshape(self.tasks, -1, *x.shape[4:]), rounds)
        one = jnp.ones((self.tasks, 1), bool)

        def added(buffers: RingBuffer, rows: Any, valid: Array) -> RingBuffer:
            new = jax.vmap(RingBuffer.add)(trees.index(buffers, members), rows, valid)
            return jax.tree.map(lambda all, some: all.at[members].set(some), buffers, new)

        lifetimes = added(old.lifetimes, evidence, one)
        return Experience(
            old.critic, old.target, lifetimes, added(old.transitions, transitions(flat), flat.valid)
        )

    def drawn(
        self, experience: Experience, members: Int[Array, " M"], keys: Key[Array, " M"]
    ) -> tuple[Evidence, Bool[Array, "M n"], Transition]:
        """For each member a context [n], which of its rows count, and transitions [batch]."""

        def one_task(i: Array, key: Array) -> Any:
            k_context, k_rounds, k_rows = jax.random.split(key, 3)
            evidence, valid = trees.index(sample_of(experience.lifetimes, i, k_context, 1), 0)
            # What has been seen when one of the K episodes begins: of those before it, 0 … K−1.
            before = jax.random.randint(k_rounds, (), 0, self.layout.rounds)
            counts = valid & (jnp.arange(self.layout.rounds) < before)[:, None]
            evidence, counts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (evidence, counts))
            return evidence, counts, sample_of(experience.transitions, i, k_rows, self.batch)

        return jax.vmap(one_task)(members, keys)

    def loss(
        self,
        params: tuple[PosteriorTheta, TwinCritic],
        frozen: PosteriorTheta,
        target: TwinCritic,
        evidence: Evidence,
        counts: Bool[Array, " n"],
        rows: Transition,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        """L_critic + L_actor of one task: the mean over its transitions [batch]."""
        theta, critic = eqx.combine(params[0], frozen), params[1]
        k_z, k_rows = jax.random.split(key)
        belief = self.learner.weighed(theta, prior(self.learner.latent), evidence, counts)
        z = belief.sample(k_z)

        def one(row: Transition, key: Key[Array, ""]) -> tuple[Array, Array, Array]:
            x, next_x = (self.learner.state(theta, obs, z) for obs in (row.obs, row.next_obs))
            scaled = dataclasses.replace(row, reward=self.reward_scale * row.reward)
            policy = lambda x: self.learner.policy(theta, x)  # noqa: E731
            return sac_losses(policy, critic, target, x, next_x, scaled, self.γ, key)

        error, actor, entropy = jax.tree.map(
            jnp.mean, jax.vmap(one)(rows, jax.random.split(k_rows, self.batch))
        )
        kl = kl_from_prior(belief)
        return error + self.β * kl + actor, dict(zip(METRICS, (error, actor, entropy, kl), strict=True))
