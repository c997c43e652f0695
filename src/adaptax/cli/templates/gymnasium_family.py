"""A family of Gymnasium environments: carts whose motor is stronger or weaker, and may be wired the wrong way round.

A learner that is trained on many such carts drives one it has never seen: it finds out within an episode or two what
this motor does. Change the three parts marked (1), (2) and (3) into tasks of your own, then

    adaptax check-family THIS_FILE:MyTasks
    adaptax train rl2 gymnasium:THIS_FILE:MyTasks
"""

import gymnasium
import numpy as np


# (1) Your environment: any gymnasium.Env. What differs from task to task comes in through __init__, and is not observed.
class Cart(gymnasium.Env):
    # All tasks of a family have the same two spaces.
    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)  # position, speed
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, motor: float):
        self.motor = motor

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)  # seeds self.np_random; take all random numbers from it
        self.position, self.speed = self.np_random.uniform(-1.0, 1.0), 0.0
        return self._observe(), {}

    def step(self, action):
        self.speed += 0.3 * self.motor * float(action[0]) - 0.1 * self.speed
        self.position += 0.3 * self.speed
        reward = -abs(self.position)  # finite, and of a size around 1 if you can
        terminated = False  # True where the task itself ends: no reward can come after
        truncated = False  # True where time is up; `episode_steps` below sees to it here
        info = {"is_success": abs(self.position) < 0.1}
        return self._observe(), reward, terminated, truncated, info

    def _observe(self):
        return np.clip([self.position, self.speed], -10.0, 10.0).astype(np.float32)


# (2) Your family: what a task is, and its environment. It must stand at the top level of a file, because worker processes
# import it from there.
class MyTasks:
    episode_steps = 30  # the longest episode; leave it out if your environments end by themselves (TimeLimit)
    episodes = 2  # episodes in a lifetime of learners that remember (rl2)
    name = "carts"  # in tables and folders
    splits = (
        "train",
        "test",
        "ood",
    )  # the splits that `sample` knows; "ood" (out of distribution) may be left out
    success_key = "is_success"  # the entry of `info` that tells of success; leave it out if there is none

    def sample(self, rng, split):
        """A task: any value that can be pickled. Every random number must come from `rng`, a numpy Generator."""
        strength = rng.uniform(1.5, 2.0) if split == "ood" else rng.uniform(0.5, 1.5)
        return float(strength * rng.choice([-1.0, 1.0]))

    def make(self, task):
        """The environment of a task."""
        return Cart(motor=task)

    # (3) Optional. The hidden task in numbers, for the oracle: the learner that is told what others must find out.
    def features(self, task):
        return [task]
