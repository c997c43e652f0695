"""Convolutional networks over images, written for one image, with weights that may differ from task to task.

A convolution is a matrix product with the image's patches: on a processor several times as fast as XLA's own where each task
has its own weights.

Batch normalisation (Ioffe & Szegedy 2015) keeps no running averages: a task's images are few and unlike those of other tasks. A
layer is told where its statistics come from (`Source`): a set of examples that are mapped over under a name, whichever they are
(of queries that makes predictions *transductive*), or numbers that were taken of such a set before. Layer normalisation (Ba et al.
2016) is of one image by itself, and needs to be told nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax.networks.layers import EPS, Connections, connected

IMAGE_CHANNELS = (64, 64, 64, 64)
"""Of the network that few-shot papers have in common (Vinyals et al. 2016)."""


class Statistics(eqx.Module):
    """What a layer's normalisation takes off each channel, and divides it by the root of."""

    mean: Float[Array, " channels"]
    variance: Float[Array, " channels"]


class Batch(eqx.Module):
    """The statistics of all examples that `jax.vmap` maps over under this name."""

    axis: str = eqx.field(static=True)
    valid: Bool[Array, ""] | None = None
    """False where this example only fills up, and weighs nothing."""

    def mean(self, x: Array) -> Array:
        """Over the examples."""
        if self.valid is None:
            return jax.lax.pmean(x, self.axis)
        weight = self.valid.astype(x.dtype)
        return jax.lax.psum(weight * x, self.axis) / jnp.maximum(jax.lax.psum(weight, self.axis), 1.0)


Source: TypeAlias = Batch | tuple[Statistics, ...]
"""Where a network's statistics come from, layer by layer."""


Normalization = Literal["batch", "layer", "none"]


class ConvBlock(eqx.Module):
    """Convolution, normalisation, activation; height and width are halved, rounded up by a stride of 2 in the convolution, or
    rounded down by a maximum over 2 × 2 positions in the end."""

    weight: Float[Array, "patch out"]
    """A patch's rows, columns and channels in this order, flattened."""
    scale: Float[Array, " out"]
    shift: Float[Array, " out"]
    max_pool: bool = eqx.field(static=True)
    normalization: Normalization = eqx.field(static=True)
    kernel: int = eqx.field(static=True)
    """Rows, and columns, of a patch."""

    def __init__(
        self, channels: int, out: int, max_pool: bool, key: Key[Array, ""], normalization: Normalization = "batch", kernel: int = 3
    ):  # fmt: skip
        area = kernel**2
        limit = math.sqrt(
            6.0 / (area * (channels + out))
        )  # Glorot & Bengio 2010, as the papers' codes have it
        self.weight = jax.random.uniform(key, (area * channels, out), minval=-limit, maxval=limit)
        self.scale, self.shift = jnp.ones(out), jnp.zeros(out)
        self.max_pool, self.normalization, self.kernel = max_pool, normalization, kernel

    def __call__(
        self, x: Float[Array, "h w channels"], activation: Callable, source: Batch | Statistics
    ) -> tuple[Float[Array, "h2 w2 out"], Statistics]:
        """The block's output, and the statistics of a batch that it was normalised by; mean 0 and variance 1 where by none."""
        y = patches(x, 1 if self.max_pool else 2, self.kernel) @ self.weight
        if self.normalization == "layer":
            y = y - y.mean()
            y = y * jax.lax.rsqrt(jnp.square(y).mean() + EPS)
        of = source if self.normalization == "batch" else self.unread()
        y, statistics = normalised(y, self.scale, self.shift, of)
        y = activation(y)
        return halved(y) if self.max_pool else y, statistics

    def unread(self) -> Statistics:
        """What stands for statistics as long as there are none."""
        return Statistics(jnp.zeros_like(self.shift), jnp.ones_like(self.shift))


class ImageNetwork(eqx.Module):
    """An image ↦ features, by layers that are told where their statistics come from."""

    @property
    def features(self) -> int:
        """Their number."""
        raise NotImplementedError

    def __call__(
        self, x: Float[Array, " n"], source: Source
    ) -> tuple[Float[Array, " features"], tuple[Statistics, ...]]:
        """The features of a flattened image, and the statistics of each layer that they were normalised by."""
        raise NotImplementedError

    def unread(self) -> tuple[Statistics, ...]:
        """What stands for the statistics of examples as long as there are none: mean 0 and variance 1."""
        raise NotImplementedError

    def over(
        self, xs: Float[Array, "examples n"], valid: Bool[Array, " examples"]
    ) -> tuple[Float[Array, "examples features"], tuple[Statistics, ...]]:
        """The same of several images, normalised by their own statistics."""
        one = lambda x, valid: self(x, Batch("examples", valid))  # noqa: E731
        return jax.vmap(one, axis_name="examples", out_axes=(0, None))(xs, valid)


class ConvNet(ImageNetwork):
    """Blocks of convolutions, and the mean over the positions that are left: an image ↦ features (Finn et al. 2017, §5.2)."""

    blocks: tuple[ConvBlock, ...]
    shape: tuple[int, ...] = eqx.field(static=True)
    """Height, width, channels of an image."""
    activation: Callable = eqx.field(static=True)
    connections: Connections = eqx.field(static=True)

    def __init__(
        self, shape: tuple[int, ...], filters: Sequence[int], key: Key[Array, ""],
        activation: Callable = jax.nn.relu, max_pool: bool = False, normalization: Normalization = "batch", kernel: int = 3,
        connections: Connections = "plain",
    ):  # fmt: skip
        sizes = [shape[-1], *filters]
        if connections == "dense":
            sizes = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        self.blocks = tuple(
            ConvBlock(n, m, max_pool, k, normalization, kernel)
            for n, m, k in zip(sizes[:-1], filters, jax.random.split(key, len(filters)), strict=True)
        )
        self.shape, self.activation, self.connections = shape, activation, connections

    @property
    def features(self) -> int:
        """Their number."""
        channels = [self.shape[-1], *(block.shift.shape[-1] for block in self.blocks)]
        return sum(channels) if self.connections == "dense" else channels[-1]

    def __call__(
        self, x: Float[Array, " n"], source: Source
    ) -> tuple[Float[Array, " features"], tuple[Statistics, ...]]:
        """The features of a flattened image, and the statistics of each layer that they were normalised by."""
        h, found = x.reshape(self.shape), []
        for i, block in enumerate(self.blocks):
            y, statistics = block(h, self.activation, source[i] if isinstance(source, tuple) else source)
            h = connected(halved(h) if block.max_pool else h[::2, ::2], y, self.connections)
            found.append(statistics)
        return h.mean((0, 1)), tuple(found)

    def unread(self) -> tuple[Statistics, ...]:
        """What stands for the statistics of examples as long as there are none: mean 0 and variance 1."""
        return tuple(block.unread() for block in self.blocks)


def patches(x: Float[Array, "h w channels"], stride: int, kernel: int = 3) -> Float[Array, "h2 w2 patch"]:
    """The kernel × kernel neighbourhoods (an odd number) of every position, or of every other one; zeros beyond the border."""
    height, width = (-(-n // stride) for n in x.shape[:2])
    x = jnp.pad(x, ((kernel // 2, kernel // 2), (kernel // 2, kernel // 2), (0, 0)))
    # First what stands side by side, then what stands one above the other: 2 × kernel slices instead of kernel², which compile in a
    # third of the time where a kernel has five rows.
    sides = [x[:, j : j + stride * (width - 1) + 1 : stride] for j in range(kernel)]
    x = jnp.concatenate(sides, axis=-1)
    return jnp.concatenate([x[i : i + stride * (height - 1) + 1 : stride] for i in range(kernel)], axis=-1)


def halved(x: Float[Array, "h w channels"]) -> Float[Array, "h2 w2 channels"]:
    """The maximum over blocks of 2 × 2 positions; an odd row or column at the end is left out, unless it is the only one."""
    height, width = (max(1, n // 2) for n in x.shape[:2])
    rows = [x[i : i + 2 * height - 1 : 2] for i in range(min(2, x.shape[0]))]
    x = jnp.maximum(rows[0], rows[-1])
    columns = [x[:, j : j + 2 * width - 1 : 2] for j in range(min(2, x.shape[1]))]
    return jnp.maximum(columns[0], columns[-1])


def normalised(
    y: Float[Array, "h w channels"], scale: Float[Array, " channels"], shift: Float[Array, " channels"], source: Batch | Statistics
) -> tuple[Float[Array, "h w channels"], Statistics]:  # fmt: skip
    """Mean 0 and variance 1 in each channel by the statistics of a source, then a gain and a shift; and these statistics."""
    statistics = source if isinstance(source, Statistics) else statistics_of(y, source)
    gain = scale * jax.lax.rsqrt(statistics.variance + EPS)
    return y * gain + (shift - statistics.mean * gain), statistics


def statistics_of(y: Float[Array, "h w channels"], source: Batch) -> Statistics:
    """Of each channel over all positions and examples."""
    mean = source.mean(y.mean((0, 1)))
    return Statistics(mean, source.mean(jnp.square(y - mean).mean((0, 1))))
