"""Meta-experience replay in reproductions: which examples stand in a batch, what each method makes of them, and what is claimed."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.adaptation.experience_replay import Anchor
from adaptax.buffers import Reservoir, RingBuffer
from adaptax.estimators.transitions import blank
from adaptax.networks.layers import MLP
from adaptax.reports.outcome import Outcome
from adaptax.reproduction import replay_digits, replay_selection
from adaptax.reproduction.replay_digits import BATCHES, SIDE, SIZE, batches_with, sequence
from adaptax.reproduction.replay_sequence import (
    FAMILY,
    GRID,
    SEQUENCE,
    Elastic,
    ElasticTheta,
    Held,
    Online,
    Plain,
    Sequential,
)
from adaptax.training.progress import silent

ON_DIGITS = {method.name: method for method in replay_digits.METHODS}


# --- digits ------------------------------------------------------------------------------------


def of_number(x: float) -> tuple[jax.Array, jax.Array]:
    """An example that tells what it is, as its image and as its label."""
    return jnp.full(2, x), jnp.int32(x)


def check_batches() -> None:
    """In each batch the present example comes last; as long as nothing is kept there is no other."""
    now, key = of_number(7), jax.random.key(0)
    empty = Reservoir.of(now, 3)
    filled = empty.add(jax.tree.map(lambda x: x[None], of_number(4)), jnp.ones(1, bool), key)
    for reservoir, old in ((empty, 7), (filled, 4)):
        images, labels = batches_with(reservoir, now, key)
        expected = np.full((BATCHES, SIZE), old)
        expected[:, -1] = 7
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(images, np.stack([expected] * 2, -1))


def test_the_present_example_stands_in_every_batch():
    check_batches()


EXAMPLES = np.random.default_rng(0).normal(size=(BATCHES, SIZE))
START, RATE, SHARE = 2.0, 0.1, 0.3


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (replay_digits.ONLINE, EXAMPLES[0, -1]),
        (replay_digits.ELASTIC, EXAMPLES[0, -1]),
        (replay_digits.PLAIN, EXAMPLES[0].mean()),
        (replay_digits.EQUAL, EXAMPLES.mean(1).sum()),
        (replay_digits.FIRST, SHARE * EXAMPLES.sum()),
        ("MER, algorithm 6", SHARE * EXAMPLES.sum()),
        ("MER, algorithm 7", SHARE * (EXAMPLES[0].sum() + (BATCHES - 1) * EXAMPLES[0, -1])),
    ],
)
def test_a_method_learns_from_the_examples_that_are_its_own(name, way):
    """Of losses θ e, whose gradients are e wherever θ is."""
    batches = jnp.asarray(EXAMPLES, jnp.float32)
    got = ON_DIGITS[name].update(lambda θ, e: θ * e, jnp.array(START), batches, jnp.array([RATE, SHARE]))
    np.testing.assert_allclose(got, START - RATE * way, rtol=1e-5)


def test_all_methods_are_tuned_over_as_many_settings():
    assert {len(set(method.grid)) for method in replay_digits.METHODS} == {12}


def test_a_permutation_moves_every_pixel_and_what_is_asked_was_never_shown():
    tasks = sequence("permutations", 1797, 3)
    maps, seen = np.asarray(tasks.maps), np.asarray(tasks.seen)
    assert maps.shape == (replay_digits.TASKS, SIDE**2, SIDE**2)
    assert set(np.unique(maps)) == {0.0, 1.0}
    assert (maps.sum(1) == 1).all() and (maps.sum(2) == 1).all()
    assert len({m.tobytes() for m in maps}) == replay_digits.TASKS
    assert not set(seen.ravel()) & set(np.asarray(tasks.unseen))
    assert all(len(set(row)) == replay_digits.EXAMPLES for row in seen)
    assert len(set(np.asarray(tasks.unseen))) == replay_digits.TEST
    np.testing.assert_array_equal(sequence("permutations", 1797, 3).maps, maps)
    assert (np.asarray(sequence("permutations", 1797, 4).maps) != maps).any()


def test_rotations_go_from_upright_to_upside_down():
    """Each angle once: one task shows the images as they are, one has them upside down, and the others lie between."""
    maps = np.asarray(sequence("rotations", 1797, 0).maps)
    image = np.random.default_rng(0).uniform(size=SIDE**2).astype(np.float32)
    turned = image @ maps
    as_it_is = np.isclose(turned, image, atol=1e-5).all(1)
    upside_down = np.isclose(turned, image[::-1], atol=1e-5).all(1)
    assert as_it_is.sum() == upside_down.sum() == 1
    assert len({m.tobytes() for m in maps}) == replay_digits.TASKS


def test_the_loss_is_in_nats():
    network = jax.tree.map(jnp.zeros_like, MLP(3, (), 10, jax.random.key(0)))
    np.testing.assert_allclose(
        replay_digits.loss(network, (jnp.ones(3), jnp.int32(4))), np.log(10), rtol=1e-5
    )
    knows = eqx.tree_at(lambda n: n.layers[0].bias, network, jnp.zeros(10).at[4].set(np.log(9.0)))
    np.testing.assert_allclose(replay_digits.loss(knows, (jnp.ones(3), jnp.int32(4))), np.log(2), rtol=1e-5)


# --- a sequence of goals -----------------------------------------------------------------------


def test_what_there_is_to_know_is_shown_after_reset_and_after_each_step():
    key, goal = jax.random.key(0), jnp.int32(7)
    (state, bare), (_, obs) = (family.reset(key, goal) for family in (GRID, FAMILY))
    _, outcome = GRID.step(key, state, jnp.int32(1), goal)
    _, shown = FAMILY.step(key, state, jnp.int32(1), goal)
    known = np.eye(GRID.size**2)[7]
    np.testing.assert_array_equal(obs, np.concatenate([bare, known]))
    np.testing.assert_array_equal(shown.obs, np.concatenate([outcome.obs, known]))
    assert FAMILY.spec.observation == obs.shape == (2 * GRID.size**2,)
    assert FAMILY.spec.name != GRID.spec.name
    assert not eqx.tree_equal(bare, outcome.obs), "the step led nowhere"


STEP, STRENGTH = 0.3, 0.25


def learner_of(kind):
    return Sequential(kind, jnp.array([STEP, STRENGTH])).learner


def paying(reward, *shape: int):
    rows = jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *x.shape)), blank(FAMILY.spec))
    return dataclasses.replace(rows, reward=jnp.broadcast_to(reward, shape))


@eqx.filter_jit
def begun(learner):
    return learner.init(jax.random.key(0))


def check_online() -> None:
    """What is stored does not come back, and there are as many rows as others have."""
    learner = learner_of(Online)
    theta, all_of = begun(learner), jnp.ones(3, bool)
    stored = theta.store.transitions.add(paying(2.0, 3), all_of, jax.random.key(0))
    theta = eqx.tree_at(lambda t: t.store.transitions, theta, stored)
    buffer = RingBuffer.of(blank(FAMILY.spec), 5).add(paying(1.0, 3), all_of)
    reward = eqx.filter_jit(learner.drawn)(theta, buffer, jax.random.key(1)).reward
    shape = SEQUENCE.batches, SEQUENCE.minibatches, SEQUENCE.batch
    np.testing.assert_array_equal(reward, np.ones(shape))


def check_moves(kind, expected) -> None:
    """Of a loss whose gradient is the mean reward of a minibatch in every parameter: how far each of them is moved.

    Elastic weights hold them, twice as strongly as `STRENGTH`, at a place that is 1 below."""
    learner = learner_of(kind)
    theta, pays = begun(learner), np.arange(8.0).reshape(SEQUENCE.batches, SEQUENCE.minibatches)
    if isinstance(theta, ElasticTheta):
        below = jax.tree.map(lambda x: x - 1.0, theta.q)
        twice = jax.tree.map(lambda x: jnp.full_like(x, 2.0), theta.q)
        theta = dataclasses.replace(theta, held=Held(Anchor(below, twice)))
    total = lambda q: sum(x.sum() for x in jax.tree.leaves(q))  # noqa: E731
    batches = paying(jnp.asarray(pays, jnp.float32)[:, :, None], *pays.shape, SEQUENCE.batch)

    @eqx.filter_jit
    def moved(theta):
        q = learner.moved(theta, lambda q, rows: total(q) * rows.reward.mean(), theta.q, batches)
        return jax.tree.map(jnp.subtract, q, theta.q)

    for Δ in jax.tree.leaves(moved(theta)):
        np.testing.assert_allclose(Δ, np.full(Δ.shape, expected(pays.mean(1))), rtol=1e-4, atol=1e-5)


def by_plain_replay(means: np.ndarray) -> float:
    return -STEP * means.sum()


def by_elastic_weights(means: np.ndarray) -> float:
    """The force of the first step is that of a distance of 1; of the second, of what is left of it."""
    away = 1.0
    for mean in means:
        away -= STEP * (mean + STRENGTH * 2.0 * away)
    return away - 1.0


def test_online_training_meets_the_present_task_alone():
    check_online()


@pytest.mark.parametrize(
    ("kind", "expected"), [(Plain, by_plain_replay), (Elastic, by_elastic_weights)], ids=["plain", "elastic"]
)
def test_a_step_goes_down_the_mean_of_a_batch(kind, expected):
    check_moves(kind, expected)


def test_elastic_weights_hold_nothing_at_first():
    theta = begun(learner_of(Elastic))
    assert isinstance(theta, ElasticTheta)
    assert float(theta.held.anchor.penalty(jax.tree.map(lambda x: x + 3.0, theta.q))) == 0.0


# --- new tasks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [5.0, -5.0])
def test_selected_replay_must_lead_after_a_few_episodes(monkeypatch, tmp_path, gain):
    """Both earn as much but there; uniform replay is trained for as many environment steps as each run of MER."""
    trained, folders = [], [tmp_path / name / "seed-0" for name in ("mer", "multi-task", "mer")]
    earned = 10.0 + np.random.default_rng(0).normal(0.0, 0.1, (2, 30, 11))
    better = earned.copy()
    better[:, :, replay_selection.FEW] += gain

    def train(family, env_steps, seed, directory, report, config):
        trained.append((env_steps, seed, config.selection))
        return SimpleNamespace(directory=directory)

    stands_for = {
        "learning_result": lambda *_: Outcome([], [], folders),
        "load": lambda folder: SimpleNamespace(env_steps=900, seed=len(folder.parts)),
        "train_as_long": train,
        "evaluate": lambda *_, **__: SimpleNamespace(curve=lambda: earned),
        "Evaluation": SimpleNamespace(load=lambda path: SimpleNamespace(curve=lambda: better)),
    }
    for name, other in stands_for.items():
        monkeypatch.setattr(replay_selection, name, other)
    found = replay_selection.mer_learns(tmp_path, silent)
    assert trained == [(900, len(folders[0].parts), "uniform")] * 2
    (claim,), (table,) = found.claims, found.tables
    assert claim.holds == (gain > 0) and f"after {replay_selection.FEW} episodes" in claim.sentence
    selected, uniform = table.rows
    after = 1 + replay_selection.EPISODES.index(replay_selection.FEW)
    assert float(selected[after]) - float(uniform[after]) == pytest.approx(gain, abs=0.11)
    assert selected[:after] == ("selected", *uniform[1:after])
