"""Any gymnax environment whose parameters vary: a family inside the jitted program, by naming parameters and ranges."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.errors import AdaptaxError, near, told
from adaptax.tasks.base import Split, TaskFamily
from adaptax.tasks.contexts import Contexts, is_whole, read_contexts
from adaptax.tasks.following import with_following
from adaptax.types import Box, Discrete, Outcome, Space, Spec

LIMIT = "max_steps_in_episode"
"""gymnax's name for the longest episode."""


@dataclasses.dataclass(frozen=True)
class Gymnax(TaskFamily):
    """An environment of gymnax (Lange 2022), with some of its parameters hidden and different from task to task.

    A task is the values of the parameters in `vary`, float32[P]; the others keep gymnax's defaults. Real parameters with a
    positive range are drawn log-uniformly, others uniformly; `ood` lies outside, by up to half a range's width or where the
    field `ood` says (`tasks/contexts.py`). What CartPole derives from masses and length follows them.

    A step is gymnax's `step_env`: nothing is reset, the time limit truncates, all else terminates. Observations that are
    choices are one-hot; images are float32 of their shape. There is no `optimal`: it is not known.
    """

    env: str = "CartPole-v1"
    """The environment's name in gymnax."""
    vary: tuple[str, ...] = ("length=0.25:1.5", "force_mag=5:20")
    """Which parameters vary, and over which ranges: NAME=LOW:HIGH, several apart by spaces."""
    ood: tuple[str, ...] = ()
    """Ranges of the ood split, NAME=LOW:HIGH, outside those of training; empty: beyond either end, by up to half the width."""
    episode_steps: int = 0
    """Longest episode; 0: gymnax's own limit."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""

    def __post_init__(self):
        if self.episode_steps < 0 or self.episodes < 1:
            raise AdaptaxError(
                f"Gymnax needs at least one episode, and no negative number of steps, not episodes={self.episodes} and "
                f"episode_steps={self.episode_steps}."
            )
        _made(self)

    @property
    def spec(self) -> Spec:
        return _made(self).spec

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " P"]:
        return _made(self).contexts.sample(key, split)

    def reset(self, key: Key[Array, ""], task: Float[Array, " P"]) -> tuple[Any, Array]:
        made = _made(self)
        obs, state = made.env.reset_env(key, made.params(task))
        return trees.strongly_typed(jax.tree.map(jnp.asarray, state)), made.observed(obs)

    def step(
        self, key: Key[Array, ""], state: Any, action: Array, task: Float[Array, " P"]
    ) -> tuple[Any, Outcome]:
        """gymnax's transition under the task's parameters."""
        made = _made(self)
        params = made.params(task)
        obs, after, reward, terminated, _ = made.env.step_env(key, state, made.action(action), params)
        late = jnp.asarray(made.env.is_truncated(after, params), bool)
        terminated = jnp.asarray(terminated, bool)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)
        return after, Outcome(
            made.observed(obs), jnp.asarray(reward, jnp.float32), terminated, truncated=late & ~terminated
        )

    def features(self, task: Float[Array, " P"]) -> Float[Array, " P"]:
        """The parameters on the scale that they are drawn on, -1..1 over their ranges."""
        return _made(self).contexts.features(task)


class Made(NamedTuple):
    """What a family's fields stand for."""

    env: Any
    default: Any
    """gymnax's parameters, with the family's time limit."""
    contexts: Contexts
    spec: Spec
    action_shape: tuple[int, ...]
    choices: int
    """How many choices an observation is one of; 0: it is an array."""

    def params(self, task: Float[Array, " P"]) -> Any:
        """gymnax's parameters of a task."""
        return _with(self.default, self.contexts.values(task))

    def action(self, action: Array) -> Array:
        return action if isinstance(self.spec.action, Discrete) else action.reshape(self.action_shape)

    def observed(self, obs: Array) -> Float[Array, "..."]:
        return jax.nn.one_hot(obs, self.choices) if self.choices else jnp.asarray(obs, jnp.float32)


@functools.lru_cache(maxsize=64)
def _made(family: Gymnax) -> Made:
    """Once for each family. AdaptaxError where the fields name no environment, or parameters that cannot vary."""
    with jax.ensure_compile_time_eval():  # bounds of spaces are numbers, also where this is traced
        return _make(family)


def _make(family: Gymnax) -> Made:
    env, default = _environment(family.env)
    if family.episode_steps:
        default = dataclasses.replace(default, **{LIMIT: family.episode_steps})
    where = f"gymnax's {family.env}"
    known = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    limit = int(known[LIMIT])
    if any(text.partition("=")[0] == LIMIT for text in (*family.vary, *family.ood)):
        raise AdaptaxError(
            f"'{LIMIT}' is the same in all tasks; leave it out of vary and set episode_steps instead."
        )
    contexts = read_contexts(
        where, {name: x for name, x in known.items() if name != LIMIT}, family.vary, family.ood
    )
    for p in contexts.parameters:
        if is_whole(known[p.name]) and not p.whole:
            raise AdaptaxError(
                f"'{p.name}' of {where} is a whole number; give its range by whole numbers, not {p.low:g}:{p.high:g}."
            )
    observation, choices = _observation(where, env.observation_space(default))
    action = _action(where, env.action_space(default))
    spec = Spec(
        name="gymnax" if family.env == Gymnax.env else f"gymnax-{family.env}",
        observation=observation,
        action=action,
        episode_steps=limit,
        episodes=family.episodes,
        features=len(contexts.parameters),
        ood=contexts.has_ood,
    )
    made = Made(env, default, contexts, spec, tuple(getattr(env.action_space(default), "shape", ())), choices)
    _require_same_spaces(made, where)
    _require_traceable(made, where)
    return made


def _require_same_spaces(made: Made, where: str) -> None:
    """AdaptaxError where a parameter is part of what all tasks share."""
    for p in made.contexts.parameters:
        for end in (p.low, p.high):
            params = _with(made.default, {p.name: int(end) if p.whole else end})
            same = _observation(where, made.env.observation_space(params)) == (
                made.spec.observation,
                made.choices,
            )
            if not same or _action(where, made.env.action_space(params)) != made.spec.action:
                raise AdaptaxError(
                    f"'{p.name}' of {where} sets the space of its observations or actions, which is the same in all tasks; "
                    "leave it out of vary."
                )


def _require_traceable(made: Made, where: str) -> None:
    """AdaptaxError where gymnax reads a parameter as a Python number, which cannot vary inside a compiled program."""

    def episode(key, task):
        params = made.params(task)
        _, state = made.env.reset_env(key, params)
        action = made.action(
            jnp.zeros((made.spec.action.size,)) if made.action_shape else jnp.zeros((), jnp.int32)
        )
        return made.env.step_env(key, state, action, params)[2]

    try:
        task = jax.ShapeDtypeStruct((len(made.contexts.parameters),), jnp.float32)
        jax.eval_shape(episode, jax.random.key(0), task)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError, TypeError) as error:
        names = ", ".join(p.name for p in made.contexts.parameters)
        raise AdaptaxError(
            f"{where} reads {names} as fixed numbers ({type(error).__name__}); they cannot differ from task to task inside a "
            "compiled program, so leave out those that decide sizes or branches."
        ) from error


@functools.cache
def _environment(name: str) -> tuple[Any, Any]:
    """A gymnax environment and its default parameters."""
    try:
        import gymnax
    except ModuleNotFoundError as error:
        missing = "gymnax is not installed" if error.name == "gymnax" else f"gymnax needs '{error.name}'"
        raise AdaptaxError(f"{missing}; run: pip install 'adaptax[gymnax]'.") from None
    if name not in gymnax.registered_envs:
        raise AdaptaxError(
            f"gymnax has no environment '{name}'; {near(name, gymnax.registered_envs)}there are: "
            f"{', '.join(gymnax.registered_envs)}."
        )
    try:
        return gymnax.make(name)
    except Exception as error:
        raise AdaptaxError(f"gymnax could not make {name}: {told(error)}.") from error


def _with(default: Any, values: dict[str, Any]) -> Any:
    """gymnax's parameters with other values, and what follows from them."""
    known = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    return dataclasses.replace(default, **with_following(known, values))


def _observation(where: str, space: Any) -> tuple[tuple[int, ...], int]:
    """(shape, choices) of an observation."""
    kind = type(space).__name__
    if kind == "Discrete":
        return (int(space.n),), int(space.n)
    if kind == "Box":
        return tuple(space.shape) or (1,), 0
    raise AdaptaxError(f"The observations of {where} are a {kind}; families need a Box or a Discrete.")


def _action(where: str, space: Any) -> Space:
    kind = type(space).__name__
    if kind == "Discrete":
        return Discrete(int(space.n))
    if kind == "Box":
        low, high = (
            np.broadcast_to(np.asarray(x, np.float32), space.shape).ravel() for x in (space.low, space.high)
        )
        return Box(tuple(low.tolist()), tuple(high.tolist()))
    raise AdaptaxError(f"The actions of {where} are a {kind}; families need a Box or a Discrete.")
