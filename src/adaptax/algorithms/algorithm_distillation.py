"""Algorithm distillation: a causal Transformer that imitates how other agents learn, and so learns by itself.

Laskin et al. 2022 (arXiv 2210.14215). On each training task a single-task agent, the *teacher*, learns from scratch by
reinforcement learning; its learning history is every episode that it lived through, from the first random one to the last good
one. A causal Transformer, the student, is trained to predict the teacher's actions from all of the history before them (eq. 2):

    min_θ  −E_task Σ_t log P_θ(a_t | o_0, a_0, r_0, …, o_{t−1}, a_{t−1}, r_{t−1}, o_t)

What explains a better action late in a history is what was seen early in it. So the student must infer what a learner would have
learned, and on a new task it improves from episode to episode, with no gradient taken.

    teacher   a policy of its own for each task, trained by clipped policy-gradient steps on rounds of `streams` episodes
    history   stream n of the teacher's rounds, one episode a round, and of these every `every`-th: the student then learns in fewer
              episodes than its teacher did (§4.5)

Good at: learning to learn from data, without an outer loop of reinforcement learning, where single-task learning works. Bad at:
being better than what it imitates: it explores as its teacher does, which was not made to find out about the task.

Departures from the paper: fresh histories in every meta-update, for simulation is cheap here, instead of a stored data set; PPO on
single-task policies instead of distributed A3C; the context is the whole thinned history.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from adaptax import keys, trees
from adaptax.adaptation.in_context import InContextLearner
from adaptax.adaptation.proximal import Proximal, SingleTaskLearner
from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.errors import AdaptaxError
from adaptax.estimators.ppo import epochs_over_tasks
from adaptax.estimators.returns import valid_mean
from adaptax.learner import Learner
from adaptax.networks.encoding import zero_action
from adaptax.types import Behaviour, Layout, Lifetime, Metrics, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class AlgorithmDistillation:
    """A causal Transformer that imitates the learning histories of single-task agents."""

    tasks: int = 32
    """Tasks in one meta-update; each has a teacher of its own."""
    rounds: int = 40
    """Rounds of a teacher's life; it learns after each."""
    streams: int = 8
    """Episodes in a round. Each round gives one of them to each of as many histories."""
    every: int = 2
    """Every how many-th round is kept in a history."""
    teacher_hidden: tuple[int, ...] = (32,)
    """Units of the hidden layers of a teacher's policy."""
    teacher_steps: int = 10
    """Gradient steps of a teacher after a round."""
    teacher_lr: float = 1e-2
    """Adam's step size in them."""
    teacher_entropy: float = 0.01
    """Weight of a teacher's entropy bonus."""
    gamma: float = 0.99
    """The teachers' discount γ per step of an episode."""
    gae_lambda: float = 0.95
    """λ of the teachers' generalised advantage estimation."""
    width: int = 64
    """Numbers in a row between the Transformer's layers."""
    layers: int = 2
    """Blocks of attention and multilayer perceptron."""
    heads: int = 4
    """Heads of attention; the width must be a multiple of twice as many."""
    lr: float = 1e-3
    """Adam's step size in imitation."""
    epochs: int = 1
    """Passes over the histories of one meta-update."""
    minibatches: int = 4
    """Parts that a pass is divided into."""
    max_gradient_norm: float = 1.0
    """The gradient's Euclidean norm is scaled down to this."""

    def build(self, spec: Spec) -> AlgorithmDistillationAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where its tasks are labelled examples, or no round is kept."""
        require_environments(spec, "Algorithm distillation")
        if self.every > self.rounds:
            raise AdaptaxError(
                f"Of {self.rounds} rounds every {self.every}th is to be kept, which leaves none; give a smaller number."
            )
        return AlgorithmDistillationAlgorithm(self, spec)


class AlgorithmDistillationAlgorithm(Algorithm):
    """`TrainState.theta` is the student's; its normaliser is the teachers' too."""

    learner: InContextLearner
    teacher: SingleTaskLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    every: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    lr: Array
    max_gradient_norm: Array

    def __init__(self, config: AlgorithmDistillation, spec: Spec):
        self.spec, self.tasks, self.every = spec, config.tasks, config.every
        self.epochs, self.minibatches = config.epochs, config.minibatches
        self.layout = Layout(config.rounds, config.streams, spec.episode_steps, episodes=1)
        self.learner = InContextLearner(
            spec=spec, width=config.width, layers=config.layers, heads=config.heads,
            context=self.episodes * spec.episode_steps,
        )  # fmt: skip
        proximal = Proximal(
            config.teacher_steps, jnp.array(config.teacher_lr), jnp.array(config.gamma), jnp.array(config.gae_lambda),
            jnp.array(0.2), jnp.array(config.teacher_entropy),
        )  # fmt: skip
        self.teacher = SingleTaskLearner(spec=spec, hidden=config.teacher_hidden, proximal=proximal)
        self.lr, self.max_gradient_norm = jnp.array(config.lr), jnp.array(config.max_gradient_norm)

    @property
    def episodes(self) -> int:
        """Of a history."""
        return self.layout.rounds // self.every

    @property
    def collector(self) -> Learner:
        return self.teacher

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        return Behaviour(state.theta.normaliser)

    def test_layout(self, episodes: int | None) -> Layout:
        """The student's: one stream."""
        episodes = episodes or self.episodes
        return Layout(rounds=1, streams=1, steps=episodes * self.spec.episode_steps, episodes=episodes)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(b2=0.99))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        histories = jax.vmap(lambda rounds: learning_histories(rounds, self.every, self.spec))(
            lifetime.rounds
        )
        histories = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), histories)  # [B·N, E·T]

        def loss(params: Any, history: Step) -> tuple[Array, Metrics]:
            theta = eqx.combine(params, frozen)
            out, _ = self.learner.unroll_anew(theta, None, history, keys.stream(state.key, 0, 0))
            log_prob = jax.vmap(lambda dist, action: dist.log_prob(action))(out.dist, history.action)
            nats = -valid_mean(log_prob, history.valid)
            return nats, {"imitation_nats": nats}

        params, opt_state, metrics = epochs_over_tasks(
            loss, params, state.opt_state, self.optimizer, self.lr, histories, key,
            epochs=self.epochs, minibatches=self.minibatches,
            floats_per_task=self.learner.context * max(4 * self.learner.width, self.learner.heads * self.learner.context),
        )  # fmt: skip
        theta = eqx.combine(params, frozen)
        normaliser = theta.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
        theta = eqx.tree_at(lambda t: t.normaliser, theta, normaliser)
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics


def learning_histories(rounds: Step, every: int, spec: Spec) -> Step:
    """N histories [N, E·T] of one task from a teacher's rounds [K, N, T] of one episode each: in each stream every `every`-th
    round, the last one among them, one after the other, as if nothing had been between them."""
    k = rounds.reward.shape[0]
    kept = trees.index(rounds, slice((k - 1) % every, None, every))
    one = jax.vmap(lambda stream: _joined(stream, spec), in_axes=1)
    return one(kept)


def _joined(episodes: Step, spec: Spec) -> Step:
    """One history [E·T] from its episodes [E, T], the rows of each that are valid standing first."""
    e, t = episodes.reward.shape
    last = jnp.maximum(episodes.valid.sum(1) - 1, 0)
    each = jnp.arange(e)

    def before(values: Array, nothing: Array) -> Array:
        """What each episode's first row has for its previous one: the last of the episode before."""
        ends = values[each, last]
        return jnp.concatenate([nothing[None], ends[:-1]])

    prev_action = episodes.prev_action.at[:, 0].set(before(episodes.action, zero_action(spec.action)))
    prev_reward = episodes.prev_reward.at[:, 0].set(before(episodes.reward, jnp.zeros(())))
    number = jnp.broadcast_to(each[:, None], (e, t)).astype(episodes.episode.dtype)
    rows = dataclasses.replace(episodes, prev_action=prev_action, prev_reward=prev_reward, episode=number)
    return jax.tree.map(lambda x: x.reshape(e * t, *x.shape[2:]), rows)
