"""A learner on one new task, numpy in and numpy out: what a program uses that knows nothing of JAX."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax import keys, trees
from adaptax.checkpoint import digest, load_checkpoint, read_arrays, save_checkpoint
from adaptax.errors import AdaptaxError, short
from adaptax.learner import Learner
from adaptax.networks.encoding import zero_action
from adaptax.tasks.base import to_environment
from adaptax.types import Discrete, Layout, Spec, Step, Theta


class Agent:
    """Meets one task, episode after episode, and adapts by itself as its learner's layout says.

        action = agent.act(observation)
        agent.observe(reward, terminated, truncated, next_observation)

    It does what the collectors do, with the same keys: K rounds, in each N streams one after the other, E episodes a stream.
    After a round it adapts; there is no last round. Where the layout carries the environment over, N is 1.
    """

    def __init__(self, learner: Learner, layout: Layout, spec: Spec, theta: Theta, seed: int = 0):
        self.spec, self.layout = spec, layout
        self._learner, self._theta = learner, theta
        self._key = jax.random.key(seed)
        self._state = first_state(learner, layout, spec, theta, self._key)
        self._seen: tuple[Any, ...] | None = None

    @property
    def episodes(self) -> int:
        """Episodes finished."""
        return int(self._state.episodes)

    @property
    def adaptations(self) -> int:
        """How often the learner has adapted between rounds (a learner that remembers does so within them)."""
        return int(self._state.k)

    def act(self, observation: Any, modal: bool = False, action_mask: Any = None) -> Any:
        """The next action, in the environment's units: an int, an int vector, or a float32 vector within bounds.

        `modal` takes the most likely action instead of a sample. `action_mask`: bool[n], the actions that are allowed now,
        which a family that forbids some at times (`Spec.masked`) needs.
        """
        if self.spec.masked != (action_mask is not None):
            need = "needs the action_mask" if self.spec.masked else "knows no action_mask"
            raise AdaptaxError(f"A learner trained on '{self.spec.name}' {need} of agent.act(observation).")
        s = self._state
        stream_key = keys.stream(self._key, int(s.k), int(s.n))
        step = Step(
            obs=self._observation(observation),
            prev_action=jnp.asarray(s.prev_action[s.n]),
            prev_reward=jnp.asarray(s.prev_reward[s.n]),
            first=jnp.asarray(s.first),
            episode=jnp.asarray(s.episode[s.n]),
            action_mask=None if action_mask is None else jnp.asarray(action_mask, bool),
        )
        row = _act(
            self._learner,
            self._theta,
            s.fast,
            trees.index(s.memory, int(s.n)),
            step,
            stream_key,
            jnp.asarray(s.t),
            modal,
        )
        self._seen = (step, *row)
        action = np.asarray(to_environment(self.spec.action, row[0]))
        return int(action) if isinstance(self.spec.action, Discrete) else action

    def observe(self, reward: float, terminated: bool, truncated: bool, next_observation: Any) -> None:
        """What the environment answered to the last action. At an episode's end, reset the environment and go on."""
        if self._seen is None:
            raise AdaptaxError(
                "agent.observe was called before agent.act; act first, then say what came of it."
            )
        if not np.isfinite(reward):
            raise AdaptaxError(f"The reward is {reward}; give a finite number.")
        step, action, out, memory = self._seen
        self._seen = None
        s = self._state
        n, t = int(s.n), int(s.t)
        row = dataclasses.replace(
            step,
            action=action,
            reward=jnp.asarray(reward, jnp.float32),
            terminated=jnp.asarray(bool(terminated)),
            truncated=jnp.asarray(bool(truncated) and not terminated),
            next_obs=self._observation(next_observation),
            valid=jnp.array(True),
            dist=out.dist,
            value=out.value,
            logp=out.dist.log_prob(action),
            aux=out.aux,
        )
        if t < self.layout.steps:
            s.rows = _write(s.rows, row, n, t)
        s.memory = jax.tree.map(lambda old, new: old.at[n].set(new), s.memory, memory)
        s.prev_action[n], s.prev_reward[n] = np.asarray(action), reward
        s.t = np.int32(t + 1)
        ended = bool(terminated or truncated)
        s.first = np.bool_(ended)
        if ended:
            s.episode[n] += 1
            s.episodes = np.int32(s.episodes + 1)
            s.in_stream = np.int32(s.in_stream + 1)
        # Where the environment goes on across rounds, a round is over after its steps, in mid-episode too.
        over = s.t == self.layout.steps if self.layout.carry else s.in_stream >= (self.layout.episodes or 1)
        if over:
            self._next_stream()

    def _next_stream(self) -> None:
        s = self._state
        s.n, s.t, s.in_stream = np.int32(s.n + 1), np.int32(0), np.int32(0)
        if s.n == self.layout.streams:
            s.fast = _adapt(self._learner, self._theta, s.fast, s.rows, keys.adapt(self._key, int(s.k)))
            s.rows = jax.tree.map(jnp.zeros_like, s.rows)
            s.n, s.k = np.int32(0), np.int32(s.k + 1)

    def save(self, path: Path | str) -> None:
        """Keeps what the agent has learned about its task (not the learner itself)."""
        facts = {"agent_of": self._identity(), "layout": dataclasses.asdict(self.layout)}
        save_checkpoint(Path(path), self._arrays(), facts)

    def load(self, path: Path | str) -> Agent:
        """Goes on from where `save` was called, with the layout that held there; the learner must be the same. Returns itself."""
        path = Path(path)
        _, facts = read_arrays(path)
        if facts.get("agent_of") != self._identity():
            raise AdaptaxError(
                f"{path} was saved by an agent of another learner, or of this one before it was trained further; begin a new one."
            )
        self.layout = Layout(**facts["layout"])
        self._state = first_state(self._learner, self.layout, self.spec, self._theta, self._key)
        (key, state), _ = load_checkpoint(path, self._arrays())
        self._key, self._seen = key, None
        for name, value in state.items():
            is_numpy = isinstance(getattr(self._state, name), np.ndarray | np.generic)
            setattr(self._state, name, np.array(value)[()] if is_numpy else value)
        return self

    def _identity(self) -> str:
        """Tells learners apart: what an agent has learned means nothing beside another theta."""
        return f"{self.spec.name} {digest(self._theta)}"

    def _arrays(self) -> tuple[Any, dict[str, Any]]:
        return self._key, {f.name: getattr(self._state, f.name) for f in dataclasses.fields(self._state)}

    def _observation(self, observation: Any) -> jax.Array:
        """As the learner's spec wants it: float32, one-hot where an integer was given."""
        shape = self.spec.observation
        try:
            x = np.asarray(observation)
            numbers = x.astype(np.float32)
        except (TypeError, ValueError):
            raise AdaptaxError(f"An observation is an array of numbers, not {short(observation)}.") from None
        if x.ndim == 0 and np.issubdtype(x.dtype, np.integer) and len(shape) == 1 and shape[0] > 1:
            numbers = np.eye(shape[0], dtype=np.float32)[x]
        if numbers.size != int(np.prod(shape)):
            raise AdaptaxError(
                f"The observation has shape {numbers.shape}, but this learner was trained on '{self.spec.name}' with {shape}; "
                "train one on environments of this shape."
            )
        if not np.all(np.isfinite(numbers)):
            raise AdaptaxError("The observation holds a NaN or an infinity; mend the environment.")
        return jnp.asarray(numbers.reshape(shape), jnp.float32)


@dataclasses.dataclass
class _State:
    fast: Any
    memory: Any
    """[N]"""
    rows: Step
    """[N, T], this round so far."""
    prev_action: np.ndarray
    prev_reward: np.ndarray
    episode: np.ndarray
    """[N] episodes finished in each stream"""
    first: np.bool_
    k: np.int32
    n: np.int32
    t: np.int32
    in_stream: np.int32
    episodes: np.int32


def first_state(learner: Learner, layout: Layout, spec: Spec, theta: Theta, key: jax.Array) -> _State:
    if learner.told:
        raise AdaptaxError(
            "This learner is an oracle, which must be told the task; it cannot meet an unknown one."
        )
    fast = learner.begin(theta, keys.begin(key), None)
    n, t = layout.streams, layout.steps
    memory = jax.vmap(lambda _: learner.remember(theta))(jnp.arange(n))
    action = zero_action(spec.action)
    scalar, flag = jnp.zeros(()), jnp.array(False)
    obs = jnp.zeros(spec.observation)
    mask = jnp.ones(spec.action.n, bool) if spec.masked and isinstance(spec.action, Discrete) else None
    seen = Step(obs, action, scalar, flag, jnp.zeros((), jnp.int32), mask)
    out, _ = jax.eval_shape(lambda m: learner.act(theta, fast, trees.index(m, 0), seen, key), memory)
    out = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), out)
    row = dataclasses.replace(
        seen, action=action, reward=scalar, terminated=flag, truncated=flag, next_obs=obs, valid=flag,
        dist=out.dist, value=out.value, logp=scalar, aux=out.aux,
    )  # fmt: skip
    rows = jax.tree.map(lambda x: jnp.zeros((n, t, *x.shape), x.dtype), row)
    zero = np.int32(0)
    return _State(
        fast, memory, rows, np.zeros((n, *action.shape), np.asarray(action).dtype), np.zeros(n, np.float32),
        np.zeros(n, np.int32), np.bool_(True), zero, zero, zero, zero, zero,
    )  # fmt: skip


@eqx.filter_jit
def _act(learner, theta, fast, memory, step, stream_key, t, modal):
    out, memory = learner.act(theta, fast, memory, step, keys.row(stream_key, t, keys.ACT))
    action = out.dist.mode() if modal else out.dist.sample(keys.row(stream_key, t, keys.SAMPLE))
    return action, out, memory


@eqx.filter_jit
def _adapt(learner, theta, fast, rows, key):
    return learner.adapt(theta, fast, rows, key)


@jax.jit
def _write(rows, row, n, t):
    return jax.tree.map(lambda buffer, value: buffer.at[n, t].set(value), rows, row)
