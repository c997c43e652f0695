"""Adaptax: meta-reinforcement learning in JAX.

    import adaptax as ax
    family = ax.tasks.PointNavigation()
    run    = ax.train(ax.MAML(inner_lr=0.1), family, updates=200, seed=0, directory="runs/point")
    result = ax.evaluate(run, split="test", tasks=100)
    agent  = ax.load("runs/point").begin()
"""

from adaptax import tasks
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.algorithms.rl2 import RL2
from adaptax.collection.agent import Agent
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.training.load import load
from adaptax.training.progress import PlainProgress, Progress, silent
from adaptax.training.run import Run
from adaptax.training.train import resume, train

__version__ = "0.1.0"

__all__ = [
    "MAML",
    "RL2",
    "AdaptaxError",
    "Agent",
    "Evaluation",
    "MultiTask",
    "PlainProgress",
    "Progress",
    "RandomPolicy",
    "Run",
    "evaluate",
    "load",
    "resume",
    "silent",
    "tasks",
    "train",
]
