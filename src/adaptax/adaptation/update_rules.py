"""Update rules: how a gradient on a new task becomes a step. θ' = θ + Δ, (Δ, s') = U_ψ(s, θ, ∇L, L).

ψ is what meta-training learns of a rule (nothing, for plain SGD), s the state that it keeps within a task. A rule is apart
from what it trains: any tree of parameters goes in. All of them are differentiable in ψ, θ and the gradient, twice.

    SGD                 −α ∇L                                    (Finn et al. 2017)
    LearnedRates        −α ψ ⊙ ∇L, ψ learned                     (Meta-SGD, Li et al. 2017)
    Momentum, RMSprop   the usual ones                           (Sutskever et al. 2013, Tieleman & Hinton 2012)
    Adam                with moments kept within the task        (Kingma & Ba 2015)
    MetaCurvature       −α M_out ∇L M_in, M learned              (Park & Oliva 2019)
    GradientNetwork     a network reads each coordinate          (after Andrychowicz et al. 2016, Ravi & Larochelle 2017)
    LearnedOptimizer    as a recurrent network                   (`adaptation/learned_optimizer.py`)
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from adaptax import trees
from adaptax.networks.layers import MLP


class UpdateRule(eqx.Module):
    """One way to step from a gradient. Numbers are leaves; sizes are static."""

    @property
    def floats_per_parameter(self) -> int:
        """How much a step computes for each parameter, at its widest: what decides how many tasks fit the cache."""
        return 1

    def init(self, params: PyTree, key: Key[Array, ""]) -> PyTree:
        """ψ before any training, for parameters shaped like `params`; None where nothing of the rule is learned."""
        return None

    def begin(self, ψ: PyTree, params: PyTree) -> PyTree:
        """The state s at the start of a new task."""
        return None

    def step(
        self, ψ: PyTree, state: PyTree, params: PyTree, gradient: PyTree, loss: Float[Array, ""]
    ) -> tuple[PyTree, PyTree]:
        """(Δ, s'): what to add to `params`, and the next state. `loss` is L at `params`."""
        raise NotImplementedError


class SGD(UpdateRule):
    """Δ = −α ∇L."""

    lr: Array

    def step(self, ψ, state, params, gradient, loss):
        return trees.scale(-self.lr, gradient), state


class LearnedRates(UpdateRule):
    """Δ = −α ψ ⊙ ∇L with a rate α ψ learned for each parameter, its sign too (Li et al. 2017, eq. 3); ψ = 1 at first.

    What is learned is the rate in units of α: an optimizer like Adam then moves a rate by a share of itself, where steps of
    its own size would soon be many times a small rate.
    """

    lr: Array
    """α, every parameter's rate at first."""

    def init(self, params, key):
        return jax.tree.map(jnp.ones_like, params)

    def step(self, ψ, state, params, gradient, loss):
        return jax.tree.map(lambda factor, g: -self.lr * factor * g, ψ, gradient), state


class HandMade(UpdateRule):
    """Δ = −α d, d the direction that an optimizer of optax makes of the gradient; its state begins anew in each task."""

    lr: eqx.AbstractVar[Array]

    @property
    def direction(self) -> optax.GradientTransformation:
        """∇L ↦ d"""
        raise NotImplementedError

    def begin(self, ψ, params):
        return self.direction.init(params)

    def step(self, ψ, state, params, gradient, loss):
        direction, state = self.direction.update(gradient, state)
        return trees.scale(-self.lr, direction), state


class Adam(HandMade):
    """Adam whose moments begin anew in each task; β₁ = 0 is Reptile's (Nichol et al. 2018, §6.1).

    `eps_root` stands under the square root: without it the derivative of √v at v = 0 is infinite, and one coordinate
    whose gradient is exactly zero makes the whole meta-gradient NaN.
    """

    lr: Array
    b1: Array
    b2: Array
    eps: float = eqx.field(static=True, default=1e-8)
    eps_root: float = eqx.field(static=True, default=1e-8)

    @property
    def direction(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(self.b1, self.b2, self.eps, self.eps_root)  # type: ignore[arg-type]


class Momentum(HandMade):
    """Heavy ball: Δ = −α m, m' = β m + ∇L."""

    lr: Array
    decay: Array
    """β"""

    @property
    def direction(self) -> optax.GradientTransformation:
        return optax.trace(self.decay)  # type: ignore[arg-type]


class RMSprop(HandMade):
    """Δ = −α ∇L/√(v + ε), v a running mean of ∇L²; ε stands under the root, as Adam's `eps_root` does."""

    lr: Array
    decay: Array
    eps: float = eqx.field(static=True, default=1e-8)

    @property
    def direction(self) -> optax.GradientTransformation:
        return optax.scale_by_rms(self.decay, self.eps, eps_in_sqrt=True)  # type: ignore[arg-type]


class MetaCurvature(UpdateRule):
    """Δ = −α M_out ∇L M_in for a matrix [out, in], −α M_out ∇L for a vector (Park & Oliva 2019, eq. 8); M = I at first.

    Leaves of other ranks are treated as matrices [first axis, the rest].
    """

    lr: Array

    def init(self, params, key):
        def matrices(p: Array) -> tuple[Array, ...]:
            flat = p.reshape(p.shape[0], -1) if p.ndim > 1 else p.reshape(-1)
            return tuple(jnp.eye(n) for n in flat.shape)

        return jax.tree.map(matrices, params)

    def step(self, ψ, state, params, gradient, loss):
        def transform(g: Array, m: tuple[Array, ...]) -> Array:
            if len(m) == 1:
                return -self.lr * (m[0] @ g.reshape(-1)).reshape(g.shape)
            return -self.lr * (m[0] @ g.reshape(g.shape[0], -1) @ m[1]).reshape(g.shape)

        return jax.tree.map(transform, gradient, ψ), state


class GradientNetwork(UpdateRule):
    """Δ = −α (e^a ∇L + r b): a network, one for all coordinates, gives a and b; r is the gradient's root mean square in the leaf.

    It reads, for each coordinate, its gradient in units of r and on a logarithmic scale, the parameter, log r, the loss, and
    the position of its leaf in the network. Its last layer is zero at first, which is SGD.
    """

    lr: Array
    hidden: tuple[int, ...] = eqx.field(static=True, default=(8,))

    @property
    def floats_per_parameter(self) -> int:
        return max(self.hidden, default=1)

    def init(self, params, key):
        depth = len(jax.tree.leaves(params))
        return MLP(5 + depth, self.hidden, 2, key, last_gain=0.0)

    def step(self, ψ, state, params, gradient, loss):
        leaves, treedef = jax.tree.flatten(gradient)
        positions = jnp.eye(len(leaves))
        steps = [
            self._leaf(ψ, g, p, loss, position)
            for g, p, position in zip(leaves, jax.tree.leaves(params), positions, strict=True)
        ]
        return jax.tree.unflatten(treedef, steps), state

    def _leaf(self, ψ, g, p, loss, position):
        # √ and log are smooth at a gradient of zero, so that a second derivative exists there.
        r = jnp.sqrt(jnp.mean(g**2) + 1e-16)
        shared = jnp.concatenate([jnp.stack([0.1 * jnp.log(r), jnp.arcsinh(loss)]), position])

        # What all coordinates share goes through the first layer once: its bias in this leaf.
        first = ψ.layers[0]
        split = (first.weight[:, :3], first.bias + first.weight[:, 3:] @ shared)
        network = eqx.tree_at(lambda n: (n.layers[0].weight, n.layers[0].bias), ψ, split)

        def coordinate(g: Array, p: Array) -> Array:
            a, b = network(jnp.stack([g / r, 0.1 * jnp.arcsinh(1e4 * g), p]))
            return -self.lr * (jnp.exp(a) * g + r * b)

        return jax.vmap(coordinate)(g.reshape(-1), p.reshape(-1)).reshape(g.shape)
