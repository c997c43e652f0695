"""The supervised driver: a learner meets a few labelled examples of a task, and is asked about others.

fast ← begin;  fast ← adapt(fast, support), as often as asked;  memory ← unroll(support);  out ← act(query), each apart
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from adaptax import keys, trees
from adaptax.learner import QUERY_AXIS, Learner
from adaptax.networks.encoding import zero_action
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.types import Fast, FewShot, Out, Spec, Step, Task, Theta


def draw_few_shot(
    family: SupervisedFamily, tasks: Task, task_keys: Key[Array, " B"], split: Split
) -> FewShot:
    """Support and query sets of the tasks [B]."""

    def one_task(task: Task, key: Key[Array, ""]) -> FewShot:
        found = family.examples(keys.row(key, 0, keys.STEP), task, split)
        return few_shot(family.spec, found, task, key, family.features(task))

    return jax.vmap(one_task)(tasks, task_keys)


def few_shot(
    spec: Spec, examples: Examples, task: Task, key: Key[Array, ""], features: Array | None = None
) -> FewShot:
    """One task's examples as rows."""
    nothing = zero_action(spec.action)
    before = jnp.concatenate([nothing[None], examples.support_y[:-1]])
    support = _rows(examples.support_x, examples.support_y, before, examples.support_valid)
    read = support.valid.sum() - 1  # rows that only fill up come last, and memory does not read them
    last = jnp.broadcast_to(examples.support_y[read], examples.query_y.shape)
    query = _rows(examples.query_x, examples.query_y, last, examples.query_valid)
    query = Step(**(vars(query) | {"first": jnp.zeros_like(query.first)}))
    return FewShot(task, support, query, key, features)


def _rows(x: Array, y: Array, before: Array, valid: Bool[Array, " n"] | None) -> Step:
    n = x.shape[0]
    zeros = jnp.zeros(n)
    return Step(
        obs=x, prev_action=before, prev_reward=zeros, first=jnp.arange(n) == 0, episode=jnp.zeros(n, jnp.int32),
        action=y, reward=zeros, valid=jnp.ones(n, bool) if valid is None else valid,
    )  # fmt: skip


def predict(learner: Learner, theta: Theta, data: FewShot, adaptations: int) -> Out:
    """Out[Q] of ONE task after so many adaptations, differentiable in theta; after none, the support has not been read."""
    fast = learner.begin(theta, keys.begin(data.keys), data.features if learner.told else None)
    fast = adapted_to(learner, theta, data, fast, adaptations)
    return answers(learner, theta, fast, data, read=adaptations > 0)


def prediction_curve(
    learner: Learner, theta: Theta, data: FewShot, adaptations: int, fast: Fast = None
) -> tuple[Out, Fast]:
    """Out[adaptations + 1, Q] of ONE task: before any adaptation from a given fast state (None: the beginning), and after each;
    and the fast state then."""
    if fast is None:
        fast = learner.begin(theta, keys.begin(data.keys), data.features if learner.told else None)

    def once(fast: Fast, k: Array) -> tuple[Fast, Out]:
        fast = _adapt(learner, theta, fast, data, k)
        return fast, answers(learner, theta, fast, data)

    first = answers(learner, theta, fast, data, read=False)
    fast, outs = jax.lax.scan(once, fast, jnp.arange(adaptations))
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, outs), fast


def pooled(data: FewShot) -> Step:
    """Support and queries of ONE task as one set of rows."""
    return jax.tree.map(lambda s, q: jnp.concatenate([s, q]), data.support, data.query)


def adapted_to(learner: Learner, theta: Theta, data: FewShot, fast: Fast, adaptations: int) -> Fast:
    """The fast state after so many adaptations to the support of ONE task."""
    if adaptations <= 1:  # a loop of one iteration costs more than its body
        return _adapt(learner, theta, fast, data, jnp.int32(0)) if adaptations else fast
    step = lambda fast, k: (_adapt(learner, theta, fast, data, k), None)  # noqa: E731
    return jax.lax.scan(step, fast, jnp.arange(adaptations))[0]


def _adapt(learner: Learner, theta: Theta, fast: Fast, data: FewShot, k: Array) -> Fast:
    return learner.adapt(theta, fast, trees.index(data.support, jnp.newaxis), keys.adapt(data.keys, k))


def answers(learner: Learner, theta: Theta, fast: Fast, data: FewShot, read: bool = True) -> Out:
    """Out[Q]: what the learner says of each query, none of which sees another.

    `read`: its memory has been through the support; else nothing precedes a query.
    """
    stream_key, query = keys.stream(data.keys, 0, 0), data.query
    if read:
        _, memory = learner.unroll_anew(theta, fast, data.support, stream_key)
    else:
        memory = learner.remember(theta)
        nothing, start = jnp.zeros_like(query.prev_action), jnp.ones_like(query.first)
        query = dataclasses.replace(query, prev_action=nothing, first=start)

    def one(row: Step) -> Out:
        unlabelled = Step(row.obs, row.prev_action, row.prev_reward, row.first, row.episode, valid=row.valid)
        return learner.act(theta, fast, memory, unlabelled, stream_key)[0]

    return jax.vmap(one, axis_name=QUERY_AXIS)(query)
