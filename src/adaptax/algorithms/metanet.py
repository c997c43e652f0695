"""MetaNet: meta networks, which generate the weights that a new task needs.

Munkhdalai, Yu 2017 (arXiv 1703.00837), §3. *Slow* weights are learned across tasks; *fast* ones are generated within a task,
from gradients, by networks that meta-training learns, and stand beside the slow ones (layer augmentation,
`networks/augmented.py`). Two learners have both kinds: the embedding u (slow Q, fast Q*) and the base learner b (slow W, fast W*):

    Q* = d(∇_Q L_emb)                      of the whole task          adapt: examples (x_i, y_i) of a task
    r_i = u(x_i; Q, Q*)                    keys R
    W*_i = m(∇_W L_i)                      values M
    a = softmax(β cos(R, u(x; Q, Q*)))     attention                  act: a query x
    y ~ b(x; W, aᵀM)

Supervised tasks: an example is a labelled pair, L its cross-entropy or squared error. Reinforcement learning: an example is an
episode of a round, L the policy gradient's surrogate of its rows, −log π(a|x) Â, over a linear baseline; meta-training is
MAML's: clipped steps (PPO) on the episodes after adaptation, differentiated through the generation.

Good at: adapting in one pass, further than a gradient step goes; queries that need different weights. Bad at: many adaptations, for
it is trained for a few; tasks unlike those trained on; large networks, each example's fast weights being as large as the layers
that they augment (`fast_layers`).

Where we depart from the paper: no gradient flows into the generation through the gradients that it reads, as in the authors' code,
for log|∇| has no bounded derivative. So nothing could train the head of L_emb: a random linear layer, and frozen. d is a gated
recurrent unit that reads a gradient a round, the mean over its examples, where theirs is an LSTM that reads one an example: the
examples of a support have no order. Biases are generated too; the sharpness β is learned (theirs is 1). Adaptations beyond those
trained for add `later_lr_factor` of what they generate.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax import trees
from adaptax.adaptation.fast_weights import ExampleGenerator, ExampleMemory, TaskGenerator, dealt
from adaptax.adaptation.policy_gradient import PolicyGradientLearner
from adaptax.algorithms.base import Algorithm, check_transductive
from adaptax.algorithms.few_shot import FewShotAlgorithm, widest_layer
from adaptax.algorithms.meta_gradient import MetaGradientAlgorithm, OuterLoop
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_error
from adaptax.learner import QUERY_AXIS
from adaptax.networks.augmented import augmented
from adaptax.networks.convolution import IMAGE_CHANNELS, Batch, ConvNet, Source, Statistics
from adaptax.networks.distributions import Distribution, from_outputs
from adaptax.networks.encoding import observation_size
from adaptax.networks.layers import ACTIVATIONS, MLP, Activation, Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.policy import Architecture, Policy
from adaptax.types import Candidates, Discrete, Lifetime, Out, Spec, Step


@dataclasses.dataclass(frozen=True)
class MetaNet(OuterLoop):
    """MetaNet: weights generated from the gradients of a few examples, and read by attention."""

    hidden: tuple[int, ...] = (32, 32)
    """Units of the base learner's hidden layers. The generation costs as much as it has weights, for each example."""
    fast_layers: int = 0
    """How many of the base learner's last layers have fast weights; 0: all."""
    slots: int = 0
    """Places in the example memory, which more examples share in turn; 0: one for each episode of a round or labelled example."""
    embedding_hidden: tuple[int, ...] = (32,)
    """Units of the hidden layers of the embedding."""
    representation: int = 16
    """Length of a key."""
    generator_hidden: int = 20
    """Units of the networks that generate."""
    image_channels: tuple[int, ...] = IMAGE_CHANNELS
    """Labelled images: channels of the convolutions before both learners, which have slow weights alone."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        learner = MetaNetLearner(
            spec=spec, hidden=self.hidden, γ=jnp.array(self.gamma), λ=jnp.array(self.gae_lambda), activation=self.activation,
            fast_layers=min(self.fast_layers or len(self.hidden) + 1, len(self.hidden) + 1),
            slots=self.slots or spec.support or self.streams, embedding_hidden=self.embedding_hidden,
            representation=self.representation, generator_hidden=self.generator_hidden, inner_steps=self.inner_steps,
            later_lr_factor=jnp.array(self.later_lr_factor), transductive=check_transductive(self.transductive, spec),
            image_channels=self.image_channels if spec.images else (),
        )  # fmt: skip
        if spec.supervised:
            width = widest_layer(spec, self.image_channels if spec.images else self.hidden)
            return FewShotAlgorithm(
                self, spec, learner, self.inner_steps, self.objective, self.cvar_share, floats_per_row=width
            )
        return MetaGradientAlgorithm(self, spec, learner)


class MetaNetTheta(eqx.Module):
    base: Policy
    """W"""
    embedding: MLP
    """Q"""
    head: Dense
    """Of L_emb, on the representation; frozen."""
    task_generator: TaskGenerator
    """d"""
    example_generator: ExampleGenerator
    """m"""
    log_sharpness: Float[Array, ""]
    """log β"""
    normaliser: Normaliser
    convolutions: ConvNet | None

    def observing(self, lifetime: Lifetime) -> MetaNetTheta:
        """θ, whose normaliser has seen the lifetimes."""
        normaliser = self.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
        return eqx.tree_at(lambda t: t.normaliser, self, normaliser)


class MetaNetFast(eqx.Module):
    state: Float[Array, "P hidden"]
    """Of d."""
    task: tuple[Dense, ...]
    """Q*, leaves [1, ...]."""
    memory: ExampleMemory
    steps: Array
    """int32, adaptations done."""
    statistics: tuple[Statistics, ...] | None
    """Of the support's images, layer by layer; None where predictions need none."""


class Examples(eqx.Module):
    """Rows [slots, rows] of a round, by the slots that their examples belong to."""

    x: Array
    action: Array
    action_mask: Array | None
    advantage: Array
    valid: Bool[Array, "slots rows"]


class MetaNetLearner(PolicyGradientLearner):
    activation: Activation = eqx.field(static=True)
    fast_layers: int = eqx.field(static=True)
    slots: int = eqx.field(static=True)
    embedding_hidden: tuple[int, ...] = eqx.field(static=True)
    representation: int = eqx.field(static=True)
    generator_hidden: int = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    later_lr_factor: Array
    image_channels: tuple[int, ...] = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> MetaNetTheta:
        k_base, k_embedding, k_head, k_task, k_example = jax.random.split(key, 5)
        φ, size, actions = ACTIVATIONS[self.activation], observation_size(self.spec), self.spec.action
        if isinstance(actions, Candidates):
            actions = Discrete(
                actions.n
            )  # weights are generated for one perceptron, which reads all rows together
        normaliser, convolutions = Normaliser.of(size), None
        if self.image_channels:
            convolutions = ConvNet(self.spec.observation, self.image_channels, jax.random.fold_in(key, 1))
            size = convolutions.features
        base = Policy(size, self.hidden, actions, k_base, Architecture(self.activation))
        embedding = MLP(size, self.embedding_hidden, self.representation, k_embedding, φ, last_gain=1.0)
        return MetaNetTheta(
            base, embedding, Dense(self.representation, actions.size, 1.0, k_head),
            TaskGenerator(embedding.layers, self.generator_hidden, k_task),
            ExampleGenerator(self.augmented(base), self.generator_hidden, k_example),
            jnp.zeros(()), normaliser, convolutions,
        )  # fmt: skip

    def trainable(self, theta: MetaNetTheta) -> Any:
        frozen = jax.tree.map(lambda _: False, theta.head)
        return eqx.tree_at(lambda t: t.head, super().trainable(theta), frozen)

    def augmented(self, base: Policy) -> tuple[Dense, ...]:
        """The layers that have fast weights."""
        return base.mlp.layers[-self.fast_layers :]

    @property
    def floats_of_a_step(self) -> int:
        layers = jax.eval_shape(lambda key: self.augmented(self.init(key).base), jax.random.key(0))
        return self.slots * self.generator_hidden * sum(leaf.size for leaf in jax.tree.leaves(layers))

    def begin(self, theta, key, features):
        Q = theta.embedding.layers
        return MetaNetFast(
            theta.task_generator.begin(Q),
            jax.tree.map(lambda x: jnp.zeros((1, *x.shape)), Q),
            ExampleMemory.empty(self.slots, self.representation, self.augmented(theta.base)),
            jnp.zeros((), jnp.int32),
            None if theta.convolutions is None or self.transductive else theta.convolutions.unread(),
        )

    def act(self, theta, fast, memory, step, key):
        x = theta.normaliser.observation(step.obs)
        if theta.convolutions is not None:
            source: Source = Batch(QUERY_AXIS, step.valid) if self.transductive else fast.statistics
            x, _ = theta.convolutions(x, source)
        query = self.represent(theta.embedding, fast.task, x)
        dist = self.decide(theta, fast.memory, theta.base, query, x, step.action_mask)
        return Out(dist, jnp.zeros(())), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        act = lambda step: self.act(theta, fast, memory, step, stream_key)[0]  # noqa: E731
        return jax.vmap(act, axis_name=QUERY_AXIS)(steps), memory

    def belief(self, theta: MetaNetTheta, fast: MetaNetFast, memory) -> Float[Array, " d"]:
        """The mean representation of the examples in memory; 0 as long as there is none."""
        return jax.vmap(valid_mean, (1, None))(fast.memory.keys, fast.memory.filled)

    def represent(self, embedding: MLP, task: tuple[Dense, ...], x: Float[Array, " n"]) -> Float[Array, " d"]:
        """u(x; Q, Q*)"""
        return augmented(embedding.layers, embedding.activation, task, jnp.ones(1), x)

    def decide(
        self, theta: MetaNetTheta, memory: ExampleMemory, base: Policy, query: Float[Array, " d"], x: Float[Array, " n"], mask: Any
    ) -> Distribution:  # fmt: skip
        """b(x; W, aᵀM)"""
        a = memory.attention(query, jnp.exp(theta.log_sharpness))
        outputs = augmented(base.mlp.layers, base.mlp.activation, memory.values, a, x)
        return from_outputs(self.spec.action, outputs, base.log_std, mask)

    def adapt(self, theta, fast, batch, key):
        share = jnp.where(fast.steps < self.inner_steps, 1.0, self.later_lr_factor)
        moved = lambda share, old, new: jax.tree.map(lambda x, y: x + share * (y - x), old, new)  # noqa: E731
        x, statistics = self.read(theta, batch)
        examples = self.examples(x, batch)
        everywhere = lambda f: jax.vmap(jax.vmap(f))  # noqa: E731

        def embedding_loss(Q: tuple[Dense, ...]) -> Float[Array, ""]:
            embedding = eqx.tree_at(lambda u: u.layers, theta.embedding, Q)

            def row(x, mask):
                z = embedding.activation(self.represent(embedding, fast.task, x))
                return from_outputs(self.spec.action, theta.head(z), jnp.zeros(self.spec.action.size), mask)

            losses = self.losses(everywhere(row)(examples.x, examples.action_mask), examples)
            return valid_mean(losses, examples.valid)

        state, Q_fast = theta.task_generator(fast.state, jax.grad(embedding_loss)(theta.embedding.layers))
        state, task = moved(share, (fast.state, fast.task), (state, trees.index(Q_fast, jnp.newaxis)))

        representations = everywhere(lambda x: self.represent(theta.embedding, task, x))(examples.x)
        keys = jax.vmap(jax.vmap(valid_mean, (1, None)))(representations, examples.valid)

        def example_loss(W: tuple[Dense, ...], one: Examples, representation: Array) -> Float[Array, ""]:
            base = eqx.tree_at(self.augmented, theta.base, W)
            decide = lambda *row: self.decide(theta, fast.memory, base, *row)  # noqa: E731
            dists = jax.vmap(decide)(representation, one.x, one.action_mask)
            return valid_mean(self.losses(dists, one), one.valid)

        W = self.augmented(theta.base)
        gradients = jax.vmap(jax.grad(example_loss), (None, 0, 0))(W, examples, representations)
        generated = jax.vmap(theta.example_generator)(gradients)
        shares = jnp.where(examples.valid.any(1), share, 0.0)  # a slot that no example came to stays as it is
        add = lambda share, old, new: trees.add(old, trees.scale(share, new))  # noqa: E731
        values = jax.vmap(add)(shares, fast.memory.values, generated)
        keys = jax.vmap(moved)(shares, fast.memory.keys, keys)
        memory = ExampleMemory(keys, values, (shares > 0) | fast.memory.filled)
        return MetaNetFast(state, task, memory, fast.steps + 1, None if self.transductive else statistics)

    def read(
        self, theta: MetaNetTheta, batch: Step
    ) -> tuple[Float[Array, "N T x"], tuple[Statistics, ...] | None]:
        """What both learners see of a round; of images, and the statistics that these are normalised by."""
        x = jax.vmap(jax.vmap(theta.normaliser.observation))(batch.obs)
        if theta.convolutions is None:
            return x, None
        z, statistics = theta.convolutions.over(x[0], batch.valid[0])  # the support is one stream
        return z[jnp.newaxis], statistics

    def examples(self, x: Float[Array, "N T x"], batch: Step) -> Examples:
        """A round, Step[N, T], as examples: episodes of T rows, or labelled pairs."""
        advantage = jnp.zeros(batch.valid.shape) if self.spec.supervised else self.advantages(batch)
        rows = Examples(x, batch.action, batch.action_mask, advantage, batch.valid)
        if self.spec.supervised:
            rows = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
        return dealt(rows, self.slots)

    def losses(self, dists: Any, rows: Examples) -> Array:
        """L of each row; dists and rows of any one shape."""

        def one(dist: Distribution, action: Array, advantage: Array) -> Float[Array, ""]:
            if self.spec.supervised:
                return prediction_error(dist, action)
            return -dist.log_prob(action) * advantage

        for _ in rows.valid.shape:
            one = jax.vmap(one)
        return one(dists, rows.action, rows.advantage)
