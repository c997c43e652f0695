"""VariBAD: variational Bayes-adaptive deep reinforcement learning.

Zintgraf et al. 2020 (arXiv 1910.08348).

A recurrent encoder turns what has been seen of a task into a Gaussian *belief* over a latent vector m that stands for the task,
and a policy acts on the observation and the belief. With h_t = GRU(h_{t−1}, φ(o_t, a_{t−1}, r_{t−1}, d_{t−1})):

    q(m | τ_{:t}) = N(μ_t, diag σ_t²),   (μ_t, log σ_t²) = W h_t + b ,      a_t ~ π(· | o_t, μ_t, log σ_t²).

The belief is learned as that of a variational autoencoder: from m ~ q(m | τ_{:t}), of any t, a decoder must tell the rewards (and
where asked, the transitions) of the WHOLE lifetime τ, past and future; the belief before is the prior of the next (eq. 7–10):

    max  Σ_t  E_{m ~ q(m|τ_{:t})} log p(τ | m)  −  β KL( q(m|τ_{:t}) ‖ q(m|τ_{:t−1}) ) ,      q(m|τ_{:−1}) = N(0, I).

The policy maximises the return of the lifetime, as RL²'s does, by PPO; the belief is given to it. No gradient of it reaches the
encoder (§4), nor one of the autoencoder the policy.

Good at: exploration that is as good as can be (Bayes-adaptive), tasks that differ in their rewards; the belief can be looked at.
Bad at: long lifetimes (decoding is quadratic in their length, unless subsampled); tasks that a Gaussian in few dimensions
cannot tell apart.

Where we depart from the paper: the autoencoder learns from the lifetimes of this meta-update, not from a buffer of old ones: with
many tasks in a meta-update these suffice, and are those that the policy meets. Rewards and observations are at unit scale, and the
decoder's distributions Gaussian with deviation 1, in gridworlds too. KL terms of all t are counted, which costs nothing; decoded is
from some. Inputs are not embedded before the GRU.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.adaptation.recurrent_belief import BeliefTheta, RecurrentBeliefLearner
from adaptax.algorithms.base import require_environments
from adaptax.algorithms.memory_ppo import MemoryPPO, MemoryPPOAlgorithm
from adaptax.chunks import chunk_size, mean_gradient
from adaptax.errors import AdaptaxError
from adaptax.estimators.elbo import gaussian, kl_terms, some_rows
from adaptax.estimators.returns import valid_mean
from adaptax.networks.encoding import observation_size
from adaptax.types import Lifetime, Metrics, Out, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class VariBAD(MemoryPPO):
    """VariBAD: a policy that acts on a learned belief over tasks, trained by PPO on the return of the lifetime."""

    lr: float = 2e-3
    """Adam's step size for policy and critic."""
    entropy: float = 0.1
    """Weight of the entropy bonus in the first meta-update: a policy that soon settles on one way shows the encoder too little."""
    entropy_decay: float = 0.998
    """Factor on that weight per meta-update."""
    hidden: int = 64
    """Units of the encoder's GRU."""
    latent: int = 5
    """Length of m."""
    policy_hidden: tuple[int, ...] = (64,)
    """Hidden layers of the policy, and of the critic beside it."""
    decoder_hidden: tuple[int, ...] = (32, 32)
    """Hidden layers of each decoder."""
    reward_inputs: Literal["transition", "next-obs"] = "transition"
    """What the reward decoder sees beside m: observation, action and next observation, or the last alone, which is better where
    rewards are paid for places (gridworlds, navigation) and useless where they are paid for actions (bandits)."""
    decode_transitions: bool = False
    """Decode the next observations too, for tasks that differ in their dynamics."""
    kl_weight: float = 0.01
    """β, weight of the KL terms."""
    vae_lr: float = 2e-3
    """Adam's step size for encoder and decoders."""
    vae_updates: int = 3
    """Steps of the autoencoder in one meta-update."""
    vae_tasks: int = 32
    """Lifetimes that such a step looks at, drawn from those of the meta-update; all, where there are fewer."""
    elbo_terms: int = 16
    """Steps t of a lifetime from whose belief it is decoded, drawn anew in each step; all, where there are fewer."""
    decoded_rows: int = 64
    """Rows of a lifetime that are decoded, drawn likewise."""

    def build(self, spec: Spec) -> VariBADAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where its tasks are labelled examples, or the decoder has no layer."""
        require_environments(spec, "VariBAD")
        if not self.decoder_hidden:
            raise AdaptaxError("decoder_hidden needs one hidden layer at least, like (32,).")
        return VariBADAlgorithm(self, spec)


class VariBADAlgorithm(MemoryPPOAlgorithm):
    """max_π as `MemoryPPOAlgorithm`, told the belief; max_{q,p} ELBO. `TrainState.opt_state` is the pair of their optimisers'."""

    learner: RecurrentBeliefLearner
    vae_updates: int = eqx.field(static=True)
    vae_tasks: int = eqx.field(static=True)
    elbo_terms: int = eqx.field(static=True)
    decoded_rows: int = eqx.field(static=True)
    kl_weight: Array
    vae_lr: Array

    def __init__(self, config: VariBAD, spec: Spec):
        names = ("hidden", "latent", "policy_hidden", "decoder_hidden", "reward_inputs", "decode_transitions")
        learner = RecurrentBeliefLearner(spec=spec, **{name: getattr(config, name) for name in names})
        super().__init__(config, spec, learner, max(config.policy_hidden, default=1))
        self.vae_updates, self.vae_tasks = config.vae_updates, min(config.vae_tasks, config.tasks)
        self.elbo_terms = min(config.elbo_terms, self.layout.steps)
        self.decoded_rows = min(config.decoded_rows, self.layout.steps)
        self.kl_weight, self.vae_lr = jnp.array(config.kl_weight), jnp.array(config.vae_lr)

    @property
    def vae_optimizer(self) -> optax.GradientTransformation:
        return optax.scale_by_adam()

    def of_policy(self, theta: BeliefTheta) -> Any:
        return theta.only("policy", "value", "log_std")

    def of_vae(self, theta: BeliefTheta) -> Any:
        """Which leaves the ELBO trains."""
        return theta.only("gru", "posterior", "reward", "transition")

    def init(self, key: Key[Array, ""]) -> TrainState:
        state = super().init(key)
        of_policy = self.optimizer.init(eqx.filter(state.theta, self.of_policy(state.theta)))
        of_vae = self.vae_optimizer.init(eqx.filter(state.theta, self.of_vae(state.theta)))
        return TrainState(state.theta, (of_policy, of_vae), state.key, state.updates)

    def says(self, theta: BeliefTheta, lifetime: Lifetime) -> Out:
        # PPO leaves the encoder as it is: what was believed while acting need not be computed again.
        rows = lifetime.rounds
        return jax.vmap(jax.vmap(jax.vmap(lambda s: self.learner.say(theta, s.aux, s))))(rows)

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        k_policy, k_vae = jax.random.split(key)
        of_policy, of_vae = state.opt_state
        state = TrainState(state.theta, of_policy, state.key, state.updates)
        state, metrics = super().learn(state, lifetime, k_policy)
        theta, of_vae, vae_metrics = self.learn_belief(state.theta, of_vae, lifetime, k_vae)
        return TrainState(theta, (state.opt_state, of_vae), state.key, state.updates), metrics | vae_metrics

    def learn_belief(
        self, theta: BeliefTheta, opt_state: optax.OptState, lifetime: Lifetime, key: Key[Array, ""]
    ) -> tuple[BeliefTheta, optax.OptState, Metrics]:
        """`vae_updates` steps up the ELBO."""
        params, frozen = eqx.partition(theta, self.of_vae(theta))
        rows = trees.index(lifetime.rounds, (slice(None), 0, 0))  # one round of one stream
        width = max(
            *self.learner.decoder_hidden, observation_size(self.spec) * self.learner.decode_transitions
        )
        chunk = chunk_size(self.vae_tasks, self.elbo_terms * self.decoded_rows * width)

        def loss(params: Any, one_task: Any) -> tuple[Array, Metrics]:
            rows, key = one_task
            return self.negative_elbo(eqx.combine(params, frozen), rows, key)

        def step(carry: Any, key: Array) -> tuple[Any, Metrics]:
            params, opt_state = carry
            k_tasks, k_loss = jax.random.split(key)
            members = jax.random.permutation(k_tasks, self.tasks)[: self.vae_tasks]
            data = trees.index(rows, members), jax.random.split(k_loss, self.vae_tasks)
            gradient, metrics = mean_gradient(loss, params, data, chunk)
            updates, opt_state = self.vae_optimizer.update(gradient, opt_state, params)
            return (eqx.apply_updates(params, trees.scale(-self.vae_lr, updates)), opt_state), metrics

        (params, opt_state), metrics = jax.lax.scan(
            step, (params, opt_state), jax.random.split(key, self.vae_updates)
        )
        return eqx.combine(params, frozen), opt_state, jax.tree.map(lambda m: m[-1], metrics)

    def negative_elbo(
        self, theta: BeliefTheta, rows: Step, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """−ELBO of one lifetime [T], as a mean over its steps t (without constants):

            mean_t  E_{m ~ q_t} Σ_i ½ (r̂_i(m) − r_i)²  [ + ½ ‖ô_i(m) − o_{i+1}‖² ]  +  β KL_t ,

        the first estimated from `elbo_terms` steps t and `decoded_rows` rows i.
        """
        learner = self.learner
        k_terms, k_rows, k_m = jax.random.split(key, 3)
        hs = learner.hidden_states(theta, learner.remember(theta), rows)
        belief = jax.vmap(theta.posterior)(hs)
        kl = valid_mean(kl_terms(belief), rows.valid)

        ts, is_term = some_rows(rows.valid, self.elbo_terms, k_terms)
        ms = jax.vmap(lambda q, k: gaussian(q).sample(k))(belief[ts], jax.random.split(k_m, ts.shape[0]))
        index, is_row = some_rows(rows.valid, self.decoded_rows, k_rows)
        decoded = trees.index(rows, index)
        counted = is_term[:, None] & is_row
        xs = jax.vmap(lambda s: learner.reward_x(theta, s.obs, s.action, s.next_obs))(decoded)
        told = jax.vmap(theta.normaliser.scaled_reward)(decoded.reward)
        squares = (theta.reward.pairs(xs, ms)[..., 0] - told) ** 2
        metrics = {"reward_error": valid_mean(squares, counted), "belief_kl_nats": kl}
        if theta.transition is not None:
            xs = jax.vmap(lambda s: learner.transition_x(theta, s.obs, s.action))(decoded)
            after = jax.vmap(theta.normaliser.observation)(decoded.next_obs)
            misses = ((theta.transition.pairs(xs, ms) - after) ** 2).sum(-1)
            metrics["transition_error"] = valid_mean(misses, counted)
            squares += misses
        reconstruction = 0.5 * valid_mean(squares, counted) * rows.valid.sum()
        return reconstruction + self.kl_weight * kl, metrics
