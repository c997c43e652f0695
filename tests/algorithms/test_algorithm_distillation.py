"""What a student of algorithm distillation is shown, by hand; and that it learns to learn."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, TwoArms

from adaptax.algorithms.algorithm_distillation import AlgorithmDistillation, learning_histories
from adaptax.collection.collect import collect
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import evaluate
from adaptax.training.program import behaviour_and_keys, draw_training_tasks
from adaptax.training.progress import silent
from adaptax.training.train import train
from adaptax.types import Step

FAMILY = Corridor()
SPEC = FAMILY.spec


def rounds(k: int, n: int, t: int, lengths: np.ndarray) -> Step:
    """Rows [K, N, T] whose action and reward say where they stand: reward = 100 k + 10 n + t, action = reward + 1000."""
    reward = 100 * np.arange(k)[:, None, None] + 10 * np.arange(n)[:, None] + np.arange(t)
    valid = np.arange(t) < lengths[..., None]
    zeros = np.zeros((k, n, t))
    return Step(
        obs=jnp.asarray(reward[..., None]), prev_action=jnp.asarray(zeros - 7, jnp.int32), prev_reward=jnp.asarray(zeros - 7.0),
        first=jnp.asarray(zeros.astype(bool)).at[:, :, 0].set(True), episode=jnp.asarray(zeros, jnp.int32),
        action=jnp.asarray(reward + 1000, jnp.int32), reward=jnp.asarray(reward, jnp.float32), valid=jnp.asarray(valid),
    )  # fmt: skip


def check_history() -> None:
    """Of rounds 0 … 4 every second one from the last back: 0, 2, 4. Stream 1's episodes have lengths 2, 3, 1."""
    lengths = np.full((5, 2), 3)
    lengths[[0, 2, 4], 1] = 2, 3, 1
    history = learning_histories(rounds(5, 2, 3, lengths), 2, SPEC)
    assert history.reward.shape == (2, 9)
    np.testing.assert_array_equal(history.reward[1], [10, 11, 12, 210, 211, 212, 410, 411, 412])
    np.testing.assert_array_equal(history.valid[1], [1, 1, 0, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(history.episode[1], [0, 0, 0, 1, 1, 1, 2, 2, 2])
    # The first row of an episode follows the last valid row of the kept episode before it; nothing precedes the first.
    np.testing.assert_array_equal(history.prev_reward[1][::3], [0, 11, 212])
    np.testing.assert_array_equal(history.prev_action[1][::3], [0, 1011, 1212])
    np.testing.assert_array_equal(history.prev_reward[1][1::3], [-7, -7, -7])
    np.testing.assert_array_equal(history.start[1], [1, 0, 0, 0, 0, 0, 0, 0, 0])


def test_a_history_by_hand():
    check_history()


def check_last_round() -> None:
    history = learning_histories(rounds(5, 1, 2, np.full((5, 1), 2)), 3, SPEC)
    np.testing.assert_array_equal(history.reward[0], [100, 101, 400, 401])


def test_the_last_round_is_always_kept():
    check_last_round()


def test_the_students_loss_is_the_mean_surprise_at_the_teachers_actions():
    """Before any training all actions are about as likely: log 2 nats each."""
    algorithm = AlgorithmDistillation(
        tasks=4, rounds=4, streams=2, every=1, width=8, heads=2, minibatches=1, epochs=1
    ).build(SPEC)
    state = algorithm.init(jax.random.key(0))
    draw = lambda key: draw_training_tasks(FAMILY, key, algorithm.tasks)  # noqa: E731
    behaviour, task_keys, key = behaviour_and_keys(algorithm, state, draw)
    lifetime, _, _ = eqx.filter_jit(collect)(
        algorithm.collector, FAMILY, behaviour, algorithm.layout, task_keys
    )
    _, metrics = eqx.filter_jit(algorithm.learn)(state, lifetime, key)
    np.testing.assert_allclose(metrics["imitation_nats"], np.log(2), atol=0.02)


def test_a_history_without_rounds_is_refused():
    with pytest.raises(AdaptaxError, match="Of 3 rounds every 4th"):
        AlgorithmDistillation(rounds=3, every=4).build(SPEC)


def test_the_student_learns_to_learn():
    """Its teachers need a round of pulls to tell the arms apart, it one pull: a guess first, then nearly always the arm."""
    config = AlgorithmDistillation(
        tasks=16, rounds=6, streams=8, every=1, width=16, layers=1, heads=2, teacher_hidden=(), teacher_steps=3,
        teacher_lr=0.5, teacher_entropy=0.0, lr=5e-3, minibatches=2,
    )  # fmt: skip
    run = train(config, TwoArms(), 48, seed=0, report=silent)
    first, *_, last = evaluate(run, "test", 200).curve().mean((0, 1))
    assert abs(first - 0.5) < 0.12 and last > 0.9
