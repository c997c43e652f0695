"""What SNAIL's long lifetimes cost: memory in training, reads in acting."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from adaptax.algorithms.snail import SNAIL
from adaptax.collection.collect import collect
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.training.program import behaviour_and_keys, draw_training_tasks
from adaptax.types import Step

PULLS = 1000
CONFIG = SNAIL(tasks=16, epochs=1, minibatches=1)


def test_lifetimes_of_a_thousand_steps_train_within_memory():
    """Scores of 1,000 rows with 1,000 rows are 4 MB for a lifetime; were all 16 held at once, forwards and backwards, with
    their softmax and what the gradient keeps of it, they alone would take some 250 MB."""
    family = BernoulliBandit(arms=5, pulls=PULLS)
    algorithm = CONFIG.build(family.spec)

    def update(state):
        draw = lambda key: draw_training_tasks(family, key, algorithm.tasks)  # noqa: E731
        behaviour, task_keys, key = behaviour_and_keys(algorithm, state, draw)
        lifetime, _, _ = collect(algorithm.collector, family, behaviour, algorithm.layout, task_keys)
        return algorithm.learn(state, lifetime, key)

    state = eqx.filter_jit(algorithm.init)(jax.random.key(0))
    program = eqx.filter_jit(update).lower(state).compile()
    size = program.compiled.memory_analysis().temp_size_in_bytes
    print(f"{size / 1e6:.0f} MB")
    assert size < 100e6


def operations(pulls: int) -> tuple[float, int]:
    """Of one step with a memory of so many rows, and theta's numbers."""
    learner = CONFIG.build(BernoulliBandit(arms=5, pulls=pulls).spec).learner
    theta = learner.init(jax.random.key(0))
    zero = jnp.zeros(())
    step = Step(jnp.zeros(1), jnp.zeros((), jnp.int32), zero, first=jnp.array(True), episode=jnp.int32(0))
    act = eqx.filter_jit(lambda memory: learner.act(theta, None, memory, step, jax.random.key(0)))
    analysis = act.lower(learner.remember(theta)).compile().compiled.cost_analysis()
    return analysis["flops"], sum(x.size for x in jax.tree.leaves(theta) if eqx.is_inexact_array(x))


def test_a_step_costs_more_with_the_lifetime_only_by_what_attention_reads():
    """900 rows more: their keys and values are read once, some operations a row go to the softmax, and log₂ 10 dense blocks more
    have weights, each used once."""
    (short, few), (long, many) = operations(100), operations(PULLS)
    read = (PULLS - 100) * (2 * (CONFIG.keys + CONFIG.values) + 12)
    print(f"{short:.0f} and {long:.0f} operations")
    assert long - short < 1.2 * (read + 2 * (many - few))
