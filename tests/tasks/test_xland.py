"""XLand-MiniGrid: its rulesets as the published ones are made, and episodes as the package plays them."""

from __future__ import annotations

import builtins
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import adaptax as ax
from adaptax.errors import AdaptaxError
from adaptax.tasks import xland, xland_rulesets
from adaptax.tasks.registry import ENTRIES, describe, rebuild
from adaptax.tasks.xland import Ruleset, XLand
from adaptax.tasks.xland_rulesets import GOAL_LENGTH, RECIPES, RULE_LENGTH, generate, rulesets

if importlib.util.find_spec("xminigrid") is None:  # its import takes seconds: where it is used, not before
    pytest.skip("the extra 'xland' is not installed", allow_module_level=True)

KEY = jax.random.key(0)
SIDES = ("", "Up", "Right", "Down", "Left")
FORWARD, RIGHT, LEFT, PICK_UP, PUT_DOWN, TOGGLE = range(6)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rulesets.cache_clear()
    yield tmp_path / "adaptax" / "xland"
    rulesets.cache_clear()


# --- rulesets -------------------------------------------------------------------------------------------


def check_encodings():
    """What the package itself writes for each kind of goal and rule."""
    from xminigrid.core import goals, rules

    a, b, c = (jnp.array(tile) for tile in ((3, 1), (6, 2), (12, 8)))
    tiles = lambda *which: [tuple(map(int, tile)) for tile in which]  # noqa: E731
    told = xland_rulesets._encoded
    assert told(xland_rulesets.GOAL_HOLD, tiles(a), GOAL_LENGTH) == goals.AgentHoldGoal(a).encode().tolist()
    assert (
        told(xland_rulesets.RULE_HOLD, tiles(a, c), RULE_LENGTH)
        == rules.AgentHoldRule(a, c).encode().tolist()
    )
    for i, side in enumerate(SIDES):
        goal = getattr(goals, f"AgentNear{side}Goal")(a), getattr(goals, f"TileNear{side}Goal")(a, b)
        rule = getattr(rules, f"AgentNear{side}Rule")(a, c), getattr(rules, f"TileNear{side}Rule")(a, b, c)
        assert told(xland_rulesets.GOAL_AGENT_NEAR[i], tiles(a), 5) == goal[0].encode().tolist()
        assert told(xland_rulesets.GOAL_TILES_NEAR[i], tiles(a, b), 5) == goal[1].encode().tolist()
        assert told(xland_rulesets.RULE_AGENT_NEAR[i], tiles(a, c), 7) == rule[0].encode().tolist()
        assert told(xland_rulesets.RULE_TILES_NEAR[i], tiles(a, b, c), 7) == rule[1].encode().tolist()


def test_encodings_are_the_packages():
    check_encodings()


def test_tiles_are_the_packages():
    from xminigrid.core import constants, goals, rules

    assert set(xland_rulesets.PICKABLE) == set(constants.PICKABLE.tolist())
    assert xland_rulesets.GOAL_TILE == constants.Tiles.GOAL
    assert (constants.Tiles.FLOOR, constants.Colors.BLACK) == xland_rulesets.NOTHING
    assert len(set(xland_rulesets.COLOURS)) == 10 and not {0, 7} & set(xland_rulesets.COLOURS)
    assert (xland.TILES, xland.COLOURS, xland.ACTIONS) == (13, 12, constants.NUM_ACTIONS)
    assert (constants.NUM_TILES, constants.NUM_COLORS) == (13, 12)
    assert (goals.NUM_GOALS, rules.NUM_RULES) == (xland.GOALS, xland.RULES)


def makeable(objects, its_rules):
    """All tiles that there can ever be: those at the beginning, and what rules make of them."""
    have = {tuple(tile) for tile in objects.tolist()} - {(0, 0)}
    for _ in its_rules:
        for kind, *numbers in its_rules.tolist():
            tiles = [tuple(numbers[i : i + 2]) for i in (0, 2, 4)]
            takes = 2 if kind in xland_rulesets.RULE_TILES_NEAR else 1
            if kind and set(tiles[:takes]) <= have:
                have.add(tiles[takes])
    return have


def check_attainable():
    """Of every recipe: the goal's tiles are there, or can be made; and in all but the trivial some have to be."""
    for name, recipe in RECIPES.items():
        made = generate(recipe, 60, 0)
        hidden = 0
        for goal, its_rules, objects in zip(*made, strict=True):
            needed = {tuple(goal[i : i + 2].tolist()) for i in (1, 3)} - {(0, 0)}
            assert needed <= makeable(objects, its_rules), (name, goal)
            hidden += not needed <= {tuple(tile) for tile in objects.tolist()}
        assert (hidden > 30) == (name != "trivial")
        assert (made[2][:, :, 0] > 0).sum(1).min() >= recipe.distractor_objects + 1


def test_every_goal_can_be_attained():
    check_attainable()


def attained_by(goal):
    """The situation that attains a goal: for two tiles on given sides, which is above or right of which."""
    kind, *numbers = (int(x) for x in goal)
    a, b = tuple(numbers[:2]), tuple(numbers[2:])
    match kind:
        case 4:
            return "next to", frozenset([a, b]), a == b
        case 7:
            return "above", b, a
        case 9:
            return "above", a, b
        case 8:
            return "right", b, a
        case 10:
            return "right", a, b
    return kind, a


def check_meanings():
    goals, rules, _ = generate(RECIPES["trivial"], 2000, 0)
    assert rules.shape == (2000, 0, 7) and len({attained_by(goal) for goal in goals}) == 2000


def test_no_two_rulesets_say_the_same_in_other_words():
    check_meanings()


def check_divided():
    """Either part has goals of all kinds."""
    known = rulesets("trivial", 2000, 0)
    assert known.test.sum() == 400
    near = np.isin(known.goals[:, 0], xland_rulesets.GOAL_TILES_NEAR)
    assert 0.9 < near[known.test].mean() / near[~known.test].mean() < 1.1


def test_goals_of_all_kinds_are_on_either_side():
    check_divided()


def check_splits():
    family = XLand(rulesets=100)
    known = family.known
    for split in ("train", "test"):
        drawn = jax.jit(jax.vmap(lambda k, s=split: family.sample(k, s)))(jax.random.split(KEY, 1500))
        theirs = {tuple(row) for row in np.asarray(drawn.goal).tolist()}
        assert theirs == {tuple(row) for row in known.goals[known.test == (split == "test")].tolist()}


def test_tasks_are_drawn_from_their_split():
    check_splits()


def test_rulesets_are_kept_and_made_again_where_they_are_damaged(cache):
    first = rulesets("small", 20, 3)
    [path] = cache.iterdir()
    kept = path.read_bytes()
    for damaged in (kept[:-1], kept[:-1] + b"?", b"", kept[:64]):
        path.write_bytes(damaged)
        rulesets.cache_clear()
        assert rulesets("small", 20, 3).fingerprint == first.fingerprint and path.read_bytes() == kept
    path.write_bytes(kept.replace(b"rules", b"selur"))
    assert rulesets("small", 20, 4).fingerprint != first.fingerprint


def test_without_a_cache_they_are_made_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(rulesets("trivial", 5, 0).goals) == 5


# --- episodes -------------------------------------------------------------------------------------------


def check_episodes():
    """200 random episodes against the package's own environment, rules included."""
    import xminigrid

    family = XLand(benchmark="small", rulesets=40, episode_steps=30)
    env, params = xminigrid.make("XLand-MiniGrid-R1-9x9")
    params = params.replace(max_steps=30)

    def ours(task, key, actions):
        state, obs = family.reset(key, task)

        def row(state, action):
            state, outcome = family.step(key, state, action, task)
            return state, outcome

        return obs, jax.lax.scan(row, state, actions)[1]

    def theirs(task, key, actions):
        ruleset = params.ruleset.replace(goal=task.goal, rules=task.rules, init_tiles=task.objects)
        its_params = params.replace(ruleset=ruleset)
        first = env.reset(its_params, key)

        def row(state, action):
            state = env.step(its_params, state, action)
            return state, state

        return first, jax.lax.scan(row, first, actions)[1]

    keys = jax.random.split(KEY, 200)
    tasks = jax.vmap(lambda k: family.sample(k, "train"))(keys)
    actions = jax.random.randint(KEY, (200, 30), 0, 6)
    (obs, outcome), (first, after) = jax.jit(lambda *x: (jax.vmap(ours)(*x), jax.vmap(theirs)(*x)))(
        tasks, keys, actions
    )
    np.testing.assert_array_equal(read(obs)[0], first.observation)
    tiles, direction = read(outcome.obs)
    np.testing.assert_array_equal(tiles, after.observation)
    np.testing.assert_array_equal(direction, after.state.agent.direction)
    np.testing.assert_array_equal(outcome.reward, after.reward)
    # Goals may be attained again after the end; what counts is the first time, and the thirtieth step.
    attained = np.asarray(after.discount) == 0
    np.testing.assert_array_equal(outcome.terminated, attained)
    np.testing.assert_array_equal(outcome.success, attained)
    last = np.asarray(after.step_type) == 2
    np.testing.assert_array_equal(outcome.truncated, last & ~attained)
    assert attained.any() and np.asarray(outcome.truncated)[:, -1].any()
    assert not np.asarray(outcome.truncated)[:, :-1].any()


def read(obs):
    """Tiles [..., 5, 5, 2] and direction of observations [..., 629]."""
    obs = np.asarray(obs)
    tiles = obs[..., :-4].reshape(*obs.shape[:-1], 5, 5, 25)
    assert (tiles[..., :13].sum(-1) == 1).all() and (tiles[..., 13:].sum(-1) == 1).all()
    return np.stack([tiles[..., :13].argmax(-1), tiles[..., 13:].argmax(-1)], -1), obs[..., -4:].argmax(-1)


def test_episodes_are_the_packages():
    check_episodes()


def test_picking_up_the_ball_by_hand():
    """A red ball two tiles ahead: it is seen there, and held after a step forward and a grasp, for 1 − 0.9 · 2/243."""
    family = XLand(rulesets=10)
    ball = jnp.array([3, 1], jnp.uint8)
    task = Ruleset(
        jnp.array([1, 3, 1, 0, 0], jnp.uint8), jnp.zeros((0, 7), jnp.uint8), jnp.zeros((5, 2), jnp.uint8)
    )
    state, _ = family.reset(KEY, task)
    agent = state.state.agent.replace(position=jnp.array([5, 4]), direction=jnp.int32(0))
    state = state.replace(state=state.state.replace(agent=agent, grid=state.state.grid.at[3, 4].set(ball)))
    step = jax.jit(family.step)
    state, turned = step(KEY, state, jnp.int32(RIGHT), task)
    assert read(turned.obs)[1] == 1  # two tiles to the left
    np.testing.assert_array_equal(np.argwhere((read(turned.obs)[0] == [3, 1]).all(-1)), [[4, 0]])
    state, turned = step(KEY, state, jnp.int32(LEFT), task)
    np.testing.assert_array_equal(read(turned.obs)[0][2, 2], [3, 1])  # the agent is in the last row's middle
    state, moved = step(KEY, state, jnp.int32(FORWARD), task)
    np.testing.assert_array_equal(read(moved.obs)[0][3, 2], [3, 1])
    assert moved.reward == 0 and not moved.terminated
    state, held = step(KEY, state, jnp.int32(PICK_UP), task)
    np.testing.assert_allclose(held.reward, 1 - 0.9 * 4 / 243, rtol=1e-6)
    assert held.terminated and held.success and not held.truncated


def test_features_tell_the_goal_and_the_rules():
    family = XLand(benchmark="small", rulesets=20)
    tasks = jax.vmap(lambda k: family.sample(k, "train"))(jax.random.split(KEY, 50))
    told = np.asarray(jax.vmap(family.features)(tasks))
    assert told.shape == (50, family.spec.features)
    as_bytes = lambda rows: [row.tobytes() for row in rows]  # noqa: E731
    both = np.concatenate([np.asarray(tasks.goal), np.asarray(tasks.rules).reshape(50, -1)], 1)
    assert len(set(as_bytes(told))) == len(set(as_bytes(both))) > 1


def test_a_learner_trains_on_it(tmp_path):
    family = XLand(rulesets=10, episode_steps=3, episodes=2)
    run = ax.train(ax.RL2(tasks=2, hidden=8, minibatches=1), family, updates=1, directory=tmp_path / "run")
    assert run.updates == 1 and describe(family)["fingerprint"] == family.fingerprint
    assert rebuild(describe(family)) == ax.load(tmp_path / "run").family == family


def test_the_listed_spec_is_the_default_members():
    assert ENTRIES["xland"].listed == XLand().spec


# --- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, says",
    [
        (
            {"env": "XLand-MiniGrid-R1-9x8"},
            "no grid 'XLand-MiniGrid-R1-9x8'; did you mean 'XLand-MiniGrid-R1-9x9'",
        ),
        ({"env": "MiniGrid-Empty-5x5"}, "no grid 'MiniGrid-Empty-5x5'"),
        ({"benchmark": "trivia"}, "no benchmark 'trivia'; did you mean 'trivial'"),
        ({"rulesets": 1}, "at least two rulesets"),
        ({"episodes": 0}, "one episode"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(fields, says):
    with pytest.raises(AdaptaxError, match=says):
        XLand(**fields)


def test_more_rulesets_than_there_are_cannot_be_had(monkeypatch):
    monkeypatch.setattr(xland_rulesets, "ATTEMPTS", 1)
    with pytest.raises(AdaptaxError, match=r"hardly more than .* different rulesets"):
        XLand(rulesets=3000)


def test_a_benchmark_of_the_package_is_read_or_said_to_be_missing(monkeypatch):
    from xminigrid import benchmarks

    whole = benchmarks.Benchmark(
        jnp.arange(50, dtype=jnp.uint8).reshape(10, 5), jnp.zeros((10, 1, 7), jnp.uint8),
        jnp.zeros((10, 4, 2), jnp.uint8), jnp.zeros((10, 1), jnp.uint8),
    )  # fmt: skip
    monkeypatch.setattr(benchmarks, "load_benchmark", lambda name: whole)
    family = XLand(benchmark="trivial-21k", rulesets=10)
    assert sorted(family.known.goals[:, 0].tolist()) == list(range(0, 50, 5)) and family.known.test.sum() == 2
    with pytest.raises(AdaptaxError, match="has 10 rulesets, not 11"):
        XLand(benchmark="trivial-21k", rulesets=11)

    def no_network(name):
        raise OSError("no route to host")

    monkeypatch.setattr(benchmarks, "load_benchmark", no_network)
    with pytest.raises(AdaptaxError, match=r"could not be downloaded \(no route to host\)"):
        XLand(benchmark="small-1m")


def test_without_xminigrid_the_user_is_told_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "xminigrid":
            raise ModuleNotFoundError("No module named 'xminigrid'", name="xminigrid")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        AdaptaxError, match=r"xminigrid is not installed; run: pip install 'adaptax\[xland\]'"
    ):
        XLand(env="XLand-MiniGrid-R4-9x9")
