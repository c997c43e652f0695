"""Attention, written for ONE sequence: each query reads the values of the rows that it sees, by how well their keys match it.

softmax_s(q·k_s / √d) v_s        (Vaswani et al. 2017, §3.2), in each head
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from adaptax.networks.distributions import MASKED_LOGIT


def attend(
    q: Float[Array, "heads T d"], keys: Float[Array, "heads n d"], values: Float[Array, "heads n v"], seen: Bool[Array, "T n"]
) -> Float[Array, "heads T v"]:  # fmt: skip
    """What T queries read of n rows; row s is `seen` by query t where seen[t, s]."""
    scores = jnp.einsum("htd,hnd->htn", q, keys) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(seen, scores, MASKED_LOGIT))
    return jnp.einsum("htn,hnv->htv", weights, values)


def attend_and_self(
    q: Float[Array, "heads d"], keys: Float[Array, "heads n d"], values: Float[Array, "heads n v"], seen: Bool[Array, " n"],
    own_key: Float[Array, "heads d"], own_value: Float[Array, "heads v"],
) -> Float[Array, "heads v"]:  # fmt: skip
    """`attend` of one query, which also sees a row that is not among the others: itself."""
    before = jnp.where(seen, jnp.einsum("hd,hnd->hn", q, keys), MASKED_LOGIT)
    own = (q * own_key).sum(-1, keepdims=True)
    weights = jax.nn.softmax(jnp.concatenate([before, own], axis=-1) * q.shape[-1] ** -0.5)
    return jnp.einsum("hn,hnv->hv", weights[:, :-1], values) + weights[:, -1:] * own_value
