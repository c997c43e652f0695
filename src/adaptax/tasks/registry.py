"""The task families by their names on the command line, and how a run records the family it was trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from adaptax.errors import AdaptaxError, near
from adaptax.tasks.acrobot import Acrobot
from adaptax.tasks.arrays import ArrayTasks
from adaptax.tasks.bandits import BernoulliBandit, CorrelatedBandit, GaussianBandit, InformativeBandit
from adaptax.tasks.base import AnyFamily, HostFamily, JaxFamily, SupervisedFamily, TaskFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.cartpole_mountain_car import CartPoleMountainCar
from adaptax.tasks.functions import Fourier, Polynomial, Quadratic, Sinusoid, Steps
from adaptax.tasks.gridworld import GridWorld
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.tasks.gymnasium_contexts import GymnasiumContexts
from adaptax.tasks.gymnax import Gymnax
from adaptax.tasks.metaworld import ML1, ML10, ML25, ML45
from adaptax.tasks.mountain_car import MountainCar, MountainCarContinuous
from adaptax.tasks.mujoco import (
    AntDir,
    AntGoal,
    HalfCheetahDir,
    HalfCheetahVel,
    HopperParams,
    HumanoidDir,
    SwimmerVel,
    WalkerParams,
)
from adaptax.tasks.obstacle_navigation import ObstacleNavigation
from adaptax.tasks.omniglot import Omniglot
from adaptax.tasks.pendulum import Pendulum
from adaptax.tasks.point_navigation import PointNavigation, SparsePointNavigation
from adaptax.tasks.recommender import Recommender
from adaptax.tasks.recommender_slates import RecommenderSlates
from adaptax.tasks.references import import_reference, reference_to, without_arguments
from adaptax.tasks.restless_bandit import RestlessBandit
from adaptax.tasks.tabular import TabularMDP
from adaptax.tasks.text import Text
from adaptax.tasks.two_step import TwoStep
from adaptax.tasks.xland import XLand
from adaptax.types import Discrete, Spec

ARRAYS = "arrays"
"""What a run records of a family that was made of arrays in memory."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One family of the library."""

    cls: type[JaxFamily] | type[HostFamily]
    summary: str
    """One line."""
    listed: Spec | None = None
    """The spec of its default member, where that needs a package which may be absent, or takes seconds to import."""

    @property
    def spec(self) -> Spec:
        """Of its default member."""
        return self.cls().spec if self.listed is None else self.listed


def _cartpole(name: str) -> Spec:
    """The spec of CartPole with two parameters that vary."""
    return Spec(name, (4,), Discrete(2), episode_steps=500, episodes=3, features=2)


ENTRIES: dict[str, Entry] = {
    "bernoulli-bandit": Entry(
        BernoulliBandit, "arms that pay 1 with a hidden probability; an episode is a pull"
    ),
    "gaussian-bandit": Entry(GaussianBandit, "arms that pay a hidden mean plus noise; an episode is a pull"),
    "correlated-bandit": Entry(CorrelatedBandit, "two arms that pay with probabilities p and 1 − p"),
    "informative-bandit": Entry(InformativeBandit, "eleven arms; the poorest tells which one pays most"),
    "restless-bandit": Entry(RestlessBandit, "two arms whose probabilities drift, slowly or quickly"),
    "two-step": Entry(TwoStep, "neuroscience's two-step task: is a learner model-based?"),
    "tabular-mdp": Entry(TabularMDP, "random Markov decision processes of 10 states and 5 actions"),
    "gridworld": Entry(GridWorld, "a hidden goal on a grid of 5 × 5 cells, to be searched for"),
    "point-navigation": Entry(PointNavigation, "a point moves to a hidden goal in the plane; dense reward"),
    "sparse-navigation": Entry(
        SparsePointNavigation,
        "a hidden goal on a half circle, paid only near it; meta-train with reward=peaked",
    ),
    "obstacle-navigation": Entry(
        ObstacleNavigation, "motion planning: a point finds its way between walls that it does not know"
    ),
    "cartpole": Entry(CartPole, "CartPole with hidden gravity, masses, length, force and direction"),
    "mountain-car": Entry(MountainCar, "MountainCar with hidden gravity, power, goal and direction"),
    "mountain-car-continuous": Entry(
        MountainCarContinuous, "the same with a real action; to arrive pays 100, power costs"
    ),
    "acrobot": Entry(Acrobot, "Acrobot with hidden lengths, masses, torque and direction"),
    "pendulum": Entry(Pendulum, "Pendulum with hidden gravity, mass, length, gain and direction"),
    "cartpole-mountain-car": Entry(
        CartPoleMountainCar, "two environments in one: CartPole or MountainCar, padded and masked"
    ),
    "gymnax": Entry(
        Gymnax,
        "any environment of gymnax: name parameters and ranges; by default CartPole's length and force",
        _cartpole("gymnax"),
    ),
    "gymnasium": Entry(
        GymnasiumContexts,
        "any environment of Gymnasium: name attributes and ranges; by default CartPole's length and force",
        _cartpole("gymnasium"),
    ),
    "xland": Entry(
        XLand,
        "XLand-MiniGrid: a hidden goal, and hidden rules that turn objects into others, on a grid",
        Spec("xland", (629,), Discrete(6), episode_steps=243, episodes=4, features=65, ood=False),
    ),
    "half-cheetah-dir": Entry(HalfCheetahDir, "MuJoCo: a cheetah is to run forwards or backwards"),
    "half-cheetah-vel": Entry(HalfCheetahVel, "MuJoCo: a cheetah is to run at a hidden speed"),
    "ant-dir": Entry(AntDir, "MuJoCo: an ant is to run forwards or backwards, or in any direction"),
    "ant-goal": Entry(AntGoal, "MuJoCo: an ant is to walk to a hidden place"),
    "walker-params": Entry(
        WalkerParams, "MuJoCo: a walker with hidden masses, inertias, dampings, frictions"
    ),
    "hopper-params": Entry(
        HopperParams, "MuJoCo: a hopper with hidden masses, inertias, dampings, frictions"
    ),
    "humanoid-dir": Entry(HumanoidDir, "MuJoCo: a humanoid is to walk in a hidden direction"),
    "swimmer-vel": Entry(SwimmerVel, "MuJoCo: a swimmer is to swim at a hidden speed"),
    "metaworld-ml1": Entry(ML1, "Meta-World: a robot arm, one environment, hidden goals"),
    "metaworld-ml10": Entry(ML10, "Meta-World: ten environments for training, five others for testing"),
    "metaworld-ml25": Entry(ML25, "Meta-World: 25 environments for training, four others for testing"),
    "metaworld-ml45": Entry(ML45, "Meta-World: 45 environments for training, five others for testing"),
    "sinusoid": Entry(Sinusoid, "regression: a sine wave of hidden amplitude and phase from a few points"),
    "steps": Entry(Steps, "regression: a function of three hidden levels, from a few points"),
    "polynomial": Entry(Polynomial, "regression: a polynomial of hidden coefficients, from a few points"),
    "fourier": Entry(
        Fourier, "regression: a sum of sines of hidden amplitudes and phases, from a few points"
    ),
    "omniglot": Entry(Omniglot, "images: N handwritten characters, K drawings of each; real data"),
    "quadratic": Entry(Quadratic, "optimization: a random quadratic in ten dimensions, to be minimised"),
    "recommender": Entry(
        Recommender,
        "regression: what will a new user say of films, given few ratings; real data, or your own CSV",
    ),
    "recommender-slates": Entry(
        RecommenderSlates,
        "recommend one of five films that a user has rated; his rating is the reward; real data",
    ),
    "text": Entry(
        Text, "classification: intents of sentences from a few examples; real data, or your own CSV"
    ),
}


def make_family(reference: str, fields: dict[str, Any] | None = None) -> AnyFamily:
    """The family that a reference names: `NAME`, `NAME:FILE` for families of data, `gymnasium:MODULE:CLASS` or `jax:MODULE:CLASS`.

    `fields` override those of a family of the library. Raises AdaptaxError where there is none of that name.
    """
    kind, _, rest = reference.partition(":")
    if kind == ARRAYS:
        raise AdaptaxError(
            f"The family '{rest}' was made of arrays in memory, which a run does not keep; make it again with "
            "ax.tasks.from_arrays and hand it over: ax.load(DIR, family=...)."
        )
    if kind == "gymnasium" and rest:
        return GymnasiumFamily.from_reference(rest)
    if kind == "jax":
        family, _ = import_reference(rest)
        family = without_arguments(family) if isinstance(family, type) else family
        if isinstance(family, ArrayTasks):
            family.reference = reference
        if not isinstance(family, TaskFamily | SupervisedFamily):
            raise AdaptaxError(
                f"{rest} is no adaptax.tasks.TaskFamily; `adaptax new-family FILE --jax` writes a template."
            )
        return family
    if kind not in ENTRIES:
        names = [*ENTRIES, "gymnasium:MODULE:CLASS", "jax:MODULE:CLASS"]
        raise AdaptaxError(
            f"There is no task family '{kind}'; {near(kind, ENTRIES)}there are: {', '.join(names)}."
        )
    cls, fields = ENTRIES[kind].cls, dict(fields or {})
    if rest:
        if "file" not in getattr(cls, "__dataclass_fields__", {}):
            raise AdaptaxError(f"The family '{kind}' takes no file, but '{rest}' was given; leave it out.")
        fields["file"] = rest
    return cls(**fields)


def describe(family: AnyFamily) -> dict[str, Any]:
    """How `rebuild` makes the family again: JSON values."""
    if isinstance(family, GymnasiumFamily):
        return {"reference": f"gymnasium:{family.reference}"}
    cls = type(family)
    if isinstance(family, ArrayTasks):
        return {"reference": family.reference or f"{ARRAYS}:{family.name}", "fingerprint": family.fingerprint}
    fields = dataclasses.asdict(family) if dataclasses.is_dataclass(family) else {}
    of_data = {"fingerprint": family.fingerprint} if hasattr(cls, "fingerprint") else {}  # type: ignore[attr-defined]
    for name, entry in ENTRIES.items():
        if cls is entry.cls:
            return {"reference": name, "fields": fields, **of_data}
    return {"reference": f"jax:{reference_to(cls)}", "fields": fields}


def check_same(record: dict[str, Any], family: AnyFamily | None, directory: Path) -> None:
    """AdaptaxError where a family of arrays is not the one of the record."""
    if isinstance(family, ArrayTasks) and family.fingerprint != record.get("fingerprint", family.fingerprint):
        raise AdaptaxError(
            f"The run in {directory} was trained on other arrays than those of {family!r}; hand over the family that it was "
            "trained on, and others as evaluate(..., family=...)."
        )


def rebuild(record: dict[str, Any]) -> AnyFamily:
    """The family that `describe` recorded."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in record.get("fields", {}).items()}
    reference = record["reference"]
    if reference.startswith("jax:") and fields:
        cls, _ = import_reference(reference[4:])
        return cls(**fields)
    family = make_family(reference, fields)
    fingerprint = getattr(family, "fingerprint", None)
    if reference in ENTRIES and fingerprint != record.get("fingerprint", fingerprint):
        raise AdaptaxError(
            f"The data of the run's family '{reference}' have changed since it was trained; restore them, or train again."
        )
    return family
