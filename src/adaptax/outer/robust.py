"""Which tasks the outer objective weighs: all alike, or those on which the learner does worst.

A learner that is good on the average may leave some tasks behind. The conditional value at risk of level α is the mean over the
worst share α of the tasks; α → 0 is the worst task alone (Collins et al. 2020, TR-MAML; Rockafellar & Uryasev 2000).
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Objective = Literal["mean", "cvar", "worst"]


def task_weights(
    scores: Float[Array, " B"], objective: Objective, share: float | Float[Array, ""]
) -> Float[Array, " B"]:
    """w ≥ 0 with mean 1 such that mean(w · loss) is the objective over tasks with these scores (higher is better).

    "cvar": the worst `share` of the tasks, that on its border in part: w_i = clip(α − i/B, 0, 1/B)/(α/B) for the i-th worst.
    """
    n = scores.shape[0]
    if objective == "mean":
        return jnp.ones(n)
    share = 1.0 / n if objective == "worst" else jnp.maximum(share, 1.0 / n)
    rank = jnp.argsort(jnp.argsort(scores)).astype(jnp.float32)  # 0: the worst
    return jnp.clip(share - rank / n, 0.0, 1.0 / n) / share * n
