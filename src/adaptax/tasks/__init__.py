"""Task families: distributions over tasks, and the dynamics of each."""

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
