"""Task families: distributions over tasks, and the dynamics of each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptax.tasks.bandits import BernoulliBandit, GaussianBandit
    from adaptax.tasks.base import HostFamily, TaskFamily
    from adaptax.tasks.cartpole import CartPole
    from adaptax.tasks.gymnasium import GymnasiumFamily
    from adaptax.tasks.point_navigation import PointNavigation, SparsePointNavigation
    from adaptax.tasks.tabular import TabularMDP

__all__ = [
    "BernoulliBandit",
    "CartPole",
    "GaussianBandit",
    "GymnasiumFamily",
    "HostFamily",
    "PointNavigation",
    "SparsePointNavigation",
    "TabularMDP",
    "TaskFamily",
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
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PLACES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
