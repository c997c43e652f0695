"""The contract of a task family inside JAX, promise by promise."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from adaptax.cli.checks import DRAWS, Checks, as_bytes, compare_splits, require
from adaptax.cli.spaces import with_bounds
from adaptax.networks.distributions import uniform
from adaptax.tasks.base import SPLITS, Split, TaskFamily, to_environment
from adaptax.types import Outcome, Spec

EPISODES = 256
"""Episodes that are played at once."""


class JaxChecks(Checks):
    def __init__(self, family: TaskFamily):
        self.family = family
        self.spec = family.spec
        self.splits: list[Split] = [split for split in SPLITS if split != "ood" or family.spec.ood]
        self.key = jax.random.key(0)

    def items(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("spec is a Spec, and the family is frozen: part of the compiled program", self.frozen),
            ("sample(key, split) can be jitted and mapped", self.sample_maps),
            ("tasks differ, and test tasks are no training tasks", self.different_tasks),
            ("reset(key, task) gives what the spec says", self.reset_fits),
            (
                "step(key, state, action, task) gives what the spec says, and a state like that of reset",
                self.step_fits,
            ),
            ("episodes can be jitted and mapped; observations and rewards are finite", self.sound_episodes),
            ("features(task) and optimal(task) are what the spec says", self.numbers),
            ("speed", self.speed),
        ]

    def frozen(self) -> str:
        require(isinstance(self.spec, Spec), "The property spec must return an adaptax.types.Spec.")
        frozen = dataclasses.is_dataclass(self.family) and type(self.family).__hash__ is not None
        require(
            frozen and self.family == type(self.family)(),
            f"Two objects of {type(self.family).__name__} must be equal and have a hash; put @dataclasses.dataclass(frozen=True) "
            "above the class, and give it fields of plain numbers.",
        )
        hash(self.family)
        return (
            f"{self.spec.name}: observations {self.spec.observation}, actions {with_bounds(self.spec.action)}"
        )

    def sample_maps(self) -> str:
        for split in self.splits:
            mapped, alone = self.tasks(split, 4), self.family.sample(self.task_key(split, 3), split)
            same = jax.tree.map(lambda many, one: np.allclose(many[3], one, rtol=1e-4), mapped, alone)
            require(
                jax.tree.all(same),
                f"sample(key, '{split}') gave two different tasks for the same key; take every random number from key.",
            )
        return f"splits {', '.join(self.splits)}"

    def different_tasks(self) -> str:
        drawn = {split: as_bytes(self.tasks(split, DRAWS)) for split in self.splits}
        return compare_splits(drawn, self.spec.shared_tasks)

    def reset_fits(self) -> str:
        _, obs = jax.eval_shape(self.family.reset, self.key, self.task())
        fits("The observation of reset", obs, self.spec.observation, jnp.float32)
        return f"float32{list(obs.shape)}"

    def step_fits(self) -> str:
        task, action = (
            self.task(),
            to_environment(self.spec.action, uniform(self.spec.action, None).sample(self.key)),
        )
        before, _ = jax.eval_shape(self.family.reset, self.key, task)
        after, outcome = jax.eval_shape(self.family.step, self.key, before, action, task)
        require(isinstance(outcome, Outcome), "step must return (state, adaptax.types.Outcome).")
        fits("Outcome.obs", outcome.obs, self.spec.observation, jnp.float32)
        fits("Outcome.reward", outcome.reward, (), jnp.float32)
        fits("Outcome.terminated", outcome.terminated, (), jnp.bool_)
        fits("Outcome.truncated", outcome.truncated, (), jnp.bool_)
        if outcome.success is not None:
            fits("Outcome.success", outcome.success, (), jnp.bool_)
        require(
            jax.tree.structure(before) == jax.tree.structure(after),
            "The state after step is built otherwise than that of reset; return the same kind of tuple, dict or module.",
        )
        for path, old in jax.tree_util.tree_leaves_with_path(before):
            new = dict(jax.tree_util.tree_leaves_with_path(after))[path]
            fits(f"The state after step{jax.tree_util.keystr(path)}", new, old.shape, old.dtype)
        return "as declared" + ("" if outcome.success is None else ", and tells success")

    def sound_episodes(self) -> str:
        obs, rewards, ends, alive = map(np.asarray, self.play(self.key))
        require(
            np.isfinite(obs[alive]).all(),
            "An observation is NaN or infinite; bound the state, or end the episode before.",
        )
        require(np.isfinite(rewards[alive]).all(), "A reward is NaN or infinite; give finite numbers.")
        return (
            f"{(ends & alive).sum()} of {EPISODES} end by themselves, the others are cut off after "
            f"{self.spec.episode_steps} steps; mean return of random actions {(rewards * alive).sum(1).mean():.2f}"
        )

    def numbers(self) -> str:
        task = self.task()
        features, optimal = self.family.features(task), self.family.optimal(task)
        require(
            features is not None or not self.spec.features,
            "The spec declares features, but features(task) is None.",
        )
        if features is not None:
            fits("features(task)", features, (self.spec.features,), jnp.float32)
            require(jnp.isfinite(features).all(), "features(task) is not finite.")
        if optimal is not None:
            fits("optimal(task)", jnp.asarray(optimal), (), jnp.float32)
            require(jnp.isfinite(optimal), "optimal(task) is not finite; leave it out where it is unknown.")
        oracle = f"{self.spec.features} features" if self.spec.features else "no features, hence no oracle"
        return f"{oracle}; {'optimal return unknown, hence no regret' if optimal is None else 'optimal return known'}"

    def speed(self) -> str:
        jax.block_until_ready(self.play(self.key))
        started = time.perf_counter()
        jax.block_until_ready(self.play(jax.random.key(1)))
        return f"{EPISODES * self.spec.episode_steps / (time.perf_counter() - started):,.0f} steps/s"

    def task_key(self, split: Split, i: int | Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(self.key, SPLITS.index(split)), i)

    def tasks(self, split: Split, number: int) -> Any:
        return jax.jit(jax.vmap(lambda i: self.family.sample(self.task_key(split, i), split)))(
            jnp.arange(number)
        )

    def task(self) -> Any:
        return self.family.sample(self.key, "train")

    @functools.cached_property
    def play(self) -> Callable[[Array], tuple[Array, Array, Array, Array]]:
        """Episodes of random actions: observations, rewards, where they end by themselves, and which steps are before that."""
        family, space = self.family, self.spec.action

        def episode(key: Array):
            task = family.sample(key, "train")
            state, _ = family.reset(key, task)

            def step(carry, key):
                state, alive = carry
                mask = family.action_mask(state, task) if self.spec.masked else None
                action = to_environment(space, uniform(space, mask).sample(key))
                state, outcome = family.step(key, state, action, task)
                ends = outcome.terminated | outcome.truncated
                return (state, alive & ~ends), (outcome.obs, outcome.reward, ends, alive)

            steps = jax.random.split(key, self.spec.episode_steps)
            return jax.lax.scan(step, (state, jnp.array(True)), steps)[1]

        return jax.jit(lambda key: jax.vmap(episode)(jax.random.split(key, EPISODES)))


def fits(what: str, found: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """AdaptaxError where an array has another shape or dtype than it must have."""
    require(
        hasattr(found, "shape") and found.shape == shape and found.dtype == dtype,
        f"{what} must be {jnp.dtype(dtype).name}{list(shape)}, but is "
        + (f"{found.dtype.name}{list(found.shape)}." if hasattr(found, "shape") else f"{found!r}."),
    )
