"""How experience is made outside JAX: the lifetimes that `collect` makes, stepped in worker processes."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from adaptax import keys, trees
from adaptax.collection.slots import Report
from adaptax.collection.streams import Streams
from adaptax.collection.workers import WorkerPool
from adaptax.errors import AdaptaxError, short
from adaptax.learner import Learner
from adaptax.tasks.base import HostFamily, to_environment
from adaptax.types import Behaviour, Fast, Layout, Lifetime, Memory, Step

REDOS = 3
"""How often an episode whose environment failed is redone."""


def collect_host(
    learner: Learner,
    family: HostFamily,
    behaviour: Behaviour,
    layout: Layout,
    task_keys: Key[Array, " B"],
    pool: WorkerPool,
    modal: bool = False,
) -> tuple[Lifetime, Fast, Memory]:
    """As `collect`, for the B tasks in the list `behaviour.tasks`: the same keys give the same lifetimes (law L8).

    An episode whose environment fails, or takes its worker process down, is redone while the other streams go on:
    from its first row, with the memory that the stream had there. `Lifetime.task` is None; the tasks stay with the
    caller. Raises AdaptaxError where an episode fails time and again, and for a reward or an observation that is
    not finite.
    """
    return _Collection(learner, family, behaviour, layout, task_keys, pool, modal).run()


@dataclasses.dataclass
class _Collection:
    learner: Learner
    family: HostFamily
    behaviour: Behaviour
    layout: Layout
    task_keys: Array
    pool: WorkerPool
    modal: bool

    def __post_init__(self):
        self.streams = Streams.new(len(self.behaviour.tasks) * self.layout.streams, self.family.spec)

    def run(self) -> tuple[Lifetime, Fast, Memory]:
        learner, layout = self.learner, self.layout
        theta, per_task, tasks = self.behaviour.theta, self.behaviour.per_task, self.behaviour.tasks
        vectors = [v for v in map(self.family.features, tasks) if v is not None]
        features = jnp.asarray(np.stack(vectors)) if vectors else None
        told = features if learner.told else None
        fast = self.behaviour.fast
        fast, memory = _begin(learner, theta, per_task, fast, told, self.task_keys, layout.streams)
        self.pool.assign([task for task in tasks for _ in range(layout.streams)])
        rounds = []
        for k in range(layout.rounds):
            rows, memory = self.round(k, fast, memory)
            rounds.append(rows)
            if k < layout.rounds - 1 or layout.adapt_last:
                fast = _adapt(learner, theta, per_task, fast, rows, self.task_keys, jnp.array(k))
        steps = jax.tree.map(lambda *rows: jnp.stack(rows, axis=1), *rounds)
        return Lifetime(None, steps, self.task_keys, features), fast, memory

    def round(self, k: int, fast: Fast, memory: Memory) -> tuple[Step, Memory]:
        """Step[B, N, T], and the memory[B, N] after it."""
        streams, layout = self.streams, self.layout
        streams.begin_round(k, layout)
        number = len(streams.t)
        rows, kept = None, memory
        while (active := streams.active(layout)).any():
            acting = active & ~streams.waiting
            said, actions = {}, np.zeros(number)
            if acting.any():
                said, actions, memory, kept = self.decide(k, fast, memory, kept, acting)
            begin = self.seed_episodes(np.flatnonzero(active & streams.waiting))
            report = self.pool.tick(begin, np.flatnonzero(acting), actions[acting])

            for s, message in report.failures.items():
                self.redo(s, k, rows, message)
            if not len(report.slots):
                continue
            self.refuse_non_finite(report)
            begun = streams.waiting[report.slots]
            streams.begin(report.slots[begun], report.obs[begun])
            s = report.slots[~begun]
            if len(s):
                row = trees.index(streams.seen() | said, s) | self.outcome(report, ~begun)
                if rows is None:
                    shape = (number, layout.steps)
                    rows = jax.tree.map(lambda x, shape=shape: np.zeros((*shape, *x.shape[1:]), x.dtype), row)
                _write(rows, (s, streams.t[s]), row)
                streams.advance(s, row, k, layout)
        assert rows is not None
        filled = _fill(rows, streams)
        return Step(**jax.tree.map(lambda x: jnp.asarray(self.by_task(x)), filled)), memory

    def by_task(self, x: np.ndarray) -> np.ndarray:
        """[S, ...] as [B, N, ...]."""
        return x.reshape(len(self.behaviour.tasks), self.layout.streams, *x.shape[1:])

    def decide(
        self, k: int, fast: Fast, memory: Memory, kept: Memory, acting: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, Memory, Memory]:
        """What the acting streams do next.

        The fields of Step[S] that the learner gives, actions [S] in the environments' units, and the memory[B, N]
        after it and that kept for a redo.
        """
        streams = self.streams
        entering = acting & (streams.t == streams.start)
        keep, restore = entering & ~streams.kept, entering & streams.kept
        streams.kept |= entering
        inputs = jax.tree.map(self.by_task, (streams.seen(), streams.t, acting, keep, restore))
        said, actions, memory, kept = _decide(
            self.learner, self.behaviour.theta, self.behaviour.per_task, self.family.spec.action, self.modal,
            fast, memory, kept, self.task_keys, jnp.array(k), inputs,
        )  # fmt: skip
        said, actions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get((said, actions)))
        return said, actions, memory, kept

    def seed_episodes(self, s: np.ndarray) -> dict[int, int]:
        """Stream -> seed of the episode that it begins.

        The first redo repeats the seed, so that a passing fault changes nothing; later ones change it, so that a
        fault of the seed passes too.
        """
        if not len(s):
            return {}
        streams = self.streams
        redrawn = np.maximum(streams.failures - 1, 0)
        seeds = episode_seeds(
            self.task_keys, *map(jnp.asarray, map(self.by_task, (streams.seeded_at, redrawn)))
        )
        streams.seed[s] = np.asarray(seeds).reshape(-1)[s]
        return dict(zip(s.tolist(), streams.seed[s].tolist(), strict=True))

    def outcome(self, report: Report, stepped: np.ndarray) -> dict[str, Any]:
        """The fields of Step[n] that tell what came of the streams' steps."""
        elapsed = self.streams.elapsed[report.slots[stepped]] + 1
        terminated = report.terminated[stepped]
        out_of_time = elapsed >= self.family.spec.episode_steps
        return {
            "reward": report.reward[stepped],
            "terminated": terminated,
            "truncated": (report.truncated[stepped] | out_of_time) & ~terminated,
            "success": report.success[stepped] if self.family.reports_success else None,
            "next_obs": report.obs[stepped],
        }

    def redo(self, s: int, k: int, rows: dict[str, Any] | None, message: str | None) -> None:
        """The episode of stream `s` failed; AdaptaxError where that was once too often."""
        self.streams.redo(s, k, rows, own_fault=message is not None)
        if self.streams.failures[s] > REDOS:
            raise AdaptaxError(
                f"The environment of the task {self.task(s)} failed {REDOS + 1} times in one episode, at last with the "
                f"seed {self.streams.seed[s]} ({message}); mend its make, reset or step."
            )

    def refuse_non_finite(self, report: Report) -> None:
        """AdaptaxError where the environments gave a NaN or an infinity."""
        for what, values in (("reward", report.reward), ("observation", report.obs)):
            bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            if bad.any():
                s = int(report.slots[bad][0])
                step = 0 if self.streams.waiting[s] else self.streams.elapsed[s] + 1
                raise AdaptaxError(
                    f"The {what} of the task {self.task(s)} is {values[bad][0]} after step {step} of the episode with "
                    f"the seed {self.streams.seed[s]}; mend the environment, so that all its numbers are finite."
                )

    def task(self, s: int) -> str:
        return short(self.behaviour.tasks[s // self.layout.streams])


def _write(rows: dict[str, Any], at: Any, row: dict[str, Any]) -> None:
    jax.tree.map(lambda buffer, x: buffer.__setitem__(at, x), rows, row)


def _fill(rows: dict[str, Any], streams: Streams) -> dict[str, Any]:
    """`rows` [S, T] with those after each stream's last: it stands still there, and the last row is repeated."""
    number, steps = rows["reward"].shape
    valid = np.arange(steps) < streams.t[:, None]
    source = np.minimum(np.arange(steps), streams.t[:, None] - 1)
    filled = trees.index(rows, (np.arange(number)[:, None], source))
    standing = streams.seen()
    for name in ("prev_action", "prev_reward", "first", "episode"):
        mask = valid.reshape(number, steps, *[1] * (filled[name].ndim - 2))
        filled[name] = np.where(mask, filled[name], standing[name][:, None])
    return filled | {"valid": valid}


# --- jitted, compiled once per learner and shape -----------------------------------------------------


@eqx.filter_jit
def _begin(learner, theta, per_task, fast, features, task_keys, streams):
    """fast[B] and memory[B, N]."""

    def task(theta, fast, features, key):
        fast = learner.begin(theta, keys.begin(key), features) if fast is None else fast
        return fast, jax.vmap(lambda _: learner.remember(theta))(jnp.arange(streams))

    return jax.vmap(task, (0 if per_task else None, 0, 0, 0))(theta, fast, features, task_keys)


@eqx.filter_jit
def _decide(learner, theta, per_task, space, modal, fast, memory, kept, task_keys, k, per_stream):
    def stream(theta, fast, key, n, memory, kept, inputs):
        seen, t, acting, keep, restore = inputs
        memory = trees.where(restore, kept, memory)
        kept = trees.where(keep, memory, kept)
        stream_key = keys.stream(key, k, n)
        row_key = keys.row(stream_key, t, keys.ACT)
        out, memory = learner.act_if(theta, fast, memory, Step(**seen), row_key, acting)
        action = out.dist.mode() if modal else out.dist.sample(keys.row(stream_key, t, keys.SAMPLE))
        said = {
            "action": action,
            "dist": out.dist,
            "value": out.value,
            "logp": out.dist.log_prob(action),
            "aux": out.aux,
        }
        return said, to_environment(space, action), memory, kept

    def task(theta, fast, key, memory, kept, inputs):
        ns = jnp.arange(inputs[1].shape[0])
        return jax.vmap(stream, (None, None, None, 0, 0, 0, 0))(theta, fast, key, ns, memory, kept, inputs)

    axes = (0 if per_task else None, 0, 0, 0, 0, 0)
    return jax.vmap(task, axes)(theta, fast, task_keys, memory, kept, per_stream)


@eqx.filter_jit
def _adapt(learner, theta, per_task, fast, rows, task_keys, k):
    def task(theta, fast, rows, key):
        return learner.adapt(theta, fast, rows, keys.adapt(key, k))

    return jax.vmap(task, (0 if per_task else None, 0, 0, 0))(theta, fast, rows, task_keys)


@jax.jit
def episode_seeds(
    task_keys: Key[Array, " B"], seeded_at: Int[Array, "B N 2"], redrawn: Int[Array, "B N"]
) -> Int[Array, "B N"]:
    """Seeds of the episodes that begin in rows (k, t): 31 bits (simulators take no more) of the row's RESET key.

    `redrawn` counts how often another seed has been asked for.
    """

    def stream(key, n, seeded_at, redrawn):
        reset = keys.row(keys.stream(key, seeded_at[0], n), seeded_at[1], keys.RESET)
        return (jax.random.bits(jax.random.fold_in(reset, redrawn)) >> 1).astype(jnp.int32)

    def task(key, seeded_at, redrawn):
        return jax.vmap(stream, (None, 0, 0, 0))(key, jnp.arange(redrawn.shape[0]), seeded_at, redrawn)

    return jax.vmap(task)(task_keys, seeded_at, redrawn)
