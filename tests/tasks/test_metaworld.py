"""Meta-World: hidden goals, splits, rewards; and how its own evaluation function counts, beside ours."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from metaworld.evaluation import evaluation
from metaworld.policies.sawyer_reach_v3_policy import SawyerReachV3Policy

import adaptax as ax
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import draw_host_tasks, evaluate
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.tasks.metaworld import ML1, ML10, ML25, ML45
from adaptax.tasks.metaworld_envs import goals
from adaptax.tasks.registry import describe, rebuild
from adaptax.training.progress import silent

pytestmark = pytest.mark.filterwarnings("ignore:Constant:UserWarning")  # of the package's scripted policy

FAMILY = ML1()


def expert(env, task, steps):
    """Whether the package's scripted policy, which is told the goal, succeeds in an episode, and its rewards."""
    policy, obs = SawyerReachV3Policy(), env.reset(0)
    succeeded, rewards = False, []
    for _ in range(steps):
        told = np.concatenate([obs[:-3], task.places[3:]])
        obs, reward, _, _, success = env.step(np.clip(policy.get_action(told), -1.0, 1.0))
        succeeded |= success
        rewards.append(reward)
    return succeeded, np.array(rewards)


def test_the_goal_is_hidden_and_an_expert_who_is_told_it_succeeds():
    tasks = draw_host_tasks(FAMILY, "test", 4, 0)
    for task in tasks:
        env = FAMILY.maker(task)
        assert (env.reset(1)[-3:] == 0.0).all()
        np.testing.assert_allclose(env.env.unwrapped._target_pos, task.places[3:])
        np.testing.assert_allclose(FAMILY.features(task), np.float32(task.places))
        succeeded, _ = expert(env, task, 80)
        assert succeeded
        env.reset(2)
        assert not env.step(np.zeros(4))[-1], "doing nothing does not succeed"


def test_goals_are_those_of_the_package_and_no_test_goal_was_trained_on():
    train, test = goals("reach-v3", 0)
    assert len(set(train)) == len(set(test)) == 50 and not set(train) & set(test)
    drawn = {split: set(draw_host_tasks(FAMILY, split, 60, 0)) for split in ("train", "test")}
    assert drawn["train"] <= set(train) and drawn["test"] <= set(test)
    assert set(goals("reach-v3", 1)[0]) != set(train)


def test_rewards_differ_and_are_recorded():
    task = draw_host_tasks(FAMILY, "train", 1, 0)[0]
    paid = []
    for version in ("v1", "v2"):
        family = ML1(reward=version)
        paid.append(expert(family.maker(task), task, 5)[1])
        assert describe(family)["fields"]["reward"] == version and rebuild(describe(family)) == family
    assert np.abs(paid[0] - paid[1]).max() > 0.1


@pytest.mark.parametrize("family, training, testing", [(ML10(), 10, 5), (ML25(), 25, 4), (ML45(), 45, 5)])
def test_benchmarks_test_other_environments(family, training, testing):
    """The package's ML25 tests basketball-v3, which it has trained on."""
    train, test = family.names("train"), family.names("test")
    assert len(set(train)) == training and len(set(test)) == testing and not set(train) & set(test)
    assert family.spec.features == training + 5 + 6
    task = goals("reach-v3", 0)[0][0]
    told = family.features(task)
    assert told.sum() == pytest.approx(1.0 + sum(task.places), abs=1e-5)
    assert told[(train + test).index("reach-v3")] == 1.0


def test_what_is_wrong_is_said():
    with pytest.raises(AdaptaxError, match="did you mean 'reach-v3'"):
        ML1(environment="reech-v3").sample(np.random.default_rng(0), "train")
    with pytest.raises(AdaptaxError, match="horizon of 1 to 500"):
        _ = ML1(horizon=501).spec


# --- two evaluators ---------------------------------------------------------------------------------

CHANCE, LONG = 0.3, 20


class SawyerReachEnvV3(gymnasium.Env):
    """A stub: an episode succeeds at once with probability `CHANCE`, and else never, whatever is done. It has the name by which the
    package's function knows its tasks."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    terminate_on_success = False

    @property
    def task_name(self):
        return type(self).__name__

    def toggle_terminate_on_success(self, on):
        self.terminate_on_success = on

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.lucky = 0, self.np_random.random() < CHANCE
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        ended = self.lucky and self.terminate_on_success
        return np.zeros(1, np.float32), 0.0, ended, self.t >= LONG, {"success": float(self.lucky)}


class Stubs:
    episode_steps = LONG
    success_key = "success"
    workers = 0

    def sample(self, rng, split):
        return int(rng.integers(10**6))

    def make(self, task):
        return SawyerReachEnvV3()


class Idle:
    def eval_action(self, obs):
        return np.zeros((len(obs), 1), np.float32)

    def reset(self, mask):
        pass


def test_successes_that_end_early_are_not_counted_first():
    """The package pools the episodes of all goals in the order in which they end; ours counts each goal's."""
    made = [lambda: gymnasium.wrappers.RecordEpisodeStatistics(SawyerReachEnvV3()) for _ in range(50)]
    envs = gymnasium.vector.SyncVectorEnv(made, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)
    envs.reset(seed=3)
    theirs, *_ = evaluation(Idle(), envs, num_episodes=20)
    run = ax.train(ax.RandomPolicy(), GymnasiumFamily(Stubs), 0, seed=0, report=silent)
    successes = evaluate(run, "test", 200, 1).successes
    assert successes is not None
    assert theirs > 2.0 * CHANCE
    assert successes.mean() == pytest.approx(CHANCE, abs=0.1)
