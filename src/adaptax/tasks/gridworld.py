"""VariBAD's gridworld: a hidden goal, which a learner must search for first and go straight to ever after."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Places, Split, TaskFamily
from adaptax.types import Discrete, Outcome, Spec

ON_GOAL, ELSEWHERE = 1.0, -0.1
"""What a step pays that ends on the goal, and any other."""

MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
"""(x, y) of the actions: stay, up, right, down, left."""


class GridState(eqx.Module):
    """Where an episode stands."""

    cell: Int[Array, ""]
    elapsed: Int[Array, ""]
    """Steps taken in the episode."""


@dataclasses.dataclass(frozen=True)
class GridWorld(TaskFamily):
    """The gridworld of Zintgraf et al. 2020 (VariBAD): a task is the goal's cell, int32, with cell (x, y) numbered x·size + y.

    An episode begins in the corner (0, 0) and lasts exactly `horizon` steps, on the goal or not. A step pays 1 where it ends
    on the goal, else −0.1; walls keep the walker in place. Nothing comes after the last step, so that its end is
    `terminated`. Success is a step that ends on the goal.

    The observation is the cell, one-hot. VariBAD's code gives the policy the coordinates, and the reward decoder an output for
    each cell; one-hot, both see the cells alike, and a small network need not learn first to tell them apart. The step
    number is not observed.

    Goals are uniform over all cells but the start and its three neighbours, in training as in the test: `shared_tasks`.
    With the default sizes these are 21, and the best policy that knows the goal earns 11.07 an episode on average.

    `ood`: the goal is one of the three neighbours, where no training goal was.
    """

    size: int = 5
    """Cells along a side."""
    horizon: int = 15
    """Steps in an episode."""
    episodes: int = 4
    """Episodes in a lifetime."""

    def __post_init__(self):
        if self.size < 3 or self.horizon < 1 or self.episodes < 1:
            raise AdaptaxError(
                f"A gridworld needs a size of 3 or more, and at least one step and one episode, but it is {self}."
            )

    @property
    def spec(self) -> Spec:
        return Spec(
            name="gridworld",
            observation=(self.size**2,),
            action=Discrete(len(MOVES)),
            episode_steps=self.horizon,
            episodes=self.episodes,
            features=self.size**2,
            shared_tasks=True,
        )

    def goals(self, split: Split) -> Int[np.ndarray, " goals"]:
        """The cells where a task of this split may have its goal, all equally likely."""
        x, y = np.divmod(np.arange(self.size**2), self.size)
        near = (x < 2) & (y < 2)
        return np.flatnonzero(near & (x + y > 0) if split == "ood" else ~near)

    def sample(self, key: Key[Array, ""], split: Split) -> Int[Array, ""]:
        return jax.random.choice(key, jnp.asarray(self.goals(split), jnp.int32))

    def reset(self, key: Key[Array, ""], task: Int[Array, ""]) -> tuple[GridState, Float[Array, " cells"]]:
        start = GridState(jnp.int32(0), jnp.int32(0))
        return start, self._observe(start)

    def step(
        self, key: Key[Array, ""], state: GridState, action: Int[Array, ""], task: Int[Array, ""]
    ) -> tuple[GridState, Outcome]:
        place = jnp.stack(jnp.divmod(state.cell, self.size)) + jnp.array(MOVES)[action]
        x, y = jnp.clip(place, 0, self.size - 1)
        after = GridState(x * self.size + y, state.elapsed + 1)
        return after, Outcome(
            self._observe(after),
            self.rewards(task)[after.cell],
            terminated=after.elapsed >= self.horizon,
            truncated=jnp.array(False),
            success=after.cell == task,
        )

    def rewards(self, task: Int[Array, ""]) -> Float[Array, " cells"]:
        """What a step pays that ends in each of the cells: the whole task, as a reward decoder must tell it."""
        return jnp.where(jnp.arange(self.size**2) == task, ON_GOAL, ELSEWHERE)

    def _observe(self, state: GridState) -> Float[Array, " cells"]:
        return jax.nn.one_hot(state.cell, self.size**2)

    def features(self, task: Int[Array, ""]) -> Float[Array, " cells"]:
        """The goal's cell, one-hot."""
        return jax.nn.one_hot(task, self.size**2)

    def optimal(self, task: Int[Array, ""]) -> Float[Array, ""]:
        """By the shortest way, x + y steps of which the last already pays, and staying there."""
        x, y = jnp.divmod(task, self.size)
        away = jnp.minimum(x + y - 1, self.horizon)
        return ELSEWHERE * away + ON_GOAL * (self.horizon - away)

    def places(self, task: Int[Array, ""]) -> Places:
        """The cells, y upwards and x to the right, and staying in each."""
        cells = jnp.arange(self.size**2).reshape(self.size, self.size).T
        obs = jax.nn.one_hot(cells, self.size**2)
        stay = jnp.zeros((self.size, self.size), jnp.int32)
        return Places(obs, stay, obs, self.rewards(task)[cells])
