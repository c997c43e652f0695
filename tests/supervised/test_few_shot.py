"""The supervised driver, and the learners on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.learners import SUPERVISED

from adaptax import trees
from adaptax.algorithms.few_shot import FewShotAlgorithm, query_error, query_score
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.registry import defaults, entry
from adaptax.algorithms.reptile import Reptile
from adaptax.cli import main
from adaptax.collection.few_shot import draw_few_shot, few_shot, pooled, predict, prediction_curve
from adaptax.errors import AdaptaxError
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical, Gaussian
from adaptax.tasks.base import Examples
from adaptax.tasks.functions import Sinusoid
from adaptax.training.program import draw_tasks, lifetime_keys, make_program
from adaptax.types import Out, Step

FAMILY = Sinusoid(shots=5, queries=4)


def data(family=FAMILY, tasks=3, split="train"):
    drawn = draw_tasks(family, jax.random.key(0), split, tasks)
    return draw_few_shot(family, drawn, lifetime_keys(jax.random.key(1), tasks), split)


class Reader(Learner):
    """Remembers the sum of the labels that it read; says the mean over the queries, were they all its own."""

    def remember(self, theta):
        return jnp.zeros(1)

    def init(self, key):
        return jnp.zeros(())

    def act(self, theta, fast, memory, step, key):
        memory = memory + step.prev_action
        return Out(Gaussian(memory + 0.0 * step.obs, jnp.zeros(1)), jnp.zeros(())), memory


def check_labels() -> None:
    one = trees.index(data(), 0)
    out = predict(Reader(), jnp.zeros(()), one, 1)
    np.testing.assert_allclose(out.dist.mean[:, 0], np.full(4, one.support.action.sum()), rtol=1e-5)


def test_a_query_knows_the_supports_labels_and_no_other():
    """Memory has read all labels of the support but the last, which is the query's `prev_action`."""
    check_labels()


def check_labels_of_a_filled_support() -> None:
    x, y = jnp.zeros((3, 1)), jnp.array([[1.0], [2.0], [99.0]])
    examples = Examples(x, y, x, jnp.zeros((3, 1)), jnp.array([True, True, False]))
    one = few_shot(FAMILY.spec, examples, None, jax.random.key(0))
    np.testing.assert_array_equal(predict(Reader(), jnp.zeros(()), one, 1).dist.mean[:, 0], [3.0, 3.0, 3.0])


def test_memory_reads_no_row_that_only_fills_up():
    check_labels_of_a_filled_support()


def check_unread() -> None:
    """Before adaptation nothing precedes a query: no support, no label of one."""
    one, learner = trees.index(data(), 0), Reader()
    for out in (
        predict(learner, jnp.zeros(()), one, 0),
        trees.index(prediction_curve(learner, jnp.zeros(()), one, 2)[0], 0),
    ):
        np.testing.assert_array_equal(out.dist.mean, jnp.zeros((4, 1)))
    case = SUPERVISED["snail"]
    other = dataclasses.replace(one, support=trees.index(data(), 1).support)
    other = dataclasses.replace(
        other, query=dataclasses.replace(one.query, prev_action=one.query.prev_action + 1)
    )
    theta = case.theta
    ask = eqx.filter_jit(lambda few, k: predict(case.learner, theta, few, k).dist.mean)
    np.testing.assert_array_equal(ask(one, 0), ask(other, 0))
    assert not np.allclose(ask(one, 1), ask(other, 1), atol=1e-2)


def test_before_adaptation_the_support_is_unread():
    check_unread()


def test_to_adapt_again_is_nothing_to_a_learner_that_remembers():
    algorithm = SUPERVISED["snail"].algorithm
    assert algorithm is not None
    assert [algorithm.test_layout(n).rounds for n in (None, 0, 1, 5)] == [2, 1, 2, 2]


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_query_changes_with_its_own_input_alone(name):
    case = SUPERVISED[name]
    one = trees.index(data(), 0)
    moved = dataclasses.replace(
        one.query, obs=one.query.obs.at[1].add(1.0), action=one.query.action.at[1:].add(7.0)
    )
    theta = case.theta
    ask = eqx.filter_jit(lambda d: predict(case.learner, theta, d, 2).dist.mean)
    a, b = ask(one), ask(dataclasses.replace(one, query=moved))
    np.testing.assert_array_equal(np.delete(a, 1, 0), np.delete(b, 1, 0))
    assert abs(float(a[1, 0] - b[1, 0])) > 1e-6


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_curve_is_that_of_so_many_adaptations(name):
    case = SUPERVISED[name]
    one = trees.index(data(), 1)
    curve = prediction_curve(case.learner, case.theta, one, 3)[0].dist.mean
    for k in range(4):
        np.testing.assert_allclose(
            curve[k], predict(case.learner, case.theta, one, k).dist.mean, rtol=1e-4, atol=1e-5
        )


def test_one_step_by_hand():
    """A line w x + b from w = b = 0: the squared error's gradient is −2 mean(x y), −2 mean(y)."""
    family = Sinusoid(shots=3, queries=2)
    learner = MAML(hidden=(), inner_lr=0.1).build(family.spec).learner
    theta = learner.init(jax.random.key(0))
    theta = eqx.tree_at(lambda t: t.policy.mlp, theta, jax.tree.map(jnp.zeros_like, theta.policy.mlp))
    one = trees.index(data(family), 0)
    x, y, q = (np.asarray(a)[:, 0] for a in (one.support.obs, one.support.action, one.query.obs))
    expected = 0.2 * (x * y).mean() * q + 0.2 * y.mean()
    np.testing.assert_allclose(predict(learner, theta, one, 1).dist.mean[:, 0], expected, rtol=1e-4)


def test_rows_that_fill_up_weigh_nothing():
    case = SUPERVISED["maml"]
    one = trees.index(data(), 0)
    valid = jnp.array([True, True, True, False, False])
    rows = dataclasses.replace(one.support, valid=valid)
    spoiled = dataclasses.replace(
        rows, obs=jnp.where(valid[:, None], rows.obs, 99.0), action=rows.action * valid[:, None]
    )
    ask = lambda s: predict(case.learner, case.theta, dataclasses.replace(one, support=s), 2).dist.mean  # noqa: E731
    np.testing.assert_array_equal(ask(rows), ask(spoiled))
    assert not np.allclose(ask(rows), ask(one.support))


def test_errors_and_scores_by_hand():
    z, valid = jnp.zeros(3), jnp.array([True, True, False])
    rows = lambda y: Step(z, z, z, z, z, action=y, valid=valid)  # noqa: E731
    values = Out(jax.vmap(Gaussian)(jnp.array([[1.0], [2.0], [9.0]]), jnp.zeros((3, 1))), jnp.zeros(3))
    labels = rows(jnp.array([[0.0], [5.0], [0.0]]))
    assert float(query_error(values, labels)) == 5.0 and float(query_score(values, labels)) == -5.0
    chances = jnp.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])
    classes = Out(jax.vmap(Categorical)(jnp.log(chances)), jnp.zeros(3))
    labels = rows(jnp.array([0, 0, 1]))
    np.testing.assert_allclose(query_error(classes, labels), -(np.log(0.75) + np.log(0.25)) / 2, rtol=1e-5)
    assert float(query_score(classes, labels)) == 0.5


def check_reptile() -> None:
    """One task, one step, all examples: θ' = θ − ε α ∇L(θ; support ∪ query)."""
    config = Reptile(tasks=1, hidden=(3,), inner_steps=1, inner_lr=0.1, outer_step=0.25)
    algorithm = config.build(FAMILY.spec)
    state = algorithm.init(jax.random.key(0))
    few = data(tasks=1)
    after, _ = algorithm.learn(state, few, jax.random.key(0))
    one = trees.index(few, 0)
    rows = jax.tree.map(lambda s, q: jnp.concatenate([s, q])[None], one.support, one.query)
    gradient = jax.grad(lambda p: algorithm.learner.error(state.theta, p, rows))(state.theta.policy)
    for new, old, g in zip(
        *map(jax.tree.leaves, (after.theta.policy, state.theta.policy, gradient)), strict=True
    ):
        np.testing.assert_allclose(new, old - 0.025 * g, rtol=1e-4, atol=1e-6)


def test_reptile_moves_a_share_of_the_way_to_the_adapted_parameters():
    check_reptile()


def check_annealing() -> None:
    algorithm = Reptile(outer_step=0.5, anneal_updates=10).build(FAMILY.spec)
    steps = [float(algorithm.step_size(jnp.array(t))) for t in (0, 5, 10, 20)]
    np.testing.assert_allclose(steps, [0.5, 0.25, 0.0, 0.0])


def test_reptiles_outer_step_falls_to_zero():
    check_annealing()


def check_reptile_of_two() -> None:
    """The mean of two moves; under "worst" that of the task with the lower score after its steps, alone."""
    pair = data(tasks=2)
    config = Reptile(tasks=2, hidden=(3,), inner_steps=1, inner_lr=0.1, outer_step=0.5)
    found = {}
    for objective in ("mean", "worst"):
        algorithm = dataclasses.replace(config, objective=objective).build(FAMILY.spec)
        state = algorithm.init(jax.random.key(0))
        moves = [
            jax.tree.map(
                jnp.subtract, algorithm.adapted_to_all(state.theta, trees.index(pair, i)), state.theta.policy
            )
            for i in range(2)
        ]
        scores = [float(algorithm.score(state.theta, trees.index(pair, i), 1)) for i in range(2)]
        after, _ = algorithm.learn(state, pair, jax.random.key(1))
        found[objective] = jax.tree.map(jnp.subtract, after.theta.policy, state.theta.policy)
    expected = {
        "mean": jax.tree.map(lambda a, b: 0.5 * (a + b) / 2, *moves),
        "worst": jax.tree.map(lambda a: 0.5 * a, moves[int(np.argmin(scores))]),
    }
    for objective, move in expected.items():
        for ours, theirs in zip(jax.tree.leaves(found[objective]), jax.tree.leaves(move), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_reptile_moves_by_the_weighted_mean_of_its_tasks():
    check_reptile_of_two()


def check_joint() -> None:
    """The joint network is trained on all examples of a task: its loss is the error of support and queries together."""
    algorithm = MultiTask(tasks=1, hidden=(3,)).build(FAMILY.spec)
    assert isinstance(algorithm, FewShotAlgorithm)
    one = data(tasks=1)
    state = algorithm.init(jax.random.key(0))
    rows = pooled(trees.index(one, 0))
    out = jax.vmap(lambda x: state.theta.policy(x, None).mean)(rows.obs)
    _, metrics = algorithm.learn(state, one, jax.random.key(1))
    np.testing.assert_allclose(metrics["loss"], ((out - rows.action) ** 2).mean(), rtol=1e-4)


def test_the_joint_network_is_trained_on_all_examples():
    check_joint()


def test_what_labelled_examples_cannot_have_is_told():
    for config in (
        MAML(outer="trpo"),
        MultiTask(told=True),
        MAML(learned_inner_lr=True, inner_optimizer="adam"),
    ):
        with pytest.raises(AdaptaxError, match="leave"):
            config.build(FAMILY.spec)
    for name in ("oracle", "maml-trpo", "emaml"):
        with pytest.raises(AdaptaxError, match=f"'{name}' learns from rewards"):
            defaults(name, FAMILY)


@pytest.mark.parametrize("name", ["maml", "anil", "meta-sgd", "fomaml", "reptile", "gbml"])
def test_every_learner_of_waves_learns(name):
    """A few hundred updates: after adapting, the error is well below that before, which is the waves' own variance."""
    config = dataclasses.replace(entry(name).supervised, inner_steps=5)
    family = Sinusoid()
    algorithm = config.build(family.spec)
    program, state = make_program(family), eqx.filter_jit(algorithm.init)(jax.random.key(0))
    for _ in range(8):
        dispatch = program(algorithm, state, jnp.array(64, jnp.int32))
        state = dispatch.state
    after, before = (
        np.asarray(dispatch.metrics[k])[-32:].mean() for k in ("return", "return_before_adaptation")
    )
    assert after > before + 0.5, (before, after)


def test_methods_that_need_rewards_say_so():
    for name in ("rl2", "random"):
        with pytest.raises(
            AdaptaxError, match="learns from rewards, and the tasks of 'sinusoid' are labelled examples"
        ):
            entry(name).default.build(FAMILY.spec)


def test_check_family_reads_supervised_families(capsys):
    assert main(["check-family", "adaptax.tasks.functions:Sinusoid"]) == 0
    assert "train 10 + 10, test 10 + 100, ood 10 + 100" in capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class Wrong(Sinusoid):
    def examples(self, key, task, split):
        found = super().examples(key, task, split)
        return dataclasses.replace(found, query_y=found.query_y[:, 0])


def test_check_family_names_what_does_not_fit(capsys):
    assert main(["check-family", f"{Path(__file__)}:Wrong"]) == 1
    assert "query_y of 'train' must be float32[n, 1], not (10,)" in capsys.readouterr().out
