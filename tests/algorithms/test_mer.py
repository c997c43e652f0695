"""MER by hand: what is drawn from where, what a meta-update changes, and which stored transitions help."""

from __future__ import annotations

import dataclasses
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, Push
from laws.learners import MER_, STORED, TASKS

from adaptax.adaptation.experience_replay import towards
from adaptax.adaptation.relevance import Selector, SelectorSteps, selected, selector_loss
from adaptax.algorithms.mer import MER
from adaptax.buffers import Reservoir, RingBuffer
from adaptax.collection.collect import collect
from adaptax.collection.replay import readapt
from adaptax.disk_reservoir import DiskReservoir
from adaptax.errors import AdaptaxError
from adaptax.estimators.transitions import Transition, blank
from adaptax.networks.normaliser import Normaliser
from adaptax.tasks.functions import Sinusoid
from adaptax.training.load import load
from adaptax.training.program import behaviour_and_keys, draw_training_tasks
from adaptax.training.progress import silent
from adaptax.training.train import resume, train
from adaptax.types import TrainState

ALGORITHM = dataclasses.replace(MER_, selection="uniform").build(Corridor().spec)


@eqx.filter_jit
def begun(algorithm) -> TrainState:
    return algorithm.init(jax.random.key(0))


def rows_paying(reward: float, n: int) -> Transition:
    return dataclasses.replace(
        jax.tree.map(lambda x: jnp.stack([x] * n), blank(Corridor().spec)), reward=jnp.full(n, reward)
    )


def check_drawn() -> None:
    """The last minibatch of a batch is of the task, the others of the store; of the task too as long as nothing is stored."""
    learner, empty, all_of = ALGORITHM.learner, begun(ALGORITHM).theta, jnp.ones(3, bool)
    buffer = RingBuffer.of(blank(Corridor().spec), 5).add(rows_paying(1.0, 3), all_of)
    stored = empty.store.transitions.add(rows_paying(2.0, 3), all_of, jax.random.key(0))
    filled = eqx.tree_at(lambda t: t.store.transitions, empty, stored)
    for theta, old in ((empty, 1.0), (filled, 2.0)):
        reward = eqx.filter_jit(learner.drawn)(theta, buffer, jax.random.key(1)).reward
        assert reward.shape == (MER_.batches, MER_.minibatches, MER_.batch)
        np.testing.assert_array_equal(reward[:, :-1], np.full_like(reward[:, :-1], old))
        np.testing.assert_array_equal(reward[:, -1], np.ones_like(reward[:, -1]))


def check_update() -> None:
    """θ goes a part of the way to the mean of what the tasks adapted it to, all rounds counted; the store is offered all rows."""
    state, layout = begun(ALGORITHM), dataclasses.replace(ALGORITHM.layout, adapt_last=True)

    @eqx.filter_jit
    def update(state):
        draw = lambda key: draw_training_tasks(Corridor(), key, TASKS)  # noqa: E731
        behaviour, task_keys, key = behaviour_and_keys(ALGORITHM, state, draw)
        lifetime, _, _ = collect(ALGORITHM.collector, Corridor(), behaviour, ALGORITHM.layout, task_keys)
        again = jax.vmap(lambda one: readapt(ALGORITHM.learner, state.theta, one, layout))(lifetime)
        return lifetime, again.training.q, *ALGORITHM.learn(state, lifetime, key)

    lifetime, adapted, after, _ = update(state)
    expected = towards(state.theta.q, jax.tree.map(lambda x: x.mean(0), adapted), ALGORITHM.outer_step)
    for a, b in zip(jax.tree.leaves(after.theta.q), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    number = int(lifetime.rounds.valid.sum())
    store = after.theta.store.transitions
    assert int(store.seen) == int(after.aux.env_steps) == number and int(store.size) == min(number, STORED)


def check_odds() -> None:
    """A store of which one row in four pays 1, and tasks whose rows pay 1 or pay −1: scores are the ratios' logarithms."""
    store = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rows_paying(1.0, 16), rows_paying(-1.0, 48))
    normaliser = Normaliser.of(3)
    tasks = {1.0: np.log(4.0), -1.0: np.log(4.0 / 3.0)}

    def loss(selector):
        return sum(
            selector_loss(selector, rows_paying(paid, 4), rows_paying(paid, 4), store, normaliser)
            for paid in tasks
        )

    @jax.jit
    def trained(selector):
        step = lambda s, _: (jax.tree.map(lambda x, g: x - 0.03 * g, s, jax.grad(loss)(s)), None)  # noqa: E731
        return jax.lax.scan(step, selector, None, length=3000)[0]

    selector = trained(Selector(Corridor().spec, 16, 8, jax.random.key(0)))
    for paid, ratio in tasks.items():
        score = selector(rows_paying(paid, 1), rows_paying(paid, 4), normaliser)
        np.testing.assert_allclose(score, [ratio], atol=0.05)


def test_old_and_new_experience_are_drawn_together():
    check_drawn()


def test_an_update_goes_a_part_of_the_way_and_fills_the_store():
    check_update()


def test_scores_are_how_much_more_probable_rows_are_in_the_task():
    check_odds()


def check_selected() -> None:
    """Rows that pay 1 have a score, and those that pay −1 its negative: drawn they stand as e^(score/τ) : e^(−score/τ)."""
    normaliser = Normaliser.of(3)
    stored = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rows_paying(1.0, 32), rows_paying(-1.0, 32))
    store = Reservoir.of(blank(Corridor().spec), 64).add(stored, jnp.ones(64, bool), jax.random.key(1))

    class Paid(Selector):
        def __call__(self, stored, seen, normaliser):
            return stored.reward * seen.reward.mean()

    selector = Paid(Corridor().spec, 4, 2, jax.random.key(0))
    draw = lambda τ, key: selected(selector, store, rows_paying(1.0, 4), normaliser, 1, 64, τ, key).reward[0]  # noqa: E731
    for τ in (0.5, 2.0):
        paid = jax.jit(jax.vmap(draw, (None, 0)))(jnp.array(τ), jax.random.split(jax.random.key(2), 2000))
        expected = jax.nn.sigmoid(2.0 / τ)
        assert abs(float((paid == 1.0).mean()) - float(expected)) < 0.04


def test_no_row_is_drawn_twice():
    """Of 64 that are looked at 16 are drawn, of which no more than four can be of a kind that is four of them."""
    stored = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rows_paying(1.0, 4), rows_paying(-1.0, 60))

    class InOrder(Reservoir):
        def sample(self, key, n):
            return jax.tree.map(lambda x: x[:n], self.rows)

    store = Reservoir.of(blank(Corridor().spec), 64).add(stored, jnp.ones(64, bool), jax.random.key(1))
    store = InOrder(store.rows, store.size, store.seen)

    class Sure(Selector):
        def __call__(self, stored, seen, normaliser):
            return 20.0 * stored.reward

    selector = Sure(Corridor().spec, 4, 2, jax.random.key(0))
    rows = selected(
        selector, store, rows_paying(1.0, 4), Normaliser.of(3), 16, 4, jnp.array(1.0), jax.random.key(3)
    )
    assert float((rows.reward == 1.0).sum()) == 4


def check_apart() -> None:
    """A task's first row pays 1 and its second −1: of the first, which may be seen, the selector is never asked."""
    task = RingBuffer.of(blank(Corridor().spec), 2).add(rows_paying(1.0, 1), jnp.ones(1, bool))
    task = task.add(rows_paying(-1.0, 1), jnp.ones(1, bool))
    shown = []

    class Watched(Selector):
        def __call__(self, stored, seen, normaliser):
            jax.debug.callback(lambda s, t: shown.append((s, t)), stored.reward, seen.reward)
            return super().__call__(stored, seen, normaliser)

    steps = SelectorSteps(1, 3, jnp.array(0.1))
    selector = Watched(Corridor().spec, 4, 2, jax.random.key(0))
    state = steps.optimizer.init(eqx.filter(selector, eqx.is_array))
    store = Reservoir.of(blank(Corridor().spec), 4)
    tasks = jax.tree.map(lambda x: x[None], task)
    for stored in (store, store.add(rows_paying(5.0, 4), jnp.ones(4, bool), jax.random.key(1))):
        after, moments, _ = steps(selector, state, stored, tasks, Normaliser.of(3), jax.random.key(2))
        jax.effects_barrier()
        changed = any(
            (a != b).any()
            for a, b in zip(*map(jax.tree.leaves, ((selector, state), (after, moments))), strict=True)
        )
        assert changed == (int(stored.size) > 0)
    assert {float(x) for rows, _ in shown for x in np.ravel(rows)} == {-1.0, 0.0, 5.0}
    assert {float(x) for _, seen in shown for x in np.ravel(seen)} == {1.0}


def test_the_selector_is_asked_of_what_it_was_not_shown_and_learns_nothing_of_an_empty_store():
    check_apart()


def test_rows_are_drawn_by_their_scores():
    check_selected()


def test_what_is_no_single_choice_and_what_has_no_rewards_is_refused():
    with pytest.raises(AdaptaxError, match="one choice"):
        MER().build(Push().spec)
    with pytest.raises(AdaptaxError, match="rewards"):
        MER().build(Sinusoid().spec)


def test_a_store_on_disk_is_the_same_after_an_interrupt(tmp_path):
    """Also where it had been offered a meta-update of which no checkpoint tells; memory holds rows that are on disk."""
    config = dataclasses.replace(MER_, selection="uniform", on_disk=40)
    whole = train(config, Corridor(), 3, directory=tmp_path / "whole", report=silent)
    half = train(config, Corridor(), 2, directory=tmp_path / "half", report=silent)
    disk = DiskReservoir(tmp_path / "half" / "store", blank(Corridor().spec), 40)
    assert disk.offers == 2 and disk.seen == half.env_steps
    third = resume(tmp_path / "half", 3, report=silent)  # its checkpoint is lost:
    copy = shutil.copytree(tmp_path / "half", tmp_path / "again")
    for checkpoint in (copy / "checkpoints").glob("*3*"):
        checkpoint.unlink()
    again = resume(copy, 3, report=silent)
    for run in (third, again):
        assert eqx.tree_equal(run.state.theta.store, whole.state.theta.store)
        assert eqx.tree_equal(run.state.theta.q, whole.state.theta.q)
    store = whole.state.theta.store.transitions
    assert int(store.size) == min(40, STORED, whole.env_steps)
    shutil.move(copy / "store", tmp_path / "store")
    for says in ("is missing; put it back", "another run: it has met 1 meta-updates, and this run 3"):
        with pytest.raises(AdaptaxError, match=says):
            resume(copy, 5, report=silent)
        assert load(copy).updates == 3, "it was trained without its store"
        DiskReservoir(copy / "store", blank(Corridor().spec), 40).add(rows_paying(1.0, 3), np.ones(3, bool))
    shutil.rmtree(copy / "store")
    shutil.move(tmp_path / "store", copy / "store")
    assert resume(copy, 4, report=silent).updates == 4
    with pytest.raises(AdaptaxError, match="give the run a directory"):
        train(config, Corridor(), 1, report=silent)
