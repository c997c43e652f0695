"""Families of Gymnasium environments that worker processes can import. Imports no JAX."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env):
    """A random walk near a hidden goal that ends at an edge; its randomness comes from the seed of its reset alone.

    `fault`: what happens in the third step of an episode, if the file `once` does not exist yet (None: always).
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, goal: float, fault: str = "", once: str | None = None, edge: float = 2.5):
        self.goal, self.fault, self.once, self.edge = goal, fault, once, edge

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.normal(), 0
        return self._observe(), {}

    def step(self, action: Any):
        self.steps += 1
        if self.fault and self.steps == 3 and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            self._fail()
        self.x += 0.4 * (2 * action - 1) + 0.3 * self.np_random.normal()
        return self._observe(), -abs(self.x - self.goal), bool(abs(self.x) > self.edge), False, {}

    def _observe(self):
        return np.array([self.x, self.steps])

    def _fail(self):
        match self.fault:
            case "exit":
                os._exit(3)
            case "hang":
                time.sleep(3600)
            case "raise":
                raise RuntimeError("the arm came off")
            case "nan":
                self.x = np.nan


class Walks:
    """Tasks are the arguments of `Walk`."""

    episode_steps = 6
    episodes = 2

    def sample(self, rng, split):
        return {"goal": float(rng.normal())}

    def make(self, task):
        return Walk(**task)


class Imports(Walks):
    """The first observation tells whether this process has imported JAX."""

    def make(self, task):
        env = Walk(**task)
        env._observe = lambda: np.array(["jax" in sys.modules, os.getpid()], float)
        return env
