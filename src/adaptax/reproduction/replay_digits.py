"""Meta-experience replay on a sequence of classification tasks that never come back: permuted and rotated digits.

As Riemer et al. 2019, §4: one pass, examples one by one, a single output layer that is told nothing of the task, a small reservoir.
Every method is tuned over as many settings, on sequences that the comparison does not see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy import ndimage

from adaptax import trees
from adaptax.adaptation import experience_replay as replay
from adaptax.adaptation.experience_replay import Anchor, Loss
from adaptax.buffers import Reservoir
from adaptax.errors import AdaptaxError
from adaptax.networks.layers import MLP
from adaptax.reports.outcome import Outcome, Plot
from adaptax.reproduction.continual import Play, leads, on_past_tasks, retained, tuned
from adaptax.training.train import Report

TASKS, EXAMPLES, TEST = 20, 200, 500
"""Tasks of a sequence, examples of each that are seen once, and images that none of them shows."""
ROWS = 200
"""Examples in the reservoir, of all tasks together."""
BATCHES, SIZE = 5, 5
"""s and k: for each example there are s batches of k examples, of which one is the example itself."""
HIDDEN = (100, 100)
SEEDS, TUNING_SEEDS = 40, 3
TOGETHER = 12
"""Sequences that are learned side by side."""
SIDE = 8
ELASTIC_EXAMPLES = 50
"""Of a task, its last, from which elastic weights tell what it needs."""


class Tasks(eqx.Module):
    """Tasks are linear maps of the pixels of the same images."""

    maps: Float[Array, "tasks pixels pixels"]
    seen: Int[Array, "tasks examples"]
    """Which images a task shows, in its order."""
    unseen: Int[Array, " test"]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 images of 8 × 8 pixels between 0 and 1, and their classes. AdaptaxError where it is not installed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise AdaptaxError("The digits come with scikit-learn: pip install 'adaptax[images]'.") from None
    x, y = load_digits(return_X_y=True)
    return np.asarray(x, np.float32) / 16, np.asarray(y, np.int32)


def sequence(kind: str, images: int, seed: int) -> Tasks:
    """Random permutations of the pixels, or rotations by 0° to 180° in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(images)
    if kind == "permutations":
        maps = np.stack([np.eye(SIDE**2)[rng.permutation(SIDE**2)] for _ in range(TASKS)])
    else:
        single = np.eye(SIDE**2).reshape(-1, SIDE, SIDE)
        angles = rng.permutation(np.linspace(0.0, 180.0, TASKS))
        turned = [ndimage.rotate(single, a, axes=(2, 1), reshape=False, order=1) for a in angles]
        maps = np.stack(turned).reshape(TASKS, SIDE**2, SIDE**2)
    seen = np.stack([rng.choice(order[TEST:], EXAMPLES, replace=False) for _ in range(TASKS)])
    return Tasks(jnp.asarray(maps, jnp.float32), jnp.asarray(seen), jnp.asarray(order[:TEST]))


def loss(network: MLP, example: tuple[Array, Array]) -> Float[Array, ""]:
    """Cross-entropy, nats."""
    x, label = example
    return -jax.nn.log_softmax(network(x))[label]


Settings = Float[Array, " 2"]
Update = Callable[[Loss, Any, Any, Settings], Any]
"""(loss, parameters, batches [s, k] whose last are the present example, settings) ↦ parameters"""


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    update: Update
    first: tuple[float, ...]
    """Step sizes to be tried."""
    second: tuple[float, ...] = (1.0,)
    """With each of these; a share of the way, or how strongly elastic weights hold."""
    elastic: bool = False

    @property
    def grid(self) -> list[tuple[float, float]]:
        return [(a, b) for a in self.first for b in self.second]


def present(batches: Any) -> Any:
    """[1, ...]: the present example."""
    return jax.tree.map(lambda x: x[0, -1:], batches)


ONE = jnp.array(1.0)
FINE, COARSE = tuple(np.geomspace(0.003, 1.0, 12).tolist()), (0.01, 0.03, 0.1, 0.3)
SHARES = (0.1, 0.3, 1.0)
FIRST = "MER, algorithm 1"
ONLINE, ELASTIC = "online", "elastic weights (EWC)"
PLAIN, EQUAL = "uniform replay, one step", "uniform replay, equal gradients"
METHODS = (
    Method(ONLINE, lambda loss, θ, b, h: replay.one_by_one(loss, θ, present(b), h[:1]), FINE),
    Method(
        ELASTIC,
        lambda loss, θ, b, h: replay.one_by_one(loss, θ, present(b), h[:1]),
        (0.003, 0.01, 0.03, 0.1),
        (0.1, 1.0, 10.0),
        elastic=True,
    ),
    Method(PLAIN, lambda loss, θ, b, h: replay.averaged(loss, θ, trees.index(b, slice(1)), h[0]), FINE),
    Method(EQUAL, lambda loss, θ, b, h: replay.averaged(loss, θ, b, h[0]), FINE),
    Method(
        FIRST,
        lambda loss, θ, b, h: replay.within_and_across_batches(loss, θ, b, h[0], h[1], ONE),
        COARSE,
        SHARES,
    ),
    Method(
        "MER, algorithm 6", lambda loss, θ, b, h: replay.one_big_batch(loss, θ, b, h[0], h[1]), COARSE, SHARES
    ),
    Method(
        "MER, algorithm 7",
        lambda loss, θ, b, h: replay.current_example_rate(
            loss, θ, trees.index(b, 0), h[0], jnp.array(float(BATCHES)), h[1]
        ),
        (0.003, 0.01, 0.03, 0.1),
        SHARES,
    ),
)


def learned(
    method: Method,
    settings: Settings,
    tasks: Tasks,
    images: tuple[Array, Array],
    key: Key[Array, ""],
) -> Float[Array, "after on"]:
    """The accuracy on each task, before everything and after each task, of one network that meets them all."""
    x, labels = images
    k_network, k_examples = jax.random.split(key)
    network = MLP(SIDE**2, HIDDEN, 10, k_network, jax.nn.relu, last_gain=1.0)

    def accuracy(network: MLP) -> Array:
        right = lambda m: (jax.vmap(network)(x[tasks.unseen] @ m).argmax(-1) == labels[tasks.unseen]).mean()  # noqa: E731
        return jax.lax.map(right, tasks.maps)

    def task(carry: Any, inputs: Any) -> tuple[Any, Array]:
        (network, reservoir, anchor), (m, seen, key) = carry, inputs
        held = loss
        if method.elastic:
            held = lambda θ, e: loss(θ, e) + settings[1] * anchor.penalty(θ)  # noqa: E731
        examples = x[seen] @ m, labels[seen]

        def example(carry: tuple[MLP, Reservoir], inputs: Any) -> tuple[tuple[MLP, Reservoir], None]:
            (network, reservoir), (now, key) = carry, inputs
            k_old, k_add = jax.random.split(key)
            network = method.update(held, network, batches_with(reservoir, now, k_old), settings)
            reservoir = reservoir.add(trees.index(now, jnp.newaxis), jnp.ones(1, bool), k_add)
            return (network, reservoir), None

        inputs = examples, jax.random.split(key, EXAMPLES)
        (network, reservoir), _ = jax.lax.scan(example, (network, reservoir), inputs)
        if method.elastic:
            anchor = anchor.holding(loss, network, trees.index(examples, slice(-ELASTIC_EXAMPLES, None)))
        return (network, reservoir, anchor), accuracy(network)

    blank = jnp.zeros(SIDE**2), jnp.int32(0)
    start = network, Reservoir.of(blank, ROWS), Anchor.of(network)
    each = tasks.maps, tasks.seen, jax.random.split(k_examples, TASKS)
    _, after = jax.lax.scan(task, start, each)
    return jnp.concatenate([accuracy(network)[None], after])


def batches_with(reservoir: Reservoir, now: Any, key: Key[Array, ""]) -> Any:
    """[s, k] examples: in each batch k − 1 from the reservoir, then the present one; that alone as long as there is no other."""
    shape = BATCHES, SIZE - 1

    def joined(old: Array, new: Array) -> Array:
        old = jnp.where(reservoir.size > 0, old, new).reshape(*shape, *new.shape)
        return jnp.concatenate([old, jnp.broadcast_to(new, (BATCHES, 1, *new.shape))], 1)

    return jax.tree.map(joined, reservoir.sample(key, BATCHES * (SIZE - 1)), now)


def play(method: Method, kind: str, images: tuple[Array, Array]) -> Play:
    """A method on one kind of sequence."""
    size = len(images[0])

    @jax.jit
    def scores(settings: Array, tasks: Tasks, keys: Array) -> Array:
        one = lambda inputs: learned(method, inputs[0], inputs[1], images, inputs[2])  # noqa: E731
        return jax.lax.map(one, (settings, tasks, keys), batch_size=TOGETHER)

    def of_seeds(settings: Sequence[tuple[float, float]], first: int, number: int) -> np.ndarray:
        seeds = range(first, first + number)
        tasks = trees.stack([sequence(kind, size, seed) for seed in seeds])
        keys = jax.vmap(jax.random.key)(jnp.arange(first, first + number))
        n = len(settings)
        every = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * n), (tasks, keys))
        found = scores(jnp.repeat(jnp.array(settings), number, axis=0), *every)
        return np.asarray(found, np.float64).reshape(n, number, *found.shape[1:])

    return of_seeds


def digits_retained(directory: Path, report: Report) -> Outcome:
    """Both kinds of sequences."""
    x, labels = digits()
    images = jnp.asarray(x), jnp.asarray(labels)
    return compared("permutations", images, directory) + compared("rotations", images, directory)


def compared(kind: str, images: tuple[Array, Array], directory: Path) -> Outcome:
    """Every method on one kind of sequence."""
    methods = {method.name: (method.grid, play(method, kind, images)) for method in METHODS}
    problem = [TASKS, EXAMPLES, TEST, ROWS, BATCHES, SIZE, list(HIDDEN), ELASTIC_EXAMPLES]
    found = tuned(methods, TUNING_SEEDS, SEEDS, directory / kind, problem)
    found = {name: (settings, 100 * x) for name, (settings, x) in found.items()}
    table = retained(
        f"{TASKS} {kind} of the digits, {EXAMPLES} examples of each once, {ROWS} of them kept: accuracy in %",
        found,
        1,
        f"Means over {SEEDS} sequences and networks. Retained: on all tasks at last. Settings: step size, and share of the way or "
        f"strength of the elastic weights; the best of {len(METHODS[0].grid)} on {TUNING_SEEDS} other sequences. An example costs "
        f"{BATCHES * SIZE} gradients in MER's algorithms 1 and 6 and in replay with equal gradients, {SIZE} in algorithm 7 and in "
        "replay with one step, one in the others. Lead: in what is retained, with its 95% interval over sequences.",
    )
    claims = leads(f"{kind}: {FIRST}, retains", found, (ONLINE, ELASTIC, PLAIN, EQUAL), 1)
    lines = [on_past_tasks(name, x) for name, (_, x) in found.items()]
    plot = Plot(f"{kind.capitalize()}: accuracy on the tasks that are over", "tasks", "%", lines)
    return Outcome([table], claims, [], [plot])
