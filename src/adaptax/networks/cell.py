"""A network over images made of cells: small graphs whose edges are operations, or mixtures of operations that are being searched.

Liu, Simonyan, Yang 2019 (arXiv 1806.09055), DARTS, §2. A cell has an input and some nodes. Node j sums its edges from the input
and from all nodes before it; the last node is the cell's output, halved by maxima. All cells are alike. On an edge stands one
operation, or a mixture:

    ō(x) = Σ_o softmax(α)_o o(x)

α is a parameter as the weights are, and can be adapted as they are.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.networks.convolution import (
    Batch,
    ImageNetwork,
    Source,
    Statistics,
    halved,
    normalised,
    patches,
)

Operation: TypeAlias = Literal["conv3", "conv5", "max-pool", "skip"]
OPERATIONS: tuple[Operation, ...] = ("conv3", "conv5", "max-pool", "skip")
"""Convolutions with batch normalisation before ReLU; the maximum over 3 × 3 positions; nothing."""
KERNELS = {"conv3": 3, "conv5": 5}


class Convolution(eqx.Module):
    """k × k with stride 1, normalised over the batch, and ReLU."""

    weight: Float[Array, "patch out"]
    scale: Float[Array, " out"]
    shift: Float[Array, " out"]
    kernel: int = eqx.field(static=True)

    def __init__(self, channels: int, out: int, kernel: int, key: Key[Array, ""]):
        area = kernel**2
        limit = math.sqrt(6.0 / (area * (channels + out)))
        self.weight = jax.random.uniform(key, (area * channels, out), minval=-limit, maxval=limit)
        self.scale, self.shift, self.kernel = jnp.ones(out), jnp.zeros(out), kernel

    def __call__(
        self, x: Float[Array, "h w channels"], source: Batch | Statistics
    ) -> tuple[Float[Array, "h w out"], Statistics]:
        y, statistics = normalised(patches(x, 1, self.kernel) @ self.weight, self.scale, self.shift, source)
        return jax.nn.relu(y), statistics


class CellNetwork(ImageNetwork):
    """A convolution, then cells; the mean over the positions that are left is what is said of an image."""

    stem: Convolution
    convolutions: dict[str, Convolution]
    """By cell, edge and operation: "0.2.conv3"."""
    mixture: Float[Array, "edges operations"] | None
    """α; None: the operations are chosen."""
    operations: tuple[Operation, ...] = eqx.field(static=True)
    """Of each edge; empty: all of them, mixed."""
    shape: tuple[int, ...] = eqx.field(static=True)
    cells: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)

    def __init__(
        self, shape: tuple[int, ...], channels: int, cells: int, nodes: int, operations: tuple[Operation, ...], key: Key[Array, ""]
    ):  # fmt: skip
        self.operations, self.shape, self.cells, self.nodes = operations, shape, cells, nodes
        self.stem = Convolution(shape[-1], channels, 3, jax.random.fold_in(key, 0))
        names = [
            f"{c}.{e}.{o}"
            for c in range(cells)
            for e in range(edges(nodes))
            for o in (OPERATIONS if not operations else operations[e : e + 1])
            if o in KERNELS
        ]
        self.convolutions = {
            name: Convolution(channels, channels, KERNELS[name.rsplit(".", 1)[1]], jax.random.fold_in(key, i))
            for i, name in enumerate(names, start=1)
        }
        self.mixture = None if operations else jnp.zeros((edges(nodes), len(OPERATIONS)))

    @property
    def features(self) -> int:
        return self.stem.shift.shape[-1]

    def unread(self) -> tuple[Statistics, ...]:
        layers = [self.stem, *self.convolutions.values()]
        return tuple(Statistics(jnp.zeros_like(x.shift), jnp.ones_like(x.shift)) for x in layers)

    def __call__(
        self, x: Float[Array, " n"], source: Source
    ) -> tuple[Float[Array, " features"], tuple[Statistics, ...]]:
        places = {name: i for i, name in enumerate(self.convolutions, start=1)}
        of = lambda i: source[i] if isinstance(source, tuple) else source  # noqa: E731
        h, first = self.stem(x.reshape(self.shape), of(0))
        found = [first] * (1 + len(places))
        for cell in range(self.cells):
            states, edge = [h], 0
            for _ in range(self.nodes):
                total = jnp.zeros_like(h)
                for state in states:
                    y, seen = self.edge(cell, edge, state, {name: of(i) for name, i in places.items()})
                    for name, statistics in seen.items():
                        found[places[name]] = statistics
                    total, edge = total + y, edge + 1
                states.append(total)
            h = halved(states[-1])
        return h.mean((0, 1)), tuple(found)

    def edge(
        self, cell: int, edge: int, x: Float[Array, "h w c"], sources: dict[str, Batch | Statistics]
    ) -> tuple[Float[Array, "h w c"], dict[str, Statistics]]:
        """What an edge makes of x, and the statistics of its convolutions by their names."""
        chosen = self.operations[edge : edge + 1] or OPERATIONS
        weights = jnp.ones(1) if self.mixture is None else jax.nn.softmax(self.mixture[edge])
        total, seen = jnp.zeros_like(x), {}
        for weight, operation in zip(weights, chosen, strict=True):
            if operation in KERNELS:
                name = f"{cell}.{edge}.{operation}"
                y, seen[name] = self.convolutions[name](x, sources[name])
            else:
                y = x if operation == "skip" else most_around(x)
            total = total + weight * y
        return total, seen


def edges(nodes: int) -> int:
    """Of a cell with so many nodes: 1 + 2 + ... + nodes."""
    return nodes * (nodes + 1) // 2


def decoded(mixture: Float[Array, "edges operations"]) -> tuple[Operation, ...]:
    """The heaviest operation of each edge."""
    return tuple(OPERATIONS[int(i)] for i in jnp.argmax(mixture, axis=-1))


def most_around(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """The maximum over the 3 × 3 positions around each one that lie within the image."""
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    h, w = x.shape[:2]
    for axis, n in ((0, h), (1, w)):
        parts = [jax.lax.slice_in_dim(padded, i, i + n, axis=axis) for i in range(3)]
        padded = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
    return padded
