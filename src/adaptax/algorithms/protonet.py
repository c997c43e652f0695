"""Prototypical networks: a new class is the mean of its few examples, in an embedding in which that is enough.

Snell, Swersky, Zemel 2017 (arXiv 1703.05175). A network f is learned across tasks; within a task nothing is fitted (§2.2-2.3):

    c_k = mean of f(x_i) over the support's examples of class k        adapt, eq. 1
    p(y = k | x) = softmax_k( −‖f(x) − c_k‖² )                         act, eq. 2
    min_f  E_task[ −log p(y | x) ]                                     of the queries

The squared distance is a Bregman divergence, for which the mean is the best single point of a cluster, and the classifier is
linear in f (§2.3-2.4). Classes that the support does not show are never chosen; before any support, all are as likely.

Good at: classification from very few examples at the price of a forward pass; a strong plain baseline. Bad at: tasks that differ in
more than in what their classes are, for f is the same for all; regression and rewards, of which there are no classes.

Where we depart from the paper: images are halved by strides, as in MAML's network (`max_pool=True` is the paper's), and averaged
over what is left of positions; batch normalisation takes its statistics from the support, or from all queries (`transductive`),
where theirs keeps running averages of the training tasks. Tasks are trained on with as many classes as they are met with.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax import trees
from adaptax.algorithms.base import Algorithm, check_transductive
from adaptax.algorithms.few_shot import MemoryFewShotAlgorithm, widest_layer
from adaptax.errors import AdaptaxError
from adaptax.learner import QUERY_AXIS, Learner
from adaptax.networks.convolution import Batch, ConvNet, Source, Statistics
from adaptax.networks.distributions import MASKED_LOGIT, Categorical
from adaptax.networks.encoding import observation_size
from adaptax.networks.layers import MLP
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Discrete, Out, Spec


@dataclasses.dataclass(frozen=True)
class ProtoNet:
    """Prototypical networks: classes are the means of their embedded examples."""

    tasks: int = 16
    """Tasks in one meta-update."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the embedding's layers, the last of which is what it says; of networks over images, channels of the convolutions."""
    max_pool: bool = False
    """Images are halved by taking the maximum over 2 × 2 positions, as in the paper; else by a stride of the convolution."""
    transductive: bool = False
    """Labelled images: the queries of a task are normalised by their own statistics, all together, and so tell of one another; else
    each by those of the support."""
    lr: float = 1e-3
    """Adam's step size."""
    max_gradient_norm: float = 10.0
    """The gradient's Euclidean norm is scaled down to this."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        if not spec.supervised or not isinstance(spec.action, Discrete):
            raise AdaptaxError(
                f"'protonet' tells classes apart by labelled examples of each, and '{spec.name}' has none; `adaptax list` shows "
                "what learns on it."
            )
        if not self.hidden:
            raise AdaptaxError("hidden must name one layer at least, whose units are the embedding.")
        if self.max_pool and not spec.images:
            raise AdaptaxError(
                f"'{spec.name}' has no labelled images, which could be halved; leave max_pool out."
            )
        learner = ProtoNetLearner(
            spec=spec, hidden=self.hidden, max_pool=self.max_pool, transductive=check_transductive(self.transductive, spec)
        )  # fmt: skip
        return MemoryFewShotAlgorithm(self, spec, learner, widest_layer(spec, self.hidden))


class ProtoNetTheta(eqx.Module):
    embedding: MLP | ConvNet
    """f"""
    normaliser: Normaliser


class ProtoNetFast(eqx.Module):
    prototypes: Float[Array, "classes d"]
    """c"""
    shown: Bool[Array, " classes"]
    """Which classes the support has shown."""
    statistics: tuple[Statistics, ...] | None
    """Of the support's images, layer by layer; None where predictions need none."""


class ProtoNetLearner(Learner):
    spec: Spec = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    max_pool: bool = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> ProtoNetTheta:
        size = observation_size(self.spec)
        if self.spec.images:
            f = ConvNet(self.spec.observation, self.hidden, key, max_pool=self.max_pool)
        else:
            f = MLP(size, self.hidden[:-1], self.hidden[-1], key, jax.nn.relu, last_gain=1.0)
        return ProtoNetTheta(f, Normaliser.of(size))

    def begin(self, theta, key, features):
        classes, f = self.spec.action.size, theta.embedding
        needed = isinstance(f, ConvNet) and not self.transductive
        return ProtoNetFast(
            jnp.zeros((classes, self.hidden[-1])), jnp.zeros(classes, bool), f.unread() if needed else None
        )

    def adapt(self, theta, fast, batch, key):
        rows, f = trees.index(batch, 0), theta.embedding
        x = jax.vmap(theta.normaliser.observation)(rows.obs)
        z, statistics = f.over(x, rows.valid) if isinstance(f, ConvNet) else (jax.vmap(f)(x), None)
        of_class = jax.nn.one_hot(rows.action, self.spec.action.size) * rows.valid[:, None]
        number = of_class.sum(0)
        prototypes = of_class.T @ z / jnp.maximum(number, 1.0)[:, None]
        return ProtoNetFast(prototypes, number > 0, None if self.transductive else statistics)

    def act(self, theta, fast, memory, step, key):
        x, f = theta.normaliser.observation(step.obs), theta.embedding
        source: Source = Batch(QUERY_AXIS, step.valid) if self.transductive else fast.statistics
        z = f(x, source)[0] if isinstance(f, ConvNet) else f(x)
        logits = -jnp.square(z - fast.prototypes).sum(-1)
        return Out(Categorical(jnp.where(fast.shown, logits, MASKED_LOGIT)), jnp.zeros(())), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        act = lambda step: self.act(theta, fast, memory, step, stream_key)[0]  # noqa: E731
        return jax.vmap(act, axis_name=QUERY_AXIS)(steps), memory
