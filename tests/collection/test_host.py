"""Collecting on environments outside JAX: the same lifetimes, whatever the worker processes go through."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from collection import envs

from adaptax import keys, trees
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.metanet import MetaNet
from adaptax.algorithms.pearl import PEARL
from adaptax.algorithms.promp import ProMP
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.snail import SNAIL
from adaptax.algorithms.transformer import Transformer
from adaptax.algorithms.varibad import VariBAD
from adaptax.collection.collect import collect
from adaptax.collection.host import collect_host, episode_seeds
from adaptax.collection.workers import WorkerPool
from adaptax.errors import AdaptaxError
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical, Gaussian
from adaptax.tasks.base import TaskFamily
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.types import Behaviour, Box, Discrete, Layout, Out, Outcome, Spec

B = 3


class Probe(Learner):
    """Its state, its policy and its draws depend on everything that a learner may see."""

    continuous: bool = eqx.field(static=True, default=False)

    def begin(self, theta, key, features):
        return theta + 0.1 * jax.random.normal(key)

    def remember(self, theta):
        return jnp.zeros(3)

    def act(self, theta, fast, memory, step, key):
        sees = jnp.stack(
            [step.obs.sum() + step.prev_action.sum(), step.prev_reward, step.first + step.episode]
        )
        memory = 0.5 * memory + sees
        output = jnp.stack([jnp.tanh(fast + memory.sum()), 0.0])
        dist = Gaussian(output[:1], output[1:]) if self.continuous else Categorical(output)
        return Out(dist, jax.random.normal(key), aux=memory), memory

    def adapt(self, theta, fast, batch, key):
        reward, x = (jnp.where(batch.valid, x, 0.0) for x in (batch.reward, batch.next_obs[..., 0]))
        return fast + theta * reward.mean() + jnp.abs(x).mean() * jax.random.normal(key)


# --- L8: the same lifetime from both sides ------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Corridor(TaskFamily):
    """A noisy walk to a hidden goal from a random start."""

    continuous: bool

    @property
    def spec(self):
        action = Box((-2.0,), (1.0,)) if self.continuous else Discrete(2)
        return Spec("corridor", (2,), action, episode_steps=4, episodes=2, features=1, ood=False)

    def sample(self, key, split):
        return jax.random.normal(key)

    def reset(self, key, task):
        x = 0.5 * jax.random.normal(key)
        return x, self.observe(x)

    def step(self, key, state, action, task):
        push = action[0] if self.continuous else 2.0 * action - 1.0
        x = state + 0.5 * push + 0.3 * jax.random.normal(key)
        near = jnp.abs(x - task) < 0.3
        return x, Outcome(self.observe(x), -jnp.abs(x - task), jnp.abs(x) > 1.3, jnp.array(False), near)

    def observe(self, x):
        return jnp.stack([x, jnp.cos(3.0 * x)])

    def features(self, task):
        return task[None]


class CorridorEnv(gymnasium.Env):
    """The corridor as a Gymnasium environment, driven by the row keys that `collect` uses."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, family, goal, task_key, rows, steps):
        """`rows`: seed -> (k, n, t), the row in which that episode begins. `steps`: T."""
        self.family, self.goal, self.rows, self.steps = family, goal, rows, steps
        self.task_key = jax.random.wrap_key_data(task_key)
        box = gymnasium.spaces.Box(-2.0, 1.0, (1,), np.float64)
        self.action_space = box if family.continuous else gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.row = self.rows.get(seed, (0, 0, 0))
        self.state, obs = reset_corridor(self.family, self.task_key, self.row, self.goal)
        return np.asarray(obs), {}

    def step(self, action):
        k, n, t = self.row
        self.row = (k, n, t) if t < self.steps else (k + 1, n, 0)
        self.state, out = step_corridor(self.family, self.task_key, self.row, self.goal, self.state, action)
        self.row = (*self.row[:2], self.row[2] + 1)
        info = {"success": bool(out.success)}
        return np.asarray(out.obs), float(out.reward), bool(out.terminated), bool(out.truncated), info


@functools.partial(jax.jit, static_argnums=0)
def reset_corridor(family, task_key, row, goal):
    k, n, t = row
    return family.reset(keys.row(keys.stream(task_key, k, n), t, keys.RESET), goal)


@functools.partial(jax.jit, static_argnums=0)
def step_corridor(family, task_key, row, goal, state, action):
    k, n, t = row
    key = keys.row(keys.stream(task_key, k, n), t, keys.STEP)
    return family.step(key, state, jnp.asarray(action, jnp.float32), goal)


class CorridorTasks:
    """`Corridor` as a user would write it."""

    episode_steps = 4
    success_key = "success"

    def __init__(self, family, layout, goals=(), task_keys=None):
        self.family, self.layout = family, layout
        self.tasks = []
        for i, goal in enumerate(goals):
            rows = {}
            for k in range(layout.rounds):
                for t in range(layout.steps + 1):
                    at = jnp.tile(jnp.array([k, t]), (1, layout.streams, 1))
                    seeds = episode_seeds(task_keys[i : i + 1], at, jnp.zeros((1, layout.streams), jnp.int32))
                    rows |= {int(seed): (k, n, t) for n, seed in enumerate(np.asarray(seeds[0]))}
            self.tasks.append((goal, np.asarray(jax.random.key_data(task_keys[i])), rows))

    def sample(self, rng, split):
        return self.tasks[0]

    def make(self, task):
        return CorridorEnv(self.family, *task, self.layout.steps)

    def features(self, task):
        return np.array([task[0]])


rl2 = RL2(tasks=B, hidden=8).build(Corridor(False).spec)
maml = MAML(tasks=B, streams=2, hidden=(8,), inner_lr=0.1).build(Corridor(True).spec)
promp = ProMP(tasks=B, streams=2, hidden=(8,), inner_lr=0.1).build(Corridor(True).spec)
snail = SNAIL(tasks=B, hidden=8, filters=4, keys=4, values=4).build(Corridor(False).spec)
transformer = Transformer(tasks=B, width=8, heads=2, context=5).build(Corridor(True).spec)
pearl = PEARL(tasks=B, hidden=(8,), encoder_hidden=(8,)).build(Corridor(True).spec)
varibad = VariBAD(tasks=B, hidden=8).build(Corridor(False).spec)
metanet = MetaNet(tasks=B, hidden=(8,), streams=2).build(Corridor(False).spec)
CASES = {
    "rl2": (rl2.learner, rl2.layout, False, {}),
    "maml": (maml.learner, maml.layout, True, {}),
    "promp": (promp.learner, promp.layout, True, {}),
    "snail": (snail.learner, snail.layout, False, {}),
    "transformer": (transformer.learner, transformer.layout, True, {}),
    "pearl": (pearl.learner, pearl.layout, True, {}),
    "varibad": (varibad.learner, varibad.layout, False, {}),
    "metanet": (metanet.learner, metanet.layout, False, {}),
    "episodes": (Probe(), Layout(3, 2, 7, episodes=2), False, {}),
    "budget, fast given, modal": (
        Probe(True), Layout(2, 2, 7, episodes=None), True, {"fast": jnp.arange(3.0), "modal": True},
    ),
    "carry, theta per task": (
        Probe(), Layout(3, 2, 3, episodes=None, carry=True, adapt_last=True), False, {"theta": jnp.array([0.3, 1.0, 2.0])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_host_and_jax_collect_the_same_lifetime(case):
    learner, layout, continuous, extra = CASES[case]
    family = Corridor(continuous)
    key = jax.random.key(3)
    per_task = "theta" in extra
    theta = (
        extra["theta"] if per_task else jnp.array(0.7) if isinstance(learner, Probe) else learner.init(key)
    )
    goals = jnp.array([-0.5, 0.1, 0.8])
    task_keys = jax.random.split(jax.random.key(1), B)
    behaviour = Behaviour(theta, per_task, goals, extra.get("fast"))
    inside = eqx.filter_jit(collect)(learner, family, behaviour, layout, task_keys, extra.get("modal", False))

    tasks = CorridorTasks(family, layout, goals.tolist(), task_keys)
    host_family = GymnasiumFamily(tasks)
    behaviour = Behaviour(theta, per_task, tasks.tasks, extra.get("fast"))
    with WorkerPool(host_family, workers=0) as pool:
        outside = collect_host(
            learner, host_family, behaviour, layout, task_keys, pool, extra.get("modal", False)
        )

    valid = np.asarray(inside[0].rounds.valid)
    np.testing.assert_array_equal(outside[0].rounds.valid, valid)
    assert valid.any() and (layout.episodes is None or not valid.all()), (
        "no row, or no invalid row, was tested"
    )
    # MetaNet reads the signs and logarithms of small gradients, which magnifies rounding further.
    atol, atol_fast = (5e-4, 2e-2) if case == "metanet" else (1e-4, 1e-4)
    same(inside[0].rounds, outside[0].rounds, lambda x: np.asarray(x)[valid], atol)
    frozen = [
        (x.rounds.prev_action, x.rounds.prev_reward, x.rounds.first, x.rounds.episode)
        for x, *_ in (inside, outside)
    ]
    same(*frozen)
    same(inside[0].features, outside[0].features)
    same(inside[1:], outside[1:], atol=atol_fast)
    assert jax.random.key_data(outside[0].keys).tolist() == jax.random.key_data(task_keys).tolist()


def same(one, other, view=np.asarray, atol=1e-4):
    """Equal dtypes and structure; equal numbers, floats within rounding.

    MAML's baseline is a regression on nearly collinear columns (t, t², t³ of four steps), which magnifies rounding.
    """
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(view(a), view(b), rtol=1e-4, atol=atol)


# --- faults ---------------------------------------------------------------------------------------------

LAYOUT = Layout(2, 2, 12, episodes=2)
GOALS = [-1.0, 0.5, 2.0]


@pytest.fixture(scope="module")
def walks():
    return GymnasiumFamily(envs.Walks)


@pytest.fixture(scope="module")
def pool(walks):
    walks.workers, walks.timeout_seconds = 2, 2.0
    with WorkerPool(walks) as pool:
        yield pool
    assert not multiprocessing.active_children()


def lifetime(family, pool, tasks, layout=LAYOUT):
    task_keys = jax.random.split(jax.random.key(5), len(tasks))
    behaviour = Behaviour(jnp.array(0.7), tasks=tasks)
    return collect_host(Probe(), family, behaviour, layout, task_keys, pool)


@pytest.fixture(scope="module")
def undisturbed(walks):
    with WorkerPool(walks, workers=0) as pool:
        return lifetime(walks, pool, [{"goal": goal} for goal in GOALS])


def test_worker_processes_change_nothing_and_nothing_is_compiled_again(walks, pool, undisturbed, caplog):
    tasks = [{"goal": goal} for goal in reversed(GOALS)]
    with jax.log_compiles():
        other = lifetime(walks, pool, tasks)
        again = lifetime(walks, pool, tasks[::-1])
    assert bits(again) == bits(undisturbed) != bits(other)
    assert "Finished tracing" not in caplog.text and "Compiling" not in caplog.text


@pytest.mark.parametrize("fault", ["exit", "raise", "hang"])
def test_a_passing_fault_changes_nothing(walks, pool, undisturbed, fault, tmp_path):
    tasks = [{"goal": goal} for goal in GOALS]
    tasks[1] |= {"fault": fault, "once": str(tmp_path / "failed")}
    assert bits(lifetime(walks, pool, tasks)) == bits(undisturbed)
    assert (tmp_path / "failed").exists()


def bits(tree):
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x).tobytes() for x in jax.tree.leaves(tree)]


def test_a_fault_of_the_seed_passes_with_another_seed():
    """The first redo repeats the seed, the second draws a new one; other streams keep theirs."""
    seeds = []

    class Remembered(WorkerPool):
        def tick(self, begin, advance, actions):
            seeds.append(begin)
            return super().tick(begin, advance, actions)

    class Picky(envs.Walks):
        def make(self, task):
            env = envs.Walk(task["goal"])
            plain = env.reset

            def reset(*, seed, options=None):
                if seeds and task["goal"] == 9.0 and seed == seeds[0][0]:
                    raise RuntimeError("this seed makes a world that cannot be")
                return plain(seed=seed, options=options)

            env.reset = reset
            return env

    family = GymnasiumFamily(Picky)
    with Remembered(family, workers=0) as pool:
        lifetime(family, pool, [{"goal": 9.0}, {"goal": 0.0}], Layout(1, 1, 6, episodes=1))
    first = [begin[0] for begin in seeds if 0 in begin]
    assert len(first) == 3 and first[0] == first[1] != first[2]
    assert sum(1 in begin for begin in seeds) == 1


@pytest.mark.parametrize(
    "fault, says", [("raise", "RuntimeError: the arm came off, in envs.py line"), ("exit", "code 3")]
)
def test_a_lasting_fault_ends_in_a_sentence(walks, pool, fault, says):
    """It names the task whose fault it was, not those that shared its process (here: the first)."""
    calm = {"goal": 0.0, "edge": np.inf}
    tasks = [calm, calm, calm | {"goal": 1.25, "fault": fault}]
    with pytest.raises(AdaptaxError, match=r"1\.25.* failed 4 times .*seed \d+ .*" + says):
        lifetime(walks, pool, tasks, Layout(1, 1, 6, episodes=1))


def test_a_carried_episode_that_fails_has_been_left(walks, tmp_path):
    """Round 1 fails in the third step of an episode begun in round 0: that part stays, a new episode begins in row 0."""
    layout = Layout(2, 1, 2, episodes=None, carry=True)
    tasks = [{"goal": 0.0, "fault": "raise", "once": str(tmp_path / "failed")}, {"goal": 0.0}]
    with WorkerPool(walks, workers=0) as pool:
        rounds = lifetime(walks, pool, tasks, layout)[0].rounds
        calm = lifetime(walks, pool, [{"goal": 0.0}] * 2, layout)[0].rounds
    assert bits(trees.index(rounds, (slice(None), 0))) == bits(trees.index(calm, (slice(None), 0)))
    assert rounds.first[0, 1, 0].tolist() == [True, False] and rounds.episode[0, 1, 0].tolist() == [1, 1]
    assert not calm.first[0, 1, 0, 0] and bits(trees.index(rounds, 1)) == bits(trees.index(calm, 1))
    np.testing.assert_array_equal(rounds.prev_action[0, 1, 0, 0], rounds.action[0, 0, 0, -1])


def test_numbers_that_are_not_finite_are_refused(walks):
    with (
        WorkerPool(walks, workers=0) as pool,
        pytest.raises(AdaptaxError, match=r"reward of the task .*1\.25.* nan after step 3 of .* seed \d+"),
    ):
        lifetime(walks, pool, [{"goal": 0.0}, {"goal": 1.25, "fault": "nan"}], Layout(1, 1, 6, episodes=1))


# --- processes ------------------------------------------------------------------------------------------


def test_workers_start_without_jax_and_all_end():
    family = GymnasiumFamily(envs.Imports)
    with WorkerPool(family, workers=2) as pool:
        pool.assign([{"goal": 0.0}] * 4)
        report = pool.tick({i: i for i in range(4)}, np.zeros(0, int), np.zeros(0))
    assert not report.failures and not report.obs[:, 0].any(), "a worker has imported JAX"
    pids = {int(pid) for pid in report.obs[:, 1]}
    assert len(pids) == 2 and os.getpid() not in pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_cannot_be_pickled_is_named(walks):
    family = GymnasiumFamily(envs.Walks())
    family.tasks.lock = lambda: None
    with pytest.raises(
        AdaptaxError, match=r"family cannot be sent to worker processes .*top level of a module"
    ):
        WorkerPool(family, workers=1)
    with (
        WorkerPool(walks, workers=0) as pool,
        pytest.raises(AdaptaxError, match=r"task <function .* plain data"),
    ):
        pool.assign([lambda: None])


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
import sys, time
sys.path.insert(0, {folder!r})
import numpy as np
from collection import envs
from adaptax.collection.workers import WorkerPool
from adaptax.tasks.gymnasium import GymnasiumFamily

class Mine(envs.Walks):
    pass

{guard}
    with WorkerPool(GymnasiumFamily(Mine), workers=2) as pool:
        pool.assign([{{"goal": 0.0, "fault": "hang"}}] * 2)
        pool.tick({{0: 0, 1: 1}}, np.zeros(0, int), np.zeros(0))
        print("ready", flush=True)
        for _ in range(3):
            pool.tick({{}}, np.arange(2), np.zeros(2, int))
"""


def script(tmp_path, guard):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(folder=str(Path(__file__).parents[1]), guard=guard))
    return path


def test_a_script_without_its_guard_is_told_so(tmp_path):
    done = subprocess.run(
        [sys.executable, script(tmp_path, "if True:")], capture_output=True, text=True, timeout=60
    )
    assert (
        done.stderr.count("Traceback") == 1
        and "AdaptaxError: Worker processes import your script" in done.stderr
    )
    assert 'if __name__ == "__main__":' in done.stderr and "ready" not in done.stdout


def test_a_class_that_exists_at_the_prompt_only_is_named(tmp_path):
    code = script(tmp_path, "if True:").read_text()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "AdaptaxError: A worker process could not load the family (AttributeError" in done.stderr


def test_an_interrupt_is_the_parents_alone(tmp_path):
    """Ctrl-C reaches the whole process group: one traceback is printed, the parent's, and nobody stays behind."""
    with subprocess.Popen(
        [sys.executable, script(tmp_path, 'if __name__ == "__main__":')],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(0.3)  # both workers hang by now
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
