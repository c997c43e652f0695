"""Task families: distributions over tasks, and the dynamics of each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptax.tasks.arrays import from_arrays
    from adaptax.tasks.bandits import BernoulliBandit, GaussianBandit
    from adaptax.tasks.base import Examples, HostFamily, SupervisedFamily, TaskFamily
    from adaptax.tasks.cartpole import CartPole
    from adaptax.tasks.functions import Quadratic, Sinusoid
    from adaptax.tasks.gymnasium import GymnasiumFamily
    from adaptax.tasks.point_navigation import PointNavigation, SparsePointNavigation
    from adaptax.tasks.tabular import TabularMDP

__all__ = [
    "BernoulliBandit",
    "CartPole",
    "Examples",
    "GaussianBandit",
    "GymnasiumFamily",
    "HostFamily",
    "PointNavigation",
    "Quadratic",
    "Sinusoid",
    "SparsePointNavigation",
    "SupervisedFamily",
    "TabularMDP",
    "TaskFamily",
    "from_arrays",
]

# Imported when first used: worker processes need none of it, and start without JAX.
_PLACES = {
    "BernoulliBandit": "adaptax.tasks.bandits",
    "CartPole": "adaptax.tasks.cartpole",
    "GaussianBandit": "adaptax.tasks.bandits",
    "GymnasiumFamily": "adaptax.tasks.gymnasium",
    "HostFamily": "adaptax.tasks.base",
    "PointNavigation": "adaptax.tasks.point_navigation",
    "SparsePointNavigation": "adaptax.tasks.point_navigation",
    "TabularMDP": "adaptax.tasks.tabular",
    "TaskFamily": "adaptax.tasks.base",
    "Examples": "adaptax.tasks.base",
    "Quadratic": "adaptax.tasks.functions",
    "Sinusoid": "adaptax.tasks.functions",
    "SupervisedFamily": "adaptax.tasks.base",
    "from_arrays": "adaptax.tasks.arrays",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PLACES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
