"""The figures that this library reproduces, by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from adaptax.algorithms.algorithm_distillation import AlgorithmDistillation
from adaptax.algorithms.l2o_es import EvolvedL2O
from adaptax.algorithms.registry import ENTRIES
from adaptax.reports.outcome import Outcome
from adaptax.reproduction import (
    architecture_search,
    bandits,
    cell_search,
    context_control,
    gradient_control,
    model_based,
    omniglot,
    perturbation,
    q_learning,
    recommender,
    recommender_slates,
    replay_digits,
    replay_selection,
    replay_sequence,
    sinusoid,
    tabular_mdps,
    text,
    xland,
)
from adaptax.reproduction.bandits import CELL_10_5, bandit_table, train_cell
from adaptax.reproduction.figure import Figure
from adaptax.reproduction.function_families import function_families
from adaptax.reproduction.l2o_control import CONTROLS, episodes_needed
from adaptax.reproduction.l2o_optimization import PROBLEMS, loss_on_the_way
from adaptax.reproduction.learning import learning_result
from adaptax.reproduction.navigation import navigation_table, train_navigation
from adaptax.reproduction.out_of_scope import out_of_scope
from adaptax.reproduction.robust_objective import robust
from adaptax.reproduction.update_directions import gbml_against_maml
from adaptax.reproduction.variance import estimator_variance
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.tasks.gridworld import GridWorld
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.train import Report

DEMO_BANDIT_UPDATES = 450
DEMO_NAVIGATION_UPDATES = 60
MEMORY_CELLS = ("bandit-10-5", "bandit-10-10", "bandit-10-50", "bandit-100-5", "mdp-10")
DISTILLED = AlgorithmDistillation(rounds=24, tasks=16)
DISTILLATION_UPDATES = 250


def demo(directory: Path, report: Report) -> Outcome:
    """RL² on bandits and MAML on 2D navigation, small: what `make demo` runs."""
    bandit = train_cell(CELL_10_5, 5, 10, DEMO_BANDIT_UPDATES, directory / "rl2-bandit", report)
    navigation = train_navigation(DEMO_NAVIGATION_UPDATES, directory / "maml-navigation", report)
    return bandit_table({"rl2": [bandit]}, {"rl2": 6.60}) + navigation_table(navigation)


def memory_tables(directory: Path, report: Report) -> Outcome:
    """The cells of the bandit and the process tables that two cores reach, one after the other."""
    cells = bandits.CELLS | tabular_mdps.CELLS
    return sum(
        (cells[name].run(directory / name, report) for name in MEMORY_CELLS), start=Outcome([], [], [])
    )


def rl2_learns(directory: Path, report: Report) -> Outcome:
    return learning_result("rl2", CELL_10_5, BernoulliBandit(), 300, directory, report, tasks=2000)


def distillation_learns(directory: Path, report: Report) -> Outcome:
    return learning_result(
        "algorithm-distillation", DISTILLED, GridWorld(), DISTILLATION_UPDATES, directory, report, tasks=210
    )


def metanet_learns(directory: Path, report: Report) -> Outcome:
    config, updates = ENTRIES["metanet"].default, ENTRIES["metanet"].updates
    return learning_result("metanet", config, PointNavigation(), updates, directory, report, episodes=20)


def l2o_learns(directory: Path, report: Report) -> Outcome:
    return learning_result("l2o", ENTRIES["l2o"].default, PointNavigation(), 30, directory, report)


def l2o_es_learns(directory: Path, report: Report) -> Outcome:
    config = EvolvedL2O(tasks=256, streams=10, horizon=12, truncation=12, hidden=(), inner_lr=1.0)
    return learning_result("l2o-es", config, BernoulliBandit(), 300, directory, report, tasks=2000)


def maml_trpo_learns(directory: Path, report: Report) -> Outcome:
    """The paper bounds no inner gradient."""
    config = dataclasses.replace(ENTRIES["maml-trpo"].default, inner_max_norm=0.0)  # type: ignore[type-var]
    return learning_result("maml-trpo", config, PointNavigation(), 30, directory, report)


def _optimization(part: str) -> Figure:
    def run(directory: Path, report: Report) -> Outcome:
        return loss_on_the_way(PROBLEMS[part], directory, report)

    return Figure(
        f"L2O on {PROBLEMS[part].name}, beside tuned SGD, momentum, RMSprop, Adam",
        "better than these (Andrychowicz et al. 2016, figure 4)",
        PROBLEMS[part].minutes,
        run,
    )


def _control(part: str) -> Figure:
    def run(directory: Path, report: Report) -> Outcome:
        return episodes_needed(CONTROLS[part], directory, report)

    return Figure(
        f"episodes to 90% of the oracle: L2O beside the tuned Adam, on {CONTROLS[part].name}",
        "a claim of this library",
        CONTROLS[part].minutes,
        run,
    )


FIGURES: dict[str, Figure] = {
    "demo": Figure(
        "RL² on bandits and MAML on 2D navigation, small", "RL² 6.7 (Duan et al. 2016, table 1)", 3, demo
    ),
    "rl2-learns": Figure(
        "RL² adapts on bandits: 5 seeds × 2,000 bandits", "a claim of this library", 7, rl2_learns
    ),
    "maml-trpo-learns": Figure(
        "MAML with TRPO adapts on 2D navigation: 5 seeds × 100 unseen goals",
        "a claim of this library",
        7,
        maml_trpo_learns,
    ),
    "gradient-navigation": Figure(
        "gradient methods on 2D navigation in one table: 5 seeds × 100 goals",
        "a claim of this library",
        9,
        gradient_control.navigation,
        paper=gradient_control.navigation_paper,
        paper_hours=4.0,
    ),
    "gradient-cartpole": Figure(
        "gradient methods on CartPole with hidden physics: 5 seeds × 100 tasks",
        "a claim of this library",
        9,
        gradient_control.cartpole,
        paper=gradient_control.cartpole_paper,
        paper_hours=7.0,
    ),
    "sinusoid": Figure(
        "sine waves from 5, 10 and 20 points: 5 seeds × 600 waves",
        "MAML 1.13 / 0.77 / 0.48 after one step (Li et al. 2017)",
        9,
        sinusoid.sinusoid,
        paper=sinusoid.sinusoid_paper,
        paper_hours=0.4,
    ),
    "function-families": Figure(
        "steps, polynomials and sums of sines from 10 points, MAML and Meta-SGD: 5 seeds × 600 functions of each",
        "a claim of this library",
        10,
        function_families,
        with_seeds=function_families,
    ),
    "omniglot": Figure(
        "handwritten characters, 5 classes of 1 drawing: 600 unseen tasks, MAML and its rivals; --seeds 5: the learning result",
        "MAML 98.7 after 40,000 updates (Finn et al. 2017, table 1)",
        20,
        omniglot.omniglot,
        paper=omniglot.omniglot_paper,
        paper_hours=12.0,
        with_seeds=omniglot.omniglot,
    ),
    "gbml-against-maml": Figure(
        "learned update directions against a fixed rate",
        "a claim of this library",
        9,
        gbml_against_maml,
    ),
    "robust-objective": Figure(
        "MAML for the mean, the worst quarter and the worst of the tasks",
        "a claim of this library",
        4,
        robust,
    ),
    "estimator-variance": Figure(
        "noise of the meta-gradient under LVC, loaded DiCE and DiCE",
        "DiCE's about twice LVC's, on HalfCheetah (Rothfuss et al. 2019, §7)",
        2,
        estimator_variance,
    ),
    "l2o-learns": Figure(
        "L2O adapts on 2D navigation: 5 seeds × 100 unseen goals", "a claim of this library", 8, l2o_learns
    ),
    "l2o-es-learns": Figure(
        "L2O by evolution strategies adapts on bandits: 5 seeds × 2,000 bandits",
        "a claim of this library",
        7,
        l2o_es_learns,
    ),
    "algorithm-distillation-learns": Figure(
        "algorithm distillation adapts on the gridworld: 5 seeds × 210 tasks",
        "curves (Laskin et al. 2022, figure 4)",
        15,
        distillation_learns,
    ),
    "metanet-learns": Figure(
        "MetaNet adapts on 2D navigation: 5 seeds × 100 unseen goals",
        "a claim of this library",
        8,
        metanet_learns,
    ),
    "sinusoid-reading": Figure(
        "sine waves from 10 points that are read once, SNAIL and MetaNet: 5 seeds × 600 waves",
        "a claim of this library",
        40,
        sinusoid.reading,
    ),
    "gridworld": Figure(
        "VariBAD and RL² on the gridworld, episode by episode: 5 seeds × 210 tasks",
        "near the oracle's 11.07 (Zintgraf et al. 2020, figure 3)",
        25,
        context_control.gridworld,
    ),
    "sparse-navigation": Figure(
        "PEARL, RL² and MAML on the sparse half circle against environment steps: 5 seeds × 500 goals",
        "PEARL explores where MAML does not (Rakelly et al. 2019, figure 6)",
        45,
        context_control.sparse_navigation,
    ),
    "dqn-cartpole": Figure(
        "DQN on CartPole-v1 within 200,000 environment steps: 5 seeds × 100 episodes",
        "a claim of this library",
        8,
        q_learning.dqn_cartpole,
    ),
    "maml-dqn-cartpole": Figure(
        "MAML-DQN and its rivals on CartPole with hidden physics: 5 seeds × 100 tasks",
        "a claim of this library",
        20,
        q_learning.maml_dqn_cartpole,
    ),
    "maml-dqn-objectives": Figure(
        "MAML-DQN by TD error and by return, second and first order, on CartPole: 5 seeds × 100 tasks",
        "a claim of this library",
        20,
        q_learning.maml_dqn_objectives,
    ),
    "maml-dqn-mountain-car": Figure(
        "MAML-DQN and its rivals on MountainCar with hidden physics: 5 seeds × 100 tasks",
        "a claim of this library",
        20,
        q_learning.maml_dqn_mountain_car,
    ),
    "maml-dqn-mixture": Figure(
        "MAML-DQN and its rivals on CartPole and MountainCar mixed: 5 seeds × 100 tasks of each",
        "a claim of this library",
        25,
        q_learning.maml_dqn_mixture,
    ),
    "mrlm-pendulum": Figure(
        "MRLM on pendulums with hidden physics beside RL² and MAML, which see up to 40 times as much: 5 seeds × 100 tasks",
        "an order of magnitude fewer steps (Nagabandi et al. 2019, figures only)",
        18,
        model_based.mrlm_pendulum,
    ),
    "mrlm-navigation": Figure(
        "MRLM on 2D navigation beside RL² and MAML, which see up to 10 times as much: 5 seeds × 100 unseen goals",
        "a claim of this library",
        15,
        model_based.mrlm_navigation,
    ),
    "mrlm-car": Figure(
        "MRLM on mountain cars with real actions beside RL² and MAML, which see up to 10 times as much: 5 seeds × 100 tasks",
        "a claim of this library",
        20,
        model_based.mrlm_car,
    ),
    "mrlm-tree-search": Figure(
        "tree search against shooting with one and the same model, on CartPole: 5 seeds × 100 tasks",
        "a claim of this library",
        18,
        model_based.mrlm_tree_search,
    ),
    "rebal-learns": Figure(
        "ReBAL on pendulums with hidden physics beside the same trained without memory: 5 seeds × 100 tasks",
        "a claim of this library",
        18,
        model_based.rebal_learns,
    ),
    "mrlm-perturbation": Figure(
        "MRLM on pendulums that change in mid-episode, beside the true physics: 5 seeds × 100 tasks",
        "curves (Nagabandi et al. 2019, figure 5)",
        20,
        perturbation.mrlm_perturbation,
    ),
    "mer-digits": Figure(
        "MER on 20 permutations and rotations of the digits, beside replay and elastic weights: 40 sequences",
        "MNIST, 200 kept: MER 72.7 and 77.2, online 55.4 and 53.4 (Riemer et al. 2019)",
        20,
        replay_digits.digits_retained,
    ),
    "mer-sequence": Figure(
        "MER on 12 goals that never come back, beside replay, elastic weights and nothing: 20 sequences",
        "curves (Riemer et al. 2019, figures 4 and 5)",
        15,
        replay_sequence.sequence_retained,
    ),
    "mer-learns": Figure(
        "MER adapts on CartPole with hidden physics, by selected and by uniform replay: 5 seeds × 100 unseen tasks",
        "a claim of this library",
        20,
        replay_selection.mer_learns,
    ),
    "xland-learns": Figure(
        "RL² on XLand-MiniGrid's trivial rulesets, episode by episode: 5 seeds × 200 unseen rulesets",
        "curves (Nikulin et al. 2024)",
        60,
        xland.xland_learns,
    ),
    "memory-tables": Figure(
        "RL², SNAIL, Transformer beside the reference policies: " + ", ".join(MEMORY_CELLS),
        "of each cell",
        sum((bandits.CELLS | tabular_mdps.CELLS)[name].minutes for name in MEMORY_CELLS),
        memory_tables,
    ),
    "text": Figure(
        "intents of CLINC150 on unseen domains, 5 ways × 1 and 5 shots, beside centroids, logistic regression and fine-tuning",
        "a claim of this library",
        15,
        text.text,
        with_seeds=text.text,
    ),
    "text-out-of-scope": Figure(
        "sentences of CLINC150 that express no intent of the task, told from those that do: 5 seeds × 200 tasks",
        "a claim of this library",
        8,
        out_of_scope,
        with_seeds=out_of_scope,
    ),
    "recommender": Figure(
        "MovieLens 100k: new users, new films and both from 10 ratings, beside matrix factorisation: 5 seeds × 200 users",
        "MovieLens 1M, new users: MAE 0.785, nDCG@1 0.880 (Lee et al. 2019)",
        15,
        recommender.recommender,
        with_seeds=recommender.recommender,
    ),
    "recommender-genres": Figure(
        "MovieLens 100k: genres that meta-training has not seen: 5 seeds × 200 users",
        "a claim of this library",
        12,
        recommender.genres,
        with_seeds=recommender.genres,
    ),
    "recommender-slates": Figure(
        "MovieLens 100k: one of five films for a new user, RL² and MAML beside LinUCB and Thompson: 5 seeds × 500 meetings",
        "a claim of this library",
        25,
        recommender_slates.slates,
        with_seeds=recommender_slates.slates,
    ),
    "search-navigation": Figure(
        "architecture search for MAML on 2D navigation: strategies at equal budgets, read from a table",
        "a claim of this library",
        15,
        architecture_search.search_navigation,
    ),
    "search-navigation-large": Figure(
        "the same in a space of 48 architectures, with budgets of 4 to 12 trainings",
        "a claim of this library",
        30,
        architecture_search.search_navigation_large,
    ),
    "search-cartpole": Figure(
        "architecture search for RL² on CartPole, memory cells among others: the same",
        "a claim of this library",
        15,
        architecture_search.search_cartpole,
    ),
    "search-omniglot": Figure(
        "architecture search for MAML on Omniglot at 14 × 14 pixels: the same",
        "T-NAS 99.36 at 28 × 28, MAML 98.7 (Lian et al. 2020)",
        18,
        architecture_search.search_omniglot,
    ),
    "t-nas-omniglot": Figure(
        "T-NAS on Omniglot at 14 × 14 pixels, and the network it finds beside MAML's: 5 seeds × 200 unseen tasks",
        "T-NAS 99.36 at 28 × 28, one cell for all tasks 98.95, MAML 98.7 (Lian et al. 2020)",
        25,
        cell_search.t_nas_omniglot,
        with_seeds=cell_search.t_nas_omniglot,
    ),
    **bandits.CELLS,
    **tabular_mdps.CELLS,
    **{f"l2o-{part}": _optimization(part) for part in PROBLEMS},
    **{f"l2o-{part}": _control(part) for part in CONTROLS},
}
