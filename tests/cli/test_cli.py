"""The command line: every command on tiny settings, and one sentence with exit code 2 for every mistake."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from adaptax.algorithms.registry import ENTRIES as ALGORITHMS
from adaptax.cli import COMMANDS, main
from adaptax.evaluation.beliefs import saved_beliefs
from adaptax.evaluation.result import Evaluation
from adaptax.reports.outcome import Claim, Line, Outcome, Plot
from adaptax.reports.tables import Table
from adaptax.reproduction import figures
from adaptax.reproduction.figure import Figure
from adaptax.tasks.registry import ENTRIES as FAMILIES
from adaptax.training.run import load_run, read_metrics

SCRIPT = Path(sys.executable).with_name("adaptax")
TINY = ("--tasks", "4", "--hidden", "4", "--minibatches", "2", "--epochs", "1")


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """RL² after three meta-updates, two seeds, beside MAML on another family."""
    folder = tmp_path_factory.mktemp("runs")
    assert (
        run(
            "train",
            "rl2",
            "bernoulli-bandit",
            "--run",
            folder / "rl2",
            "--seeds",
            "0-1",
            "--updates",
            3,
            *TINY,
        )
        == 0
    )
    maml = ("--tasks", 2, "--streams", 2, "--hidden", 4, "--family.horizon", 3, "--updates", 1)
    assert run("train", "maml", "point-navigation", "--run", folder / "maml", *maml) == 0
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder, from which modules are imported and forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


# --- help and lists ---------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_every_command_has_its_own(capsys):
    assert run("--help") == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", listed, re.MULTILINE)
        assert run(name, "--help") == 0
        assert f"usage: adaptax {name}" in capsys.readouterr().out
    assert run() == 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_flag_of_every_algorithm_and_family_is_described(algorithm, capsys):
    for family in FAMILIES if algorithm == "maml" else ["bernoulli-bandit"]:
        assert run("train", algorithm, family, "--help") == 0
        text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
        assert "(default:" in text
        kinds = r"(?: [A-Z]+)*|(?: \{[\w,]+\})|(?: \[INT \[INT \.\.\.\]\])"
        assert not re.findall(rf"(--[\w.-]+(?:{kinds})) \(default", text)


def test_help_of_train_shows_the_defaults_of_the_preset_and_the_family(capsys):
    assert run("train", "rl2", "bernoulli-bandit", "--preset", "paper", "--family.arms", "7", "--help") == 0
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert "--tasks INT Tasks (lifetimes) in one meta-update. (default: 2500)" in text
    assert "--family.arms INT Arms to choose from. (default: 5)" in text


def test_list_as_json_has_these_keys(capsys):
    assert run("list", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == ["algorithms", "families", "support"]
    assert [list(x) for x in record["algorithms"]] == [
        ["name", "summary", "kind", "learning", "learns_on", "presets", "updates"]
    ] * len(ALGORITHMS)
    assert [list(x) for x in record["families"]] == [
        [
            "name",
            "summary",
            "observation",
            "action",
            "episode_steps",
            "episodes",
            "features",
            "shared_tasks",
            "supervised",
            "splits",
        ]
    ] * len(FAMILIES)
    assert {tuple(row) for row in record["support"].values()} == {tuple(FAMILIES)}
    assert record["support"]["rl2"]["bernoulli-bandit"] == "learning"
    assert record["support"]["random"]["bernoulli-bandit"] == "runs"
    assert record["support"]["pearl"]["cartpole-mountain-car"] == "no"
    assert record["support"]["rl2"]["sinusoid"] == record["support"]["oracle"]["quadratic"] == "no"


def test_list_shows_every_name_once_a_line(capsys):
    assert run("list") == 0
    out = capsys.readouterr().out
    for name in (*ALGORITHMS, *FAMILIES):
        assert re.search(rf"^ {name} ", out, re.MULTILINE)


# --- the main job -----------------------------------------------------------------------------------------


def test_train_writes_a_folder_a_seed(trained):
    for seed in (0, 1):
        loaded, target = load_run(trained / "rl2" / f"seed-{seed}")
        assert (loaded.algorithm_name, loaded.seed, loaded.updates, target) == ("rl2", seed, 3, 3)
        assert loaded.config.hidden == 4 and loaded.family_record["fields"]["arms"] == 5
        assert [row["update"] for row in loaded.metrics()] == [1, 2, 3]
    assert load_run(trained / "maml")[0].family.horizon == 3


def test_the_default_folder_names_algorithm_family_and_seed(elsewhere, capsys):
    assert run("train", "random", "bernoulli-bandit", "--seed", 7) == 0
    assert "runs/random-bernoulli-bandit-seed7" in capsys.readouterr().out
    assert run("train", "random", "bernoulli-bandit", "--seeds", "1,3") == 0
    assert sorted(p.name for p in (elsewhere / "runs/random-bernoulli-bandit").iterdir()) == [
        "seed-1",
        "seed-3",
    ]


def test_resume_trains_all_seeds_for_longer(trained, elsewhere, capsys):
    import shutil

    shutil.copytree(trained / "rl2", "copy")
    assert run("resume", "copy", "--updates", 5) == 0
    assert [load_run(f"copy/seed-{s}")[0].updates for s in (0, 1)] == [5, 5]
    assert run("resume", "copy") == 0
    assert "has 5 meta-updates already" in capsys.readouterr().out


def test_evaluate_prints_what_it_keeps(trained, capsys):
    assert run("evaluate", trained / "rl2", "--tasks", 6, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    kept = Evaluation.load(trained / "rl2/evaluation/test.safetensors")
    assert kept.returns.shape == (2, 6, 1, 1, 10)  # seeds, tasks, rounds, streams, episodes
    assert (record["tasks"], record["seeds"], record["split"], record["actions"]) == (6, 2, "test", "sampled")
    assert [p["env_steps_before"] for p in record["points"]] == list(range(10))
    np.testing.assert_allclose([p["return"] for p in record["points"]], kept.curve().mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(record["score"]["mean"], kept.returns.sum(-1).mean(), rtol=1e-5)
    assert record["score"]["of"] == "return of 10 episodes together"
    assert record["cost"]["training_env_steps"] == [120, 120]  # 3 updates × 4 tasks × 10 pulls

    assert run("evaluate", trained / "rl2", "--tasks", 6, "--split", "ood", "--episodes", 4, "--modal") == 0
    out = capsys.readouterr().out
    assert (
        "rl2 on bernoulli-bandit, ood tasks" in out
        and "actions modal" in out
        and "Adapted − unadapted" in out
    )
    assert Evaluation.load(trained / "rl2/evaluation/ood.safetensors").returns.shape == (2, 6, 1, 1, 4)
    beliefs = {b.split: b for b in saved_beliefs(trained / "rl2")}
    assert beliefs["ood"].beliefs.shape == (4, 4, 4) and beliefs["test"].beliefs.shape == (
        4,
        10,
        4,
    )  # tasks, pulls, units


def test_json_knows_no_nan(trained, capsys):
    """One task has no interval."""
    assert run("evaluate", trained / "rl2/seed-0", "--tasks", 1, "--json") == 0
    record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert record["tasks"] == 1 and record["points"][0]["interval"] == [None, None]


def test_evaluate_with_baselines_trains_them_once(trained, capsys):
    words = ("evaluate", trained / "maml", "--tasks", 4, "--episodes", 4, "--baselines", "--json")
    assert run(*words) == 0
    record = json.loads(capsys.readouterr().out)
    rows = [record, *record["baselines"]]
    assert [r["label"] for r in rows] == [
        "maml",
        "random",
        "multi-task",
        "fine-tune",
        "from-scratch",
        "oracle",
    ]
    assert {tuple(p["env_steps_before"] for p in r["points"]) for r in rows} == {
        (0.0, 6.0)
    }  # 2 episodes × 3 steps
    stamps = {p: p.stat().st_mtime_ns for p in (trained / "maml/baselines").rglob("*.safetensors")}
    assert {p.parent.parent.parent.name for p in stamps} == {"multi-task", "oracle"}
    assert run(*words) == 0
    assert json.loads(capsys.readouterr().out)["baselines"][1]["points"] == record["baselines"][1]["points"]
    assert stamps == {p: p.stat().st_mtime_ns for p in (trained / "maml/baselines").rglob("*.safetensors")}


def test_compare_puts_runs_in_one_table(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert run("compare", "rl2", "rl2/seed-0", "--tasks", 5) == 0
    out = capsys.readouterr().out
    assert "bernoulli-bandit, test tasks" in out and re.search(r"rl2/seed-0 +\d.* 0\.\d\d \[", out)


def test_report_is_one_file_with_the_command_that_repeats_the_run(trained, tmp_path, capsys):
    assert run("report", trained / "rl2", trained / "maml") == 0
    page = (trained / "rl2/report.html").read_text()
    [command] = set(re.findall(r"adaptax train rl2 .*--seed 1.*", page))
    assert shlex.split(command)[:8] == shlex.split("adaptax train rl2 bernoulli-bandit --seed 1 --updates 3")
    assert "--hidden 4" in command and "--family" not in command
    assert (
        "What rl2/seed-0 believes about new tasks" in page
        and not (trained / "maml/evaluation/beliefs").exists()
    )
    assert "adaptax train maml point-navigation" in (trained / "maml/report.html").read_text()
    assert run("report", trained / "rl2", trained / "maml", "--out", tmp_path / "both.html") == 0
    assert all(name in (tmp_path / "both.html").read_text() for name in ("train rl2", "train maml"))


ENVIRONMENTS = """
import gymnasium
from gymnasium import spaces
class Plane(gymnasium.Env):
    observation_space = spaces.Box(-9, 9, (2,))
    def __init__(self, high=0.1): self.action_space = spaces.Box(-high, high, (2,))
    def reset(self, *, seed=None, options=None): return self.observation_space.sample() * 0, {}
    def step(self, action): return self.observation_space.sample() * 0, 1.0, False, False, {}
class Breaks(Plane):
    def step(self, action): raise RuntimeError("the wheel came off")
def wide(): return Plane(2.0)
def boom(): raise ValueError("no plane")
def pole(): return gymnasium.make("CartPole-v1")
def three(): return 3
"""


def test_adapt_plays_in_an_environment_of_ones_own(trained, elsewhere, capsys):
    Path("planes.py").write_text(ENVIRONMENTS)
    assert run("adapt", trained / "maml", "--env", "planes:Plane", "--episodes", 3, "--save", "agent") == 0
    out = capsys.readouterr().out
    assert re.findall(r"return (\S+)", out) == ["3.000"] * 3  # cut off after the horizon of three steps
    assert out.count("then adapted") == 1 and "After the last: 3.000 (1 episode)" in out
    agent = load_run(trained / "maml")[0].begin().load("agent")
    assert (agent.episodes, agent.adaptations) == (3, 1)
    assert run("adapt", trained / "maml", "--env", "planes:Plane", "--episodes", 2) == 0
    # Where episodes are few, it adapts after half of them.
    assert "(1 episode). After the last: 3.000 (1 episode)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("env", "says"),
    {
        "planes:wide": r"actions are box 2 in \[-2, 2\] × \[-2, 2\] and those of 'point-navigation'.* \[-0.1, 0.1\]",
        "planes:pole": "observations have 4 entries and those of 'point-navigation'.* 2",
        "planes:boom": "ValueError: no plane",
        "planes:three": "must return a gymnasium.Env",
        "planes:none": r"has no 'none' \(it has Plane, Breaks, wide",
        "planes:Breaks": "environment failed: RuntimeError: the wheel came off",
        "nowhere:Plane": "There is no module 'nowhere'",
    }.items(),
)
def test_adapt_says_what_is_wrong_with_an_environment(trained, elsewhere, capsys, env, says):
    Path("planes.py").write_text(ENVIRONMENTS)
    assert run("adapt", trained / "maml", "--env", env) == 2
    assert re.search(says, capsys.readouterr().err)


def test_reproduce_shows_tables_and_claims_and_fails_with_them(trained, tmp_path, monkeypatch, capsys):
    assert run("reproduce") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in figures.FIGURES)

    def figure(holds):
        def make(directory, report):
            line = Line("rl2", [10.0, 20.0], [0.5, 0.75], [0.4, 0.7], [0.6, 0.8])
            return Outcome(
                [Table("A table", ("x",), [("41.5",)])], [Claim("it holds", holds)], [trained / "rl2"],
                [Plot("A plot", "steps", "share", [line])],
            )  # fmt: skip

        return Figure("", "", 1, make)

    monkeypatch.setitem(figures.FIGURES, "good", figure(True))
    monkeypatch.setitem(figures.FIGURES, "bad", figure(False))
    assert run("reproduce", "good", "--run", tmp_path) == 0
    out = capsys.readouterr().out
    assert "A table" in out and "41.5" in out and "✓ it holds" in out
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in ("rl2", "A table", "41.5", "✓ it holds", "<h3>A plot</h3>", "share"))
    kept = json.loads((tmp_path / "outcome.json").read_text())
    assert kept["figure"] == "good" and kept["claims"] == [{"sentence": "it holds", "holds": True}]
    assert kept["tables"][0]["rows"] == [["41.5"]] and kept["plots"][0]["lines"][0]["mean"] == [0.5, 0.75]
    assert kept["versions"]["jax"] == jax.__version__
    assert run("reproduce", "bad", "--run", tmp_path) == 1
    assert "✗ it holds" in (tmp_path / "report.html").read_text()


def test_reproduce_with_the_papers_hyperparameters_has_a_folder_of_its_own(elsewhere, monkeypatch, capsys):
    made = []

    def make(directory, report):
        made.append(str(directory))
        return Outcome([], [], [])

    monkeypatch.setitem(figures.FIGURES, "both", Figure("", "", 1, make, make, 3.0))
    assert run("reproduce", "both") == 0 and run("reproduce", "both", "--preset", "paper") == 0
    assert made == ["runs/both", "runs/both-paper"]
    assert run("reproduce") == 0
    assert "3 h" in capsys.readouterr().out


# --- interrupts -------------------------------------------------------------------------------------------


def test_ctrl_c_says_how_to_go_on_and_nothing_is_lost(tmp_path, monkeypatch, capsys):
    @contextlib.contextmanager
    def interrupting():
        yield (
            lambda p: signal.raise_signal(signal.SIGINT) if p.phase == "training" and p.updates >= 2 else None
        )

    words = ("train", "rl2", "bernoulli-bandit", "--updates", 9, *TINY)
    with monkeypatch.context() as patch:
        patch.setattr("adaptax.cli.train.progress", interrupting)
        patch.setattr("adaptax.training.train.DISPATCH_SECONDS", 0.0)  # one meta-update a dispatch
        assert run(*words, "--run", tmp_path / "a") == 1
    out = capsys.readouterr().out
    assert "Interrupted after 2 of 9 meta-updates" in out and f"adaptax resume {tmp_path / 'a'}" in out
    assert run("resume", tmp_path / "a") == 0 and run(*words, "--run", tmp_path / "b") == 0
    rows = [[{**row, "seconds": 0} for row in read_metrics(tmp_path / name)] for name in "ab"]
    assert rows[0] == rows[1] and len(rows[0]) == 9


def test_an_interrupted_reproduction_stops_at_once(tmp_path, monkeypatch, capsys):
    from adaptax.algorithms.random_policy import RandomPolicy
    from adaptax.tasks.bandits import BernoulliBandit
    from adaptax.training.train import train

    def make(directory, report):
        monkeypatch.setattr("adaptax.training.interrupts.Interrupts.asked", True)
        train(RandomPolicy(), BernoulliBandit(), 3, 0, directory, report)
        raise AssertionError("it went on")

    monkeypatch.setitem(figures.FIGURES, "slow", Figure("", "", 1, make))
    assert run("reproduce", "slow", "--run", tmp_path / "slow") == 1
    assert "kept in" in capsys.readouterr().out


def test_the_installed_script_survives_a_reader_that_leaves():
    assert json.loads(subprocess.run([SCRIPT, "list", "--json"], capture_output=True, check=True).stdout)
    with subprocess.Popen(
        [SCRIPT, "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (1, b"")


STUCK = """
import jax, jax.numpy as jnp
from adaptax.tasks import BernoulliBandit
class Stuck(BernoulliBandit):
    def step(self, key, state, action, task):
        state, outcome = super().step(key, state, action, task)
        stuck = jax.random.bernoulli(key, 0.01)  # some step of the second update or so never ends
        i = jax.lax.while_loop(lambda i: stuck & (i >= 0), lambda i: (7 * i + 1) % 1000, jnp.int32(0))
        return state, outcome.__class__(outcome.obs, outcome.reward + (i < 0), outcome.terminated, outcome.truncated)
"""


def test_a_computation_that_never_ends_can_be_interrupted_and_what_was_finished_is_saved(elsewhere):
    Path("stuck.py").write_text(STUCK)
    words = (
        "train rl2 jax:stuck:Stuck --run stuck --tasks 4 --hidden 4 --epochs 1 --minibatches 2 --updates 900"
    )
    with subprocess.Popen(
        [SCRIPT, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert any(b"training" in line for line in process.stderr), "the first update came to no end"
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        saved = lambda: sorted(p.stem for p in Path("stuck/checkpoints").glob("*[1-9]*"))  # noqa: E731
        started = time.monotonic()
        while not saved() and time.monotonic() < started + 20:
            time.sleep(0.05)
        alive = process.poll() is None
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()  # where it still waits for its computation
        out, err = process.communicate()
    assert (alive, process.returncode) == (True, 1)
    assert b"Go on with: adaptax resume stuck" in out and b"Traceback" not in err
    assert load_run("stuck")[0].updates == int(saved()[-1]) < 900


# --- mistakes ---------------------------------------------------------------------------------------------

MISTAKES = {
    "foo": "no command 'foo'",
    "trian": "no command 'trian'; did you mean 'train'?",
    "train": "Missing: ALGORITHM, FAMILY",
    "train rl2": "Missing: FAMILY",
    "train --seed 1 rl2 bernoulli-bandit": "ALGORITHM and FAMILY come first",
    "train rl3 bernoulli-bandit": "no algorithm 'rl3'; did you mean 'rl2'?",
    "train rl2 bernouli-bandit": "no task family 'bernouli-bandit'; did you mean 'bernoulli-bandit'?",
    "train rl2 bernoulli-bandit:x": "takes no file",
    "train rl2 bernoulli-bandit --lrr 1": "Unrecognized options: --lrr; did you mean --lr?",
    "train rl2 bernoulli-bandit --lr high": "--lr takes a number, not 'high'",
    "train rl2 bernoulli-bandit --updates abc": "--updates takes a whole number, not 'abc'",
    "train rl2 bernoulli-bandit --lr nan": "lr must be 0 or more, not nan",
    "train rl2 bernoulli-bandit --tasks 0": "tasks must be 1 or more, not 0",
    "train rl2 bernoulli-bandit --tasks 2 --minibatches 4": "2 tasks cannot be divided into 4 minibatches",
    "train maml point-navigation --hidden 8 -1": "hidden must be 1 or more, not -1",
    "train rl2 bernoulli-bandit --family.arms 0": "at least one arm",
    "train rl2 bernoulli-bandit --preset mine": "invalid choice 'mine' for argument '--preset'",
    "train gbml point-navigation --preset paper": "'gbml' has no preset 'paper'",
    "train snail sinusoid --clip 0.1": "--clip has no effect on sinusoid, whose tasks are labelled examples",
    "train maml sinusoid --lr 0.1 --streams 3": "--streams has no effect on sinusoid",
    "train rl2 bernoulli-bandit --seeds 4-1": "names no seeds; write 0-4 or 0,2,5",
    "train rl2 bernoulli-bandit --updates -1": "updates must be 0 or more, not -1",
    "train rl2 bernoulli-bandit --run {runs}/maml": "already holds a run",
    "train rl2 gymnasium:nowhere:X": "There is no module 'nowhere'",
    "train rl2 jax:nowhere:X": "There is no module 'nowhere'",
    "train rl2 jax:json:JSONDecoder": "is no adaptax.tasks.TaskFamily",
    "train rl2 gymnasium:json:JSONDecoder": "no sample and no make",
    "resume {runs}/none": "holds no run",
    "evaluate {runs}/none": "holds no run",
    "evaluate {runs}/maml --split best": "invalid choice 'best'",
    "evaluate {runs}/maml --tasks 0": "tasks must be 1 or more",
    "evaluate {runs}/maml --episodes 0": "episodes must be 1 or more",
    "evaluate pretrained:none": "no pretrained learner 'none'",
    "compare {runs}/maml": "at least two folders",
    "compare {runs}/rl2 {runs}/maml": r"rl2 was trained on bernoulli-bandit \(arms=5.*\) and maml on point-navigation",
    "report": "at least one folder",
    "report {runs}/none": "holds no run",
    "adapt {runs}/maml": "Missing: --env MODULE:CALLABLE",
    "adapt {runs}/maml --env x": "write MODULE:NAME",
    "adapt {runs}/maml --env json:loads --episodes 0": "--episodes must be 1 or more",
    "new-family tasks.txt": "a name like my_tasks.py",
    "new-family {runs}/rl2/seed-0/config.json/x.py": "config.json: File exists; check the path",
    "check-family nowhere:X": "There is no module 'nowhere'",
    "reproduce demo --preset paper": "'demo' has no preset 'paper'; leave --preset out. These have: gradient-navigation,",
    "reproduce demo --seeds 3": "'demo' has a fixed number of seeds; leave --seeds out. These take it: function-families,",
    "reproduce mdp-10 --seeds 0": "seeds must be 1 or more, not 0",
    "reproduce rl2-learn": "no figure 'rl2-learn'; did you mean 'rl2-learns'?",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_told_in_one_sentence(trained, elsewhere, capsys, words):
    assert run(*words.format(runs=trained).split()) == 2
    out, err = capsys.readouterr()
    assert re.search(MISTAKES[words], err) and err.startswith("adaptax: ") and err.count("\n") == 1
    assert out == ""


def test_with_json_a_mistake_is_json_too(capsys):
    for words in (["evaluate", "nowhere", "--json"], ["list", "--json", "--fast"]):
        assert run(*words) == 2
        out, err = capsys.readouterr()
        assert json.loads(out) == {"error": err.removeprefix("adaptax: ").rstrip("\n")}


def test_a_missing_extra_is_told(monkeypatch, capsys, elsewhere):
    Path("worlds.py").write_text("class Mine:\n  def sample(self, rng, split): 1\n  def make(self, task): 1")
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "adaptax.tasks.gymnasium_env", raising=False)
    monkeypatch.delattr("adaptax.tasks.gymnasium_env", raising=False)
    assert run("train", "rl2", "gymnasium:worlds:Mine") == 2
    assert "pip install 'adaptax[gymnasium]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/config.json"),
            2,
            "/x/config.json: Permission denied",
        ),
        (KeyboardInterrupt(), 1, "Interrupted."),
    ],
)
def test_what_the_system_refuses_is_told(monkeypatch, capsys, error, code, says):
    def refuse(*_):
        raise error

    monkeypatch.setattr("adaptax.cli.runs.run_folders", refuse)
    assert run("evaluate", "x") == code
    assert says in capsys.readouterr().err


def test_a_bug_still_shows_its_traceback(monkeypatch):
    monkeypatch.setattr("adaptax.cli.runs.run_folders", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("evaluate", "x")
