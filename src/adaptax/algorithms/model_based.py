"""What model-based algorithms share: collecting with the planner, lifetimes that are kept, gradient steps on all of them."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from adaptax import trees
from adaptax.adaptation.dynamics_model import DynamicsModel, ModelRow, Scales, blank_row, model_rows
from adaptax.adaptation.model_based import ModelTheta, PlanningLearner, wandering
from adaptax.adaptation.planning import Planner
from adaptax.adaptation.tree_search import TreeSearch, require_mctx
from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.buffers import RingBuffer
from adaptax.chunks import chunk_size, mean_gradient
from adaptax.errors import AdaptaxError
from adaptax.networks.layers import MLP
from adaptax.types import Behaviour, Box, Discrete, Layout, Lifetime, Metrics, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class ModelBased:
    """Hyperparameters of a model that is learned over tasks, and of planning with it."""

    method: ClassVar[str]

    tasks: int = 8
    """Tasks to collect from in one meta-update."""
    episodes: int = 2
    """Episodes with each of them."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the model's hidden layers."""
    members: int = 2
    """Networks in the ensemble."""
    probabilistic: bool = False
    """Members say how sure they are, and imagined steps are drawn; else they say what is most likely."""
    lr: float = 5e-3
    """Adam's step size in the outer loop; within each meta-update it falls to a tenth, so that what is planned with is at rest."""
    gradient_steps: int = 500
    """Outer gradient steps in one meta-update."""
    meta_batch: int = 8
    """Lifetimes of one outer gradient step, for each member others."""
    lifetimes: int = 1024
    """Lifetimes that are kept, the newest."""
    max_gradient_norm: float = 10.0
    """Gradients of the outer loop are scaled down to this Euclidean norm."""
    planner: Literal["shooting", "cem", "mppi", "gumbel", "stochastic"] = "mppi"
    """How plans are searched for. gumbel and stochastic search a tree, for one choice among a few; with each of the others that is
    planned by shooting."""
    horizon: int = 20
    """Steps that a plan looks ahead."""
    candidates: int = 64
    """Plans tried in one generation; in a tree the simulations times what each tries at its leaf."""
    generations: int = 1
    """Of CEM and MPPI; shooting has one."""
    simulations: int = 8
    """Of a tree search, each of which adds a leaf."""
    smoothness: float = 0.8
    """CEM and MPPI: how far the noise of one step is that of the step before, 0 to 1."""
    temperature: float = 0.1
    """MPPI: λ, in standard deviations of the plans' returns."""
    gamma: float = 1.0
    """Discount γ in plans."""
    training_noise: float = 0.3
    """How far actions stray from the plan in meta-training: the standard deviation of a real action, where -1..1 is the range;
    the probability of a choice made at random. In the first meta-update it is 1, and there is no plan."""
    noise: float = 0.02
    """The same on new tasks."""

    def check(self, spec: Spec) -> None:
        """AdaptaxError where it cannot plan on the family."""
        require_environments(spec, self.method)
        if not isinstance(spec.action, Box | Discrete) or spec.masked:
            raise AdaptaxError(
                f"{self.method} plans with one real vector or one choice that is always allowed, and '{spec.name}' asks for "
                "something else; take rl2 or maml."
            )

        if self.planner in ("gumbel", "stochastic"):
            if not isinstance(spec.action, Discrete):
                raise AdaptaxError(
                    f"A tree is searched for one choice among a few, and '{spec.name}' takes real actions; plan with mppi."
                )
            require_mctx()
        if not self.smoothness < 1:
            raise AdaptaxError(f"smoothness must be below 1, not {self.smoothness}: no noise is left at 1.")

    def learner_parts(self, spec: Spec, context: int = 0) -> dict[str, Any]:
        """What every planning learner is made of; members are told a context of this length."""
        assert isinstance(spec.action, Box | Discrete)
        if self.planner in ("gumbel", "stochastic"):
            assert isinstance(spec.action, Discrete)
            # A simulation with chance in it values two nodes: before chance has answered a choice, and after.
            valued = 2 if self.planner == "stochastic" else 1
            rollouts = max(1, self.candidates // (valued * self.simulations * spec.action.n))
            planner = TreeSearch(spec.action, self.planner, self.horizon, self.simulations, rollouts)
        else:
            planner = Planner(
                spec.action, self.planner, self.horizon, self.candidates, self.generations,
                jnp.array(self.smoothness), jnp.array(self.temperature),
            )  # fmt: skip
        model = DynamicsModel(spec, self.hidden, self.probabilistic, context)
        return {
            "spec": spec, "model": model, "members": self.members, "planner": planner, "γ": jnp.array(self.gamma),
            "noise": jnp.array(self.noise),
        }  # fmt: skip


class Seen(eqx.Module):
    """What a task has shown in a lifetime, [n], in the order in which it happened; the rows that are valid come first."""

    rows: ModelRow
    first: Bool[Array, "*n"]
    valid: Bool[Array, "*n"]


def in_order(rounds: Step) -> Seen:
    """Of ONE task's rounds, Step[K, N, T]: stream after stream."""
    seen = Seen(model_rows(rounds), rounds.first, rounds.valid)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), seen)
    return trees.index(flat, jnp.argsort(~flat.valid, stable=True))


class ModelBasedAlgorithm(Algorithm):
    """Collects by planning with the present model, and takes gradient steps on the lifetimes of all meta-updates."""

    learner: PlanningLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    gradient_steps: int = eqx.field(static=True)
    meta_batch: int = eqx.field(static=True)
    lifetimes: int = eqx.field(static=True)
    lr: Array
    training_noise: Array
    max_gradient_norm: Array

    def __init__(self, config: ModelBased, learner: PlanningLearner, layout: Layout):
        self.learner, self.layout, self.tasks = learner, layout, config.tasks
        self.gradient_steps, self.meta_batch, self.lifetimes = (
            config.gradient_steps, config.meta_batch, config.lifetimes,
        )  # fmt: skip
        self.lr, self.training_noise = jnp.array(config.lr), jnp.array(config.training_noise)
        self.max_gradient_norm = jnp.array(config.max_gradient_norm)

    @property
    def rows(self) -> int:
        """Of a lifetime."""
        return self.layout.rounds * self.layout.streams * self.layout.steps

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam())

    def init(self, key: Key[Array, ""]) -> TrainState:
        state = super().init(key)
        no = jnp.array(False)
        one = jax.tree.map(
            lambda x: jnp.zeros((self.rows, *x.shape), x.dtype), Seen(blank_row(self.learner.spec), no, no)
        )
        return dataclasses.replace(state, aux=RingBuffer.of(one, self.lifetimes))

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        # A plan made with a model that knows nothing is no better than chance, far less varied, and may lead anywhere.
        return Behaviour(wandering(state.theta, jnp.where(state.updates == 0, 1.0, self.training_noise)))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        lifetimes = state.aux.add(jax.vmap(in_order)(lifetime.rounds), jnp.ones(self.tasks, bool))
        scales = state.theta.scales.update(model_rows(lifetime.rounds), lifetime.rounds.valid)
        theta: ModelTheta = dataclasses.replace(state.theta, scales=scales)
        trained, frozen = eqx.partition(theta, self.learner.trainable(theta))
        members = self.learner.members
        chunk = chunk_size(self.meta_batch, members * self.rows * max(self.learner.model.hidden, default=1))

        def loss(trained: ModelTheta, inputs: Any) -> tuple[Array, Metrics]:
            theta = eqx.combine(trained, frozen)
            one = lambda net, adaptation, *data: self.loss(net, adaptation, scales, *data)  # noqa: E731
            losses, metrics = jax.vmap(one)(theta.networks, theta.adaptation, *inputs)
            return losses.sum(), jax.tree.map(jnp.mean, metrics)

        def step(carry: Any, inputs: tuple[Array, Key[Array, ""]]) -> tuple[Any, Metrics]:
            (params, opt_state), (lr, key) = carry, inputs
            k_draw, k_loss = jax.random.split(key)
            seen = lifetimes.sample(k_draw, self.meta_batch * members)
            data = seen, jax.random.split(k_loss, self.meta_batch * members)
            data = jax.tree.map(lambda x: x.reshape(self.meta_batch, members, *x.shape[1:]), data)
            gradient, metrics = mean_gradient(loss, params, data, chunk)
            direction, opt_state = self.optimizer.update(gradient, opt_state)
            params = trees.add(params, trees.scale(-lr, direction))
            return (params, opt_state), metrics | {"gradient_norm": optax.tree.norm(gradient)}

        falling = self.lr * jnp.linspace(1.0, 0.1, self.gradient_steps)
        (trained, opt_state), metrics = jax.lax.scan(
            step, (trained, state.opt_state), (falling, jax.random.split(key, self.gradient_steps))
        )
        after = TrainState(eqx.combine(trained, frozen), opt_state, state.key, state.updates, lifetimes)
        return after, jax.tree.map(jnp.mean, metrics)

    def loss(
        self, network: MLP, adaptation: Any, scales: Scales, seen: Seen, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Of ONE member on ONE lifetime."""
        raise NotImplementedError
