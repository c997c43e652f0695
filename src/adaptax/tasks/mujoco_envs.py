"""MuJoCo's robots of Gymnasium v5 with a hidden goal, or a hidden body, as worker processes make them.

Imports no JAX, so that worker processes start fast.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np

from adaptax.errors import AdaptaxError

Goal = Literal["direction", "velocity", "position", "body"]
"""What a task says: where to go [2] (a unit vector), how fast [1], to which place [2], or what the body is like."""

BODY = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
"""Arrays of MuJoCo's model that tasks change, and the base whose powers their entries are multiplied by (Rothfuss et al. 2019)."""


@dataclasses.dataclass(frozen=True)
class Robots:
    """Makes the environment of a task: `robot` is Gymnasium's name, `settings` its keywords."""

    robot: str
    goal: Goal
    settings: Mapping[str, Any]
    forward_weight: float = 1.0
    """Factor on the velocity in a direction."""

    def make(self, task: np.ndarray, render_mode: str | None = None) -> gymnasium.Env:
        """With the reward of the task; it has no limit of time, which is the family's to set."""
        env = gymnasium.make(
            self.robot,
            max_episode_steps=-1,
            disable_env_checker=True,
            render_mode=render_mode,
            **self.settings,
        )
        if self.goal == "body":
            change_body(env.unwrapped.model, task)  # type: ignore[attr-defined]
            return env
        return Rewarded(env, self.goal, np.asarray(task, np.float64), self.forward_weight)


class Rewarded(gymnasium.Wrapper):
    """Pays for what the task asks for, in place of the way forward; costs and the bonus for being alive stay."""

    def __init__(self, env: gymnasium.Env, goal: Goal, task: np.ndarray, forward_weight: float):
        super().__init__(env)
        self.goal, self.task, self.forward_weight = goal, task, forward_weight

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        paid = self.progress(info)
        others = float(reward) - info["reward_forward"]
        return obs, others + paid, terminated, truncated, info | {"reward_task": paid}

    def progress(self, info: Mapping[str, Any]) -> float:
        """What the last step was worth: velocities in m/s, places in m."""
        match self.goal:
            case "direction":
                velocity = np.array([info["x_velocity"], info.get("y_velocity", 0.0)])
                return float(self.forward_weight * velocity @ self.task)
            case "velocity":
                return -abs(float(info["x_velocity"]) - float(self.task[0]))
            case _:
                place = np.array([info["x_position"], info["y_position"]])
                return -float(np.abs(place - self.task).sum())


def body_size(model: Any) -> int:
    """How many numbers `change_body` takes."""
    return sum(getattr(model, name).size for name in BODY)


def change_body(model: Any, exponents: np.ndarray) -> None:
    """Multiplies masses, inertias, dampings and frictions by powers of their bases, entry by entry."""
    size = body_size(model)
    if np.shape(exponents) != (size,):
        raise AdaptaxError(f"This robot's body is changed by {size} numbers, not by {np.shape(exponents)}.")
    at = 0
    for name, base in BODY.items():
        array = getattr(model, name)
        array[:] *= base ** np.reshape(exponents[at : at + array.size], array.shape)
        at += array.size
