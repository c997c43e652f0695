"""What algorithms share that train an initial policy through its own adaptation: hyperparameters, layout, data of an update."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.policy_gradient import PolicyGradientLearner
from adaptax.adaptation.update_rules import UpdateRule
from adaptax.algorithms.base import Algorithm, check_transductive
from adaptax.errors import AdaptaxError
from adaptax.estimators.ppo import epochs_over_tasks
from adaptax.networks.layers import Activation, Connections
from adaptax.networks.policy import Architecture
from adaptax.outer.post_adaptation import clipped_objective
from adaptax.outer.robust import Objective, task_weights
from adaptax.types import Layout, Lifetime, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class Rounds:
    """Hyperparameters of adaptation between rounds by what a policy's gradient says, and of the tasks in an update."""

    tasks: int = 40
    """Tasks in one meta-update."""
    streams: int = 10
    """Episodes of a task in each round."""
    inner_steps: int = 1
    """Adaptation steps in a lifetime; each has a round of fresh episodes before it."""
    later_lr_factor: float = 0.1
    """Factor on adaptation steps beyond the `inner_steps` that were trained for (Finn et al. 2017, appendix A.2, halve them).
    The trained steps are long ones; repeated, they overshoot."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the policy's hidden layers; of networks over images, channels of the convolutions."""
    transductive: bool = False
    """Labelled images: the queries of a task are normalised by their own statistics, all together, and so tell of one another; else
    each by those of the support."""
    activation: Activation = "tanh"
    """Between the layers."""
    gamma: float = 0.99
    """Discount γ per step of an episode."""
    gae_lambda: float = 1.0
    """λ of generalised advantage estimation."""
    objective: Objective = "mean"
    """What is optimised over tasks: their mean, the mean over the worst `cvar_share` of them, or the worst task."""
    cvar_share: float = 0.25
    """Share of the tasks that "cvar" looks at."""


@dataclasses.dataclass(frozen=True)
class InnerLoop(Rounds):
    """Hyperparameters of adaptation by gradient steps."""

    inner_lr: float = 0.5
    """Inner step size α."""
    inner_max_norm: float = 1.0
    """On environments the Euclidean norm of an adaptation step's gradient is scaled down to this; 0: it is not. Without a bound
    a long training goes astray: a policy that is sure of itself has gradients that one surprise makes enormous."""
    examples_max_norm: float = 0.0
    """The same on labelled examples, whose errors have units of their own."""
    normalization: Literal["auto", "none", "layer", "batch"] = "auto"
    """Of hidden layers before their activation: over a layer's units, or, of images, over a batch. "auto": none, and of images
    over the batch."""
    connections: Connections = "plain"
    """Between hidden layers: one after another, each added to the one before, or each given all before it."""
    kernel: int = 3
    """Images: rows and columns of a convolution's patch, an odd number."""

    def architecture(self, spec: Spec) -> Architecture:
        """Of the policy's network; AdaptaxError where a family has no use for it."""
        if not spec.images and (self.kernel != 3 or self.normalization == "batch"):
            what = "kernel" if self.kernel != 3 else "normalization='batch'"
            raise AdaptaxError(
                f"'{spec.name}' has no labelled images, and {what} is for these alone; leave it out."
            )
        if self.kernel % 2 == 0:
            raise AdaptaxError(f"kernel must be odd, not {self.kernel}.")
        if self.transductive and self.normalization in ("none", "layer"):
            raise AdaptaxError(
                f"With normalization='{self.normalization}' no query is normalised by others; leave transductive out."
            )
        return Architecture(self.activation, self.normalization, self.connections, self.kernel)

    def learner(self, cls: type[GradientLearner], spec: Spec, rule: UpdateRule, **fields: Any) -> Any:
        """A learner of this class, with these hyperparameters."""
        max_norm = self.examples_max_norm if spec.supervised else self.inner_max_norm
        return cls(
            spec=spec, transductive=check_transductive(self.transductive, spec), hidden=self.hidden,
            architecture=self.architecture(spec), rule=rule, inner_steps=self.inner_steps,
            inner_max_norm=jnp.array(max_norm) if max_norm else None,
            later_lr_factor=jnp.array(self.later_lr_factor), γ=jnp.array(self.gamma), λ=jnp.array(self.gae_lambda),
            **({"first_order": False, "head_only": False} | fields),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OuterLoop(Rounds):
    """Hyperparameters of an outer loop that differentiates through the adaptation."""

    lr: float = 5e-3
    """Adam's step size in the outer loop."""
    epochs: int = 5
    """Outer gradient steps on the data of one meta-update."""
    clip: float = 0.3
    """PPO's ε."""
    max_gradient_norm: float = 1.0
    """The meta-gradient's Euclidean norm is scaled down to this."""
    max_kl_nats: float = 0.03
    """No further step is taken on the data of a meta-update once the adapted policies' mean KL divergence from those that
    collected is beyond this; a step that leads beyond three times this is taken back."""


@dataclasses.dataclass(frozen=True)
class MetaGradient(InnerLoop, OuterLoop):
    """Hyperparameters of both loops."""


TOO_FAR = 3.0
"""Times the bound on the KL divergence, where the clipped surrogate knows nothing any more of what a step does."""


class InnerLoopAlgorithm(Algorithm):
    """Adapts between rounds of `streams` episodes."""

    learner: PolicyGradientLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    objective: Objective = eqx.field(static=True)
    cvar_share: Array

    def test_layout(self, episodes: int | None) -> Layout:
        """Rounds of `streams` episodes, or of half the budget where that is smaller: there must be one to adapt in."""
        streams = self.layout.streams
        episodes = 4 * streams if episodes is None else episodes
        streams = min(streams, -(-episodes // 2))
        return Layout(-(-episodes // streams), streams, self.layout.steps, episodes=1)

    @property
    def floats_per_task(self) -> int:
        """The activations of one layer in one round, or those of the update rule where they are more."""
        rows = self.layout.streams * self.layout.steps
        return max(rows * max(self.learner.hidden, default=1), self.learner.floats_of_a_step)

    def weights(self, lifetime: Lifetime) -> Float[Array, " B"]:
        """Of the tasks in the outer objective, by their returns in the last round."""
        last = trees.index(lifetime.rounds, (slice(None), -1))
        returns = jnp.where(last.valid, last.training_reward, 0.0).sum((1, 2))
        return task_weights(returns, self.objective, self.cvar_share)


class MetaGradientAlgorithm(InnerLoopAlgorithm):
    """Descends an outer objective of the adapted policies by several Adam steps on each batch of lifetimes."""

    epochs: int = eqx.field(static=True)
    lr: Array
    clip: Array
    max_gradient_norm: Array
    max_kl_nats: Array

    def __init__(self, config: OuterLoop, spec: Spec, learner: PolicyGradientLearner):
        self.learner, self.spec, self.tasks, self.epochs = learner, spec, config.tasks, config.epochs
        self.layout = Layout(config.inner_steps + 1, config.streams, spec.episode_steps, episodes=1)
        self.objective, self.cvar_share = config.objective, jnp.array(config.cvar_share)
        self.lr, self.clip = jnp.array(config.lr), jnp.array(config.clip)
        self.max_gradient_norm = jnp.array(config.max_gradient_norm)
        self.max_kl_nats = jnp.array(config.max_kl_nats)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(b2=0.99, eps=1e-5)
        )

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        params, opt_state, aux, metrics = self.outer_step(
            params, frozen, state.opt_state, state.aux, self.data(lifetime), key
        )
        theta = eqx.combine(params, frozen).observing(lifetime)
        return TrainState(theta, opt_state, state.key, state.updates, aux), metrics

    def data(self, lifetime: Lifetime) -> tuple[Lifetime, Array, Array]:
        """Lifetimes [B], the advantages [B, N, T] of the last round, and the tasks' weights [B] in the outer objective."""
        last = trees.index(lifetime.rounds, (slice(None), -1)).for_outer_loop()
        advantage = jax.vmap(self.learner.advantages)(last)
        return lifetime, advantage, self.weights(lifetime)

    def outer_step(
        self, params: Any, frozen: Any, opt_state: Any, aux: Any, data: tuple[Lifetime, Array, Array], key: Key[Array, ""]
    ) -> tuple[Any, Any, Any, Metrics]:  # fmt: skip
        """(params, opt_state, aux, metrics): clipped steps on the adapted policies."""
        loss = clipped_objective(self.learner, self.layout, frozen, self.clip)
        params, opt_state, metrics = self.descend(loss, params, opt_state, data, key)
        return params, opt_state, aux, metrics

    def descend(self, loss: Any, params: Any, opt_state: Any, data: Any, key: Key[Array, ""]) -> Any:
        """(params, opt_state, metrics) after `epochs` Adam steps on the mean over tasks of `loss(params, task's data)`."""
        return epochs_over_tasks(
            loss, params, opt_state, self.optimizer, self.lr, data, key,
            epochs=self.epochs, minibatches=1, floats_per_task=self.floats_per_task, max_kl_nats=self.max_kl_nats,
            too_far_nats=TOO_FAR * self.max_kl_nats,
        )  # fmt: skip
