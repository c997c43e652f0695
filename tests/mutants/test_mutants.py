"""Every law is seen to fail: the code is broken in one place, and a law that is named says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import test_buffers
from adaptation import (
    test_experience_replay,
    test_fast_weights,
    test_implicit,
    test_learned_optimizer,
    test_planning,
    test_posterior,
    test_tree_search,
    test_update_rules,
)
from algorithms import (
    test_algorithm_distillation,
    test_dqn,
    test_emaml,
    test_mer,
    test_metanet,
    test_mrlm,
    test_pearl,
    test_promp,
    test_protonet,
    test_rebal,
    test_t_nas,
    test_varibad,
)
from collection import test_host
from crosscheck import test_meta_gradients
from estimators import test_q_learning, test_returns, test_sac, test_too_far
from evaluation import test_beliefs, test_evaluate
from families import Corridor, Push
from laws import (
    test_borders,
    test_fast_path,
    test_invalid_rows,
    test_meta_gradient,
    test_no_leak,
    test_replay_ratio,
    test_resume,
    test_rows,
    test_splits,
    test_surrogate_gradients,
)
from laws.learners import ALGORITHMS, LAYOUTS, LEARNERS
from mutants.harness import mutated
from networks import test_augmented, test_candidates, test_causal, test_convolution
from outer import test_persistent_es, test_robust, test_unrolled
from reports import test_answer_plots
from reproduction import test_replay_parts
from search import test_strategies
from supervised import test_few_shot, test_images, test_recommender, test_text
from tasks import (
    test_acrobot,
    test_cartpole_mountain_car,
    test_contexts,
    test_functions,
    test_hidden_physics,
    test_mdp_policies,
    test_mountain_car,
    test_omniglot,
    test_pendulum,
    test_perturbed,
    test_recommender_slates,
    test_two_step,
    test_xland,
)

COLLECT = "adaptax.collection.collect"
HOST = "adaptax.collection.host"
STREAMS = "adaptax.collection.streams:Streams"
REPLAY = "adaptax.collection.replay"
RETURNS = "adaptax.estimators.returns"
PROGRAM = "adaptax.training.program"
GRADIENT = "adaptax.adaptation.gradient:GradientLearner"
OUTER = "adaptax.outer"
CAUSAL = "adaptax.networks.causal"
DISTILLATION = "adaptax.algorithms.algorithm_distillation"
RL2, MEMORY_PPO = "adaptax.algorithms.rl2", "adaptax.algorithms.memory_ppo"
MAML = "adaptax.algorithms.maml"
MRLM = "adaptax.algorithms.mrlm"
MODEL, PLANNING = "adaptax.adaptation.dynamics_model", "adaptax.adaptation.planning"
PROMP = "adaptax.algorithms.promp"
EMAML = "adaptax.algorithms.emaml"
VARIBAD, ELBO = "adaptax.algorithms.varibad", "adaptax.estimators.elbo"
BELIEF = "adaptax.adaptation.recurrent_belief"
PEARL = "adaptax.algorithms.pearl"
DQN_STEPS = "adaptax.adaptation.q_learning:DQNSteps.__call__"
MAML_DQN = "adaptax.algorithms.maml_dqn:ByTDError"
REPLAYED = "adaptax.adaptation.experience_replay"
RULES = "adaptax.adaptation.update_rules"


@dataclasses.dataclass(frozen=True)
class Mutant:
    target: str
    old: str
    new: str
    law: Callable[[], None]


def replay_ratio(name: str) -> Callable[[], None]:
    return lambda: test_replay_ratio.check(LEARNERS[name], LAYOUTS["episodes"])


def rows(layout: str) -> Callable[[], None]:
    return lambda: test_rows.check(LEARNERS["probe, continuous"], LAYOUTS[layout], tasks=1)


def fast_path() -> None:
    test_fast_path.check(LEARNERS["rl2"])


def transformer_fast_path() -> None:
    test_fast_path.check(LEARNERS["transformer"])


def causal_fast_path() -> None:
    test_fast_path.check(LEARNERS["snail"])


def joined_episodes() -> None:
    test_borders.check_joined_episodes(test_borders.EXAMPLE)


def next_values() -> None:
    test_borders.check_next_values(LEARNERS["multi-task"], "budget")


def invalid_rows(name: str) -> Callable[[], None]:
    return lambda: test_invalid_rows.check(ALGORITHMS[name])


def maml(variant: str) -> Callable[[], None]:
    return lambda: test_meta_gradient.check_maml(test_meta_gradient.VARIANTS[variant])


def lifetime_objective(name: str) -> Callable[[], None]:
    return lambda: test_meta_gradient.check_lifetime_objective(name)


def cross_check(variant: str) -> Callable[[], None]:
    return lambda: test_meta_gradients.check("gaussian", variant, 3)


def both_sides(case: str) -> Callable[[], None]:
    return lambda: test_host.test_host_and_jax_collect_the_same_lifetime(case)


def buffers() -> None:
    test_pearl.check_buffers(Corridor())


def shaped_buffers() -> None:
    test_pearl.check_buffers(test_pearl.SHAPED)


def resume() -> None:
    test_resume.check(ALGORITHMS["multi-task"])


OF_ALL = {
    # how experience is made
    "memory is reset at an episode's border": Mutant(
        f"{COLLECT}:collect_row",
        "    elapsed = stream.elapsed + 1",
        "    elapsed = stream.elapsed + 1\n    memory = trees.where(outcome.terminated, learner.remember(theta), memory)",
        replay_ratio("rl2"),
    ),
    "the previous action is zeroed at an episode's border": Mutant(
        f"{COLLECT}:collect_row", "prev_action=action,", "prev_action=jnp.where(ended, 0.0, action),", rows("episodes")
    ),
    "the previous reward is zeroed at an episode's border": Mutant(
        f"{COLLECT}:collect_row",
        "prev_reward=outcome.reward,",
        "prev_reward=jnp.where(ended, 0.0, outcome.reward),",
        rows("episodes"),
    ),
    "first comes a row late": Mutant(
        f"{COLLECT}:collect_row", "first=ended,", "first=stream.elapsed == 0,", rows("episodes")
    ),
    "the next observation is that of the reset": Mutant(
        f"{COLLECT}:collect_row", "next_obs=outcome.obs,", "next_obs=after.obs,", rows("episodes")
    ),
    "a terminated row counts as truncated too": Mutant(
        f"{COLLECT}:collect_row", " & ~outcome.terminated", "", rows("episodes")
    ),
    "an episode may take a step too many": Mutant(
        f"{COLLECT}:collect_row", "elapsed >= spec.episode_steps", "elapsed > spec.episode_steps", rows("episodes")
    ),
    "a stream goes on after its last episode": Mutant(
        f"{COLLECT}:collect_row", "stream.remaining > 0", "stream.remaining >= 0", rows("episodes")
    ),
    "an episode that a round's end cut off is not counted": Mutant(
        f"{COLLECT}:begin_round", "stream.episode + left", "stream.episode", rows("budget")
    ),
    "a round forgets what came last": Mutant(
        f"{COLLECT}:begin_round",
        "stream.prev_action, stream.prev_reward",
        "fresh.prev_action, fresh.prev_reward",
        rows("one episode"),
    ),
    "the environment is not carried over": Mutant(
        f"{COLLECT}:begin_round", "if layout.carry:", "if False:", rows("carry")
    ),
    "tasks meet the environments of others": Mutant(
        f"{COLLECT}:collect",
        "(behaviour.theta, behaviour.tasks,",
        "(behaviour.theta, trees.index(behaviour.tasks, slice(None, None, -1)),",
        lambda: test_no_leak.check(LEARNERS["probe"]),
    ),
    # the host collector
    "the host zeroes the previous reward at an episode's border": Mutant(
        f"{STREAMS}.advance",
        'row["action"], row["reward"]',
        'row["action"], np.where(row["terminated"] | row["truncated"], 0.0, row["reward"])',
        both_sides("episodes"),
    ),
    "the host leaves an environment that is to be carried over": Mutant(
        f"{STREAMS}.begin_round", "if not layout.carry:", "if True:", both_sides("carry, theta per task")
    ),
    "the host counts a row too many as valid": Mutant(
        f"{HOST}:_fill", "np.arange(steps) < streams.t", "np.arange(steps) <= streams.t", both_sides("episodes")
    ),
    "the host ends no episode that is out of time": Mutant(
        f"{HOST}:_Collection.outcome", "elapsed >= self", "elapsed > self", both_sides("episodes")
    ),
    "the host adapts with another key": Mutant(
        f"{HOST}:_adapt", "keys.adapt(key, k)", "keys.adapt(key, k + 1)", both_sides("episodes")
    ),
    "the host samples with the key of the act": Mutant(
        f"{HOST}:_decide", "keys.row(stream_key, t, keys.SAMPLE)", "keys.row(stream_key, t, keys.ACT)", both_sides("episodes")
    ),
    # keys
    "rows share their keys": Mutant(
        "adaptax.keys:row", "_fold(stream_key, t)", "stream_key", test_no_leak.check_keys
    ),
    "the draws of a row share a key": Mutant(
        "adaptax.keys:row", "_fold(_fold(stream_key, t), purpose)", "_fold(stream_key, t)", test_no_leak.check_keys
    ),
    "streams share their keys": Mutant(
        "adaptax.keys:stream", "_fold(_fold(task_key, k), n)", "_fold(task_key, k)", test_no_leak.check_keys
    ),
    "tasks share their keys": Mutant(
        f"{PROGRAM}:lifetime_keys", "jax.random.fold_in(key, i)", "key", test_no_leak.check_keys
    ),
    "test tasks are training tasks": Mutant(
        f"{PROGRAM}:draw_tasks",
        '("train", "test", "ood").index(split)',
        "0",
        lambda: test_splits.check(Push()),
    ),
    "an evaluation's tasks share their keys with a learner's lifetimes": Mutant(
        "adaptax.keys:evaluation",
        "_fold(_fold(key, purpose), run_seed)",
        "_fold(key, run_seed + 1) if purpose == LIFETIMES else key",
        test_evaluate.check_keys,
    ),
    # replay
    "replay does not adapt": Mutant(
        f"{REPLAY}:_rerun",
        "learner.adapt(theta, fast, steps, keys.adapt(lifetime.keys, k))",
        "fast",
        replay_ratio("maml"),
    ),
    "replay adapts with another key": Mutant(
        f"{REPLAY}:_rerun", "keys.adapt(lifetime.keys, k)", "keys.adapt(lifetime.keys, k + 1)", replay_ratio("probe")
    ),
    "replay forgets between rounds": Mutant(
        f"{REPLAY}:_rerun", "(fast_after, memory_after), ", "(fast_after, memory), ", replay_ratio("rl2")
    ),
    "a peek sees the row again": Mutant(f"{REPLAY}:_peek", "obs=row.next_obs", "obs=row.obs", next_values),
    "a truncated row is worth nothing more": Mutant(
        f"{REPLAY}:next_values",
        "cut = (rows.truncated | (jnp.arange(t) == t - 1))",
        "cut = (jnp.arange(t) == t - 1)",
        next_values,
    ),
    "a terminated row is worth what might have followed": Mutant(
        f"{REPLAY}:next_values", "jnp.where(ended, 0.0, shifted)", "shifted", next_values
    ),
    "an unfinished lifetime ends with its budget": Mutant(
        f"{REPLAY}:next_values",
        "if layout.episodes is None:",
        "if False:",
        lambda: test_borders.check_lifetime_values("budget"),
    ),
    "memory runs on in rows that are not valid": Mutant(
        "adaptax.networks.layers:Cell.unroll",
        "jnp.where(kept, self.advance(state, wx), state)",
        "self.advance(state, wx)",
        fast_path,
    ),
    "the gradient of a GRU stops at each step": Mutant(
        "adaptax.networks.layers:Cell.unroll",
        "self.advance(state, wx)",
        "self.advance(jax.lax.stop_gradient(state), wx)",
        fast_path,
    ),
    "the step-by-step path forgets at an episode's border": Mutant(
        f"{RL2}:RL2Learner.act",
        "theta.gru(memory.cell,",
        "theta.gru(jnp.where(step.first, 0.0, memory.cell),",
        fast_path,
    ),
    # returns
    "time strides over streams": Mutant(
        f"{RETURNS}:following_in_lifetime",
        "jnp.moveaxis(value, 1, 0).reshape(n, k * t)",
        "value.reshape(n, k * t)",
        test_borders.check_order,
    ),
    "a terminated row does not end the sum": Mutant(
        f"{RETURNS}:discounts", "jnp.logical_or(steps.terminated, steps.truncated)", "steps.truncated", joined_episodes
    ),
    "a truncated row does not end the sum": Mutant(
        f"{RETURNS}:discounts", "jnp.logical_or(steps.terminated, steps.truncated)", "steps.terminated", joined_episodes
    ),
    "what a truncation cut off is lost": Mutant(
        f"{RETURNS}:gae", "reward + γ * next_value", "reward + discount * next_value", joined_episodes
    ),
    "a mean counts rows that are not valid": Mutant(
        f"{RETURNS}:valid_mean", "jnp.where(valid, x, 0.0).sum()", "x.sum()", invalid_rows("maml")
    ),
    "rows that are not valid shift the others": Mutant(
        f"{RETURNS}:standardise", "valid_mean(x, valid)", "x.mean()", test_returns.test_standardise_by_hand
    ),
    "the normaliser learns from rows that are not valid": Mutant(
        "adaptax.networks.normaliser:Moments.update",
        "w = valid.astype(jnp.float32)",
        "w = jnp.ones_like(valid, jnp.float32)",
        invalid_rows("multi-task"),
    ),
    "time is counted from the stream's beginning": Mutant(
        "adaptax.estimators.baseline:time_in_episode", "(rows - begun)", "rows", test_borders.check_linear_advantages
    ),
    "a fitted value looks beyond the episode": Mutant(
        "adaptax.estimators.baseline:linear_advantages",
        'discounts(s, γ, "episode")',
        'discounts(s, γ, "lifetime")',
        test_borders.check_linear_advantages,
    ),
    "RL² looks no further than the episode": Mutant(
        f"{MEMORY_PPO}:MemoryPPOAlgorithm.advantages", '"lifetime"', '"episode"', test_borders.check_lifetime_horizon
    ),
    # labelled examples
    "a query's last label is one that only fills up": Mutant(
        "adaptax.collection.few_shot:few_shot",
        "examples.support_y[read]",
        "examples.support_y[-1]",
        test_few_shot.check_labels_of_a_filled_support,
    ),
    "memory does not read the support": Mutant(
        "adaptax.collection.few_shot:answers",
        "_, memory = learner.unroll_anew(theta, fast, data.support, stream_key)",
        "memory = learner.remember(theta)",
        test_few_shot.check_labels,
    ),
    "Reptile moves all the way": Mutant(
        "adaptax.algorithms.reptile:ReptileAlgorithm.learn", "θ + ε * δ", "θ + δ", test_few_shot.check_reptile
    ),
    "Reptile trains on the support alone": Mutant(
        "adaptax.algorithms.reptile:ReptileAlgorithm.adapted_to_all",
        "FewShot(data.task, pooled(data),",
        "FewShot(data.task, data.support,",
        test_few_shot.check_reptile,
    ),
    "Reptile's tasks weigh alike": Mutant(
        "adaptax.algorithms.reptile:ReptileAlgorithm.learn", "weights / self.tasks", "1 / self.tasks * jnp.ones(self.tasks)",
        test_few_shot.check_reptile_of_two,
    ),
    "the joint network sees the queries alone": Mutant(
        "adaptax.algorithms.multi_task:JointAlgorithm.asked", "query=pooled(data)", "query=data.query", test_few_shot.check_joint
    ),
    "a step too far stays": Mutant(
        "adaptax.estimators.ppo:epochs_over_tasks", "kl_nats > too_far_nats, before, params", "kl_nats < 0, before, params",
        test_too_far.check_taken_back,
    ),
    "a step too far is taken whole again": Mutant(
        "adaptax.estimators.ppo:epochs_over_tasks", "(x + y) / 2", "y", test_too_far.check_taken_back
    ),
    # resuming
    "what is drawn depends on the place within a dispatch": Mutant(
        f"{PROGRAM}:make_program",
        "after, metrics, finite = meta_update(algorithm, family, state)",
        "after, metrics, finite = meta_update(algorithm, family, eqx.tree_at(lambda s: s.updates, state, done))\n"
        "            after = eqx.tree_at(lambda s: s.updates, after, state.updates + 1)",
        resume,
    ),
    "every update draws the same": Mutant(
        "adaptax.keys:update", "_fold(_fold(run_key, updates), purpose)", "_fold(run_key, purpose)", test_no_leak.check_names
    ),
    "updates are not counted": Mutant(f"{PROGRAM}:learn", "state.updates + 1", "state.updates", resume),
}  # fmt: skip
"""Of what all learners share."""
OF_METHODS = {
    # VariBAD, and what is believed when
    "the return trains VariBAD's encoder": Mutant(
        f"{BELIEF}:RecurrentBeliefLearner.say", "jax.lax.stop_gradient(belief)", "belief", test_varibad.check_gradients_apart
    ),
    "PPO is told other beliefs than those that acted": Mutant(
        f"{VARIBAD}:VariBADAlgorithm.says", "self.learner.say(theta, s.aux, s)", "self.learner.say(theta, 0.9 * s.aux, s)",
        test_varibad.check_what_is_said,
    ),
    "the prior of a belief is always the first": Mutant(
        f"{ELBO}:kl_terms", "belief[:-1]]", "0.0 * belief[:-1]]", test_varibad.check_kl_by_hand
    ),
    "a belief's KL is taken backwards": Mutant(
        f"{ELBO}:kl_terms", "gaussian(q).kl(gaussian(p))", "gaussian(p).kl(gaussian(q))", test_varibad.check_kl_by_hand
    ),
    "a belief's log-variance is taken for its log-deviation": Mutant(
        f"{ELBO}:gaussian", "0.5 * log_variance", "log_variance", test_varibad.check_kl_by_hand
    ),
    "what is decoded is the belief's mean": Mutant(
        f"{VARIBAD}:VariBADAlgorithm.negative_elbo", "gaussian(q).sample(k)", "gaussian(q).mean", test_varibad.check_elbo_by_hand
    ),
    "the past alone is decoded": Mutant(
        f"{VARIBAD}:VariBADAlgorithm.negative_elbo",
        "is_term[:, None] & is_row",
        "is_term[:, None] & is_row & (index <= ts[:, None])",
        test_varibad.check_elbo_by_hand,
    ),
    "the ELBO does not train the KL's second side": Mutant(
        f"{ELBO}:kl_terms",
        "belief[:-1]]",
        "jax.lax.stop_gradient(belief[:-1])]",
        test_varibad.check_elbo_gradient,
    ),
    "a belief is read a row early": Mutant(
        f"{REPLAY}:replay_states",
        "return memory, read(fast, memory)",
        "return memory, read(fast, trees.where(step.first, memory, jax.tree.map(jnp.zeros_like, memory)))",
        test_beliefs.check_states,
    ),
    # meta-gradients
    "RL² credits no episode for the next": Mutant(
        f"{MEMORY_PPO}:MemoryPPOAlgorithm.advantages", '"lifetime"', '"episode"', lifetime_objective("rl2")
    ),
    "LVC lets the gradient through its denominator": Mutant(
        "adaptax.estimators.surrogates:lvc", "jax.lax.stop_gradient(logp)", "logp", maml("maml")
    ),
    "LVC has no curvature of its own": Mutant(
        "adaptax.estimators.surrogates:lvc",
        "-jnp.exp(logp - jax.lax.stop_gradient(logp)) * advantage",
        "-logp * advantage",
        maml("maml"),
    ),
    "LVC is not divided": Mutant(
        "adaptax.estimators.surrogates:lvc", "logp - jax.lax.stop_gradient(logp)", "logp", test_surrogate_gradients.check_lvc
    ),
    "DiCE credits the same row alone": Mutant(
        "adaptax.estimators.surrogates:dice", "jnp.cumsum(logp)", "logp", test_surrogate_gradients.check_dice
    ),
    "loaded DiCE forgets nothing": Mutant(
        "adaptax.estimators.surrogates:loaded_dice", "v = λ * w", "v = w", test_surrogate_gradients.check_loaded_dice
    ),
    "ProMP's inner step takes all data for its own": Mutant(
        f"{PROMP}:ProMPLearner.surrogate",
        "jnp.where(batch.valid, batch.logp, jax.lax.stop_gradient(logp))",
        "jax.lax.stop_gradient(logp)",
        test_promp.check_ratio,
    ),
    "ProMP forgets what its ratio is divided by": Mutant(
        "adaptax.estimators.surrogates:likelihood_ratio", "logp - old_logp", "logp", maml("promp")
    ),
    "ProMP's penalty is of the adapted policies": Mutant(
        f"{PROMP}:inner_kl", "slice(None, -1)", "slice(1, None)", test_promp.check_inner_kl
    ),
    "an adaptive penalty goes the wrong way": Mutant(
        f"{PROMP}:next_penalty", "2.0, jnp.where(kl < target / 1.5, 0.5, 1.0)", "0.5, jnp.where(kl < target / 1.5, 2.0, 1.0)",
        test_promp.check_adaptive,
    ),
    "E-MAML credits nothing": Mutant(
        f"{EMAML}:EMAMLAlgorithm.outer_step", "self.credit * explored", "0.0 * explored", maml("emaml")
    ),
    "E-MAML's baseline sees the stream that it judges": Mutant(
        f"{EMAML}:credits", "before.sum(-1, keepdims=True) - before", "before.sum(-1, keepdims=True)",
        test_emaml.check_independence,
    ),
    "E-MAML's baseline sees the task that it judges": Mutant(
        f"{EMAML}:_of_others", "(x.sum(0) - x) / (n - 1)", "jnp.broadcast_to(x.mean(0), x.shape)",
        test_emaml.check_independence,
    ),
    "CVaR weighs the best tasks": Mutant(
        f"{OUTER}.robust:task_weights", "jnp.argsort(jnp.argsort(scores))", "jnp.argsort(jnp.argsort(-scores))",
        test_robust.check_by_hand,
    ),
    "MAML leaves out the second derivatives": Mutant(
        f"{GRADIENT}.adapt", "if self.first_order:", "if True:", maml("maml")
    ),
    "FOMAML does not": Mutant(
        f"{GRADIENT}.adapt", "if self.first_order:", "if False:", maml("fomaml")
    ),
    "MAML judges the first round": Mutant(
        f"{OUTER}.post_adaptation:adapted", ", -1)", ", 0)", maml("maml")
    ),
    "MAML takes the advantages of the first round": Mutant(
        "adaptax.algorithms.meta_gradient:MetaGradientAlgorithm.data",
        "last = trees.index(lifetime.rounds, (slice(None), -1))",
        "last = trees.index(lifetime.rounds, (slice(None), 0))", maml("maml-trpo")
    ),
    "the trust region forgets the policy's own metric": Mutant(
        f"{OUTER}.trust_region:fisher_product",
        "_, weighted = jax.jvp(jax.grad(kl_from_here), (dist,), (jacobian(v),))",
        "weighted = jacobian(v)",
        test_surrogate_gradients.check_fisher,
    ),
    # meta-gradients, against another framework
    "no meta-gradient flows through the first adaptation": Mutant(
        f"{REPLAY}:_rerun",
        "return (fast_after,",
        "fast_after = jax.lax.stop_gradient(fast_after) if k == 0 else fast_after\n        return (fast_after,",
        cross_check("second-order"),
    ),
    "steps beyond those trained for are as long": Mutant(
        f"{GRADIENT}.adapt", "fast.steps < self.inner_steps", "fast.steps >= 0", cross_check("late")
    ),
    "the standard deviation is not of the head": Mutant(
        f"{GRADIENT}.adapting",
        "(p.mlp.layers[-1], p.log_std)",
        "(p.mlp.layers[-1],)",
        cross_check("head-only"),
    ),
    "the baseline sees no squares": Mutant(
        "adaptax.estimators.baseline:features", "o**2", "o", lambda: test_meta_gradients.check_advantages("gaussian")
    ),
    "advantages keep their scale": Mutant(
        f"{RETURNS}:standardise",
        "(standard_deviation(x, valid) + 1e-8)",
        "1.0",
        lambda: test_meta_gradients.check_advantages("gaussian"),
    ),
    # tasks, and who else plays them
    "the best of the others is what optimism gives up first": Mutant(
        "adaptax.tasks.mdp_policies:most_promising", "order[:, :-1].T", "order[:, :-1].T[::-1]",
        lambda: test_mdp_policies.test_the_most_promising_transitions_by_hand(0.6, [0.0, 0.4, 0.6]),
    ),
    "the state after an episode's last step is seen": Mutant(
        "adaptax.tasks.mdp_policies:play", "next_state if t + 1 < horizon else None", "next_state",
        test_mdp_policies.test_all_but_an_episodes_last_transition_is_seen,
    ),
    "the two-step task reverses within a trial": Mutant(
        "adaptax.tasks.two_step:TwoStep.step", "~choosing & jax.random.bernoulli(k_reverse", "jax.random.bernoulli(k_reverse",
        test_two_step.test_reversals_come_between_trials_only_and_survive_them,
    ),
    "the transition of the trial that follows decides": Mutant(
        "adaptax.tasks.two_step:stay_probabilities", "common[..., :-1], paid", "common[..., 1:], paid",
        test_two_step.test_stay_probabilities_by_hand,
    ),
    # whole inner trainings
    "the optimizer's inputs are not held": Mutant(
        "adaptax.adaptation.learned_optimizer:LearnedOptimizer.step",
        "jax.lax.stop_gradient((ravel_pytree(gradient)[0], flat))",
        "(ravel_pytree(gradient)[0], flat)",
        lambda: test_unrolled.check_gradient(0),
    ),
    "the error before the first step counts": Mutant(
        f"{OUTER}.unrolled:mean_error", "mean_of(prediction_error)[1:]", "mean_of(prediction_error)",
        lambda: test_unrolled.check_gradient(0),
    ),
    "late rounds weigh as early ones": Mutant(
        f"{OUTER}.unrolled:EveryRound.loss", "share**self.late", "share**0.0", test_unrolled.check_weights
    ),
    "each round has a unit of its own": Mutant(
        f"{OUTER}.unrolled:comparable_advantages",
        "valid_mean(advantage**2, rows.valid)",
        "(advantage**2).mean((0, 2, 3), keepdims=True)",
        test_unrolled.check_units,
    ),
    # update rules
    "meta-curvature multiplies from one side": Mutant(
        f"{RULES}:MetaCurvature.step", " @ m[1])", ")", test_update_rules.check_meta_curvature
    ),
    "a gradient network has no position": Mutant(
        f"{RULES}:GradientNetwork.step", "jnp.eye(len(leaves))", "jnp.zeros((len(leaves), len(leaves)))",
        test_update_rules.check_positions,
    ),
    "Adam has no ε under the root": Mutant(
        f"{RULES}:Adam.direction", "self.eps_root)", "0.0)", lambda: test_update_rules.check_no_nan("adam")
    ),
    "Reptile's outer step stays": Mutant(
        "adaptax.algorithms.reptile:ReptileAlgorithm.step_size", "jnp.maximum(left, 0.0)", "1.0", test_few_shot.check_annealing
    ),
    # implicit derivatives
    "the implicit derivative forgets the weight of the start": Mutant(
        "adaptax.adaptation.implicit:_product", "(x,))[1] / λ", "(x,))[1]", test_implicit.check_quadratic
    ),
    "the implicit derivative forgets the curvature": Mutant(
        "adaptax.adaptation.implicit:_product",
        "return x + jax.jvp(gradient, (solution,), (x,))[1] / λ",
        "return x",
        test_implicit.check_logistic,
    ),
    # learned optimizers
    "a learned optimizer forgets its hidden state": Mutant(
        "adaptax.adaptation.learned_optimizer:LearnedOptimizer.step",
        "OptimizerState(hidden,",
        "OptimizerState(state.hidden,",
        test_learned_optimizer.check_state,
    ),
    # PEARL
    "rows that are not valid are evidence": Mutant(
        "adaptax.adaptation.posterior:multiplied",
        "λ = jnp.where(valid[:, None], precisions, 0.0)",
        "λ = precisions",
        test_posterior.check_product,
    ),
    "PEARL draws z at every step": Mutant(
        "adaptax.adaptation.posterior:PosteriorLearner.act",
        "jnp.where(step.first, fast.sample(key), memory)",
        "fast.sample(key)",
        test_pearl.check_sample,
    ),
    "PEARL's target takes what was truncated as terminated": Mutant(
        "adaptax.estimators.transitions:transitions", "rows.terminated, mask", "rows.terminated | rows.truncated, mask", buffers
    ),
    "PEARL's belief is told the shaped reward": Mutant(
        "adaptax.adaptation.posterior:PosteriorLearner.evidence", "rows.reward", "rows.training_reward", shaped_buffers
    ),
    "PEARL's rows land in another task's buffer": Mutant(
        f"{PEARL}:PEARLAlgorithm.remembered", "all.at[members]", "all.at[members - 1]", buffers
    ),
    "PEARL's training tasks are new ones in every update": Mutant(
        f"{PEARL}:PEARLAlgorithm.behave", "keys.training_task(state.key, i)", "jax.random.fold_in(key, i)", shaped_buffers
    ),
    "PEARL's actor pulls at z": Mutant(
        "adaptax.estimators.sac:sac_losses",
        "soft_value(critic_held, x_held, policy(x_held), k_now)",
        "soft_value(critic_held, x, policy(x), k_now)",
        lambda: test_pearl.check_gradients("pearl, continuous"),
    ),
    "a soft target bootstraps from what was terminated": Mutant(
        "adaptax.estimators.transitions:bootstrapped", "jnp.where(terminated, 0.0, next_value)", "next_value", test_sac.check_target
    ),
    # Q-learning
    "DQN copies its target after every step": Mutant(
        "adaptax.adaptation.q_learning:renewed", "steps % copy_every == 0", "steps > 0", test_dqn.check_copies
    ),
    "experience is a function of the network": Mutant(
        DQN_STEPS,
        "jax.lax.stop_gradient(buffer.sample(key, self.batch))",
        "buffer.sample(key, self.batch)",
        test_dqn.check_experience_is_constant,
    ),
    "MAML-DQN to first order is of second order": Mutant(
        DQN_STEPS, "if self.first_order:", "if False:", test_dqn.check_derivative_of_a_step
    ),
    "MAML-DQN to second order is of first order": Mutant(
        DQN_STEPS, "if self.first_order:", "if True:", test_dqn.check_derivative_of_a_step
    ),
    "a Q-target bootstraps from what was terminated": Mutant(
        "adaptax.estimators.transitions:bootstrapped",
        "jnp.where(terminated, 0.0, next_value)",
        "next_value",
        test_q_learning.check_targets,
    ),
    "double DQN chooses by the target network": Mutant(
        "adaptax.estimators.q_learning:td_error",
        "greedy(q(next_x), row.next_mask) if double else next_target",
        "next_target",
        test_q_learning.check_targets,
    ),
    "a forbidden action is the best": Mutant(
        "adaptax.estimators.q_learning:td_error",
        "greedy(q(next_x), row.next_mask)",
        "q(next_x)",
        test_q_learning.check_forbidden,
    ),
    "the mask after a step is the step's own": Mutant(
        "adaptax.estimators.transitions:transitions",
        "jnp.where(ended[..., None], mask, following)",
        "mask",
        test_q_learning.check_masks_of_what_follows,
    ),
    "adaptation on a new task sees the shaped reward": Mutant(
        "adaptax.adaptation.q_learning:QPolicy.seen_reward", "if self.sees_shaped", "if True", test_dqn.check_rewards_seen
    ),
    "MAML-DQN is judged by its support": Mutant(
        f"{MAML_DQN}.loss", "slice(1, None)", "slice(None, -1)", test_dqn.check_what_judges
    ),
    "MAML-DQN's targets are functions of its parameters": Mutant(
        f"{MAML_DQN}.loss",
        "self.learner.begin_from(q), inputs",
        "self.learner.begin_from(theta.q), inputs",
        test_dqn.check_what_judges,
    ),
    "MAML-DQN is judged by a target that was not adapted": Mutant(
        f"{MAML_DQN}.loss",
        "adapted(target)",
        "jax.tree.map(lambda x: jnp.stack([x] * (self.layout.rounds - 1)), target)",
        test_dqn.check_what_judges,
    ),
    "MAML-DQN's support pays what training maximises": Mutant(
        f"{MAML_DQN}.loss", "reward=seen.reward", "reward=seen.rows.reward", test_dqn.check_what_judges
    ),
    # meta-experience replay
    "a reservoir keeps the newest rows": Mutant(
        "adaptax.buffers:Reservoir.add",
        "jax.random.randint(key, i.shape, 0, jnp.maximum(i + 1, 1))",
        "i % capacity",
        test_buffers.check_every_row_is_kept_as_often,
    ),
    "a reservoir draws a place anew for each call": Mutant(
        "adaptax.buffers:Reservoir.add",
        "self.seen + jnp.cumsum(valid) - 1",
        "self.size + jnp.cumsum(valid) - 1",
        test_buffers.check_every_row_is_kept_as_often,
    ),
    "MER goes the whole way in a batch": Mutant(
        f"{REPLAYED}:within_and_across_batches", "rates), β)", "rates), β / β)", test_experience_replay.check_algorithm_1
    ),
    "MER goes the whole way over batches": Mutant(
        f"{REPLAYED}:within_and_across_batches", "[0], γ)", "[0], γ / γ)", test_experience_replay.check_algorithm_1
    ),
    "MER's one big batch begins anew with each of its parts": Mutant(
        f"{REPLAYED}:one_big_batch", "x.reshape(-1, *x.shape[2:])", "x[-1]", test_experience_replay.check_algorithm_6
    ),
    "MER's longer step is taken on an old example": Mutant(
        f"{REPLAYED}:current_example_rate", "at[-1]", "at[0]", test_experience_replay.check_algorithm_7
    ),
    "elastic weights hold the last task alone": Mutant(
        f"{REPLAYED}:Anchor.holding",
        "trees.add(self.precision, fisher)",
        "fisher",
        test_experience_replay.check_anchor,
    ),
    "MER replays an empty store": Mutant(
        "adaptax.adaptation.q_replay:ReplayLearner.drawn", "store.size > 0", "store.size >= 0", test_mer.check_drawn
    ),
    "MER's last round is not learned from": Mutant(
        "adaptax.algorithms.mer:MERAlgorithm.adapted",
        "lifetime.rounds, jnp.arange(self.layout.rounds)",
        "jax.tree.map(lambda x: x[:-1], lifetime.rounds), jnp.arange(self.layout.rounds - 1)",
        test_mer.check_update,
    ),
    "the store's rows are told from nothing": Mutant(
        "adaptax.adaptation.relevance:selector_loss", "jax.nn.softplus(of_store).mean()", "0.0", test_mer.check_odds
    ),
    "selected rows are the likeliest": Mutant(
        "adaptax.adaptation.relevance:selected", "score / τ + ", "1e3 * score + ", test_mer.check_selected
    ),
    "a batch of digits is of a past that there is not": Mutant(
        "adaptax.reproduction.replay_digits:batches_with", "reservoir.size > 0", "reservoir.size >= 0",
        test_replay_parts.check_batches,
    ),
    "online training replays the past": Mutant(
        "adaptax.reproduction.replay_sequence:Online.drawn",
        "buffer.sample(",
        "theta.store.transitions.sample(",
        test_replay_parts.check_online,
    ),
    "evolution strategies are not antithetic": Mutant(
        f"{OUTER}.persistent_es:estimate", "losses[0::2] - losses[1::2]", "losses[0::2]", test_persistent_es.check_antithetic
    ),
    "evolution strategies forget the perturbations of earlier windows": Mutant(
        "adaptax.algorithms.l2o_es:EvolvedL2OAlgorithm.learn",
        "trees.add(particles.accumulated, ε)",
        "ε",
        test_persistent_es.check_particles,
    ),
    # blocks that look back
    "a convolution looks back one row too few": Mutant(
        f"{CAUSAL}:TemporalConvolution.unroll", "past[:rows]", "past[1 : rows + 1]", test_causal.check_convolution_by_hand
    ),
    "a convolution's ring is written in rows that are not valid": Mutant(
        f"{CAUSAL}:TemporalConvolution.step", "jnp.where(valid, jnp.stack(ahead), before)", "jnp.stack(ahead)",
        test_causal.check_rings,
    ),
    "a convolution's ring is off by one": Mutant(
        f"{CAUSAL}:TemporalConvolution.step", "position % dilations", "(position + 1) % dilations", causal_fast_path
    ),
    "attention's window is one row too long": Mutant(
        f"{CAUSAL}:Attention.unroll", "(t < j)", "(t <= j)", test_causal.check_attention_by_hand
    ),
    "a step overlooks its own row": Mutant(
        "adaptax.networks.attention:attend_and_self", " + weights[:, -1:] * own_value", "", transformer_fast_path
    ),
    "a step of the Transformer reads what is too old": Mutant(
        "adaptax.networks.transformer:Transformer.step", " & (held > p - self.context)", "", transformer_fast_path
    ),
    "a step of attention reads slots that are empty": Mutant(
        f"{CAUSAL}:Attention.step", "(slots < position) & ", "", causal_fast_path
    ),
    "attention reads slots that are empty": Mutant(
        f"{CAUSAL}:Attention.unroll", " & (j >= self.capacity - position)", "", test_causal.check_attention_by_hand
    ),
    "the ring is left where the round began": Mutant(
        f"{CAUSAL}:_through_ring", "position + count, axis", "position, axis", test_causal.check_rings
    ),
    "what is said goes back to the wrong rows": Mutant(
        "adaptax.algorithms.snail:SNAILLearner._read", "jnp.argsort(order)", "order", causal_fast_path
    ),
    "the support is read before adaptation": Mutant(
        "adaptax.collection.few_shot:predict", "read=adaptations > 0", "read=True", test_few_shot.check_unread
    ),
    # distillation
    "a history's episodes follow rows that are not valid": Mutant(
        f"{DISTILLATION}:_joined", "values[each, last]", "values[each, -1]", test_algorithm_distillation.check_history
    ),
    "a history begins with the first round, and may lack the last": Mutant(
        f"{DISTILLATION}:learning_histories", "slice((k - 1) % every,", "slice(0,", test_algorithm_distillation.check_last_round
    ),
    # fast weights
    "fast weights pass by the activation": Mutant(
        "adaptax.networks.augmented:augmented", "h + φ(weights @", "h + (weights @", test_augmented.check_by_hand
    ),
    "attention falls on slots that hold nothing": Mutant(
        "adaptax.adaptation.fast_weights:ExampleMemory.attention",
        "jnp.where(self.filled, a, 0.0)",
        "a",
        test_fast_weights.check_attention,
    ),
    "keys are compared by their length too": Mutant(
        "adaptax.adaptation.fast_weights:ExampleMemory.attention",
        "jax.vmap(unit)(self.keys)",
        "self.keys",
        test_fast_weights.check_attention,
    ),
    "keys are seen without the task's fast weights": Mutant(
        "adaptax.algorithms.metanet:MetaNetLearner.adapt",
        "self.represent(theta.embedding, task, x))(examples.x)",
        "self.represent(theta.embedding, fast.task, x))(examples.x)",
        test_metanet.check_generation,
    ),
    "meta information is differentiated": Mutant(
        "adaptax.adaptation.fast_weights:features",
        "jax.lax.stop_gradient(ravel_pytree(gradient)[0])",
        "ravel_pytree(gradient)[0]",
        test_metanet.check_constant,
    ),
    # labelled images
    "a patch begins at its position": Mutant(
        "adaptax.networks.convolution:patches",
        "((kernel // 2, kernel // 2), (kernel // 2, kernel // 2), (0, 0))",
        "((0, 2), (0, 2), (0, 0))",
        test_convolution.check_patches,
    ),
    "images that only fill up are normalised over": Mutant(
        "adaptax.networks.convolution:Batch.mean",
        "self.valid.astype(x.dtype)",
        "jnp.ones(())",
        test_convolution.check_statistics,
    ),
    "all queries are normalised together": Mutant(
        f"{GRADIENT}.act",
        "if self.transductive else",
        "if theta.policy.convolutions else",
        lambda: test_images.check_what_a_query_sees("maml"),
    ),
    "queries are normalised as under the weights before adaptation": Mutant(
        f"{GRADIENT}.adapt",
        "self.statistics(theta, policy, batch)",
        "self.statistics(theta, fast.policy, batch)",
        test_images.check_statistics_of_the_support,
    ),
    "a prototype is a sum": Mutant(
        "adaptax.algorithms.protonet:ProtoNetLearner.adapt",
        "/ jnp.maximum(number, 1.0)[:, None]",
        "",
        test_protonet.check_prototypes,
    ),
    "drawings are shown and asked about": Mutant(
        "adaptax.tasks.omniglot:Omniglot.examples",
        "a[:, : self.shots], a[:, self.shots :]",
        "a[:, : self.shots], a[:, : -self.shots]",
        test_omniglot.check_labels,
    ),
    "characters are turned the other way": Mutant(
        "adaptax.tasks.omniglot:turned", "np.rot90(place, k)", "np.rot90(place, -k)", test_omniglot.check_turns
    ),
    # planning with a model
    "shaping is seen in a new task": Mutant(
        f"{MODEL}:DynamicsModel.loss", "error[:-1] if seen else error", "error", test_planning.check_loss_by_hand
    ),
    "an imagined episode goes on after its end": Mutant(
        f"{MODEL}:Imagination.returns", "weight * goes_on", "weight", test_planning.check_imagined_return
    ),
    "MPPI prefers what is bad": Mutant(
        f"{PLANNING}:weighted_mean", "returns / scale", "-returns / scale", test_planning.check_weights
    ),
    "CEM is fitted to the worst": Mutant(
        f"{PLANNING}:elite_moments", "top_k(returns", "top_k(-returns", test_planning.check_elites
    ),
    "smooth noise fades": Mutant(f"{PLANNING}:coloured", "jnp.sqrt(1.0 - β**2)", "(1.0 - β)", test_planning.check_noise),
    "a fit begins where the last one ended": Mutant(
        f"{MRLM}:FittedModelLearner.adapt", "jax.vmap(fit)(theta.networks", "jax.vmap(fit)(fast.networks", test_mrlm.check_fit
    ),
    "a fit counts as a constant": Mutant(
        f"{MRLM}:FittedModelLearner.fitted",
        "trees.add(network, Δ)",
        "trees.add(network, jax.lax.stop_gradient(Δ))",
        test_mrlm.check_meta_gradient,
    ),
    "a lifetime is kept with its empty rows first": Mutant(
        "adaptax.algorithms.model_based:in_order", "~flat.valid", "flat.valid", test_mrlm.check_order
    ),
    "a model is told of the action that it is to judge": Mutant(
        "adaptax.algorithms.rebal:ReBALAlgorithm.readings", "before.action", "seen.rows.action", test_rebal.check_readings
    ),
    "leaves look beyond the horizon": Mutant(
        "adaptax.adaptation.tree_search:TreeSearch.values",
        "self.horizon - node.depth",
        "self.horizon - 0 * node.depth",
        test_tree_search.check_leaves,
    ),
    "chance chooses a member, and all of them pay": Mutant(
        "adaptax.adaptation.tree_search:TreeSearch.answered", "reward=chosen(reward)", "reward=reward.mean(1)",
        test_tree_search.check_members,
    ),
    "what the first member pays is paid": Mutant(
        "adaptax.adaptation.tree_search:TreeSearch.together", "reward=reward.mean(1)", "reward=reward[:, 0]",
        test_tree_search.check_members,
    ),
    "physics never change": Mutant(
        "adaptax.tasks.perturbed:Perturbed.step", "elapsed >= self.at", "elapsed < 0", test_perturbed.check_change
    ),
    # simulators with hidden physics
    "no task is flipped": Mutant(
        "adaptax.tasks.hidden_physics:HiddenPhysics.sample",
        "jnp.where(flip, -1.0, 1.0)",
        "1.0",
        test_hidden_physics.check_ranges,
    ),
    "ood tasks lie within the ranges": Mutant(
        "adaptax.tasks.hidden_physics:HiddenPhysics.sample",
        "high + beyond",
        "high - beyond",
        test_hidden_physics.check_ood,
    ),
    "a car keeps its speed at the wall": Mutant(
        "adaptax.tasks.mountain_car:_Hill._drive",
        "(x == MIN_POSITION) & (v < 0)",
        "jnp.array(False)",
        test_mountain_car.check_by_hand,
    ),
    "a goal has a potential": Mutant(
        "adaptax.tasks.mountain_car:_Hill._outcome",
        "jnp.where(arrived, 0.0, self.potential(after, task))",
        "self.potential(after, task)",
        test_mountain_car.check_shaping,
    ),
    "shaping does not discount": Mutant(
        "adaptax.tasks.mountain_car:_Hill._outcome",
        "self.shaping_gamma * following",
        "following",
        test_mountain_car.check_shaping,
    ),
    "an acrobot moves by the other equation": Mutant(
        "adaptax.tasks.acrobot:derivative",
        " - m2 * l1 * c2 * ω1**2 * jnp.sin(θ2)",
        "",
        test_acrobot.check_steps,
    ),
    "a pendulum's gain is not hidden": Mutant(
        "adaptax.tasks.pendulum:Pendulum.step",
        "task.gain * action[0]",
        "action[0]",
        test_pendulum.check_by_hand,
    ),
    "a pendulum is paid for the state that it reaches": Mutant(
        "adaptax.tasks.pendulum:Pendulum.step",
        "return after, Outcome(observed(after), reward,",
        "return after, Outcome(observed(after), -(after[0]**2 + 0.1 * after[1]**2 + 0.001 * u**2),",
        test_pendulum.check_by_hand,
    ),
    "a forbidden action is allowed": Mutant(
        "adaptax.tasks.cartpole_mountain_car:CartPoleMountainCar.action_mask",
        ".set(task.is_car)",
        ".set(True)",
        test_cartpole_mountain_car.check_masks,
    ),
    # families of data
    "an intent is trained on and tested on": Mutant(
        "adaptax.tasks.text:Text._eligible", 'corpus.test == (split != "train")', "corpus.test >= False", test_text.check_draws
    ),
    "a sentence is known and asked about": Mutant(
        "adaptax.tasks.text:Text.examples", "slice(self.shots, None)", "slice(0, None)", test_text.check_draws
    ),
    "the place of a sentence tells its intent": Mutant(
        "adaptax.tasks.text:Text.examples",
        "jax.lax.top_k(jax.random.uniform(k_order, (n,)), n)[1]",
        "jnp.arange(n)",
        test_text.check_order,
    ),
    "sentences of no intent are trained on and tested on": Mutant(
        "adaptax.tasks.text:Text.outside_rows", '["train" if split == "train" else "test"]', '["test"]', test_text.check_outside
    ),
    "new films are trained on": Mutant(
        "adaptax.tasks.recommender:allowed", "return there & ~new, ", "return there, ", test_recommender.check_divisions
    ),
    "a user is told his own rating": Mutant(
        "adaptax.tasks.ratings:fit", "b[item] - towards * target[:, None]", "b[item]", test_recommender.check_left_out
    ),
    "a rating is known and asked about": Mutant(
        "adaptax.tasks.recommender:Recommender.examples",
        ".at[first].set(True)",
        ".at[first].set(False)",
        test_recommender.check_examples,
    ),
    "the first candidate is told for the one that was chosen": Mutant(
        "adaptax.networks.candidates:choice_inputs",
        "[0][step.prev_action]",
        "[0][0]",
        test_candidates.check_choice_inputs,
    ),
    "a candidate is scored by its place": Mutant(
        "adaptax.networks.candidates:Scorer.__call__",
        "rows @ self.query(context)",
        "rows @ self.query(context) + jnp.arange(len(rows))",
        test_candidates.check_order,
    ),
    "what was offered is forgotten between rows": Mutant(
        "adaptax.algorithms.rl2:RL2Learner.unroll",
        "every[jnp.append(0, last[:-1])], every[last[-1]]",
        "every[:-1], every[-1]",
        test_candidates.check_memory_of_choices,
    ),
    "ood coefficients are those of training": Mutant(
        "adaptax.tasks.functions:_coefficients",
        "minval=largest, maxval=2 * largest",
        "minval=0.0, maxval=largest",
        test_functions.check_out_of_distribution,
    ),
    "a border belongs to no level": Mutant(
        "adaptax.tasks.functions:Steps.value",
        "jnp.searchsorted(task.borders, x)",
        "jnp.searchsorted(task.borders, x) - 1",
        test_functions.check_values,
    ),
    "a mistake is told as right": Mutant(
        "adaptax.reports.answers:in_words",
        "asked[said[asked] != row]",
        "asked[said[asked] == row]",
        test_answer_plots.check_words,
    ),
    "a slate holds an item twice": Mutant(
        "adaptax.tasks.recommender_slates:RecommenderSlates.reset",
        "rows[jax.lax.top_k(-order, self.slate)[1]]",
        "rows[jax.random.randint(key, (self.slate,), 0, count)]",
        test_recommender_slates.check_slates,
    ),
    "a bandit algorithm forgets what it was paid": Mutant(
        "adaptax.tasks.slate_policies:play",
        "of_chosen * (reward - mean)[:, None]",
        "0.0 * of_chosen",
        test_recommender_slates.check_policies,
    ),
    # worlds of other packages
    "ood goes inwards": Mutant(
        "adaptax.tasks.contexts:Contexts.sample", "high + beyond", "high - beyond", test_contexts.check_draws
    ),
    "positive ranges are drawn from as they stand": Mutant(
        "adaptax.tasks.contexts:Context.logarithmic", "self.low > 0 and not self.whole", "False", test_contexts.check_draws
    ),
    "an ood range of one's own is not heeded": Mutant(
        "adaptax.tasks.contexts:Contexts.sample",
        "_between(p, *p.ood, share[i])",
        "_between(p, p.low, p.high, share[i])",
        test_contexts.check_own_ood,
    ),
    "whole numbers for testing are trained on": Mutant(
        "adaptax.tasks.contexts:Contexts._combinations", "table[tests:]", "table", test_contexts.check_whole_numbers
    ),
    "a heavier cart moves like the old one": Mutant(
        "adaptax.tasks.following:with_following",
        "{a, b} & values.keys()",
        "not values",
        lambda: test_contexts.check_masses(test_contexts.of_gymnasium),
    ),
    "all tasks of gymnax have the default parameters": Mutant(
        "adaptax.tasks.gymnax:Gymnax.step", "made.params(task)", "made.default", test_contexts.check_limit
    ),
    "gymnax's time limit goes unseen": Mutant(
        "adaptax.tasks.gymnax:Gymnax.step",
        "truncated=late & ~terminated",
        "truncated=~late & terminated",
        test_contexts.check_limit,
    ),
    "the same goal is taken for another in other words": Mutant(
        "adaptax.tasks.xland_rulesets:_meaning", "if kind in MIRRORED", "if kind is None", test_xland.check_meanings
    ),
    "early rulesets are all for testing": Mutant(
        "adaptax.tasks.xland_rulesets:rulesets", "order < max", "np.sort(order) < max", test_xland.check_divided
    ),
    "what the goal needs is not there": Mutant(
        "adaptax.tasks.xland_rulesets:_ruleset", "objects += needed", "objects += []", test_xland.check_attainable
    ),
    "training rulesets are tested on": Mutant(
        "adaptax.tasks.xland:XLand.sample", 'split == "test"', 'split == ""', test_xland.check_splits
    ),
    "the time limit of a grid is taken for its goal": Mutant(
        "adaptax.tasks.xland:XLand.step", "terminated=attained", "terminated=after.last()", test_xland.check_episodes
    ),
    "an agent does not see where it faces": Mutant(
        "adaptax.tasks.xland:observed", "state.state.agent.direction", "0 * state.state.agent.direction", test_xland.check_episodes
    ),
    # architecture search
    "a population never ages": Mutant(
        "adaptax.search.evolution:Evolution.alive", "if not self.ageing:", "if True:", test_strategies.check_ageing
    ),
    "halving goes on with the first instead of the best": Mutant(
        "adaptax.search.halving:Halving.propose",
        "below[best[request.number - first]]",
        "below[request.number - first]",
        test_strategies.check_promotion,
    ),
    "halving pays again for what was trained": Mutant(
        "adaptax.search.halving:Halving.schedule", "np.diff([0, *lengths])", "np.array(lengths)", test_strategies.check_schedule
    ),
    "a dominated candidate is on the front": Mutant(
        "adaptax.search.pareto:front", "(no_worse & better).any(0)", "(no_worse & better).all(0)", test_strategies.check_front
    ),
    "a mixture adds its operations up": Mutant(
        "adaptax.networks.cell:CellNetwork.edge", "weight * y", "y", test_t_nas.check_limit
    ),
    "the mixture goes the weights' step": Mutant(
        "adaptax.algorithms.t_nas:TwoRates.step", 'endswith(".mixture")', 'endswith(".none")', test_t_nas.check_rates
    ),
}  # fmt: skip
"""Of single methods and families."""
MUTANTS = OF_ALL | OF_METHODS


@pytest.mark.parametrize(
    "name", [*OF_ALL, *(pytest.param(name, marks=pytest.mark.mutant) for name in OF_METHODS)]
)
def test_a_law_catches_it(name):
    mutant = MUTANTS[name]
    with mutated(mutant.target, mutant.old, mutant.new), pytest.raises(AssertionError):
        mutant.law()


@pytest.mark.parametrize("name", MUTANTS)
def test_none_has_gone_stale(name):
    mutant = MUTANTS[name]
    with mutated(mutant.target, mutant.old, mutant.new):
        pass


def test_a_mutant_that_has_gone_stale_is_found_out():
    with (
        pytest.raises(AssertionError, match="holds 'no such code' 0 times"),
        mutated(f"{MAML}:MAML.build", "no such code", ""),
    ):
        pass
