"""XLand-MiniGrid: a grid world whose goal and rules are hidden, and differ from task to task."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from adaptax.errors import AdaptaxError, near
from adaptax.tasks.base import Split, TaskFamily
from adaptax.tasks.xland_rulesets import GOAL_LENGTH, RULE_LENGTH, Rulesets, rulesets
from adaptax.types import Discrete, Outcome, Spec

TILES, COLOURS = 13, 12
"""How many kinds of tiles there are, and in how many colours."""
DIRECTIONS, ACTIONS = 4, 6
GOALS, RULES = 15, 12
"""How many kinds of goals and rules there are, "none" included."""


class Ruleset(eqx.Module):
    """A task."""

    goal: UInt8[Array, " 5"]
    rules: UInt8[Array, "rules 7"]
    objects: UInt8[Array, "objects 2"]
    """What an episode begins with, at random places."""


@dataclasses.dataclass(frozen=True)
class XLand(TaskFamily):
    """XLand-MiniGrid (Nikulin et al. 2024): objects on a grid, a hidden goal, and hidden rules that turn objects into others.

    A task is a ruleset. An episode begins with its objects and the agent at random places, and terminates where the goal is
    attained, which pays 1 − 0.9 · t/T after t of T steps and is success. Nothing tells the goal but this reward: what was
    tried in earlier episodes has to be remembered.

    The observation is the 5 × 5 tiles before the agent, each a one-hot kind (13) and a one-hot colour (12), and the direction
    that it faces, one-hot (4): 629 numbers. The six actions are to step forward, to turn right, to turn left, to pick up, to
    put down, and to toggle a door.

    Rulesets are generated from `seed` as the published benchmarks are made, or downloaded by the package; a fifth of them, at
    random, are for testing. There is no `ood` and no `optimal`.
    """

    env: str = "XLand-MiniGrid-R1-9x9"
    """The grid's name in the package: rooms and size."""
    benchmark: str = "trivial"
    """Rulesets: trivial, small, medium and high are generated; trivial-21k, small-1m and so on are downloaded by the package."""
    rulesets: int = 10_000
    """How many, training and test together."""
    seed: int = 0
    """Where the rulesets come from, and how they are divided."""
    episode_steps: int = 0
    """Longest episode; 0: three times as many as the grid has tiles."""
    episodes: int = 4
    """Episodes in a lifetime of learners that remember."""

    def __post_init__(self):
        if self.rulesets < 2 or self.episodes < 1 or self.episode_steps < 0:
            raise AdaptaxError(
                "XLand needs at least two rulesets, one episode, and no negative number of steps, not "
                f"rulesets={self.rulesets}, episodes={self.episodes} and episode_steps={self.episode_steps}."
            )
        _ = self.known

    @property
    def known(self) -> Rulesets:
        """All rulesets, read once in a process."""
        _environment(self.env, self.episode_steps)  # where the package is absent, that is told first
        return rulesets(self.benchmark, self.rulesets, self.seed)

    @property
    def fingerprint(self) -> str:
        """Of all rulesets and how they are divided: another one is another family."""
        return self.known.fingerprint

    @property
    def spec(self) -> Spec:
        made = _environment(self.env, self.episode_steps)
        return Spec(
            name="xland",
            observation=(made.params.view_size**2 * (TILES + COLOURS) + DIRECTIONS,),
            action=Discrete(ACTIONS),
            episode_steps=made.params.max_steps,
            episodes=self.episodes,
            features=_goal_size() + self.known.rules.shape[1] * _rule_size(),
            ood=False,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Ruleset:
        known = self.known
        chosen = jnp.asarray(np.flatnonzero(known.test == (split == "test")))
        i = chosen[jax.random.randint(key, (), 0, len(chosen))]
        return Ruleset(*(jnp.asarray(part)[i] for part in (known.goals, known.rules, known.objects)))

    def reset(self, key: Key[Array, ""], task: Ruleset) -> tuple[Any, Float[Array, " 629"]]:
        env, params = _environment(self.env, self.episode_steps)
        state = env.reset(_with(params, task), key)
        return state, observed(state)

    def step(
        self, key: Key[Array, ""], state: Any, action: Int[Array, ""], task: Ruleset
    ) -> tuple[Any, Outcome]:
        """xminigrid's transition, which resets nothing."""
        env, params = _environment(self.env, self.episode_steps)
        after = env.step(_with(params, task), state, action)
        attained = after.discount == 0
        outcome = Outcome(
            observed(after),
            after.reward,
            terminated=attained,
            truncated=after.last() & ~attained,
            success=attained,
        )
        return after, outcome

    def features(self, task: Ruleset) -> Float[Array, " F"]:
        """The goal's kind and tiles, and those of the rules, one-hot."""
        told = [jax.nn.one_hot(task.goal[0], GOALS), _one_hot(task.goal[1:].reshape(-1, 2))]
        for rule in task.rules:
            told += [jax.nn.one_hot(rule[0], RULES), _one_hot(rule[1:].reshape(-1, 2))]
        return jnp.concatenate(told)


class Made(NamedTuple):
    env: Any
    params: Any


def observed(state: Any) -> Float[Array, " 629"]:
    """Of xminigrid's time step: the tiles before the agent, row by row, and where it faces."""
    return jnp.concatenate(
        [
            _one_hot(state.observation.reshape(-1, 2)),
            jax.nn.one_hot(state.state.agent.direction, DIRECTIONS),
        ]
    )


@functools.cache
def _environment(name: str, episode_steps: int) -> Made:
    """A grid of xminigrid and its parameters, with the ruleset still to be set."""
    try:
        from xminigrid import registration
    except ModuleNotFoundError as error:
        missing = (
            "xminigrid is not installed" if error.name == "xminigrid" else f"xminigrid needs '{error.name}'"
        )
        raise AdaptaxError(f"{missing}; run: pip install 'adaptax[xland]'.") from None
    names = [known for known in registration.registered_environments() if known.startswith("XLand")]
    if name not in names:
        raise AdaptaxError(
            f"XLand-MiniGrid has no grid '{name}'; {near(name, names)}there are: {', '.join(names)}."
        )
    env, params = registration.make(name)
    return Made(env, params.replace(max_steps=episode_steps) if episode_steps else params)


def _with(params: Any, task: Ruleset) -> Any:
    """The grid's parameters with the task's ruleset."""
    ruleset = params.ruleset.replace(goal=task.goal, rules=task.rules, init_tiles=task.objects)
    return params.replace(ruleset=ruleset)


def _one_hot(tiles: UInt8[Array, "n 2"]) -> Float[Array, " numbers"]:
    """Kind and colour of each tile."""
    kinds, colours = jax.nn.one_hot(tiles[:, 0], TILES), jax.nn.one_hot(tiles[:, 1], COLOURS)
    return jnp.concatenate([kinds, colours], axis=1).reshape(-1)


def _goal_size() -> int:
    return GOALS + GOAL_LENGTH // 2 * (TILES + COLOURS)


def _rule_size() -> int:
    return RULES + RULE_LENGTH // 2 * (TILES + COLOURS)
