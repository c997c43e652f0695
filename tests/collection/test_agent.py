"""The agent does what the collector does, one step at a time, in numpy."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax import keys
from adaptax.algorithms.algorithm_distillation import AlgorithmDistillation
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.metanet import MetaNet
from adaptax.algorithms.mrlm import MRLM
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.pearl import PEARL
from adaptax.algorithms.promp import ProMP
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.snail import SNAIL
from adaptax.algorithms.transformer import Transformer
from adaptax.algorithms.varibad import VariBAD
from adaptax.collection.agent import Agent
from adaptax.collection.collect import collect_task
from adaptax.errors import AdaptaxError
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.types import Discrete, Spec

FAMILY = PointNavigation(horizon=5)
ALGORITHMS = {
    "rl2": RL2(hidden=8),
    "maml": MAML(streams=3, hidden=(8,)),
    "promp": ProMP(streams=3, hidden=(8,)),
    "snail": SNAIL(hidden=8, filters=4, keys=4, values=4),
    "transformer": Transformer(width=8, heads=2, context=7),
    "varibad": VariBAD(hidden=8),
    "pearl": PEARL(hidden=(8,)),
    "metanet": MetaNet(streams=3, hidden=(8,)),
    "algorithm-distillation": AlgorithmDistillation(width=8, heads=2, layers=1),
}


def made(name: str):
    algorithm = ALGORITHMS[name].build(FAMILY.spec)
    return algorithm, algorithm.learner.init(jax.random.key(1))


def play(agent: Agent, task: jax.Array, layout, key) -> list[float]:
    """Meets a task with the collector's own resets and steps; returns the rewards."""
    rewards = []
    for k in range(layout.rounds):
        for n in range(layout.streams):
            stream_key, t = keys.stream(key, k, n), 0
            for _ in range(layout.episodes):
                state, obs = FAMILY.reset(keys.row(stream_key, t, keys.RESET), task)
                over, elapsed = False, 0
                while not over:
                    action = jnp.asarray(agent.act(np.asarray(obs)))
                    state, out = FAMILY.step(keys.row(stream_key, t, keys.STEP), state, action, task)
                    t, elapsed = t + 1, elapsed + 1
                    truncated = elapsed == FAMILY.spec.episode_steps
                    agent.observe(float(out.reward), bool(out.terminated), truncated, np.asarray(out.obs))
                    over, obs = bool(out.terminated) or truncated, out.obs
                    rewards.append(float(out.reward))
    return rewards


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_agent_gives_the_lifetime_of_the_collector(name):
    algorithm, theta = made(name)
    layout = dataclasses.replace(algorithm.test_layout(6), rounds=2)
    task, seed = jnp.array([0.3, -0.2]), 4
    key = jax.random.key(seed)
    fast = algorithm.learner.begin(theta, keys.begin(key), None)
    rounds, _, _ = collect_task(algorithm.learner, FAMILY, theta, fast, task, layout, key, False)
    valid = np.asarray(rounds.valid)
    agent = Agent(algorithm.learner, layout, FAMILY.spec, theta, seed)
    rewards = play(agent, task, layout, key)
    np.testing.assert_allclose(rewards, np.asarray(rounds.reward)[valid], rtol=2e-4, atol=1e-5)
    assert agent.adaptations == 2
    assert agent.episodes == layout.rounds * layout.streams * layout.episodes


def test_an_agent_adapts_in_mid_episode_as_the_collector_does():
    """Rounds of three steps, episodes of five."""
    config = MRLM(hidden=(8,), horizon=3, candidates=8, window=6, inner_steps=1, adapt_every=3)
    algorithm = config.build(FAMILY.spec)
    theta = algorithm.learner.init(jax.random.key(1))
    layout, task, key = algorithm.test_layout(3), jnp.array([0.3, -0.2]), jax.random.key(4)
    fast = algorithm.learner.begin(theta, keys.begin(key), None)
    rounds, _, _ = collect_task(algorithm.learner, FAMILY, theta, fast, task, layout, key, False)
    agent = Agent(algorithm.learner, layout, FAMILY.spec, theta, 4)
    rewards, elapsed = [], 0
    state, obs = FAMILY.reset(keys.row(keys.stream(key, 0, 0), 0, keys.RESET), task)
    for k in range(layout.rounds):
        stream_key = keys.stream(key, k, 0)
        for t in range(layout.steps):
            action = jnp.asarray(agent.act(np.asarray(obs)))
            state, out = FAMILY.step(keys.row(stream_key, t, keys.STEP), state, action, task)
            elapsed = (elapsed + 1) % FAMILY.spec.episode_steps
            agent.observe(float(out.reward), bool(out.terminated), elapsed == 0, np.asarray(out.obs))
            rewards.append(float(out.reward))
            obs = out.obs
            if elapsed == 0:
                state, obs = FAMILY.reset(keys.row(stream_key, t + 1, keys.RESET), task)
    np.testing.assert_allclose(rewards, np.asarray(rounds.reward).reshape(-1), rtol=2e-4, atol=1e-5)
    assert (agent.adaptations, agent.episodes) == (layout.rounds, 3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_saved_agent_goes_on_as_if_it_had_not_been_away(name, tmp_path):
    algorithm, theta = made(name)
    layout = algorithm.test_layout(6)
    agent = Agent(algorithm.learner, layout, FAMILY.spec, theta, 0)
    rng = np.random.default_rng(0)

    def episodes(agents, number):
        for _ in range(number):
            for t in range(5):
                obs, reward = rng.normal(size=2), float(rng.normal())
                actions = [a.act(obs) for a in agents]
                assert all((a == actions[0]).all() for a in actions)
                for a in agents:
                    a.observe(reward, False, t == 4, rng.normal(size=2) * 0)

    episodes([agent], 4)
    agent.save(tmp_path / "agent.safetensors")
    other = Agent(algorithm.learner, layout, FAMILY.spec, theta, 9).load(tmp_path / "agent.safetensors")
    assert other.episodes == 4
    episodes([agent, other], 5)


def test_what_an_agent_has_learned_goes_to_no_other_learner(tmp_path):
    algorithm, theta = made("maml")
    layout = algorithm.test_layout(6)
    Agent(algorithm.learner, layout, FAMILY.spec, theta).save(tmp_path / "agent")
    other = Agent(algorithm.learner, layout, FAMILY.spec, algorithm.learner.init(jax.random.key(2)))
    with pytest.raises(AdaptaxError, match="of another learner"):
        other.load(tmp_path / "agent")


def test_a_masked_action_is_never_taken():
    spec = Spec("masked", (2,), Discrete(4), 5, 2, masked=True)
    algorithm = RL2(hidden=8).build(spec)
    agent = Agent(algorithm.learner, algorithm.layout, spec, algorithm.learner.init(jax.random.key(0)))
    taken = set()
    for _ in range(30):
        taken.add(agent.act(np.zeros(2), action_mask=[True, False, True, False]))
        agent.observe(0.0, False, False, np.zeros(2))
    assert taken == {0, 2}
    with pytest.raises(AdaptaxError, match="needs the action_mask"):
        agent.act(np.zeros(2))


def test_misuse_gets_a_sentence(tmp_path):
    algorithm, theta = made("rl2")
    agent = Agent(algorithm.learner, algorithm.layout, FAMILY.spec, theta)
    with pytest.raises(AdaptaxError, match=r"before agent\.act"):
        agent.observe(0.0, False, False, np.zeros(2))
    with pytest.raises(AdaptaxError, match=r"shape \(3,\)"):
        agent.act(np.zeros(3))
    with pytest.raises(AdaptaxError, match="NaN"):
        agent.act(np.array([np.nan, 0.0]))
    agent.act(np.zeros(2))
    with pytest.raises(AdaptaxError, match="finite"):
        agent.observe(float("nan"), False, False, np.zeros(2))
    oracle = MultiTask(told=True).build(FAMILY.spec)
    with pytest.raises(AdaptaxError, match="oracle"):
        Agent(oracle.learner, oracle.layout, FAMILY.spec, oracle.learner.init(jax.random.key(0)))


def test_actions_are_in_the_environments_units():
    algorithm, theta = made("maml")
    agent = Agent(algorithm.learner, algorithm.layout, FAMILY.spec, theta)
    actions = np.stack([agent.act(np.zeros(2)) for _ in range(3)])
    assert (np.abs(actions) <= 0.1 + 1e-6).all()
    assert (actions == actions[0]).all(), "the same row draws the same action"
