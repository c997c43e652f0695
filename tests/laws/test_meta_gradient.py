"""L2: averaged over every lifetime of a tiny process, the meta-gradient is that of the algorithm's stated objective.

The lifetimes are enumerated, and weighted by their probabilities under the parameters that collect. What `learn` does with
one lifetime is read off a plain gradient step. It is compared with the derivative of the enumerated objective

    J(θ) = Σ_D P(D; θ) R(D),        D = (D₁, …, D_K),   P(D; θ) = Π_k π_{θ_k}(D_k),   θ_{k+1} = U(θ_k, D_k).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from types import ModuleType
from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from families import Fork
from jax.flatten_util import ravel_pytree

from adaptax import trees
from adaptax.algorithms import maml, rl2
from adaptax.collection.replay import replay
from adaptax.estimators.surrogates import dice, lvc
from adaptax.estimators.trust_region import line_search
from adaptax.learner import Learner
from adaptax.types import Layout, Lifetime, Step
from laws.experience import mapped, stream_rows
from laws.learners import scrambled

FAMILY = Fork()


# --- every lifetime ------------------------------------------------------------------------------------


def every_lifetime(layout: Layout) -> Step:
    """Step[L, K, N, T]: every sequence of actions in both tasks, each tried once."""
    scripts = np.array(list(itertools.product((0, 1), repeat=layout.rounds * layout.steps)), np.int32)
    scripts = scripts.reshape(-1, layout.rounds, layout.steps)
    rows = []
    for task in FAMILY.tasks():
        streams = [stream_rows(FAMILY, task, layout, script, jax.random.key(0), 0) for script in scripts]
        flat = [row for stream in streams for round_ in stream for row in round_]
        assert None not in flat
        names = [name for name, value in flat[0].items() if value is not None]
        shape = (len(scripts), layout.rounds, layout.steps)
        fields = {name: np.stack([np.asarray(row[name]) for row in flat]) for name in names}
        fields = {name: x.reshape(*shape, *x.shape[1:]) for name, x in fields.items()}
        # All combinations of what the N streams may do.
        together = np.array(list(itertools.product(range(len(scripts)), repeat=layout.streams)))
        rows.append({name: np.moveaxis(x[together], 1, 2) for name, x in fields.items()})
    both = {name: jnp.asarray(np.concatenate([r[name] for r in rows])) for name in rows[0]}
    return Step(**both, valid=jnp.ones_like(both["first"]))


def as_lifetimes(rows: Step) -> Lifetime:
    number = rows.valid.shape[0]
    return Lifetime(None, rows, jax.random.split(jax.random.key(0), number))


def with_behaviour(learner: Learner, theta, layout: Layout, lifetimes: Lifetime) -> Lifetime:
    """The lifetimes with what the learner said of them as it collected."""
    out = jax.vmap(lambda one: replay(learner, theta, one, layout))(lifetimes)
    logp = mapped(lambda dist, action: dist.log_prob(action), 4)(out.dist, lifetimes.rounds.action)
    rows = dataclasses.replace(lifetimes.rounds, dist=out.dist, value=out.value, logp=logp)
    return dataclasses.replace(lifetimes, rounds=rows)


def probabilities(lifetimes: Lifetime) -> jax.Array:
    """[L], of each lifetime under the policies that collected it; both tasks are equally likely."""
    return jnp.exp(lifetimes.rounds.logp.sum((1, 2, 3))) / 2.0


def relative_error(x: jax.Array, y: jax.Array) -> float:
    return float(jnp.linalg.norm(x - y) / jnp.linalg.norm(y))


def trained_part(learner: Learner, theta) -> jax.Array:
    return ravel_pytree(eqx.filter(theta, learner.trainable(theta)))[0]


def expected_step(algorithm, theta, layout: Layout):
    """E[θ − θ'] over all lifetimes, θ' after `learn` on one of them, and what else the comparison needs."""

    @eqx.filter_jit
    def run(algorithm, theta, lifetimes):
        learner = algorithm.learner
        lifetimes = with_behaviour(learner, theta, layout, lifetimes)
        state = eqx.tree_at(lambda s: s.theta, algorithm.init(jax.random.key(0)), theta)

        def step(lifetime):
            batch = trees.index(lifetime, jnp.newaxis)
            after, metrics = algorithm.learn(state, batch, jax.random.key(0))
            moved = trained_part(learner, theta) - trained_part(learner, after.theta)
            if getattr(algorithm, "outer", "") == "trpo":  # the step is as long as the trust region; the metric is not
                moved *= metrics["gradient_norm"] / jnp.linalg.norm(moved)
            return moved

        weights = probabilities(lifetimes)
        return weights @ jax.vmap(step)(lifetimes), weights.sum()

    lifetimes = as_lifetimes(every_lifetime(layout))
    step, total = run(algorithm, theta, lifetimes)
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    return step, lifetimes


@contextlib.contextmanager
def plain_steps(module: ModuleType) -> Iterator[None]:
    """θ' = θ − ∇L instead of what the outer optimizers make of the gradient, and advantages that are unbiased."""
    accept = lambda evaluate, start, step, loss, *_: line_search(  # noqa: E731
        lambda point: (loss - 1.0, jnp.zeros(())), start, step, loss, jnp.inf
    )
    with contextlib.ExitStack() as stack:
        replaced = lambda owner, name, value: stack.enter_context(patch.object(owner, name, value))  # noqa: E731
        if module is maml:
            replaced(maml.MAMLAlgorithm, "optimizer", optax.identity())
            replaced(maml, "conjugate_gradient", lambda product, b, iterations: (b, jnp.zeros_like(b)))
            replaced(maml, "line_search", accept)
            replaced(maml.MAMLLearner, "advantages", lambda self, batch: returns_to_go(batch))
        if module is rl2:
            replaced(rl2.RL2Algorithm, "optimizer", optax.identity())
            replaced(rl2, "standardise", lambda x, valid: x)
        yield


def returns_to_go(rows: Step) -> jax.Array:
    """Undiscounted, of streams [..., T] of one episode each: the plainest advantage, and an unbiased one."""
    return jnp.cumsum(rows.reward[..., ::-1], -1)[..., ::-1]


# --- MAML --------------------------------------------------------------------------------------------------

BASE = maml.MAML(
    tasks=1, streams=2, hidden=(3,), inner_lr=0.7, gamma=1.0, gae_lambda=1.0, lr=1.0, epochs=1, max_kl_nats=1e6
)
VARIANTS = {
    "maml": BASE,
    "maml-trpo": dataclasses.replace(BASE, outer="trpo", max_kl_nats=0.01),
    "fomaml": dataclasses.replace(BASE, first_order=True),
    "meta-sgd": dataclasses.replace(BASE, learned_inner_lr=True),
    "two steps": dataclasses.replace(BASE, inner_steps=2, streams=1),
}


def log_probs(theta, policy, rows: Step) -> jax.Array:
    """[N, T]"""
    say = lambda obs, action: policy(theta.normaliser.observation(obs)).log_prob(action)  # noqa: E731
    return mapped(say, 2)(rows.obs, rows.action)


def inner_step(algorithm, theta, policy, rows: Step, curvature: str):
    """U(θ_k, D_k) with the derivative that is claimed: of the data's own gradient, of LVC, or none (first order)."""
    advantage = returns_to_go(rows)
    lr = theta.inner_lr if algorithm.learner.learned_inner_lr else algorithm.learner.inner_lr
    α = ravel_pytree(lr)[0]
    flat, unravel = ravel_pytree(policy)
    log_prob = lambda flat: log_probs(theta, unravel(flat), rows)  # noqa: E731

    def policy_gradient(flat):
        return jax.grad(lambda f: -jnp.mean(log_prob(f) * advantage))(flat)

    if curvature == "of the data":
        return unravel(flat - α * policy_gradient(flat))
    here = jax.lax.stop_gradient(flat)
    if curvature == "none":
        return unravel(flat - α * policy_gradient(here))
    # LVC: the curvature is that of −mean A π/π(here), i.e. −mean A ∇²π/π (Rothfuss et al. 2019, eq. 12).
    over_here = jnp.exp(-log_prob(here))
    hessian = jax.hessian(lambda f: -jnp.mean(jnp.exp(log_prob(f)) * over_here * advantage))(here)
    gradient = policy_gradient(here) + hessian @ (flat - here)
    return unravel(flat - α * gradient)


@eqx.filter_jit
def exact_gradient(algorithm, theta, rows: Step, curvature: str, cross_round: bool):
    """∇J(θ), R = the last round's mean return; without `cross_round` the earlier rounds' sampling is held fixed."""
    learner = algorithm.learner
    trained, frozen = eqx.partition(theta, learner.trainable(theta))

    def objective(trained):
        theta = eqx.combine(trained, frozen)

        def lifetime(rounds: Step):
            policy, logp = theta.policy, 0.0
            for k in range(algorithm.layout.rounds - 1):
                rows = trees.index(rounds, k)
                of_round = log_probs(theta, policy, rows).sum()
                logp += of_round if cross_round else jax.lax.stop_gradient(of_round)
                policy = inner_step(algorithm, theta, policy, rows, curvature)
            last = trees.index(rounds, -1)
            logp += log_probs(theta, policy, last).sum()
            return jnp.exp(logp) * last.reward.sum(-1).mean()

        return jax.vmap(lifetime)(rows).sum() / 2.0

    return ravel_pytree(jax.grad(objective)(trained))[0]


def check_maml(config: maml.MAML) -> None:
    algorithm = config.build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    with plain_steps(maml):
        step, lifetimes = expected_step(algorithm, theta, algorithm.layout)
    exact = lambda *how: exact_gradient(algorithm, theta, lifetimes.rounds, *how)  # noqa: E731
    stated = exact("none" if config.first_order else "of LVC", False)
    # The loss is a mean over the T rows of an episode, J a sum.
    assert relative_error(-step * algorithm.layout.steps, stated) < 1e-4
    assert float(jnp.linalg.norm(stated)) > 0.05
    data, emaml = exact("of the data", False), exact("of the data", True)
    print(
        f"‖g − ∇J‖/‖∇J‖: {relative_error(stated, data):.3f} with the data's own curvature and its sampling held fixed, "
        f"{relative_error(stated, emaml):.3f} with cross-round credit (E-MAML)"
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_maml_follows_its_objective(name):
    check_maml(VARIANTS[name])


def check_maml_without_lvc() -> None:
    """With the plain inner surrogate −log π A the gradient is exactly that of J with the earlier sampling held fixed."""
    algorithm = BASE.build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    with plain_steps(maml), patch.object(maml, "lvc", lambda logp, advantage: -logp * advantage):
        step, lifetimes = expected_step(algorithm, theta, algorithm.layout)
    exact = exact_gradient(algorithm, theta, lifetimes.rounds, "of the data", False)
    assert relative_error(-step * algorithm.layout.steps, exact) < 1e-4


def test_maml_with_the_plain_inner_surrogate_is_exact():
    check_maml_without_lvc()


def check_fisher() -> None:
    """TRPO's metric is the curvature of the adapted policies' KL divergence, through the inner step."""
    algorithm = VARIANTS["maml-trpo"].build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    trained, frozen = eqx.partition(theta, algorithm.learner.trainable(theta))
    flat, unravel = ravel_pytree(trained)
    lifetimes = as_lifetimes(trees.index(every_lifetime(algorithm.layout), jnp.array([3, 90, 200, 301])))

    @eqx.filter_jit
    def both(algorithm, lifetimes):
        dists = lambda flat, life: algorithm.adapted(eqx.combine(unravel(flat), frozen), life)[0].dist  # noqa: E731

        def mean_kl(at):
            kl = lambda life: mapped(lambda p, q: p.kl(q), 2)(dists(flat, life), dists(at, life)).mean()  # noqa: E731
            return jax.vmap(kl)(lifetimes).mean()

        product = algorithm.fisher_product(flat, unravel, frozen, lifetimes, 2)
        return jax.vmap(product)(jnp.eye(flat.size)), jax.hessian(mean_kl)(flat)

    fisher, hessian = both(algorithm, lifetimes)
    assert relative_error(fisher.ravel(), hessian.ravel()) < 1e-3
    assert float(jnp.abs(hessian).max()) > 0.001


def test_the_trust_region_measures_the_adapted_policies():
    check_fisher()


# --- RL² ---------------------------------------------------------------------------------------------------


def check_rl2() -> None:
    """First epoch, nothing clipped: the gradient of the lifetime's expected return, through both episodes."""
    config = rl2.RL2(
        tasks=1, hidden=3, lr=1.0, gamma=1.0, gae_lambda=1.0, epochs=1, minibatches=1, entropy=0.0, value=0.0,
        max_gradient_norm=1e9,
    )  # fmt: skip
    algorithm = config.build(FAMILY.spec)
    learner = algorithm.learner
    theta = scrambled(learner, learner.init(jax.random.key(3)))
    with plain_steps(rl2):
        step, lifetimes = expected_step(algorithm, theta, algorithm.layout)

    @eqx.filter_jit
    def exact(theta, rows):
        trained, frozen = eqx.partition(theta, learner.trainable(theta))

        def objective(trained):
            theta = eqx.combine(trained, frozen)

            def lifetime(stream: Step):
                def act(memory, row):
                    out, memory = learner.act(theta, None, memory, row, jax.random.key(0))
                    return memory, out.dist.log_prob(row.action)

                logp = jax.lax.scan(act, learner.remember(theta), stream)[1]
                return jnp.exp(logp.sum()) * stream.reward.sum()

            return jax.vmap(lifetime)(trees.index(rows, (slice(None), 0, 0))).sum() / 2.0

        return ravel_pytree(jax.grad(objective)(trained))[0]

    expected = exact(theta, lifetimes.rounds)
    assert float(jnp.linalg.norm(expected)) > 0.05
    assert relative_error(-step * algorithm.layout.steps, expected) < 1e-4


def test_rl2_follows_the_return_of_the_lifetime():
    check_rl2()


# --- surrogates --------------------------------------------------------------------------------------------


def check_dice() -> None:
    """Over two rounds, with credit across the adaptation between them: exact in the first and the second derivative."""
    config = dataclasses.replace(BASE, streams=1, hidden=())
    algorithm = config.build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    lifetimes = as_lifetimes(every_lifetime(algorithm.layout))
    flat, unravel = ravel_pytree(theta.policy)

    def line(x):  # [K, 1, T] as one sequence
        return x.reshape(-1)

    def log_prob_of(flat, lifetime):
        """[K·T], by replay: through the adaptation."""
        with_policy = eqx.tree_at(lambda t: t.policy, theta, unravel(flat))
        out = replay(algorithm.learner, with_policy, lifetime, algorithm.layout)
        return line(mapped(lambda d, a: d.log_prob(a), 3)(out.dist, lifetime.rounds.action))

    def objective(flat):
        each = lambda life: jnp.exp(log_prob_of(flat, life).sum()) * life.rounds.reward.sum()  # noqa: E731
        return jax.vmap(each)(lifetimes).sum() / 2.0

    def surrogate(flat):
        each = lambda life: dice(log_prob_of(flat, life), line(life.rounds.reward))  # noqa: E731
        weights = jax.vmap(lambda life: jnp.exp(log_prob_of(here, life).sum()) / 2.0)(lifetimes)
        return weights @ jax.vmap(each)(lifetimes)

    here = flat
    derivatives = lambda f: jax.jit(lambda x: (f(x), jax.grad(f)(x), jax.hessian(f)(x)))(flat)  # noqa: E731
    with (
        patch.object(maml.MAMLLearner, "advantages", lambda self, batch: returns_to_go(batch)),
        patch.object(maml, "lvc", lambda logp, advantage: -logp * advantage),
    ):
        exact, ours = derivatives(objective), derivatives(surrogate)
    for order, (x, y) in enumerate(zip(ours, exact, strict=True)):
        assert relative_error(-x.reshape(-1), y.reshape(-1)) < 1e-4, f"derivative of order {order}"
        assert float(jnp.abs(y).max()) > 0.02


def test_dice_is_exact_to_the_second_derivative():
    check_dice()


def check_lvc() -> None:
    """One round: the gradient is exact; the curvature lacks the products between rows, and how much is printed."""
    algorithm = dataclasses.replace(BASE, inner_steps=0, streams=1).build(FAMILY.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(3)))
    rows = every_lifetime(algorithm.layout)
    flat, unravel = ravel_pytree(theta.policy)
    log_prob = lambda flat, rows: log_probs(theta, unravel(flat), trees.index(rows, 0))[0]  # noqa: E731

    def objective(flat):
        each = lambda r: jnp.exp(log_prob(flat, r).sum()) * r.reward.sum()  # noqa: E731
        return jax.vmap(each)(rows).sum() / 2.0

    def surrogate(flat):
        each = lambda r: lvc(log_prob(flat, r), returns_to_go(r)[0, 0]).sum()  # noqa: E731
        weights = jax.vmap(lambda r: jnp.exp(log_prob(here, r).sum()) / 2.0)(rows)
        return weights @ jax.vmap(each)(rows)

    here = flat
    derivatives = lambda f: jax.jit(lambda x: (jax.grad(f)(x), jax.hessian(f)(x)))(flat)  # noqa: E731
    (gradient, hessian), (exact_gradient, exact_hessian) = derivatives(surrogate), derivatives(objective)
    assert relative_error(-gradient, exact_gradient) < 1e-4
    assert float(jnp.abs(hessian).max()) > 0.01
    print(f"LVC's curvature: ‖H + ∇²J‖/‖∇²J‖ = {relative_error(-hessian.ravel(), exact_hessian.ravel()):.3f}")


def test_the_gradient_of_lvc_is_exact():
    check_lvc()
