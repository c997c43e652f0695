"""Strategies on scores that are known, without any training; fronts and schedules by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptax.algorithms.maml import MAML
from adaptax.algorithms.protonet import ProtoNet
from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.algorithms.rl2 import RL2
from adaptax.errors import AdaptaxError
from adaptax.search.bayes import Bayes
from adaptax.search.evolution import Evolution
from adaptax.search.halving import Halving, Rung
from adaptax.search.pareto import front, order
from adaptax.search.random_search import RandomSearch
from adaptax.search.record import Proposal, Trial
from adaptax.search.space import Space, identity, settings, space_of
from adaptax.search.strategies import strategy
from adaptax.search.strategy import Request, Strategy
from adaptax.tasks.omniglot import Omniglot
from adaptax.tasks.point_navigation import PointNavigation

SPACE = Space({name: (0, 1, 2, 3, 4) for name in "abcde"})
NAN = math.nan


def distance(genes) -> float:
    """The best candidate has 3 everywhere; others miss it by as much as their genes do."""
    return -float(sum(abs(x - 3) for x in genes.values()))


def request(
    history: list[Trial], trials: int = 40, updates: int = 9, space: Space = SPACE, cost=None
) -> Request:
    return Request(space, trials, updates, len(history), history, {t.identity for t in history}, cost)


def trials_of(of: Strategy, dice: int, trials: int = 40) -> list[Trial]:
    """A whole search, one trial after another."""
    history: list[Trial] = []
    while True:
        proposal = of.propose(request(history, trials), np.random.default_rng([dice, len(history)]))
        if proposal is None:
            return history
        # After less training scores are less sure, but not biased.
        noise = np.random.default_rng([7, len(history)]).normal() * (9 - proposal.updates) / 9
        history.append(
            Trial(len(history), proposal.genes, proposal.updates, distance(proposal.genes) + noise)
        )


def best(history: list[Trial]) -> float:
    longest = max(t.updates for t in history)
    chosen = max((t for t in history if t.updates == longest), key=lambda t: t.score)
    return distance(chosen.genes)


def check_front() -> None:
    """Points (score, cost): the second costs more and brings less than the first, the fourth failed."""
    scores, costs = [3.0, 2.0, 5.0, NAN, 3.0, 1.0], [10.0, 11.0, 30.0, 1.0, 10.0, 5.0]
    assert front(scores, costs).tolist() == [True, False, True, False, True, True]
    assert order(scores).tolist() == [2, 0, 4, 1, 5, 3]
    assert order(scores, costs).tolist() == [2, 0, 4, 5, 1, 3]


def test_fronts_by_hand():
    check_front()


def check_schedule() -> None:
    """Budget 9 × 9: 35·1 + 11·2 + 3·6 = 75 are paid for, 36·1 + 12·2 + 4·6 = 84 are not; of only 12, 12·1 + 12·2 + 7·6 = 78 are."""
    assert Halving().schedule(9, 9, 1000) == [Rung(35, 1), Rung(11, 3), Rung(3, 9)]
    assert Halving().schedule(9, 9, 12) == [Rung(12, 1), Rung(12, 3), Rung(7, 9)]
    assert Halving().schedule(1, 1, 12)[-1].updates == 1


def test_halving_schedule_by_hand():
    check_schedule()


def check_promotion() -> None:
    """A rung goes on with the best of the one before, the best first; a failed candidate is not among them."""
    history: list[Trial] = []
    for number in range(12):
        proposal = Halving().propose(request(history, trials=5), np.random.default_rng(number))
        assert proposal is not None and proposal.updates == 1
        score = NAN if number == 4 else float(number * 5 % 12)
        history.append(Trial(number, proposal.genes, 1, score, error="it crashed" if number == 4 else ""))
    small = Space({"a": (0, 1, 2, 3), "b": (0, 1, 2)})
    history = [
        Trial(i, genes, 1, t.score, error=t.error)
        for i, (genes, t) in enumerate(zip(small.all(), history, strict=True))
    ]
    chosen = []
    for number in range(12, 22):
        proposal = Halving().propose(request(history, 5, space=small), np.random.default_rng(number))
        assert proposal is not None
        chosen.append(proposal)
        history.append(Trial(number, proposal.genes, proposal.updates, float(number)))
    by_score = sorted(range(12), key=lambda i: -np.nan_to_num(history[i].score, nan=-1.0))
    assert chosen[:8] == [Proposal(history[i].genes, 3) for i in by_score[:8]]
    assert chosen[8:] == [Proposal(chosen[7].genes, 9), Proposal(chosen[6].genes, 9)]
    assert Halving().propose(request(history, 5, space=small), np.random.default_rng(0)) is None


def test_halving_goes_on_with_the_best():
    check_promotion()


def check_ageing() -> None:
    """The best candidate of all is the oldest, and has no children once eight younger ones are there."""
    history = [Trial(i, {name: i % 5 for name in "abcde"} | {"a": i}, 9, -float(i)) for i in range(9)]
    alive = Evolution().alive(request(history))
    assert [t.number for t in alive] == list(range(1, 9))
    forever = Evolution(ageing=False).alive(request(history))
    assert sorted(t.number for t in forever) == list(range(8))


def test_the_oldest_dies():
    check_ageing()


def test_a_child_differs_from_its_parent_in_one_gene():
    history = [Trial(i, {name: i % 5 for name in "abcde"}, 9, float(i)) for i in range(5)]
    evolution = Evolution(population=3, tournament=3)
    proposal = evolution.propose(request(history), np.random.default_rng(0))
    assert proposal is not None and sum(v != 4 for v in proposal.genes.values()) == 1
    one, other = dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 1)
    mixed = SPACE.crossover(np.random.default_rng(1), one, other)
    assert set(mixed.values()) == {0, 1}


@pytest.mark.parametrize("name", ["evolution", "genetic", "halving", "bayes"])
def test_strategies_beat_random_search(name):
    if name == "bayes":
        pytest.importorskip("optuna")
    repeats, trials = (range(8), 40) if name in ("evolution", "genetic") else (range(3), 20)
    found, at_random = (
        [best(trials_of(of, dice, trials)) for dice in repeats] for of in (strategy(name), RandomSearch())
    )
    assert np.mean(found) > np.mean(at_random) + 0.5


def test_no_candidate_is_tried_twice_as_long_as_there_are_others():
    space = Space({"a": (0, 1), "policy_depth": (0, 1), "policy_width": (8, 16)})
    assert len(list(space.all())) == 6 < space.size
    history: list[Trial] = []
    for number in range(6):
        proposal = Evolution(population=2).propose(
            request(history, 9, space=space), np.random.default_rng(number)
        )
        assert proposal is not None
        history.append(Trial(number, proposal.genes, 9, float(number)))
    assert len({t.identity for t in history}) == 6


def test_optuna_is_told_of_failures_and_of_two_objectives():
    pytest.importorskip("optuna")
    history = [
        Trial(
            i,
            g,
            9,
            NAN if i == 3 else distance(g),
            parameters=sum(g.values()),
            error="diverged" if i == 3 else "",
        )
        for i, g in enumerate(SPACE.sample(np.random.default_rng(i)) for i in range(10))
    ]
    one, again = (Bayes().propose(request(history), np.random.default_rng(5)) for _ in range(2))
    assert one is not None and one == again and identity(one.genes) not in {t.identity for t in history}
    both = Bayes().propose(request(history, cost="parameters"), np.random.default_rng(5))
    assert both is not None and set(both.genes) == set("abcde")


def test_spaces_hold_what_a_learner_can_be_built_with():
    """A few candidates of each make a learner; restrictions are read; without a network there is nothing to search."""
    learners = MAML(), RL2(), MAML(transductive=True), ProtoNet()
    for config, family in zip(
        learners, (PointNavigation(), PointNavigation(), Omniglot(), Omniglot()), strict=True
    ):
        space = space_of(config, family.spec)
        for i in range(3):
            fields = settings(space.sample(np.random.default_rng(i)))
            type(config)(**({f: getattr(config, f) for f in config.__dataclass_fields__} | fields)).build(
                family.spec
            )
    space = space_of(MAML(), PointNavigation().spec).restricted(["depth=1,4", "activation=relu"])
    assert space.choices["depth"] == (1, 4) and space.choices["activation"] == ("relu",)
    assert settings({"depth": 2, "width": 8, "activation": "tanh"}) == {
        "activation": "tanh",
        "hidden": (8, 8),
    }
    for wrong in ("dept=1", "depth=x", "activation=sigmoid"):
        with pytest.raises(AdaptaxError):
            space.restricted([wrong])
    with pytest.raises(AdaptaxError, match="no network"):
        space_of(RandomPolicy(), PointNavigation().spec)
    with pytest.raises(AdaptaxError, match="did you mean 'evolution'"):
        strategy("evolutio")
