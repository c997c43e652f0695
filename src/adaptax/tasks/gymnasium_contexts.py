"""Any environment of Gymnasium whose attributes vary: a family on the host, by naming attributes and ranges."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import HostFamily, Split
from adaptax.tasks.contexts import Contexts, read_contexts
from adaptax.tasks.gymnasium import action_space, adapter_module
from adaptax.types import Spec

if TYPE_CHECKING:
    from adaptax.tasks.gymnasium_env import EnvMaker


@dataclasses.dataclass(frozen=True)
class GymnasiumContexts(HostFamily):
    """An environment of Gymnasium, with some attributes of its simulator hidden and different from task to task.

    A task is the values of the attributes in `vary`, which are set on the unwrapped environment; what CartPole derives from
    masses and length follows them. Values are drawn as in `Gymnax`, with the same splits. Attributes that are read only when
    an environment is made, such as those of its spaces, change nothing.
    """

    env: str = "CartPole-v1"
    """The environment's name in Gymnasium."""
    vary: tuple[str, ...] = ("length=0.25:1.5", "force_mag=5:20")
    """Which attributes vary, and over which ranges: NAME=LOW:HIGH, several apart by spaces."""
    ood: tuple[str, ...] = ()
    """Ranges of the ood split, NAME=LOW:HIGH, outside those of training; empty: beyond either end, by up to half the width."""
    episode_steps: int = 0
    """Longest episode; 0: the environment's own limit."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""

    def __post_init__(self):
        if self.episode_steps < 0 or self.episodes < 1:
            raise AdaptaxError(
                "An environment of Gymnasium needs at least one episode, and no negative number of steps, not "
                f"episodes={self.episodes} and episode_steps={self.episode_steps}."
            )
        _made(self)

    @property
    def maker(self) -> EnvMaker:  # type: ignore[override]
        return _made(self).maker

    @property
    def spec(self) -> Spec:
        return _made(self).spec

    def sample(self, rng: np.random.Generator, split: Split) -> tuple[float, ...]:
        words = rng.integers(2**32, size=2, dtype=np.uint32)
        key = jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
        values = _draw(_made(self).contexts, key, split)
        whole = [p.whole for p in _made(self).contexts.parameters]
        return tuple(int(x) if w else float(x) for x, w in zip(np.asarray(values), whole, strict=True))

    def features(self, task: tuple[float, ...]) -> Float[np.ndarray, " P"]:
        """The attributes on the scale that they are drawn on, -1..1 over their ranges."""
        return np.asarray(_tell(_made(self).contexts, np.asarray(task, np.float32)))


class Made(NamedTuple):
    """What a family's fields stand for."""

    contexts: Contexts
    maker: EnvMaker
    spec: Spec


@functools.lru_cache(maxsize=64)
def _made(family: GymnasiumContexts) -> Made:
    """Once for each family. AdaptaxError where the fields name no environment, or attributes that cannot vary."""
    adapter = adapter_module()
    default = adapter.ContextEnvs(family.env, (), family.episode_steps).make(())
    contexts = read_contexts(
        f"Gymnasium's {family.env}", adapter.attributes(default), family.vary, family.ood
    )
    names = tuple(p.name for p in contexts.parameters)
    limit = default.spec and default.spec.max_episode_steps
    if not limit:
        raise AdaptaxError(f"How long the episodes of {family.env} last is not known; set episode_steps.")
    sizes = adapter.flat_spaces(default)
    default.close()
    return Made(
        contexts=contexts,
        maker=adapter.EnvMaker(adapter.ContextEnvs(family.env, names, family.episode_steps), sizes, None),
        spec=Spec(
            name="gymnasium"
            if family.env == GymnasiumContexts.env
            else f"gymnasium-{family.env.replace('/', '-')}",
            observation=(sizes.observation,),
            action=action_space(sizes),
            episode_steps=limit,
            episodes=family.episodes,
            features=len(names),
            ood=contexts.has_ood,
        ),
    )


@functools.partial(jax.jit, static_argnums=(0, 2))
def _draw(contexts: Contexts, key: Array, split: Split) -> Float[Array, " P"]:
    return contexts.sample(key, split)


@functools.partial(jax.jit, static_argnums=0)
def _tell(contexts: Contexts, values: Float[Array, " P"]) -> Float[Array, " P"]:
    return contexts.features(values)
