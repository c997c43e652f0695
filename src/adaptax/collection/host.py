"""How experience is made on environments outside JAX: the lifetimes that `collect` makes, stepped in worker processes."""

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
    """As `collect`, for the B tasks in the list `behaviour.tasks`: the same lifetimes come from the same keys (law L8).

    An episode whose environment fails, or takes its worker process down, is redone while the other streams go on: from its
    first row, with the memory that the stream had there. `Lifetime.task` is None; the tasks stay with the caller.
    Raises AdaptaxError where an episode fails time and again, and where a reward or an observation is not finite.
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
        self.shape = (len(self.behaviour.tasks), self.layout.streams)
        """[B, N], which the streams' axis S runs over."""
        self.streams = Streams.new(self.shape[0] * self.shape[1], self.family.spec)

    def run(self) -> tuple[Lifetime, Fast, Memory]:
        learner, layout = self.learner, self.layout
        theta, per_task, tasks = self.behaviour.theta, self.behaviour.per_task, self.behaviour.tasks
        vectors = [self.family.features(task) for task in tasks]
        features = None if vectors[0] is None else jnp.asarray(np.stack(vectors))
        told = features if learner.told else None
        fast, memory = _begin(learner, theta, per_task, self.behaviour.fast, told, self.task_keys, layout.streams)
        self.pool.assign([task for task in tasks for _ in range(layout.streams)])
        rounds = []
        for k in range(layout.rounds):
            rows, memory = self.round(k, fast, memory)
            rounds.append(rows)
            if k < layout.rounds - 1 or layout.adapt_last:
                fast = _adapt(learner, theta, per_task, fast, rows, self.task_keys, jnp.array(k))
        steps = jax.tree.map(lambda *rows: jnp.asarray(np.stack(rows, axis=1)), *rounds)
        return Lifetime(None, steps, self.task_keys, features), fast, memory

    def round(self, k: int, fast: Fast, memory: Memory) -> tuple[Step, Memory]:
        """Step[B, N, T] of numpy arrays, and the memory[B, N] after it."""
        streams, layout = self.streams, self.layout
        streams.begin_round(k, layout)
        number = len(streams.t)
        rows, kept = None, memory
        while (active := streams.active(layout)).any():
            acting = active & ~streams.waiting
            said, actions = None, np.zeros(number)
            if acting.any():
                said, actions, memory, kept = self.decide(k, fast, memory, kept, acting)
            begin = self.seed_episodes(np.flatnonzero(active & streams.waiting))
            report = self.pool.tick(begin, np.flatnonzero(acting), actions[acting])

            for s, message in report.failures.items():
                self.redo(s, k, rows, message)
            self.refuse_non_finite(report)
            begun = streams.waiting[report.slots]
            streams.begin(report.slots[begun], report.obs[begun])
            s = report.slots[~begun]
            if len(s):
                row = self.row(trees.index(said, s), report, ~begun)
                if rows is None:
                    rows = jax.tree.map(lambda x: np.zeros((number, layout.steps, *x.shape[1:]), x.dtype), row)
                _write(rows, (s, streams.t[s]), row)
                streams.advance(s, row, k, layout)
        rows = _fill(rows, streams)
        return jax.tree.map(lambda x: x.reshape(*self.shape, *x.shape[1:]), rows), memory

    def decide(self, k: int, fast: Fast, memory: Memory, kept: Memory, acting: np.ndarray) -> tuple[Any, ...]:
        """What the learner does next: Step[S] and actions [S] in the environments' units (numpy), memory, and kept memory."""
        streams = self.streams
        entering = acting & (streams.t == streams.start)
        keep, restore = entering & ~streams.kept, entering & streams.kept
        streams.kept |= entering
        per_stream = (streams.seen(), streams.t, acting, keep, restore)
        said, actions, memory, kept = _decide(
            self.learner, self.behaviour.theta, self.behaviour.per_task, self.family.spec.action, self.modal,
            fast, memory, kept, self.task_keys, jnp.array(k),
            jax.tree.map(lambda x: x.reshape(*self.shape, *x.shape[1:]), per_stream),
        )  # fmt: skip
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get((said, actions)))
        return *flat, memory, kept

    def seed_episodes(self, s: np.ndarray) -> dict[int, int]:
        """Stream -> seed of the episode that it begins.

        The first redo repeats the seed, so that a passing fault changes nothing; later ones change it, so that a fault of
        the seed passes too.
        """
        if not len(s):
            return {}
        streams = self.streams
        redrawn = np.maximum(streams.failures - 1, 0)
        seeds = episode_seeds(
            self.task_keys, streams.seeded_at.reshape(*self.shape, 2), redrawn.reshape(self.shape)
        )
        streams.seed[s] = np.asarray(seeds).reshape(-1)[s]
        return dict(zip(s.tolist(), streams.seed[s].tolist(), strict=True))

    def row(self, said: Step, report: Report, stepped: np.ndarray) -> Step:
        """Step[n] of the streams that took a step: what they did and what came of it."""
        elapsed = self.streams.elapsed[report.slots[stepped]] + 1
        terminated = report.terminated[stepped]
        out_of_time = elapsed >= self.family.spec.episode_steps
        return dataclasses.replace(
            said,
            reward=report.reward[stepped],
            terminated=terminated,
            truncated=(report.truncated[stepped] | out_of_time) & ~terminated,
            success=report.success[stepped] if self.family.reports_success else None,
            next_obs=report.obs[stepped],
            valid=np.ones(len(elapsed), bool),
        )

    def redo(self, s: int, k: int, rows: Step | None, message: str | None) -> None:
        """The episode of stream `s` failed; AdaptaxError where that was once too often."""
        self.streams.redo(s, k, rows, own_fault=message is not None)
        if self.streams.failures[s] > REDOS:
            raise AdaptaxError(
                f"The environment of the task {self.task(s)} failed {REDOS + 1} times in one episode, at last with the seed "
                f"{self.streams.seed[s]} ({message}); mend make, reset or step."
            )

    def refuse_non_finite(self, report: Report) -> None:
        for what, values in (("reward", report.reward), ("observation", report.obs)):
            bad = ~np.isfinite(values).reshape(len(values), -1).all(-1)
            if bad.any():
                s = report.slots[bad][0]
                begun = self.streams.waiting[s]
                raise AdaptaxError(
                    f"A NaN or an infinity is in the {what} of the task {self.task(s)} after "
                    f"{0 if begun else self.streams.elapsed[s] + 1} steps of the episode with the seed "
                    f"{self.streams.seed[s]}; mend the environment."
                )

    def task(self, s: int) -> str:
        return short(self.behaviour.tasks[s // self.layout.streams])


def _write(rows: Step, at: Any, row: Step) -> None:
    jax.tree.map(lambda buffer, x: buffer.__setitem__(at, x), rows, row)


def _fill(rows: Step, streams: Streams) -> Step:
    """Step[S, T] with the rows after each stream's last: it stands still there, and its last row is repeated."""
    number, steps = rows.valid.shape
    t = np.arange(steps)
    valid = t < streams.t[:, None]
    source = np.minimum(t, streams.t[:, None] - 1)
    rows = trees.index(rows, (np.arange(number)[:, None], source))
    stands = streams.seen()
    names = ("prev_action", "prev_reward", "first", "episode")

    def frozen(name: str) -> np.ndarray:
        now, still = getattr(rows, name), getattr(stands, name)
        return np.where(valid.reshape(number, steps, *[1] * (now.ndim - 2)), now, still[:, None])

    return dataclasses.replace(rows, valid=valid, **{name: frozen(name) for name in names})


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
        out, after = learner.act(theta, fast, memory, seen, keys.row(stream_key, t, keys.ACT))
        action = out.dist.mode() if modal else out.dist.sample(keys.row(stream_key, t, keys.SAMPLE))
        logp = out.dist.log_prob(action)
        said = dataclasses.replace(seen, action=action, dist=out.dist, value=out.value, logp=logp, aux=out.aux)
        return said, to_environment(space, action), trees.where(acting, after, memory), kept

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
    """Seeds of the episodes that begin in rows (k, t): 31 bits (simulators take no more) of each row's RESET key.

    `redrawn` counts how often another seed has been asked for.
    """

    def stream(key, n, seeded_at, redrawn):
        reset = keys.row(keys.stream(key, seeded_at[0], n), seeded_at[1], keys.RESET)
        return (jax.random.bits(jax.random.fold_in(reset, redrawn)) >> 1).astype(jnp.int32)

    def task(key, seeded_at, redrawn):
        return jax.vmap(stream, (None, 0, 0, 0))(key, jnp.arange(redrawn.shape[0]), seeded_at, redrawn)

    return jax.vmap(task)(task_keys, seeded_at, redrawn)
