"""SNAIL: a simple neural attentive meta-learner.

Mishra, Rohaninejad, Chen, Abbeel 2018 (arXiv 1707.03141). As in RL², the learner sees φ(o_t, a_{t−1}, r_{t−1}, d_{t−1}) and is
trained on the return of the lifetime (see `memory_ppo.py`); but its memory is everything that it has seen. Temporal convolutions
gather what is near, with 2ⁿ ≥ T rows in sight; attention picks single rows out of the whole past (§3):

    x_t = φ(o_t, a_{t−1}, r_{t−1}, d_{t−1})      h = Att ∘ TC ∘ TC ∘ FC (x)      π, V = linear in h_t

On labelled examples it reads the support as such a sequence, x_i beside the label of example i − 1, and then answers each query
from the same memory. The loss is that of the queries.

Good at: long lifetimes in which one moment matters much later; no gradient through a chain of T steps.
Bad at: cheap steps (each reads the whole lifetime, and there are many more parameters than in a small GRU), streams longer than
those it was trained on, of which it forgets the beginning.

Labelled images are read by convolutions first, which are normalised by the statistics of the support: these are what `adapt` finds.

Where we depart from the paper: PPO instead of TRPO; a label stands in the row *after* its example, where everything that is found
out stands in this library, so that on labelled examples too a convolution comes before the first attention.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax import trees
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.few_shot import MemoryFewShotAlgorithm, widest_layer
from adaptax.algorithms.memory_ppo import MemoryPPO, MemoryPPOAlgorithm
from adaptax.learner import Learner
from adaptax.networks.causal import Attention, CausalBlock, CausalMemory, CausalStack, TemporalConvolution
from adaptax.networks.convolution import IMAGE_CHANNELS, ConvNet, Statistics
from adaptax.networks.encoding import observation_size, trial_inputs, trial_inputs_size
from adaptax.networks.heads import Heads, first_log_std
from adaptax.networks.layers import Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Out, Spec, Step


@dataclasses.dataclass(frozen=True)
class SNAIL(MemoryPPO):
    """SNAIL: temporal convolutions and attention over the whole lifetime, trained by PPO on its return."""

    hidden: int = 32
    """Units of the first, fully connected layer."""
    filters: int = 32
    """Channels that each dense block of a temporal convolution adds."""
    keys: int = 32
    """Length of the attention's queries and keys."""
    values: int = 32
    """Length of the attention's values."""
    image_channels: tuple[int, ...] = IMAGE_CHANNELS
    """Labelled images: channels of the convolutions that read one."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        rows = spec.support + 1 if spec.supervised else self.steps(spec)
        order = (
            ("convolution", "attention") * 2
            if spec.supervised
            else ("convolution", "convolution", "attention")
        )
        learner = SNAILLearner(
            spec=spec, rows=rows, order=order, hidden=self.hidden, filters=self.filters, keys=self.keys, values=self.values,
            image_channels=self.image_channels if spec.images else (),
        )  # fmt: skip
        algorithm = MemoryFewShotAlgorithm if spec.supervised else MemoryPPOAlgorithm
        return algorithm(self, spec, learner, learner.floats_per_row)


class Network(Heads):
    """Theta."""

    embedding: Dense
    stack: CausalStack
    convolutions: ConvNet | None


class Memory(eqx.Module):
    seen: CausalMemory
    features: Float[Array, " width"]
    """Of the last row read."""


class SNAILLearner(Learner):
    spec: Spec = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    """Of a lifetime: what the convolutions have in sight at least, and attention at most."""
    order: tuple[str, ...] = eqx.field(static=True)
    """The blocks, from the input on."""
    hidden: int = eqx.field(static=True)
    filters: int = eqx.field(static=True)
    keys: int = eqx.field(static=True)
    values: int = eqx.field(static=True)
    image_channels: tuple[int, ...] = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> Network:
        k_in, k_policy, k_value, *k_blocks = jax.random.split(key, 3 + len(self.order))
        blocks: list[CausalBlock] = []
        width = self.hidden
        for kind, k in zip(self.order, k_blocks, strict=True):
            if kind == "convolution":
                blocks.append(TemporalConvolution(width, self.filters, self.rows, k))
            else:
                blocks.append(Attention(width, self.keys, self.values, self.rows, k))
            width = blocks[-1].n_out
        convolutions, seen = None, None
        if self.image_channels:
            convolutions = ConvNet(self.spec.observation, self.image_channels, jax.random.fold_in(key, 1))
            seen = convolutions.features
        return Network(
            convolutions=convolutions,
            embedding=Dense(trial_inputs_size(self.spec, seen), self.hidden, 2.0**0.5, k_in),
            stack=CausalStack(tuple(blocks)),
            policy=Dense(width, self.spec.action.size, 0.01, k_policy),
            value=Dense(width, 1, 1.0, k_value),
            log_std=first_log_std(self.spec.action),
            normaliser=Normaliser.of(observation_size(self.spec)),
        )

    def begin(self, theta, key, features):
        return None if theta.convolutions is None else theta.convolutions.unread()

    def adapt(self, theta, fast, batch, key):
        if theta.convolutions is None:
            return fast
        rows = trees.index(batch, 0)
        return theta.convolutions.over(jax.vmap(theta.normaliser.observation)(rows.obs), rows.valid)[1]

    def remember(self, theta: Network) -> Memory:
        return Memory(theta.stack.empty(), jnp.zeros((theta.stack.n_out,)))

    def act(self, theta, fast, memory, step, key):
        return self.act_if(theta, fast, memory, step, key, jnp.array(True))

    def act_if(
        self,
        theta: Network,
        fast: tuple[Statistics, ...] | None,
        memory: Memory,
        step: Step,
        key: Array,
        valid: Bool[Array, ""],
    ) -> tuple[Out, Memory]:
        h, seen = theta.stack.step(memory.seen, self._embedded(theta, fast, step), valid)
        return theta.say(self.spec.action, h, step), Memory(seen, jnp.where(valid, h, memory.features))

    def unroll(self, theta, fast, memory, steps, stream_key):
        return self._read(theta, fast, memory, steps)

    def unroll_anew(self, theta, fast, steps, stream_key):
        return self._read(theta, fast, None, steps)

    def _read(
        self, theta: Network, fast: tuple[Statistics, ...] | None, memory: Memory | None, steps: Step
    ) -> tuple[Out, Memory]:
        """`unroll`; from the first row on where there is no memory."""
        # The rows that count come first, as the blocks want them; what is said of each goes back to its place.
        order = jnp.argsort(~steps.valid, stable=True)
        steps = trees.index(steps, order)
        number = steps.valid.sum()
        xs = jax.vmap(lambda s: self._embedded(theta, fast, s))(steps)
        hs, seen = theta.stack.unroll(None if memory is None else memory.seen, xs, number)
        outs = jax.vmap(lambda h, s: theta.say(self.spec.action, h, s))(hs, steps)
        last = jnp.where(number > 0, hs[number - 1], 0.0 if memory is None else memory.features)
        return trees.index(outs, jnp.argsort(order)), Memory(seen, last)

    def belief(self, theta, fast, memory):
        return memory.features

    @property
    def floats_per_row(self) -> int:
        """What the widest layer says of one row, or attention of one row's past."""
        theta = eqx.filter_eval_shape(self.init, jax.random.key(0))
        return max(theta.stack.n_out, 2 * self.rows, widest_layer(self.spec, self.image_channels))

    def _embedded(
        self, theta: Network, fast: tuple[Statistics, ...] | None, step: Step
    ) -> Float[Array, " hidden"]:
        seen = None
        if theta.convolutions is not None:
            assert fast is not None
            seen, _ = theta.convolutions(theta.normaliser.observation(step.obs), fast)
        return jax.nn.relu(theta.embedding(trial_inputs(self.spec, theta.normaliser, step, seen)))
