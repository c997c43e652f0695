"""A learned model of the environment: what a step does to the observation, what it pays, and whether it ends the episode.

Several networks, the *members* of an ensemble, each say for themselves, of an observation and an action,

    s' = s + σ_Δ ⊙ δ + μ_Δ      r = σ_r ρ + μ_r      F = σ_F φ + μ_F      P(terminated) = sigmoid(ℓ),

where δ, ρ, φ and ℓ are outputs and μ, σ the moments of what was seen. F is what the family's shaping adds to the reward, 0
where there is none. A *probabilistic* member also gives the variance of δ, ρ and φ (Chua et al. 2018, arXiv 1805.12114).
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.estimators.returns import valid_mean
from adaptax.learner import Frozen
from adaptax.networks.encoding import encode_action, observation_size, zero_action
from adaptax.networks.layers import MLP
from adaptax.networks.normaliser import Moments
from adaptax.types import Spec, Step

LOG_VARIANCE = -8.0, 2.0
"""Between these lies the logarithm of a probabilistic member's variances, in units of those seen."""


class ModelRow(eqx.Module):
    """A step as a model learns from it, or an array of them; observations are flat, actions in the policy's units."""

    obs: Float[Array, "*n d"]
    action: Array
    next_obs: Float[Array, "*n d"]
    reward: Float[Array, "*n"]
    """What the task pays."""
    shaping: Float[Array, "*n"]
    """What the family's shaping adds to it, which learners do not see in a new task."""
    terminated: Bool[Array, "*n"]


def model_rows(rows: Step) -> ModelRow:
    """Those of rows [...], valid or not."""
    flat = lambda x: x.reshape(*rows.reward.shape, -1)  # noqa: E731
    shaping = rows.training_reward - rows.reward
    return ModelRow(flat(rows.obs), rows.action, flat(rows.next_obs), rows.reward, shaping, rows.terminated)


def blank_row(spec: Spec) -> ModelRow:
    """One of zeros: what a buffer's rows look like."""
    obs, zero = jnp.zeros(observation_size(spec)), jnp.zeros(())
    return ModelRow(obs, zero_action(spec.action), obs, zero, zero, jnp.array(False))


class Scales(Frozen):
    """Moments of what was seen: what brings a model's inputs and outputs to unit scale."""

    obs: Moments
    change: Moments
    """Of s' − s."""
    reward: Moments
    shaping: Moments

    @staticmethod
    def of(spec: Spec) -> Scales:
        size = observation_size(spec)
        return Scales(Moments.of(size), Moments.of(size), Moments.of(1), Moments.of(1))

    def update(self, rows: ModelRow, valid: Bool[Array, "..."]) -> Scales:
        """With the valid ones of rows [...] added."""
        n = valid.size
        seen = (rows.obs, rows.next_obs - rows.obs, rows.reward, rows.shaping)
        moments = (self.obs, self.change, self.reward, self.shaping)
        parts = (m.update(x.reshape(n, -1), valid.reshape(n)) for m, x in zip(moments, seen, strict=True))
        return Scales(*parts)

    def input(self, obs: Float[Array, " d"]) -> Float[Array, " d"]:
        return jnp.clip((obs - self.obs.mean) / self.obs.deviation, -10.0, 10.0)

    @property
    def _outputs(self) -> tuple[Float[Array, " out"], Float[Array, " out"]]:
        """Mean and deviation of s' − s, r and F."""
        parts = (self.change, self.reward, self.shaping)
        return jnp.concatenate([m.mean for m in parts]), jnp.concatenate([m.deviation for m in parts])

    def targets(self, row: ModelRow) -> Float[Array, " out"]:
        """δ, ρ and φ as they should be said of a row."""
        mean, deviation = self._outputs
        return (
            jnp.concatenate([row.next_obs - row.obs, jnp.stack([row.reward, row.shaping])]) - mean
        ) / deviation

    def restored(self, outputs: Float[Array, " out"]) -> Float[Array, " out"]:
        """s' − s, r and F from δ, ρ and φ."""
        mean, deviation = self._outputs
        return mean + deviation * outputs


class Prediction(eqx.Module):
    """What one member says of one step."""

    mean: Float[Array, " out"]
    """δ, ρ, φ"""
    log_variance: Float[Array, " out"] | None
    ends: Float[Array, ""]
    """ℓ"""


@dataclasses.dataclass(frozen=True)
class DynamicsModel:
    """The form of a member, and what is asked of it; its weights are an `MLP`, given each time."""

    spec: Spec
    hidden: tuple[int, ...]
    probabilistic: bool
    context: int = 0
    """Length of a vector that says what is known of the task; 0: there is none."""

    def init(self, key: Key[Array, ""]) -> MLP:
        """The weights of one member, which predicts the mean change of all at first."""
        size = observation_size(self.spec)
        n_in, n_out = size + self.spec.action.size + self.context, size + 2
        outputs = (2 * n_out if self.probabilistic else n_out) + 1
        return MLP(n_in, self.hidden, outputs, key, jax.nn.relu)

    def predict(
        self,
        network: MLP,
        scales: Scales,
        obs: Float[Array, " d"],
        action: Array,
        context: Array | None = None,
    ) -> Prediction:
        inputs = [scales.input(obs), encode_action(self.spec.action, action)]
        outputs = network(jnp.concatenate(inputs if context is None else [*inputs, context]))
        said, ends = outputs[:-1], outputs[-1]
        if not self.probabilistic:
            return Prediction(said, None, ends)
        mean, raw = jnp.split(said, 2)
        low, high = LOG_VARIANCE
        log_variance = high - jax.nn.softplus(high - raw)
        return Prediction(mean, low + jax.nn.softplus(log_variance - low), ends)

    def loss(
        self,
        network: MLP,
        scales: Scales,
        row: ModelRow,
        context: Array | None = None,
        seen: bool = False,
    ) -> Float[Array, ""]:
        """The negative log-likelihood of a row, up to a constant; with `seen`, of what a learner sees in a new task: no shaping.

        Squared errors count half, in units of the deviations seen; the end of an episode as the cross entropy."""
        said = self.predict(network, scales, row.obs, row.action, context)
        error = (said.mean - scales.targets(row)) ** 2
        if said.log_variance is not None:
            error = error * jnp.exp(-said.log_variance) + said.log_variance
        error = error[:-1] if seen else error
        ends = optax.sigmoid_binary_cross_entropy(said.ends, row.terminated.astype(jnp.float32))
        return 0.5 * error.sum() + ends

    def mean_loss(
        self, network: MLP, scales: Scales, rows: ModelRow, valid: Bool[Array, " n"], seen: bool = False
    ) -> Float[Array, ""]:
        """Of the valid ones of rows [n]."""
        return valid_mean(jax.vmap(lambda row: self.loss(network, scales, row, seen=seen))(rows), valid)

    def squared_error(
        self, network: MLP, scales: Scales, row: ModelRow, context: Array | None = None
    ) -> Float[Array, ""]:
        """Of s' and r, the mean over their entries, in units of their variances: 1 is what the mean of all would have."""
        said = self.predict(network, scales, row.obs, row.action, context)
        return ((said.mean - scales.targets(row)) ** 2)[:-1].mean()

    def step(
        self,
        network: MLP,
        scales: Scales,
        obs: Float[Array, " d"],
        action: Array,
        context: Array | None,
        noise: Float[Array, " out"],
    ) -> tuple[Float[Array, " d"], Float[Array, ""], Float[Array, ""]]:
        """A step in imagination: s', r + F, and the probability that the episode goes on.

        `noise`, of unit variance, is what a probabilistic member's prediction is drawn with; others leave it aside."""
        said = self.predict(network, scales, obs, action, context)
        outputs = said.mean
        if said.log_variance is not None:
            outputs = outputs + jnp.exp(0.5 * said.log_variance) * noise
        outputs = scales.restored(outputs)
        return obs + outputs[:-2], outputs[-2] + outputs[-1], jax.nn.sigmoid(-said.ends)


class Imagination(eqx.Module):
    """An ensemble with what it knows of a task: where plans are tried."""

    model: DynamicsModel = eqx.field(static=True)
    networks: MLP
    """Of the members: leaves [E, ...]."""
    scales: Scales
    context: Float[Array, "E c"] | None
    γ: Float[Array, ""]

    @property
    def members(self) -> int:
        return self.networks.layers[0].bias.shape[0]

    def noise(self, key: Key[Array, ""], *leading: int) -> Float[Array, "... out"]:
        """For steps with these leading axes; zeros where nothing is drawn with it."""
        shape = (*leading, observation_size(self.model.spec) + 2)
        return jax.random.normal(key, shape) if self.model.probabilistic else jnp.zeros(shape)

    def step(
        self, obs: Float[Array, "E d"], action: Array, noise: Float[Array, "E out"]
    ) -> tuple[Float[Array, "E d"], Float[Array, " E"], Float[Array, " E"]]:
        """The same action in what each member believes to be the present: `DynamicsModel.step` of each."""
        one = lambda net, obs, context, noise: self.model.step(net, self.scales, obs, action, context, noise)  # noqa: E731
        return jax.vmap(one)(self.networks, obs, self.context, noise)

    def returns(
        self,
        obs: Float[Array, "E d"],
        sequences: Array,
        key: Key[Array, ""],
        steps: Int[Array, ""] | None = None,
    ) -> Float[Array, " n"]:
        """Of sequences of actions [n, H, ...] from here: Σ γ^t P(not ended before t) (r_t + F_t), the mean over members; with
        `steps`, of the first so many of them.

        A member goes through a sequence alone (TS∞, Chua et al. 2018); all sequences meet the same noise."""
        horizon = sequences.shape[1]
        noise = self.noise(key, horizon, self.members)
        counted = jnp.arange(horizon) < (horizon if steps is None else steps)

        def one(sequence: Array) -> Float[Array, ""]:
            def step(
                carry: tuple[Array, Array], inputs: tuple[Array, Array, Array]
            ) -> tuple[tuple[Array, Array], Array]:
                (obs, weight), (action, noise, counts) = carry, inputs
                obs, reward, goes_on = self.step(obs, action, noise)
                return (obs, self.γ * weight * goes_on), counts * weight * reward

            start = obs, jnp.ones(self.members)
            return jax.lax.scan(step, start, (sequence, noise, counted))[1].sum(0).mean()

        return jax.vmap(one)(sequences)
