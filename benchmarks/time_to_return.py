"""Time to a post-adaptation return on 2D navigation: `python -m benchmarks.time_to_return`.

pytorch-maml-rl needs about 20 meta-iterations and 150 s for a return of -18 on its `2DNavigation-v0`, on two such cores. Counted
here: seconds of meta-training after compilation, until the mean post-adaptation return of the last three meta-updates is at
least the target. All seeds are reported.

The policy's unit makes a difference. In `PointNavigation` it is the longest step, 0.1, as for every bounded `Box` of this
library. There it is 1, and actions are clipped at 0.1: nine of ten of a fresh policy's. The last line is measured on that
harder task.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from adaptax import MAML, trees
from adaptax.tasks import PointNavigation, TaskFamily
from adaptax.training.program import make_program
from adaptax.types import Box, Outcome, Spec


class UnitActions(PointNavigation):
    """2D navigation in the action unit of pytorch-maml-rl."""

    @property
    def spec(self) -> Spec:
        return dataclasses.replace(super().spec, action=Box((-1.0,) * 2, (1.0,) * 2))

    def step(self, key: Array, state: Array, action: Array, task: Array) -> tuple[Array, Outcome]:
        return super().step(key, state, jnp.clip(action, -self.max_step, self.max_step), task)


def seconds_to(
    target: float, config: MAML, family: TaskFamily, seed: int, most_updates: int = 100
) -> tuple[float, int, float]:
    """(seconds, meta-updates, environment steps) until the target; NaN seconds where it is not reached."""
    algorithm = config.build(family.spec)
    state = trees.strongly_typed(algorithm.init(jax.random.key(seed)))
    program = make_program(family)
    jax.block_until_ready(program(algorithm, state, jnp.zeros((), jnp.int32)).done)  # compiles
    returns, steps, started = [], 0.0, time.perf_counter()
    for update in range(1, most_updates + 1):
        dispatch = program(algorithm, state, jnp.ones((), jnp.int32))
        state = dispatch.state
        returns.append(float(dispatch.metrics["return"][0]))
        steps += float(dispatch.metrics["env_steps"][0])
        if update >= 3 and np.mean(returns[-3:]) >= target:
            return time.perf_counter() - started, update, steps
    return float("nan"), most_updates, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=float, default=-18.0)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    for name, config, family in (
        ("MAML, PPO-style outer step", MAML(), PointNavigation()),
        ("MAML-TRPO", MAML(outer="trpo", max_kl_nats=0.01), PointNavigation()),
        (
            "MAML, PPO-style outer step, unit actions, 20 tasks, MLP 32-32",
            MAML(lr=0.01, tasks=20, hidden=(32, 32)),
            UnitActions(),
        ),
    ):
        found = [seconds_to(args.target, config, family, seed) for seed in range(args.seeds)]
        each = ", ".join(f"{s:.1f} s ({u} updates)" for s, u, _ in found)
        print(
            f"{name}: median {np.median([s for s, _, _ in found]):.1f} s to {args.target:g}; seeds: {each}",
            flush=True,
        )


if __name__ == "__main__":
    main()
