"""A Gymnasium environment as a worker steps it: flat numbers in, flat numbers out.

Imports no JAX, so that worker processes start fast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from adaptax.errors import AdaptaxError, near, short
from adaptax.tasks.following import with_following


class FlatSpaces(NamedTuple):
    """Sizes of the vectors that stand for an environment's observations and actions."""

    observation: int
    """Length of a flattened observation; choices are one-hot."""
    scalar: bool
    """True where the action is a single choice."""
    choices: tuple[int, ...]
    """How many options each choice of the action has; empty where the action is a real vector."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Bounds of the real vector; empty where the action is made of choices."""


def flat_spaces(env: gymnasium.Env) -> FlatSpaces:
    """The sizes of an environment's vectors. Raises AdaptaxError for a space that has none."""
    if not env.observation_space.is_np_flattenable:
        raise AdaptaxError(
            f"The observation space {env.observation_space} has no fixed length; "
            "observe a Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these."
        )
    observation = spaces.flatdim(env.observation_space)
    leaves = list(_leaves(env.action_space))
    boxes = [leaf for leaf in leaves if isinstance(leaf, spaces.Box)]
    if not boxes and leaves:
        scalar = len(leaves) == 1 and isinstance(leaves[0], spaces.Discrete)
        return FlatSpaces(observation, scalar, tuple(n for leaf in leaves for n in _choices(leaf)), (), ())
    if len(boxes) < len(leaves):
        raise AdaptaxError(
            f"The action space {env.action_space} mixes choices with real numbers; "
            "make all its parts Discrete, MultiDiscrete or MultiBinary, or all of them Box."
        )
    with np.errstate(over="ignore"):  # a float64 bound beyond float32 is no bound
        low = tuple(float(x) for box in boxes for x in box.low.astype(np.float32).ravel())
        high = tuple(float(x) for box in boxes for x in box.high.astype(np.float32).ravel())
    if not low or not all(lo < hi for lo, hi in zip(low, high, strict=True)):
        raise AdaptaxError(
            f"The action space {env.action_space} leaves nothing to choose in some entry (its low is not below its "
            "high); take that entry out of the action."
        )
    return FlatSpaces(observation, False, (), low, high)


def decode_action(space: spaces.Space, numbers: np.ndarray) -> Any:
    """The action of `space` that a flat vector stands for: choices counted from 0, reals in the space's units."""
    match space:
        case spaces.Dict():
            return dict(zip(space.spaces, _decode_each(space.spaces.values(), numbers), strict=True))
        case spaces.Tuple():
            return tuple(_decode_each(space.spaces, numbers))
        case spaces.Discrete():
            return space.start + space.dtype.type(numbers[0])
        case spaces.MultiDiscrete():
            return space.start + numbers.reshape(space.nvec.shape).astype(space.dtype)
        case spaces.MultiBinary():
            return numbers.reshape(space.shape).astype(space.dtype)
        case spaces.Box():
            values = numbers.reshape(space.shape).astype(np.float64)
            values = values if np.issubdtype(space.dtype, np.floating) else np.rint(values)
            # Float32 may round a bound outwards.
            return np.asarray(np.clip(values, space.low, space.high), space.dtype)
    raise TypeError(f"decode_action: {space} is not supported")


class FlatEnv:
    """A Gymnasium environment of one task, with flat float32 observations and flat actions."""

    def __init__(self, env: gymnasium.Env, success_key: str | None = None):
        self.env, self._success_key = env, success_key
        self._size = spaces.flatdim(env.observation_space)

    def reset(self, seed: int) -> np.ndarray:
        """Begins an episode; the first observation, float32[D]."""
        answer = self.env.reset(seed=seed)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise AdaptaxError(
                f"reset() of {self.env} must return (observation, info), as Gymnasium's environments do; "
                f"it returned a {type(answer).__name__}."
            )
        return self._flat(answer[0])

    def step(self, action: np.ndarray | np.generic) -> tuple[np.ndarray, float, bool, bool, bool]:
        """(observation float32[D], reward, terminated, truncated, success)."""
        answer = self.env.step(decode_action(self.env.action_space, np.atleast_1d(action)))
        if not (isinstance(answer, tuple) and len(answer) == 5):
            raise AdaptaxError(
                f"step() of {self.env} must return (observation, reward, terminated, truncated, info), "
                f"as Gymnasium's environments do; it returned {len(answer) if isinstance(answer, tuple) else 1} values."
            )
        obs, reward, terminated, truncated, info = answer
        success = self._success_key is not None and bool(info.get(self._success_key, False))
        return self._flat(obs), float(np.asarray(reward).item()), bool(terminated), bool(truncated), success

    def close(self) -> None:
        self.env.close()

    def _flat(self, obs: Any) -> np.ndarray:
        with np.errstate(over="ignore"):  # an infinity is reported by the collector, with its task
            flat = np.asarray(spaces.flatten(self.env.observation_space, obs), np.float32)
        if flat.shape != (self._size,):
            raise AdaptaxError(
                f"An observation of {self.env} has {flat.size} entries and its observation_space {self._size}; "
                "make them agree."
            )
        return flat


@dataclasses.dataclass(frozen=True)
class EnvMaker:
    """Makes the environment of a task, in a worker: picklable where the user's family is."""

    family: Any
    """The user's object with `make(task)`."""
    spaces: FlatSpaces | None
    """What every environment of the family must have; None: anything."""
    success_key: str | None

    def __call__(self, task: Any) -> FlatEnv:
        env = self.family.make(task)
        if not isinstance(env, gymnasium.Env):
            raise AdaptaxError(
                f"make(task) of {type(self.family).__name__} must return a gymnasium.Env, "
                f"but returned a {type(env).__module__}.{type(env).__name__}."
            )
        found = flat_spaces(env)
        if self.spaces is not None and found != self.spaces:
            raise AdaptaxError(
                f"All tasks of a family need the same spaces, but make({short(task)}) gives {found} and the first "
                f"task {self.spaces}; pad the smaller ones."
            )
        return FlatEnv(env, self.success_key)


@dataclasses.dataclass(frozen=True)
class ContextEnvs:
    """Environments of one name in Gymnasium's registry; a task is the values of some of their attributes."""

    name: str
    attributes: tuple[str, ...]
    episode_steps: int
    """The longest episode; 0: the environment's own limit."""

    def make(self, task: Sequence[float]) -> gymnasium.Env:
        limit = {"max_episode_steps": self.episode_steps} if self.episode_steps else {}
        try:
            env = gymnasium.make(self.name, disable_env_checker=True, **limit)
        except Exception as error:
            meant = "" if self.name in gymnasium.registry else near(self.name, gymnasium.registry)
            raise AdaptaxError(
                f"Gymnasium could not make '{self.name}' ({' '.join(str(error).split())}); {meant}name an environment of its "
                "registry that is installed, such as Pendulum-v1."
            ) from error
        known = attributes(env)
        for name, value in with_following(known, dict(zip(self.attributes, task, strict=True))).items():
            setattr(env.unwrapped, name, value)
        return env


def attributes(env: gymnasium.Env) -> dict[str, Any]:
    """The attributes of an environment that may be its parameters: its own, and those of its class."""
    inner = env.unwrapped
    own = [
        vars(cls)
        for cls in reversed(type(inner).__mro__)
        if issubclass(cls, gymnasium.Env) and cls is not gymnasium.Env
    ]
    found = {name: value for part in (*own, vars(inner)) for name, value in part.items()}
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("_")
        and not callable(value)
        and not isinstance(value, property | classmethod | staticmethod)
    }


def _leaves(space: spaces.Space) -> Iterator[spaces.Space]:
    """The parts of an action space in the order in which the flat vector holds them."""
    match space:
        case spaces.Dict():
            for part in space.spaces.values():
                yield from _leaves(part)
        case spaces.Tuple():
            for part in space.spaces:
                yield from _leaves(part)
        case spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary() | spaces.Box():
            yield space
        case _:
            raise AdaptaxError(
                f"Actions of the space {space} are not supported; "
                "use Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of these."
            )


def _choices(leaf: spaces.Space) -> tuple[int, ...]:
    match leaf:
        case spaces.Discrete():
            return (int(leaf.n),)
        case spaces.MultiDiscrete():
            return tuple(int(n) for n in leaf.nvec.ravel())
    return (2,) * math.prod(leaf.shape or ())


def _decode_each(parts: Iterable[spaces.Space], numbers: np.ndarray) -> Iterator[Any]:
    at = 0
    for part in parts:
        size = sum(math.prod(leaf.shape or ()) for leaf in _leaves(part))
        yield decode_action(part, numbers[at : at + size])
        at += size
