"""Every learner on a small family: what the laws are checked over. A new algorithm is added here."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any
from zlib import crc32

import equinox as eqx
import jax
import jax.numpy as jnp
from families import Corridor, GatedCorridor, Pictures, Push

from adaptax.algorithms.algorithm_distillation import AlgorithmDistillation
from adaptax.algorithms.base import Algorithm, Config
from adaptax.algorithms.dqn import DQN
from adaptax.algorithms.emaml import EMAML
from adaptax.algorithms.gbml import GBML
from adaptax.algorithms.l2o import L2O
from adaptax.algorithms.l2o_es import EvolvedL2O
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.maml_dqn import MAMLDQN
from adaptax.algorithms.mer import MER
from adaptax.algorithms.metanet import MetaNet
from adaptax.algorithms.mrlm import MRLM
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.pearl import PEARL
from adaptax.algorithms.promp import ProMP
from adaptax.algorithms.protonet import ProtoNet
from adaptax.algorithms.rebal import ReBAL
from adaptax.algorithms.reptile import Reptile
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.snail import SNAIL
from adaptax.algorithms.transformer import Transformer
from adaptax.algorithms.varibad import VariBAD
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical, Gaussian
from adaptax.tasks.base import JaxFamily
from adaptax.tasks.functions import Sinusoid
from adaptax.types import Box, Layout, Out, Spec

TASKS = 4
"""B"""
STORED = 30
"""Transitions that a store of past tasks has room for."""

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
    family: Any
    algorithm: Algorithm | None = None

    @functools.cached_property
    def theta(self) -> Any:
        """Parameters with every leaf away from its first value, so that each of them matters."""
        return _theta(self.learner)


@eqx.filter_jit
def _theta(learner: Learner) -> Any:
    return scrambled(learner, learner.init(jax.random.key(3)))


def scrambled(learner: Learner, theta: Any, seed: int = 4) -> Any:
    """Trained leaves moved by a normal draw; frozen ones (variances, counts) by a positive one; buffers are full. What a
    leaf is moved by depends on its name, not on its place."""
    key = jax.random.key(seed)

    def moved(path: Any, x: Any, free: bool) -> Any:
        if not eqx.is_inexact_array(x):
            return x + STORED if jax.tree_util.keystr(path).endswith((".size", ".seen")) else x
        draw = 0.4 * jax.random.normal(
            jax.random.fold_in(key, crc32(jax.tree_util.keystr(path).encode())), x.shape
        )
        return x + (draw if free else jnp.abs(draw))

    return jax.tree_util.tree_map_with_path(moved, theta, learner.trainable(theta))


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
        sees = jnp.stack(
            [step.obs.sum() + step.prev_action.sum(), step.prev_reward, step.first + step.episode]
        )
        memory = 0.5 * memory + sees
        output = jnp.sin(jnp.arange(1.0, 1 + self.spec.action.size) * (fast + memory.sum()))
        continuous = isinstance(self.spec.action, Box)
        dist = Gaussian(output, 0.1 * output) if continuous else Categorical(output)
        return Out(dist, jax.random.normal(key), aux=memory), memory

    def adapt(self, theta, fast, batch, key):
        reward = jnp.where(batch.valid, batch.reward, 0.0)
        return fast + theta * reward.mean() + 0.1 * jax.random.normal(key)


def _case(config: Config, family: JaxFamily) -> Case:
    algorithm = config.build(family.spec)
    return Case(algorithm.learner, family, algorithm)


RL2_ = RL2(tasks=TASKS, hidden=8, epochs=2, minibatches=2)
TRANSFORMER = Transformer(tasks=TASKS, width=12, layers=2, heads=3, context=5, epochs=2, minibatches=2)
DISTILLATION = AlgorithmDistillation(
    tasks=TASKS,
    rounds=3,
    streams=2,
    every=2,
    teacher_hidden=(4,),
    teacher_steps=2,
    width=12,
    heads=3,
    minibatches=2,
)
SNAIL_ = SNAIL(tasks=TASKS, hidden=5, filters=3, keys=4, values=3, epochs=2, minibatches=2)
VARIBAD = VariBAD(
    tasks=TASKS, hidden=8, latent=2, policy_hidden=(8,), decoder_hidden=(8, 8), epochs=2, minibatches=2, vae_tasks=3,
    elbo_terms=4, decoded_rows=6,
)  # fmt: skip
MAML_ = MAML(tasks=TASKS, streams=2, hidden=(8, 8), inner_lr=0.5, epochs=2)
TRPO_ = dataclasses.replace(MAML_, outer="trpo", cg_iterations=3, line_search_trials=4)
PROMP_ = ProMP(tasks=TASKS, streams=2, hidden=(8, 8), inner_lr=0.5, epochs=2, adaptive=True)
EMAML_ = EMAML(tasks=TASKS, streams=2, hidden=(8, 8), inner_lr=0.5, epochs=2)
REPTILE = Reptile(tasks=TASKS, streams=2, hidden=(8, 8), inner_steps=2)
GBML_ = GBML(
    tasks=TASKS, streams=2, hidden=(8, 8), inner_lr=0.5, inner_max_norm=0.0, epochs=2, direction_hidden=(4,)
)
L2O_ = L2O(
    tasks=TASKS,
    streams=2,
    horizon=2,
    truncation=1,
    hidden=(4,),
    optimizer_hidden=4,
    epochs=2,
    max_kl_nats=1.0,
)
EVOLVED = EvolvedL2O(tasks=TASKS, streams=2, horizon=2, truncation=1, hidden=(4,), optimizer_hidden=4)
METANET = MetaNet(
    tasks=TASKS,
    streams=2,
    hidden=(8, 8),
    embedding_hidden=(4,),
    representation=3,
    generator_hidden=4,
    epochs=2,
)
PEARL_ = PEARL(
    tasks=TASKS, training_tasks=TASKS, episodes=3, capacity=20, recent=2, gradient_steps=3, meta_batch=2, batch=4, latent=2,
    hidden=(8, 8), encoder_hidden=(8,),
)  # fmt: skip
DQN_ = DQN(
    tasks=TASKS,
    hidden=(8, 8),
    capacity=40,
    batch=4,
    gradient_steps=3,
    copy_every=2,
    last_epsilon=0.5,
    epsilon_steps=30,
)
MAML_DQN = MAMLDQN(
    tasks=TASKS, inner_rounds=1, inner_steps=2, inner_lr=0.1, inner_batch=5, inner_copy_every=1, hidden=(8, 8), gradient_steps=3,
    meta_batch=2, lifetimes=6, copy_every=2, last_epsilon=0.5, epsilon_steps=30,
)  # fmt: skip
MRLM_ = MRLM(
    tasks=TASKS, episodes=2, hidden=(8,), members=2, gradient_steps=2, meta_batch=2, lifetimes=6, horizon=3, candidates=6,
    window=6, query=3, inner_steps=2, noise=0.4, adapt_every=3, probabilistic=True, planner="cem",
)  # fmt: skip
REBAL = ReBAL(
    tasks=TASKS, episodes=2, hidden=(8,), memory=5, members=2, gradient_steps=2, meta_batch=2, lifetimes=6, horizon=3, candidates=6,
    noise=0.4,
)  # fmt: skip
MER_ = MER(
    tasks=TASKS, rounds=2, inner_updates=2, minibatches=3, batch=4, lr=0.1, capacity=STORED, recent=2, hidden=(8, 8),
    last_epsilon=0.5, epsilon_steps=30,
)  # fmt: skip
MULTI_TASK = MultiTask(tasks=TASKS, streams=2, hidden=(8, 8), epochs=2, minibatches=2)

PROBES = {
    "probe": Case(Probe(spec=Corridor().spec), Corridor()),
    "probe, continuous": Case(Probe(spec=Push().spec), Push()),
}
ALGORITHMS = {
    "rl2": _case(RL2_, Corridor()),
    "rl2, masked": _case(RL2_, GatedCorridor()),
    "rl2, continuous": _case(dataclasses.replace(RL2_, embedding=6, policy_hidden=(5,)), Push()),
    "transformer": _case(TRANSFORMER, Corridor()),
    "transformer, masked": _case(TRANSFORMER, GatedCorridor()),
    "transformer, continuous": _case(dataclasses.replace(TRANSFORMER, context=0), Push()),
    "algorithm-distillation": _case(DISTILLATION, Corridor()),
    "algorithm-distillation, continuous": _case(DISTILLATION, Push()),
    "snail": _case(SNAIL_, Corridor()),
    "snail, continuous": _case(dataclasses.replace(SNAIL_, hidden=6), Push()),
    "varibad": _case(dataclasses.replace(VARIBAD, reward_inputs="next-obs"), Corridor()),
    "varibad, continuous": _case(dataclasses.replace(VARIBAD, decode_transitions=True), Push()),
    "maml": _case(MAML_, Corridor()),
    "maml, masked": _case(MAML_, GatedCorridor()),
    "maml, continuous": _case(MAML_, Push()),
    "maml-trpo, continuous": _case(TRPO_, Push()),
    "fomaml": _case(dataclasses.replace(MAML_, first_order=True), Corridor()),
    "maml, adam": _case(dataclasses.replace(MAML_, inner_optimizer="adam", inner_lr=0.05), Corridor()),
    "meta-sgd, continuous": _case(dataclasses.replace(MAML_, learned_inner_lr=True), Push()),
    "promp": _case(PROMP_, Corridor()),
    "promp, continuous": _case(dataclasses.replace(PROMP_, inner_steps=2), Push()),
    "emaml": _case(EMAML_, Corridor()),
    "emaml, continuous": _case(dataclasses.replace(EMAML_, inner_steps=2, estimator="dice"), Push()),
    "anil, continuous": _case(dataclasses.replace(MAML_, head_only=True), Push()),
    "reptile": _case(REPTILE, Corridor()),
    "reptile, adam": _case(dataclasses.replace(REPTILE, inner_optimizer="adam"), Push()),
    "gbml, rates": _case(dataclasses.replace(GBML_, direction="rates"), Corridor()),
    "gbml, curvature": _case(dataclasses.replace(GBML_, direction="curvature"), Push()),
    "gbml, network": _case(GBML_, Push()),
    "l2o": _case(L2O_, Corridor()),
    "l2o-es, continuous": _case(EVOLVED, Push()),
    "metanet": _case(METANET, Corridor()),
    "metanet, continuous": _case(dataclasses.replace(METANET, fast_layers=2), Push()),
    "pearl": _case(PEARL_, Corridor()),
    "pearl, continuous": _case(dataclasses.replace(PEARL_, use_next_obs=True, training_tasks=6), Push()),
    "dqn": _case(dataclasses.replace(DQN_, duelling=True), Corridor()),
    "dqn, masked": _case(dataclasses.replace(DQN_, fine_tune_steps=3), GatedCorridor()),
    "maml-dqn, return": _case(dataclasses.replace(MAML_DQN, outer="return"), GatedCorridor()),
    "maml-dqn": _case(MAML_DQN, Corridor()),
    "mrlm, continuous": _case(MRLM_, Push()),
    "rebal": _case(REBAL, Corridor()),
    "mer, masked": _case(dataclasses.replace(MER_, streams=2, selection="uniform"), GatedCorridor()),
    "mer": _case(MER_, Corridor()),
    "multi-task": _case(MULTI_TASK, Corridor()),
    "fine-tune": _case(dataclasses.replace(MULTI_TASK, fine_tune_steps=3), Corridor()),
    "oracle, continuous": _case(dataclasses.replace(MULTI_TASK, told=True), Push()),
}
SUPERVISED = {
    "maml": _case(dataclasses.replace(MAML_, inner_steps=2, inner_lr=0.05), Sinusoid(shots=5, queries=4)),
    "reptile": _case(
        Reptile(tasks=TASKS, hidden=(8, 8), inner_steps=3, inner_batch=2, inner_lr=0.05),
        Sinusoid(shots=5, queries=4),
    ),
    "gbml, network": _case(
        dataclasses.replace(GBML_, inner_steps=2, inner_lr=0.05), Sinusoid(shots=5, queries=4)
    ),
    "anil": _case(
        dataclasses.replace(MAML_, inner_steps=2, inner_lr=0.05, head_only=True), Sinusoid(shots=5, queries=4)
    ),
    "meta-sgd": _case(
        dataclasses.replace(MAML_, inner_steps=2, inner_lr=0.05, learned_inner_lr=True),
        Sinusoid(shots=5, queries=4),
    ),
    "l2o": _case(L2O_, Sinusoid(shots=5, queries=4)),
    "metanet": _case(METANET, Sinusoid(shots=5, queries=4)),
    "multi-task": _case(MULTI_TASK, Sinusoid(shots=5, queries=4)),
    "snail": _case(SNAIL_, Sinusoid(shots=5, queries=4)),
}
"""On labelled examples."""
TEACHERS = {
    "a teacher of distillation": Case(DISTILLATION.build(Corridor().spec).teacher, Corridor()),
    "a teacher of distillation, continuous": Case(DISTILLATION.build(Push().spec).teacher, Push()),
}
IMAGES = {
    "maml": _case(dataclasses.replace(MAML_, hidden=(3, 4), inner_lr=0.1), Pictures()),
    "maml, transductive": _case(
        dataclasses.replace(MAML_, hidden=(3,), inner_lr=0.1, transductive=True), Pictures()
    ),
    "reptile": _case(
        Reptile(tasks=TASKS, hidden=(3,), inner_steps=2, inner_batch=2, inner_lr=0.1), Pictures()
    ),
    "metanet": _case(dataclasses.replace(METANET, hidden=(3,), image_channels=(3,)), Pictures()),
    "protonet": _case(ProtoNet(tasks=TASKS, hidden=(3, 4), max_pool=True), Pictures()),
    "protonet, transductive": _case(ProtoNet(tasks=TASKS, hidden=(3,), transductive=True), Pictures()),
    "snail": _case(dataclasses.replace(SNAIL_, image_channels=(3,)), Pictures()),
}
"""On labelled images."""
LEARNERS = PROBES | TEACHERS | {name: case for name, case in ALGORITHMS.items() if "trpo" not in name}
"""Those that differ in their learner: an outer step is no part of it."""


def one_of_each(cases: dict[str, Case]) -> dict[str, Case]:
    """The last of the cases that bear one algorithm's name: what follows the comma is a setting of it."""
    return {
        name: case
        for name, case in cases.items()
        if name == [other for other in cases if other.split(",")[0] == name.split(",")[0]][-1]
    }
