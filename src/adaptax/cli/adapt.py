"""`adaptax adapt`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from tyro.conf import Positional, arg

from adaptax.cli.listing import space
from adaptax.cli.runs import find
from adaptax.collection.agent import Agent
from adaptax.errors import AdaptaxError, told
from adaptax.tasks.gymnasium import flat_env
from adaptax.tasks.registry import import_reference
from adaptax.types import Spec

if TYPE_CHECKING:
    from adaptax.tasks.gymnasium_env import FlatEnv

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Adapt:
    """Takes a trained learner to your own Gymnasium environment and lets it adapt there, episode after episode."""

    directory: Annotated[Positional[str], arg(metavar="DIR")]
    """What `adaptax train` wrote, or pretrained:NAME."""
    env: Annotated[str, arg(metavar="MODULE:CALLABLE")]
    """A function without arguments, or a class, that gives a gymnasium.Env."""
    episodes: Annotated[int, arg(metavar="K")] = 10
    """Episodes to play."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Of the agent's dice, and of the environment's first reset."""
    save: Annotated[Path | None, arg(metavar="FILE")] = None
    """Keep there what the agent has learned of this task: `Agent.load` goes on from it."""

    def execute(self) -> None:
        if self.episodes < 1:
            raise AdaptaxError(f"--episodes must be 1 or more, not {self.episodes}.")
        run = find(self.directory).runs[0]
        agent = run.begin(self.seed)
        env = flat_env(_calling("Making the environment", import_reference(self.env)))
        check_fit(env, run.spec)
        returns = []
        for episode in range(self.episodes):
            before = agent.adaptations
            returns.append(play(env, agent, run.spec, seed=self.seed if episode == 0 else None))
            adapted = "   (adapted)" if agent.adaptations > before else ""
            print(f"episode {episode + 1:>3}: return {returns[-1]:.3f}{adapted}", flush=True)
        env.close()
        print(before_and_after(returns, agent))
        if self.save is not None:
            agent.save(self.save)
            print(f"Kept in {self.save}")
