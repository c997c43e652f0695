"""Task families: distributions over tasks, and the dynamics of each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptax.tasks.acrobot import Acrobot
    from adaptax.tasks.arrays import from_arrays
    from adaptax.tasks.bandits import BernoulliBandit, CorrelatedBandit, GaussianBandit, InformativeBandit
    from adaptax.tasks.base import Examples, HostFamily, SupervisedFamily, TaskFamily
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
    from adaptax.tasks.perturbed import Perturbed
    from adaptax.tasks.point_navigation import PointNavigation, SparsePointNavigation
    from adaptax.tasks.recommender import Recommender
    from adaptax.tasks.recommender_slates import RecommenderSlates
    from adaptax.tasks.restless_bandit import RestlessBandit
    from adaptax.tasks.tabular import TabularMDP
    from adaptax.tasks.text import Text
    from adaptax.tasks.two_step import TwoStep
    from adaptax.tasks.word_vectors import sentence_vectors
    from adaptax.tasks.xland import XLand

__all__ = [
    "ML1",
    "ML10",
    "ML25",
    "ML45",
    "Acrobot",
    "AntDir",
    "AntGoal",
    "BernoulliBandit",
    "CartPole",
    "CartPoleMountainCar",
    "CorrelatedBandit",
    "Examples",
    "Fourier",
    "GaussianBandit",
    "GridWorld",
    "GymnasiumContexts",
    "GymnasiumFamily",
    "Gymnax",
    "HalfCheetahDir",
    "HalfCheetahVel",
    "HopperParams",
    "HostFamily",
    "HumanoidDir",
    "InformativeBandit",
    "MountainCar",
    "MountainCarContinuous",
    "ObstacleNavigation",
    "Omniglot",
    "Pendulum",
    "Perturbed",
    "PointNavigation",
    "Polynomial",
    "Quadratic",
    "Recommender",
    "RecommenderSlates",
    "RestlessBandit",
    "Sinusoid",
    "SparsePointNavigation",
    "Steps",
    "SupervisedFamily",
    "SwimmerVel",
    "TabularMDP",
    "TaskFamily",
    "Text",
    "TwoStep",
    "WalkerParams",
    "XLand",
    "from_arrays",
    "sentence_vectors",
]

# Imported when first used: worker processes need none of it, and start without JAX.
_PLACES = {
    "Acrobot": "adaptax.tasks.acrobot",
    "BernoulliBandit": "adaptax.tasks.bandits",
    "CartPole": "adaptax.tasks.cartpole",
    "CartPoleMountainCar": "adaptax.tasks.cartpole_mountain_car",
    "CorrelatedBandit": "adaptax.tasks.bandits",
    "GaussianBandit": "adaptax.tasks.bandits",
    "GridWorld": "adaptax.tasks.gridworld",
    "GymnasiumContexts": "adaptax.tasks.gymnasium_contexts",
    "GymnasiumFamily": "adaptax.tasks.gymnasium",
    "Gymnax": "adaptax.tasks.gymnax",
    "HostFamily": "adaptax.tasks.base",
    "InformativeBandit": "adaptax.tasks.bandits",
    "ML1": "adaptax.tasks.metaworld",
    "ML10": "adaptax.tasks.metaworld",
    "ML25": "adaptax.tasks.metaworld",
    "ML45": "adaptax.tasks.metaworld",
    "MountainCar": "adaptax.tasks.mountain_car",
    "MountainCarContinuous": "adaptax.tasks.mountain_car",
    "AntDir": "adaptax.tasks.mujoco",
    "AntGoal": "adaptax.tasks.mujoco",
    "HalfCheetahDir": "adaptax.tasks.mujoco",
    "HalfCheetahVel": "adaptax.tasks.mujoco",
    "HopperParams": "adaptax.tasks.mujoco",
    "HumanoidDir": "adaptax.tasks.mujoco",
    "SwimmerVel": "adaptax.tasks.mujoco",
    "WalkerParams": "adaptax.tasks.mujoco",
    "ObstacleNavigation": "adaptax.tasks.obstacle_navigation",
    "Omniglot": "adaptax.tasks.omniglot",
    "Pendulum": "adaptax.tasks.pendulum",
    "Perturbed": "adaptax.tasks.perturbed",
    "PointNavigation": "adaptax.tasks.point_navigation",
    "Recommender": "adaptax.tasks.recommender",
    "RecommenderSlates": "adaptax.tasks.recommender_slates",
    "RestlessBandit": "adaptax.tasks.restless_bandit",
    "SparsePointNavigation": "adaptax.tasks.point_navigation",
    "TabularMDP": "adaptax.tasks.tabular",
    "TaskFamily": "adaptax.tasks.base",
    "Text": "adaptax.tasks.text",
    "TwoStep": "adaptax.tasks.two_step",
    "XLand": "adaptax.tasks.xland",
    "Examples": "adaptax.tasks.base",
    "Fourier": "adaptax.tasks.functions",
    "Polynomial": "adaptax.tasks.functions",
    "Quadratic": "adaptax.tasks.functions",
    "Sinusoid": "adaptax.tasks.functions",
    "Steps": "adaptax.tasks.functions",
    "SupervisedFamily": "adaptax.tasks.base",
    "from_arrays": "adaptax.tasks.arrays",
    "sentence_vectors": "adaptax.tasks.word_vectors",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PLACES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
