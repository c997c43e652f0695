"""How experience is scored again: the learner runs over stored lifetimes, differentiably in theta."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax import keys, trees
from adaptax.estimators.returns import Horizon, following_in_lifetime
from adaptax.learner import Learner
from adaptax.types import Fast, Layout, Lifetime, Memory, Out, Step, Theta


def replay(learner: Learner, theta: Theta, lifetime: Lifetime, layout: Layout) -> Out:
    """Out[K, N, T] of ONE task's lifetime: every `unroll` and every `adapt` again, on the stored data.

    Under the parameters that collected it, the stored distributions come out (law L1). A meta-gradient is the
    gradient of a loss of this in theta.
    """
    return _rerun(learner, theta, lifetime, layout)[0]


def replay_with_values(
    learner: Learner, theta: Theta, lifetime: Lifetime, layout: Layout, horizon: Horizon
) -> tuple[Out, Float[Array, "K N T"]]:
    """`replay`, and the value V' of what follows each row (see `next_values`)."""
    outs, fasts, memories = _rerun(learner, theta, lifetime, layout)
    return outs, next_values(learner, theta, lifetime, layout, horizon, outs.value, fasts, memories)


def replay_from(
    learner: Learner, theta: Theta, lifetime: Lifetime, layout: Layout, fast: Fast
) -> tuple[Out, Fast]:
    """`replay` from a given fast state, with one more `adapt` after the last round: Out[K, N, T], and the fast state then.

    For learners without memory, and losses that look at every round alike: it is one scan over rounds.
    """
    ns = jnp.arange(layout.streams)

    def one_round(fast: Fast, inputs: tuple[Step, Array]) -> tuple[Fast, Out]:
        steps, k = inputs
        stream_keys = jax.vmap(lambda n: keys.stream(lifetime.keys, k, n))(ns)
        out, _ = jax.vmap(learner.unroll, (None, None, None, 0, 0))(theta, fast, None, steps, stream_keys)
        return learner.adapt(theta, fast, steps, keys.adapt(lifetime.keys, k)), out

    fast, outs = jax.lax.scan(one_round, fast, (lifetime.rounds, jnp.arange(layout.rounds)))
    return outs, fast


def _rerun(learner, theta, lifetime, layout):
    """Out[K, N, T], the fast state of each round, and the memory[N] that each round began with (and ended in)."""
    told = lifetime.features if learner.told else None
    fast = learner.begin(theta, keys.begin(lifetime.keys), told)
    ns = jnp.arange(layout.streams)
    memory = jax.vmap(lambda _: learner.remember(theta))(ns)
    outs, fasts, memories = [], [fast], [memory]
    # Not a scan: where the loss looks at the last round alone, the outputs of the others are not computed.
    for k in range(layout.rounds):
        steps = trees.index(lifetime.rounds, k)
        stream_keys = jax.vmap(lambda n, k=k: keys.stream(lifetime.keys, k, n))(ns)
        unroll = jax.vmap(learner.unroll, (None, None, 0, 0, 0))
        out, memory = unroll(theta, fast, memory, steps, stream_keys)
        outs.append(out)
        memories.append(memory)
        if k < layout.rounds - 1:
            fast = learner.adapt(theta, fast, steps, keys.adapt(lifetime.keys, k))
            fasts.append(fast)
    return trees.stack(outs), fasts, memories


def next_values(
    learner: Learner,
    theta: Theta,
    lifetime: Lifetime,
    layout: Layout,
    horizon: Horizon,
    value: Float[Array, "K N T"],
    fasts: list[Fast],
    memories: list[Memory],
) -> Float[Array, "K N T"]:
    """The value V' of what follows each row: 0 where the horizon's future ends, else that of the next row, or, where the next
    row is not part of the future, of a *peek*: one `act` on the true next observation whose memory is thrown away.

    horizon="episode": the next row inside an episode, a peek where it was truncated, 0 where it terminated.
    horizon="lifetime": the next row through all borders, rounds too; 0 after the last episode; a peek at the end of a budget
    of steps that leaves the lifetime unfinished.
    """
    rows = lifetime.rounds
    n, t = value.shape[1:]
    ended = jnp.logical_or(rows.terminated, rows.truncated)
    if horizon == "lifetime":
        after_end = jnp.zeros((n,))
        if layout.episodes is None:
            last = jax.tree.map(lambda x: x[-1, :, -1], rows)
            at_end = jax.vmap(lambda m, s: _peek(learner, theta, fasts[-1], m, s))(memories[-1], last)
            after_end = jnp.where(last.terminated, 0.0, at_end)
        return following_in_lifetime(value, rows.valid, after_end)

    shifted = jnp.concatenate([value[..., 1:], jnp.zeros_like(value[..., :1])], axis=-1)
    cut = (rows.truncated | (jnp.arange(t) == t - 1)) & ~rows.terminated
    peeks = jnp.stack(
        [
            _peek_all(learner, theta, fasts[k], memories[k], trees.index(rows, k), lifetime, k)
            for k in range(layout.rounds)
        ]
    )
    return jnp.where(rows.valid, jnp.where(cut, peeks, jnp.where(ended, 0.0, shifted)), 0.0)


def _peek(learner, theta, fast, memory, row: Step) -> Array:
    """The value of the true next observation after `row`, as the same episode's next step."""
    ahead = Step(
        obs=row.next_obs, prev_action=row.action, prev_reward=row.reward,
        first=jnp.zeros_like(row.first), episode=row.episode, action_mask=row.action_mask,
    )  # fmt: skip
    # A peek draws nothing that matters: no row has its key, and its memory is thrown away.
    return learner.act(theta, fast, memory, ahead, jax.random.key(0))[0].value


def _peek_all(learner, theta, fast, memory, steps, lifetime, k):
    """Peeks after every row [N, T] of a round."""
    if not jax.tree.leaves(memory):
        return jax.vmap(jax.vmap(lambda s: _peek(learner, theta, fast, memory, s)))(steps)

    def stream(memory, steps, n):
        stream_key = keys.stream(lifetime.keys, k, n)

        def row(memory, inputs):
            step, t = inputs
            _, after = learner.act(theta, fast, memory, step, keys.row(stream_key, t, keys.ACT))
            memory = trees.where(step.valid, after, memory)
            return memory, _peek(learner, theta, fast, memory, step)

        return jax.lax.scan(row, memory, (steps, jnp.arange(steps.obs.shape[0])))[1]

    return jax.vmap(stream)(memory, steps, jnp.arange(steps.obs.shape[0]))
