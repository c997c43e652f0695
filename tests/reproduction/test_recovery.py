"""What a change in mid-episode costs, and what is left of it at last: by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Steer

from adaptax.algorithms.mrlm import MRLM
from adaptax.reproduction import perturbation
from adaptax.reproduction.perturbation import OFTEN, SELDOM, TOLD, recovery, simulated, told
from adaptax.tasks.pendulum import Pendulum
from adaptax.tasks.perturbed import Perturbed
from adaptax.training.progress import silent
from adaptax.training.train import train

RNG = np.random.default_rng(0)


def returns(*phases: float, noise: float = 0.01) -> np.ndarray:
    """[5, 20, phases]: close to what is given."""
    return np.array(phases) + noise * RNG.standard_normal((5, 20, len(phases)))


def claims(often: np.ndarray, seldom: np.ndarray) -> list[bool]:
    return [claim.holds for claim in recovery({"it breaks": {OFTEN: often, SELDOM: seldom}}, 16_000.0).claims]


@pytest.mark.parametrize(
    ("often", "seldom", "holds"),
    [
        ((-300, -10, -110, -15), (-300, -10, -400, -400), [True, True]),
        # A fifth of what the change costs is still missing.
        ((-300, -10, -110, -30), (-300, -10, -400, -400), [False, True]),
        # It recovers with few fits too.
        ((-300, -10, -110, -15), (-300, -10, -110, -15), [True, False]),
        # Nothing was lost, so that nothing may be missing.
        ((-300, -10, -9, -15), (-300, -10, -400, -400), [False, True]),
    ],
)
def test_recovery(often, seldom, holds):
    assert claims(returns(*often), returns(*seldom)) == holds


def test_what_is_missing_must_be_known():
    """A twentieth is missing on average, but it could be a fifth."""
    often = returns(-300, -10, -110, -15)
    often[:, :, -1] += returns(0.0, noise=50.0)[:, :, 0]
    assert not claims(often, returns(-300, -10, -400, -400))[0]


def test_what_is_told():
    """Cost 100, of which 5 are missing; worth 385 at last."""
    ways = {
        OFTEN: returns(-300, -10, -110, -15),
        SELDOM: returns(-300, -10, -400, -400),
        TOLD: returns(-100, -1, -30, -5),
    }
    found = recovery({"it breaks": ways}, 16_000.0)
    first, second = (claim.sentence for claim in found.claims)
    assert "it costs +100.0 [" in first and "+5.0 [" in first
    assert "worth +385.0 [" in second
    (table,) = found.tables
    assert table.columns == (
        "",
        "steps 0–100",
        "steps 100–200",
        "steps 200–300",
        "steps 300–400",
        "lead at last",
    )
    assert [row[1:5] for row in table.rows] == [
        ("-300.0", "-10.0", "-110.0", "-15.0"),
        ("-300.0", "-10.0", "-400.0", "-400.0"),
        ("-100.0", "-1.0", "-30.0", "-5.0"),
    ]
    leads = [row[-1].split(" ")[0] for row in table.rows]
    assert leads == ["", "+385.0", "-10.0"]


@pytest.mark.parametrize(("task", "expected"), [(1.0, (-0.5, -3.5, -1.5)), (-1.0, (-3.5, -0.5, -2.5))])
def test_the_family_itself_tells_what_sequences_pay(task, expected):
    """A point that moves by half of the action, or against it, is paid minus its distance from 1: from 0 on, two steps."""
    sequences = jnp.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])[..., None]
    score = simulated(Steer(), jnp.array(task), jnp.zeros(()), jax.random.key(0))
    np.testing.assert_allclose(score(sequences), expected, rtol=1e-5)


def test_who_is_told_of_a_change_holds_the_pendulum_up(monkeypatch):
    """And who believes that nothing has changed throws it down for good."""
    monkeypatch.setattr(perturbation, "TASKS", 2)
    runs = [train(MRLM(), Pendulum(), 0, seed, report=silent) for seed in range(2)]
    family = Perturbed(Pendulum(horizon=200), "gain", -1.0, at=0)
    at_once, never = (told(runs, family, late) for late in (0, family.family.horizon))
    assert at_once.shape == never.shape == (2, 2, 2)
    assert at_once[:, :, 1].min() > -50 and never[:, :, 1].max() < -200
