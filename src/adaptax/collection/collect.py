"""How experience is made inside JAX: K rounds of N streams of T steps of one task, adapting between rounds."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax import keys, trees
from adaptax.learner import Learner
from adaptax.networks.encoding import zero_action
from adaptax.tasks.base import TaskFamily, to_environment
from adaptax.types import Behaviour, Fast, Layout, Lifetime, Memory, Step, Task, Theta


class Stream(eqx.Module):
    """Where one stream stands between two rows."""

    env: Any
    obs: Array
    prev_action: Array
    prev_reward: Array
    first: Array
    episode: Array
    """Episodes finished since the stream began."""
    elapsed: Array
    """Steps taken in the present episode."""
    remaining: Array
    """Episodes that this round still has to finish; the stream stands still at 0."""


def collect(
    learner: Learner,
    family: TaskFamily,
    behaviour: Behaviour,
    layout: Layout,
    task_keys: Key[Array, " B"],
    modal: bool = False,
) -> tuple[Lifetime, Fast, Memory]:
    """Lifetimes of the B tasks in `behaviour.tasks`, and the fast and memory states that they end in.

    Parameters stay constant meanwhile. `modal` takes each distribution's mode instead of a sample.
    """

    def one_task(theta, task, fast, key):
        features = family.features(task)
        if fast is None:
            fast = learner.begin(theta, keys.begin(key), features if learner.told else None)
        rounds, fast, memory = collect_task(learner, family, theta, fast, task, layout, key, modal)
        return Lifetime(task, rounds, key, features), fast, memory

    axes = (0 if behaviour.per_task else None, 0, None if behaviour.fast is None else 0, 0)
    return jax.vmap(one_task, axes)(behaviour.theta, behaviour.tasks, behaviour.fast, task_keys)


def collect_task(
    learner: Learner,
    family: TaskFamily,
    theta: Theta,
    fast: Fast,
    task: Task,
    layout: Layout,
    key: Key[Array, ""],
    modal: bool,
) -> tuple[Step, Fast, Memory]:
    """One task's Step[K, N, T], and the fast and memory[N] states after it."""
    ns = jnp.arange(layout.streams)

    def one_round(fast, memory, streams, k):
        stream_keys = jax.vmap(lambda n: keys.stream(key, k, n))(ns)
        begun = jax.vmap(lambda s, sk: begin_round(family, task, layout, s, sk))(streams, stream_keys)

        def roll(memory, stream, stream_key):
            def row(carry, t):
                return collect_row(learner, family, theta, fast, task, layout, modal, stream_key, carry, t)

            return jax.lax.scan(row, (memory, stream), jnp.arange(layout.steps))

        (memory, streams), steps = jax.vmap(roll)(memory, begun, stream_keys)
        return memory, streams, steps

    memory = jax.vmap(lambda _: learner.remember(theta))(ns)
    streams = jax.vmap(lambda n: new_stream(family, task, keys.stream(key, 0, n)))(ns)
    memory, streams, first_round = one_round(fast, memory, streams, 0)

    def adapt_and_go_on(carry, k):
        fast, memory, streams, before = carry
        fast = learner.adapt(theta, fast, before, keys.adapt(key, k - 1))
        memory, streams, steps = one_round(fast, memory, streams, k)
        return (fast, memory, streams, steps), steps

    last, rounds = first_round, trees.index(first_round, jnp.newaxis)
    if layout.rounds > 1:
        carry = (fast, memory, streams, first_round)
        (fast, memory, streams, last), later = jax.lax.scan(
            adapt_and_go_on, carry, jnp.arange(1, layout.rounds)
        )
        rounds = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rounds, later)
    if layout.adapt_last:
        fast = learner.adapt(theta, fast, last, keys.adapt(key, layout.rounds - 1))
    return rounds, fast, memory


def new_stream(family: TaskFamily, task: Task, stream_key: Key[Array, ""]) -> Stream:
    """A stream in which nothing has happened; the environment is reset."""
    env, obs = family.reset(keys.row(stream_key, 0, keys.RESET), task)
    zero = jnp.zeros((), jnp.int32)
    return Stream(env, obs, zero_action(family.spec.action), jnp.zeros(()), jnp.array(True), zero, zero, zero)


def begin_round(
    family: TaskFamily, task: Task, layout: Layout, stream: Stream, stream_key: Key[Array, ""]
) -> Stream:
    """The stream at a round's first row: a new episode, unless the layout carries the environment over.

    What was seen last (`prev_action`, `prev_reward`) and the count of episodes stay: the stream goes on.
    """
    remaining = jnp.array(1 if layout.episodes is None else layout.episodes, jnp.int32)
    if layout.carry:
        return eqx.tree_at(lambda s: s.remaining, stream, remaining)
    # An episode that the end of the last round cut off has been left: it counts.
    left = (~stream.first).astype(jnp.int32)
    fresh = new_stream(family, task, stream_key)
    return Stream(
        fresh.env, fresh.obs, stream.prev_action, stream.prev_reward,
        fresh.first, stream.episode + left, fresh.elapsed, remaining,
    )  # fmt: skip


def collect_row(
    learner: Learner,
    family: TaskFamily,
    theta: Theta,
    fast: Fast,
    task: Task,
    layout: Layout,
    modal: bool,
    stream_key: Key[Array, ""],
    carry: tuple[Memory, Stream],
    t: Array,
) -> tuple[tuple[Memory, Stream], Step]:
    """One row: act, sample, step the environment, and reset the same task where the episode ended."""
    memory, stream = carry
    spec = family.spec
    seen = Step(
        obs=stream.obs,
        prev_action=stream.prev_action,
        prev_reward=stream.prev_reward,
        first=stream.first,
        episode=stream.episode,
        action_mask=family.action_mask(stream.env, task),
    )
    alive = stream.remaining > 0
    out, memory = learner.act_if(theta, fast, memory, seen, keys.row(stream_key, t, keys.ACT), alive)
    action = out.dist.mode() if modal else out.dist.sample(keys.row(stream_key, t, keys.SAMPLE))
    env, outcome = family.step(
        keys.row(stream_key, t, keys.STEP), stream.env, to_environment(spec.action, action), task
    )
    elapsed = stream.elapsed + 1
    truncated = (outcome.truncated | (elapsed >= spec.episode_steps)) & ~outcome.terminated
    ended = outcome.terminated | truncated

    env_fresh, obs_fresh = family.reset(keys.row(stream_key, t + 1, keys.RESET), task)
    after = Stream(
        env=trees.where(ended, env_fresh, env),
        obs=jnp.where(ended, obs_fresh, outcome.obs),
        prev_action=action,
        prev_reward=outcome.reward,
        first=ended,
        episode=stream.episode + ended,
        elapsed=jnp.where(ended, 0, elapsed),
        remaining=stream.remaining if layout.episodes is None else stream.remaining - ended,
    )
    after = trees.where(alive, after, stream)
    step = Step(
        **{
            name: getattr(seen, name)
            for name in ("obs", "prev_action", "prev_reward", "first", "episode", "action_mask")
        },
        action=action,
        reward=outcome.reward,
        terminated=outcome.terminated,
        truncated=truncated,
        success=outcome.success,
        shaped_reward=outcome.shaped_reward,
        next_obs=outcome.obs,
        valid=alive,
        dist=out.dist,
        value=out.value,
        logp=out.dist.log_prob(action),
        aux=out.aux,
    )
    return (memory, after), step
