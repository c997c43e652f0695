"""How experience is scored again: the learner runs over stored lifetimes, differentiably in theta."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from adaptax import keys, trees
from adaptax.estimators.returns import Horizon, following_in_lifetime
from adaptax.learner import Learner
from adaptax.types import Fast, Layout, Lifetime, Memory, Out, Step, Theta

LONG_LIFETIME = 4
"""Lifetimes of more rounds than this are replayed by a scan that keeps, for the way back, the state that each round began with, and
computes the rest of the round again. Measured on a meta-gradient of MAML with a loss on all rounds, 8 tasks × 10 episodes × 100
steps, on two cores:

    rounds   temporary memory   seconds        to compile
    5        109 → 25 MB        0.24 → 0.26    17 → 11
    20       488 → 32 MB        1.0 → 2.4      62 → 26

(the 2.4 on a busy machine). With two rounds and the loss on the last one, of 34 MB 6 would be saved."""


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


def readapt(learner: Learner, theta: Theta, lifetime: Lifetime, layout: Layout) -> Fast:
    """The fast state of ONE task after every `adapt` of its lifetime again, the last round's too where the layout asks."""
    told = lifetime.features if learner.told else None
    fast = learner.begin(theta, keys.begin(lifetime.keys), told)
    for k in range(layout.rounds if layout.adapt_last else layout.rounds - 1):
        fast = learner.adapt(theta, fast, trees.index(lifetime.rounds, k), keys.adapt(lifetime.keys, k))
    return fast


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


def replay_states(
    learner: Learner,
    theta: Theta,
    lifetime: Lifetime,
    layout: Layout,
    read: Callable[[Fast, Memory], PyTree],
) -> PyTree:
    """What `read` finds in the fast state and the memory after every row [K, N, T] of ONE task's lifetime."""
    told = lifetime.features if learner.told else None
    fast = learner.begin(theta, keys.begin(lifetime.keys), told)
    ns = jnp.arange(layout.streams)
    memory = jax.vmap(lambda _: learner.remember(theta))(ns)

    def one_round(carry, inputs):
        (fast, memory), (steps, k) = carry, inputs

        def stream(memory, steps, n):
            stream_key = keys.stream(lifetime.keys, k, n)

            def row(memory, inputs):
                step, t = inputs
                _, after = learner.act(theta, fast, memory, step, keys.row(stream_key, t, keys.ACT))
                memory = trees.where(step.valid, after, memory)
                return memory, read(fast, memory)

            return jax.lax.scan(row, memory, (steps, jnp.arange(layout.steps)))

        memory, found = jax.vmap(stream)(memory, steps, ns)
        return (learner.adapt(theta, fast, steps, keys.adapt(lifetime.keys, k)), memory), found

    return jax.lax.scan(one_round, (fast, memory), (lifetime.rounds, jnp.arange(layout.rounds)))[1]


def _rerun(learner, theta, lifetime, layout):
    """Out[K, N, T], the fast state of each round, and the memory[N] that each round began with (and ended in)."""
    told = lifetime.features if learner.told else None
    fast = learner.begin(theta, keys.begin(lifetime.keys), told)
    ns = jnp.arange(layout.streams)
    memory = jax.vmap(lambda _: learner.remember(theta))(ns)

    def score(fast, memory, steps, k):
        stream_keys = jax.vmap(lambda n: keys.stream(lifetime.keys, k, n))(ns)
        if isinstance(k, int) and k == 0:  # with several rounds in one scan the first is one like the others
            return jax.vmap(learner.unroll_anew, (None, None, 0, 0))(theta, fast, steps, stream_keys)
        unroll = jax.vmap(learner.unroll, (None, None, 0, 0, 0))
        return unroll(theta, fast, memory, steps, stream_keys)

    def play(carry, inputs):
        """A round, and the adaptation after it."""
        (fast, memory), (steps, k) = carry, inputs
        out, memory_after = score(fast, memory, steps, k)
        fast_after = learner.adapt(theta, fast, steps, keys.adapt(lifetime.keys, k))
        return (fast_after, memory_after), (out, fast, memory)

    before_last = range(layout.rounds - 1)
    carry, played = (fast, memory), []
    if layout.rounds > LONG_LIFETIME:
        steps = trees.index(lifetime.rounds, slice(0, layout.rounds - 1))
        # No barrier against common subexpressions is needed: a scan's forward and backward passes are apart.
        again = jax.checkpoint(play, prevent_cse=False)
        carry, stacked = jax.lax.scan(again, carry, (steps, jnp.arange(layout.rounds - 1)))
        played = [trees.index(stacked, k) for k in before_last]
    else:
        # Not a scan: where the loss looks at the last round alone, the outputs of the others are not computed.
        for k in before_last:
            carry, of_round = play(carry, (trees.index(lifetime.rounds, k), k))
            played.append(of_round)
    fast, memory = carry
    out, memory_after = score(
        fast, memory, trees.index(lifetime.rounds, layout.rounds - 1), layout.rounds - 1
    )
    outs, fasts, memories = zip(*played, (out, fast, memory), strict=True)
    return trees.stack(list(outs)), list(fasts), [*memories, memory_after]


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
            row_key = keys.row(stream_key, t, keys.ACT)
            _, memory = learner.act_if(theta, fast, memory, step, row_key, step.valid)
            return memory, _peek(learner, theta, fast, memory, step)

        return jax.lax.scan(row, memory, (steps, jnp.arange(steps.obs.shape[0])))[1]

    return jax.vmap(stream)(memory, steps, jnp.arange(steps.obs.shape[0]))
