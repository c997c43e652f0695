"""MetaNet: what is generated of which gradients, and what the answers depend on."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import TwoArms
from laws.experience import collected
from laws.learners import ALGORITHMS, SUPERVISED, Case, scrambled
from laws.test_known_answers import trained

import adaptax as ax
from adaptax import trees
from adaptax.algorithms.few_shot import query_error
from adaptax.algorithms.metanet import MetaNet
from adaptax.collection.few_shot import draw_few_shot, predict
from adaptax.tasks.functions import Sinusoid
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.types import FewShot

FAMILY = Sinusoid(shots=5, queries=4)
SMALL = MetaNet(tasks=3, hidden=(4,), embedding_hidden=(3,), representation=2, generator_hidden=3)


def data(family=FAMILY, split="train") -> FewShot:
    drawn = draw_tasks(family, jax.random.key(0), split, 1)
    return trees.index(draw_few_shot(family, drawn, lifetime_keys(jax.random.key(1), 1), split), 0)


def asked(case: Case, one: FewShot, adaptations: int = 1) -> jax.Array:
    theta = case.theta
    return eqx.filter_jit(lambda d: predict(case.learner, theta, d, adaptations).dist.mean)(one)


def with_support(one: FewShot, change) -> FewShot:
    return dataclasses.replace(one, support=jax.tree.map(change, one.support))


def check_generation() -> None:
    """A line y = wx + b: of each example the gradient is 2(ŷ − y)(x, 1), and the fast weights are m of it."""
    learner = dataclasses.replace(SMALL, hidden=()).build(FAMILY.spec).learner
    one = data()
    y = one.support.action

    @eqx.filter_jit
    def both(learner, one):
        theta = scrambled(learner, learner.init(jax.random.key(0)))
        begin = learner.begin(theta, one.keys, None)
        fast = learner.adapt(theta, begin, trees.index(one.support, jnp.newaxis), one.keys)
        x = jax.vmap(theta.normaliser.observation)(one.support.obs)
        q = theta.normaliser.observation(one.query.obs[0])
        [line] = theta.base.mlp.layers
        slope = 2.0 * (jax.vmap(line)(x) - y)

        def of_example(x, slope):
            gradient = eqx.tree_at(lambda d: (d.weight, d.bias), line, (slope[:, None] * x, slope))
            # Keys are seen with the task's fast weights, as queries are.
            return theta.example_generator((gradient,)), learner.represent(theta.embedding, fast.task, x)

        values, keys = jax.vmap(of_example)(x, slope)
        query = learner.represent(theta.embedding, fast.task, q)
        [read] = fast.memory.values
        a = fast.memory.attention(query, jnp.exp(theta.log_sharpness))
        answer = (line.weight + jnp.tensordot(a, read.weight, 1)) @ q + line.bias + a @ read.bias
        ours = (fast.memory.values, fast.memory.keys, predict(learner, theta, one, 1).dist.mean[0])
        return ours, (values, keys, answer), jax.vmap(theta.embedding)(x)

    ours, expected, plain_keys = both(learner, one)
    for a, b in zip(*map(jax.tree.leaves, (ours, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert not np.allclose(ours[1], plain_keys, atol=1e-3)


def test_fast_weights_are_generated_of_each_examples_gradient():
    check_generation()


@pytest.mark.parametrize("name", ["metanet", "metanet, continuous"])
def test_before_any_example_it_is_the_slow_policy(name):
    case = ALGORITHMS[name]
    lifetime = collected(case, case.algorithm.layout)
    row = trees.index(lifetime.rounds, (0, 0, 0, 0))

    @eqx.filter_jit
    def both(learner, theta, row):
        fast = learner.begin(theta, jax.random.key(0), None)
        out, _ = learner.act(theta, fast, None, row, jax.random.key(0))
        return out.dist, theta.base(theta.normaliser.observation(row.obs), row.action_mask)

    for ours, theirs in zip(*map(jax.tree.leaves, both(case.learner, case.theta, row)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def check_order() -> None:
    case, one = SUPERVISED["metanet"], data()
    order = jnp.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(
        asked(case, with_support(one, lambda x: x[order])), asked(case, one), rtol=1e-4, atol=1e-4
    )
    relabelled = dataclasses.replace(
        one, support=dataclasses.replace(one.support, action=one.support.action[order])
    )
    assert not np.allclose(asked(case, relabelled), asked(case, one), atol=1e-2)


def test_the_order_of_the_support_does_not_matter():
    """But which label belongs to which input does."""
    check_order()


def test_the_order_of_episodes_does_not_matter():
    case = ALGORITHMS["metanet"]
    lifetime = collected(case, case.algorithm.layout)
    batch = trees.index(lifetime.rounds, (0, 0))
    learner, theta = case.learner, case.theta

    @eqx.filter_jit
    def adapted(theta, batch):
        begin = learner.begin(theta, jax.random.key(0), None)
        return learner.adapt(theta, begin, batch, jax.random.key(0))

    a, b = (adapted(theta, trees.index(batch, order)) for order in (jnp.array([0, 1]), jnp.array([1, 0])))
    np.testing.assert_allclose(a.memory.keys, b.memory.keys[::-1], rtol=1e-4, atol=1e-5)
    for x, y in zip(jax.tree.leaves(a.memory.values), jax.tree.leaves(b.memory.values), strict=True):
        np.testing.assert_allclose(x, y[::-1], rtol=1e-3, atol=1e-4)


def check_filling() -> None:
    """Rows that only fill up weigh nothing, whatever stands in them; and there may be fewer rows than slots."""
    case, one = SUPERVISED["metanet"], data()
    valid = jnp.array([True, True, True, False, False])
    rows = dataclasses.replace(one.support, valid=valid)
    spoiled = dataclasses.replace(
        rows, obs=jnp.where(valid[:, None], rows.obs, 99.0), action=rows.action * valid[:, None]
    )
    some, other = (dataclasses.replace(one, support=s) for s in (rows, spoiled))
    np.testing.assert_array_equal(asked(case, some), asked(case, other))
    few = dataclasses.replace(one, support=trees.index(one.support, slice(3)))
    np.testing.assert_allclose(asked(case, some), asked(case, few), rtol=1e-4, atol=1e-5)
    assert not np.allclose(asked(case, some), asked(case, one), atol=1e-3)


def test_rows_that_fill_up_are_no_examples():
    check_filling()


def test_later_adaptations_add_their_share():
    case, one = SUPERVISED["metanet"], data()
    still = dataclasses.replace(
        case, learner=eqx.tree_at(lambda u: u.later_lr_factor, case.learner, jnp.array(0.0))
    )
    np.testing.assert_allclose(asked(still, one, 3), asked(still, one, 1), rtol=1e-5)
    np.testing.assert_allclose(asked(still, one, 1), asked(case, one, 1), rtol=1e-5)
    assert not np.allclose(asked(case, one, 2), asked(case, one, 1), atol=1e-3)


def check_derivatives() -> None:
    """Float64: of what generates and of what is attended to, the meta-gradient is the query error's derivative."""
    with jax.enable_x64(True):
        learner = SMALL.build(FAMILY.spec).learner
        theta = scrambled(learner, learner.init(jax.random.key(0)))
        theta, one = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, (theta, data()))
        generating = lambda t: (t.task_generator, t.example_generator, t.log_sharpness)  # noqa: E731

        @jax.jit
        def error(parts):
            out = predict(learner, eqx.tree_at(generating, theta, parts), one, 1)
            return query_error(out, one.query)

        parts = generating(theta)
        slope = jax.jit(jax.grad(error))(parts)
        for i in range(3):  # along a random direction in each of the three parts
            zero = jax.tree.map(jnp.zeros_like, parts)
            leaves, treedef = jax.tree.flatten(parts[i])
            draws = [jax.random.normal(jax.random.key(7 * i + j), x.shape) for j, x in enumerate(leaves)]
            direction = (*zero[:i], jax.tree.unflatten(treedef, draws), *zero[i + 1 :])
            step = lambda ε, direction=direction: error(trees.add(parts, trees.scale(ε, direction)))  # noqa: E731
            difference = (step(1e-6) - step(-1e-6)) / 2e-6
            analytic = sum(
                jnp.vdot(s, d) for s, d in zip(*map(jax.tree.leaves, (slope, direction)), strict=True)
            )
            assert abs(float(analytic)) > 1e-4, i
            np.testing.assert_allclose(analytic, difference, rtol=1e-4)


def test_meta_gradients_of_what_generates_are_exact():
    check_derivatives()


def check_constant() -> None:
    """No gradient flows through the gradients that are read: nothing would train the head, and it is frozen."""
    case, one = SUPERVISED["metanet"], data()
    error = lambda theta: query_error(predict(case.learner, theta, one, 1), one.query)  # noqa: E731
    theta = case.theta
    slope = eqx.filter_jit(eqx.filter_grad(error))(theta)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slope.head))
    assert all(np.any(leaf) for leaf in jax.tree.leaves((slope.base.mlp, slope.embedding.layers)))
    assert not any(jax.tree.leaves(case.learner.trainable(case.theta).head))


def test_what_is_read_of_gradients_is_constant():
    check_constant()


def test_it_learns_which_arm_pays():
    """Before adaptation nothing is known, and half the pulls pay; ten pulls tell the arm."""
    config = dataclasses.replace(
        SMALL, tasks=16, streams=10, hidden=(8,), generator_hidden=8, lr=5e-3, epochs=4, max_kl_nats=0.1
    )
    metrics = trained(config, TwoArms(), 32)
    before, after = metrics["return_before_adaptation"], metrics["return"]
    assert abs(before[-10:].mean() - 0.5) < 0.1
    assert after[-10:].mean() > 0.95


def blobs(rng: np.random.Generator, tasks: int) -> list[tuple[np.ndarray, ...]]:
    """Three clouds of points, the same in every task; which label each has is drawn anew."""
    centres = np.array([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    found = []
    for _ in range(tasks):
        of, label = np.tile(np.arange(3), 5), rng.permutation(3)
        x = (centres[of] + 0.3 * rng.normal(size=(15, 2))).astype(np.float32)
        found.append((x[:6], label[of[:6]], x[6:], label[of[6:]]))
    return found


def test_it_learns_labels_that_only_the_support_tells():
    rng = np.random.default_rng(0)
    family = ax.tasks.from_arrays(blobs(rng, 200), blobs(rng, 20), kind="classification")
    config = dataclasses.replace(
        SMALL, tasks=10, hidden=(16,), activation="relu", generator_hidden=8, lr=1e-2
    )
    metrics = trained(config, family, 192)
    assert metrics["return_before_adaptation"][-20:].mean() < 0.5
    assert metrics["return"][-20:].mean() > 0.9
