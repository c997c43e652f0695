"""PEARL: what lands in which buffer, where gradients go, when z is drawn, and a task whose best adaptation is known."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, GatedCorridor, Push, TwoArms
from laws.learners import ALGORITHMS, TASKS

from adaptax import trees
from adaptax.adaptation.posterior import Evidence, prior
from adaptax.algorithms.pearl import PEARL, PEARLAlgorithm
from adaptax.collection.collect import collect
from adaptax.errors import AdaptaxError
from adaptax.tasks.base import TaskFamily
from adaptax.tasks.point_navigation import SparsePointNavigation
from adaptax.training.program import behaviour_and_keys, draw_training_tasks, make_program
from adaptax.types import Lifetime, MultiDiscrete, Spec, TrainState

SMALL = PEARL(
    tasks=TASKS, training_tasks=6, episodes=3, capacity=20, recent=2, gradient_steps=2, meta_batch=2, batch=4, latent=2,
    hidden=(8, 8), encoder_hidden=(8,),
)  # fmt: skip


SHAPED = SparsePointNavigation(reward="shaped", horizon=4)


@eqx.filter_jit
def begun(algorithm: PEARLAlgorithm) -> TrainState:
    return algorithm.init(jax.random.key(0))


@eqx.filter_jit
def collected(algorithm: PEARLAlgorithm, family: TaskFamily, state: TrainState) -> Lifetime:
    behaviour, task_keys, _ = behaviour_and_keys(
        algorithm, state, lambda k: draw_training_tasks(family, k, algorithm.tasks)
    )
    return collect(algorithm.learner, family, behaviour, algorithm.layout, task_keys)[0]


def check_buffers(family: TaskFamily) -> None:
    """After two updates of 4 of 6 tasks: each task's newest valid rows in its own buffer, and no others."""
    algorithm = SMALL.build(family.spec)
    state = begun(algorithm)
    expected = {i: [] for i in range(6)}
    met, life = {}, None
    for update, members in enumerate([[0, 1, 2, 3], [4, 5, 0, 1]]):
        state = eqx.tree_at(lambda s: s.updates, state, jnp.int32(update))
        life = collected(algorithm, family, state)
        for b, i in enumerate(members):
            rows = jax.tree.map(lambda x, b=b: np.asarray(x)[b, :, 0], life.rounds)
            expected[i].append(rows)
            task = np.asarray(life.task)[b]
            assert np.array_equal(met.setdefault(i, task), task), (
                "the same task is another one in a later update"
            )
        aux = eqx.filter_jit(algorithm.remembered)(state.aux, life.rounds, jnp.array(members))
        state = dataclasses.replace(state, aux=aux)
    if family.spec.name != "corridor":
        assert len({task.tobytes() for task in met.values()}) == 6

    for i, lifetimes in expected.items():
        got = jax.tree.map(lambda x, i=i: np.asarray(x[i]), state.aux.transitions)
        flat = lambda name, ls=lifetimes: np.concatenate([getattr(r, name)[r.valid] for r in ls])[-20:]  # noqa: E731
        paid = "reward" if lifetimes[0].shaped_reward is None else "shaped_reward"
        names = {
            "obs": "obs",
            "action": "action",
            "reward": paid,
            "next_obs": "next_obs",
            "terminated": "terminated",
        }
        size, start = int(got.size), int(got.next) - int(got.size)
        assert size == len(flat("reward"))
        for ours, theirs in names.items():
            stored = getattr(got.rows, ours)[(start + np.arange(size)) % 20]
            np.testing.assert_allclose(stored, flat(theirs), rtol=1e-5, err_msg=f"{ours} of task {i}")
        evidence, valid = jax.tree.map(lambda x, i=i: np.asarray(x[i]), state.aux.lifetimes.rows)
        assert int(state.aux.lifetimes.size[i]) == len(lifetimes)
        for n, rows in enumerate(lifetimes):
            np.testing.assert_array_equal(valid[n], rows.valid)
            for name in ("obs", "action", "reward"):
                np.testing.assert_array_equal(getattr(evidence, name)[n], getattr(rows, name))


@pytest.mark.parametrize("family", [Corridor(), SHAPED], ids=["ends", "shaped"])
def test_rows_land_in_their_tasks_buffers(family):
    check_buffers(family)


def check_gradients(name: str) -> None:
    """Finite differences, at γ = 0, where the target does not depend on what is trained: the encoder and the critics descend the
    critics' error and the divergence; the policy ascends its soft value, and pulls at nothing else."""
    case = ALGORITHMS[name]
    algorithm = case.algorithm
    assert isinstance(algorithm, PEARLAlgorithm)
    algorithm = eqx.tree_at(lambda a: (a.γ, a.β), algorithm, (jnp.array(0.0), jnp.array(0.3)))
    state = begun(algorithm)
    life = collected(algorithm, case.family, dataclasses.replace(state, theta=case.theta))
    aux = algorithm.remembered(state.aux, life.rounds, jnp.arange(TASKS))
    evidence, _, rows = trees.index(
        algorithm.drawn(aux, jnp.arange(2), jax.random.split(jax.random.key(1), 2)), 0
    )
    counts = jnp.arange(evidence.reward.shape[0]) < 6
    critic = jax.tree.map(
        lambda x: x + 0.2 * jax.random.normal(jax.random.key(x.size), x.shape), state.aux.critic
    )
    trained, frozen = eqx.partition(case.theta, algorithm.learner.trainable(case.theta))
    params = (trained, critic)

    @jax.jit
    def loss(params):
        return algorithm.loss(params, frozen, critic, evidence, counts, rows, jax.random.key(2))

    gradient = jax.jit(jax.grad(loss, has_aux=True))(params)[0]
    parts = {
        "encoder": (lambda p: p[0].encoder, lambda m: m["critic_loss"] + 0.3 * m["belief_kl_nats"]),
        "critic": (lambda p: p[1], lambda m: m["critic_loss"]),
        "policy": (lambda p: p[0].policy, lambda m: m["actor_loss"]),
    }
    for part, (where, objective) in parts.items():
        along = where(gradient)
        length = float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(along))))
        assert length > 1e-2, part
        h = 2e-3 / length
        moved = lambda s, where=where, along=along: eqx.tree_at(  # noqa: E731
            where, params, trees.add(where(params), trees.scale(s, along))
        )
        up, down = (float(objective(loss(moved(s))[1])) for s in (h, -h))
        np.testing.assert_allclose((up - down) / (2 * h), length**2, rtol=0.03, err_msg=part)


@pytest.mark.parametrize("name", ["pearl", "pearl, continuous"])
def test_each_network_descends_its_own_loss(name):
    check_gradients(name)


def check_sample() -> None:
    """z is drawn in an episode's first row and held; the next episode draws another. Another key is another z."""
    case = ALGORITHMS["pearl, continuous"]
    belief = prior(2)
    row = trees.index(collected(case.algorithm, case.family, begun(case.algorithm)).rounds, (0, 0, 0, 0))
    begins, goes_on = (dataclasses.replace(row, first=jnp.array(x)) for x in (True, False))
    act = lambda z, step, key: case.learner.act(case.theta, belief, z, step, jax.random.key(key))[1]  # noqa: E731
    first = act(jnp.zeros(2), begins, 1)
    np.testing.assert_array_equal(act(first, goes_on, 2), first)
    assert np.all(act(first, begins, 3) != first) and np.any(first != 0.0)


def test_z_is_held_through_an_episode():
    check_sample()


def test_contexts_are_what_had_been_seen_when_an_episode_began():
    """Whole episodes from the first on, none of them up to all but the last, each number of them as often."""
    algorithm = SMALL.build(Push().spec)
    state = begun(algorithm)
    life = collected(algorithm, Push(), state)
    aux = algorithm.remembered(state.aux, life.rounds, jnp.arange(TASKS))
    drawn = eqx.filter_jit(algorithm.drawn)
    _, counts, _ = drawn(aux, jnp.full(300, 2), jax.random.split(jax.random.key(0), 300))
    valid = np.asarray(life.rounds.valid)[2, :, 0]
    numbers = [0, 0, 0]
    for row in np.asarray(counts).reshape(300, *valid.shape):
        rounds = int(row.any(-1).sum())
        numbers[rounds] += 1
        np.testing.assert_array_equal(row, valid & (np.arange(3) < rounds)[:, None])
    assert min(numbers) > 70


def test_beliefs_are_told_in_numbers():
    case = ALGORITHMS["pearl"]
    fast = case.learner.begin(case.theta, jax.random.key(0), None)
    np.testing.assert_array_equal(case.learner.belief(case.theta, fast, jnp.zeros(2)), [0.0, 0.0, 1.0, 1.0])
    n = 5
    evidence = Evidence(jnp.ones((n, 3)), jnp.zeros(n, jnp.int32), jnp.ones(n), None)
    fast = case.learner.weighed(case.theta, fast, evidence, jnp.ones(n, bool))
    said = case.learner.belief(case.theta, fast, jnp.zeros(2))
    np.testing.assert_allclose(said, jnp.concatenate([fast.mean, fast.std]))
    assert np.all(said[2:] < 1.0)


def check_first_visits() -> None:
    """4 of 6 tasks in a meta-update: nothing is learned in the first, all gradient steps are taken in the second."""
    family = Corridor()
    algorithm = SMALL.build(family.spec)
    start = begun(algorithm)
    program = make_program(family)
    first, second = (program(algorithm, start, jnp.array(n, jnp.int32)) for n in (1, 2))
    np.testing.assert_array_equal(np.asarray(second.metrics["gradient_steps"])[:2], [0, SMALL.gradient_steps])
    weights = [jax.tree.leaves((d.state.theta.policy, d.state.aux.critic)) for d in (first, second)]
    before = jax.tree.leaves((start.theta.policy, start.aux.critic))
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], before, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(weights[1], before, strict=True))


def test_nothing_is_learned_before_all_training_tasks_were_visited():
    check_first_visits()


def test_it_finds_the_arm_in_one_pull():
    """The first pull is a guess, and tells all; a nat of entropy costs 1 of 10 that an arm pays."""
    config = PEARL(
        tasks=8, training_tasks=16, gradient_steps=60, meta_batch=8, batch=16, hidden=(16,), encoder_hidden=(16,), latent=2,
        lr=1e-2, reward_scale=10.0, tau=0.05, capacity=200,
    )  # fmt: skip
    family = TwoArms()
    algorithm = config.build(family.spec)
    dispatch = make_program(family)(algorithm, begun(algorithm), jnp.array(20, jnp.int32))
    metrics = jax.tree.map(lambda m: np.asarray(m)[:20], dispatch.metrics)
    assert bool(dispatch.finite)
    assert abs(metrics["return_before_adaptation"][-8:].mean() - 0.5) < 0.2
    assert metrics["return"][-8:].mean() > 0.9


@pytest.mark.parametrize(
    "config, spec, told",
    [
        (PEARL(), Spec("two", (1,), MultiDiscrete((2, 3)), 5), "several choices"),
        (PEARL(), GatedCorridor().spec, "forbidden"),
        (PEARL(tasks=7, training_tasks=6), Corridor().spec, "training_tasks"),
        (PEARL(episodes=1), Corridor().spec, "between episodes"),
    ],
)
def test_what_it_cannot_do_is_told(config, spec, told):
    with pytest.raises(AdaptaxError, match=told):
        config.build(spec)
