"""The algorithms by their names on the command line."""

from __future__ import annotations

import dataclasses
from typing import Any

from adaptax.algorithms.algorithm_distillation import AlgorithmDistillation
from adaptax.algorithms.base import Config, check_hyperparameters, require_environments
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
from adaptax.algorithms.reptile import Reptile
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.snail import SNAIL
from adaptax.algorithms.t_nas import TNAS
from adaptax.algorithms.transformer import Transformer
from adaptax.algorithms.varibad import VariBAD
from adaptax.errors import AdaptaxError, near
from adaptax.networks.convolution import IMAGE_CHANNELS
from adaptax.types import Spec


@dataclasses.dataclass(frozen=True)
class Entry:
    """One name of the command line."""

    summary: str
    """One line."""
    kind: str
    """"context", "gradient" or "baseline"."""
    default: Config
    """What two CPU cores can run; presets of one file differ in this alone."""
    learns_on: tuple[str, ...]
    """Families on which `adaptax reproduce` shows a learning result; empty: *not learning* yet."""
    paper: Config | None = None
    """The paper's hyperparameters (`--preset paper`)."""
    updates: int = 100
    """Meta-updates that a small family needs."""
    supervised: Config | None = None
    """As `default`, for families of supervised tasks; None: it learns from rewards alone."""
    paper_supervised: Config | None = None
    """As `paper`, likewise."""
    supervised_updates: int = 5000
    images: Config | None = None
    """As `supervised`, for families of labelled images; None: the same."""
    paper_images: Config | None = None
    """As `paper`, likewise."""
    image_updates: int = 1000
    embedded: Config | None = None
    """As `supervised`, for families whose inputs a pretrained encoder made; None: the same."""
    embedded_updates: int = 200

    def defaults(self, spec: Spec) -> tuple[Config, int]:
        """Hyperparameters and meta-updates to start from on a family; AdaptaxError where the method cannot learn on it."""
        if not spec.supervised:
            return self.default, self.updates
        if self.supervised is None:
            require_environments(spec, next(f"'{name}'" for name, entry in ENTRIES.items() if entry is self))
        assert self.supervised is not None
        if spec.images and self.images is not None:
            return self.images, self.image_updates
        if spec.embedded and self.embedded is not None:
            return self.embedded, self.embedded_updates
        return self.supervised, self.supervised_updates

    @property
    def presets(self) -> list[Config]:
        """All configurations that go by this name."""
        of_labels = self.supervised, self.paper_supervised, self.images, self.paper_images, self.embedded
        return [c for c in (self.default, self.paper, *of_labels) if c is not None]

    def papers(self, spec: Spec) -> Config | None:
        """The paper's hyperparameters for a family, where there are some."""
        if spec.images:
            return self.paper_images
        return self.paper_supervised if spec.supervised else self.paper


PAPER_MAML = MAML(
    tasks=40,
    streams=20,
    hidden=(100, 100),
    activation="relu",
    inner_max_norm=0.0,
    later_lr_factor=0.5,
    outer="trpo",
    max_kl_nats=0.01,
)
"""Finn et al. 2017, appendix A.2."""

FEW_SHOT_LOOP: dict[str, Any] = {
    "tasks": 25, "inner_steps": 5, "inner_lr": 0.01, "later_lr_factor": 1.0, "hidden": (40, 40), "activation": "relu",
    "lr": 2e-3, "max_gradient_norm": 10.0,
}  # fmt: skip
FEW_SHOT = MAML(**FEW_SHOT_LOOP)
"""Supervised tasks: the network of Finn et al. 2017, §5.1, with as many inner steps as keep steps beyond them from diverging."""
JOINT = MultiTask(
    tasks=25, hidden=(40, 40), minibatches=1, lr=1e-3, max_gradient_norm=10.0, fine_tune_lr=1e-2
)
"""Supervised tasks: one network for all, of the same size."""
LINEAR = dataclasses.replace(FEW_SHOT, hidden=(), inner_steps=3, inner_lr=0.1)
"""Inputs that a pretrained encoder made: a linear classifier."""
PAPER_FEW_SHOT = dataclasses.replace(FEW_SHOT, inner_steps=1, lr=1e-3)
"""Finn et al. 2017, §5.1."""
PAPER_REPTILE = Reptile(
    tasks=1,
    inner_steps=5,
    inner_lr=0.02,
    inner_batch=10,
    hidden=(64, 64),
    outer_step=0.1,
    anneal_updates=30_000,
)
"""Nichol et al. 2018, §3: one epoch over 50 points in batches of 10, tanh, SGD; 30,000 updates (with `--family.shots 50`)."""

PAPER_REPTILE_IMAGES = Reptile(
    tasks=10, inner_steps=3, inner_lr=1e-3, inner_optimizer="adam", inner_batch=25, hidden=IMAGE_CHANNELS, activation="relu",
    outer_step=1.0, anneal_updates=100_000, transductive=True,
)  # fmt: skip
"""Their code, Omniglot, 5 classes of 1 example: 100,000 updates on 15 drawings of each (`--family.queries 14`)."""

IMAGE_LOOP: dict[str, Any] = {
    "tasks": 16, "inner_steps": 1, "inner_lr": 0.4, "later_lr_factor": 1.0, "hidden": IMAGE_CHANNELS, "activation": "relu",
    "lr": 2e-3, "max_gradient_norm": 10.0,
}  # fmt: skip
FEW_IMAGES = MAML(**IMAGE_LOOP)
"""Labelled images: the network and the inner step of Finn et al. 2017, §5.2."""
PAPER_FEW_IMAGES = dataclasses.replace(FEW_IMAGES, tasks=32, lr=1e-3, transductive=True)
"""Their code, Omniglot, 5 classes of 1 or 5 examples, 40,000 updates."""
JOINT_IMAGES = dataclasses.replace(JOINT, tasks=16, hidden=IMAGE_CHANNELS)

ENTRIES: dict[str, Entry] = {
    "rl2": Entry(
        "a recurrent policy that learns within its hidden state (Duan et al. 2016)",
        "context",
        RL2(),
        learns_on=("bernoulli-bandit", "gridworld"),
        paper=RL2(
            tasks=2500, hidden=256, lr=2e-4, gamma=0.99, gae_lambda=0.3, clip=0.1, epochs=8, minibatches=40, entropy=0.01
        ),
        updates=300,
    ),
    "transformer": Entry(
        "RL² with a causal Transformer for its memory (Melo 2022)",
        "context",
        Transformer(),
        learns_on=("bernoulli-bandit",),
        updates=300,
    ),
    "algorithm-distillation": Entry(
        "a causal Transformer that imitates how single-task agents learn (Laskin et al. 2022)",
        "context",
        AlgorithmDistillation(),
        learns_on=("gridworld",),
        updates=200,
    ),
    "snail": Entry(
        "convolutions and attention over all that was seen of the task (Mishra et al. 2018)",
        "context",
        SNAIL(),
        learns_on=("bernoulli-bandit",),
        paper=SNAIL(tasks=2400, lr=2e-4, gae_lambda=0.3, clip=0.1, epochs=8, minibatches=40),
        updates=300,
        supervised=SNAIL(tasks=25, lr=1e-3, max_gradient_norm=10.0),
        images=SNAIL(tasks=16, lr=1e-3, max_gradient_norm=10.0, hidden=64, filters=32, keys=64, values=64),
    ),
    "varibad": Entry(
        "a policy that is told a learned belief over tasks (Zintgraf et al. 2020)",
        "context",
        VariBAD(),
        learns_on=("gridworld",),
        paper=VariBAD(
            tasks=16, lr=7e-4, gamma=0.95, gae_lambda=0.95, clip=0.05, epochs=2, minibatches=4, entropy=0.01, entropy_decay=1.0,
            policy_hidden=(32,), reward_inputs="next-obs", vae_lr=1e-3, vae_tasks=16, elbo_terms=60, decoded_rows=60,
        ),
        updates=1500,
    ),
    "pearl": Entry(
        "off-policy actor-critic given a sampled belief about the task (Rakelly et al. 2019)",
        "context",
        PEARL(),
        learns_on=("sparse-navigation",),
        paper=PEARL(
            tasks=5, episodes=5, capacity=100_000, recent=1, gradient_steps=2000, meta_batch=16, batch=256,
            hidden=(300, 300, 300), encoder_hidden=(200, 200, 200), lr=3e-4, kl=1.6,
        ),
    ),
    "maml": Entry(
        "an initial policy that one gradient step makes good, second order (Finn et al. 2017)",
        "gradient",
        MAML(),
        learns_on=("point-navigation", "cartpole", "sinusoid", "steps", "polynomial", "fourier"),
        paper=PAPER_MAML,
        supervised=FEW_SHOT,
        paper_supervised=PAPER_FEW_SHOT,
        images=FEW_IMAGES,
        paper_images=PAPER_FEW_IMAGES,
        embedded=LINEAR,
    ),
    "maml-trpo": Entry(
        "MAML with the paper's trust-region outer step",
        "gradient",
        MAML(outer="trpo", max_kl_nats=0.01),
        learns_on=("point-navigation",),
        paper=PAPER_MAML,
    ),
    "fomaml": Entry(
        "MAML without second derivatives",
        "gradient",
        MAML(first_order=True),
        learns_on=("point-navigation", "cartpole", "sinusoid"),
        paper=dataclasses.replace(PAPER_MAML, first_order=True),
        supervised=dataclasses.replace(FEW_SHOT, first_order=True, examples_max_norm=20.0),
        paper_supervised=dataclasses.replace(PAPER_FEW_SHOT, first_order=True),
        images=dataclasses.replace(FEW_IMAGES, first_order=True),
        paper_images=dataclasses.replace(PAPER_FEW_IMAGES, first_order=True),
        embedded=dataclasses.replace(LINEAR, first_order=True),
    ),
    "anil": Entry(
        "MAML that adapts the last layer alone (Raghu et al. 2020)",
        "gradient",
        MAML(head_only=True),
        learns_on=("point-navigation", "cartpole", "sinusoid"),
        paper=dataclasses.replace(PAPER_MAML, head_only=True),
        supervised=dataclasses.replace(FEW_SHOT, head_only=True, later_lr_factor=0.3),
        images=dataclasses.replace(FEW_IMAGES, head_only=True),
        paper_images=dataclasses.replace(PAPER_FEW_IMAGES, head_only=True),
    ),
    "meta-sgd": Entry(
        "MAML that learns a step size per parameter (Li et al. 2017)",
        "gradient",
        MAML(learned_inner_lr=True),
        learns_on=("point-navigation", "cartpole", "sinusoid", "steps", "polynomial", "fourier"),
        paper=dataclasses.replace(PAPER_MAML, learned_inner_lr=True),
        supervised=dataclasses.replace(FEW_SHOT, learned_inner_lr=True),
        paper_supervised=dataclasses.replace(PAPER_FEW_SHOT, learned_inner_lr=True),
        images=dataclasses.replace(FEW_IMAGES, learned_inner_lr=True),
        paper_images=dataclasses.replace(PAPER_FEW_IMAGES, learned_inner_lr=True),
        embedded=dataclasses.replace(LINEAR, learned_inner_lr=True),
    ),
    "promp": Entry(
        "MAML that stays near what collected, before adaptation too (Rothfuss et al. 2019)",
        "gradient",
        ProMP(),
        learns_on=("point-navigation", "cartpole"),
        paper=ProMP(
            tasks=40, streams=20, inner_lr=0.1, inner_max_norm=0.0, hidden=(64, 64), activation="tanh", gamma=0.99,
            gae_lambda=1.0, lr=1e-3, epochs=5, clip=0.3, kl_penalty=5e-4, adaptive=False, max_gradient_norm=1e9, max_kl_nats=1e9,
        ),
    ),
    "emaml": Entry(
        "MAML credited for what its first rounds find out (Stadie et al. 2018)",
        "gradient",
        EMAML(),
        learns_on=("point-navigation", "cartpole"),
    ),
    "reptile": Entry(
        "an initial policy near those that every task adapts to, first order (Nichol et al. 2018)",
        "gradient",
        Reptile(),
        learns_on=("point-navigation", "cartpole", "sinusoid"),
        supervised=Reptile(
            tasks=5, inner_steps=10, inner_lr=0.02, inner_batch=10, hidden=(64, 64), outer_step=1.0,
            anneal_updates=5000,
        ),
        paper_supervised=PAPER_REPTILE,
        images=Reptile(
            tasks=5, inner_steps=5, inner_lr=2e-3, inner_optimizer="adam", inner_batch=10, hidden=IMAGE_CHANNELS, activation="relu",
            outer_step=1.0, anneal_updates=1000,
        ),
        paper_images=PAPER_REPTILE_IMAGES,
    ),
    "gbml": Entry(
        "MAML with a learned update direction: rates, curvature, or a network that reads the gradient",
        "gradient",
        GBML(),
        learns_on=("point-navigation", "cartpole", "sinusoid"),
        supervised=GBML(direction="curvature", **FEW_SHOT_LOOP),
    ),
    "l2o": Entry(
        "a learned optimizer that trains a random policy on each task (Andrychowicz et al. 2016)",
        "gradient",
        L2O(),
        learns_on=("point-navigation", "cartpole"),
        updates=40,
        supervised=L2O(horizon=100, truncation=20, lr=3e-3),
        supervised_updates=300,
    ),
    "l2o-es": Entry(
        "L2O trained by persistent evolution strategies (Vicol et al. 2021)",
        "gradient",
        EvolvedL2O(),
        learns_on=("bernoulli-bandit",),
        updates=200,
        supervised=EvolvedL2O(horizon=100, truncation=20, lr=3e-3),
        supervised_updates=1500,
    ),
    "metanet": Entry(
        "weights generated from the gradients of a few examples (Munkhdalai & Yu 2017)",
        "gradient",
        MetaNet(),
        learns_on=("point-navigation",),
        updates=60,
        supervised=MetaNet(
            tasks=25, later_lr_factor=0.0, hidden=(40, 40), activation="relu", lr=1e-3, max_gradient_norm=10.0
        ),
        supervised_updates=3000,
        images=MetaNet(
            tasks=16, later_lr_factor=0.0, hidden=(64,), activation="relu", lr=1e-3, max_gradient_norm=10.0
        ),
    ),
    "protonet": Entry(
        "classes are the means of their embedded examples (Snell et al. 2017)",
        "gradient",
        ProtoNet(),
        learns_on=(),
        supervised=ProtoNet(),
        supervised_updates=1000,
        images=ProtoNet(hidden=IMAGE_CHANNELS),
        embedded=ProtoNet(hidden=(256,), lr=3e-4),
        paper_images=ProtoNet(tasks=1, hidden=IMAGE_CHANNELS, max_pool=True),
    ),
    "t-nas": Entry(
        "MAML that searches the operations of a network over images, and adapts them (Lian et al. 2020)",
        "gradient",
        TNAS(),
        learns_on=(),
        supervised=TNAS(),
        supervised_updates=500,
        image_updates=500,
    ),
    "maml-dqn": Entry(
        "an initial Q-network that a few DQN steps make good (Finn et al. 2017; Mnih et al. 2015)",
        "gradient",
        MAMLDQN(),
        learns_on=("cartpole",),
        updates=160,
    ),
    "fomaml-dqn": Entry(
        "MAML-DQN without second derivatives",
        "gradient",
        MAMLDQN(first_order=True),
        learns_on=("cartpole",),
        updates=160,
    ),
    "mer": Entry(
        "meta-experience replay: Q-learning on a task beside a store of all past ones (Riemer et al. 2019)",
        "gradient",
        MER(),
        learns_on=("cartpole",),
        updates=60,
    ),
    "dqn": Entry(
        "deep Q-learning: one Q-network for all tasks, fine-tuned on request (Mnih et al. 2015)",
        "gradient",
        DQN(),
        learns_on=(),
        updates=300,
    ),
    "mrlm": Entry(
        "a model that a few gradient steps fit to the task, and planning with it (Nagabandi et al. 2019)",
        "gradient",
        MRLM(),
        learns_on=("pendulum", "point-navigation", "mountain-car-continuous"),
        paper=MRLM(
            tasks=10, hidden=(512, 512, 512), members=1, window=16, query=16, inner_steps=1, inner_lr=1e-3, lr=1e-3, meta_batch=10,
            planner="shooting", horizon=10, candidates=500, adapt_every=10,
        ),
        updates=5,
    ),
    "rebal": Entry(
        "a model that remembers the task's steps, and planning with it (Nagabandi et al. 2019)",
        "context",
        ReBAL(),
        learns_on=("pendulum",),
        paper=ReBAL(
            tasks=10, hidden=(512, 512), members=1, memory=256, lr=1e-2, meta_batch=10, planner="shooting", horizon=10,
            candidates=500,
        ),
        updates=8,
    ),
    "multi-task": Entry("baseline: one policy for all tasks, no adaptation", "baseline", MultiTask(), learns_on=(), updates=300,
        supervised=JOINT, images=JOINT_IMAGES, embedded=dataclasses.replace(JOINT, hidden=()),
    ),
    "fine-tune": Entry(
        "baseline: the multi-task policy, trained on with PPO on the new task",
        "baseline",
        MultiTask(fine_tune_steps=20),
        supervised=dataclasses.replace(JOINT, fine_tune_steps=1),
        images=dataclasses.replace(JOINT_IMAGES, fine_tune_steps=1),
        embedded=dataclasses.replace(JOINT, hidden=(), fine_tune_steps=1),
        learns_on=(),
        updates=300,
    ),
    "oracle": Entry(
        "baseline: a policy that is told the task", "baseline", MultiTask(told=True), learns_on=(), updates=300
    ),
    "random": Entry("baseline: actions without looking", "baseline", RandomPolicy(), learns_on=(), updates=0),
}  # fmt: skip


def entry(name: str) -> Entry:
    """The entry of a name; AdaptaxError with the nearest names where there is none."""
    if name not in ENTRIES:
        raise AdaptaxError(
            f"There is no algorithm '{name}'; {near(name, ENTRIES)}there are: {', '.join(ENTRIES)}."
        )
    return ENTRIES[name]


def defaults(name: str, family: Any) -> Config:
    """The hyperparameters that an algorithm starts from on a family: what the command line takes, to change with
    `dataclasses.replace`. AdaptaxError where there is no such algorithm, or it cannot learn on the family."""
    return entry(name).defaults(family.spec)[0]


def name_of(config: Config) -> str:
    """The name one of whose presets is nearest to a configuration: most fields equal."""

    def distance(preset: Config) -> int:
        if type(preset) is not type(config):
            return 1000
        ours, theirs = dataclasses.asdict(config), dataclasses.asdict(preset)  # type: ignore[call-overload]
        return sum(ours[field] != theirs[field] for field in ours)

    return min(ENTRIES, key=lambda name: min(map(distance, ENTRIES[name].presets)))


def config_from(name: str, hyperparameters: dict[str, Any]) -> Config:
    """The configuration that a run's config.json records."""
    cls = type(entry(name).default)
    known = {field.name for field in dataclasses.fields(cls)}
    if set(hyperparameters) != known:
        odd = sorted(set(hyperparameters) ^ known)[0]
        raise AdaptaxError(
            f"The recorded hyperparameters of '{name}' differ from this version's in '{odd}': config.json was changed by "
            "hand, or is of another version; restore it, or train again."
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in hyperparameters.items()}
    config = cls(**values)
    check_hyperparameters(config)
    return config
