"""Every lifetime of a tiny process, and its probability."""

from __future__ import annotations

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from families import Fork
from jax.flatten_util import ravel_pytree
from laws.experience import mapped, stream_rows

from adaptax.collection.replay import replay
from adaptax.learner import Learner
from adaptax.types import Layout, Lifetime, Step

FAMILY = Fork()


def every_lifetime(layout: Layout) -> Lifetime:
    """[L]: every sequence of actions in both tasks, each tried once."""
    scripts = np.array(list(itertools.product((0, 1), repeat=layout.rounds * layout.steps)), np.int32)
    scripts = scripts.reshape(-1, layout.rounds, layout.steps)
    rows = []
    for task in FAMILY.tasks():
        streams = [stream_rows(FAMILY, task, layout, script, jax.random.key(0), 0) for script in scripts]
        flat = [row for stream in streams for round_ in stream for row in round_]
        assert None not in flat
        names = [name for name, value in flat[0].items() if value is not None]
        shape = (len(scripts), layout.rounds, layout.steps)
        fields = {name: np.stack([np.asarray(row[name]) for row in flat]) for name in names}
        fields = {name: x.reshape(*shape, *x.shape[1:]) for name, x in fields.items()}
        # All combinations of what the N streams may do.
        together = np.array(list(itertools.product(range(len(scripts)), repeat=layout.streams)))
        rows.append({name: np.moveaxis(x[together], 1, 2) for name, x in fields.items()})
    both = {name: jnp.asarray(np.concatenate([r[name] for r in rows])) for name in rows[0]}
    rounds = Step(**both, valid=jnp.ones_like(both["first"]))
    return Lifetime(None, rounds, jax.random.split(jax.random.key(0), rounds.valid.shape[0]))


def with_behaviour(learner: Learner, theta, layout: Layout, lifetimes: Lifetime) -> Lifetime:
    """The lifetimes with what the learner said of them as it collected."""
    rows = dataclasses.replace(lifetimes.rounds, logp=jnp.zeros_like(lifetimes.rounds.reward))
    # Once for each round: how a learner adapts may depend on what it said of the rounds before.
    for _ in range(layout.rounds):
        out = jax.vmap(lambda one: replay(learner, theta, one, layout))(
            dataclasses.replace(lifetimes, rounds=rows)
        )
        logp = mapped(lambda dist, action: dist.log_prob(action), 4)(out.dist, rows.action)
        rows = dataclasses.replace(rows, dist=out.dist, value=out.value, logp=logp)
    return dataclasses.replace(lifetimes, rounds=rows)


def probabilities(lifetimes: Lifetime) -> jax.Array:
    """[L], of each lifetime under the policies that collected it; both tasks are equally likely."""
    return jnp.exp(lifetimes.rounds.logp.sum((1, 2, 3))) / 2.0


def relative_error(x: jax.Array, y: jax.Array) -> float:
    return float(jnp.linalg.norm(x - y) / jnp.linalg.norm(y))


def trained_part(learner: Learner, theta) -> jax.Array:
    return ravel_pytree(eqx.filter(theta, learner.trainable(theta)))[0]


def returns_to_go(rows: Step) -> jax.Array:
    """Undiscounted, of streams [..., T] of one episode each: the plainest advantage, and an unbiased one."""
    return jnp.cumsum(rows.reward[..., ::-1], -1)[..., ::-1]


def log_probs(theta, policy, rows: Step) -> jax.Array:
    """[N, T]"""
    say = lambda obs, action: policy(theta.normaliser.observation(obs)).log_prob(action)  # noqa: E731
    return mapped(say, 2)(rows.obs, rows.action)
