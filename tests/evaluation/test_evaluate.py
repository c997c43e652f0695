"""The evaluator on stubs whose true score is known, and on a learner whose adaptation is known by hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.algorithms.rl2 import RL2
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import EVALUATION_SEED, check_request, evaluate, per_episode
from adaptax.evaluation.evaluate import test_tasks as tasks_met
from adaptax.evaluation.result import Evaluation
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.tasks.base import TaskFamily
from adaptax.training.program import lifetime_keys
from adaptax.training.run import Run
from adaptax.types import Discrete, Layout, Out, Outcome, Spec, Step, TrainState

HORIZON = 20


@dataclasses.dataclass(frozen=True)
class Jackpot(TaskFamily):
    """An episode succeeds with probability `chance`; it then pays 1 and ends at once, else it lasts to the horizon."""

    chance: float = 0.1
    episodes: int = 5

    @property
    def spec(self) -> Spec:
        return Spec("jackpot", (1,), Discrete(2), HORIZON, self.episodes, ood=False)

    def sample(self, key, split):
        return jax.random.uniform(key)

    def reset(self, key, task):
        lucky = jax.random.bernoulli(key, self.chance)
        return lucky, jnp.zeros(1)

    def step(self, key, state, action, task):
        won = state
        outcome = Outcome(
            jnp.zeros(1), won.astype(jnp.float32), terminated=won, truncated=jnp.array(False), success=won
        )
        return state, outcome


@dataclasses.dataclass(frozen=True)
class LeftOrRight(TaskFamily):
    """Pays 1 for the hidden action; one step an episode. Success is defined by no one."""

    @property
    def spec(self) -> Spec:
        return Spec("left-or-right", (1,), Discrete(2), 1, 4)

    def sample(self, key, split):
        return jax.random.bernoulli(key).astype(jnp.int32)

    def reset(self, key, task):
        return None, jnp.zeros(1)

    def step(self, key, state, action, task):
        paid = (action == task).astype(jnp.float32)
        return None, Outcome(jnp.zeros(1), paid, terminated=jnp.array(True), truncated=jnp.array(False))

    def optimal(self, task):
        return jnp.ones(())


class Repeater(Learner):
    """Tries action 0, and from then on repeats what paid: it is right from the second episode on."""

    def init(self, key):
        return jnp.zeros(())

    def remember(self, theta):
        return jnp.zeros((), jnp.int32)

    def act(self, theta, fast, memory, step, key):
        wrong = (~step.start) & (step.prev_reward == 0.0)
        choice = jnp.where(step.start, 0, jnp.where(wrong, 1 - step.prev_action, step.prev_action))
        return Out(Categorical(1e4 * jax.nn.one_hot(choice, 2)), jnp.zeros(())), memory


class Flipper(Repeater):
    """The same between rounds: fast is the action; a round that paid nothing turns it round."""

    def begin(self, theta, key, features):
        return jnp.zeros((), jnp.int32)

    def act(self, theta, fast, memory, step, key):
        return Out(Categorical(1e4 * jax.nn.one_hot(fast, 2)), jnp.zeros(())), memory

    def adapt(self, theta, fast, batch, key):
        return jnp.where(batch.reward.sum() == 0, 1 - fast, fast)


class Stub(Algorithm):
    learner: Learner
    layout: Layout
    tasks: int = 1

    def test_layout(self, episodes):
        return self.layout


def stub_run(family: TaskFamily, layout: Layout, learner: Learner | None = None, seed: int = 0) -> Run:
    algorithm = Stub(Repeater() if learner is None else learner, layout)
    state = TrainState(jnp.zeros(()), None, jax.random.key(seed), jnp.zeros((), jnp.int32))
    return Run("stub", RandomPolicy(), family.spec, {}, seed, state, _family=family, _algorithm=algorithm)


def whole_episodes(family: TaskFamily, rounds: int = 1, streams: int = 1) -> Layout:
    episodes = family.spec.episodes if rounds == 1 else 1
    return Layout(rounds, streams, episodes * family.spec.episode_steps, episodes)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_success_of_one_in_ten_is_reported_as_one_in_ten_though_successes_end_early(rounds):
    family = Jackpot(chance=0.1)
    result = evaluate(stub_run(family, whole_episodes(family, rounds, streams=4)), tasks=500)
    rate = result.success_rate()
    assert rate is not None
    episodes = result.returns.size
    error = np.sqrt(0.1 * 0.9 / episodes)
    assert abs(rate.mean() - 0.1) < 4 * error
    assert abs(result.returns.mean() - 0.1) < 4 * error
    assert set(np.unique(result.lengths)) == {1, HORIZON}


def test_every_episode_of_every_task_and_seed_is_there():
    family = Jackpot()
    runs = [stub_run(family, whole_episodes(family, streams=3), seed=s) for s in range(2)]
    result = evaluate(runs, tasks=7)
    assert result.returns.shape == result.lengths.shape == (2, 7, 1, 3, 5)
    assert (result.lengths >= 1).all()


def test_the_curve_of_a_learner_that_is_right_from_the_second_episode_on():
    family = LeftOrRight()
    result = evaluate(stub_run(family, whole_episodes(family)), tasks=400)
    first, *later = result.curve().mean((0, 1))
    assert abs(first - 0.5) < 0.1
    assert later == [1.0, 1.0, 1.0]
    assert result.consumed().tolist() == [0, 1, 2, 3]
    regret = result.regret()
    assert regret is not None
    assert regret[1:].tolist() == [0, 0, 0]
    mean, low, high = result.adapted_minus_unadapted()
    assert low < mean < high
    assert low > 0.4
    assert result.success_rate() is None


def test_the_curve_of_a_learner_that_adapts_between_rounds():
    family = LeftOrRight()
    result = evaluate(stub_run(family, Layout(3, 2, 1, 1), Flipper()), tasks=300)
    assert result.curve().shape == (1, 300, 3)
    assert result.curve()[0, :, 1:].min() == 1.0
    assert result.consumed().tolist() == [0, 2, 4]
    assert result.scores().min() == 1.0


def test_two_methods_meet_the_same_tasks():
    family = LeftOrRight()
    layout = whole_episodes(family)
    a = evaluate(stub_run(family, layout, seed=0), tasks=50)
    b = evaluate(stub_run(family, layout, seed=1), tasks=50)
    assert (a.returns == b.returns).all()
    c = evaluate(stub_run(family, layout, seed=0), tasks=50, seed=1)
    assert (a.returns != c.returns).any()


def test_rows_after_the_last_episode_count_for_none():
    rewards = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])
    step = Step(
        obs=jnp.zeros((5, 1)), prev_action=jnp.zeros(5), prev_reward=jnp.zeros(5),
        first=jnp.array([True, False, True, True, False]), episode=jnp.array([7, 7, 8, 9, 9]),
        reward=rewards, valid=jnp.array([True, True, True, False, False]),
    )  # fmt: skip
    rounds = jax.tree.map(lambda x: x[None, None], step)
    returns, lengths, success = per_episode(rounds, Layout(1, 1, 5, 2))
    assert returns[0, 0].tolist() == [3.0, 4.0]
    assert lengths[0, 0].tolist() == [2, 1]
    assert success is None


def test_rounds_that_the_environment_goes_on_across_are_read_as_one():
    """Two streams of three rounds of two steps; of the episodes that end in them the first two count."""
    rewards = jnp.array([[[1.0, 2.0]] * 2, [[4.0, 8.0]] * 2, [[16.0, 32.0]] * 2]) * jnp.array([[1.0], [10.0]])
    episode = jnp.array([[[0, 0], [3, 3]], [[0, 1], [4, 4]], [[1, 2], [4, 4]]])
    step = Step(
        obs=rewards, prev_action=rewards, prev_reward=rewards, first=rewards > 99, episode=episode, reward=rewards,
        valid=jnp.ones((3, 2, 2), bool),
    )  # fmt: skip
    returns, lengths, _ = per_episode(step, Layout(3, 2, 2, 2, carry=True))
    assert returns.tolist() == [[[7.0, 24.0], [30.0, 600.0]]]
    assert lengths.tolist() == [[[3, 2], [2, 4]]]


def test_a_result_is_what_was_saved(tmp_path):
    family = LeftOrRight()
    result = evaluate(stub_run(family, whole_episodes(family)), tasks=9)
    result.save(tmp_path / "test.safetensors")
    again = Evaluation.load(tmp_path / "test.safetensors")
    for field in dataclasses.fields(result):
        ours, theirs = getattr(result, field.name), getattr(again, field.name)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs, field.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "ood"}, "no out-of-distribution"),
        ({"split": "tset"}, "train, test, ood"),
        ({"tasks": 0}, "1 or more"),
    ],
)
def test_senseless_requests_get_a_sentence(change, words):
    with pytest.raises(AdaptaxError, match=words):
        check_request(Jackpot().spec, **({"split": "test", "tasks": 3} | change))


def test_nan_returns_get_a_sentence():
    family = LeftOrRight()
    result = evaluate(stub_run(family, whole_episodes(family)), tasks=3)
    with pytest.raises(AdaptaxError, match="1 of 12 episodes"):
        dataclasses.replace(
            result, returns=np.where(np.arange(12).reshape(result.returns.shape) == 5, np.nan, 1.0)
        )


def test_a_learner_of_long_lifetimes_is_given_long_ones():
    """As many episodes as it was trained for, not as the family has by itself."""
    spec = BernoulliBandit(pulls=4).spec
    layouts = [RL2(episodes=e).build(spec).test_layout(n) for e, n in ((0, None), (7, None), (7, 2))]
    assert [layout.episodes for layout in layouts] == [4, 7, 2]


class Keys(LeftOrRight):
    """A task is the key that drew it."""

    def sample(self, key, split):
        return key


def check_keys() -> None:
    """Those that draw the tasks of a split and those that play them, for the learner's every seed."""
    seen = []

    def recording(*args):
        seen.append(lifetime_keys(*args))
        return seen[-1]

    family = LeftOrRight()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adaptax.evaluation.evaluate.lifetime_keys", recording)
        evaluate([stub_run(family, whole_episodes(family), seed=seed) for seed in range(4)], "test", 5)
    seen += [tasks_met(Keys(), split, 5, EVALUATION_SEED) for split in ("train", "test", "ood")]
    keys = {tuple(row) for part in seen for row in np.asarray(jax.random.key_data(part)).tolist()}
    assert len(seen) == 4 + 3 and len(keys) == 7 * 5


def test_no_key_of_an_evaluation_is_used_twice():
    check_keys()
