"""Users' families of Gymnasium environments: their spaces as flat vectors, and their mistakes as sentences."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from hypothesis import given
from hypothesis import strategies as st

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import to_environment
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.tasks.gymnasium_env import FlatEnv, decode_action, flat_spaces
from adaptax.types import Box, Discrete, MultiDiscrete


class Recorder(gymnasium.Env):
    """Any spaces; observes what it is told to and keeps the actions it is given."""

    def __init__(self, action_space=None, observation_space=None, observation: Any = 0):
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.observation_space = spaces.Discrete(2) if observation_space is None else observation_space
        self.observation, self.actions = observation, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation, {}

    def step(self, action):
        self.actions.append(action)
        return self.observation, 1, False, False, {"won": True}


class Tasks:
    """The smallest family; a task is the arguments of its environment."""

    episode_steps = 3

    def __init__(self, *arguments):
        self.arguments = arguments

    def sample(self, rng, split):
        return self.arguments

    def make(self, task):
        return Recorder(*task)


# --- spaces ---------------------------------------------------------------------------------------------

ints = np.array
ACTIONS = {
    "discrete from 5": (spaces.Discrete(3, start=5), Discrete(3), 2, 7),
    "multi-discrete": (spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [0, -5]]), MultiDiscrete((2, 3, 4, 5)),
                       [1, 0, 3, 4], ints([[1, 1], [3, -1]])),
    "multi-binary": (spaces.MultiBinary((1, 3)), MultiDiscrete((2, 2, 2)), [1, 0, 1], np.array([[1, 0, 1]], np.int8)),
    "box": (spaces.Box(np.array([[-1, 0, 2]] * 2, np.float64), np.array([[1, 4, 8]] * 2, np.float64), dtype=np.float64),
            Box((-1.0, 0.0, 2.0) * 2, (1.0, 4.0, 8.0) * 2), [-1, 0.5, 1, 1, -9, 0], np.array([[-1, 3, 8], [1, 0, 5]], np.float64)),
    "integer box": (spaces.Box(0, 10, (2,), np.int64), Box((0.0, 0.0), (10.0, 10.0)), [0.3, 1], ints([6, 10])),
    "half-bounded box": (spaces.Box(np.float32([0.0]), np.float32([np.inf])), Box((0.0,), (np.inf,)), [-3.0],
                         np.zeros(1, np.float32)),
    "dict of choices": (spaces.Dict(b=spaces.Discrete(2), a=spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(2)])),
                        MultiDiscrete((2, 3, 2, 2)), [1, 2, 0, 1], {"b": 1, "a": (2, np.array([0, 1], np.int8))}),
    "tuple of boxes": (spaces.Tuple([spaces.Box(0, 2, ()), spaces.Dict(x=spaces.Box(-4, 4, (2,)))]),
                       Box((0.0, -4.0, -4.0), (2.0, 4.0, 4.0)), [0, 1, 0.5],
                       (np.array(1, np.float32), {"x": np.array([4, 2], np.float32)})),
    "tuple of one choice": (spaces.Tuple([spaces.Discrete(4)]), Discrete(4), 3, (3,)),
}  # fmt: skip


@pytest.mark.parametrize("space, spec, numbers, expected", ACTIONS.values(), ids=ACTIONS)
def test_actions_reach_the_environment_in_its_own_form(space, spec, numbers, expected):
    family = GymnasiumFamily(Tasks(space))
    assert family.spec.action == spec
    env = family.maker((space,))
    dtype = jnp.float32 if isinstance(spec, Box) else jnp.int32
    env.step(np.asarray(to_environment(spec, jnp.array(numbers, dtype))))
    (action,) = env.env.actions
    assert space.contains(action)
    equal(action, expected)


def equal(one, other):
    if isinstance(other, dict | tuple):
        assert type(one) is type(other) and len(one) == len(other)
        for key in other if isinstance(other, dict) else range(len(other)):
            equal(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


leaves = st.one_of(
    st.builds(spaces.Discrete, st.integers(1, 4), start=st.integers(-3, 3)),
    st.builds(spaces.MultiBinary, st.integers(1, 3)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
)
nested = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.text("abc", min_size=1), parts, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=5,
)


@given(nested, st.randoms(use_true_random=False))
def test_every_vector_of_choices_is_another_action_of_the_space(space, random):
    choices = flat_spaces(Recorder(space)).choices
    one, other = ([random.randrange(n) for n in choices] for _ in range(2))
    actions = [decode_action(space, np.array(numbers)) for numbers in (one, other)]
    assert all(space.contains(action) for action in actions)
    assert (one == other) == (repr(actions[0]) == repr(actions[1]))


OBSERVATIONS = {
    "discrete from 3": (spaces.Discrete(4, start=3), 5, [0, 0, 1, 0]),
    "multi-discrete": (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), [0, 1, 1, 0, 0]),
    "multi-binary": (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8), [1, 0, 1]),
    "image": (spaces.Box(0, 255, (2, 1, 2), np.uint8), np.array([[[0, 1]], [[2, 255]]], np.uint8), [0, 1, 2, 255]),
    "float64 matrix": (spaces.Box(-9, 9, (2, 2), np.float64), np.array([[1, 2], [3, 4.5]]), [1, 2, 3, 4.5]),
    "dict": (spaces.Dict(x=spaces.Box(-9, 9, (2,)), k=spaces.Tuple([spaces.Discrete(2)])),
             {"k": (1,), "x": np.array([7, 8], np.float32)}, [7, 8, 0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("space, observation, expected", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_observations_are_flat_float32(space, observation, expected):
    family = GymnasiumFamily(Tasks(None, space, observation))
    assert family.spec.observation == (len(expected),)
    env = family.maker((None, space, observation))
    for obs in (env.reset(0), env.step(np.array(0))[0]):
        assert obs.dtype == np.float32
        if isinstance(space, spaces.Dict):  # Gymnasium orders the keys of a Dict
            obs, expected = sorted(obs.tolist()), sorted(expected)
        np.testing.assert_array_equal(obs, expected)


def test_the_outcome_of_a_step():
    assert FlatEnv(Recorder(), "won").step(np.array(1))[1:] == (1, False, False, True)
    assert FlatEnv(Recorder(), None).step(np.array(1))[1:] == (1, False, False, False)


# --- what the spec takes from the class -------------------------------------------------------------------


def test_the_spec_says_what_the_class_says():
    class MyFamily(Tasks):
        episodes, episode_steps, shared_tasks, splits = 4, np.int64(9), True, ("train", "test", "ood")
        success_key = "won"

        def features(self, task):
            return [1, 2, 3]

        def optimal(self, task):
            return np.float64(2.5)

    family = GymnasiumFamily(MyFamily)
    spec = family.spec
    assert (spec.name, spec.episodes, spec.episode_steps, spec.shared_tasks, spec.ood, spec.features) == (
        "my-family", 4, 9, True, True, 3,
    )  # fmt: skip
    assert family.features(()).dtype == np.float32 and family.optimal(()) == 2.5 and family.reports_success

    plain = GymnasiumFamily(Tasks)
    assert (plain.spec.episodes, plain.spec.ood, plain.spec.features) == (2, False, 0)
    assert plain.features(()) is None and plain.optimal(()) is None and not plain.reports_success


def test_the_environments_own_time_limit_counts_where_the_class_names_none():
    class Limited(Tasks):
        episode_steps = None

        def make(self, task):
            env = Recorder()
            env.spec = EnvSpec("limited-v0", max_episode_steps=17)
            return env

    assert GymnasiumFamily(Limited).spec.episode_steps == 17


# --- mistakes ---------------------------------------------------------------------------------------------


def method(name, function):
    """A family in which one method is replaced."""
    return type("Wrong", (Tasks,), {name: function})


class NoMake:
    def sample(self, rng, split):
        return 0


class Demanding(Tasks):
    def __init__(self, size):
        raise NotImplementedError


box = spaces.Box(0, 1, (2,))


class OldReset(Recorder):
    def reset(self, *, seed=None, options=None):
        return 0


MISTAKES = {
    "no make": (NoMake, "NoMake is no family of environments, for it has no make; write"),
    "arguments": (Demanding, r"Demanding\(\) could not be created without arguments \(TypeError.*defaults"),
    "old sample": (method("sample", lambda self, rng: 0), r"sample of Wrong must take \(rng, split\), not \(rng\)"),
    "failing sample": (method("sample", lambda self, rng, split: 1 / 0), "sample of Wrong failed: ZeroDivisionError.*line"),
    "failing make": (method("make", lambda self, task: {}["a"]), "make of Wrong failed: KeyError: 'a'"),
    "no env": (method("make", lambda self, task: 3), r"make\(task\) of Wrong must return a gymnasium.Env.*builtins.int"),
    "old reset": (method("make", lambda self, task: OldReset()), r"must return \(observation, info\).*a int"),
    "wrong size": (Tasks(None, box, np.zeros(3)), "has 3 entries and its observation_space 2"),
    "mixed": (Tasks(spaces.Tuple([spaces.Discrete(2), box])), "mixes choices with real numbers"),
    "text": (Tasks(spaces.Text(3)), "Text.* are not supported; use Discrete"),
    "constant": (Tasks(spaces.Box(1, 1, (1,))), "leaves nothing to choose"),
    "graph": (Tasks(None, spaces.Sequence(box), ()), "observation space Sequence.* has no fixed length"),
    "no length": (type("Wrong", (Tasks,), {"episode_steps": None}), "give the class an attribute episode_steps"),
    "half a step": (type("Wrong", (Tasks,), {"episode_steps": 2.5}), "episode_steps of Wrong must be a whole number.*2.5"),
    "no episode": (type("Wrong", (Tasks,), {"episodes": 0}), "episodes of Wrong must be .* at least 1, not 0"),
    "splits": (type("Wrong", (Tasks,), {"splits": ("train",)}), "splits of Wrong must be train and test"),
    "features": (method("features", lambda self, task: [np.nan]), "features.*vector of finite numbers"),
}  # fmt: skip


@pytest.mark.parametrize("tasks, says", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_a_sentence(tasks, says):
    with pytest.raises(AdaptaxError, match=says) as caught:
        GymnasiumFamily(tasks)
    assert "\n" not in str(caught.value)


def test_other_mistakes_are_told_too():
    family = GymnasiumFamily(Tasks)
    with pytest.raises(AdaptaxError, match="Tasks has no split 'ood', only train, test"):
        family.sample(np.random.default_rng(0), "ood")
    with pytest.raises(AdaptaxError, match="All tasks of a family need the same spaces"):
        family.make((spaces.Discrete(3),))
    env = Recorder()
    env.step = lambda action: (0, 0.0, True, {})  # type: ignore[method-assign]
    with pytest.raises(AdaptaxError, match=r"must return \(observation, reward, .* it returned 4 values"):
        FlatEnv(env).step(np.array(0))


def test_gymnasium_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "adaptax.tasks.gymnasium_env")
    monkeypatch.delattr("adaptax.tasks.gymnasium_env")
    with pytest.raises(AdaptaxError, match=r"pip install 'adaptax\[gymnasium\]'"):
        GymnasiumFamily(Tasks)


# --- references -------------------------------------------------------------------------------------------

FILE = """
import gymnasium
class Mine:
    episode_steps = 5
    def sample(self, rng, split): return 1.5
    def make(self, task):
        env = gymnasium.Env()
        env.observation_space, env.action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(3)
        env.reset = lambda seed: (0, {})
        return env
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_worlds.py").write_text(FILE)
    (tmp_path / "needy.py").write_text("import adaptax_no_such_module")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "json.py").write_text(FILE)
    yield tmp_path
    sys.modules.pop("my_worlds", None)


def test_a_reference_finds_a_class_by_module_and_by_file(folder):
    by_module = GymnasiumFamily.from_reference("my_worlds:Mine")
    by_file = GymnasiumFamily.from_reference("./my_worlds.py:Mine")
    assert by_module.spec == by_file.spec and by_module.spec.name == "mine"
    assert by_module.reference == "my_worlds:Mine" and by_file.reference == f"{folder / 'my_worlds.py'}:Mine"
    assert GymnasiumFamily(type(by_module.tasks)).reference == "my_worlds:Mine"


REFERENCES = {
    "my_worlds": "names no object; write MODULE:NAME",
    "my_worlds:Yours": r"'my_worlds' has no 'Yours' \(it has Mine\)",
    "no_such_worlds:Mine": "There is no module 'no_such_worlds'; run from the folder",
    "no/such.py:Mine": r"There is no file .*no/such\.py",
    "needy:Mine": "'needy' could not be imported, for it needs 'adaptax_no_such_module'; install that",
    "broken:Mine": "'broken' could not be imported: ZeroDivisionError: .*, in broken.py line 1",
    "json.py:Mine": "Another module is called 'json' too",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_that_leads_nowhere_is_told(folder, reference):
    with pytest.raises(AdaptaxError, match=REFERENCES[reference]):
        GymnasiumFamily.from_reference(reference)
