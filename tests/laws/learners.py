"""Every learner on a small family: what the laws are checked over. A new algorithm is added here."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from families import Corridor, GatedCorridor, Push

from adaptax.algorithms.base import Algorithm, Config
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.rl2 import RL2
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical, Gaussian
from adaptax.tasks.base import TaskFamily
from adaptax.types import Box, Layout, Out, Spec

TASKS = 4
"""B"""

LAYOUTS = {
    "one episode": Layout(2, 2, 4, episodes=1),
    "episodes": Layout(2, 2, 8, episodes=2),
    "budget": Layout(2, 2, 6, episodes=None),
    "carry": Layout(3, 4, 5, episodes=None, carry=True),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A learner on a family, with the algorithm that trains it, where there is one."""

    learner: Learner
    family: TaskFamily
    algorithm: Algorithm | None = None

    @property
    def theta(self) -> Any:
        """Parameters with every leaf away from its first value, so that each of them matters."""
        return scrambled(self.learner, self.learner.init(jax.random.key(3)))


def scrambled(learner: Learner, theta: Any, seed: int = 4) -> Any:
    """Trained leaves moved by a normal draw; frozen ones (variances, counts) by a positive one."""
    leaves, treedef = jax.tree.flatten(theta)
    trained = jax.tree.leaves(learner.trainable(theta))
    keys = jax.random.split(jax.random.key(seed), max(1, len(leaves)))
    draws = [0.4 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=False)]
    moved = [x + (d if free else jnp.abs(d)) for x, d, free in zip(leaves, draws, trained, strict=True)]
    return jax.tree.unflatten(treedef, moved)


class Probe(Learner):
    """Its states, its policy and its draws depend on everything that a learner may see, keys included."""

    spec: Spec = eqx.field(static=True)

    def init(self, key):
        return jnp.array(0.7)

    def begin(self, theta, key, features):
        return theta + 0.1 * jax.random.normal(key)

    def remember(self, theta):
        return jnp.zeros(3)

    def act(self, theta, fast, memory, step, key):
        sees = jnp.stack([step.obs.sum() + step.prev_action.sum(), step.prev_reward, step.first + step.episode])
        memory = 0.5 * memory + sees
        output = jnp.sin(jnp.arange(1.0, 1 + self.spec.action.size) * (fast + memory.sum()))
        continuous = isinstance(self.spec.action, Box)
        dist = Gaussian(output, 0.1 * output) if continuous else Categorical(output)
        return Out(dist, jax.random.normal(key), aux=memory), memory

    def adapt(self, theta, fast, batch, key):
        reward = jnp.where(batch.valid, batch.reward, 0.0)
        return fast + theta * reward.mean() + 0.1 * jax.random.normal(key)


def _case(config: Config, family: TaskFamily) -> Case:
    algorithm = config.build(family.spec)
    return Case(algorithm.learner, family, algorithm)


rl2 = RL2(tasks=TASKS, hidden=8, epochs=2, minibatches=2)
maml = MAML(tasks=TASKS, streams=2, hidden=(8, 8), inner_lr=0.5, epochs=2)
trpo = dataclasses.replace(maml, outer="trpo", cg_iterations=3, line_search_trials=4)
multi_task = MultiTask(tasks=TASKS, streams=2, hidden=(8, 8), epochs=2, minibatches=2)

CASES = {
    "probe": Case(Probe(spec=Corridor().spec), Corridor()),
    "probe, continuous": Case(Probe(spec=Push().spec), Push()),
    "rl2": _case(rl2, Corridor()),
    "rl2, masked": _case(rl2, GatedCorridor()),
    "rl2, continuous": _case(rl2, Push()),
    "maml": _case(maml, Corridor()),
    "maml, masked": _case(maml, GatedCorridor()),
    "maml, continuous": _case(maml, Push()),
    "maml-trpo": _case(trpo, Corridor()),
    "maml-trpo, continuous": _case(trpo, Push()),
    "fomaml": _case(dataclasses.replace(maml, first_order=True), Corridor()),
    "meta-sgd": _case(dataclasses.replace(maml, learned_inner_lr=True), Corridor()),
    "meta-sgd, continuous": _case(dataclasses.replace(maml, learned_inner_lr=True), Push()),
    "multi-task": _case(multi_task, Corridor()),
    "fine-tune": _case(dataclasses.replace(multi_task, fine_tune_steps=3), Corridor()),
    "oracle, continuous": _case(dataclasses.replace(multi_task, told=True), Push()),
}
LEARNERS = {name: case for name, case in CASES.items() if "trpo" not in name}
"""Those that differ in their learner."""
ALGORITHMS = {name: case for name, case in CASES.items() if case.algorithm is not None}
