"""The contract of a family of Gymnasium environments, promise by promise."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from adaptax.cli.checks import DRAWS, Checks, compare_splits, require
from adaptax.cli.spaces import with_bounds
from adaptax.tasks.base import SPLITS, HostFamily, Split

ENVIRONMENTS = 8
"""Tasks of each split that are played."""
SPEED_SECONDS = 0.5


class GymnasiumChecks(Checks):
    def __init__(self, family: HostFamily):
        self.family = family
        self.splits: list[Split] = [split for split in SPLITS if split != "ood" or family.spec.ood]

    def items(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("sample(rng, split) gives the same task for the same rng", self.same_tasks),
            ("tasks differ, and test tasks are no training tasks", self.different_tasks),
            ("tasks and the class can be sent to worker processes", self.pickles),
            ("make(task) gives a gymnasium.Env, with the same spaces for every task", self.same_spaces),
            ("reset(seed=...) begins the same episode for the same seed", self.same_episodes),
            ("observations lie in the observation space, and rewards are finite", self.sound_steps),
            ("episodes end, and another can begin", self.episodes_end),
            ("features(task) has one length, optimal(task) is a number", self.numbers),
            ("speed", self.speed),
        ]

    def same_tasks(self) -> str:
        for split in self.splits:
            require(
                self.tasks(split, ENVIRONMENTS) == self.tasks(split, ENVIRONMENTS),
                f"sample(rng, '{split}') gave two different tasks for two generators of the same seed; take every random "
                "number from rng.",
            )
        return f"splits {', '.join(self.splits)}"

    def different_tasks(self) -> str:
        return compare_splits({s: self.tasks(s, DRAWS) for s in self.splits}, self.family.spec.shared_tasks)

    def pickles(self) -> str:
        pickle.loads(pickle.dumps(self.family.maker))
        return f"a task takes {max(len(task) for s in self.splits for task in self.tasks(s, ENVIRONMENTS))} bytes"

    def same_spaces(self) -> str:
        for split in self.splits:
            for task in self.tasks(split, ENVIRONMENTS):
                self.family.maker(pickle.loads(task)).close()
        return f"{self.family.spec.observation[0]} observed numbers, actions {with_bounds(self.family.spec.action)}"

    def same_episodes(self) -> str:
        task = self.tasks("train", 1)[0]
        first, again = ([pickle.dumps(step[:2]) for step in self.play(task, episodes=1)] for _ in range(2))
        require(
            first == again,
            "Two environments of one task, reset with the same seed, went different ways under the same actions; take every "
            "random number from self.np_random, after super().reset(seed=seed).",
        )
        return f"{len(first) - 1} equal steps"

    def sound_steps(self) -> str:
        for split in self.splits:
            for task in self.tasks(split, ENVIRONMENTS):
                for obs, reward, _, space in self.play(task, episodes=1):
                    require(
                        space.contains(obs),
                        f"The observation {obs!r} does not lie in {space}; mend the one or the other (dtype and shape count).",
                    )
                    require(np.isfinite(reward), f"A reward is {reward}; give finite numbers.")
        return f"{ENVIRONMENTS * len(self.splits)} episodes of random actions"

    def episodes_end(self) -> str:
        ends = [
            ended
            for task in self.tasks("train", ENVIRONMENTS)
            for _, _, ended, _ in self.play(task, episodes=2)
        ]
        own, cut = ends.count("itself"), ends.count("cut off")
        return (
            f"{own} by themselves, {cut} cut off after {self.family.spec.episode_steps} steps (episode_steps)"
        )

    def numbers(self) -> str:
        tasks = [pickle.loads(task) for split in self.splits for task in self.tasks(split, ENVIRONMENTS)]
        lengths = {0 if f is None else len(f) for f in map(self.family.features, tasks)}
        require(
            len(lengths) == 1,
            f"features(task) has different lengths: {sorted(lengths)}; give each task as many.",
        )
        values = [value for value in map(self.family.optimal, tasks) if value is not None]
        require(
            np.isfinite(values).all(),
            "optimal(task) is not finite for some task; leave it out where it is unknown.",
        )
        oracle = f"{lengths.pop()} features" if max(lengths) else "no features, hence no oracle"
        return f"{oracle}; {'optimal return known' if values else 'optimal return unknown, hence no regret'}"

    def speed(self) -> str:
        task = self.tasks("train", 1)[0]
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < SPEED_SECONDS:
            steps += sum(1 for _ in self.play(task, episodes=1))
        return f"{steps / (time.perf_counter() - started):,.0f} steps/s in one process"

    def tasks(self, split: Split, number: int) -> list[bytes]:
        """Pickled tasks; those of a split are the same in every call."""
        seed = SPLITS.index(split)
        return [
            pickle.dumps(self.family.sample(np.random.default_rng([seed, i]), split)) for i in range(number)
        ]

    def play(self, task: bytes, episodes: int) -> Iterator[tuple[Any, float, str, Any]]:
        """Episodes of random actions: observation, reward, how the episode ended ("" while it goes on), observation space.

        The first step of an episode is its reset.
        """
        flat = self.family.maker(pickle.loads(task))
        env, most = flat.env, self.family.spec.episode_steps
        env.action_space.seed(0)
        for seed in range(episodes):
            flat.reset(seed)  # says what is wrong with the answer
            yield env.reset(seed=seed)[0], 0.0, "", env.observation_space
            ended, steps = "", 0
            while not ended:
                answer = env.step(env.action_space.sample())
                require(
                    isinstance(answer, tuple) and len(answer) == 5,
                    "step(action) must return (observation, reward, terminated, truncated, info), as Gymnasium's do.",
                )
                obs, reward, terminated, truncated, _ = answer
                steps += 1
                ended = "itself" if terminated or truncated else "cut off" * (steps == most)
                yield obs, float(reward), ended, env.observation_space
        flat.close()
