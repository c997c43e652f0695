"""A task family inside JAX: carts whose motor is stronger or weaker, and may be wired the wrong way round.

A learner that is trained on many such carts drives one it has never seen: it finds out within an episode or two what
this motor does. Everything is written for ONE task and ONE environment; batches come by themselves. Change it into
tasks of your own, then

    adaptax check-family THIS_FILE:MyTasks
    adaptax train rl2 jax:THIS_FILE:MyTasks
"""

import dataclasses

import jax
import jax.numpy as jnp

from adaptax.tasks.base import TaskFamily
from adaptax.types import Box, Outcome, Spec


# Frozen, with plain numbers as fields: they are part of the compiled program, and flags of the command line
# (--family.episode-steps 50).
@dataclasses.dataclass(frozen=True)
class MyTasks(TaskFamily):
    """Carts with hidden motors."""

    episode_steps: int = 30
    """Steps in an episode."""

    @property
    def spec(self):
        return Spec(
            name="jax-carts",  # in tables and folders
            observation=(2,),  # the shape of an observation: position, speed
            action=Box(low=(-1.0,), high=(1.0,)),  # or Discrete(n), MultiDiscrete((n, m)), Candidates(n, k)
            episode_steps=self.episode_steps,  # an episode that is still running then is cut off
            episodes=2,  # episodes in a lifetime of learners that remember (rl2)
            features=1,  # the length of `features(task)`; 0: there are none
            ood=True,  # False: `sample` knows no out-of-distribution tasks
        )

    def sample(self, key, split):
        """A task: any pytree of arrays. `split` is "train", "test" or "ood", a plain string."""
        k1, k2 = jax.random.split(key)
        low, high = (1.5, 2.0) if split == "ood" else (0.5, 1.5)
        strength = jax.random.uniform(k1, minval=low, maxval=high)
        return strength * jnp.where(jax.random.bernoulli(k2), 1.0, -1.0)

    def reset(self, key, task):
        """The state at an episode's beginning (any pytree of arrays), and the first observation."""
        state = jnp.stack([jax.random.uniform(key, minval=-1.0, maxval=1.0), 0.0])
        return state, state

    def step(self, key, state, action, task):
        """One step: the next state, and what came of it."""
        position, speed = state
        speed = speed + 0.3 * task * action[0] - 0.1 * speed
        position = position + 0.3 * speed
        state = jnp.stack([position, speed])
        return state, Outcome(
            obs=state,
            reward=-jnp.abs(position),  # finite, and of a size around 1 if you can
            terminated=jnp.array(False),  # True where the task itself ends: no reward can come after
            truncated=jnp.array(False),  # True where time is up; `episode_steps` sees to it here
            success=jnp.abs(position) < 0.1,  # leave it out if there is none
        )

    def features(self, task):
        """Optional: the hidden task in numbers, for the oracle, the learner that is told what others must find out."""
        return task[None]
