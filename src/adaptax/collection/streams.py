"""Where the streams of a host collection stand. An episode can be redone: its stream goes back, the others go on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from adaptax.networks.encoding import zero_action
from adaptax.types import Layout, Spec


@dataclasses.dataclass
class Streams:
    """S streams between two rows; every field has the leading axis S."""

    obs: np.ndarray
    prev_action: np.ndarray
    prev_reward: np.ndarray
    first: np.ndarray
    episode: np.ndarray
    """Episodes finished since the stream began."""
    elapsed: np.ndarray
    """Steps taken in the present episode."""
    remaining: np.ndarray
    """Episodes that this round still has to finish; the stream stands still at 0."""
    t: np.ndarray
    """The row that comes next."""
    waiting: np.ndarray
    """True where the environment has to be reset before the next row."""
    seeded_at: np.ndarray
    """[S, 2], the (k, t) whose RESET key gives the present episode's seed."""
    seed: np.ndarray
    start: np.ndarray
    """The row of this round from which the present episode would be redone."""
    kept: np.ndarray
    """True where the memory before that row has been kept."""
    carried: np.ndarray
    """True where the present episode began in an earlier round."""
    failures: np.ndarray
    """How often the present episode has failed by its own fault."""

    @staticmethod
    def new(number: int, spec: Spec) -> Streams:
        """Streams in which nothing has happened."""

        def zeros(dtype: Any, *shape: int) -> np.ndarray:
            return np.zeros((number, *shape), dtype)

        action = zero_action(spec.action)
        return Streams(
            obs=zeros(np.float32, *spec.observation),
            prev_action=zeros(action.dtype, *action.shape), prev_reward=zeros(np.float32),
            first=np.ones(number, bool), episode=zeros(np.int32), elapsed=zeros(np.int32), remaining=zeros(np.int32),
            t=zeros(np.int32), waiting=np.ones(number, bool), seeded_at=zeros(np.int32, 2), seed=zeros(np.int64),
            start=zeros(np.int32), kept=zeros(bool), carried=zeros(bool), failures=zeros(np.int32),
        )  # fmt: skip

    def begin_round(self, k: int, layout: Layout) -> None:
        """At a round's first row: a new episode, unless the layout carries the environment over."""
        self.remaining[:] = 1 if layout.episodes is None else layout.episodes
        self.t[:], self.start[:] = 0, 0
        self.kept[:], self.carried[:] = False, ~self.first
        if not layout.carry:
            self.episode += (
                ~self.first
            )  # an episode that the end of the last round cut off has been left: it counts
            self._await_episode(np.arange(len(self.t)), k)

    def active(self, layout: Layout) -> np.ndarray:
        """bool[S]: which have not finished the round."""
        return (self.t < layout.steps) & (self.remaining > 0)

    def seen(self) -> dict[str, np.ndarray]:
        """The fields of Step[S] that the learner sees in the next row."""
        names = ("obs", "prev_action", "prev_reward", "first", "episode")
        return {name: getattr(self, name) for name in names}

    def begin(self, s: np.ndarray, obs: np.ndarray) -> None:
        """Streams `s` have had their environments reset."""
        self.obs[s], self.waiting[s] = obs, False

    def advance(self, s: np.ndarray, row: dict[str, Any], k: int, layout: Layout) -> None:
        """Streams `s` have gone through a row of round k, the fields of Step[len(s)]."""
        self.obs[s], self.prev_action[s], self.prev_reward[s] = row["next_obs"], row["action"], row["reward"]
        self.first[s] = False
        self.t[s] += 1
        self.elapsed[s] += 1
        ended = s[row["terminated"] | row["truncated"]]
        self.episode[ended] += 1
        self.remaining[ended] -= layout.episodes is not None
        self._await_episode(ended, k)

    def redo(self, s: int, k: int, rows: dict[str, Any] | None, own_fault: bool) -> None:
        """Stream `s`, whose episode failed in round k, goes back to its first row. `rows` [S, T]: those so far."""
        if rows is not None and self.t[s] > self.start[s]:
            self.prev_action[s] = rows["prev_action"][s, self.start[s]]
            self.prev_reward[s] = rows["prev_reward"][s, self.start[s]]
        if self.carried[s]:
            # The learner has adapted to its beginning, which cannot be taken back: the episode has been left.
            self.episode[s] += 1
            self.carried[s] = False
            self.seeded_at[s] = k, 0
        self.t[s] = self.start[s]
        self.waiting[s], self.first[s], self.elapsed[s] = True, True, 0
        self.failures[s] += own_fault

    def _await_episode(self, s: np.ndarray, k: int) -> None:
        self.waiting[s], self.first[s], self.elapsed[s] = True, True, 0
        self.start[s], self.kept[s], self.carried[s], self.failures[s] = self.t[s], False, False, 0
        self.seeded_at[s, 0], self.seeded_at[s, 1] = k, self.t[s]
