"""Families made of named parameters: how they are drawn, what gymnax and Gymnasium make of them, and mistakes as sentences."""

from __future__ import annotations

import builtins
import importlib.util
import pickle

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import adaptax as ax
from adaptax.cli.check_family import make_checks
from adaptax.cli.checks_gymnasium import GymnasiumChecks
from adaptax.errors import AdaptaxError
from adaptax.tasks import gymnax as adapter
from adaptax.tasks.cartpole import CartPole, Physics
from adaptax.tasks.contexts import Context, Contexts, read_contexts
from adaptax.tasks.following import with_following
from adaptax.tasks.gymnasium_contexts import GymnasiumContexts
from adaptax.tasks.gymnax import Gymnax
from adaptax.tasks.registry import ENTRIES, describe, make_family, rebuild

if importlib.util.find_spec("gymnax") is None:  # its import takes seconds: where it is used, not before
    pytest.skip("the extra 'gymnax' is not installed", allow_module_level=True)

KEY = jax.random.key(0)
PHYSICS = ("gravity=5:15", "masscart=0.5:2", "masspole=0.05:0.3", "length=0.25:1", "force_mag=5:15")


def draw(contexts, split, n=2000):
    return np.asarray(
        jax.jit(jax.vmap(lambda k: contexts.sample(k, split)))(jax.random.split(KEY, n)), np.float64
    )


# --- drawing --------------------------------------------------------------------------------------------


def check_draws():
    """A positive range on the logarithmic scale, one through 0 on its own; `ood` leaves both, by up to half a width."""
    known = {"g": 9.8, "push": 0.0}
    contexts = read_contexts("Tests", known, ["g=2:8", "push=-1:3"], [])
    inside, outside = draw(contexts, "train"), draw(contexts, "ood")
    assert (inside >= [2, -1]).all() and (inside <= [8, 3]).all()
    np.testing.assert_allclose(np.median(inside, 0), [4, 1], rtol=0.1)  # the middle of either scale
    ratio, push = outside.T
    below, above = ratio < 2, ratio > 8
    assert (below ^ above).all() and 0.4 < below.mean() < 0.6
    assert ratio.min() >= 1 - 1e-4 and ratio.max() <= 16 + 1e-3  # half of two octaves
    assert ((push < -1) ^ (push > 3)).all() and push.min() >= -3 and push.max() <= 5
    told = np.asarray(jax.vmap(contexts.features)(jnp.array([[2.0, -1.0], [4.0, 1.0], [8.0, 3.0]])))
    np.testing.assert_allclose(told, [[-1, -1], [0, 0], [1, 1]], atol=1e-5)


def test_where_parameters_are_drawn():
    check_draws()


def check_own_ood():
    contexts = read_contexts("Tests", {"g": 9.8, "m": 1.0}, ["g=2:8", "m=1:2"], ["g=8:10"])
    g, m = draw(contexts, "ood").T
    assert (g >= 8).all() and (g <= 10).all() and (m >= 1).all() and (m <= 2).all()


def test_an_ood_range_of_ones_own_is_kept_and_the_others_stay():
    check_own_ood()


def check_whole_numbers():
    """Twelve tasks, three of which are for testing and never for training."""
    contexts = read_contexts("Tests", {"lives": 3, "speed": 1}, ["lives=1:4", "speed=2:4"], [])
    train, test = ({tuple(task) for task in draw(contexts, split, 400)} for split in ("train", "test"))
    assert len(train) == 9 and len(test) == 3 and not train & test
    assert train | test == {(a, b) for a in range(1, 5) for b in range(2, 5)}
    assert not contexts.has_ood


def test_whole_numbers_are_a_list_of_tasks_a_quarter_of_which_are_for_testing():
    check_whole_numbers()


def test_a_whole_number_among_real_ones_takes_each_value_as_often():
    contexts = Contexts((Context("g", 1.0, 2.0, None, False), Context("lives", 1.0, 3.0, None, True)))
    lives = draw(contexts, "train")[:, 1]
    np.testing.assert_allclose([(lives == n).mean() for n in (1, 2, 3)], 1 / 3, atol=0.05)


# --- gymnax ---------------------------------------------------------------------------------------------


def check_gymnax(family, default, changes, steps, actions):
    """Whole episodes, step by step, against gymnax's own `step` with the same keys and parameters."""
    env, params = default
    [task] = family.sample(KEY, "test")[None]
    values = dict(zip((text.partition("=")[0] for text in family.vary), task, strict=True))
    params = params.replace(**changes(values))
    state, obs = jax.jit(family.reset)(KEY, task)
    theirs_obs, theirs = env.reset(KEY, params)
    np.testing.assert_allclose(obs, theirs_obs, rtol=1e-5)
    step, their_step, ended = jax.jit(family.step), jax.jit(env.step), False
    for i in range(steps):
        key = jax.random.fold_in(KEY, i)
        action = actions(i)
        inner, _ = jax.random.split(key)  # what `step` hands to `step_env`
        state, outcome = step(inner, state, action, task)
        _, theirs, reward, terminated, truncated, info = their_step(key, theirs, action, params)
        np.testing.assert_allclose(outcome.obs, info["final_observation"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(outcome.reward, reward, rtol=1e-5)
        assert (outcome.terminated, outcome.truncated) == (terminated, truncated & ~terminated)
        ended = bool(terminated | truncated)
        if ended:
            break
    return i + 1, ended, outcome


def check_cartpole():
    import gymnax

    length, ended, outcome = check_gymnax(
        Gymnax(vary=PHYSICS),
        gymnax.make("CartPole-v1"),
        lambda v: {**v, "total_mass": v["masscart"] + v["masspole"], "polemass_length": v["masspole"] * v["length"]},
        200,
        lambda i: jnp.int32(i % 3 == 0),
    )  # fmt: skip
    assert ended and outcome.terminated and not outcome.truncated and length < 200


def test_cartpole_falls_as_gymnaxs_does():
    check_cartpole()


def check_limit():
    """The time limit truncates and terminates nothing; nothing is reset."""
    import gymnax

    family = Gymnax("Pendulum-v1", ("g=5:15", "m=0.5:2"), episode_steps=7)
    env, params = gymnax.make("Pendulum-v1")
    default = env, params.replace(max_steps_in_episode=7)
    length, ended, outcome = check_gymnax(family, default, lambda v: v, 20, lambda i: jnp.array([1.5 - i]))
    assert family.spec.episode_steps == length == 7 and ended
    assert outcome.truncated and not outcome.terminated


def test_a_pendulum_swings_as_gymnaxs_until_its_time_is_up():
    check_limit()


def test_every_observation_of_choices_is_one_hot():
    made = adapter._made(Gymnax())._replace(choices=16)
    np.testing.assert_array_equal(made.observed(jnp.int32(5)), np.eye(16)[5])


def check_masses(transition):
    """CartPole's derived numbers follow: a step is that of the library's own CartPole of the same physics."""
    task = GymnasiumContexts(vary=PHYSICS).sample(np.random.default_rng(0), "test")
    gravity, masscart, masspole, length, force = task
    before = np.array([0.1, -0.3, 0.05, 0.4], np.float32)
    _, outcome = CartPole().step(
        KEY,
        jnp.asarray(before),
        jnp.int32(1),
        Physics(*map(jnp.array, (gravity, masscart, masspole, length, force))),
    )
    np.testing.assert_allclose(transition(before, task), outcome.obs, rtol=1e-4, atol=1e-6)


def of_gymnax(before, task):
    family, task = Gymnax(vary=PHYSICS), jnp.array(task)
    state, _ = family.reset(KEY, task)
    x, v, θ, ω = before
    _, outcome = family.step(KEY, state.replace(x=x, x_dot=v, theta=θ, theta_dot=ω), jnp.int32(1), task)
    return outcome.obs


def of_gymnasium(before, task):
    env = GymnasiumContexts(vary=PHYSICS).make(task)
    env.reset(seed=0)
    env.unwrapped.state = before
    return env.step(1)[0]


@pytest.mark.parametrize("transition", [of_gymnax, of_gymnasium])
def test_a_heavier_cart_is_heavier(transition):
    check_masses(transition)


def test_what_follows_is_told_from_what_was_given():
    assert with_following({"length": 1.0, "masspole": 0.5, "polemass_length": 0.5}, {"length": 3.0}) == {
        "length": 3.0,
        "polemass_length": 1.5,
    }
    assert with_following({"length": 1.0}, {"length": 3.0}) == {"length": 3.0}


def test_a_learner_trains_on_it(tmp_path):
    family = make_family(
        "gymnax", {"env": "Pendulum-v1", "vary": ("g=5:15",), "episode_steps": 3, "episodes": 2}
    )
    run = ax.train(ax.RL2(tasks=2, hidden=8, minibatches=1), family, updates=1, directory=tmp_path / "run")
    assert run.updates == 1 and rebuild(describe(family)) == ax.load(tmp_path / "run").family == family


# --- Gymnasium ------------------------------------------------------------------------------------------


def test_an_environment_of_gymnasium_has_the_attributes_of_its_task():
    family = GymnasiumContexts("Acrobot-v1", ("LINK_LENGTH_1=0.5:2",), episode_steps=9)
    [task] = {family.sample(np.random.default_rng(3), "train") for _ in range(2)}
    flat = pickle.loads(pickle.dumps(family.maker))(task)
    assert flat.env.unwrapped.LINK_LENGTH_1 == task[0] != 1.0
    assert family.spec.episode_steps == flat.env.spec.max_episode_steps == 9
    low, high = np.log([0.5, 2.0])
    np.testing.assert_allclose(
        family.features(task), [(2 * np.log(task[0]) - low - high) / (high - low)], rtol=1e-4
    )
    ood = [family.sample(np.random.default_rng(i), "ood")[0] for i in range(20)]
    assert all(not 0.5 <= x <= 2 for x in ood)


def test_check_family_checks_it_like_a_users():
    checks = make_checks(GymnasiumContexts, "adaptax.tasks:GymnasiumContexts")
    assert isinstance(checks, GymnasiumChecks) and checks.family == GymnasiumContexts()
    assert checks.same_tasks() == "splits train, test, ood"
    assert "50 train, 50 test, 50 ood" in checks.different_tasks() and checks.numbers().startswith(
        "2 features"
    )


def test_it_is_recorded_and_made_again():
    family = make_family("gymnasium", {"env": "Pendulum-v1", "vary": ("g=5:15",)})
    assert describe(family)["reference"] == "gymnasium" and rebuild(describe(family)) == family


# --- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gymnax", "gymnasium"])
def test_the_listed_spec_is_the_default_members(name):
    assert ENTRIES[name].listed == ENTRIES[name].cls().spec


MISTAKES = [
    ({"env": "Pendulm-v1"}, "did you mean 'Pendulum-v1'"),
    ({"vary": ()}, "No parameter of .* varies"),
    ({"vary": ("grav=1:2",)}, "has no parameter 'grav'; did you mean 'gravity'"),
    ({"vary": ("length",)}, "'length' is no range; write NAME=LOW:HIGH"),
    ({"vary": ("length=a:2",)}, "is no range"),
    ({"vary": ("length=1:inf",)}, "is no range"),
    ({"vary": ("length=1:2:3",)}, "is no range"),
    ({"vary": ("length=2:1",)}, "runs from 2 to 1; give the smaller number first"),
    ({"vary": ("length=1:2", "length=1:3")}, "'length' is given two ranges"),
    ({"vary": ("total_mass=1:2",)}, "follows from masscart and masspole"),
    ({"ood": ("gravity=1:2",)}, "does not vary in training"),
    ({"ood": ("length=3:2",)}, "ood range of 'length' runs from 3 to 2"),
    ({"ood": ("length=1:2",)}, "overlaps that of training"),
    ({"episodes": 0}, "at least one episode"),
]


@pytest.mark.parametrize("fields, says", MISTAKES)
def test_a_mistake_is_told_in_one_sentence(fields, says):
    for family in (Gymnax, GymnasiumContexts):
        with pytest.raises(AdaptaxError, match=says) as told:
            family(**fields)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"vary": ("max_steps_in_episode=100:200",)}, "set episode_steps instead"),
        ({"env": "Pendulum-v1", "vary": ("max_torque=1:3",)}, "'max_torque' .* sets the space"),
        ({"env": "Asterix-MinAtar", "vary": ("ramping=0:1",)}, "no single number but True"),
        ({"env": "Acrobot-v1", "vary": ("available_torque=0:1",)}, "no single number but"),
        ({"env": "Asterix-MinAtar", "vary": ("shot_cool_down=3:5.5",)}, "is a whole number"),
        ({"env": "Catch-bsuite"}, "no parameters that are numbers"),
    ],
)
def test_what_gymnax_cannot_vary_is_told(fields, says):
    with pytest.raises(AdaptaxError, match=says):
        Gymnax(**fields)


def test_more_combinations_than_can_be_listed_are_refused():
    with pytest.raises(AdaptaxError, match="narrow their ranges"):
        read_contexts("Tests", {"a": 1, "b": 1}, ["a=0:9999", "b=0:999"], [])


def test_an_environment_without_a_limit_needs_one():
    gymnasium.register("Endless-v0", entry_point=lambda: gymnasium.make("Pendulum-v1").unwrapped)
    try:
        with pytest.raises(AdaptaxError, match="set episode_steps"):
            GymnasiumContexts("Endless-v0", ("g=5:15",))
    finally:
        del gymnasium.registry["Endless-v0"]


@pytest.mark.parametrize(
    "missing, says", [("gymnax", "gymnax is not installed"), ("six", "gymnax needs 'six'")]
)
def test_without_gymnax_the_user_is_told_how_to_install_it(missing, says, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "gymnax":
            raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    adapter._environment.cache_clear()
    with pytest.raises(AdaptaxError, match=rf"{says}; run: pip install 'adaptax\[gymnax\]'"):
        Gymnax(env="Acrobot-v1", vary=("dt=0.1:0.3",))
