"""`adaptax adapt`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from adaptax.cli.listing import space
from adaptax.cli.runs import find
from adaptax.collection.agent import Agent
from adaptax.errors import AdaptaxError, told
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.tasks.references import import_reference
from adaptax.types import Spec


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
    save: Annotated[Path | None, arg(metavar="FILE")] = None
    """Keep there what the agent has learned of this task; `Agent.load` goes on from it."""

    def execute(self) -> None:
        if self.episodes < 1:
            raise AdaptaxError(f"--episodes must be 1 or more, not {self.episodes}.")
        run = find(self.directory).runs[0]
        make, _ = import_reference(self.env)
        family = GymnasiumFamily(Environment(make, run.spec.episode_steps))
        check_fit(family.spec, run.spec)
        agent, env = run.begin(self.seed), family.maker(None)
        rounds = agent.layout.rounds > 1
        returns, adapted = [], []
        for episode in range(self.episodes):
            returns.append(play(env, agent, run.spec.episode_steps, self.seed + episode))
            adapted.append(agent.adaptations)
            note = "   adapted" if rounds and adapted[-1] > agent_before(adapted) else ""
            print(f"episode {episode + 1:>3}   return {returns[-1]:.3f}{note}", flush=True)
        env.close()
        print(before_and_after(returns, adapted, agent) if rounds else first_and_last(returns))
        if self.save is not None:
            agent.save(self.save)
            print(f"Kept in {self.save}")


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
    if found.action != wanted.action:
        raise AdaptaxError(
            f"The environment's actions are {describe(found)} and those of '{wanted.name}', on which this learner was "
            f"trained, {describe(wanted)}; train one on environments like yours."
        )


def describe(spec: Spec) -> str:
    """An action space with its bounds."""
    bounds = [f"[{low:g}, {high:g}]" for low, high in zip(getattr(spec.action, "low", ()), getattr(spec.action, "high", ()))]
    return space(spec.action) + (f" in {' × '.join(bounds)}" if bounds else "")


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
