"""Learners that adapt by gradient steps on a policy: what MAML and its relatives share.

They differ in the update rule (`adaptation/update_rules.py`), in the surrogate that is differentiated, and in how the initial
policy is trained, which is what each algorithm's own file is about.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.adaptation.policy_gradient import PolicyGradientLearner
from adaptax.adaptation.update_rules import UpdateRule
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_error
from adaptax.estimators.surrogates import lvc
from adaptax.learner import QUERY_AXIS
from adaptax.networks.convolution import Batch, Source, Statistics
from adaptax.networks.encoding import network_input, observation_size
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.policy import Architecture, Policy
from adaptax.types import Lifetime, Out, Step


class GradientTheta(eqx.Module):
    policy: Policy | None
    """From which every task begins; None: from a random one."""
    rule: Any
    """ψ, what is learned of the update rule; None: nothing."""
    normaliser: Normaliser

    def observing(self, lifetime: Lifetime) -> GradientTheta:
        """θ, whose normaliser has seen the lifetimes."""
        normaliser = self.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
        return GradientTheta(self.policy, self.rule, normaliser)


class GradientFast(eqx.Module):
    policy: Policy
    """As adapted so far."""
    rule: Any
    """The update rule's state."""
    steps: Array
    """int32, adaptation steps taken."""
    statistics: tuple[Statistics, ...] | None = None
    """Of the support's images under this policy, layer by layer; None where predictions need none."""


class GradientLearner(PolicyGradientLearner):
    """A policy θ, and one step of an update rule after each round: θ' = θ + U(∇L(θ; D))."""

    architecture: Architecture = eqx.field(static=True)
    rule: UpdateRule
    first_order: bool = eqx.field(static=True)
    """The gradient counts as a constant, so that dθ'/dθ = I for SGD: no second derivatives."""
    head_only: bool = eqx.field(static=True)
    """The last layer alone adapts (ANIL, Raghu et al. 2020), with the standard deviation, which is of the last layer too."""
    inner_max_norm: Array | None
    """The gradient's Euclidean norm is scaled down to this, so that no step explodes, whatever the data; None: it is not."""
    inner_steps: int = eqx.field(static=True)
    later_lr_factor: Array
    """On steps beyond `inner_steps`."""

    def init(self, key: Key[Array, ""]) -> GradientTheta:
        # The policy's key is the learner's own: a rule that draws numbers must not change it.
        policy = self.new_policy(key)
        rule = self.rule.init(self.adapting(policy)[0], jax.random.fold_in(key, 1))
        return GradientTheta(policy, rule, Normaliser.of(observation_size(self.spec)))

    def new_policy(self, key: Key[Array, ""]) -> Policy:
        size = network_input(self.spec)
        return Policy(size, self.hidden, self.spec.action, key, self.architecture)

    @property
    def floats_of_a_step(self) -> int:
        """What the update rule computes for one task, in floats."""
        policy = jax.eval_shape(self.new_policy, jax.random.key(0))
        return self.rule.floats_per_parameter * sum(leaf.size for leaf in jax.tree.leaves(policy))

    def begin(self, theta, key, features):
        assert theta.policy is not None
        return self.begin_from(theta, theta.policy)

    def begin_from(self, theta: GradientTheta, policy: Policy) -> GradientFast:
        """The fast state of a task that begins with this policy."""
        state = self.rule.begin(theta.rule, self.adapting(policy)[0])
        network = policy.convolutions
        statistics = None if network is None or self.transductive else network.unread()
        return GradientFast(policy, state, jnp.zeros((), jnp.int32), statistics)

    def act(self, theta, fast, memory, step, key):
        source: Source | None = Batch(QUERY_AXIS, step.valid) if self.transductive else fast.statistics
        dist = fast.policy(theta.normaliser.observation(step.obs), step.action_mask, source)
        return Out(dist, jnp.zeros(())), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        act = lambda step: self.act(theta, fast, memory, step, stream_key)[0]  # noqa: E731
        return jax.vmap(act, axis_name=QUERY_AXIS)(steps), memory

    def adapt(self, theta, fast, batch, key):
        params, rest = self.adapting(fast.policy)
        objective = self.inner_objective(theta, batch)
        loss, gradient = jax.value_and_grad(lambda params: objective(eqx.combine(params, rest)))(params)
        if self.first_order:
            # That is the definition of first-order MAML.
            gradient, loss = jax.lax.stop_gradient((gradient, loss))
        if self.inner_max_norm is not None:
            gradient = trees.within(self.inner_max_norm, gradient)
        Δ, state = self.rule.step(theta.rule, fast.rule, params, gradient, loss)
        scale = jnp.where(fast.steps < self.inner_steps, 1.0, self.later_lr_factor)
        params = jax.tree.map(lambda p, δ: p + scale * δ, params, Δ)
        policy = eqx.combine(params, rest)
        return GradientFast(policy, state, fast.steps + 1, self.statistics(theta, policy, batch))

    def adapting(self, policy: Policy) -> tuple[Policy, Policy]:
        """The parameters that adapt, and the rest; each with None in the other's places."""
        adapts = jax.tree.map(lambda _: not self.head_only, policy)
        if self.head_only:
            head = lambda p: (p.mlp.layers[-1], p.log_std)  # noqa: E731
            adapts = eqx.tree_at(head, adapts, jax.tree.map(lambda _: True, head(policy)))
        return eqx.partition(policy, adapts)

    def inner_objective(self, theta: GradientTheta, batch: Step) -> Any:
        """L: policy ↦ the loss of one round, Step[N, T], that a step of adaptation descends: the policy gradient's surrogate,
        or the error of a supervised task's labelled examples."""
        if self.spec.supervised:
            return lambda policy: self.error(theta, policy, batch)
        advantage = self.advantages(batch)
        obs = jax.vmap(jax.vmap(theta.normaliser.observation))(batch.obs)

        def loss(policy: Policy) -> Float[Array, ""]:
            def row(x, mask, action):
                return policy(x, mask).log_prob(action)

            logp = jax.vmap(jax.vmap(row))(obs, batch.action_mask, batch.action)
            return valid_mean(self.surrogate(logp, advantage, batch), batch.valid)

        return loss

    def error(self, theta: GradientTheta, policy: Policy, batch: Step) -> Float[Array, ""]:
        """The mean error of a policy's predictions of the labels in Step[N, T]."""

        def row(obs, label, valid):
            source = Batch("examples", valid)  # of a support, whichever normalisation its queries will have
            return prediction_error(policy(theta.normaliser.observation(obs), source=source), label)

        stream = jax.vmap(row, axis_name="examples")
        return valid_mean(jax.vmap(stream)(batch.obs, batch.action, batch.valid), batch.valid)

    def statistics(self, theta: GradientTheta, policy: Policy, batch: Step) -> tuple[Statistics, ...] | None:
        """Of the images in a support, Step[1, T], under a policy: what its queries are normalised by. None where they need none."""
        network, rows = policy.convolutions, trees.index(batch, 0)
        if network is None or self.transductive:
            return None
        return network.over(jax.vmap(theta.normaliser.observation)(rows.obs), rows.valid)[1]

    def surrogate(
        self, logp: Float[Array, "N T"], advantage: Float[Array, "N T"], batch: Step
    ) -> Float[Array, "N T"]:
        """Per row, to be minimised; its gradient is that of the policy."""
        return lvc(logp, advantage)


class FromScratchLearner(GradientLearner):
    """Every task begins with a random policy: what is learned, if anything, is the update rule."""

    truncation: int = eqx.field(static=True, default=0)
    """No gradient flows back over more adaptation steps than these; 0: over all of them."""

    def init(self, key):
        theta = super().init(key)
        return GradientTheta(None, theta.rule, theta.normaliser)

    def begin(self, theta, key, features):
        return self.begin_from(theta, self.new_policy(key))

    def adapt(self, theta, fast, batch, key):
        if self.truncation:
            # Truncated backpropagation through time: windows of the inner training count as if each began from a given state.
            border = fast.steps % self.truncation == 0
            fast = trees.where(border, jax.lax.stop_gradient(fast), fast)
        return super().adapt(theta, fast, batch, key)
