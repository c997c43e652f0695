"""Learners that plan with a learned model of the task; how the model gets to know the task is each algorithm's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.adaptation.dynamics_model import DynamicsModel, Imagination, Scales
from adaptax.adaptation.planning import Planner, left_of
from adaptax.adaptation.tree_search import TreeSearch
from adaptax.estimators.q_learning import epsilon_greedy
from adaptax.learner import Frozen, Learner
from adaptax.networks.distributions import Distribution, Gaussian
from adaptax.networks.layers import MLP
from adaptax.types import Box, Fast, Out, Spec, Step


class Wandering(Frozen):
    """How far actions stray from the plan."""

    noise: Float[Array, ""]
    """The standard deviation of a real action, in the policy's units; the probability of a choice made at random. At 1 the plan
    does not matter."""


class ModelTheta(eqx.Module):
    networks: MLP
    """The members' weights: leaves [E, ...]."""
    adaptation: Any
    """What else is learned of how a task becomes known."""
    scales: Scales
    wandering: Wandering


class PlanMemory(eqx.Module):
    plan: Array
    """[H, ...], the last plan made."""
    context: Any
    """What the stream has shown of the task, where that is remembered."""


class PlanningLearner(Learner):
    """Plans anew at every step, and does the first action of its plan."""

    spec: Spec = eqx.field(static=True)
    model: DynamicsModel = eqx.field(static=True)
    members: int = eqx.field(static=True)
    planner: Planner | TreeSearch
    γ: Array
    noise: Array
    """`Wandering.noise` on new tasks."""

    def init(self, key: Key[Array, ""]) -> ModelTheta:
        k_networks, k_adaptation = jax.random.split(key)
        networks = jax.vmap(self.model.init)(jax.random.split(k_networks, self.members))
        adaptation = self.new_adaptation(networks, k_adaptation)
        return ModelTheta(networks, adaptation, Scales.of(self.spec), Wandering(jnp.asarray(self.noise)))

    def new_adaptation(self, networks: MLP, key: Key[Array, ""]) -> Any:
        """`ModelTheta.adaptation` before any training."""
        raise NotImplementedError

    def remember(self, theta: ModelTheta) -> PlanMemory:
        return PlanMemory(self.planner.begin(), self.new_context(theta))

    def new_context(self, theta: ModelTheta) -> Any:
        return None

    def known(
        self, theta: ModelTheta, fast: Fast, context: Any, step: Step
    ) -> tuple[MLP, Float[Array, "E c"] | None, Any]:
        """The members' weights for this task, what they are told, and the context with this step in it."""
        raise NotImplementedError

    def act(self, theta: ModelTheta, fast: Fast, memory: PlanMemory, step: Step, key: Key[Array, ""]):
        networks, told, context = self.known(theta, fast, memory.context, step)
        imagination = Imagination(self.model, networks, theta.scales, told, self.γ)
        # A plan is searched for, not differentiated: the model is trained by what it says of steps that were made.
        imagination = jax.lax.stop_gradient(imagination)
        plan = trees.where(step.first, self.planner.begin(), left_of(memory.plan))
        plan = self.planner(imagination, step.obs.reshape(-1), plan, key)
        return Out(self.around(plan[0], self.strays(theta, fast)), jnp.zeros(())), PlanMemory(plan, context)

    def strays(self, theta: ModelTheta, fast: Fast) -> Float[Array, ""]:
        """How far what is done strays from the plan: `Wandering.noise`."""
        return theta.wandering.noise

    def around(self, action: Array, noise: Float[Array, ""]) -> Distribution:
        """The distribution of what is done where the plan says `action`."""
        space = self.spec.action
        if isinstance(space, Box):
            mean = jnp.where(noise < 1, action, 0.0)
            return Gaussian(mean, jnp.log(jnp.broadcast_to(noise, action.shape)))
        return epsilon_greedy(jax.nn.one_hot(action, space.size), noise, None)


def wandering(theta: ModelTheta, noise: Float[Array, ""]) -> ModelTheta:
    """θ with which actions stray so far from the plan."""
    return dataclasses.replace(theta, wandering=Wandering(noise))
