"""Layers, written for one example: dense, multilayer perceptron, recurrent cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

Activation = Literal["tanh", "relu", "swish", "gelu"]
ACTIVATIONS: dict[str, Callable] = {
    "tanh": jnp.tanh, "relu": jax.nn.relu, "swish": jax.nn.swish, "gelu": jax.nn.gelu,
}  # fmt: skip
Connections = Literal["plain", "residual", "dense"]
"""What a hidden layer is given, and hands on: the layer before; the same, with what it was given added to what it makes of it (He
et al. 2016); all layers before, and the network's input (Huang et al. 2017)."""

EPS = 1e-5
"""Beside a variance that is divided by."""


class Dense(eqx.Module):
    """y = Wx + b, with orthogonal W of a given gain and b = 0 at first (Saxe et al. 2014)."""

    weight: Float[Array, "out in_"]
    bias: Float[Array, " out"]

    def __init__(self, n_in: int, n_out: int, gain: float, key: Key[Array, ""]):
        self.weight = jax.nn.initializers.orthogonal(gain)(key, (n_out, n_in), jnp.float32)
        self.bias = jnp.zeros((n_out,))

    def __call__(self, x: Float[Array, " in_"]) -> Float[Array, " out"]:
        return x @ self.weight.T + self.bias


class LayerNorm(eqx.Module):
    """(x − mean x) / √var x over the units of a layer, times a gain, plus a shift (Ba, Kiros, Hinton 2016)."""

    scale: Float[Array, " n"]
    shift: Float[Array, " n"]

    def __init__(self, n: int):
        self.scale, self.shift = jnp.ones((n,)), jnp.zeros((n,))

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        centred = x - x.mean()
        return self.scale * centred * jax.lax.rsqrt(jnp.square(centred).mean() + EPS) + self.shift


class MLP(eqx.Module):
    """Dense layers with an activation between them; the last layer is linear."""

    layers: tuple[Dense, ...]
    norms: tuple[LayerNorm, ...]
    """Of the hidden layers, before their activation; none where they are not normalised."""
    activation: Callable = eqx.field(static=True)
    connections: Connections = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        key: Key[Array, ""],
        activation: Callable = jnp.tanh,
        last_gain: float = 0.01,
        normalized: bool = False,
        connections: Connections = "plain",
    ):
        sizes = [n_in, *hidden]
        if connections == "dense":
            sizes = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        keys = jax.random.split(key, len(sizes))
        gains = [2.0**0.5] * len(hidden) + [last_gain]
        self.layers = tuple(
            Dense(i, o, g, k) for i, o, g, k in zip(sizes, (*hidden, n_out), gains, keys, strict=True)
        )
        self.norms = tuple(LayerNorm(n) for n in hidden) if normalized else ()
        self.activation, self.connections = activation, connections

    def __call__(self, x: Float[Array, " in_"]) -> Float[Array, " out"]:
        for i, layer in enumerate(self.layers[:-1]):
            h = layer(x)
            h = self.activation(self.norms[i](h) if self.norms else h)
            x = connected(x, h, self.connections)
        return self.layers[-1](x)


def connected(
    x: Float[Array, "... in_"], h: Float[Array, "... out"], connections: Connections
) -> Float[Array, "... next"]:
    """What the next layer is given, where this one was given x and says h.

    Where a sum needs it, x is filled up with zeros, or its last entries are left out: no parameters (He et al. 2016, option A).
    """
    if connections == "plain":
        return h
    if connections == "dense":
        return jnp.concatenate([x, h], axis=-1)
    n = min(x.shape[-1], h.shape[-1])
    return h.at[..., :n].add(x[..., :n])


class Cell(eqx.Module):
    """A recurrent cell: a state goes on by what is put in at each step; `read` says what others see of it.

    `unroll` equals a scan of `__call__`, but multiplies the inputs of all steps with W at once.
    """

    input: Dense

    @property
    def state_size(self) -> int:
        raise NotImplementedError

    def advance(self, state: Float[Array, " state"], wx: Float[Array, " gates"]) -> Float[Array, " state"]:
        """The next state; Wx + b is given."""
        raise NotImplementedError

    def read(self, state: Float[Array, " state"]) -> Float[Array, " hidden"]:
        """What is seen of the state: all of it, unless a part is the cell's own."""
        return state

    def __call__(self, state: Float[Array, " state"], x: Float[Array, " in_"]) -> Float[Array, " state"]:
        return self.advance(state, self.input(x))

    def unroll(
        self, state: Float[Array, " state"], xs: Float[Array, "T in_"], keep: Bool[Array, " T"]
    ) -> Float[Array, "T state"]:
        """States after each of T steps; the state passes unchanged through steps where `keep` is False."""

        def step(state, inputs):
            wx, kept = inputs
            state = jnp.where(kept, self.advance(state, wx), state)
            return state, state

        return jax.lax.scan(step, state, (jax.vmap(self.input)(xs), keep))[1]


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014, with the reset gate after the product as in cuDNN).

    r = σ(Wᵣx + Uᵣh)   z = σ(W_z x + U_z h)   n = tanh(Wₙx + r ⊙ (Uₙh + b))   h' = (1 − z) ⊙ n + z ⊙ h
    """

    recurrent: Float[Array, "gates hidden"]
    bias: Float[Array, " hidden"]

    def __init__(self, n_in: int, hidden: int, key: Key[Array, ""]):
        k1, k2 = jax.random.split(key)
        self.input = Dense(n_in, 3 * hidden, 1.0, k1)
        self.recurrent = _orthogonal_blocks(3, hidden, k2)
        self.bias = jnp.zeros((hidden,))

    @property
    def state_size(self) -> int:
        return self.bias.shape[-1]

    def advance(self, state, wx):
        r_x, z_x, n_x = jnp.split(wx, 3)
        r_h, z_h, n_h = jnp.split(state @ self.recurrent.T, 3)
        r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
        n = jnp.tanh(n_x + r * (n_h + self.bias))
        return n + z * (state - n)


class MinimalGatedUnit(Cell):
    """One gate, which forgets and resets (Zhou et al. 2016), the latter after the product as in the GRU: two thirds of its weights.

    f = σ(W_f x + U_f h)   n = tanh(Wₙx + f ⊙ (Uₙh + b))   h' = (1 − f) ⊙ h + f ⊙ n
    """

    recurrent: Float[Array, "gates hidden"]
    bias: Float[Array, " hidden"]

    def __init__(self, n_in: int, hidden: int, key: Key[Array, ""]):
        k1, k2 = jax.random.split(key)
        self.input = Dense(n_in, 2 * hidden, 1.0, k1)
        self.recurrent = _orthogonal_blocks(2, hidden, k2)
        self.bias = jnp.zeros((hidden,))

    @property
    def state_size(self) -> int:
        return self.bias.shape[-1]

    def advance(self, state, wx):
        f_x, n_x = jnp.split(wx, 2)
        f_h, n_h = jnp.split(state @ self.recurrent.T, 2)
        f = jax.nn.sigmoid(f_x + f_h)
        return state + f * (jnp.tanh(n_x + f * (n_h + self.bias)) - state)


class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000). The state is (h, c); h is
    read.

    i, f, o = σ(Wx + Uh)   g = tanh(W_g x + U_g h)   c' = f ⊙ c + i ⊙ g   h' = o ⊙ tanh c'
    """

    recurrent: Float[Array, "gates hidden"]

    def __init__(self, n_in: int, hidden: int, key: Key[Array, ""]):
        k1, k2 = jax.random.split(key)
        dense = Dense(n_in, 4 * hidden, 1.0, k1)
        # It remembers at first (Jozefowicz et al. 2015).
        forget = dense.bias.at[hidden : 2 * hidden].set(1.0)
        self.input = eqx.tree_at(lambda d: d.bias, dense, forget)
        self.recurrent = _orthogonal_blocks(4, hidden, k2)

    @property
    def state_size(self) -> int:
        return 2 * self.recurrent.shape[-1]

    def advance(self, state, wx):
        h, c = jnp.split(state, 2)
        i, f, o, g = jnp.split(wx + h @ self.recurrent.T, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c])

    def read(self, state):
        return jnp.split(state, 2)[0]


CELLS: dict[str, type[GRU] | type[MinimalGatedUnit] | type[LSTM]] = {
    "gru": GRU, "lstm": LSTM, "mgu": MinimalGatedUnit,
}  # fmt: skip


def _orthogonal_blocks(blocks: int, n: int, key: Key[Array, ""]) -> Float[Array, "blocks_n n"]:
    """Square orthogonal matrices, one below the other."""
    orthogonal = jax.nn.initializers.orthogonal(1.0)
    return jnp.concatenate([orthogonal(k, (n, n)) for k in jax.random.split(key, blocks)])
