"""Speed of meta-training: `python -m benchmarks.speed [NAME ...]`.

Prints, for each setting: seconds per meta-update, environment steps per second *in training* (collection and learning), compile
seconds, peak memory, achieved matmul FLOP/s as a fraction of this machine's own measured peak, and where the time goes. Each
setting runs in a process of its own. Times are medians; compare ratios within one run of this program only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

SETTINGS: dict[str, str] = {
    "rl2-gru64": "RL², GRU 64, 256 bandits × 100 pulls, PPO 4 epochs × 4 minibatches",
    "rl2-gru256": "RL², GRU 256, 60 bandits × 100 pulls, the paper's 8 epochs (pytorch_rl2: 364 steps/s)",
    "snail": "SNAIL 32-32-32-32, 64 bandits × 100 pulls, PPO 2 epochs × 4 minibatches",
    "snail-1000": "the same with 8 bandits of 50 arms × 1,000 pulls: a long lifetime within memory",
    "transformer": "in-context Transformer 64 × 2, 64 bandits × 100 pulls, PPO 2 epochs × 4 minibatches",
    "varibad": "VariBAD's defaults, 128 gridworlds × 60 steps (its own code: 595 steps/s)",
    "rl2-gridworld": "RL², GRU 64, 128 gridworlds × 60 steps (VariBAD's code: 581 steps/s)",
    "rl2-xland": "RL², GRU 256, XLand-MiniGrid's trivial rulesets, 64 × 128 steps, 8 minibatches (its own code: 4,553 steps/s)",
    "pearl": "PEARL's defaults on sparse navigation",
    "pearl-full": "PEARL, 16 × 256, three layers of 300 (oyster: 1.2 gradient steps/s, 2,112 steps/s collecting)",
    "maml-ppo": "MAML, PPO-style outer step, 20 tasks × 2 × 20 × 100, MLP 64-64",
    "maml-trpo-64": "MAML-TRPO, 10 CG steps, 20 tasks × 2 × 20 × 100, MLP 64-64 (pytorch-maml-rl: 7.5 s)",
    "maml-trpo-100": "MAML-TRPO, 10 CG steps, 20 tasks × 2 × 20 × 100, MLP 100-100 (learn2learn: 51 s)",
    "maml-gradient": "one second-order meta-gradient, 40 tasks × 2 × 20 × 100, MLP 100-100",
    "maml-images": "MAML on Omniglot, 32 tasks of 5 classes × 1 + 15 images, 4 strided convolutions of 64 (learn2learn: 1.68 s)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETTINGS)}; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON line per setting")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child)))
        return
    unknown = set(args.names) - set(SETTINGS)
    if unknown:
        parser.error(f"there is no setting {sorted(unknown)[0]}; choose of {', '.join(SETTINGS)}")
    for name in args.names or SETTINGS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed", "--child", name], stdout=subprocess.PIPE, check=True
        )
        result = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps({"name": name} | result) if args.json else describe(name, result), flush=True)


def describe(name: str, r: dict[str, Any]) -> str:
    return (
        f"{name}: {SETTINGS[name]}\n"
        f"    {r['seconds_per_update']:.3f} s per meta-update ({r['fastest']:.3f}–{r['slowest']:.3f}, {r['repeats']} repeats)"
        f" in one program; by itself collect {r['collect_seconds']:.3f}, learn {r['learn_seconds']:.3f}\n"
        f"    {r['env_steps_per_second']:,.0f} environment steps/s in training · compile {r['compile_seconds']:.1f} s"
        f" (cold) · peak memory {r['peak_megabytes']:,.0f} MB\n"
        f"    collecting alone: {r['collected_per_second']:,.0f} environment steps/s{r['gradient_steps']}\n"
        f"    learn: {r['learn_gflop']:.1f} GFLOP of matmul, {r['learn_gflops']:.1f} GFLOP/s"
        f" = {100 * r['learn_gflops'] / r['peak_gflops']:.0f}% of the measured peak {r['peak_gflops']:.1f}"
    )


def matmul_peak(n: int = 1024, repeats: int = 20) -> float:
    """GFLOP/s of the best of some n × n float32 products."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((n, n))
    f = jax.jit(lambda a: a @ a)
    f(a).block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f(a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times) / 1e9


def measure(name: str, seconds: float = 20.0) -> dict[str, Any]:
    """Compiles the program that trains, cold, and repeats it for about `seconds`."""
    import equinox as eqx
    import jax

    from adaptax import MAML, PEARL, RL2, SNAIL, Transformer, VariBAD
    from adaptax.algorithms.base import Config
    from adaptax.algorithms.registry import ENTRIES
    from adaptax.collection.collect import collect
    from adaptax.collection.few_shot import draw_few_shot
    from adaptax.tasks import (
        BernoulliBandit,
        GridWorld,
        Omniglot,
        PointNavigation,
        SparsePointNavigation,
        XLand,
    )
    from adaptax.tasks.base import JaxFamily, SupervisedFamily
    from adaptax.training.program import behaviour_and_keys, draw_training_tasks, learn, make_program
    from benchmarks.flops import matmul_flops

    config: Config
    family: JaxFamily
    if name in ("varibad", "rl2-gridworld"):
        family, config = GridWorld(), VariBAD(tasks=128) if name == "varibad" else RL2(tasks=128)
    elif name.startswith("pearl"):
        full = ENTRIES["pearl"].paper
        assert isinstance(full, PEARL)
        # As many tasks visited as in training; the rows of their buffers are few, for time does not depend on them.
        full = dataclasses.replace(full, gradient_steps=20, capacity=2000)
        family, config = SparsePointNavigation(reward="peaked"), PEARL() if name == "pearl" else full
    elif name == "snail-1000":
        family, config = BernoulliBandit(arms=50, pulls=1000), SNAIL(tasks=8, epochs=2)
    elif name in ("snail", "transformer"):
        family = BernoulliBandit(arms=5, pulls=100)
        config = SNAIL(tasks=64, epochs=2) if name == "snail" else Transformer(tasks=64, epochs=2)
    elif name == "rl2-xland":
        # Hardly an episode ends before its limit: 128 rows of a lifetime, nearly all valid.
        family = XLand(episode_steps=64, episodes=2)
        config = RL2(tasks=64, hidden=256, embedding=256, epochs=1, minibatches=8)
    elif name.startswith("rl2"):
        family = BernoulliBandit(arms=5, pulls=100)
        config = RL2(tasks=256) if name == "rl2-gru64" else RL2(tasks=60, hidden=256, epochs=8, minibatches=1)
    elif name == "maml-images":
        images = ENTRIES["maml"].images
        assert isinstance(images, MAML)
        family, config = Omniglot(), dataclasses.replace(images, tasks=32, transductive=True)
    else:
        family = PointNavigation()
        hidden = (100, 100) if name in ("maml-trpo-100", "maml-gradient") else (64, 64)
        config = {
            "maml-ppo": MAML(hidden=hidden),
            "maml-gradient": MAML(hidden=hidden, tasks=40, epochs=1),
        }.get(name, MAML(hidden=hidden, outer="trpo"))
    algorithm = config.build(family.spec)
    state = algorithm.init(jax.random.key(0))
    if name.startswith("pearl"):  # all training tasks have been visited
        state = eqx.tree_at(lambda s: s.updates, state, jax.numpy.int32(1000))

    def gather(algorithm, state):
        behaviour, keys, key = behaviour_and_keys(
            algorithm, state, lambda k: draw_training_tasks(family, k, algorithm.tasks)
        )
        if isinstance(family, SupervisedFamily):
            return draw_few_shot(family, behaviour.tasks, keys, "train"), key
        return collect(algorithm.learner, family, behaviour, algorithm.layout, keys)[0], key

    program = make_program(family)
    several = jax.numpy.array(2, jax.numpy.int32)
    started = time.perf_counter()
    jax.block_until_ready(program(algorithm, state, 0 * several))
    compile_seconds = time.perf_counter() - started
    totals, rates = [], []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(totals) < 3:
        t0 = time.perf_counter()
        dispatch = jax.block_until_ready(program(algorithm, state, several))
        state, spent = dispatch.state, time.perf_counter() - t0
        totals.append(spent / 2)
        rates.append(float(dispatch.metrics["env_steps"][:2].sum()) / spent)

    # the same work in two programs, to see where the time goes
    gather_c = eqx.filter_jit(gather).lower(algorithm, state).compile()
    lifetime, key = gather_c(algorithm, state)
    learn_c = eqx.filter_jit(learn).lower(algorithm, state, lifetime, key).compile()
    jax.block_until_ready(learn_c(algorithm, state, lifetime, key))

    collects, learns = [], []
    until = time.perf_counter() + seconds / 2
    while time.perf_counter() < until or len(learns) < 3:
        t0 = time.perf_counter()
        lifetime, key = jax.block_until_ready(gather_c(algorithm, state))
        t1 = time.perf_counter()
        state, _, _ = jax.block_until_ready(learn_c(algorithm, state, lifetime, key))
        t2 = time.perf_counter()
        collects.append(t1 - t0)
        learns.append(t2 - t1)
    flop = matmul_flops(
        lambda s, x, k: eqx.filter(learn(algorithm, s, x, k), eqx.is_array), state, lifetime, key
    )
    learn_seconds = statistics.median(learns)
    steps = getattr(config, "gradient_steps", 0)
    supervised = isinstance(family, SupervisedFamily)
    rows = (lifetime.support.valid, lifetime.query.valid) if supervised else (lifetime.rounds.valid,)
    return {
        "collected_per_second": float(sum(valid.sum() for valid in rows)) / statistics.median(collects),
        "gradient_steps": f" · {steps / learn_seconds:,.1f} gradient steps/s" if steps else "",
        "seconds_per_update": statistics.median(totals),
        "fastest": min(totals),
        "slowest": max(totals),
        "repeats": len(totals),
        "collect_seconds": statistics.median(collects),
        "learn_seconds": learn_seconds,
        "env_steps_per_second": statistics.median(rates),
        "compile_seconds": compile_seconds,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "learn_gflop": flop / 1e9,
        "learn_gflops": flop / 1e9 / learn_seconds,
        "peak_gflops": matmul_peak(),
    }


if __name__ == "__main__":
    main()
