"""Mountain cars with hidden physics.

Their default tasks are Gymnasium's `MountainCar-v0` and `MountainCarContinuous-v0`, step by step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.hidden_physics import HiddenPhysics, Range
from adaptax.types import Box, Discrete, Outcome, Spec

State = Float[Array, " 2"]
"""Position and velocity (per step); also the observation."""

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07
BOTTOM, TOP = -math.pi / 6, math.pi / 6
"""Where the valley is deepest, and where its right hill is highest."""


class Physics(eqx.Module):
    """A task: what is hidden, float32 scalars."""

    gravity: Array
    """Slows by gravity · cos(3x) per step."""
    force: Array
    """What full power to the right adds to the velocity per step. Negative where right and left are exchanged."""
    goal: Array
    """The episode terminates at this position, or beyond it."""


class _Hill(HiddenPhysics):
    """What both share: a valley sin(3x) between an inelastic wall and a goal, and a car too weak to drive straight up."""

    physics: ClassVar = Physics
    signed: ClassVar = "force"

    goal: Range
    shaping: bool
    shaping_scale: float
    shaping_gamma: float

    def __post_init__(self):
        super().__post_init__()
        low, high = self.goal
        if high * math.sqrt(high / low) > MAX_POSITION:
            raise AdaptaxError(
                f"goal must lie within the track, which ends at {MAX_POSITION}, and so must its `ood`, half the range further "
                f"on the logarithmic scale, but goal is {self.goal}."
            )
        if not 0 < self.shaping_scale < math.inf:
            raise AdaptaxError(f"shaping_scale must be above 0 and finite, not {self.shaping_scale}.")
        if not 0 < self.shaping_gamma <= 1:
            raise AdaptaxError(f"shaping_gamma must be above 0 and at most 1, not {self.shaping_gamma}.")

    def reset(self, key: Key[Array, ""], task: Physics) -> tuple[State, State]:
        state = jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), jnp.zeros(())])
        return state, state

    def _drive(self, state: State, power: Float[Array, ""], task: Physics) -> tuple[State, Bool[Array, ""]]:
        """The state after a step with `power` in -1..1, and whether it is at the goal."""
        x, v = state
        v = jnp.clip(v + power * task.force - task.gravity * jnp.cos(3 * x), -MAX_SPEED, MAX_SPEED)
        x = jnp.clip(x + v, MIN_POSITION, MAX_POSITION)
        v = jnp.where((x == MIN_POSITION) & (v < 0), 0.0, v)
        return jnp.stack([x, v]), (x >= task.goal) & (v >= 0)

    def potential(self, state: State, task: Physics) -> Float[Array, ""]:
        """Φ(s) = shaping_scale · min(0, (E(s) − E_goal) / (E_goal − E_bottom)), E = v²/2 + gravity · sin(3x) / 3.

        E is the car's mechanical energy; E_goal is what it takes to roll to the goal, E_bottom that of rest in the valley.
        """
        x, v = state

        def height(x: Float[Array, ""] | float) -> Float[Array, ""]:
            return task.gravity * jnp.sin(3 * jnp.asarray(x)) / 3

        goal, bottom = height(jnp.minimum(task.goal, TOP)), height(BOTTOM)
        return self.shaping_scale * jnp.minimum(0.0, (v**2 / 2 + height(x) - goal) / (goal - bottom))

    def _outcome(
        self, before: State, after: State, reward: Float[Array, ""], arrived: Bool[Array, ""], task: Physics
    ) -> Outcome:
        shaped = None
        if self.shaping:
            # F = γ Φ(s') − Φ(s), Ng et al. 1999; nothing follows a terminal state, whose Φ is 0.
            following = jnp.where(arrived, 0.0, self.potential(after, task))
            shaped = reward + self.shaping_gamma * following - self.potential(before, task)
        return Outcome(
            after, reward, terminated=arrived, truncated=jnp.array(False), success=arrived, shaped_reward=shaped
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MountainCar(_Hill):
    """A car in a valley (Moore 1990) whose physics, and which action drives which way, must be found out.

    Three actions: left, none, right. Each step pays −1 until the car is at the goal on the right hill, which is success. To
    drive with the velocity pumps energy and is all that a task asks for, but a flipped task exchanges left and right, and
    there the same controller brakes: one must find out, by what an action does to the velocity.

    By chance the goal is never reached, and then nothing tells one policy from another. So meta-training maximises, in the
    reward's place, r + γΦ(s') − Φ(s) (Ng et al. 1999), where Φ is the car's energy (`potential`), never above 0, and 0 at the
    goal. Over an episode that ends at the goal this adds −Φ of its first state, whatever the policy; one that is cut off in
    the valley keeps what is missing as a loss. Learners see, and evaluations count, −1 a step.

    There is no `optimal`: the fewest steps to the goal have no closed form.
    """

    gymnasium: ClassVar = (0.0025, 0.001, 0.5)

    gravity: Range = (0.0022, 0.0026)
    """Per step²."""
    force: Range = (0.00095, 0.0013)
    """Magnitude of a push, per step²."""
    goal: Range = (0.46, 0.54)
    """Position of the goal."""
    flip_probability: float = 0.5
    """How probable it is that left and right are exchanged, in all splits."""
    horizon: int = 200
    """Longest episode, in steps."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""
    shaping: bool = True
    """Meta-training maximises the shaped reward; False: −1 a step."""
    shaping_scale: float = 100.0
    """Minus Φ at rest in the valley, in units of the reward."""
    shaping_gamma: float = 0.99
    """γ of the shaping: what is best stays best where the algorithm discounts by the same."""

    @property
    def spec(self) -> Spec:
        return self._spec("mountain-car", 2, Discrete(3))

    def step(
        self, key: Key[Array, ""], state: State, action: Int[Array, ""], task: Physics
    ) -> tuple[State, Outcome]:
        after, arrived = self._drive(state, action - 1.0, task)
        return after, self._outcome(state, after, -jnp.ones(()), arrived, task)


@dataclasses.dataclass(frozen=True)
class MountainCarContinuous(_Hill):
    """`MountainCar` with an action in [-1, 1], and paid otherwise: 100 at the goal, minus a tenth of the action's square a step.

    To stand still pays 0, which is more than driving without arriving. The shaped reward is that of `MountainCar`.
    """

    gymnasium: ClassVar = (0.0025, 0.0015, 0.45)

    gravity: Range = (0.0022, 0.0028)
    """Per step²."""
    force: Range = (0.0012, 0.0018)
    """Magnitude of a push by an action of 1, per step²."""
    goal: Range = (0.4, 0.5)
    """Position of the goal."""
    flip_probability: float = 0.5
    """How probable it is that the action works the other way round, in all splits."""
    horizon: int = 999
    """Longest episode, in steps."""
    episodes: int = 2
    """Episodes in a lifetime of learners that remember."""
    shaping: bool = True
    """Meta-training maximises the shaped reward; False: the reward itself."""
    shaping_scale: float = 100.0
    """Minus Φ at rest in the valley, in units of the reward."""
    shaping_gamma: float = 0.99
    """γ of the shaping: what is best stays best where the algorithm discounts by the same."""

    @property
    def spec(self) -> Spec:
        return self._spec("mountain-car-continuous", 2, Box((-1.0,), (1.0,)))

    def step(
        self, key: Key[Array, ""], state: State, action: Float[Array, " 1"], task: Physics
    ) -> tuple[State, Outcome]:
        after, arrived = self._drive(state, action[0], task)
        reward = jnp.where(arrived, 100.0, 0.0) - 0.1 * action[0] ** 2
        return after, self._outcome(state, after, reward, arrived, task)
