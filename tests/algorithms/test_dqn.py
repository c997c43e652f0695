"""DQN and MAML-DQN by hand: when the target is copied, what adaptation is differentiated through, and tasks with known answers."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor, Push, TwoArms
from laws.learners import DQN_, MAML_DQN, MER_

from adaptax.adaptation.q_learning import DQNSteps
from adaptax.adaptation.update_rules import SGD
from adaptax.algorithms.dqn import DQN
from adaptax.algorithms.maml_dqn import MAMLDQN, ByTDError, Seen
from adaptax.buffers import RingBuffer
from adaptax.collection.collect import collect
from adaptax.errors import AdaptaxError
from adaptax.estimators.transitions import Transition, blank
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.q_network import QNetwork
from adaptax.training.program import behaviour_and_keys, draw_training_tasks, make_program
from adaptax.types import Step, TrainState

X, NEXT_X = jnp.array([0.6, -0.8]), jnp.array([0.3, 0.5])
LR, GAMMA = 0.1, 0.9
ROW = Transition(X, jnp.array(1), jnp.array(0.4), NEXT_X, jnp.array(False))
"""Drawn again and again from a buffer that holds nothing else."""


def linear() -> QNetwork:
    """Q(x, a) = w_a · x."""
    return QNetwork(2, (), 2, jax.random.key(1))


def steps(first_order: bool = False, copy_every: int = 100) -> DQNSteps:
    return DQNSteps(
        batch=3, double=False, first_order=first_order, rule=SGD(jnp.array(LR)), γ=jnp.array(GAMMA),
        reward_scale=jnp.array(1.0), copy_every=jnp.array(copy_every), max_norm=jnp.array(1e3),
    )  # fmt: skip


def buffer_of(row: Transition) -> RingBuffer:
    return RingBuffer.of(row, 4).add(jax.tree.map(lambda x: x[None], row), jnp.ones(1, bool))


def after(rule: DQNSteps, q: QNetwork, buffer: RingBuffer, number: int) -> QNetwork:
    return rule(rule.begin(q), buffer, Normaliser.of(2), number, jax.random.key(0))[0].q


def check_copies() -> None:
    """Three steps with the target copied after the second, against the same in numpy: Δw₁ = −α (w₁·x − r − γ max w̄·x') x."""
    q = linear()
    w, b = np.array(q.advantage.weight, np.float64), np.array(q.advantage.bias, np.float64)
    says = lambda w, b, x: np.asarray(x, np.float64) @ w.T + b  # noqa: E731
    held = (w.copy(), b.copy())
    for number in range(1, 4):
        error = says(w, b, X)[1] - (0.4 + GAMMA * says(*held, NEXT_X).max())
        assert abs(error) < 1, "beyond this Huber's loss is no square"
        w[1] -= LR * error * np.asarray(X)
        b[1] -= LR * error
        if number % 2 == 0:
            held = (w.copy(), b.copy())
    got = eqx.filter_jit(after)(steps(copy_every=2), q, buffer_of(ROW), 3)
    np.testing.assert_allclose(got.advantage.weight, w, rtol=1e-5)
    np.testing.assert_allclose(got.advantage.bias, b, rtol=1e-5)


def check_derivative_of_a_step() -> None:
    """Of the squared error of one transition the Hessian is z zᵀ, z = (x, 1): ∂θ'/∂θ = I − α z zᵀ; to first order, I."""
    z = np.append(np.asarray(X), 1.0)

    def probe(q: QNetwork, rule: DQNSteps) -> jax.Array:
        return after(rule, q, buffer_of(ROW), 1).advantage.bias[1]

    gradient = eqx.filter_jit(eqx.filter_grad(probe))
    second, first = gradient(linear(), steps()), gradient(linear(), steps(first_order=True))
    np.testing.assert_allclose(second.advantage.weight[1], -LR * z[:2], rtol=1e-5)
    np.testing.assert_allclose(second.advantage.bias[1], 1 - LR, rtol=1e-5)
    np.testing.assert_array_equal(first.advantage.weight, np.zeros((2, 2)))
    np.testing.assert_array_equal(first.advantage.bias, [0.0, 1.0])


def check_experience_is_constant() -> None:
    """What stands in the buffer is no function of the network, whatever it was made by."""

    def probe(obs: jax.Array) -> jax.Array:
        buffer = buffer_of(dataclasses.replace(ROW, obs=obs))
        return after(steps(), linear(), buffer, 2).advantage.bias.sum()

    assert not np.any(eqx.filter_jit(jax.grad(probe))(X))


def check_rewards_seen() -> None:
    """Adaptation learns from what the task pays, and from the shaped reward only where it is told to."""
    algorithm = dataclasses.replace(DQN_, fine_tune_steps=1).build(Corridor().spec)
    theta = begun(algorithm).theta
    one, flag = jnp.ones((1, 2)), jnp.zeros((1, 2), bool)
    obs, zero = jnp.zeros((1, 2, 3)), jnp.zeros((1, 2), jnp.int32)
    batch = Step(
        obs=obs, prev_action=zero, prev_reward=one, first=flag, episode=zero, action=zero, reward=2 * one, terminated=flag,
        truncated=flag, next_obs=obs, valid=~flag, shaped_reward=7 * one,
    )  # fmt: skip
    for sees_shaped, reward in ((False, 2.0), (True, 7.0)):
        learner = dataclasses.replace(algorithm.learner, sees_shaped=sees_shaped)
        fast = eqx.filter_jit(learner.adapt)(theta, learner.begin_from(theta.q), batch, jax.random.key(0))
        np.testing.assert_array_equal(fast.buffer.rows.reward[:2], [reward, reward])


def test_the_target_is_copied_every_so_many_steps():
    check_copies()


def test_a_step_is_differentiated_as_it_should():
    check_derivative_of_a_step()


def test_experience_is_a_constant():
    check_experience_is_constant()


def test_adaptation_sees_what_the_task_pays():
    check_rewards_seen()


# --- DQN ---------------------------------------------------------------------------------------


@eqx.filter_jit
def begun(algorithm) -> TrainState:
    return algorithm.init(jax.random.key(0))


def trained(config, family, updates: int) -> TrainState:
    algorithm, program = config.build(family.spec), make_program(family)
    state = begun(algorithm)
    while updates > 0:
        state = program(algorithm, state, jnp.array(min(updates, 50), jnp.int32)).state
        updates -= 50
    return state


def check_what_is_kept() -> None:
    """The buffer of all tasks holds the valid rows of an update in their order; each step of the budget is one."""
    algorithm = DQN_.build(Corridor().spec)
    state = begun(algorithm)

    @eqx.filter_jit
    def update(state):
        draw = lambda key: draw_training_tasks(Corridor(), key, algorithm.tasks)  # noqa: E731
        behaviour, task_keys, key = behaviour_and_keys(algorithm, state, draw)
        lifetime, _, _ = collect(algorithm.collector, Corridor(), behaviour, algorithm.layout, task_keys)
        return lifetime, *algorithm.learn(state, lifetime, key)

    lifetime, state, metrics = update(state)
    rows = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[4:]), lifetime.rounds)
    assert rows.valid.all() and int(state.aux.buffer.size) == int(state.aux.env_steps) == 16
    np.testing.assert_array_equal(state.aux.buffer.rows.obs[:16], rows.obs)
    np.testing.assert_array_equal(state.aux.buffer.rows.terminated[:16], rows.terminated)
    np.testing.assert_allclose(metrics["return"], rows.reward.sum() / rows.first.sum(), rtol=1e-5)
    assert int(state.aux.gradient_steps) == DQN_.gradient_steps


def test_the_buffer_holds_what_was_seen():
    check_what_is_kept()


def test_exploration_and_step_size_fall_with_environment_steps():
    algorithm = dataclasses.replace(DQN_, lr=0.02, anneal_steps=40).build(Corridor().spec)
    of = lambda n: (float(algorithm.exploring(jnp.array(n))), float(algorithm.annealed(jnp.array(n)).rule.lr))  # noqa: E731
    np.testing.assert_allclose(
        [of(0), of(15), of(30), of(100)], [(1, 0.02), (0.75, 0.0125), (0.5, 0.005), (0.5, 0.001)]
    )
    assert float(DQN_.build(Corridor().spec).annealed(jnp.array(10**6)).rule.lr) == np.float32(DQN_.lr)


class RightCorridor(Corridor):
    """The goal is always the right cell, so that what each action is worth is known."""

    def sample(self, key, split):
        return jnp.int32(1)


def test_values_of_a_corridor_are_those_of_its_bellman_equation():
    """Right of the middle waits 1, a step from there to the left costs 0.2, one from the left cell 0.1. With γ = 0.5:
    Q(middle) = (−0.2 + 0.5 max Q(left), 1), Q(left) = (−0.1 + 0.5 max Q(left), −0.1 + 0.5)."""
    config = DQN(
        tasks=8, hidden=(16,), lr=1e-2, gamma=0.5, batch=32, gradient_steps=40, copy_every=20, last_epsilon=1.0, capacity=2000
    )  # fmt: skip
    state = trained(config, RightCorridor(), 30)
    q = jax.vmap(lambda o: state.theta.q(state.theta.normaliser.observation(o)))(jnp.eye(3)[:2])
    np.testing.assert_allclose(q, [[0.1, 0.4], [0.0, 1.0]], atol=0.02)


# --- MAML-DQN ----------------------------------------------------------------------------------


def check_what_judges() -> None:
    """Rounds two and three are judged, each with the network and the target that the rounds before it were learned by; by hand,
    on rounds whose rows are all alike. A support pays what the learner sees, a query what training maximises."""
    algorithm = dataclasses.replace(MAML_DQN, inner_rounds=2).build(Corridor().spec)
    assert isinstance(algorithm, ByTDError)
    learner, theta = algorithm.learner, begun(algorithm).theta
    rows = jax.tree.map(lambda x: jnp.zeros((3, 4, *x.shape), x.dtype), blank(Corridor().spec))
    obs = jnp.broadcast_to(jnp.eye(3)[:, None], rows.obs.shape)
    rows = dataclasses.replace(rows, obs=obs, reward=jnp.broadcast_to(jnp.arange(1.0, 4.0)[:, None], (3, 4)))
    seen = Seen(rows, jnp.full((3, 4), -5.0), jnp.ones((3, 4), bool))
    target = jax.tree.map(lambda x: x + 0.3, theta.q)

    @eqx.filter_jit
    def loss(q, target, seen):
        return algorithm.loss(dataclasses.replace(theta, q=q), target, seen, jax.random.key(0))

    @jax.jit
    def by_hand():
        """The mean error of both queries: as it should be, before adaptation, and were the target not adapted."""
        errors, fast, second = [], learner.begin_from(theta.q), learner.begin_from(target)
        error = lambda q, judge, row: learner.rule.error(q, judge, row, theta.normaliser)  # noqa: E731
        for k in range(2):
            support = dataclasses.replace(jax.tree.map(lambda x, k=k: x[k], rows), reward=seen.reward[k])
            inputs = support, seen.valid[k], jax.random.fold_in(jax.random.key(0), k)
            fast, second = (learner.trained(theta, f, *inputs) for f in (fast, second))
            query, q, judge = (
                jax.tree.map(lambda x, k=k: x[k + 1, 0], rows),
                fast.training.q,
                second.training.q,
            )
            errors.append([error(q, judge, query), error(theta.q, judge, query), error(q, target, query)])
        return jnp.array(errors).mean(0)

    got, metrics = loss(theta.q, target, seen)
    expected, before, target_as_it_was = by_hand()
    np.testing.assert_allclose((got, metrics["td_loss_before_adaptation"]), (expected, before), rtol=1e-4)
    assert not np.allclose(got, target_as_it_was, rtol=0.01), "here it is all the same what judges"
    no_query = eqx.tree_at(lambda s: s.valid, seen, seen.valid.at[1:].set(False))
    assert float(loss(theta.q, target, no_query)[0]) == 0.0
    to_q, to_target = eqx.filter_grad(lambda both: loss(*both, seen)[0])((theta.q, target))
    assert any(np.any(x) for x in jax.tree.leaves(to_q))
    assert not any(np.any(x) for x in jax.tree.leaves(to_target))


def test_the_query_is_judged_by_the_adapted_target():
    check_what_judges()


@pytest.mark.parametrize("outer", ["td", "return"])
def test_one_pull_of_a_bad_arm_leads_to_the_good_one(outer):
    """Two arms, one pays 1, the other 0: whatever a pull has shown, the network then knows which."""
    config = MAMLDQN(
        tasks=32, inner_rounds=1, inner_steps=3, inner_lr=1.0, inner_batch=4, hidden=(), lr=0.05, gradient_steps=10,
        reward_scale=1.0, meta_batch=32, lifetimes=256, copy_every=20, epsilon_steps=400, last_epsilon=0.2, temperature=0.1,
        outer=outer,
    )  # fmt: skip
    algorithm = config.build(TwoArms().spec)
    state = trained(config, TwoArms(), 30)
    for arm in (0, 1):
        for paid in (0.0, 1.0):
            fast = algorithm.learner.begin(state.theta, jax.random.key(0), None)
            row = dataclasses.replace(
                blank(TwoArms().spec),
                action=jnp.array(arm),
                reward=jnp.array(paid),
                terminated=jnp.array(True),
            )
            rows = jax.tree.map(lambda x: x[None], row)
            fast = algorithm.learner.trained(state.theta, fast, rows, jnp.ones(1, bool), jax.random.key(2))
            values = fast.training.q(state.theta.normaliser.observation(jnp.zeros(1)))
            assert int(values.argmax()) == (arm if paid else 1 - arm), (outer, arm, paid, values)


def test_a_new_task_is_met_in_rounds_that_spend_the_episodes():
    """Ten rounds are learned from, unless it is said how many episodes there are; without fine-tuning one shows all."""
    spec = Corridor().spec
    methods = {
        DQN_: [1, 1, 1, 5],
        dataclasses.replace(DQN_, fine_tune_steps=1): [11, 1, 1, 5],
        dataclasses.replace(MAML_DQN, streams=2): [11, 1, 1, 3],
        dataclasses.replace(MER_, streams=3): [11, 1, 1, 2],
    }
    for config, rounds in methods.items():
        algorithm = config.build(spec)
        layouts = [algorithm.test_layout(episodes) for episodes in (None, 0, 1, 5)]
        assert [layout.rounds for layout in layouts] == rounds
        for layout in layouts:
            assert (layout.streams, layout.steps) == (algorithm.layout.streams, spec.episode_steps)
            assert layout.episodes == 1 and not layout.carry


def test_several_actions_at_once_are_refused():
    for config in (DQN(), MAMLDQN()):
        with pytest.raises(AdaptaxError, match="one choice"):
            config.build(Push().spec)
