"""`adaptax adapt`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from tyro.conf import Positional, arg

from adaptax.cli.runs import find
from adaptax.cli.spaces import with_bounds
from adaptax.collection.agent import Agent
from adaptax.errors import AdaptaxError, told
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.tasks.references import import_reference
from adaptax.types import Box, Space, Spec


@dataclasses.dataclass(frozen=True)
class Adapt:
    """Takes a trained learner to your own Gymnasium environment and lets it adapt there, episode after episode."""

    directory: Annotated[Positional[str], arg(metavar="DIR")]
    """What `adaptax train` wrote, or pretrained:NAME."""
    env: Annotated[str, arg(metavar="MODULE:CALLABLE")]
    """A function or class that gives a gymnasium.Env when called without arguments."""
    episodes: Annotated[int, arg(metavar="K")] = 10
    """Episodes to play."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Of the agent's dice and of the environment's resets."""
    save: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Keep there what the agent has learned of this task; `Agent.load` goes on from it."""

    def execute(self) -> None:
        if self.episodes < 1:
            raise AdaptaxError(f"--episodes must be 1 or more, not {self.episodes}.")
        run = find(self.directory).runs[0]
        make, _ = import_reference(self.env.removeprefix("gymnasium:"))
        family = GymnasiumFamily(Environment(make, run.spec.episode_steps))
        check_fit(family.spec, run.spec)
        agent, env = run.begin(self.seed, self.episodes), family.maker(None)
        returns, adaptations = [], []
        for episode in range(self.episodes):
            adaptations.append(agent.adaptations)
            returns.append(play(env, agent, run.spec.episode_steps, self.seed + episode))
            adapted = agent.layout.rounds > 1 and agent.adaptations > adaptations[-1]
            print(
                f"episode {episode + 1:>3}   return {returns[-1]:.3f}{'   then adapted' * adapted}",
                flush=True,
            )
        env.close()
        print(before_and_after(np.array(returns), np.array(adaptations), agent))
        if self.save is not None:
            agent.save(self.save)
            print(f"Kept in {self.save}")


def before_and_after(
    returns: Float[np.ndarray, " episodes"], adaptations: Int[np.ndarray, " episodes"], agent: Agent
) -> str:
    """What adaptation has brought; `adaptations` had been made before each episode."""
    if agent.layout.rounds == 1:  # it adapts at every step
        return f"First episode: {returns[0]:.3f}. Last: {returns[-1]:.3f}."
    before, after = returns[adaptations == 0], returns[adaptations == adaptations[-1]]
    return (
        f"Mean before adaptation: {before.mean():.3f} ({_episodes(before)}). "
        f"After the last: {after.mean():.3f} ({_episodes(after)})."
    )


def _episodes(returns: np.ndarray) -> str:
    return f"{returns.size} episode{'s' * (returns.size != 1)}"


class Environment:
    """A single environment as a family of one task."""

    def __init__(self, make: Callable[[], Any], episode_steps: int):
        self._make, self.episode_steps = make, episode_steps

    def sample(self, rng: np.random.Generator, split: str) -> None:
        return None

    def make(self, task: None) -> Any:
        return self._make()


def check_fit(found: Spec, wanted: Spec) -> None:
    """AdaptaxError where an environment has other observations or actions than the learner was trained with."""
    sizes = math.prod(found.observation), math.prod(wanted.observation)
    if sizes[0] != sizes[1]:
        raise AdaptaxError(
            f"The environment's observations have {sizes[0]} entries and those of '{wanted.name}', on which this learner was "
            f"trained, {sizes[1]}; train one on environments like yours."
        )
    if not same_space(found.action, wanted.action):
        raise AdaptaxError(
            f"The environment's actions are {with_bounds(found.action)} and those of '{wanted.name}', on which this learner was "
            f"trained, {with_bounds(wanted.action)}; train one on environments like yours."
        )


def same_space(a: Space, b: Space) -> bool:
    """Whether two action spaces are equal, bounds up to float32's precision."""
    if not (isinstance(a, Box) and isinstance(b, Box)):
        return a == b
    return a.size == b.size and np.allclose((a.low, a.high), (b.low, b.high), rtol=1e-6)


def play(env: Any, agent: Agent, most_steps: int, seed: int) -> float:
    """One episode, cut off after `most_steps`; its return."""
    try:
        observation, total = env.reset(seed), 0.0
        for step in range(1, most_steps + 1):
            action = agent.act(observation)
            observation, reward, terminated, truncated, _ = env.step(np.asarray(action))
            truncated = truncated or step == most_steps
            agent.observe(reward, terminated, truncated, observation)
            total += reward
            if terminated or truncated:
                break
    except AdaptaxError:
        raise
    except Exception as error:
        raise AdaptaxError(f"The environment failed: {told(error)}.") from error
    return total
