"""Time to a post-adaptation return on 2D navigation: `python -m benchmarks.time_to_return`.

The task is that of pytorch-maml-rl's `2DNavigation-v0`, which needs about 20 meta-iterations and 150 s for a return of -18 on two
such cores. Counted here: seconds of meta-training after compilation, until the mean post-adaptation return of the last three
meta-updates is at least the target. All seeds are reported.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from adaptax import MAML, trees
from adaptax.tasks import PointNavigation
from adaptax.training.program import make_program


def seconds_to(target: float, config: MAML, seed: int, most_updates: int = 100) -> tuple[float, int, float]:
    """(seconds, meta-updates, environment steps) until the target; NaN seconds where it is not reached."""
    family = PointNavigation()
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
    for name, config in (
        ("MAML, PPO-style outer step", MAML()),
        ("MAML-TRPO", MAML(outer="trpo", max_kl_nats=0.01)),
    ):
        found = [seconds_to(args.target, config, seed) for seed in range(args.seeds)]
        each = ", ".join(f"{s:.1f} s ({u} updates)" for s, u, _ in found)
        print(
            f"{name}: median {np.median([s for s, _, _ in found]):.1f} s to {args.target:g}; seeds: {each}",
            flush=True,
        )


if __name__ == "__main__":
    main()
