"""A run survives whatever ends it: signals, a full disk, damaged files, gradients that are not finite."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import gymnasium
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from families import INFINITE

import adaptax as ax
from adaptax.checkpoint import load_checkpoint, read_arrays, save_arrays, save_checkpoint
from adaptax.errors import AdaptaxError
from adaptax.reproduction import bandits
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.training import train as training
from adaptax.training import waiting
from adaptax.training.progress import silent
from adaptax.training.run import _spec_from_json, _spec_to_json, load_run, read_metrics
from adaptax.types import Box, Discrete, MultiDiscrete, Spec

TINY = ax.RL2(tasks=4, hidden=4, epochs=1, minibatches=2)
FAMILY = BernoulliBandit()


@pytest.fixture
def every_update_saved(monkeypatch):
    monkeypatch.setattr(training, "DISPATCH_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*"))


def outcome(folder: Path):
    """All that a run leaves, clocks apart."""
    arrays, facts = read_arrays(checkpoints(folder)[-1])
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder)]
    return {name: (x.dtype, x.tobytes()) for name, x in arrays.items()}, facts["env_steps"], rows


# --- interrupts ---------------------------------------------------------------------------------------------

SITTING = """
import sys
import adaptax as ax
from adaptax.training import train as training
from adaptax.training.progress import silent
training.DISPATCH_SECONDS, training.CHECKPOINT_SECONDS = 0.0, 0.01
folder, updates = sys.argv[1], int(sys.argv[2])
config = ax.RL2(tasks=4, hidden=4, epochs=1, minibatches=2)
try:
    run = ax.train(config, ax.tasks.BernoulliBandit(), updates, directory=folder, report=silent)
except ax.AdaptaxError:
    run = ax.resume(folder, report=silent)
sys.exit(0 if run.updates == updates else 5)
"""


def test_a_run_that_is_shot_at_random_moments_ends_as_one_that_was_not(tmp_path):
    updates, shots = 1500, [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    draw = random.Random()  # the moments are those of the clock in any case
    folder = tmp_path / "shot"
    command = [sys.executable, "-c", SITTING, str(folder), str(updates)]
    ended = []
    for shot in shots:
        before = len(read_metrics(folder))
        with subprocess.Popen(command, stderr=subprocess.PIPE) as sitting:
            while sitting.poll() is None and len(read_metrics(folder)) < before + 20:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.1))
            sitting.send_signal(shot)
            error = sitting.communicate()[1].decode()
        ended.append(sitting.returncode)
        assert sitting.returncode == (-shot if shot == signal.SIGKILL else 5), error
    assert read_metrics(folder)[-1]["update"] < updates, "the run was over before the last shot"
    subprocess.run(command, check=True)
    ax.train(TINY, FAMILY, updates, directory=tmp_path / "whole", report=silent)
    assert outcome(folder) == outcome(tmp_path / "whole")
    assert [row["update"] for row in read_metrics(folder)] == list(range(1, updates + 1))


def test_a_computation_that_gives_no_answer_is_given_up(monkeypatch):
    left = []
    monkeypatch.setattr("atexit.register", left.append)

    class Answer:
        def __init__(self, polls):
            self.polls = polls

        def is_ready(self):
            self.polls -= 1
            return self.polls < 0

    heard = []
    waiting.await_answer(Answer(3), 5.0, lambda: heard.append(1))
    assert (len(heard), left) == (3, [])
    with pytest.raises(AdaptaxError, match=r"has not answered for 0 s .* resume it"):
        waiting.await_answer(Answer(10**9), 0.05, lambda: None)
    assert left == [waiting._leave]

    # A process that was stopped for an hour, and its computation with it, has waited for a second.
    clock = itertools.chain([0.0, 0.1, 3600.1], itertools.count(3600.2, 0.1))
    monkeypatch.setattr(waiting.time, "perf_counter", lambda: next(clock))
    waiting.await_answer(Answer(4), 5.0, lambda: None)


def test_a_run_that_never_began_is_replaced(tmp_path):
    ax.train(TINY, FAMILY, 0, seed=1, directory=tmp_path, report=silent)
    ax.train(TINY, FAMILY, 2, seed=2, directory=tmp_path, report=silent)
    ax.train(TINY, FAMILY, 2, seed=2, directory=tmp_path / "alone", report=silent)
    assert outcome(tmp_path) == outcome(tmp_path / "alone")


def test_a_finished_run_goes_on_for_longer(tmp_path):
    whole = ax.train(TINY, FAMILY, 6, seed=3, directory=tmp_path / "whole", report=silent)
    part = ax.train(TINY, FAMILY, 4, seed=3, directory=tmp_path / "part", report=silent)
    assert (part.updates, part.env_steps) == (4, 4 * 4 * 10)
    with pytest.raises(AdaptaxError, match="already holds a run"):
        ax.train(TINY, FAMILY, 4, seed=3, directory=tmp_path / "part", report=silent)
    more = ax.resume(tmp_path / "part", updates=6, report=silent)
    assert outcome(tmp_path / "part") == outcome(tmp_path / "whole")
    assert more.env_steps == whole.env_steps == 6 * 4 * 10
    assert [p.name for p in checkpoints(tmp_path / "part")] == [
        "000000004.safetensors",
        "000000006.safetensors",
    ]
    apart = ax.train(TINY, FAMILY, 6, seed=4, report=silent)
    assert not np.array_equal(apart.state.theta.gru.bias, whole.state.theta.gru.bias)


@pytest.mark.parametrize(
    ("config", "family", "says"),
    [
        ("maml", FAMILY, r"such as ax.MAML\(\).* not 'maml'"),
        (ax.MAML, FAMILY, "The learner must be a configuration"),
        (TINY, "point-navigation", r"such as ax.tasks.PointNavigation\(\)"),
        (TINY, ax.tasks.PointNavigation, "The family must be one"),
    ],
)
def test_what_is_no_learner_and_no_family_gets_a_sentence(config, family, says):
    with pytest.raises(AdaptaxError, match=says):
        training.check_types(config, family)


def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(AdaptaxError, match="is a file, not a folder"):
        ax.train(TINY, FAMILY, 1, directory=tmp_path / "notes", report=silent)
    assert (tmp_path / "notes").read_text() == "mine"


def test_only_runs_can_be_evaluated():
    with pytest.raises(AdaptaxError, match=r"ax\.load\(DIR\)"):
        ax.evaluate([])


def test_train_or_resume_takes_only_its_own_run(tmp_path):
    go = lambda config, updates, seed=0: training.train_or_resume(  # noqa: E731
        config, FAMILY, updates, seed, tmp_path, silent
    )
    assert [go(TINY, n).updates for n in (2, 4, 3)] == [2, 4, 4]
    for other in (lambda: go(dataclasses.replace(TINY, lr=0.1), 4), lambda: go(TINY, 4, seed=1)):
        with pytest.raises(AdaptaxError, match="holds another run"):
            other()


def test_a_figure_that_is_made_again_goes_on_with_its_runs(tmp_path):
    first = bandits.train_cell(TINY, 3, 4, 2, tmp_path, silent)
    again, longer = (bandits.train_cell(TINY, 3, 4, updates, tmp_path, silent) for updates in (2, 3))
    assert (first.updates, again.updates, longer.updates) == (2, 2, 3)
    assert [row["update"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_the_checkpoints_of_another_run_are_not_taken_over(tmp_path):
    ax.train(TINY, FAMILY, 2, directory=tmp_path, report=silent)
    (tmp_path / "config.json").unlink()
    with pytest.raises(AdaptaxError, match=r"config\.json is gone"):
        ax.train(TINY, FAMILY, 1, seed=9, directory=tmp_path, report=silent)


def test_a_run_that_goes_on_elsewhere_is_told_so(tmp_path, capsys):
    ax.train(TINY, FAMILY, 1, directory=tmp_path, report=silent)
    ax.resume(tmp_path, 2, report=silent)
    assert capsys.readouterr().err == ""
    record = json.loads((tmp_path / "config.json").read_text())
    record["versions"]["jax"] = "0.0.1"
    (tmp_path / "config.json").write_text(json.dumps(record))
    ax.resume(tmp_path, 3, report=silent)
    assert re.search(r"jax 0\.0\.1 -> .* not bit for bit", capsys.readouterr().err)


# --- a full disk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["for no metrics", "for no checkpoint"])
def test_a_full_disk_loses_nothing_that_was_saved(tmp_path, every_update_saved, room):
    """The limit on a file's size makes real writes fail half-way, as a full disk does."""
    folder = tmp_path / "full"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress):
        if progress.phase == "training" and progress.updates == 3:
            metrics = (folder / "metrics.jsonl").stat().st_size
            limit = metrics + 10 if room == "for no metrics" else metrics + 2000
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))

    try:
        with pytest.raises(AdaptaxError, match=r"Could not write .* make room"):
            ax.train(TINY, FAMILY, 6, directory=folder, report=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in checkpoints(folder)] == ["000000001.safetensors", "000000002.safetensors"]
    assert load_run(folder)[0].updates == 2
    ax.resume(folder, report=silent)
    ax.train(TINY, FAMILY, 6, directory=tmp_path / "whole", report=silent)
    assert outcome(folder) == outcome(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdaptaxError, match=r"Could not write .*Not a directory"):
        ax.train(TINY, FAMILY, 1, directory=tmp_path / "file" / "run", report=silent)


# --- what is not finite ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "family", "says"),
    [
        (dataclasses.replace(TINY, lr=1e38), FAMILY, r"became NaN or infinite; lower the step size"),
        (TINY, "rewards", r"return.* became NaN or infinite; .*reward"),
    ],
)
def test_training_that_diverges_stops_and_keeps_the_last_good_state(
    tmp_path, every_update_saved, config, family, says
):
    family = NoReward() if family == "rewards" else family
    with pytest.raises(AdaptaxError, match=says) as error:
        ax.train(config, family, 50, directory=tmp_path, report=silent)
    run, target = load_run(tmp_path, family)
    assert f"at meta-update {run.updates + 1}:" in str(error.value) and str(tmp_path) in str(error.value)
    assert (target, len(read_metrics(tmp_path))) == (50, run.updates)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.state.theta))
    assert np.isfinite([list(row.values()) for row in read_metrics(tmp_path)]).all()


class NoReward(BernoulliBandit):
    """Its rewards turn into NaN now and then."""

    def step(self, key, state, action, task):
        state, outcome = super().step(key, state, action, task)
        spoilt = jnp.where(jax.random.bernoulli(key, 0.02), jnp.nan, outcome.reward)
        return state, dataclasses.replace(outcome, reward=spoilt)


class Fades:
    """An environment whose reward turns into NaN in its 200th step."""

    episode_steps, episodes, workers = 2, 2, 0
    steps = 0

    def sample(self, rng, split):
        return rng.integers(1000)

    def make(self, task):
        return Fading()


class Fading(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Fades.steps += 1
        return np.zeros(1, np.float32), float("nan") if Fades.steps == 200 else 1.0, False, False, {}


@pytest.mark.parametrize("seconds", [0.0, 60.0], ids=["one update a dispatch", "many"])
def test_an_environment_that_fails_takes_no_update_with_it(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(training, "DISPATCH_SECONDS", seconds)
    Fades.steps = 0
    family = GymnasiumFamily(Fades())
    with pytest.raises(AdaptaxError, match=r"The reward of the task .* is nan"):
        ax.train(TINY, family, 60, directory=tmp_path, report=silent)
    run, _ = load_run(tmp_path, family)
    assert run.updates == len(read_metrics(tmp_path)) == 199 // (4 * 2 * 2)


def test_too_little_memory_is_told(monkeypatch):
    def make_program(family):
        def program(*_):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

        return program

    monkeypatch.setattr(training, "make_program", make_program)
    with pytest.raises(AdaptaxError, match=r"Memory does not suffice.* fewer tasks"):
        ax.train(TINY, FAMILY, 1, report=silent)


@pytest.mark.parametrize(
    ("config", "field", "value", "says"),
    [
        (ax.MAML(), "outer", "sgd", "outer must be 'ppo' or 'trpo', not 'sgd'"),
        (ax.MAML(), "tasks", 2.5, r"tasks must be a whole number, not 2\.5"),
        (ax.MAML(), "hidden", 64, "hidden must be a tuple of whole numbers"),
        (ax.MAML(), "hidden", (8, 0), "hidden must be 1 or more, not 0"),
        (ax.MAML(), "first_order", 1, "first_order must be True or False"),
        (ax.RL2(), "lr", "high", "lr must be a number, not 'high'"),
        (ax.RL2(), "lr", float("inf"), "lr must be 0 or more, and finite"),
        (ax.RL2(), "lr", float("nan"), "lr must be 0 or more, not nan"),
        (ax.RL2(), "gamma", 1.01, "gamma must be at most 1"),
        (ax.RL2(), "minibatches", 1000, "cannot be divided"),
        (ax.DQN(), "epsilon", 2.0, "at most 1"),
        (ax.MER(), "temperature", 0.0, "above 0"),
    ],
)
def test_hyperparameters_that_make_no_sense_get_a_sentence(config, field, value, says):
    config = dataclasses.replace(config)
    object.__setattr__(config, field, value)  # past the checks that tests have and users have not
    with pytest.raises(AdaptaxError, match=says):
        ax.train(config, FAMILY, 1, report=silent)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_is_no_key_is_refused(seed):
    with pytest.raises(AdaptaxError, match=f"seed must be from 0 to {2**31 - 1}, not {seed}"):
        ax.train(TINY, FAMILY, 1, seed=seed, report=silent)


# --- checkpoints are data ---------------------------------------------------------------------------------------

TREE = {"a": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(5), "n": jnp.int32(7)}


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path):
    save_checkpoint(tmp_path / "x", TREE, {"target": 3})
    like = jax.eval_shape(lambda: TREE)
    back, facts = load_checkpoint(tmp_path / "x", like)
    assert facts == {"target": 3} and jax.tree.structure(back) == jax.tree.structure(TREE)
    for ours, theirs in zip(jax.tree.leaves(TREE), jax.tree.leaves(back), strict=True):
        assert ours.dtype == theirs.dtype and (ours == theirs).all()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "x.safetensors"
    save_arrays(path, {"a": np.arange(3.0, dtype=np.float32), "b": np.ones((2, 2))}, {"target": 3})
    return path


@hypothesis.given(at=st.floats(0.0, 1.0, exclude_max=True), change=st.integers(1, 255), cut=st.booleans())
@hypothesis.settings(max_examples=200)
def test_no_changed_byte_and_no_cut_goes_unnoticed(saved, at, change, cut):
    content = bytearray(saved.read_bytes())
    place = int(at * len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= change
    other = saved.with_name("changed")
    other.write_bytes(content)
    with pytest.raises(AdaptaxError, match=r"changed: |changed (is damaged|was )"):
        read_arrays(other)


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_foreign_files_are_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ax.train(TINY, FAMILY, 1, directory=tmp_path / "run", report=silent)
    newest = checkpoints(tmp_path / "run")[-1]
    good = newest.read_bytes()

    def refused(match):
        with pytest.raises(AdaptaxError, match=match):
            ax.load(tmp_path / "run")

    newest.write_bytes(pickle.dumps(Bomb()))
    refused("damaged or no checkpoint")
    assert not Path("exploded").exists()
    newest.write_bytes(safetensors.numpy.save({"a": np.ones(3)}))
    refused("was not written by this library")
    save_arrays(newest, {"a": np.ones(3)}, {"target": 1})
    refused("belongs to another algorithm")
    save_checkpoint(newest, jax.tree.map(lambda x: x if x.ndim == 0 else x[:-1], run.state), {"target": 1})
    refused("does not fit this learner")
    newest.unlink()
    assert ax.load(tmp_path / "run").updates == 0, "the one before it serves"
    newest.write_bytes(good)
    assert ax.load(tmp_path / "run").updates == 1


@pytest.mark.parametrize(
    ("change", "says"),
    {
        "{": "cannot be read",
        "[]": "not the configuration of a run",
        '{"format": "other"}': "not the configuration of a run",
        "algorithm": "no algorithm 'os.system'",
        "hyperparameters": "changed by hand",
        "spec": "changed by hand",
    }.items(),
)
def test_a_spoilt_configuration_is_refused(tmp_path, change, says):
    ax.train(TINY, FAMILY, 0, directory=tmp_path, report=silent)
    record = json.loads((tmp_path / "config.json").read_text())
    spoilt = {"algorithm": "os.system", "hyperparameters": {"lrr": 3}, "spec": {"name": 3}}
    text = json.dumps(record | {change: spoilt[change]}) if change in spoilt else change
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(AdaptaxError, match=says):
        ax.load(tmp_path)


def test_the_configuration_says_what_a_repetition_needs(tmp_path):
    ax.train(TINY, BernoulliBandit(arms=3), 0, seed=8, directory=tmp_path, report=silent)
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["algorithm"] == "rl2" and record["seed"] == 8
    assert record["hyperparameters"] == json.loads(json.dumps(dataclasses.asdict(TINY)))
    assert (
        set(record["versions"]) >= {"adaptax", "jax", "jaxlib", "equinox", "optax"}
        and "cpu" in record["device"]
    )
    run = ax.load(tmp_path)
    assert (run.family, run.config, run.spec) == (BernoulliBandit(arms=3), TINY, run.family.spec)


@pytest.mark.parametrize(
    "action", [Discrete(3), MultiDiscrete((2, 3)), Box((-INFINITE, 0.1), (1.0, INFINITE))], ids=repr
)
def test_a_spec_survives_json(action):
    spec = Spec("x", (2, 3), action, episode_steps=7, episodes=2, features=4, masked=True)
    assert _spec_from_json(json.loads(json.dumps(_spec_to_json(spec)))) == spec


# --- what ships -------------------------------------------------------------------------------------------------


def test_the_pretrained_learner_adapts():
    """It finds the one arm that pays, and stays there."""
    run = ax.load("pretrained:rl2-bandit")
    folder = Path(run.directory)
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 1e6
    pays = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    agent, pulled = run.begin(seed=1), []
    for _ in range(10):
        arm = int(agent.act(np.zeros(run.spec.observation)))
        agent.observe(pays[arm], True, False, np.zeros(run.spec.observation))
        pulled.append(arm)
    assert 2 in pulled[:5] and set(pulled[pulled.index(2) :]) == {2}
    with pytest.raises(AdaptaxError, match="no pretrained learner 'rl2-bandits'; did you mean 'rl2-bandit'"):
        ax.load("pretrained:rl2-bandits")


SCRIPT = Path(__file__).parents[2] / "examples/own_environment.py"


def test_the_example_trains_and_adapts(tmp_path):
    """As it stands, all of its meta-updates: the first episode finds out what the rudder does, the others know it."""
    assert len(SCRIPT.read_text().splitlines()) <= 40
    run = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=170
    )
    returns = [float(x) for x in run.stdout.split("[")[1].split("]")[0].split()]
    assert len(returns) == 3 and returns[0] < returns[1] - 0.3 and min(returns[1:]) > -1.4, run.stdout
    code = textwrap.dedent(f"""
        import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})
        from adaptax.cli import main
        sys.exit(main(["adapt", "runs/boats", "--env", "own_environment:unknown_boat", "--episodes", "3"]))
    """)
    adapted = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert adapted.stdout.count("return") == 3
