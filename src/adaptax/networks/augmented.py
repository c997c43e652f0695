"""Layer augmentation: the slow weights of a network and fast weights beside them (Munkhdalai & Yu 2017, §3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
from jaxtyping import Array, Float

from adaptax.networks.layers import Dense


def augmented(
    slow: Sequence[Dense],
    activation: Callable,
    fast: Sequence[Dense],
    weights: Float[Array, " slots"],
    x: Float[Array, " in_"],
) -> Float[Array, " out"]:
    """A network whose last `len(fast)` layers add what slow and fast weights make of the same input, each through φ by itself:

        h ← φ(Wh + b) + φ(W*h + b*),    W* = Σ_s a_s W*_s,  b* = Σ_s a_s b*_s

    The network's last layer has no φ. `fast` has leaves [slots, ...], and a is `weights`. φ(0) must be 0: with fast weights of
    zero, or a = 0, it is the slow network.
    """
    plain = len(slow) - len(fast)
    for i, layer in enumerate(slow):
        φ = activation if i < len(slow) - 1 else lambda h: h
        h = φ(layer(x))
        if i >= plain:
            # (Σ a_s W_s) h as Σ a_s (W_s h): over many rows a matrix product, where the weights of each row would fill the memory.
            h = h + φ(weights @ jax.vmap(lambda one, x=x: one(x))(fast[i - plain]))
        x = h
    return x
