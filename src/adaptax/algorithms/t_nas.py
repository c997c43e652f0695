"""T-NAS: a network whose operations are adapted to each task together with its weights.

Lian et al. 2020 (ICLR), *Towards fast adaptation of neural architectures with meta learning*; DARTS, Liu et al. 2019
(arXiv 1806.09055). Each edge of a cell mixes all operations by softmax(α) (`networks/cell.py`). MAML meta-learns the weights w and
the architecture α from which a step on a task's support goes far:

    w_i = w − a_w ∇_w L(w, α; S_i)        α_i = α − a_α ∇_α L(w, α; S_i)
    min_{w, α}  Σ_i L(w_i, α_i; Q_i)

After the search the heaviest operation of each edge is kept. `cell` then builds the network of these alone, which is trained anew
as any other by MAML:

    adaptax train t-nas omniglot --cell conv3 conv5 skip

Good at: finding operations for a family in one training. Bad at: time and memory, for all operations are computed; what is decoded
is another network than the mixture that was trained.

Where we depart: one kind of cell, all nodes halved together, fewer operations, and one inner step instead of five; the
meta-gradient is of first order by default, for all operations twice differentiated take long on a processor; α and w are stepped
at once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.update_rules import UpdateRule
from adaptax.algorithms.base import check_transductive
from adaptax.algorithms.few_shot import FewShotAlgorithm
from adaptax.errors import AdaptaxError
from adaptax.networks.cell import OPERATIONS, CellNetwork, Operation, edges
from adaptax.networks.policy import Architecture, Policy
from adaptax.types import FewShot, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class TNAS:
    """T-NAS: weights and a mixture of operations from which a few steps on a new task go far."""

    tasks: int = 8
    """Tasks in one meta-update."""
    channels: int = 16
    """Of all convolutions."""
    cells: int = 3
    """One after another; each halves the image."""
    nodes: int = 2
    """Of a cell; it has 1 + 2 + ... + nodes edges."""
    cell: tuple[Operation, ...] = ()
    """Operations of a cell's edges, as a search has found them: conv3, conv5, max-pool, skip. Empty: they are searched."""
    inner_steps: int = 1
    """Adaptation steps to the support in meta-training."""
    inner_lr: float = 0.1
    """Step size of the weights, a_w."""
    mixture_lr: float = 30.0
    """Step size of the mixture, a_α."""
    later_lr_factor: float = 1.0
    """Factor on adaptation steps beyond `inner_steps`."""
    first_order: bool = True
    """Leave the second derivatives out of the meta-gradient."""
    transductive: bool = False
    """The queries of a task are normalised by their own statistics, all together; else each by those of the support."""
    lr: float = 2e-3
    """Adam's step size in the outer loop."""
    max_gradient_norm: float = 10.0
    """The meta-gradient's Euclidean norm is scaled down to this."""

    def build(self, spec: Spec) -> FewShotAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where its tasks are not labelled images."""
        if not spec.images:
            raise AdaptaxError(
                f"'t-nas' searches the operations of networks over labelled images, and '{spec.name}' has none; `adaptax search` "
                "searches other networks."
            )
        if self.cell and len(self.cell) != edges(self.nodes):
            raise AdaptaxError(
                f"cell must name {edges(self.nodes)} operations, one for each edge of {self.nodes} nodes, not {len(self.cell)}."
            )
        learner = TNASLearner(
            spec=spec, transductive=check_transductive(self.transductive, spec), hidden=(self.channels,) * self.cells,
            architecture=Architecture("relu"), nodes=self.nodes, operations=self.cell,
            rule=TwoRates(jnp.array(self.inner_lr), jnp.array(self.mixture_lr)), first_order=self.first_order, head_only=False,
            inner_max_norm=None, inner_steps=self.inner_steps, later_lr_factor=jnp.array(self.later_lr_factor),
            γ=jnp.array(1.0), λ=jnp.array(1.0),
        )  # fmt: skip
        return TNASAlgorithm(self, spec, learner)


class TwoRates(UpdateRule):
    """Δ = −a_α ∇L for the mixture, −a_w ∇L for all else."""

    lr: Array
    mixture_lr: Array

    def step(self, ψ: Any, state: Any, params: Any, gradient: Any, loss: Array) -> tuple[Any, Any]:
        def scaled(path: Any, g: Array) -> Array:
            return -(self.mixture_lr if jax.tree_util.keystr(path).endswith(".mixture") else self.lr) * g

        return jax.tree_util.tree_map_with_path(scaled, gradient), state


class TNASLearner(GradientLearner):
    """MAML's learner with a network of cells."""

    nodes: int = eqx.field(static=True)
    operations: tuple[Operation, ...] = eqx.field(static=True)

    def new_policy(self, key: Key[Array, ""]) -> Policy:
        k_network, k_head = jax.random.split(key)
        channels, cells = self.hidden[0], len(self.hidden)
        network = CellNetwork(self.spec.observation, channels, cells, self.nodes, self.operations, k_network)
        policy = Policy(network.features, (), self.spec.action, k_head, self.architecture)
        return eqx.tree_at(lambda p: p.convolutions, policy, network, is_leaf=lambda x: x is None)


class TNASAlgorithm(FewShotAlgorithm):
    """MAML on both; its metrics tell how heavy each operation is before adaptation, from which the cell is decoded."""

    def __init__(self, config: TNAS, spec: Spec, learner: TNASLearner):
        positions = spec.observation[0] * spec.observation[1]
        operations = 1 if config.cell else len(OPERATIONS)
        super().__init__(
            config, spec, learner, config.inner_steps, floats_per_row=positions * config.channels * operations
        )

    def learn(self, state: TrainState, data: FewShot, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        state, metrics = super().learn(state, data, key)
        network = state.theta.policy.convolutions
        if network.mixture is not None:
            weights = jax.nn.softmax(network.mixture)
            metrics |= {
                f"edge {e}: {name}": weights[e, o]
                for e in range(len(weights))
                for o, name in enumerate(OPERATIONS)
            }
        return state, metrics
