"""Adaptax: meta-reinforcement learning in JAX.

import adaptax as ax
family = ax.tasks.PointNavigation()
run    = ax.train(ax.MAML(inner_lr=0.1), family, updates=200, seed=0, directory="runs/point")
result = ax.evaluate(run, split="test", tasks=100)
agent  = ax.load("runs/point").begin()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptax import tasks
    from adaptax.algorithms.algorithm_distillation import AlgorithmDistillation
    from adaptax.algorithms.dqn import DQN
    from adaptax.algorithms.emaml import EMAML
    from adaptax.algorithms.gbml import GBML
    from adaptax.algorithms.l2o import L2O
    from adaptax.algorithms.l2o_es import EvolvedL2O
    from adaptax.algorithms.maml import MAML
    from adaptax.algorithms.maml_dqn import MAMLDQN
    from adaptax.algorithms.mer import MER
    from adaptax.algorithms.metanet import MetaNet
    from adaptax.algorithms.mrlm import MRLM
    from adaptax.algorithms.multi_task import MultiTask
    from adaptax.algorithms.pearl import PEARL
    from adaptax.algorithms.promp import ProMP
    from adaptax.algorithms.protonet import ProtoNet
    from adaptax.algorithms.random_policy import RandomPolicy
    from adaptax.algorithms.rebal import ReBAL
    from adaptax.algorithms.registry import defaults
    from adaptax.algorithms.reptile import Reptile
    from adaptax.algorithms.rl2 import RL2
    from adaptax.algorithms.snail import SNAIL
    from adaptax.algorithms.t_nas import TNAS
    from adaptax.algorithms.transformer import Transformer
    from adaptax.algorithms.varibad import VariBAD
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
    "DQN",
    "EMAML",
    "GBML",
    "L2O",
    "MAML",
    "MAMLDQN",
    "MER",
    "MRLM",
    "PEARL",
    "RL2",
    "SNAIL",
    "TNAS",
    "AdaptaxError",
    "Agent",
    "AlgorithmDistillation",
    "Evaluation",
    "EvolvedL2O",
    "MetaNet",
    "MultiTask",
    "PlainProgress",
    "ProMP",
    "Progress",
    "ProtoNet",
    "RandomPolicy",
    "ReBAL",
    "Reptile",
    "Run",
    "Transformer",
    "VariBAD",
    "defaults",
    "evaluate",
    "load",
    "resume",
    "silent",
    "tasks",
    "train",
]

# Imported when first used: worker processes need none of it, and start without JAX.
_PLACES = {
    "AdaptaxError": "adaptax.errors",
    "Agent": "adaptax.collection.agent",
    "AlgorithmDistillation": "adaptax.algorithms.algorithm_distillation",
    "DQN": "adaptax.algorithms.dqn",
    "EMAML": "adaptax.algorithms.emaml",
    "Evaluation": "adaptax.evaluation.result",
    "EvolvedL2O": "adaptax.algorithms.l2o_es",
    "L2O": "adaptax.algorithms.l2o",
    "GBML": "adaptax.algorithms.gbml",
    "MAML": "adaptax.algorithms.maml",
    "MAMLDQN": "adaptax.algorithms.maml_dqn",
    "MRLM": "adaptax.algorithms.mrlm",
    "MER": "adaptax.algorithms.mer",
    "MetaNet": "adaptax.algorithms.metanet",
    "MultiTask": "adaptax.algorithms.multi_task",
    "PEARL": "adaptax.algorithms.pearl",
    "PlainProgress": "adaptax.training.progress",
    "ProMP": "adaptax.algorithms.promp",
    "Progress": "adaptax.training.progress",
    "ProtoNet": "adaptax.algorithms.protonet",
    "RL2": "adaptax.algorithms.rl2",
    "TNAS": "adaptax.algorithms.t_nas",
    "ReBAL": "adaptax.algorithms.rebal",
    "Reptile": "adaptax.algorithms.reptile",
    "SNAIL": "adaptax.algorithms.snail",
    "RandomPolicy": "adaptax.algorithms.random_policy",
    "Run": "adaptax.training.run",
    "Transformer": "adaptax.algorithms.transformer",
    "VariBAD": "adaptax.algorithms.varibad",
    "defaults": "adaptax.algorithms.registry",
    "evaluate": "adaptax.evaluation.evaluate",
    "load": "adaptax.training.load",
    "resume": "adaptax.training.train",
    "silent": "adaptax.training.progress",
    "tasks": "adaptax.tasks",
    "train": "adaptax.training.train",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PLACES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
